// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include "images/cost.hh"
#include "images/vhdx.hh"

extern "C" {
#include "formats/vhdx.h"
}

using images::bat_entry;
using images::Vhdx;

namespace
{

constexpr uint64_t kMiB = 1 << 20, kGiB = 1 << 30, kTiB = UINT64_C(1) << 40;

struct Vector {
  uint64_t size;
  uint32_t block_mib, sector;
  uint64_t ratio, payload, bitmaps, dynamic, differencing, bat_mib;
};

const Vector kVectors[] = {
    {kGiB, 32, 512, 128, 32, 1, 32, 129, 1},
    {256 * kMiB, 2, 512, 2048, 128, 1, 128, 2049, 1},
    {4 * kGiB, 1, 512, 4096, 4096, 1, 4096, 4097, 1},
    {8 * kGiB + kMiB, 2, 512, 2048, 4097, 3, 4099, 6147, 1},
    {10 * kGiB, 1, 512, 4096, 10240, 3, 10242, 12291, 1},
    {127 * kGiB, 32, 512, 128, 4064, 32, 4095, 4128, 1},
    {64 * kTiB, 1, 512, 4096, 67108864, 16384, 67125247, 67125248, 513},
    {64 * kTiB, 2, 512, 2048, 33554432, 16384, 33570815, 33570816, 257},
    {64 * kTiB, 32, 512, 128, 2097152, 16384, 2113535, 2113536, 17},
    {64 * kTiB, 256, 512, 16, 262144, 16384, 278527, 278528, 3},
    {64 * kTiB, 64, 4096, 512, 1048576, 2048, 1050623, 1050624, 9},
};

} // namespace

TEST(VhdxBat, PublishedVectors)
{
  for (const Vector &v : kVectors) {
    auto block = static_cast<uint32_t>(v.block_mib * kMiB);
    VdVhdxBatShape dynamic = vd_vhdx_bat_shape(v.size, block, v.sector, false);
    VdVhdxBatShape child = vd_vhdx_bat_shape(v.size, block, v.sector, true);

    EXPECT_EQ(dynamic.chunk_ratio, v.ratio);
    EXPECT_EQ(dynamic.payload_blocks, v.payload);
    EXPECT_EQ(dynamic.bitmap_blocks, v.bitmaps);
    EXPECT_EQ(dynamic.entries, v.dynamic);
    EXPECT_EQ(child.entries, v.differencing);
    EXPECT_EQ((child.entries * 8 + kMiB - 1) / kMiB, v.bat_mib);
    EXPECT_EQ(vd_vhdx_bat_payload_index(&dynamic, v.payload - 1), v.dynamic - 1);
    EXPECT_EQ(vd_vhdx_bat_bitmap_index(&child, v.payload - 1), v.differencing - 1);
  }
}

TEST(VhdxBat, BitmapsFollowTheirChunks)
{
  VdVhdxBatShape shape = vd_vhdx_bat_shape(8 * kGiB, 2 * kMiB, 512, true);

  EXPECT_EQ(vd_vhdx_bat_payload_index(&shape, 0), 0u);
  EXPECT_EQ(vd_vhdx_bat_payload_index(&shape, 2047), 2047u);
  EXPECT_EQ(vd_vhdx_bat_bitmap_index(&shape, 0), 2048u);
  EXPECT_EQ(vd_vhdx_bat_bitmap_index(&shape, 2047), 2048u);
  EXPECT_EQ(vd_vhdx_bat_payload_index(&shape, 2048), 2049u);
  EXPECT_EQ(vd_vhdx_bat_bitmap_index(&shape, 2048), 4097u);
  EXPECT_EQ(vd_vhdx_bitmap_length(&shape), 512u);
  EXPECT_EQ(vd_vhdx_bitmap_offset(&shape, 2049), 512u);
  shape = vd_vhdx_bat_shape(8 * kGiB, 256 * kMiB, 512, true);
  EXPECT_EQ(vd_vhdx_bitmap_length(&shape), 65536u);
  EXPECT_EQ(vd_vhdx_bitmap_offset(&shape, 15), 15 * 65536u);
  shape = vd_vhdx_bat_shape(8 * kGiB, kMiB, 4096, true);
  EXPECT_EQ(vd_vhdx_bitmap_length(&shape), 32u);
}

TEST(VhdxBat, PartsOfAnEntry)
{
  EXPECT_EQ(vd_vhdx_bat_state(bat_entry(0xfffffffffff, 6)), 6u);
  EXPECT_EQ(vd_vhdx_bat_offset(bat_entry(0xfffffffffff, 7)), UINT64_C(0xfffffffffff00000));
  EXPECT_FALSE(vd_vhdx_bat_reserved(bat_entry(0xfffffffffff, 7)));
  EXPECT_TRUE(vd_vhdx_bat_reserved(UINT64_C(1) << 3));
  EXPECT_TRUE(vd_vhdx_bat_reserved(UINT64_C(1) << 19));
}

namespace
{

struct Seen {
  std::map<uint64_t, std::pair<uint64_t, bool>> entries;
  uint64_t stop_at = UINT64_MAX;
};

bool see(void *user, uint64_t index, uint64_t entry, bool bitmap, VdFormatError *ret_error)
{
  auto *seen = static_cast<Seen *>(user);

  if (index == seen->stop_at)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_OPERATION_ABORTED, index, "", "stop");
  seen->entries[index] = {entry, bitmap};
  return true;
}

class VhdxBatCheck : public testing::Test
{
protected:
  bool check(const Vhdx &image)
  {
    file_ = image.make();
    EXPECT_TRUE(vd_reader_init(&reader_, file_->fd(), &error_));
    EXPECT_TRUE(vd_vhdx_read(&reader_, &vhdx_, &error_)) << error_.text;
    return vd_vhdx_check_bat(&reader_, &vhdx_, see, &seen_, &taken_, &error_);
  }
  void TearDown() override
  {
    vd_vhdx_occupancy_clear(&taken_);
    vd_vhdx_clear(&vhdx_);
  }
  std::vector<uint64_t> taken()
  {
    std::vector<uint64_t> units;

    for (uint64_t unit = 0; unit < taken_.length; unit++)
      if (taken_.bits[unit / 8] >> unit % 8 & 1)
        units.push_back(unit);
    return units;
  }

  std::unique_ptr<images::File> file_;
  VdReader reader_;
  VdVhdx vhdx_ = {};
  VdVhdxOccupancy taken_ = {};
  Seen seen_;
  VdFormatError error_ = {};
};

} // namespace

TEST_F(VhdxBatCheck, SpaceThatIsTaken)
{
  Vhdx image;

  image.file_size = 12 * kMiB;
  image.bat = {{0, bat_entry(9, 6)},  // present
               {1, bat_entry(4, 3)},  // unmapped, keeps its place
               {2, bat_entry(6, 1)},  // undefined, too
               {3, bat_entry(7, 2)},  // zero, whose offset means nothing
               {4, bat_entry(8, 0)},  // not present, the same
               {5, bat_entry(0, 3)}}; // unmapped without a place
  ASSERT_TRUE(check(image)) << error_.text;
  EXPECT_EQ(taken(), (std::vector<uint64_t>{0, 1, 2, 3, 4, 6, 9}));
  EXPECT_EQ(taken_.length, 12u);
  EXPECT_EQ(seen_.entries.size(), 6u);
  EXPECT_EQ(seen_.entries[0].first, bat_entry(9, 6));
}

TEST_F(VhdxBatCheck, LargeBlocksAndBitmaps)
{
  Vhdx image;

  image.set_parent({}, 4 * kMiB);
  image.set_size(8 * kMiB);
  image.file_size = 20 * kMiB;
  image.bat = {{0, bat_entry(4, 7)}, {1, bat_entry(12, 6)}, {1024, bat_entry(9, 6)}};
  ASSERT_TRUE(check(image)) << error_.text;
  EXPECT_EQ(taken(), (std::vector<uint64_t>{0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14, 15}));
  EXPECT_TRUE(seen_.entries[1024].second);
  EXPECT_FALSE(seen_.entries[1].second);
}

TEST_F(VhdxBatCheck, EntriesBehindTheNeededOnesMeanNothing)
{
  Vhdx image;

  image.bat = {{0, bat_entry(4, 6)}, {8, bat_entry(4, 6)}, {9, UINT64_MAX}};
  EXPECT_TRUE(check(image)) << error_.text;
  EXPECT_EQ(seen_.entries.size(), 1u);
}

// In a child the last chunk has room for blocks that the disk does not have.
TEST_F(VhdxBatCheck, EntriesOfBlocksBehindTheDiskMeanNothing)
{
  Vhdx image;

  image.set_parent();
  image.bat = {{0, bat_entry(4, 6)}, {8, bat_entry(4, 6)}, {9, UINT64_MAX}};
  EXPECT_TRUE(check(image)) << error_.text;
  EXPECT_EQ(seen_.entries.size(), 1u);
}

// Some writers end the file where the disk ends.
TEST_F(VhdxBatCheck, TheDisksLastBlockMayBeCutBehindTheDisk)
{
  Vhdx image;

  image.set_parameters(4 * kMiB, 0);
  image.set_size(5 * kMiB + 512);
  image.bat = {{0, bat_entry(4, 6)}, {1, bat_entry(8, 6)}};
  image.file_size = 9 * kMiB + 512;
  ASSERT_TRUE(check(image)) << error_.text;
  EXPECT_EQ(taken_.length, 12u) << "the block is whole to whoever takes space behind it";
  vd_vhdx_occupancy_clear(&taken_);
  vd_vhdx_clear(&vhdx_);
  image.file_size = 9 * kMiB;
  EXPECT_FALSE(check(image)) << "a sector of the disk is missing";
}

TEST_F(VhdxBatCheck, AnotherBlockMayNotBeCut)
{
  Vhdx image;

  image.set_parameters(4 * kMiB, 0);
  image.set_size(5 * kMiB + 512);
  image.bat = {{1, bat_entry(4, 6)}, {0, bat_entry(8, 6)}};
  image.file_size = 9 * kMiB + 512;
  EXPECT_FALSE(check(image));
}

TEST_F(VhdxBatCheck, TheVisitorMayStop)
{
  Vhdx image;

  seen_.stop_at = 1;
  image.bat[1] = bat_entry(0, 2);
  EXPECT_FALSE(check(image));
  EXPECT_EQ(error_.code, VIRTDISK_ERROR_OPERATION_ABORTED);
  EXPECT_EQ(taken_.bits, nullptr);
}

TEST_F(VhdxBatCheck, FarEntriesOfASparseTable)
{
  Vhdx image;
  uint64_t last = 67125247 - 1;

  image.set_size(64 * kTiB);
  image.for_both_tables([](images::VhdxRegionTable &table) { table.entries[1].length = 513 * kMiB; });
  image.file_size = 530 * kMiB;
  image.bat = {{0, bat_entry(516, 6)}, {1 << 20, bat_entry(517, 6)}, {last, bat_entry(518, 6)}};
  ASSERT_TRUE(check(image)) << error_.text;
  EXPECT_EQ(seen_.entries.size(), 3u);
  EXPECT_EQ(seen_.entries.count(last), 1u);
}

// Pages of one state without a place are passed over, but not what stands among them.
TEST_F(VhdxBatCheck, PagesOfOneState)
{
  for (uint64_t state : {1, 2, 3}) {
    Vhdx image;

    TearDown();
    seen_ = {};
    image.set_size(3 * 512 * kMiB);
    for (uint64_t index = 0; index < 3UL * 512; index++)
      image.bat[index] = state;
    image.bat[512 + 511] = bat_entry(4, 6);
    ASSERT_TRUE(check(image)) << error_.text;
    EXPECT_EQ(seen_.entries.size(), 512u) << "of the second page, which has one with a place";
    EXPECT_EQ(seen_.entries.count(512 + 511), 1u);
    EXPECT_EQ(taken().back(), 4u);
  }
}

// The same number means nothing as an entry of a bitmap, or with bits that are reserved, or as no state.
TEST_F(VhdxBatCheck, PagesOfOneStateThatIsWrong)
{
  const struct {
    uint64_t entry, first;
    const char *field;
  } wrong[] = {{2, 8UL * 512, "state"}, {4, 0, "state"}, {5, 512, "state"}, {0x12, 0, "reserved"}};

  for (const auto &one : wrong) {
    Vhdx image;

    TearDown();
    image.set_size(10 * 512 * kMiB);
    for (uint64_t index = one.first; index < one.first + 512; index++)
      image.bat[index] = one.entry;
    EXPECT_FALSE(check(image)) << one.entry;
    EXPECT_STREQ(error_.field, one.field) << one.entry;
  }
}

TEST_F(VhdxBatCheck, WhatTheLogPutsIntoAHole)
{
  images::VhdxDescriptor descriptor;
  images::VhdxLogEntry entry;
  Vhdx image;

  image.bat = {};
  descriptor.offset = 3 * kMiB;
  descriptor.page = images::Bytes(4096);
  images::put_le(*descriptor.page, 16, bat_entry(4, 6), 8);
  entry.descriptors = {descriptor};
  image.set_log({entry});
  ASSERT_TRUE(check(image)) << error_.text;
  EXPECT_EQ(seen_.entries.size(), 1u);
  EXPECT_EQ(seen_.entries.count(2), 1u);
}
