// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fuzz/fuzz.hh"

extern "C" {
#include "formats/utf16.h"
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  Input input(data, size);
  VdUtf16Order order = input.number(1) % 2 == 0 ? VD_UTF16_LE : VD_UTF16_BE;
  images::Bytes bytes = input.bytes(input.left()), again(bytes.size());
  VdSpan span = {"text", bytes.data(), bytes.size(), 0};
  std::string text(300, '?');
  VdFormatError error;
  size_t length;

  // What was decoded is encoded to the same bytes; padding apart.
  if (vd_utf16_to_utf8(&span, 0, bytes.size(), order, "text", text.data(), text.size(), &error)) {
    must(vd_utf16_from_utf8(text.c_str(), order, again.data(), again.size(), &length));
    must(length == 0 || memcmp(again.data(), bytes.data(), length) == 0);
  }
  text = std::string(bytes.begin(), bytes.end());
  vd_utf16_from_utf8(text.c_str(), order, again.data(), again.size(), &length);
  return 0;
}

Seeds fuzz_seeds()
{
  return {{"little", {0, 'a', 0, 0x3d, 0xd8, 0, 0xde, 0, 0}}, {"big", {1, 0, 'a', 0xd8, 0x3d, 0xde, 0}}};
}
