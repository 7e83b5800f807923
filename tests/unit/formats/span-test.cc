// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

extern "C" {
#include "formats/span.h"
}

namespace
{

const uint8_t kBytes[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x88, 0x99};

VdSpan span_of(size_t length)
{
  return {"thing", kBytes, length, 1000};
}

} // namespace

TEST(Span, LoadsBothByteOrders)
{
  VdSpan span = span_of(sizeof kBytes);
  VdFormatError error;
  uint8_t u8;
  uint16_t u16;
  uint32_t u32;
  uint64_t u64;

  ASSERT_TRUE(vd_span_load_u8(&span, 8, "f", &u8, &error));
  EXPECT_EQ(u8, 0x99);
  ASSERT_TRUE(vd_span_load_be16(&span, 7, "f", &u16, &error));
  EXPECT_EQ(u16, 0x8899);
  ASSERT_TRUE(vd_span_load_le16(&span, 7, "f", &u16, &error));
  EXPECT_EQ(u16, 0x9988);
  ASSERT_TRUE(vd_span_load_be32(&span, 0, "f", &u32, &error));
  EXPECT_EQ(u32, 0x01020304u);
  ASSERT_TRUE(vd_span_load_le32(&span, 0, "f", &u32, &error));
  EXPECT_EQ(u32, 0x04030201u);
  ASSERT_TRUE(vd_span_load_be64(&span, 1, "f", &u64, &error));
  EXPECT_EQ(u64, 0x0203040506078899u);
  ASSERT_TRUE(vd_span_load_le64(&span, 1, "f", &u64, &error));
  EXPECT_EQ(u64, 0x9988070605040302u);
}

TEST(Span, LoadBehindTheEndNamesFieldAndOffset)
{
  VdSpan span = span_of(sizeof kBytes);
  VdFormatError error;
  uint64_t value = 42;
  uint8_t bytes[4] = {};

  EXPECT_FALSE(vd_span_load_be64(&span, 2, "length", &value, &error));
  EXPECT_EQ(value, 42u);
  EXPECT_EQ(error.code, VIRTDISK_ERROR_FILE_CORRUPT);
  EXPECT_EQ(error.offset, 1002u);
  EXPECT_STREQ(error.field, "length");
  EXPECT_NE(strstr(error.text, "thing at offset 1000"), nullptr) << error.text;
  EXPECT_FALSE(vd_span_load_le64(&span, SIZE_MAX, "length", &value, &error));
  EXPECT_FALSE(vd_span_load_bytes(&span, 6, "name", bytes, 4, &error));
  EXPECT_TRUE(vd_span_load_bytes(&span, 9, "nothing", bytes, 0, &error));
}

TEST(Span, HasNeverLooksBehindTheEnd)
{
  VdSpan span = span_of(4);

  EXPECT_TRUE(vd_span_has(&span, 2, "\x03\x04", 2));
  EXPECT_FALSE(vd_span_has(&span, 2, "\x03\x05", 2));
  EXPECT_FALSE(vd_span_has(&span, 3, "\x04\x05", 2));
  EXPECT_FALSE(vd_span_has(&span, SIZE_MAX, "\x04", 1));
}

TEST(Span, SumLeavesOutWhatItIsTold)
{
  VdSpan span = span_of(4);

  EXPECT_EQ(vd_span_sum(&span, 0, 0), 10u);
  EXPECT_EQ(vd_span_sum(&span, 1, 2), 5u);
  EXPECT_EQ(vd_span_sum(&span, 3, SIZE_MAX), 6u);
}

TEST(Span, ZerosAreFound)
{
  uint8_t bytes[16] = {0};
  VdSpan span = {"test", bytes, sizeof bytes, 0};

  EXPECT_TRUE(vd_span_is_zero(&span, 0, 16));
  EXPECT_TRUE(vd_span_is_zero(&span, 16, 0));
  EXPECT_FALSE(vd_span_is_zero(&span, 1, 16)) << "not all of it is there";
  EXPECT_FALSE(vd_span_is_zero(&span, SIZE_MAX, 1));
  for (size_t i = 4; i < 12; i++) {
    bytes[i] = 1;
    EXPECT_FALSE(vd_span_is_zero(&span, 4, 8)) << i;
    EXPECT_TRUE(vd_span_is_zero(&span, 0, 4)) << i;
    bytes[i] = 0;
  }
}

TEST(Span, RepetitionsAreFound)
{
  uint8_t bytes[32];
  VdSpan span = {"test", bytes, sizeof bytes, 0};

  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = static_cast<uint8_t>(i % 8);
  EXPECT_TRUE(vd_span_repeats(&span, 0, 32, 8));
  EXPECT_TRUE(vd_span_repeats(&span, 3, 24, 8)) << "wherever it begins";
  EXPECT_TRUE(vd_span_repeats(&span, 24, 8, 8)) << "once";
  EXPECT_FALSE(vd_span_repeats(&span, 0, 32, 4));
  EXPECT_FALSE(vd_span_repeats(&span, 0, 4, 8)) << "less than one";
  EXPECT_FALSE(vd_span_repeats(&span, 8, 32, 8)) << "not all of it is there";
  EXPECT_FALSE(vd_span_repeats(&span, SIZE_MAX, 8, 8));
  for (size_t i = 8; i < 24; i++) {
    bytes[i] ^= 0x80;
    EXPECT_FALSE(vd_span_repeats(&span, 8, 16, 8)) << i;
    EXPECT_TRUE(vd_span_repeats(&span, 0, 8, 8)) << i;
    bytes[i] ^= 0x80;
  }
}

TEST(Span, APartIsNeverLargerThanTheWhole)
{
  const uint8_t bytes[16] = {0, 1, 2, 3, 4, 5};
  VdSpan span = {"test", bytes, sizeof bytes, 1000}, part = vd_span_part(&span, "part", 4, 8);

  EXPECT_STREQ(part.structure, "part");
  EXPECT_EQ(part.data, &bytes[4]);
  EXPECT_EQ(part.length, 8u);
  EXPECT_EQ(part.file_offset, 1004u);
  EXPECT_EQ(vd_span_part(&span, "part", 12, 8).length, 4u);
  EXPECT_EQ(vd_span_part(&span, "part", SIZE_MAX, SIZE_MAX).length, 0u);
}
