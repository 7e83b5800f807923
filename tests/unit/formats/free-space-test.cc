// SPDX-License-Identifier: LGPL-2.1-or-later
// What file systems call free, with those that made them as judges: everything that is said to be free is
// overwritten, and the file system must be as whole as before, its files too. ext, FAT, and hostile bytes.
#include "unit/formats/free-space-rig.hh"

using namespace free_space;

namespace
{

class FreeExt : public FreeSpace, public testing::WithParamInterface<std::string>
{
};

TEST_P(FreeExt, WhatIsFreeIsNobodys)
{
  if (make("mkfs.ext4 -q -F " + GetParam() + " image", 40 * MiB).empty())
    GTEST_SKIP() << "there is no mkfs.ext4";
  make_file(3 * MiB + 123);
  for (const char *name : {"one", "two", "three"})
    ASSERT_EQ(run(std::string("debugfs -w -R 'write file ") + name + "' image"), 0);
  ASSERT_EQ(run("debugfs -w -R 'rm two' image"), 0);
  std::vector<uint8_t> disk = load("image");
  Found found = ask(disk);
  EXPECT_TRUE(found.whole);
  EXPECT_EQ(found.report.asked, 1u);
  EXPECT_EQ(found.report.fell_back, 0u) << found.report.note;
  EXPECT_GT(found.bytes, 20 * MiB);
  overwrite(disk, found);
  store("image", disk);
  EXPECT_EQ(run("e2fsck -fn image"), 0);
  for (const char *name : {"one", "three"}) {
    EXPECT_EQ(run(std::string("debugfs -R 'dump ") + name + " back' image"), 0);
    EXPECT_TRUE(load("back") == load("file"));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, FreeExt,
    testing::Values("-b 4096", "-b 1024", "-b 1024 -O ^flex_bg,^metadata_csum,uninit_bg",
                    "-b 2048 -O ^has_journal,^extent,^64bit,^metadata_csum,^resize_inode",
                    "-b 1024 -O meta_bg,^resize_inode", "-b 4096 -O bigalloc -C 16384",
                    "-b 1024 -O bigalloc -C 4096", "-b 1024 -O bigalloc,^metadata_csum,^resize_inode -C 4096",
                    "-b 4096 -O ^64bit", "-b 4096 -O ^has_journal,^uninit_bg,^metadata_csum,^64bit",
                    "-b 1024 -g 1024 -O sparse_super2"));

TEST_F(FreeSpace, AnExtThatIsNotCleanIsNotAsked)
{
  std::vector<uint8_t> good = make("mkfs.ext4 -q -F -O ^metadata_csum image", 32 * MiB);

  if (good.empty())
    GTEST_SKIP() << "there is no mkfs.ext4";
  ASSERT_EQ(ask(good).report.asked, 1u);
  const struct {
    size_t at;
    uint8_t value;
  } changes[] = {{0x43A, 0},
                 {0x43A, 3},
                 {0x460, uint8_t(good[0x460] | 4)},
                 {0x463, 0x40},
                 {0x418, 9},
                 {0x464, uint8_t(good[0x464] | 0x80)}, // snapshots
                 {0x465, uint8_t(good[0x465] | 0x08)}, // replica
                 {0x466, uint8_t(good[0x466] | 0x01)}, // orphans
                 {0x45D, uint8_t(good[0x45D] | 0x01)}, // snapshots, the other bit
                 {0x4E8, 12},                          // the first of the orphans
                 {0x420, 8},
                 {0x421, 0}};
  for (auto change : changes) {
    std::vector<uint8_t> disk = good;

    disk[change.at] = change.value;
    Found found = ask(disk);
    EXPECT_EQ(found.bytes, 0u) << std::hex << change.at;
    EXPECT_EQ(found.report.fell_back, 1u) << found.report.note;
  }
}

TEST_F(FreeSpace, ADamagedBitmapIsNotBelieved)
{
  std::vector<uint8_t> disk = make("mkfs.ext4 -q -F -b 4096 -O metadata_csum image", 32 * MiB);

  if (disk.empty())
    GTEST_SKIP() << "there is no mkfs.ext4";
  uint64_t bitmap = 0;
  memcpy(&bitmap, disk.data() + 4096, 4);
  disk[bitmap * 4096 + 100] ^= 1;
  Found found = ask(disk);
  EXPECT_EQ(found.bytes, 0u);
  EXPECT_STREQ(found.report.note, "ext: a bitmap is damaged");
}

// A later group that is wrong takes back what earlier ones said.
TEST_F(FreeSpace, WhatWasToldBeforeARefusalDoesNotCount)
{
  std::vector<uint8_t> disk = make(
      "mkfs.ext4 -q -F -b 1024 -g 1024 -O ^metadata_csum,^uninit_bg,^flex_bg,^resize_inode image", 32 * MiB);

  if (disk.empty())
    GTEST_SKIP() << "there is no mkfs.ext4";
  ASSERT_GT(ask(disk).bytes, 20 * MiB);
  std::vector<uint8_t> bad = disk;
  memset(&bad[2048 + 20 * 64], 0xFF, 4); // where the bitmap of a group is
  Found found = ask(bad);
  EXPECT_EQ(found.bytes, 0u);
  EXPECT_EQ(found.report.fell_back, 1u);
  // Neither is a bitmap believed that says something else than its group, or calls itself free.
  uint32_t bitmap = 0, inodes = 0;
  size_t group = 2048 + 5 * (disk[0x4FE] == 64 ? 64 : 32);
  memcpy(&bitmap, &disk[group], 4);
  memcpy(&inodes, &disk[group + 4], 4);
  bad = disk;
  bad[bitmap * 1024 + 120] ^= 1;
  EXPECT_EQ(ask(bad).bytes, 0u);
  EXPECT_STREQ(ask(bad).report.note, "ext: a bitmap has another number of free blocks than its group");
  bad = disk;
  unsigned own = (inodes - 1) % 1024, other = 1000;
  bad[bitmap * 1024 + own / 8] &= static_cast<uint8_t>(~(1 << own % 8));
  bad[bitmap * 1024 + other / 8] |= static_cast<uint8_t>(1 << other % 8);
  EXPECT_EQ(ask(bad).bytes, 0u);
  EXPECT_STREQ(ask(bad).report.note, "ext: it calls free what it needs itself");
}

TEST_F(FreeSpace, DamagedDescriptorsAreNotBelieved)
{
  for (const char *features : {"metadata_csum", "^metadata_csum,uninit_bg"}) {
    std::vector<uint8_t> disk =
        make("mkfs.ext4 -q -F -b 4096 -O " + std::string(features) + " image", 300 * MiB);

    if (disk.empty())
      GTEST_SKIP() << "there is no mkfs.ext4";
    ASSERT_GT(ask(disk).bytes, 200 * MiB);
    disk[4096 + 0x12] |= 2; // the first group has no bitmap, it says
    EXPECT_EQ(ask(disk).bytes, 0u);
    EXPECT_STREQ(ask(disk).report.note, "ext: the descriptor of a group is damaged");
    unlink(path("image").c_str());
  }
}

class FreeFat : public FreeSpace, public testing::WithParamInterface<int>
{
};

TEST_P(FreeFat, WhatIsFreeIsNobodys)
{
  int bits = GetParam();
  std::vector<uint8_t> disk =
      make("mkfs.vfat -s 1 -F " + std::to_string(bits) + " image", bits == 12   ? MiB
                                                                   : bits == 16 ? 16 * MiB
                                                                                : 48 * MiB);

  if (disk.empty())
    GTEST_SKIP() << "there is no mkfs.vfat";
  // Some clusters are taken, of a file that nobody names; fsck does not mind in a dry run that reads only.
  size_t table = static_cast<size_t>(disk[14] | disk[15] << 8) * 512;
  uint32_t length = disk[22] | disk[23] << 8;
  if (length == 0)
    memcpy(&length, &disk[36], 4);
  for (size_t at : {table, table + length * 512})
    for (unsigned number : {100u, 101u, 777u})
      if (bits == 12)
        disk[at + number * 3 / 2] |= number % 2 ? 0xF0 : 0x0F;
      else
        disk[at + number * static_cast<unsigned>(bits) / 8] = 0xF8;
  Found found = ask(disk);
  EXPECT_EQ(found.report.asked, 1u) << found.report.note;
  uint64_t head = (disk[14] | disk[15] << 8) + disk[16] * length + (disk[17] | disk[18] << 8) * 32 / 512;
  uint64_t sectors = disk.size() / 512;
  // All but the three, and the root directory of FAT32.
  EXPECT_EQ(found.bytes, (sectors - head - 3 - (bits == 32)) * 512);
  for (unsigned number : {100u, 101u, 777u})
    for (auto [offset, size] : found.ranges) {
      uint64_t at = (head + number - 2) * 512;

      EXPECT_FALSE(offset <= at && at < offset + size) << number;
    }
}

TEST_P(FreeFat, OneThatIsNotCleanIsNotAsked)
{
  int bits = GetParam();
  std::vector<uint8_t> disk =
      make("mkfs.vfat -s 1 -F " + std::to_string(bits) + " image", bits == 12   ? MiB
                                                                   : bits == 16 ? 16 * MiB
                                                                                : 48 * MiB);

  if (disk.empty())
    GTEST_SKIP() << "there is no mkfs.vfat";
  disk[bits == 32 ? 65 : 37] |= 1;
  Found found = ask(disk);
  EXPECT_EQ(found.bytes, 0u);
  EXPECT_EQ(found.report.fell_back, 1u);
}

TEST_P(FreeFat, OneThatContradictsItselfIsNotAsked)
{
  int bits = GetParam();
  std::vector<uint8_t> good =
      make("mkfs.vfat -s 1 -F " + std::to_string(bits) + " image", bits == 12   ? MiB
                                                                   : bits == 16 ? 16 * MiB
                                                                                : 48 * MiB);

  if (good.empty())
    GTEST_SKIP() << "there is no mkfs.vfat";
  size_t table = static_cast<size_t>(good[14] | good[15] << 8) * 512;
  for (size_t at : {size_t(21), size_t(511), table, table + 1, table + 601}) {
    std::vector<uint8_t> disk = good;

    disk[at] ^= 0x10;
    EXPECT_EQ(ask(disk).bytes, 0u) << at;
  }
  if (bits == 32) {
    std::vector<uint8_t> disk = good;

    disk[40] |= 0x80;
    EXPECT_EQ(ask(disk).bytes, 0u);
    disk = good;
    memset(&disk[table + 8], 0, 4); // the root folder is free
    size_t other = table + 512 * static_cast<size_t>(good[36] | good[37] << 8);
    memset(&disk[other + 8], 0, 4);
    EXPECT_EQ(ask(disk).bytes, 0u);
    EXPECT_STREQ(ask(disk).report.note, "FAT: it calls free what it needs itself");
  }
}

// With few clusters too its entries have 32 bits: as those of 12 they would show used ones as free.
TEST_F(FreeSpace, SmallFat32)
{
  for (uint64_t size : {2 * MiB, 8 * MiB}) {
    std::vector<uint8_t> disk = make("mkfs.vfat -s 1 -F 32 image", size);

    if (disk.empty())
      GTEST_SKIP() << "there is no mkfs.vfat";
    size_t reserved = static_cast<size_t>(disk[14] | disk[15] << 8) * 512;
    size_t length = static_cast<size_t>(disk[36] | disk[37] << 8) * 512, data = reserved + 2 * length;
    for (size_t table : {reserved, reserved + length})
      for (uint32_t cluster = 3; cluster < 1000; cluster++)
        images::put_le(disk, table + cluster * 4, cluster == 999 ? 0x0FFFFFFF : cluster + 1, 4);
    Found found = ask(disk);
    EXPECT_EQ(found.report.asked, 1u) << found.report.note;
    ASSERT_EQ(found.ranges.size(), 1u);
    EXPECT_EQ(found.ranges[0].first, data + 998 * 512);
    EXPECT_EQ(found.bytes, (disk.size() - data) / 512 * 512 - 998 * 512);
    unlink(path("image").c_str());
  }
}

INSTANTIATE_TEST_SUITE_P(Bits, FreeFat, testing::Values(12, 16, 32));

// Bytes are changed here and there: nothing is read outside of the disk, and it ends.
TEST_F(FreeSpace, HostileBytes)
{
  const char *const makers[] = {"mkfs.ext4 -q -F -O ^metadata_csum image", "mkfs.vfat -F 32 -s 1 image",
                                "mkfs.vfat -F 12 image", "mkntfs -q -F image", "mkfs.exfat image"};
  const uint64_t sizes[] = {8 * MiB, 40 * MiB, 2 * MiB, 8 * MiB, 8 * MiB};
  unsigned tried = 0;

  for (unsigned i = 0; i < 5; i++) {
    std::vector<uint8_t> good = make(makers[i], sizes[i]);
    std::mt19937 random(i);

    for (unsigned n = 0; n < 60 && !good.empty(); n++, tried++) {
      std::vector<uint8_t> disk = in_partition(good, MiB);
      uint64_t table = 0;

      memcpy(&table, &good[48], 8);
      table = MiB + (i == 3 ? table * good[13] * 512 : 1024);
      for (unsigned k = 0; k < 4; k++) {
        disk[(i == 1 || i == 2 ? MiB : table) + random() % 8192] = static_cast<uint8_t>(random());
        disk[n % 2 ? random() % 512 : MiB + 11 + random() % 100] ^= static_cast<uint8_t>(1 << random() % 8);
      }
      disk[510] = 0x55;
      disk[511] = 0xAA;
      Found found = ask(disk);
      EXPECT_LE(found.bytes, disk.size());
    }
    unlink(path("image").c_str());
  }
  if (tried == 0)
    GTEST_SKIP() << "no file system can be made here";
}

} // namespace
