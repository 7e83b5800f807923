// SPDX-License-Identifier: LGPL-2.1-or-later
// The checker on a whole image, VHD or VHDX: whatever it says, it comes to an end, and mending what it
// offers to mend makes nothing worse.
#include "fuzz/sparse.hh"
#include "fuzz/vhd-sums.hh"
#include "fuzz/vhdx-sums.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/check.h"
}

namespace
{

struct Found {
  unsigned serious = 0, all = 0;
};

bool check(const images::File &file, uint32_t device_id, Found *ret_found)
{
  VdCheckSummary summary = {};
  VdFormatError error;
  VdReader reader;
  auto sink = [](void *user, const VdFault *fault) {
    auto *found = static_cast<Found *>(user);

    found->serious += fault->kind == VD_FAULT_SERIOUS;
    found->all++;
    must(fault->error.text[0] != 0);
  };

  *ret_found = {};
  return vd_reader_init(&reader, file.fd(), &error) &&
         vd_check(&reader, device_id, sink, ret_found, &summary, &error);
}

} // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  Input input(data, size);
  uint64_t flags = input.number(1);
  uint32_t device_id = flags & 1 ? VIRTDISK_DEVICE_VHDX : VIRTDISK_DEVICE_VHD;
  auto file = unpack(input);
  Found before, after;
  VdFormatError error;

  if (flags & 2)
    flags & 1 ? mend_vhdx(*file) : mend_vhd(*file);
  if (!check(*file, device_id, &before) || !vd_check_repair(file->fd(), device_id, &error))
    return 0;
  must(check(*file, device_id, &after));
  must(after.serious <= before.serious && after.all <= before.all);
  return 0;
}

Seeds fuzz_seeds()
{
  Seeds seeds;

  for (const auto &[name, image] : vhdx_images())
    seeds["vhdx-" + name] = images::joined({3}, pack(*image.make()));
  for (const auto &[name, bytes] : vhd_images())
    seeds["vhd-" + name] = images::joined({2}, pack(images::File(bytes)));
  return seeds;
}
