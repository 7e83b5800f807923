// SPDX-License-Identifier: LGPL-2.1-or-later
// A whole VHD, as the probe and whoever opens it read it: footers, sparse header, locators, table.
#include "fuzz/sparse.hh"
#include "fuzz/vhd-sums.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/registry.h"
#include "formats/vhd-bat.h"
}

namespace
{

void check_table(const VdReader &reader, const VdVhdBatShape &shape)
{
  images::Bytes table(vd_vhd_table_length(shape.blocks));
  std::vector<uint32_t> scratch(shape.blocks);
  VdFormatError error;
  VdVhdBatUse use;

  if (!vd_vhd_bat_read(&reader, &shape, table.data(), &error) ||
      !vd_vhd_bat_check(table.data(), &shape, scratch.data(), &use, &error))
    return;
  must(use.allocated <= shape.blocks && use.lowest <= use.highest);
  must(use.allocated == 0 || use.lowest >= 512);
  must(shape.may_be_short || use.highest <= shape.space_end);
}

} // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static VdFacts facts;
  Input input(data, size);
  bool right = input.number(1) % 4 != 0;
  auto file = unpack(input);
  VdVhdFooters footers;
  VdVhdSparse sparse;
  VdFormatError error;
  VdReader reader;

  if (right)
    mend_vhd(*file);
  vd_format_probe(file->fd(), VIRTDISK_DEVICE_VHD, VD_CONTENT_SKIP, &facts, &error);
  must(vd_reader_init(&reader, file->fd(), &error));
  if (!vd_vhd_footers_read(&reader, &footers, &error))
    return 0;
  must(footers.space_end <= reader.size && footers.footer.current_size <= VD_VHD_MAX_SIZE);
  if (footers.footer.type == VD_VHD_FIXED || !vd_vhd_sparse_read(&reader, &footers, &sparse, &error))
    return 0;
  must(sparse.max_entries <= VD_VHD_MAX_TABLE_ENTRIES && sparse.table_offset < footers.space_end);
  check_table(reader, vd_vhd_bat_shape(&footers, &sparse));
  return 0;
}

Seeds fuzz_seeds()
{
  Seeds seeds;

  for (const auto &[name, bytes] : vhd_images())
    seeds[name] = images::joined({1}, pack(images::File(bytes)));
  return seeds;
}
