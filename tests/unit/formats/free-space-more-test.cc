// SPDX-License-Identifier: LGPL-2.1-or-later
// As free-space-test.cc: NTFS, exFAT and XFS.
#include "unit/formats/free-space-rig.hh"

extern "C" {
#include "formats/crc32c.h"
}

using namespace free_space;

namespace
{

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

// What a test of NTFS changes: a record of its table, put right by hand where the sums of torn records are.
size_t ntfs_record(const std::vector<uint8_t> &disk, unsigned number)
{
  uint64_t table = 0;

  memcpy(&table, &disk[48], 8);
  return table * disk[13] * 512 + number * 1024;
}

// Where the log begins.
size_t ntfs_log(const std::vector<uint8_t> &disk)
{
  size_t at = ntfs_record(disk, 2);

  for (at += disk[at + 20]; disk[at] != 0x80; at += disk[at + 4])
    ;
  size_t run = at + disk[at + 32];
  unsigned length_width = disk[run] & 0xF, step_width = disk[run] >> 4;
  uint64_t cluster = 0;
  memcpy(&cluster, &disk[run + 1 + length_width], step_width);
  return cluster * disk[13] * 512;
}

// A page of the log, as closing it writes it.
void put_restart(std::vector<uint8_t> &disk, unsigned page, uint16_t client)
{
  size_t at = ntfs_log(disk) + page * 4096;

  memset(&disk[at], 0, 4096);
  memcpy(&disk[at], "RSTR", 4);
  images::put_le(disk, at + 4, 30, 2);
  images::put_le(disk, at + 6, 9, 2);
  images::put_le(disk, at + 16, 4096, 4);
  images::put_le(disk, at + 20, 4096, 4);
  images::put_le(disk, at + 24, 48, 2);
  images::put_le(disk, at + 48 + 12, client, 2);
  for (unsigned i = 0; i < 9; i++)
    images::put_le(disk, i == 0 ? at + 30 : at + i * 512 - 2, 1, 2);
}

TEST_F(FreeSpace, BothPagesOfTheLogAreLookedAt)
{
  std::vector<uint8_t> good = make("mkntfs -q -F image", 24 * MiB);

  if (good.empty())
    GTEST_SKIP() << "there is no mkntfs";
  put_restart(good, 0, 0xFFFF);
  put_restart(good, 1, 0xFFFF);
  ASSERT_EQ(ask(good).report.asked, 1u) << ask(good).report.note;
  for (unsigned page : {0u, 1u}) {
    std::vector<uint8_t> disk = good;

    put_restart(disk, page, 0);
    EXPECT_EQ(ask(disk).bytes, 0u);
    EXPECT_STREQ(ask(disk).report.note, "NTFS: it was not closed cleanly, or hibernates");
    disk = good;
    disk[ntfs_log(disk) + page * 4096 + 1022] ^= 1; // torn
    EXPECT_EQ(ask(disk).bytes, 0u);
    memcpy(&disk[ntfs_log(disk) + page * 4096], "CHKD", 4);
    EXPECT_EQ(ask(disk).bytes, 0u);
  }
}

TEST_F(FreeSpace, AnNtfsThatHibernatesIsNotAsked)
{
  std::vector<uint8_t> good = make("mkntfs -q -F image", 24 * MiB);

  if (good.empty())
    GTEST_SKIP() << "there is no mkntfs";
  make_file(5000);
  ASSERT_EQ(run("ntfscp -f image file hiberfil.sys"), 0);
  Found found = ask(load("image"));
  EXPECT_EQ(found.bytes, 0u);
  EXPECT_STREQ(found.report.note, "NTFS: it has a file to hibernate into (hiberfil.sys)");
  // Among many others, in any case of letters.
  store("image", good);
  for (int i = 0; i < 25; i++)
    ASSERT_EQ(run("ntfscp -f image file a-rather-long-name-that-fills-the-root-folder-" + std::to_string(i)),
              0);
  EXPECT_EQ(ask(load("image")).report.asked, 1u) << ask(load("image")).report.note;
  ASSERT_EQ(run("ntfscp -f image file HiberFil.SYS"), 0);
  EXPECT_EQ(ask(load("image")).bytes, 0u);
}

TEST_F(FreeSpace, AnNtfsWithShadowCopiesIsNotAsked)
{
  const uint8_t id[] = {0x6B, 0x87, 0x08, 0x38, 0x76, 0xC1, 0x48, 0x4E,
                        0xB7, 0xAE, 0x04, 0x04, 0x6E, 0x6C, 0xC7, 0x52};
  std::vector<uint8_t> disk = make("mkntfs -q -F image", 24 * MiB);

  if (disk.empty())
    GTEST_SKIP() << "there is no mkntfs";
  memcpy(&disk[0x1E00], id, sizeof id);
  EXPECT_EQ(ask(disk).report.asked, 1u) << ask(disk).report.note;
  disk[0x1E00 + 49] = 0x40;
  EXPECT_EQ(ask(disk).bytes, 0u);
  EXPECT_STREQ(ask(disk).report.note, "NTFS: it has shadow copies");
}

TEST_F(FreeSpace, AnNtfsThatContradictsItselfIsNotAsked)
{
  std::vector<uint8_t> good = make("mkntfs -q -F image", 24 * MiB), disk = good;

  if (good.empty())
    GTEST_SKIP() << "there is no mkntfs";
  disk[511] = 0;
  EXPECT_EQ(ask(disk).bytes, 0u);
  // Flags of the volume: chkdsk is under way.
  disk = good;
  size_t at = ntfs_record(disk, 3);
  for (at += disk[at + 20]; disk[at] != 0x70; at += disk[at + 4])
    ;
  disk[at + disk[at + 20] + 11] |= 0x40;
  EXPECT_EQ(ask(disk).bytes, 0u);
  // The map calls the map's own clusters free.
  disk = good;
  at = ntfs_record(disk, 6);
  for (at += disk[at + 20]; disk[at] != 0x80; at += disk[at + 4])
    ;
  size_t run = at + disk[at + 32];
  uint64_t cluster = 0;
  memcpy(&cluster, &disk[run + 1 + (disk[run] & 0xF)], disk[run] >> 4);
  disk[cluster * disk[13] * 512 + cluster / 8] &= static_cast<uint8_t>(~(1 << cluster % 8));
  EXPECT_EQ(ask(disk).bytes, 0u);
  EXPECT_STREQ(ask(disk).report.note, "NTFS: its map calls free what a file has");
}

// ntfs-3g marks nothing while it writes: a power cut leaves a volume that looks clean.
TEST_F(FreeSpace, AnNtfsWhoseMapIsOlderThanItsFilesIsNotAsked)
{
  if (make("mkntfs -q -F image", 24 * MiB).empty())
    GTEST_SKIP() << "there is no mkntfs";
  std::vector<uint8_t> before = load("image");
  make_file(MiB + 123);
  ASSERT_EQ(run("ntfscp -f image file one"), 0);
  std::vector<uint8_t> disk = load("image");
  ASSERT_EQ(ask(disk).report.asked, 1u) << ask(disk).report.note;
  // The map as it was.
  size_t at = ntfs_record(disk, 6);
  for (at += disk[at + 20]; disk[at] != 0x80; at += disk[at + 4])
    ;
  size_t run = at + disk[at + 32];
  uint64_t cluster = 0, length = 0;
  memcpy(&length, &disk[run + 1], disk[run] & 0xF);
  memcpy(&cluster, &disk[run + 1 + (disk[run] & 0xF)], disk[run] >> 4);
  size_t unit = disk[13] * 512u;
  memcpy(&disk[cluster * unit], &before[cluster * unit], length * unit);
  EXPECT_EQ(ask(disk).bytes, 0u);
  EXPECT_STREQ(ask(disk).report.note, "NTFS: its map calls free what a file has");
}

TEST_F(FreeSpace, WhatIsFreeOfExFatIsNobodys)
{
  std::vector<uint8_t> good = make("mkfs.exfat image", 32 * MiB);

  if (good.empty())
    GTEST_SKIP() << "there is no mkfs.exfat";
  uint32_t heap = 0, clusters = 0, root = 0;
  memcpy(&heap, &good[88], 4);
  memcpy(&clusters, &good[92], 4);
  memcpy(&root, &good[96], 4);
  std::vector<uint8_t> disk = good;
  Found found = ask(disk);
  EXPECT_EQ(found.report.asked, 1u) << found.report.note;
  EXPECT_GT(found.bytes, 24 * MiB);
  overwrite(disk, found);
  store("image", disk);
  EXPECT_EQ(run("fsck.exfat -n image"), 0);
  // Not with a boot sector that was changed, one in use, or a folder that it calls free.
  for (size_t at : {size_t(106), size_t(72), size_t(110), size_t(510)}) {
    disk = good;
    disk[at] ^= 2;
    EXPECT_EQ(ask(disk).bytes, 0u) << at;
  }
  size_t cluster_size = size_t(512) << good[109], entries = heap * 512 + (root - 2) * cluster_size;
  while (good[entries] != 0x81)
    entries += 32;
  uint32_t bitmap = 0;
  memcpy(&bitmap, &good[entries + 20], 4);
  disk = good;
  disk[heap * 512 + (bitmap - 2) * cluster_size + (root - 2) / 8] &=
      static_cast<uint8_t>(~(1 << (root - 2) % 8));
  EXPECT_EQ(ask(disk).bytes, 0u);
  EXPECT_STREQ(ask(disk).report.note, "exFAT: it calls free what it needs itself");
}

class FreeXfs : public FreeSpace, public testing::WithParamInterface<std::string>
{
protected:
  std::vector<uint8_t> made() const
  {
    // A file from the beginning, since nobody but the kernel writes to one.
    make_file(3 * MiB + 123);
    store("proto", {});
    std::ofstream(path("proto")) << "/nothing\n1 1\nd--755 0 0\none ---644 0 0 " << path("file") << "\n$\n";
    std::vector<uint8_t> disk = make("mkfs.xfs -q -f -p proto " + GetParam() + " image", 320 * MiB);
    unlink(path("proto").c_str());
    return disk;
  }
};

TEST_P(FreeXfs, WhatIsFreeIsNobodys)
{
  std::vector<uint8_t> disk = made();

  if (disk.empty())
    GTEST_SKIP() << "there is no mkfs.xfs";
  Found found = ask(disk);
  EXPECT_EQ(found.report.asked, 1u) << found.report.note;
  EXPECT_GT(found.bytes, 200 * MiB);
  EXPECT_LT(found.bytes, 316 * MiB);
  overwrite(disk, found);
  store("image", disk);
  EXPECT_EQ(run("xfs_repair -n -f image"), 0);
  std::vector<uint8_t> file = load("file");
  EXPECT_NE(std::search(disk.begin(), disk.end(), file.begin(), file.end()), disk.end());
}

INSTANTIATE_TEST_SUITE_P(Kinds, FreeXfs,
                         testing::Values("-m rmapbt=1 -d agcount=3", "-b size=1024 -m reflink=0",
                                         "-s size=4096"));

void put_xfs_sum(std::vector<uint8_t> &disk, size_t at, size_t length, size_t sum)
{
  images::put_le(disk, at + sum, 0, 4);
  images::put_le(disk, at + sum, vd_crc32c(0, &disk[at], length), 4);
}

TEST_F(FreeSpace, AnXfsThatIsNotCleanOrNotWholeIsNotAsked)
{
  std::vector<uint8_t> good = make("mkfs.xfs -q -f image", 320 * MiB);

  if (good.empty())
    GTEST_SKIP() << "there is no mkfs.xfs";
  ASSERT_EQ(ask(good).report.asked, 1u) << ask(good).report.note;
  struct {
    size_t at;
    uint8_t bits;
    bool summed;
    const char *note;
  } changes[] = {
      {300, 1, false, "XFS: its superblock is damaged"},
      {219, 0x10, true, "XFS: it has features that are not known here"}, // it needs repair
      {214, 1, true, "XFS: it has features that are not known here"},
      {126, 1, true, "XFS: it was not closed cleanly"},
      {512 + 52, 1, false, "XFS: the header of a group is damaged"},
      {4096 + 60, 1, false, "XFS: a tree of free blocks is damaged"},
  };
  for (auto change : changes) {
    std::vector<uint8_t> disk = good;

    disk[change.at] ^= change.bits;
    if (change.summed)
      put_xfs_sum(disk, 0, 512, 224);
    EXPECT_EQ(ask(disk).bytes, 0u) << change.at;
    EXPECT_STREQ(ask(disk).report.note, change.note);
  }
  // The group says another number than its tree.
  std::vector<uint8_t> disk = good;
  disk[512 + 55] ^= 1;
  put_xfs_sum(disk, 512, 512, 216);
  EXPECT_EQ(ask(disk).bytes, 0u);
  // The log: a record of something else than an unmount is the newest; or none is there.
  uint64_t place = 0;
  for (unsigned i = 0; i < 8; i++)
    place = place << 8 | good[48 + i];
  unsigned shift = good[124];
  uint64_t blocks = uint64_t(good[84]) << 24 | good[85] << 16 | good[86] << 8 | good[87];
  size_t log = ((place >> shift) * blocks + (place & ((1u << shift) - 1))) * 4096;
  disk = good;
  disk[log + 512 + 9] = 0;
  EXPECT_STREQ(ask(disk).report.note, "XFS: it was not closed cleanly");
  disk = good;
  std::copy(&good[log], &good[log] + 1024, &disk[log + 4096]); // a younger one, of another kind
  images::put_le(disk, log + 4096 + 16 + 4, uint64_t(8) << 24, 4);
  disk[log + 4096 + 512 + 9] = 0;
  EXPECT_STREQ(ask(disk).report.note, "XFS: it was not closed cleanly");
  disk = good;
  memset(&disk[log], 0, 512);
  EXPECT_EQ(ask(disk).bytes, 0u);
}

} // namespace
