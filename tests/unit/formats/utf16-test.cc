// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include "images/image.hh"

extern "C" {
#include "formats/utf16.h"
}

using images::Bytes;

namespace
{

struct Answer {
  bool good;
  std::string text;
  VdFormatError error;
};

Answer decode(const Bytes &bytes, VdUtf16Order order, size_t capacity = 64)
{
  VdSpan span = {"text", bytes.data(), bytes.size(), 1000};
  Answer answer = {};
  std::string text(capacity, '?');

  answer.good = vd_utf16_to_utf8(&span, 0, bytes.size(), order, "name", text.data(), capacity, &answer.error);
  if (answer.good)
    answer.text = text.c_str();
  return answer;
}

Bytes units(const std::vector<uint16_t> &values, VdUtf16Order order = VD_UTF16_LE)
{
  Bytes bytes(values.size() * 2);

  for (size_t i = 0; i < values.size(); i++)
    order == VD_UTF16_LE ? images::put_le(bytes, i * 2, values[i], 2)
                         : images::put_be(bytes, i * 2, values[i], 2);
  return bytes;
}

const std::vector<uint16_t> kText = {'.', '\\', 0xe4, 0x20ac, 0xd83d, 0xde00, 'z'};
const char kUtf8[] = ".\\\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z";

void expect_refused(const Bytes &bytes, uint64_t offset, const char *why, size_t capacity = 64)
{
  Answer answer = decode(bytes, VD_UTF16_LE, capacity);

  ASSERT_FALSE(answer.good) << why;
  EXPECT_EQ(answer.error.code, VIRTDISK_ERROR_FILE_CORRUPT);
  EXPECT_EQ(answer.error.offset, offset) << answer.error.text;
  EXPECT_STREQ(answer.error.field, "name");
  EXPECT_NE(strstr(answer.error.text, why), nullptr) << answer.error.text;
}

} // namespace

TEST(Utf16, BothOrdersThereAndBack)
{
  for (VdUtf16Order order : {VD_UTF16_LE, VD_UTF16_BE}) {
    Bytes bytes = units(kText, order), out(64);
    Answer answer = decode(bytes, order);
    size_t length = 0;

    ASSERT_TRUE(answer.good) << answer.error.text;
    EXPECT_EQ(answer.text, kUtf8);
    ASSERT_TRUE(vd_utf16_from_utf8(kUtf8, order, out.data(), out.size(), &length));
    out.resize(length);
    EXPECT_EQ(out, bytes);
  }
}

TEST(Utf16, EveryCharacterThereAndBack)
{
  for (uint32_t c = 0xa0; c < 0x110000; c++) {
    if (c >= 0xd800 && c < 0xe000)
      continue;
    std::vector<uint16_t> pair = {static_cast<uint16_t>(c)};
    Bytes out(4);
    size_t length = 0;

    if (c >= 0x10000)
      pair = {static_cast<uint16_t>(0xd800 + ((c - 0x10000) >> 10)),
              static_cast<uint16_t>(0xdc00 + (c & 0x3ff))};
    Answer answer = decode(units(pair), VD_UTF16_LE);
    ASSERT_TRUE(answer.good) << c;
    ASSERT_TRUE(vd_utf16_from_utf8(answer.text.c_str(), VD_UTF16_LE, out.data(), out.size(), &length)) << c;
    out.resize(length);
    ASSERT_EQ(out, units(pair)) << c;
  }
}

TEST(Utf16, PaddingIsLeftOut)
{
  EXPECT_EQ(decode(units({'a', 0, 0}), VD_UTF16_LE).text, "a");
  EXPECT_TRUE(decode(units({0, 0}), VD_UTF16_LE).good);
  EXPECT_EQ(decode(units({0, 0}), VD_UTF16_LE).text, "");
  EXPECT_EQ(decode({}, VD_UTF16_LE).text, "");
}

TEST(Utf16, WhatCannotBe)
{
  expect_refused({'a', 0, 'b'}, 1000, "has 3 bytes, an odd number");
  expect_refused(units({'a', 0xd800}), 1002, "unpaired surrogate 0xd800");
  expect_refused(units({0xd800, 'a'}), 1000, "unpaired surrogate 0xd800");
  expect_refused(units({0xd800, 0xd800}), 1000, "unpaired surrogate 0xd800");
  expect_refused(units({'a', 0xdc00, 'b'}), 1002, "unpaired surrogate 0xdc00");
  expect_refused(units({'a', 0, 'b'}), 1002, "control character 0x00");
  expect_refused(units({'\n'}), 1000, "control character 0x0a");
  expect_refused(units({'a', 0x9f}), 1002, "control character 0x9f");
}

TEST(Utf16, Capacity)
{
  EXPECT_TRUE(decode(units({'a', 'b', 0xe4}), VD_UTF16_LE, 5).good);
  expect_refused(units({'a', 'b', 0xe4}), 1006, "longer than 3 bytes", 4);
}

TEST(Utf16, ARangeOutsideTheSpan)
{
  Bytes bytes = units({'a', 'b'});
  VdSpan span = {"text", bytes.data(), bytes.size(), 0};
  VdFormatError error = {};
  char text[16];

  EXPECT_FALSE(vd_utf16_to_utf8(&span, 2, 4, VD_UTF16_LE, "name", text, sizeof text, &error));
  EXPECT_FALSE(vd_utf16_to_utf8(&span, SIZE_MAX - 1, 2, VD_UTF16_LE, "name", text, sizeof text, &error));
}

TEST(Utf16, TextThatIsNoUtf8)
{
  uint8_t out[64];
  size_t length;

  for (const char *text : {"\x80", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                           "\xf8\x88\x80\x80\x80", "\xff", "a\xe2\x82"})
    EXPECT_FALSE(vd_utf16_from_utf8(text, VD_UTF16_LE, out, sizeof out, &length)) << text;
  EXPECT_FALSE(vd_utf16_from_utf8("abc", VD_UTF16_LE, out, 5, &length));
  EXPECT_TRUE(vd_utf16_from_utf8("abc", VD_UTF16_LE, out, 6, &length));
  EXPECT_EQ(length, 6u);
}
