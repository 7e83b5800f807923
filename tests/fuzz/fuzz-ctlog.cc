// SPDX-License-Identifier: LGPL-2.1-or-later
// A change tracking file, header by header: what is read is built again as it was, and its numbers can be
// worked with.
#include "fuzz/fuzz.hh"
#include "images/vhdx.hh"

extern "C" {
#include "formats/ctlog.h"
#include "virtdisk-enums.h"
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  images::Bytes bytes(data, data + size), again(VD_CTLOG_PAGE);
  VdFormatError error;
  VdCtlog log, copy;

  bytes.resize(VD_CTLOG_PAGE);
  images::put_le(bytes, 8, 0, 4);
  images::put_le(bytes, 8, images::crc32c(bytes), 4);
  VdSpan span = {"header", bytes.data(), bytes.size(), 0};
  if (!vd_ctlog_parse(&span, &log, &error))
    return 0;
  must(vd_ctlog_count_granules(&log) > 0 && vd_ctlog_count_granules(&log) <= VD_CTLOG_MAX_GRANULES);
  must(vd_ctlog_file_size(&log) < 5 << 20);
  vd_ctlog_build(&log, again.data());
  span = {"header", again.data(), again.size(), 0};
  must(vd_ctlog_parse(&span, &copy, &error));
  must(memcmp(&log, &copy, sizeof log) == 0);
  return 0;
}

Seeds fuzz_seeds()
{
  Seeds seeds;
  const uint8_t id[16] = {1};

  for (auto [name, device_id] : {std::pair{"vhdx", VIRTDISK_DEVICE_VHDX},
                                 {"vhd", VIRTDISK_DEVICE_VHD},
                                 {"raw", VIRTDISK_DEVICE_RAW}}) {
    images::Bytes bytes(VD_CTLOG_PAGE);
    VdCtlog log;

    vd_ctlog_init(&log, device_id, UINT64_C(3) << 30, id);
    vd_ctlog_build(&log, bytes.data());
    bytes.resize(136);
    seeds[name] = bytes;
  }
  return seeds;
}
