// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include <memory>
#include <sys/sysmacros.h>

extern "C" {
#include "attach/mounts.h"
}

namespace
{

using Table = std::unique_ptr<GPtrArray, decltype(&g_ptr_array_unref)>;

Table Parse(const char *text)
{
  return Table(vd_mounts_parse(text), g_ptr_array_unref);
}

const VdMount *At(const Table &table, guint index)
{
  return static_cast<VdMount *>(g_ptr_array_index(table.get(), index));
}

TEST(Mounts, FieldsOfALine)
{
  Table table = Parse("36 35 7:3 / /mnt/disk rw,noatime master:1 - ext4 /dev/loop3 rw,errors=remount-ro\n");

  ASSERT_EQ(table->len, 1u);
  EXPECT_EQ(At(table, 0)->id, 36u);
  EXPECT_EQ(At(table, 0)->number, makedev(7, 3));
  EXPECT_STREQ(At(table, 0)->root, "/");
  EXPECT_STREQ(At(table, 0)->point, "/mnt/disk");
  EXPECT_STREQ(At(table, 0)->fs_type, "ext4");
  EXPECT_STREQ(At(table, 0)->source, "/dev/loop3");
  EXPECT_STREQ(At(table, 0)->super_options, "rw,errors=remount-ro");
}

TEST(Mounts, WhatAUserHadMounted)
{
  Table table = Parse("1 0 7:3 / /run/media/ann/a rw - ext4 /dev/loop3 rw\n"
                      "2 0 7:3 / /media/ann/a/b rw - ext4 /dev/loop3 rw\n"
                      "3 0 7:3 / /media/anna/a rw - ext4 /dev/loop3 rw\n"
                      "4 0 7:3 / /media/ann rw - ext4 /dev/loop3 rw\n"
                      "5 0 7:3 / /srv/media/ann/a rw - ext4 /dev/loop3 rw\n");

  ASSERT_EQ(table->len, 5u);
  for (guint i = 0; i < table->len; i++) {
    EXPECT_EQ(vd_mount_is_of_user(At(table, i), "ann"), i < 2) << i;
    EXPECT_FALSE(vd_mount_is_of_user(At(table, i), "")) << i;
  }
}

TEST(Mounts, AnyNumberOfOptionalFields)
{
  Table table = Parse("1 0 259:65537 / / rw - xfs /dev/a rw\n"
                      "2 1 0:5 / /b rw shared:2 master:1 propagate_from:9 unbindable - tmpfs - rw\n");

  ASSERT_EQ(table->len, 2u);
  EXPECT_EQ(At(table, 0)->number, makedev(259, 65537));
  EXPECT_STREQ(At(table, 1)->fs_type, "tmpfs");
  EXPECT_STREQ(At(table, 1)->source, "-");
}

TEST(Mounts, OctalEscapesAreTakenBack)
{
  Table table =
      Parse("1 0 7:0 /a\\040b /media/my\\040disk\\011x\\012y\\134z\\043 rw - iso9660 /dev/l\\303\\274p ro\n");

  ASSERT_EQ(table->len, 1u);
  EXPECT_STREQ(At(table, 0)->root, "/a b");
  EXPECT_STREQ(At(table, 0)->point, "/media/my disk\tx\ny\\z#");
  EXPECT_STREQ(At(table, 0)->source, "/dev/lüp");
}

TEST(Mounts, ABackslashThatIsNoEscapeStays)
{
  Table table = Parse("1 0 7:0 / /a\\04 rw - ext4 /dev/\\999 rw\n2 0 7:0 / /b\\ rw - ext4 x\\477 rw\n");

  ASSERT_EQ(table->len, 2u);
  EXPECT_STREQ(At(table, 0)->point, "/a\\04");
  EXPECT_STREQ(At(table, 0)->source, "/dev/\\999");
  EXPECT_STREQ(At(table, 1)->point, "/b\\");
  EXPECT_STREQ(At(table, 1)->source, "x\\477");
}

class MountsBroken : public testing::TestWithParam<const char *>
{
};

TEST_P(MountsBroken, IsLeftOutAndTheNextIsRead)
{
  std::string text = std::string(GetParam()) + "\n9 8 7:9 / /good rw - ext4 /dev/loop9 rw";
  Table table = Parse(text.c_str());

  ASSERT_EQ(table->len, 1u);
  EXPECT_STREQ(At(table, 0)->point, "/good");
}

INSTANTIATE_TEST_SUITE_P(Lines, MountsBroken,
                         testing::Values("", "1 0 7:0 / /mnt rw ext4 /dev/loop0 rw",
                                         "1 0 7 / /mnt rw - ext4 /dev/loop0 rw",
                                         "1 0 7:0x / /mnt rw - ext4 /dev/loop0 rw",
                                         "1 0 7:0 / /mnt rw - ext4 /dev/loop0", "1 0 7:0 / /mnt rw -",
                                         "garbage", " - - - - - - - "));

TEST(Mounts, OwnTableHasARoot)
{
  GError *error = nullptr;
  Table table(vd_mounts_read(&error), g_ptr_array_unref);
  bool root = false;

  ASSERT_EQ(error, nullptr);
  for (guint i = 0; i < table->len; i++)
    root = root || g_str_equal(At(table, i)->point, "/");
  EXPECT_TRUE(root);
}

} // namespace
