// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

extern "C" {
#include "values.h"
}

#include <string>

namespace
{

std::string format_size(guint64 bytes)
{
  g_autofree char *text = vd_value_format_size(bytes);
  return text;
}

std::string printable(const char *text)
{
  g_autofree char *shown = vd_value_printable(text);
  return shown;
}

TEST(Size, IsShownInBinaryUnitsRoundedDown)
{
  EXPECT_EQ(format_size(0), "0B");
  EXPECT_EQ(format_size(1023), "1023B");
  EXPECT_EQ(format_size(1024), "1KiB");
  EXPECT_EQ(format_size(1536), "1.5KiB");
  EXPECT_EQ(format_size(1024 * 1024 - 1), "1023.9KiB");
  EXPECT_EQ(format_size(700 * 1024ULL * 1024), "700MiB");
  EXPECT_EQ(format_size(64ULL << 40), "64TiB");
  EXPECT_EQ(format_size(G_MAXUINT64), "15.9EiB");
}

struct SizeCase {
  const char *text;
  guint64 bytes;
};
class GoodSize : public testing::TestWithParam<SizeCase>
{
};

TEST_P(GoodSize, IsParsed)
{
  guint64 bytes = 1;
  g_autoptr(GError) error = NULL;
  ASSERT_TRUE(vd_value_parse_size("--size", GetParam().text, &bytes, &error)) << error->message;
  EXPECT_EQ(bytes, GetParam().bytes);
}
INSTANTIATE_TEST_SUITE_P(All, GoodSize,
                         testing::Values(SizeCase{"0", 0}, SizeCase{"4096", 4096}, SizeCase{"4096B", 4096},
                                         SizeCase{"4K", 4096}, SizeCase{"4k", 4096}, SizeCase{"4KiB", 4096},
                                         SizeCase{"4kB", 4000}, SizeCase{"4KB", 4000},
                                         SizeCase{"1M", 1 << 20}, SizeCase{"2GiB", 2ULL << 30},
                                         SizeCase{"3TB", 3000000000000ULL}, SizeCase{"15E", 15ULL << 60},
                                         SizeCase{"18446744073709551615", G_MAXUINT64}));

class BadSize : public testing::TestWithParam<const char *>
{
};

TEST_P(BadSize, IsRefusedAndNamed)
{
  guint64 bytes = 77;
  g_autoptr(GError) error = NULL;
  ASSERT_FALSE(vd_value_parse_size("--size", GetParam(), &bytes, &error));
  EXPECT_TRUE(g_error_matches(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE));
  EXPECT_NE(std::string(error->message).find("--size"), std::string::npos);
  EXPECT_EQ(bytes, 77u);
}
INSTANTIATE_TEST_SUITE_P(All, BadSize,
                         testing::Values("", "-1", "+1", " 1", "1 ", "x", "K", "1.5K", "1KiBx", "1Ki", "1iB",
                                         "1Y", "16E", "18446744073709551616", "0x10"));

TEST(Path, IsMadeAbsoluteAndNotResolved)
{
  g_autofree char *here = g_get_current_dir();
  const std::string folder = std::string(here) + "/";
  const char *const rows[][2] = {{"a", "a"},       {"./a", "a"}, {"././a", "a"},   {"a/../b", "a/../b"},
                                 {"../a", "../a"}, {".", "."},   {".//a", ".//a"}, {"-a", "-a"}};

  for (auto &row : rows) {
    g_autofree char *path = vd_value_absolute(row[0]);
    EXPECT_EQ(path, folder + row[1]) << row[0];
  }
  g_autofree char *path = vd_value_absolute("/a/../b");
  EXPECT_STREQ(path, "/a/../b");
}

TEST(Mode, IsOctalAndBounded)
{
  guint32 mode = 0;
  EXPECT_TRUE(vd_value_parse_mode("--mode", "0660", &mode, NULL));
  EXPECT_EQ(mode, 0660u);
  EXPECT_TRUE(vd_value_parse_mode("--mode", "600", &mode, NULL));
  EXPECT_EQ(mode, 0600u);
  for (const char *bad : {"", "8", "1777", "-600", "600x", "rw"})
    EXPECT_FALSE(vd_value_parse_mode("--mode", bad, &mode, NULL)) << bad;
  EXPECT_EQ(mode, 0600u);
}

TEST(UserAndGroup, AreNamesOrNumbers)
{
  guint32 id = 7;
  EXPECT_TRUE(vd_value_parse_user("--owner", "root", &id, NULL));
  EXPECT_EQ(id, 0u);
  EXPECT_TRUE(vd_value_parse_user("--owner", "4242", &id, NULL));
  EXPECT_EQ(id, 4242u);
  EXPECT_TRUE(vd_value_parse_group("--group", "root", &id, NULL));
  EXPECT_EQ(id, 0u);
  // 4294967295 means "leave it" to chown(2).
  for (const char *bad : {"", "no such user", "-1", "4294967295", "4294967296"}) {
    EXPECT_FALSE(vd_value_parse_user("--owner", bad, &id, NULL)) << bad;
    EXPECT_FALSE(vd_value_parse_group("--group", bad, &id, NULL)) << bad;
  }
}

TEST(Format, NamesDeviceAndVendor)
{
  VirtdiskDeviceId id;
  const char *vendor;
  ASSERT_TRUE(vd_value_parse_format("--format", "raw", &id, &vendor, NULL));
  EXPECT_EQ(id, VIRTDISK_DEVICE_RAW);
  EXPECT_STREQ(vendor, VIRTDISK_VENDOR_VIRTDISK);
  ASSERT_TRUE(vd_value_parse_format("--format", "VHD", &id, &vendor, NULL));
  EXPECT_EQ(id, VIRTDISK_DEVICE_VHD);
  EXPECT_STREQ(vendor, VIRTDISK_VENDOR_MICROSOFT);
  ASSERT_TRUE(vd_value_parse_format("--format", "auto", &id, &vendor, NULL));
  EXPECT_EQ(vendor, nullptr);
  EXPECT_FALSE(vd_value_parse_format("--format", "qcow2", &id, &vendor, NULL));
}

TEST(Lifetime, IsOneOfThree)
{
  for (const char *good : {"session", "permanent", "boot"})
    EXPECT_TRUE(vd_value_check_lifetime("--lifetime", good, NULL)) << good;
  // An attachment of the command would end with it.
  for (const char *bad : {"handle", "", "Boot"})
    EXPECT_FALSE(vd_value_check_lifetime("--lifetime", bad, NULL)) << bad;
}

TEST(Printable, EscapesWhatTerminalsObey)
{
  EXPECT_EQ(printable("plain \u00e9 \u65e5"), "plain \u00e9 \u65e5");
  EXPECT_EQ(printable("\033[31m"), "\\x1b[31m");
  EXPECT_EQ(printable("a\nb\x7f"), "a\\x0ab\\x7f");
  EXPECT_EQ(printable("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(printable("\xc3"), "\\xc3");
  // C1 controls and the right-to-left override.
  EXPECT_EQ(printable("\u009b"), "\\xc2\\x9b");
  EXPECT_EQ(printable("\u202e"), "\\xe2\\x80\\xae");
}

TEST(Utf8, IsLeftAloneWhenValid)
{
  g_autofree char *same = vd_value_to_utf8("a\nb");
  g_autofree char *escaped = vd_value_to_utf8("a\xff");
  EXPECT_STREQ(same, "a\nb");
  EXPECT_STREQ(escaped, "a\\xff");
}

} // namespace
