// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

extern "C" {
#include "choose.h"
#include "exit.h"
}

#include <string>

namespace
{

// text: entries of Disk.FileSystems. Returns the node, or "exit N".
std::string choose(const char *text, gint partition)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(GVariant) value = g_variant_parse(G_VARIANT_TYPE("aa{sv}"), text, NULL, NULL, &error);
  if (value == NULL)
    return error->message;
  g_autofree char *node = vd_choose_file_system(value, "/dev/loop3", partition, &error);
  return node != NULL ? node : "exit " + std::to_string(vd_exit_from_error(error));
}

constexpr const char *WHOLE = "[{'partition': <uint32 0>, 'usage': <'filesystem'>, 'type': <'iso9660'>}]";
constexpr const char *ISO_HYBRID =
    "[{'partition': <uint32 1>, 'usage': <'filesystem'>, 'type': <'vfat'>, 'device': <'/dev/loop3p1'>},"
    " {'partition': <uint32 0>, 'usage': <'filesystem'>, 'type': <'iso9660'>, 'device': <'/dev/loop3'>}]";
constexpr const char *ONE_OF_TWO =
    "[{'partition': <uint32 1>, 'usage': <'other'>, 'type': <'swap'>},"
    " {'partition': <uint32 2>, 'usage': <'filesystem'>, 'type': <'ext4'>, 'device': <'/dev/loop3p2'>}]";
constexpr const char *TWO =
    "[{'partition': <uint32 1>, 'usage': <'filesystem'>, 'type': <'vfat'>, 'label': <'EFI'>},"
    " {'partition': <uint32 2>, 'usage': <'filesystem'>, 'type': <'ext4'>}]";

TEST(Choose, TheOnlyOne)
{
  EXPECT_EQ(choose(WHOLE, VD_PARTITION_ANY), "/dev/loop3");
  EXPECT_EQ(choose(ONE_OF_TWO, VD_PARTITION_ANY), "/dev/loop3p2");
}

TEST(Choose, TheWholeDiskBeforeItsPartitions)
{
  EXPECT_EQ(choose(ISO_HYBRID, VD_PARTITION_ANY), "/dev/loop3");
  EXPECT_EQ(choose(ISO_HYBRID, 1), "/dev/loop3p1");
}

TEST(Choose, TheOneNamed)
{
  EXPECT_EQ(choose(TWO, 1), "/dev/loop3p1");
  EXPECT_EQ(choose(TWO, 2), "/dev/loop3p2");
  EXPECT_EQ(choose(WHOLE, 0), "/dev/loop3");
}

TEST(Choose, SeveralIsAQuestionBackThatNamesThem)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(GVariant) value = g_variant_parse(G_VARIANT_TYPE("aa{sv}"), TWO, NULL, NULL, NULL);
  EXPECT_EQ(vd_choose_file_system(value, "/dev/loop3", VD_PARTITION_ANY, &error), nullptr);
  EXPECT_EQ(vd_exit_from_error(error), VD_EXIT_USAGE);
  EXPECT_NE(std::string(error->message).find("1 (vfat EFI), 2 (ext4)"), std::string::npos) << error->message;
}

TEST(Choose, NothingToMount)
{
  EXPECT_EQ(choose("[]", VD_PARTITION_ANY), "exit 7");
  EXPECT_EQ(choose(ONE_OF_TWO, 1), "exit 7");
  EXPECT_EQ(choose(ONE_OF_TWO, 3), "exit 4");
}

TEST(Choose, MadeSinceTheAttachIsTriedWhenNamed)
{
  constexpr const char *blank = "[{'partition': <uint32 1>, 'usage': <''>, 'device': <'/dev/loop3p1'>}]";
  EXPECT_EQ(choose(blank, VD_PARTITION_ANY), "exit 7");
  EXPECT_EQ(choose(blank, 1), "/dev/loop3p1");
  EXPECT_EQ(choose("[]", 0), "/dev/loop3");
  EXPECT_EQ(choose("[]", 1), "exit 4");
}

TEST(Choose, NodeOfAPartition)
{
  g_autofree char *loop = vd_choose_partition_node("/dev/loop3", 2);
  g_autofree char *sd = vd_choose_partition_node("/dev/sda", 2);
  g_autofree char *whole = vd_choose_partition_node("/dev/loop3", 0);
  EXPECT_STREQ(loop, "/dev/loop3p2");
  EXPECT_STREQ(sd, "/dev/sda2");
  EXPECT_STREQ(whole, "/dev/loop3");
}

} // namespace
