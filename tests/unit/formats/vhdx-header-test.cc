// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include "images/cost.hh"
#include "images/vhdx.hh"

extern "C" {
#include "formats/vhdx-header.h"
}

using images::Bytes;
using images::Vhdx;
using images::VhdxHeader;

namespace
{

struct Choice {
  bool good;
  VdVhdxHeader header;
  VdFormatError error;
};

Choice choose(const Vhdx &image)
{
  auto file = image.make();
  Choice choice = {};
  VdReader reader;

  EXPECT_TRUE(vd_reader_init(&reader, file->fd(), &choice.error));
  choice.good = vd_vhdx_header_choose(&reader, &choice.header, &choice.error);
  return choice;
}

Vhdx with_sequences(uint64_t first, uint64_t second)
{
  Vhdx image;

  image.headers[0].sequence = first;
  image.headers[1].sequence = second;
  return image;
}

} // namespace

TEST(VhdxHeader, TheHigherNumberIsCurrent)
{
  EXPECT_EQ(choose(with_sequences(1, 2)).header.slot, 1u);
  EXPECT_EQ(choose(with_sequences(2, 1)).header.slot, 0u);
  EXPECT_EQ(choose(with_sequences(UINT64_MAX, 1)).header.slot, 0u);
  EXPECT_EQ(choose(with_sequences(UINT64_MAX, 1)).header.sequence, UINT64_MAX);
}

TEST(VhdxHeader, TheGoodOneIsCurrentWhateverItsNumber)
{
  for (unsigned torn : {0u, 1u}) {
    Vhdx image = with_sequences(torn == 0 ? 9 : 1, torn == 0 ? 1 : 9);

    image.headers[torn].checksum = 5;
    Choice choice = choose(image);
    ASSERT_TRUE(choice.good) << choice.error.text;
    EXPECT_EQ(choice.header.slot, 1 - torn);
    EXPECT_EQ(choice.header.sequence, 1u);
  }
}

TEST(VhdxHeader, AnUnknownVersionIsNotCurrent)
{
  Vhdx image = with_sequences(1, 2);

  image.headers[1].version = 2;
  EXPECT_EQ(choose(image).header.slot, 0u);
}

TEST(VhdxHeader, TwinsAreTheSame)
{
  Choice choice = choose(with_sequences(1, 1));

  ASSERT_TRUE(choice.good) << choice.error.text;
  EXPECT_EQ(choice.header.slot, 0u);
}

TEST(VhdxHeader, NoLogIsNeededWhileItIsEmpty)
{
  Vhdx image;

  image.for_both_headers([](VhdxHeader &header) {
    header.log_length = 0;
    header.log_offset = 12345;
    header.log_version = 1;
  });
  Choice choice = choose(image);
  EXPECT_TRUE(choice.good) << choice.error.text;
}

TEST(VhdxHeader, EveryFieldComesBackFromABuiltOne)
{
  VhdxHeader expected;
  VdVhdxHeader header = {}, again = {};
  VdFormatError error;
  Bytes bytes(4096, 0xee);

  header.sequence = expected.sequence = 0x1122334455667788;
  std::copy(expected.file_write_guid.begin(), expected.file_write_guid.end(), header.file_write_guid);
  std::copy(expected.data_write_guid.begin(), expected.data_write_guid.end(), header.data_write_guid);
  expected.log_guid = images::guid_of(0x77);
  memset(header.log_guid, 0x77, 16);
  header.log_length = expected.log_length = 3 << 20;
  header.log_offset = expected.log_offset = UINT64_C(0x123400000);
  vd_vhdx_header_build(&header, bytes.data());
  EXPECT_EQ(bytes, expected.build());

  VdSpan span = {"header", bytes.data(), bytes.size(), 65536};
  ASSERT_TRUE(vd_vhdx_header_parse(&span, &again, &error)) << error.text;
  EXPECT_EQ(memcmp(&header, &again, sizeof header), 0);
}

TEST(VhdxHeader, EveryBitCounts)
{
  Bytes bytes = VhdxHeader().build();
  VdVhdxHeader header;
  VdFormatError error;
  VdSpan span = {"header", bytes.data(), bytes.size(), 65536};

  for (size_t at = 0; at < bytes.size(); at += 61) {
    bytes[at] ^= 0x10;
    EXPECT_FALSE(vd_vhdx_header_parse(&span, &header, &error)) << at;
    bytes[at] ^= 0x10;
  }
  EXPECT_TRUE(vd_vhdx_header_parse(&span, &header, &error));
}

// Checksums that Windows wrote must be ours: over the whole 4096 bytes.
TEST(VhdxHeader, ShortStructureIsRefused)
{
  Bytes bytes = VhdxHeader().build();
  VdVhdxHeader header;
  VdFormatError error;
  VdSpan span = {"header", bytes.data(), 80, 65536};

  EXPECT_FALSE(vd_vhdx_header_parse(&span, &header, &error));
}

TEST(VhdxGuid, SwapIsItsOwnInverse)
{
  const uint8_t disk[16] = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
                            0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
  const uint8_t printed[16] = {0x2d, 0xc2, 0x77, 0x66, 0xf6, 0x23, 0x42, 0x00,
                               0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
  uint8_t guid[16];

  vd_vhdx_guid_swap(disk, guid);
  EXPECT_EQ(memcmp(guid, printed, 16), 0);
  vd_vhdx_guid_swap(guid, guid);
  EXPECT_EQ(memcmp(guid, disk, 16), 0);
}
