// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fuzz/fuzz.hh"
#include "images/vhdx.hh"

extern "C" {
#include "formats/vhdx-region.h"
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  images::Bytes bytes(data, data + std::min<size_t>(size, VD_VHDX_REGIONS_LENGTH));
  constexpr uint64_t kFile = UINT64_C(700) << 20;
  VdVhdxHeader header = {};
  VdVhdxRegions regions;
  VdFormatError error;

  header.log_offset = header.log_length = 1 << 20;
  VdSpan span = {"regions", bytes.data(), bytes.size(), VD_VHDX_REGIONS_1};
  vd_vhdx_regions_check_sum(&span, &error);
  if (!vd_vhdx_regions_parse(&span, &header, kFile, &regions, &error))
    return 0;
  must(regions.bat.length != 0 && regions.bat.length <= VD_VHDX_MAX_BAT && regions.metadata.length != 0);
  for (unsigned i = 0; i < regions.n_all; i++) {
    must(regions.all[i].offset >= 1 << 20 && regions.all[i].offset + regions.all[i].length <= kFile);
    must(i == 0 || regions.all[i - 1].offset + regions.all[i - 1].length <= regions.all[i].offset);
  }
  return 0;
}

// Short: what is not there counts as missing, and the table is mostly zeros.
Seeds fuzz_seeds()
{
  images::Bytes table = images::Vhdx().regions[0].build();

  return {{"whole", table}, {"short", images::Bytes(table.begin(), table.begin() + 128)}};
}
