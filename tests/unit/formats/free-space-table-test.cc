// SPDX-License-Identifier: LGPL-2.1-or-later
// Whose bytes are where: tables that make no sense, places with two owners; and how far partitions reach.
#include "unit/formats/free-space-rig.hh"

extern "C" {
#include "formats/partitions.h"
}

using namespace free_space;

namespace
{

TEST_F(FreeSpace, PartitionsAreFound)
{
  std::vector<uint8_t> volume = make("mkfs.ext4 -q -F image", 32 * MiB);

  if (volume.empty())
    GTEST_SKIP() << "there is no mkfs.ext4";
  std::vector<uint8_t> disk = in_partition(volume, MiB);
  Found alone = ask(volume), found = ask(disk);
  EXPECT_EQ(found.report.asked, 1u) << found.report.note;
  ASSERT_EQ(found.ranges.size(), alone.ranges.size());
  EXPECT_EQ(found.ranges[0].first, alone.ranges[0].first + MiB);
  EXPECT_EQ(found.bytes, alone.bytes);
  // The same as a logical drive, and by a GPT.
  std::vector<uint8_t> logical(disk.size() + MiB);
  memcpy(logical.data() + MiB, disk.data(), disk.size());
  std::vector<uint8_t> outer = in_partition(std::vector<uint8_t>(disk.size()), MiB);
  memcpy(logical.data(), outer.data(), 512);
  logical[446 + 4] = 5;
  EXPECT_EQ(ask(logical).bytes, alone.bytes);
  disk[446 + 4] = 0xEE;
  EXPECT_EQ(ask(disk).report.fell_back, 1u);
  images::Gpt gpt;
  gpt.entries = {{MiB / 512, (MiB + volume.size()) / 512 - 1}};
  disk = std::vector<uint8_t>(MiB + volume.size() + MiB);
  memcpy(disk.data() + MiB, volume.data(), volume.size());
  gpt.put(disk);
  EXPECT_EQ(ask(disk).bytes, alone.bytes) << ask(disk).report.note;
  // Not by a GPT of which a half is damaged, missing, or another's.
  std::vector<uint8_t> bad = disk;
  bad[512 + 60] ^= 1;
  EXPECT_EQ(ask(bad).bytes, 0u);
  bad = disk;
  bad[1024 + 60] ^= 1;
  EXPECT_EQ(ask(bad).bytes, 0u);
  bad = disk;
  bad[bad.size() - 512 + 60] ^= 1;
  EXPECT_EQ(ask(bad).bytes, 0u);
  EXPECT_STREQ(ask(bad).report.note, "the table of partitions: one of the two halves of the GPT is damaged");
  bad = disk;
  bad[446 + 16 + 4] = 0x83; // and an MBR besides
  EXPECT_EQ(ask(bad).bytes, 0u);
  bad = disk;
  memset(bad.data(), 0, 512); // what announces it
  EXPECT_EQ(ask(bad).bytes, 0u);
}

// What the first of two calls free may be the other one's.
TEST_F(FreeSpace, PartitionsThatShareSpaceAreNotAsked)
{
  std::vector<uint8_t> volume = make("mkfs.ext4 -q -F image", 32 * MiB);

  if (volume.empty())
    GTEST_SKIP() << "there is no mkfs.ext4";
  constexpr uint32_t kMiB = 2048; // sectors
  struct {
    std::vector<images::MbrEntry> entries;
    bool good;
  } tables[] = {
      {{{0x83, kMiB, 32 * kMiB}, {0x83, 33 * kMiB, 8 * kMiB}}, true},
      {{{0x83, kMiB, 32 * kMiB}, {0x83, 32 * kMiB, 8 * kMiB}}, false},
      {{{0x83, 32 * kMiB, 8 * kMiB}, {0x83, kMiB, 32 * kMiB}}, false},
      {{{0x83, kMiB, 32 * kMiB}, {0x83, 20 * kMiB, 100 * kMiB}}, false}, // and ends behind the disk
      {{{0x83, kMiB, 32 * kMiB}, {0x83, 40 * kMiB, 100 * kMiB}}, false},
      {{{0x83, kMiB, 32 * kMiB}, {0x05, 20 * kMiB, 20 * kMiB}}, false},
      {{{0x83, kMiB, 32 * kMiB}, {0x05, 34 * kMiB, 4 * kMiB}}, false}, // no chain in it
      {{{0x42, kMiB, 32 * kMiB}}, false},                              // a dynamic disk
      {{{0x8E, kMiB, 32 * kMiB}}, false},
      {{{0xFD, kMiB, 32 * kMiB}}, false},
      {{{0x07, kMiB, 32 * kMiB}}, true},
  };
  for (auto &table : tables) {
    std::vector<uint8_t> disk = with_table(48 * MiB, table.entries);

    memcpy(disk.data() + MiB, volume.data(), volume.size());
    Found found = ask(disk);
    EXPECT_EQ(found.bytes > 0, table.good) << &table - tables << " " << found.report.note;
    EXPECT_EQ(found.report.fell_back > 0, !table.good) << found.report.note;
  }
}

TEST_F(FreeSpace, AChainOfLogicalDrivesThatContradictsItselfIsNotBelieved)
{
  std::vector<uint8_t> volume = make("mkfs.ext4 -q -F image", 16 * MiB);

  if (volume.empty())
    GTEST_SKIP() << "there is no mkfs.ext4";
  constexpr uint32_t kMiB = 2048;
  auto build = [&](uint32_t first, uint32_t count, uint32_t next, uint32_t second) {
    std::vector<uint8_t> disk = with_table(64 * MiB, {{0x05, 2 * kMiB, 60 * kMiB}});
    std::vector<images::MbrEntry> link = {{0x83, first, count}};

    if (next != 0)
      link.push_back({0x05, next, second + 1});
    images::put_mbr(disk, 2 * kMiB, link);
    if (next != 0)
      images::put_mbr(disk, 2 * kMiB + next, {{0x83, 1, second}});
    memcpy(disk.data() + 3 * MiB, volume.data(), volume.size());
    return disk;
  };
  EXPECT_GT(ask(build(kMiB, 16 * kMiB, 0, 0)).bytes, 0u);
  EXPECT_GT(ask(build(kMiB, 16 * kMiB, 20 * kMiB, 8 * kMiB)).bytes, 0u);
  EXPECT_EQ(ask(build(kMiB, 16 * kMiB, 10 * kMiB, 8 * kMiB)).bytes, 0u) << "a link within a drive";
  EXPECT_EQ(ask(build(kMiB, 61 * kMiB, 0, 0)).bytes, 0u) << "behind the extended partition";
  EXPECT_EQ(ask(build(kMiB, 16 * kMiB, 20 * kMiB, 50 * kMiB)).bytes, 0u);
  std::vector<uint8_t> broken = build(kMiB, 16 * kMiB, 20 * kMiB, 8 * kMiB);
  memset(&broken[22 * MiB + 510], 0, 2);
  EXPECT_EQ(ask(broken).bytes, 0u) << "the chain breaks off";
}

TEST_F(FreeSpace, TwoOwnersAreNotAsked)
{
  std::vector<uint8_t> volume = make("mkfs.ext4 -q -F image", 32 * MiB);

  if (volume.empty())
    GTEST_SKIP() << "there is no mkfs.ext4";
  std::vector<uint8_t> disk = volume;
  memcpy(disk.data(), in_partition(std::vector<uint8_t>(16 * MiB), MiB).data(), 512);
  EXPECT_EQ(ask(disk).bytes, 0u);
  EXPECT_EQ(ask(disk).report.fell_back, 1u);
  disk = volume;
  memcpy(&disk[4086], "SWAPSPACE2", 10);
  EXPECT_EQ(ask(disk).bytes, 0u);
  disk = in_partition(volume, MiB);
  memcpy(&disk[446 + 16], &disk[446], 16);
  Found found = ask(disk);
  EXPECT_EQ(found.report.fell_back, 1u) << found.report.note;
  EXPECT_EQ(found.bytes, 0u);
}

// One that knows its place by its end alone.
TEST_F(FreeSpace, ARaidWhoseSuperblockIsAtTheEndIsSeen)
{
  std::vector<uint8_t> disk = make("mkfs.ext4 -q -F image", 32 * MiB);

  if (disk.empty())
    GTEST_SKIP() << "there is no mkfs.ext4";
  ASSERT_GT(ask(disk).bytes, 0u);
  // Version 0.90: 64 KiB, at the last multiple of that but one.
  size_t at = disk.size() - 65536;
  images::put_le(disk, at, 0xa92b4efc, 4);
  images::put_le(disk, at + 4, 0, 4);
  images::put_le(disk, at + 8, 90, 4);
  images::put_le(disk, at + 20, 0x12345678, 4);
  Found found = ask(disk);
  EXPECT_EQ(found.bytes, 0u);
  EXPECT_EQ(found.report.fell_back, 1u);
}

TEST_F(FreeSpace, AForeignFileSystemIsNamed)
{
  std::vector<uint8_t> disk(4 * MiB);

  memcpy(disk.data(), "LUKS\xBA\xBE\0\1", 8);
  EXPECT_EQ(ask(disk).bytes, 0u);
  EXPECT_STREQ(ask(disk).report.note, "LUKS: its free space is not known here");
  disk.assign(4 * MiB, 0);
  EXPECT_EQ(ask(disk).report.fell_back, 0u);
}

uint64_t smallest(const std::vector<uint8_t> &disk)
{
  uint64_t size = 0;
  VdFormatError error;
  auto read = [](void *user, uint64_t offset, uint8_t *to, size_t length, VdFormatError *) {
    const auto &bytes = *static_cast<const std::vector<uint8_t> *>(user);

    EXPECT_LE(offset + length, bytes.size());
    memcpy(to, bytes.data() + offset, length);
    return true;
  };

  EXPECT_TRUE(vd_partitions_smallest_size(read, const_cast<std::vector<uint8_t> *>(&disk), disk.size(), 512,
                                          &size, &error));
  return size;
}

TEST(Smallest, ADynamicDiskOfWindowsNeedsItsLastMiB)
{
  EXPECT_EQ(smallest(with_table(64 * MiB, {{0x07, 2048, 4096}})), 3 * MiB);
  EXPECT_EQ(smallest(with_table(64 * MiB, {{0x42, 63, 4096}})), 64 * MiB);
}

TEST(Smallest, TheOtherTableOfALargeGptHasRoom)
{
  std::vector<uint8_t> disk(64 * MiB);
  images::Gpt gpt;

  gpt.entries = {{2048, 4095}};
  gpt.put(disk);
  EXPECT_EQ(smallest(disk), 2 * MiB + 33 * 512);
  gpt.table_size = 512;
  gpt.put(disk);
  EXPECT_EQ(smallest(disk), 2 * MiB + 129 * 512);
}

TEST(Smallest, BothTablesOfAGptCount)
{
  std::vector<uint8_t> disk(64 * MiB), old = disk;
  images::Gpt gpt;

  gpt.entries = {{2048, 8191}};
  gpt.put(old);
  gpt.entries = {{2048, 4095}};
  gpt.put(disk);
  memcpy(&disk[disk.size() - 33 * 512], &old[old.size() - 33 * 512], 33 * 512);
  EXPECT_EQ(smallest(disk), 4 * MiB + 33 * 512);
}

} // namespace
