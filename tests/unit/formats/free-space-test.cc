// SPDX-License-Identifier: LGPL-2.1-or-later
// What file systems call free, with those that made them as judges: everything that is said to be free is
// overwritten, and the file system must be as whole as before, its files too.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {
#include "formats/free-space.h"
}

namespace
{

constexpr uint64_t MiB = 1 << 20;

struct Found {
  std::vector<std::pair<uint64_t, uint64_t>> ranges; // offset, length
  VdFreeSpaceReport report = {};
  bool whole = false;
  uint64_t bytes = 0;
};

class FreeSpace : public testing::Test
{
protected:
  void SetUp() override
  {
    char path[] = "/tmp/virtdisk-free.XXXXXX";

    ASSERT_NE(mkdtemp(path), nullptr);
    folder_ = path;
  }

  void TearDown() override
  {
    for (const char *name : {"image", "file", "back", "other"})
      unlink(path(name).c_str());
    rmdir(folder_.c_str());
  }

  std::string path(const std::string &name) const
  {
    return folder_ + "/" + name;
  }

  // The exit status; 127: there is no such program.
  int run(const std::string &command) const
  {
    int status =
        system(("PATH=$PATH:/usr/sbin:/sbin; cd " + folder_ + "; " + command + " >other 2>&1").c_str());

    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  std::vector<uint8_t> load(const std::string &name) const
  {
    std::ifstream in(path(name), std::ios::binary | std::ios::ate);
    std::vector<uint8_t> bytes(in ? static_cast<size_t>(in.tellg()) : 0);

    in.seekg(0);
    in.read(reinterpret_cast<char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return bytes;
  }

  void store(const std::string &name, const std::vector<uint8_t> &bytes) const
  {
    std::ofstream(path(name), std::ios::binary)
        .write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }

  // One file of random bytes, to be put into the file system.
  void make_file(size_t length) const
  {
    std::vector<uint8_t> bytes(length);
    std::mt19937 random(7);

    for (uint8_t &byte : bytes)
      byte = static_cast<uint8_t>(random() | 1);
    store("file", bytes);
  }

  static Found ask(const std::vector<uint8_t> &disk, uint32_t sector_size = 512)
  {
    struct State {
      const std::vector<uint8_t> &disk;
      Found found;
    } state = {disk, {}};
    VdFreeSpaceDisk how = {};

    how.user = &state;
    how.size = disk.size();
    how.sector_size = sector_size;
    how.read = [](void *user, uint64_t offset, void *to, size_t length) {
      const std::vector<uint8_t> &bytes = static_cast<State *>(user)->disk;

      EXPECT_TRUE(offset <= bytes.size() && length <= bytes.size() - offset);
      memcpy(to, bytes.data() + offset, length);
      return true;
    };
    how.found = [](void *user, uint64_t offset, uint64_t length) {
      State *self = static_cast<State *>(user);

      EXPECT_TRUE(length > 0 && offset <= self->disk.size() && length <= self->disk.size() - offset);
      self->found.ranges.emplace_back(offset, length);
      self->found.bytes += length;
      return true;
    };
    state.found.whole = vd_free_space_find(&how, &state.found.report);
    return state.found;
  }

  static void overwrite(std::vector<uint8_t> &disk, const Found &found)
  {
    for (auto [offset, length] : found.ranges)
      memset(disk.data() + offset, 0xA5, length);
  }

  std::vector<uint8_t> make(const std::string &mkfs, uint64_t size) const
  {
    EXPECT_EQ(run("truncate -s " + std::to_string(size) + " image"), 0);
    int code = run(mkfs);
    if (code == 127)
      return {};
    EXPECT_EQ(code, 0) << mkfs;
    return load("image");
  }

private:
  std::string folder_;
};

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
  } changes[] = {{0x43A, 0}, {0x43A, 3}, {0x460, uint8_t(good[0x460] | 4)}, {0x463, 0x40}, {0x418, 9}};
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
  for (unsigned number : {100u, 101u, 777u})
    if (bits == 12)
      disk[table + number * 3 / 2] |= number % 2 ? 0xF0 : 0x0F;
    else
      disk[table + number * static_cast<unsigned>(bits) / 8] = 0xF8;
  Found found = ask(disk);
  EXPECT_EQ(found.report.asked, 1u) << found.report.note;
  uint32_t length = disk[22] | disk[23] << 8;
  if (length == 0)
    memcpy(&length, &disk[36], 4);
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

INSTANTIATE_TEST_SUITE_P(Bits, FreeFat, testing::Values(12, 16, 32));

TEST_F(FreeSpace, WhatIsFreeOfNtfsIsNobodys)
{
  if (make("mkntfs -q -F image", 24 * MiB).empty())
    GTEST_SKIP() << "there is no mkntfs";
  make_file(3 * MiB + 123);
  ASSERT_EQ(run("ntfscp -f image file one"), 0);
  ASSERT_EQ(run("ntfscp -f image file two"), 0);
  std::vector<uint8_t> disk = load("image");
  Found found = ask(disk);
  EXPECT_EQ(found.report.asked, 1u) << found.report.note;
  EXPECT_GT(found.bytes, 8 * MiB);
  EXPECT_LT(found.bytes, 18 * MiB);
  overwrite(disk, found);
  store("image", disk);
  EXPECT_EQ(run("ntfsfix -n image"), 0);
  for (const char *name : {"one", "two"}) {
    EXPECT_EQ(run(std::string("ntfscat -f image ") + name + " > back; true"), 0);
    EXPECT_TRUE(load("back") == load("file")) << name;
  }
}

TEST_F(FreeSpace, AnNtfsThatIsNotCleanIsNotAsked)
{
  std::vector<uint8_t> good = make("mkntfs -q -F image", 32 * MiB), disk = good;

  if (good.empty())
    GTEST_SKIP() << "there is no mkntfs";
  ASSERT_EQ(ask(good).report.asked, 1u);
  // $Volume, the last bytes of its VOLUME_INFORMATION.
  uint64_t table = 0;
  memcpy(&table, &good[48], 8);
  size_t record = table * good[13] * 512 + 3 * 1024, at = record + good[record + 20];
  while (good[at] != 0x70)
    at += good[at + 4];
  disk[at + good[at + 20] + 10] |= 1;
  EXPECT_EQ(ask(disk).bytes, 0u);
  EXPECT_STREQ(ask(disk).report.note, "NTFS: it is marked dirty");
}

std::vector<uint8_t> in_partition(const std::vector<uint8_t> &volume, uint64_t start)
{
  std::vector<uint8_t> disk(start + volume.size() + MiB);
  uint32_t first = static_cast<uint32_t>(start / 512), count = static_cast<uint32_t>(volume.size() / 512);

  memcpy(disk.data() + start, volume.data(), volume.size());
  disk[446 + 4] = 0x83;
  memcpy(&disk[446 + 8], &first, 4);
  memcpy(&disk[446 + 12], &count, 4);
  disk[510] = 0x55;
  disk[511] = 0xAA;
  return disk;
}

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
  memcpy(&disk[512], "EFI PART", 8);
  disk[512 + 72] = 2;
  disk[512 + 80] = 128;
  disk[512 + 84] = 128;
  uint64_t first = MiB / 512, last = first + volume.size() / 512 - 1;
  disk[1024] = 1;
  memcpy(&disk[1024 + 32], &first, 8);
  memcpy(&disk[1024 + 40], &last, 8);
  EXPECT_EQ(ask(disk).bytes, alone.bytes) << ask(disk).report.note;
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
}

TEST_F(FreeSpace, AForeignFileSystemIsNamed)
{
  std::vector<uint8_t> disk(4 * MiB);

  memcpy(disk.data(), "XFSB", 4);
  EXPECT_EQ(ask(disk).bytes, 0u);
  EXPECT_STREQ(ask(disk).report.note, "XFS: its free space is not known here");
  disk.assign(4 * MiB, 0);
  EXPECT_EQ(ask(disk).report.fell_back, 0u);
}

// Bytes are changed here and there: nothing is read outside of the disk, and it ends.
TEST_F(FreeSpace, HostileBytes)
{
  const char *const makers[] = {"mkfs.ext4 -q -F -O ^metadata_csum image", "mkfs.vfat -F 32 -s 1 image",
                                "mkfs.vfat -F 12 image", "mkntfs -q -F image"};
  const uint64_t sizes[] = {8 * MiB, 40 * MiB, 2 * MiB, 8 * MiB};
  unsigned tried = 0;

  for (unsigned i = 0; i < 4; i++) {
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
