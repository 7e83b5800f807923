// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include "images/cost.hh"
#include "images/vhd.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/registry.h"
}

using images::Bytes;
using images::SparseVhd;

namespace
{

constexpr uint64_t kText = 0x1000; // where the first text lies; one page for each slot

Bytes bytes_of(const std::string &text)
{
  return Bytes(text.begin(), text.end());
}

class VhdLocator : public testing::Test
{
protected:
  VhdLocator() : image_(4)
  {
    image_.trailer_offset = kText + 8 * 4096 + 4096 - 512;
  }
  void set(unsigned slot, const char *code, const Bytes &text, uint32_t space = 4096)
  {
    uint64_t at = kText + slot * 4096;

    image_.header.locators[slot] = {code, space, static_cast<uint32_t>(text.size()), at};
    image_.pieces.push_back({at, text});
  }
  bool probe()
  {
    images::File file(image_.build());

    return vd_format_probe(file.fd(), VIRTDISK_DEVICE_VHD, VD_CONTENT_SKIP, &facts_, &error_);
  }
  void expect(std::initializer_list<std::pair<VdPlaceKind, const char *>> places)
  {
    uint32_t i = 0;

    ASSERT_TRUE(probe()) << error_.text;
    ASSERT_EQ(facts_.n_parent_places, places.size());
    for (const auto &[kind, path] : places) {
      EXPECT_EQ(facts_.parent_places[i].kind, static_cast<uint32_t>(kind)) << i;
      EXPECT_STREQ(facts_.parent_places[i].path, path);
      i++;
    }
  }
  void expect_refused(unsigned slot)
  {
    ASSERT_FALSE(probe());
    EXPECT_EQ(error_.code, VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT) << error_.text;
    EXPECT_STREQ(error_.field, "parent_locator");
    EXPECT_EQ(error_.offset, 512u + 576 + 24 * slot) << error_.text;
  }

  SparseVhd image_;
  VdFacts facts_ = {};
  VdFormatError error_ = {};
};

} // namespace

TEST_F(VhdLocator, NothingSaid)
{
  expect({});
}

TEST_F(VhdLocator, OrderIsNotThatOfTheSlots)
{
  image_.header.parent_name = u"name.vhd";
  set(0, "Wi2k", bytes_of("C:\\old\\parent.vhd"));
  set(2, "W2ku", images::utf16(u"D:\\new\\parent.vhd", false));
  set(4, "MacX", bytes_of("file:///srv/my%20disks/parent.vhd"));
  set(5, "Wi2r", bytes_of(".\\ansi.vhd"));
  set(7, "W2ru", images::utf16(u"..\\base\\parent.vhd", false));
  expect({{VD_PLACE_RELATIVE, "..\\base\\parent.vhd"},
          {VD_PLACE_RELATIVE, ".\\ansi.vhd"},
          {VD_PLACE_UNIX, "/srv/my disks/parent.vhd"},
          {VD_PLACE_ABSOLUTE, "D:\\new\\parent.vhd"},
          {VD_PLACE_ABSOLUTE, "C:\\old\\parent.vhd"},
          {VD_PLACE_ABSOLUTE, "name.vhd"}});
}

TEST_F(VhdLocator, TextBeyondAscii)
{
  set(0, "W2ru", images::utf16(u".\\gr\u00f6\u00dfe \U0001f4bf.vhd", false));
  set(1, "Wi2r", Bytes{'.', '\\', 0x80, 0xe4, 0xfc});
  expect({{VD_PLACE_RELATIVE, ".\\gr\xc3\xb6\xc3\x9f"
                              "e \xf0\x9f\x92\xbf.vhd"},
          {VD_PLACE_RELATIVE, ".\\\xe2\x82\xac\xc3\xa4\xc3\xbc"}});
}

TEST_F(VhdLocator, PaddingNulsAreNoText)
{
  Bytes padded = images::utf16(u".\\a.vhd", false);

  padded.resize(padded.size() + 8);
  set(0, "W2ru", padded);
  set(1, "Wi2r", bytes_of(std::string(".\\b.vhd\0\0\0", 10)));
  set(2, "MacX", bytes_of(std::string("file://localhost/c.vhd\0", 23)));
  expect({{VD_PLACE_RELATIVE, ".\\a.vhd"}, {VD_PLACE_RELATIVE, ".\\b.vhd"}, {VD_PLACE_UNIX, "/c.vhd"}});
}

TEST_F(VhdLocator, TheSameInAllSlotsIsOnePlace)
{
  for (unsigned slot = 0; slot < 8; slot++)
    set(slot, "W2ru", images::utf16(u".\\a.vhd", false));
  expect({{VD_PLACE_RELATIVE, ".\\a.vhd"}});
}

// Citrix stores the relative path under the code of absolute ones too.
TEST_F(VhdLocator, RelativePathUnderTheAbsoluteCode)
{
  set(0, "W2ku", images::utf16(u".\\a.vhd", false));
  expect({{VD_PLACE_RELATIVE, ".\\a.vhd"}});
}

TEST_F(VhdLocator, UnknownCodesAreLeftAlone)
{
  set(0, "Mac ", Bytes(300, 1));
  image_.header.locators[1] = {"????", 0, UINT32_MAX, UINT64_MAX};
  expect({});
}

TEST_F(VhdLocator, UrlsOfOtherMachinesAreNoPlaces)
{
  set(0, "MacX", bytes_of("file://server/share/a.vhd"));
  set(1, "MacX", bytes_of("http://server/a.vhd"));
  set(2, "MacX", bytes_of("file:relative.vhd"));
  expect({});
}

TEST_F(VhdLocator, SpaceBelow512CountsSectors)
{
  set(0, "W2ru", images::utf16(u".\\aaaaaaaaaaaaaa.vhd", false), 1);
  expect({{VD_PLACE_RELATIVE, ".\\aaaaaaaaaaaaaa.vhd"}});
}

TEST_F(VhdLocator, TextLongerThanItsSpace)
{
  set(3, "W2ru", images::utf16(std::u16string(300, u'a'), false), 1);
  expect_refused(3);
}

TEST_F(VhdLocator, TextLongerThanAnyPath)
{
  set(0, "W2ru", images::utf16(std::u16string(1024, u'a'), false));
  expect_refused(0);
  image_.header.locators[0] = {"W2ru", 8192, 4098, kText};
  expect_refused(0);
}

TEST_F(VhdLocator, OddLength)
{
  set(1, "W2ru", Bytes{'a', 0, 'b'});
  expect_refused(1);
}

TEST_F(VhdLocator, UnpairedSurrogate)
{
  set(0, "W2ku", images::utf16(std::u16string{u'a', 0xd800, u'b'}, false));
  expect_refused(0);
}

TEST_F(VhdLocator, NulWithin)
{
  set(0, "W2ru", images::utf16(std::u16string(u"a\0b", 3), false));
  expect_refused(0);
}

TEST_F(VhdLocator, NulWithinAnsi)
{
  set(0, "Wi2k", bytes_of(std::string("a\0b", 3)));
  expect_refused(0);
}

TEST_F(VhdLocator, NulWithinUrl)
{
  set(0, "MacX", bytes_of("file:///a%00b"));
  expect_refused(0);
}

TEST_F(VhdLocator, PercentWithoutDigits)
{
  set(0, "MacX", bytes_of("file:///a%4"));
  expect_refused(0);
}

TEST_F(VhdLocator, UrlThatIsNoUtf8)
{
  set(0, "MacX", bytes_of("file:///a%ff"));
  expect_refused(0);
}

TEST_F(VhdLocator, ControlCharacter)
{
  set(0, "W2ru", images::utf16(u"a\nb", false));
  expect_refused(0);
}

// The name is a last resort: garbage in it costs nothing.
TEST_F(VhdLocator, ANameThatIsNoTextIsNone)
{
  image_.header.parent_name = std::u16string{u'a', 0xdc00};
  expect({});
}
