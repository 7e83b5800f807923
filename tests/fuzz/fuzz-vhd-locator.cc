// SPDX-License-Identifier: LGPL-2.1-or-later
// The eight parent locators of a VHD, and their texts in a file of 4 KiB.
#include "fuzz/fuzz.hh"
#include "images/vhd.hh"

extern "C" {
#include "formats/vhd-locator.h"
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  constexpr size_t entries = VD_VHD_LOCATORS * VD_VHD_LOCATOR_LENGTH;
  static VdFacts facts;
  VdVhdLocator locators[VD_VHD_LOCATORS], again;
  Input input(data, size);
  images::Bytes bytes = input.bytes(entries);
  VdSpan span = {"VHD sparse header", bytes.data(), bytes.size(), 576};
  uint8_t built[VD_VHD_LOCATOR_LENGTH];
  VdFormatError error;
  VdReader reader;

  for (size_t i = 0; i < VD_VHD_LOCATORS; i++) {
    if (!vd_vhd_locator_parse(&span, i * VD_VHD_LOCATOR_LENGTH, &locators[i], &error))
      return 0;
    vd_vhd_locator_build(&locators[i], built);
    VdSpan one = {"VHD parent locator", built, sizeof built, 0};
    must(vd_vhd_locator_parse(&one, 0, &again, &error));
    must(again.code == locators[i].code && again.space == locators[i].space &&
         again.length == locators[i].length && again.offset == locators[i].offset);
  }
  images::File file(input.bytes(input.left()), 4096);
  must(vd_reader_init(&reader, file.fd(), &error));
  facts = {};
  vd_vhd_locators_read(&reader, locators, "parent.vhd", &facts, &error);
  return 0;
}

Seeds fuzz_seeds()
{
  images::VhdSparse header;

  header.locators[0] = {"W2ru", 512, 24, 0};
  header.locators[1] = {"W2ku", 1, 36, 512};
  header.locators[3] = {"MacX", 512, 14, 1024};
  header.locators[7] = {"Wi2k", 1, 4, 1536};
  images::File texts({}, 2048);
  texts.put(0, images::utf16(u".\\parent.vhd", false));
  texts.put(512, images::utf16(u"C:\\disks\\parent.vhd", false));
  texts.put(1024, {'f', 'i', 'l', 'e', ':', '/', '/', '/', '%', '6', '1', '/', 'b', 'c'});
  texts.put(1536, {'C', ':', '\\', 0x80});
  images::Bytes built = header.build(), bytes(2048);
  must(pread(texts.fd(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return {{"all", images::joined(images::Bytes(built.begin() + 576, built.begin() + 768), bytes)}};
}
