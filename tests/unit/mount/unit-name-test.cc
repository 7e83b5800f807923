// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

extern "C" {
#include "mount/unit-name.h"
}

#include <string>

namespace
{

std::string name(const char *path)
{
  g_autofree char *text = vd_unit_name_from_path(path);
  return text;
}

std::string quote(const char *path)
{
  g_autofree char *text = vd_unit_quote(path);
  return text;
}

// What systemd-escape --path says of each.
TEST(UnitName, Paths)
{
  EXPECT_EQ(name("/srv/data"), "srv-data");
  EXPECT_EQ(name("/srv//a-b/"), "srv-a\\x2db");
  EXPECT_EQ(name("/"), "-");
  EXPECT_EQ(name("/.hidden/.b"), "\\x2ehidden-.b");
  EXPECT_EQ(name("/a b/\xc3\xa9_:9"), "a\\x20b-\\xc3\\xa9_:9");
}

TEST(UnitName, QuotedPaths)
{
  EXPECT_EQ(quote("/srv/a b"), "\"/srv/a b\"");
  EXPECT_EQ(quote("/100%/\"x\\\n"), "\"/100%%/\\x22x\\x5c\\x0a\"");
}

} // namespace
