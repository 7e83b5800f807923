// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

extern "C" {
#include "exit.h"
#include "mount8.h"
#include "output.h"
}

#include <string>

namespace
{

std::string key(const char *name)
{
  g_autofree char *text = vd_output_key(name);
  return text;
}

std::string json(const char *variant)
{
  g_autoptr(GVariant) value = g_variant_parse(NULL, variant, NULL, NULL, NULL);
  JsonNode *node = vd_output_variant_to_json(value);
  g_autofree char *text = json_to_string(node, FALSE);
  json_node_unref(node);
  return text;
}

std::string describe(VirtdiskError code, const char *message)
{
  g_autoptr(GError) error = g_error_new_literal(VIRTDISK_ERROR, code, message);
  g_autofree char *text = vd_output_describe_error(error);
  return text;
}

TEST(Json, KeysAreLowerCaseWithHyphens)
{
  EXPECT_EQ(key("VirtualSize"), "virtual-size");
  EXPECT_EQ(key("DirectIO"), "direct-io");
  EXPECT_EQ(key("Is4kAligned"), "is4k-aligned");
  EXPECT_EQ(key("virtual-size"), "virtual-size");
  EXPECT_EQ(key("virtual_size"), "virtual-size");
  EXPECT_EQ(key("UUID"), "uuid");
}

TEST(Json, ValuesOfTheBus)
{
  EXPECT_EQ(json("@a{sv} {'VirtualSize': <uint64 5000000000>, 'IsRemote': <false>}"),
            "{\"virtual-size\":5000000000,\"is-remote\":false}");
  EXPECT_EQ(json("[{'partition': <uint32 1>, 'label': <'a\"b'>}]"),
            "[{\"partition\":1,\"label\":\"a\\\"b\"}]");
  EXPECT_EQ(json("@aa{sv} []"), "[]");
}

TEST(Json, PathIsExactInBase64WhenItIsNotUtf8)
{
  g_autoptr(JsonObject) plain = json_object_new();
  g_autoptr(JsonObject) odd = json_object_new();
  vd_output_json_set_path(plain, "/a\nb");
  EXPECT_STREQ(json_object_get_string_member(plain, "path"), "/a\nb");
  EXPECT_FALSE(json_object_has_member(plain, "path-base64"));
  vd_output_json_set_path(odd, "/\xff");
  EXPECT_STREQ(json_object_get_string_member(odd, "path"), "/\\xff");
  EXPECT_STREQ(json_object_get_string_member(odd, "path-base64"), "L/8=");
}

TEST(Error, BusyNamesEachHolderOnALineWithAHint)
{
  EXPECT_EQ(describe(VIRTDISK_ERROR_BUSY,
                     "/dev/loop3 is in use: /dev/loop3p1 is mounted on /mnt; /mnt is in use by "
                     "bash (pid 4711); /dev/dm-0 is built on /dev/loop3p2 (ERROR_BUSY, 170)"),
            "/dev/loop3 is in use\n"
            "  /dev/loop3p1 is mounted on /mnt (hint: virtdisk unmount, or detach --force)\n"
            "  /mnt is in use by bash (pid 4711) (hint: end that program or let it close its files)\n"
            "  /dev/dm-0 is built on /dev/loop3p2 (hint: deactivate that first)");
}

TEST(Error, OthersAreOneSentence)
{
  EXPECT_EQ(describe(VIRTDISK_ERROR_IO, "/dev/loop3 is in use: no"), "/dev/loop3 is in use: no");
  EXPECT_EQ(describe(VIRTDISK_ERROR_BUSY, "a: detach that first"), "a: detach that first");
  EXPECT_EQ(describe(VIRTDISK_ERROR_FILE_NOT_FOUND, "no \033 file"), "no \\x1b file");
}

TEST(Exit, DomainsAndCodes)
{
  g_autoptr(GError) own = g_error_new_literal(VD_EXIT_ERROR, VD_EXIT_NOT_AVAILABLE, "");
  g_autoptr(GError) usage = g_error_new_literal(G_OPTION_ERROR, G_OPTION_ERROR_FAILED, "");
  g_autoptr(GError) other = g_error_new_literal(G_IO_ERROR, G_IO_ERROR_FAILED, "");
  EXPECT_EQ(vd_exit_from_error(own), 6);
  EXPECT_EQ(vd_exit_from_error(usage), 2);
  EXPECT_EQ(vd_exit_from_error(other), 1);
}

TEST(Exit, EveryErrorOfTheServiceHasACodeInTheTable)
{
  gsize n;
  const VdExitRow *rows = vd_exit_get_table(&n);
  for (int code = 0; code < VIRTDISK_N_ERRORS; code++) {
    g_autoptr(GError) error = g_error_new_literal(VIRTDISK_ERROR, code, "");
    VdExit exit = vd_exit_from_error(error);
    bool known = false;
    for (gsize i = 0; i < n; i++)
      known |= rows[i].code == exit;
    EXPECT_TRUE(known) << exit;
    EXPECT_NE(exit, VD_EXIT_OK) << code;
  }
}

TEST(Mount8, OptionsAreSafeUnlessSaidOtherwise)
{
  g_autofree char *none = vd_mount8_make_options(NULL);
  g_autofree char *empty = vd_mount8_make_options("");
  g_autofree char *given = vd_mount8_make_options("ro,suid");
  EXPECT_STREQ(none, "nosuid,nodev");
  EXPECT_STREQ(empty, "nosuid,nodev");
  EXPECT_STREQ(given, "nosuid,nodev,ro,suid");
}

} // namespace
