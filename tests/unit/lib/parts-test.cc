// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib/gstdio.h>
#include <gtest/gtest.h>

#include <string>

#include "private.h"

static std::string absolute(const char *path)
{
  g_autofree char *made = vd_path_absolute(path, nullptr);

  return made;
}

TEST(Path, RelativeCountsFromHere)
{
  g_autofree char *here = g_get_current_dir();

  EXPECT_EQ(absolute("a.vhd"), std::string(here) + "/a.vhd");
  EXPECT_EQ(absolute("./a.vhd"), std::string(here) + "/a.vhd");
  EXPECT_EQ(absolute("/dev/loop0"), "/dev/loop0");
  // Nothing is folded: a directory in the way may be a symbolic link.
  EXPECT_EQ(absolute("a/../b"), std::string(here) + "/a/../b");
}

TEST(Path, EmptyIsRefused)
{
  g_autoptr(GError) error = nullptr;

  EXPECT_EQ(vd_path_absolute("", &error), nullptr);
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER));
}

TEST(Path, DisplayEscapesWhatIsNotUtf8)
{
  g_autofree char *display = vd_path_display("/tmp/\xff\xc3\xa4\xc3.iso");

  EXPECT_STREQ(display, "/tmp/\\xff\xc3\xa4\\xc3.iso");
  EXPECT_FALSE(vd_path_is_sayable("\xff"));
  EXPECT_TRUE(vd_path_is_sayable("\xc3\xa4"));
}

TEST(Path, OpenSaysWhy)
{
  g_autoptr(GError) missing = nullptr, directory = nullptr;

  EXPECT_EQ(vd_path_open("/nonexistent/\xff", FALSE, &missing), -1);
  EXPECT_TRUE(g_error_matches(missing, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_NOT_FOUND));
  EXPECT_NE(strstr(missing->message, "/nonexistent/\\xff"), nullptr) << missing->message;
  EXPECT_EQ(vd_path_open("/", TRUE, &directory), -1);
  EXPECT_TRUE(g_error_matches(directory, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_A_REGULAR_FILE));
}

TEST(Path, OpenDoesNotBlockOnAFifo)
{
  g_autofree char *directory = g_dir_make_tmp("virtdisk-XXXXXX", nullptr);
  g_autofree char *fifo = g_build_filename(directory, "fifo", nullptr);
  int fd;

  ASSERT_EQ(mkfifo(fifo, 0600), 0);
  fd = vd_path_open(fifo, FALSE, nullptr);
  EXPECT_GE(fd, 0);
  EXPECT_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  close(fd);
  g_unlink(fifo);
  g_rmdir(directory);
}

static VdSplitParameters *split(const char *path, VirtdiskAttachParameters *parameters)
{
  return vd_split_parameters(path, parameters);
}

TEST(Split, DefaultsAreThoseOfAttachImage)
{
  g_autoptr(VdSplitParameters) vhd = split("/a.vhd", nullptr);
  g_autoptr(VdSplitParameters) iso = split("/a.ISO", nullptr);

  EXPECT_FALSE(vhd->read_only);
  EXPECT_EQ(vhd->attach_flags, VIRTDISK_ATTACH_PERMANENT_LIFETIME);
  EXPECT_TRUE(iso->read_only);
  EXPECT_EQ(iso->attach_flags, VIRTDISK_ATTACH_PERMANENT_LIFETIME | VIRTDISK_ATTACH_READ_ONLY);
}

TEST(Split, EachHalfGetsItsKeys)
{
  g_autoptr(VirtdiskAttachParameters) parameters = virtdisk_attach_parameters_new();
  g_autoptr(VdSplitParameters) halves = nullptr;
  g_autoptr(GVariant) open = nullptr, attach = nullptr;
  g_autofree char *open_text = nullptr, *attach_text = nullptr;

  virtdisk_attach_parameters_set_read_only(parameters, TRUE);
  virtdisk_attach_parameters_set_flags(parameters, VIRTDISK_ATTACH_NO_DRIVE_LETTER);
  virtdisk_attach_parameters_set_open_flags(parameters, VIRTDISK_OPEN_CACHED_IO);
  virtdisk_attach_parameters_set_device_id(parameters, VIRTDISK_DEVICE_VHD);
  virtdisk_attach_parameters_set_lifetime(parameters, "session");
  halves = split("/a", parameters);
  EXPECT_EQ(halves->open_flags, VIRTDISK_OPEN_CACHED_IO);
  EXPECT_EQ(halves->attach_flags, VIRTDISK_ATTACH_NO_DRIVE_LETTER | VIRTDISK_ATTACH_READ_ONLY);
  open = virtdisk_open_parameters_to_variant(halves->open);
  attach = virtdisk_attach_parameters_to_variant(halves->attach);
  open_text = g_variant_print(open, TRUE);
  attach_text = g_variant_print(attach, TRUE);
  EXPECT_STREQ(open_text, "{'device-id': <uint32 2>}");
  EXPECT_STREQ(attach_text, "{'lifetime': <'session'>}");
}

TEST(Info, MembersByVersion)
{
  g_autoptr(GVariant) members = g_variant_ref_sink(g_variant_new_parsed(
      "{'VirtualSize': <uint64 5368709120>, 'PhysicalSize': <uint64 1>, 'BlockSize': <uint32 2097152>, "
      "'SectorSize': <uint32 512>, 'Identifier': <'guid'>, 'Is4kAligned': <true>, "
      "'ParentLocationBuffer': <['/a', '/b']>}"));
  g_autoptr(VirtdiskInfo) info = vd_info_new(VIRTDISK_INFO_SIZE, members);
  g_auto(GStrv) parents = virtdisk_info_dup_parent_locations(info);

  EXPECT_EQ(virtdisk_info_get_version(info), VIRTDISK_INFO_SIZE);
  EXPECT_EQ(virtdisk_info_get_virtual_size(info), G_GUINT64_CONSTANT(5368709120));
  EXPECT_EQ(virtdisk_info_get_physical_size(info), 1u);
  EXPECT_EQ(virtdisk_info_get_block_size(info), 2097152u);
  EXPECT_EQ(virtdisk_info_get_sector_size(info), 512u);
  EXPECT_STREQ(virtdisk_info_get_identifier(info), "guid");
  EXPECT_TRUE(virtdisk_info_get_is_4k_aligned(info));
  EXPECT_EQ(g_strv_length(parents), 2u);
  // What the answer does not have, or has in another type, is nothing.
  EXPECT_EQ(virtdisk_info_get_virtual_disk_id(info), nullptr);
  EXPECT_EQ(virtdisk_info_get_fragmentation_percentage(info), 0u);
}
