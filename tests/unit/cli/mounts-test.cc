// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

extern "C" {
#include "mounts.h"
#include "target.h"
}

#include <glib/gstdio.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <vector>

namespace
{

const VdMount *at(GPtrArray *mounts, guint i)
{
  return static_cast<const VdMount *>(g_ptr_array_index(mounts, i));
}

TEST(Mountinfo, IsParsed)
{
  g_autoptr(GPtrArray) mounts =
      vd_mounts_parse("36 35 7:3 / /mnt/a\\040b rw,nosuid shared:1 master:2 - ext4 /dev/loop3 rw\n"
                      "37 35 0:44 /sub /mnt/c rw - btrfs /dev/loop4 rw\n"
                      "broken\n"
                      "38 35 7:x / /mnt/d rw - ext4 /dev/loop5 rw\n"
                      "39 35 7:5 / /mnt/e rw -\n");
  ASSERT_EQ(mounts->len, 2u);
  EXPECT_EQ(at(mounts, 0)->number, makedev(7, 3));
  EXPECT_STREQ(at(mounts, 0)->mountpoint, "/mnt/a b");
  EXPECT_STREQ(at(mounts, 0)->source, "/dev/loop3");
  EXPECT_EQ(at(mounts, 1)->number, makedev(0, 44));
  EXPECT_STREQ(at(mounts, 1)->mountpoint, "/mnt/c");
}

TEST(Mountinfo, KeepsBytesThatAreNotUtf8)
{
  g_autoptr(GPtrArray) mounts = vd_mounts_parse("36 35 7:3 / /mnt/\xff rw - ext4 /dev/loop3 rw");
  ASSERT_EQ(mounts->len, 1u);
  EXPECT_STREQ(at(mounts, 0)->mountpoint, "/mnt/\xff");
}

// sshfs -o fsname=/dev/loop4
TEST(Mountinfo, WhatItsUserCallsADeviceIsNone)
{
  g_autoptr(GPtrArray) mounts = vd_mounts_parse("36 35 0:44 / /mnt/a rw - btrfs /dev/loop4 rw\n"
                                                "37 35 0:45 / /mnt/b rw - bcachefs /dev/loop4:/dev/loop5 rw\n"
                                                "38 35 0:46 / /mnt/c rw - fuse.sshfs /dev/loop4 rw\n"
                                                "39 35 0:47 / /mnt/d rw - fuse /dev/loop4 rw\n"
                                                "40 35 0:48 / /mnt/e rw - btrfs /dev/../home/x rw\n"
                                                "41 35 7:4 / /mnt/f rw - ext4 /dev/loop4 rw\n");
  ASSERT_EQ(mounts->len, 6u);
  for (guint i = 0; i < mounts->len; i++)
    EXPECT_EQ(vd_mount_names_device(at(mounts, i)), i < 2) << i;
}

TEST(Mounts, OfWhatIsNoDeviceAreNone)
{
  g_autoptr(GPtrArray) mounts = vd_mounts_of("/nonexistent", VD_MOUNTS_DISK);
  EXPECT_EQ(mounts->len, 0u);
}

TEST(Mounts, SourceOfTheRootIsKnownAndOfAFileNot)
{
  g_autofree char *root = vd_mounts_find_source("/proc");
  g_autofree char *none = vd_mounts_find_source("/proc/version");
  if (!g_file_test("/proc/self/mountinfo", G_FILE_TEST_EXISTS))
    GTEST_SKIP() << "no /proc here";
  EXPECT_NE(root, nullptr);
  EXPECT_EQ(none, nullptr);
}

// A tree like /sys: disk 7:3 with partitions 259:1 and 259:2, and other folders beside them.
class SysTree : public testing::Test
{
protected:
  char *root = nullptr;
  void SetUp() override
  {
    root = g_dir_make_tmp("virtdisk-cli-XXXXXX", NULL);
    ASSERT_NE(root, nullptr);
    add("dev/block/7:3/loop3p1", "dev", "259:1\n");
    add("dev/block/7:3/loop3p1", "partition", "1\n");
    add("dev/block/7:3/loop3p2", "dev", "259:2\n");
    add("dev/block/7:3/loop3p2", "partition", "2\n");
    add("dev/block/7:3/queue", "dev", "1:1\n");
    add("dev/block/259:2", "partition", "2\n");
  }
  void TearDown() override
  {
    remove_tree(root);
    g_free(root);
  }
  void add(const char *folder, const char *name, const char *text)
  {
    g_autofree char *directory = g_build_filename(root, folder, NULL);
    g_autofree char *path = g_build_filename(directory, name, NULL);
    ASSERT_EQ(g_mkdir_with_parents(directory, 0700), 0);
    ASSERT_TRUE(g_file_set_contents(path, text, -1, NULL));
  }
  static void remove_tree(const char *path)
  {
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
      g_autofree char *child = g_build_filename(path, name, NULL);
      remove_tree(child);
    }
    g_remove(path);
  }
};

TEST_F(SysTree, PartitionsAreFound)
{
  g_autoptr(GArray) devices = vd_mounts_list_devices(makedev(7, 3), root);
  std::vector<guint64> found(&g_array_index(devices, guint64, 0),
                             &g_array_index(devices, guint64, 0) + devices->len);
  std::sort(found.begin() + 1, found.end());
  EXPECT_EQ(found, (std::vector<guint64>{makedev(7, 3), makedev(259, 1), makedev(259, 2)}));
}

TEST_F(SysTree, NumberOfAPartition)
{
  EXPECT_EQ(vd_mounts_get_partition(makedev(259, 2), root), 2u);
  EXPECT_EQ(vd_mounts_get_partition(makedev(7, 3), root), 0u);
}

TEST(Target, IsAbsoluteAndOfAKind)
{
  g_autoptr(VdTarget) image = vd_target_new("no/such/../image.vhd");
  g_autoptr(VdTarget) directory = vd_target_new("/");
  g_autoptr(VdTarget) character = vd_target_new("/dev/null");
  g_autofree char *here = g_get_current_dir();
  // Where ".." leads is known to the file system alone.
  g_autofree char *expected = g_build_filename(here, "no", "such", "..", "image.vhd", NULL);
  EXPECT_STREQ(image->path, expected);
  EXPECT_EQ(image->kind, VD_TARGET_IMAGE);
  EXPECT_EQ(directory->kind, VD_TARGET_DIRECTORY);
  // The service says what is wrong with it.
  EXPECT_EQ(character->kind, VD_TARGET_IMAGE);
}

} // namespace
