// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fuzz/fuzz.hh"
#include "images/vhdx.hh"

extern "C" {
#include "formats/vhdx-locator.h"
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  VdSpan span = {"locator", data, size, 0};
  static VdVhdxLocator locator, again;
  images::Bytes built(16384);
  VdFormatError error;

  if (size > VD_VHDX_MAX_LOCATOR || !vd_vhdx_locator_parse(&span, &locator, &error))
    return 0;
  size_t length = vd_vhdx_locator_build(&locator, built.data(), built.size());
  must(length != 0);
  span = {"locator", built.data(), length, 0};
  must(vd_vhdx_locator_parse(&span, &again, &error));
  must(strcmp(locator.relative_path, again.relative_path) == 0);
  must(strcmp(locator.absolute_path, again.absolute_path) == 0);
  must(memcmp(locator.linkage, again.linkage, sizeof locator.linkage) == 0);
  return 0;
}

Seeds fuzz_seeds()
{
  images::VhdxLocator more;

  more.pairs.push_back({"volume_path", "\\\\?\\Volume{0}\\p", {}, {}, {}, {}, {}});
  more.pairs.push_back({"parent_linkage2", "00000000-0000-0000-0000-000000000000", {}, {}, {}, {}, {}});
  return {{"usual", images::VhdxLocator().build()}, {"more", more.build()}};
}
