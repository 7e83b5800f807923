// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>
#include <gio/gio.h>
#include <set>
#include <string>

#include "virtdisk-error.h"

TEST(ErrorTable, NamesAreCompleteAndUnique)
{
  std::set<std::string> names;

  for (int code = 0; code < VIRTDISK_N_ERRORS; code++) {
    const char *name = virtdisk_error_to_dbus_name(static_cast<VirtdiskError>(code));

    ASSERT_NE(name, nullptr) << code;
    EXPECT_TRUE(g_str_has_prefix(name, "org.virtdisk1.Error.")) << name;
    EXPECT_TRUE(g_dbus_is_interface_name(name)) << name;
    EXPECT_TRUE(names.insert(name).second) << name << " stands twice";
    EXPECT_NE(virtdisk_error_to_win32(static_cast<VirtdiskError>(code)), 0u) << name;
    EXPECT_GT(virtdisk_error_to_errno(static_cast<VirtdiskError>(code)), 0) << name;
    EXPECT_TRUE(g_str_has_prefix(virtdisk_error_win32_name(static_cast<VirtdiskError>(code)), "ERROR_"))
        << name;
  }
}

TEST(ErrorTable, RoundTripOverTheBus)
{
  for (int code = 0; code < VIRTDISK_N_ERRORS; code++) {
    g_autoptr(GError) sent = g_error_new(VIRTDISK_ERROR, code, "text %d", code);
    g_autofree char *name = g_dbus_error_encode_gerror(sent);
    g_autoptr(GError) received = g_dbus_error_new_for_dbus_error(name, sent->message);

    EXPECT_STREQ(name, virtdisk_error_to_dbus_name(static_cast<VirtdiskError>(code)));
    EXPECT_TRUE(g_error_matches(received, VIRTDISK_ERROR, code)) << name;
  }
}
