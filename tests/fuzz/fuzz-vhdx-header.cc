// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fuzz/fuzz.hh"
#include "images/vhdx.hh"

extern "C" {
#include "formats/vhdx-header.h"
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  images::Bytes bytes(data, data + size), again(VD_VHDX_HEADER_LENGTH);
  VdVhdxHeader header, copy;
  VdFormatError error;

  if (size >= 8) {
    images::put_le(bytes, 4, 0, 4);
    images::put_le(bytes, 4, images::crc32c(bytes), 4);
  }
  VdSpan span = {"header", bytes.data(), bytes.size(), 65536};
  if (!vd_vhdx_header_parse(&span, &header, &error))
    return 0;
  vd_vhdx_header_build(&header, again.data());
  span = {"header", again.data(), again.size(), 65536};
  must(vd_vhdx_header_parse(&span, &copy, &error));
  must(memcmp(&header, &copy, sizeof header) == 0);
  return 0;
}

Seeds fuzz_seeds()
{
  return {{"header", images::VhdxHeader().build()}};
}
