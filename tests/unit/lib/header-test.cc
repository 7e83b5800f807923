// SPDX-License-Identifier: LGPL-2.1-or-later
// The public headers as a C++17 program sees them: no extern "C" around them, warnings are errors.
#include <virtdisk.h>
#include <virtdisk-enum-types.h>

#include <gtest/gtest.h>

#include <string>

TEST(Header, TypesAreRegistered)
{
  EXPECT_STREQ(g_type_name(VIRTDISK_TYPE_CLIENT), "VirtdiskClient");
  EXPECT_STREQ(g_type_name(VIRTDISK_TYPE_HANDLE), "VirtdiskHandle");
  EXPECT_STREQ(g_type_name(VIRTDISK_TYPE_DISK), "VirtdiskDisk");
  EXPECT_STREQ(g_type_name(VIRTDISK_TYPE_INFO), "VirtdiskInfo");
  EXPECT_STREQ(g_type_name(VIRTDISK_TYPE_DEPENDENCY), "VirtdiskDependency");
  EXPECT_TRUE(G_TYPE_IS_FLAGS(VIRTDISK_TYPE_ACCESS_MASK));
  EXPECT_TRUE(G_TYPE_IS_ENUM(VIRTDISK_TYPE_ERROR));
}

TEST(Header, ErrorsOfTheSharedTableAreExported)
{
  EXPECT_STREQ(virtdisk_error_to_dbus_name(VIRTDISK_ERROR_BUSY), "org.virtdisk1.Error.Busy");
  EXPECT_EQ(virtdisk_error_to_win32(VIRTDISK_ERROR_SHARING_VIOLATION), 32u);
}

static std::string printed(GVariant *variant)
{
  g_autoptr(GVariant) owned = variant;
  g_autofree char *text = g_variant_print(owned, TRUE);

  return text;
}

TEST(Parameters, NothingSetIsNothingSent)
{
  g_autoptr(VirtdiskOpenParameters) open = virtdisk_open_parameters_new();
  g_autoptr(VirtdiskAttachParameters) attach = virtdisk_attach_parameters_new();
  g_autoptr(VirtdiskDetachParameters) detach = virtdisk_detach_parameters_new();

  EXPECT_EQ(printed(virtdisk_open_parameters_to_variant(open)), "@a{sv} {}");
  EXPECT_EQ(printed(virtdisk_attach_parameters_to_variant(attach)), "@a{sv} {}");
  EXPECT_EQ(printed(virtdisk_detach_parameters_to_variant(detach)), "@a{sv} {}");
}

TEST(Parameters, TheLastValueCountsAndNullTakesBack)
{
  g_autoptr(VirtdiskOpenParameters) open = virtdisk_open_parameters_new();

  virtdisk_open_parameters_set_vendor_id(open, VIRTDISK_VENDOR_MICROSOFT);
  virtdisk_open_parameters_set_vendor_id(open, nullptr);
  virtdisk_open_parameters_set_read_only(open, TRUE);
  virtdisk_open_parameters_set_read_only(open, FALSE);
  EXPECT_EQ(printed(virtdisk_open_parameters_to_variant(open)), "{'read-only': <false>}");
}
