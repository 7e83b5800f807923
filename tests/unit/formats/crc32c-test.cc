// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include "images/image.hh"

extern "C" {
#include "formats/crc32c.h"
}

using images::Bytes;

namespace
{

using Function = uint32_t (*)(uint32_t, const void *, size_t);

class Crc32c : public testing::TestWithParam<Function>
{
protected:
  uint32_t of(const Bytes &bytes)
  {
    return GetParam()(0, bytes.data(), bytes.size());
  }
};

// The definition, bit by bit.
uint32_t slow(const Bytes &bytes)
{
  uint32_t crc = 0xffffffff;

  for (uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; bit++)
      crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc;
}

Bytes pattern(size_t length)
{
  Bytes bytes(length);

  for (size_t i = 0; i < length; i++)
    bytes[i] = static_cast<uint8_t>(i * 131 + i / 7);
  return bytes;
}

} // namespace

TEST_P(Crc32c, PublishedVectors)
{
  EXPECT_EQ(GetParam()(0, "123456789", 9), 0xe3069283u);
  EXPECT_EQ(of(Bytes(32)), 0x8a9136aau);
  EXPECT_EQ(of(Bytes(32, 0xff)), 0x62a8ab43u);
  EXPECT_EQ(of(Bytes(4096)), 0x98f94189u);
  EXPECT_EQ(of({}), 0u);
}

TEST_P(Crc32c, EveryLengthAndAlignment)
{
  for (size_t length = 0; length < 70; length++)
    for (size_t shift = 0; shift < 8; shift++) {
      Bytes bytes = pattern(length + shift);

      EXPECT_EQ(GetParam()(0, bytes.data() + shift, length), slow(Bytes(bytes.begin() + shift, bytes.end())));
    }
}

TEST_P(Crc32c, PartsGiveTheWhole)
{
  Bytes bytes = pattern(1000);
  uint32_t crc = GetParam()(0, bytes.data(), 13);

  crc = GetParam()(crc, bytes.data() + 13, 600);
  EXPECT_EQ(GetParam()(crc, bytes.data() + 613, 387), slow(bytes));
}

INSTANTIATE_TEST_SUITE_P(Both, Crc32c, testing::Values(vd_crc32c, vd_crc32c_by_table));

TEST(SpanCrc32c, TheFieldCountsAsZero)
{
  for (size_t at : {0, 4, 96}) {
    Bytes bytes = pattern(100), zeroed = bytes;
    VdSpan span = {"test", bytes.data(), bytes.size(), 0};

    std::fill_n(zeroed.begin() + static_cast<long>(at), 4, 0);
    EXPECT_EQ(vd_span_crc32c(&span, at), slow(zeroed)) << at;
  }
}

TEST(SpanCrc32c, AFieldThatIsNotThereSkipsNothing)
{
  Bytes bytes = pattern(100);
  VdSpan span = {"test", bytes.data(), bytes.size(), 0};

  EXPECT_EQ(vd_span_crc32c(&span, 97), slow(bytes));
  EXPECT_EQ(vd_span_crc32c(&span, SIZE_MAX), slow(bytes));
}
