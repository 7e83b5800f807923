// SPDX-License-Identifier: LGPL-2.1-or-later
// A footer by itself.
#include "fuzz/fuzz.hh"
#include "images/vhd.hh"

extern "C" {
#include "formats/vhd-bytes.h"
#include "formats/vhd-footer.h"
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  images::Bytes bytes(data, data + std::min<size_t>(size, VD_VHD_FOOTER_LENGTH));
  VdVhdFooter footer, again;
  uint8_t built[VD_VHD_FOOTER_LENGTH];
  VdFormatError error;

  if (bytes.size() == VD_VHD_FOOTER_LENGTH) {
    images::put_be(bytes, 64, 0, 4);
    images::put_be(bytes, 64, vd_vhd_checksum(bytes.data(), bytes.size()), 4);
  }
  VdSpan span = {"VHD footer", bytes.data(), bytes.size(), 1 << 20};
  if (!vd_vhd_footer_parse(&span, &footer, &error))
    return 0;
  must(footer.current_size > 0 && footer.current_size <= VD_VHD_MAX_SIZE && footer.current_size % 512 == 0);
  must(memcmp(footer.bytes, bytes.data(), sizeof footer.bytes) == 0);
  vd_vhd_footer_build(&footer, built);
  span.data = built;
  must(vd_vhd_footer_parse(&span, &again, &error));
  must(again.type == footer.type && again.current_size == footer.current_size &&
       again.data_offset == footer.data_offset);
  return 0;
}

Seeds fuzz_seeds()
{
  images::VhdFooter dynamic;

  dynamic.type = 3;
  dynamic.data_offset = 512;
  return {{"fixed", images::VhdFooter().build()}, {"dynamic", dynamic.build()}};
}
