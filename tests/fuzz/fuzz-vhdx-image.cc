// SPDX-License-Identifier: LGPL-2.1-or-later
// A whole image, as the probe and whoever opens it read it.
#include "fuzz/sparse.hh"
#include "fuzz/vhdx-sums.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/registry.h"
#include "formats/vhdx.h"
}

static bool check_entry(void *user, uint64_t index, uint64_t entry, bool bitmap, VdFormatError *)
{
  auto *vhdx = static_cast<const VdVhdx *>(user);

  must(index < vhdx->shape.entries && entry != 0);
  if (vd_vhdx_bat_state(entry) >= VD_VHDX_FULLY_PRESENT)
    must(vd_vhdx_bat_offset(entry) >= 1 << 20 && vd_vhdx_bat_offset(entry) < vhdx->file_size);
  return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static VdFacts facts;
  Input input(data, size);
  bool mend = input.number(1) % 4 != 0;
  auto file = unpack(input);
  VdFormatError error;
  VdReader reader;
  VdVhdx vhdx;

  if (mend)
    mend_vhdx(*file);
  vd_format_probe(file->fd(), VIRTDISK_DEVICE_VHDX, VD_CONTENT_SKIP, &facts, &error);
  must(vd_reader_init(&reader, file->fd(), &error));
  if (!vd_vhdx_read(&reader, &vhdx, &error))
    return 0;
  must(vhdx.shape.entries * 8 <= vhdx.bat.length && vhdx.bat.offset + vhdx.bat.length <= vhdx.file_size);
  vd_vhdx_check_bat(&reader, &vhdx, check_entry, &vhdx, nullptr, &error);
  vd_vhdx_clear(&vhdx);
  return 0;
}

Seeds fuzz_seeds()
{
  Seeds seeds;

  for (const auto &[name, image] : vhdx_images())
    seeds[name] = images::joined({1}, pack(*image.make()));
  return seeds;
}
