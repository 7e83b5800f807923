// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include "images/cost.hh"
#include "images/vhdx.hh"

extern "C" {
#include "formats/vhdx-locator.h"
}

using images::Bytes;
using images::VhdxLocator;

namespace
{

const uint8_t kLinkage[16] = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
                              0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};

struct Answer {
  bool good;
  VdVhdxLocator locator;
  VdFormatError error;
};

Answer parse(const Bytes &bytes)
{
  VdSpan span = {"locator", bytes.data(), bytes.size(), 0};
  Answer answer = {};

  answer.good = vd_vhdx_locator_parse(&span, &answer.locator, &answer.error);
  return answer;
}

Answer parse_linkage(const std::string &text)
{
  VhdxLocator locator;

  locator.pairs[0].value = text;
  return parse(locator.build());
}

} // namespace

TEST(VhdxLocator, AllThatWindowsWrites)
{
  VhdxLocator locator;

  locator.pairs.push_back({"parent_linkage2", "{00000000-0000-0000-0000-000000000001}", {}, {}, {}, {}, {}});
  locator.pairs.push_back(
      {"volume_path", "\\\\?\\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\\p.vhdx", {}, {}, {}, {}, {}});
  locator.pairs.push_back({"some_other_key", "x", {}, {}, {}, {}, {}});
  Answer answer = parse(locator.build());
  ASSERT_TRUE(answer.good) << answer.error.text;
  EXPECT_EQ(memcmp(answer.locator.linkage, kLinkage, 16), 0);
  EXPECT_EQ(answer.locator.linkage2[15], 1);
  EXPECT_STREQ(answer.locator.relative_path, ".\\parent.vhdx");
  EXPECT_STREQ(answer.locator.volume_path, "\\\\?\\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\\p.vhdx");
  EXPECT_STREQ(answer.locator.absolute_path, "C:\\disks\\parent.vhdx");
}

TEST(VhdxLocator, LinkageInAllItsSpellings)
{
  for (const char *text : {"{a3a2a1a0-a5a4-a7a6-a8a9-aaabacadaeaf}", "a3a2a1a0-a5a4-a7a6-a8a9-aaabacadaeaf",
                           "{A3A2A1A0-A5A4-A7A6-A8A9-AAABACADAEAF}"}) {
    Answer answer = parse_linkage(text);

    ASSERT_TRUE(answer.good) << text << ": " << answer.error.text;
    EXPECT_EQ(memcmp(answer.locator.linkage, kLinkage, 16), 0) << text;
  }
}

TEST(VhdxLocator, LinkagesThatAreNone)
{
  for (const char *text : {"{a3a2a1a0-a5a4-a7a6-a8a9-aaabacadaeaf", "a3a2a1a0-a5a4-a7a6-a8a9-aaabacadaea",
                           "{a3a2a1a0-a5a4-a7a6-a8a9aaaabacadaeaf}", "a3a2a1a0a5a4-a7a6-a8a9-aaabacadaeaf0",
                           "g3a2a1a0-a5a4-a7a6-a8a9-aaabacadaeaf", "x"})
    EXPECT_FALSE(parse_linkage(text).good) << text;
}

TEST(VhdxLocator, ANulAtTheEndIsPadding)
{
  VhdxLocator locator;
  Bytes value = images::utf16le("p.vhdx");

  value.insert(value.end(), {0, 0});
  locator.pairs[1].raw_value = value;
  Answer answer = parse(locator.build());
  ASSERT_TRUE(answer.good) << answer.error.text;
  EXPECT_STREQ(answer.locator.relative_path, "p.vhdx");
}

TEST(VhdxLocator, APathTooLongForUsIsRefused)
{
  VhdxLocator locator;

  locator.pairs[1].value = std::string(VD_LOCATOR_MAX_PATH - 1, 'a');
  EXPECT_TRUE(parse(locator.build()).good);
  locator.pairs[1].value += 'a';
  EXPECT_FALSE(parse(locator.build()).good);
}

TEST(VhdxLocator, ThereAndBack)
{
  VdVhdxLocator locator = {};
  Bytes bytes(4096);

  memcpy(locator.linkage, kLinkage, 16);
  locator.linkage2[0] = 7;
  strcpy(locator.relative_path, "..\\b\xc3\xa4\\\xf0\x9f\x98\x80.vhdx");
  strcpy(locator.volume_path, "\\\\?\\Volume{x}\\y");
  strcpy(locator.absolute_path, "D:\\y");
  bytes.resize(vd_vhdx_locator_build(&locator, bytes.data(), bytes.size()));
  ASSERT_FALSE(bytes.empty());
  Answer answer = parse(bytes);
  ASSERT_TRUE(answer.good) << answer.error.text;
  EXPECT_EQ(memcmp(&answer.locator, &locator, sizeof locator), 0);
  for (size_t room = 0; room < bytes.size(); room += 9)
    EXPECT_EQ(vd_vhdx_locator_build(&locator, Bytes(4096).data(), room), 0u) << room;
}

TEST(VhdxLocator, WhatIsEmptyIsLeftOut)
{
  VdVhdxLocator locator = {};
  Bytes bytes(4096);

  memcpy(locator.linkage, kLinkage, 16);
  size_t length = vd_vhdx_locator_build(&locator, bytes.data(), bytes.size());
  EXPECT_EQ(length, 20u + 12 + 28 + 76);
  EXPECT_EQ(bytes[18], 1);
}

TEST(VhdxLocator, PathsThatAreNoTextAreNotBuilt)
{
  VdVhdxLocator locator = {};
  Bytes bytes(4096);

  strcpy(locator.relative_path, "a\xff");
  EXPECT_EQ(vd_vhdx_locator_build(&locator, bytes.data(), bytes.size()), 0u);
}
