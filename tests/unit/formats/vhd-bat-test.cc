// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>
#include <algorithm>
#include <random>

#include "images/cost.hh"
#include "images/image.hh"

extern "C" {
#include "formats/vhd-bat.h"
}

namespace
{

constexpr uint32_t kDistance = (512 + (512 << 10)) / 512; // sectors from one block to the next

class VhdBat : public testing::Test
{
protected:
  // A disk of four blocks of 512 KiB: header at 512, table at 0x600, room for blocks from sector 7.
  VhdBat() : table_(512, 0xff)
  {
    shape_.table_offset = 0x600;
    shape_.blocks = 4;
    shape_.block_size = 512 << 10;
    shape_.bitmap_length = 512;
    shape_.space_end = (7 + 6 * kDistance) * 512;
    shape_.ranges[0] = {0, 512};
    shape_.ranges[1] = {512, 1024};
    shape_.ranges[2] = {0x600, 512};
    shape_.n_ranges = 3;
  }
  bool check()
  {
    uint32_t scratch[4];

    return vd_vhd_bat_check(table_.data(), &shape_, scratch, &use_, &error_);
  }
  void set(uint32_t block, uint32_t sector)
  {
    vd_vhd_bat_set_entry(table_.data(), block, sector);
  }
  void expect_refused(uint32_t block, const char *why)
  {
    ASSERT_FALSE(check());
    EXPECT_EQ(error_.code, VIRTDISK_ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT);
    EXPECT_STREQ(error_.field, "block_allocation_table");
    EXPECT_EQ(error_.offset, 0x600u + 4 * block) << error_.text;
    EXPECT_NE(strstr(error_.text, why), nullptr) << error_.text;
  }

  images::Bytes table_;
  VdVhdBatShape shape_ = {};
  VdVhdBatUse use_ = {};
  VdFormatError error_ = {};
};

} // namespace

TEST_F(VhdBat, Empty)
{
  ASSERT_TRUE(check()) << error_.text;
  EXPECT_EQ(use_.allocated, 0u);
  EXPECT_EQ(use_.highest, 0u);
}

TEST_F(VhdBat, InAnyOrderAndWithGaps)
{
  set(0, 7 + kDistance);
  set(1, 7 + 5 * kDistance);
  set(3, 7);
  ASSERT_TRUE(check()) << error_.text;
  EXPECT_EQ(use_.allocated, 3u);
  EXPECT_EQ(use_.lowest, 7u * 512);
  EXPECT_EQ(use_.highest, shape_.space_end);
}

TEST_F(VhdBat, EntriesPastTheDiskMeanNothing)
{
  set(4, 0);
  set(5, 12345678);
  EXPECT_TRUE(check()) << error_.text;
}

TEST_F(VhdBat, OverTheFrontFooter)
{
  set(2, 0);
  expect_refused(2, "over a structure");
}

TEST_F(VhdBat, OverTheHeader)
{
  set(0, 2);
  expect_refused(0, "over a structure");
}

TEST_F(VhdBat, OverTheTableItself)
{
  set(3, 3);
  expect_refused(3, "over a structure");
}

TEST_F(VhdBat, OverATableThatLiesBehind)
{
  shape_.ranges[2] = {(7 + kDistance) * 512 - 512, 512};
  set(0, 7);
  expect_refused(0, "over a structure");
}

TEST_F(VhdBat, OverALocator)
{
  shape_.ranges[shape_.n_ranges++] = {100 * 512, 10};
  set(1, 7);
  expect_refused(1, "over a structure");
}

TEST_F(VhdBat, IntoTheTrailer)
{
  set(1, 7 + 5 * kDistance + 1);
  expect_refused(1, "within the file");
}

TEST_F(VhdBat, FarBehindTheFile)
{
  set(0, UINT32_MAX - 1);
  expect_refused(0, "within the file");
}

TEST_F(VhdBat, TheSameTwice)
{
  set(0, 7);
  set(2, 7);
  expect_refused(2, "within another block");
}

TEST_F(VhdBat, OverlapByOneSector)
{
  set(1, 7);
  set(0, 7 + kDistance - 1);
  expect_refused(0, "within another block");
}

TEST_F(VhdBat, BitmapWithinAnothersData)
{
  set(1, 7 + kDistance + 100);
  set(3, 7 + kDistance);
  expect_refused(1, "within another block");
}

TEST_F(VhdBat, WithoutATrailerTheLastBlockMayBeShort)
{
  shape_.space_end -= 4096;
  set(0, 7 + 5 * kDistance);
  expect_refused(0, "within the file");
  shape_.may_be_short = true;
  ASSERT_TRUE(check()) << error_.text;
  EXPECT_EQ(use_.highest, shape_.space_end + 4096);
  shape_.space_end = (7 + 5 * kDistance) * 512 + 511;
  expect_refused(0, "within the file");
}

TEST(VhdSort, AnyOrder)
{
  std::mt19937 random(1);

  for (size_t count : {0, 1, 2, 3, 1000, 65536}) {
    std::vector<uint32_t> numbers(count);

    for (uint32_t &number : numbers)
      number = random() >> (random() % 32);
    std::vector<uint32_t> expected = numbers;
    std::sort(expected.begin(), expected.end());
    vd_vhd_sort_sectors(numbers.data(), numbers.size());
    EXPECT_EQ(numbers, expected) << count;
  }
}

// The largest table there may be, in the order that is worst for most ways of sorting.
TEST(VhdSort, LargestTableInNoTime)
{
  std::vector<uint32_t> numbers(VD_VHD_MAX_TABLE_ENTRIES);

  for (size_t i = 0; i < numbers.size(); i++)
    numbers[i] = static_cast<uint32_t>((numbers.size() - i) * 1021);
  auto begin = std::chrono::steady_clock::now();
  vd_vhd_sort_sectors(numbers.data(), numbers.size());
  EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
}
