// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fuzz/fuzz.hh"
#include "images/vhdx.hh"

extern "C" {
#include "formats/vhdx-metadata.h"
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  images::Bytes bytes(data, data + std::min<size_t>(size, VD_VHDX_METADATA_TABLE_LENGTH));
  VdSpan span = {"metadata", bytes.data(), bytes.size(), 2 << 20};
  VdVhdxMetadata metadata;
  VdFormatError error;
  VdVhdx vhdx = {};
  uint32_t sector;
  uint64_t disk;

  vd_vhdx_parameters_parse(&span, &vhdx, &error);
  if (vd_vhdx_sector_size_parse(&span, &sector, &error))
    must(sector == 512 || sector == 4096);
  if (vd_vhdx_size_parse(&span, 512, &disk, &error))
    must(disk != 0 && disk % 512 == 0);
  if (!vd_vhdx_metadata_parse(&span, 1 << 20, &metadata, &error))
    return 0;
  for (const VdVhdxRange &item : metadata.items)
    must(item.length == 0 ||
         (item.offset >= VD_VHDX_METADATA_TABLE_LENGTH && item.offset + item.length <= 1 << 20));
  return 0;
}

Seeds fuzz_seeds()
{
  images::Vhdx child;
  images::Bytes table;

  child.set_parent();
  table = child.metadata();
  table.resize(VD_VHDX_METADATA_TABLE_LENGTH);
  return {{"whole", table}, {"short", images::Bytes(table.begin(), table.begin() + 256)}};
}
