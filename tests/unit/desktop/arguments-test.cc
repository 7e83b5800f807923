// SPDX-License-Identifier: LGPL-2.1-or-later
// The command line of virtdisk-open.
#include <gtest/gtest.h>

extern "C" {
#include "arguments.h"
}

#include <string>
#include <vector>

namespace
{

struct Line {
  GVariantDict *dict = g_variant_dict_new(NULL);

  Line(const std::vector<const char *> &options, std::vector<const char *> files)
  {
    for (const char *option : options)
      g_variant_dict_insert(dict, option, "b", TRUE);
    if (!files.empty())
      g_variant_dict_insert_value(
          dict, G_OPTION_REMAINING,
          g_variant_new_bytestring_array(files.data(), static_cast<gssize>(files.size())));
  }
  ~Line()
  {
    g_variant_dict_unref(dict);
  }
};

TEST(Arguments, FilesAreOpenedUnlessSaidOtherwise)
{
  const struct {
    std::vector<const char *> options;
    VdDeed deed;
  } rows[] = {
      {{}, VD_DEED_OPEN},         {{"writable"}, VD_DEED_OPEN_WRITABLE}, {{"eject"}, VD_DEED_EJECT},
      {{"check"}, VD_DEED_CHECK}, {{"compact"}, VD_DEED_COMPACT},        {{"create"}, VD_DEED_CREATE}};

  for (const auto &row : rows) {
    Line line(row.options, {"a.iso", "b \xff.vhd"});
    g_autoptr(GError) error = NULL;
    g_autoptr(VdArguments) arguments = vd_arguments_new(line.dict, &error);

    ASSERT_NE(arguments, nullptr) << error->message;
    EXPECT_EQ(arguments->deed, row.deed);
    EXPECT_EQ(g_strv_length(arguments->files), 2u);
    EXPECT_STREQ(arguments->files[1], "b \xff.vhd");
  }
}

TEST(Arguments, TwoDeedsExcludeEachOther)
{
  Line line({"eject", "writable"}, {"a.iso"});
  g_autoptr(GError) error = NULL;
  g_autoptr(VdArguments) arguments = vd_arguments_new(line.dict, &error);

  EXPECT_EQ(arguments, nullptr);
  ASSERT_TRUE(g_error_matches(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE));
  EXPECT_STREQ(error->message, "--writable and --eject exclude each other");
}

TEST(Arguments, AFileIsNeeded)
{
  Line line({"eject"}, {});
  g_autoptr(GError) error = NULL;
  g_autoptr(VdArguments) arguments = vd_arguments_new(line.dict, &error);

  EXPECT_EQ(arguments, nullptr);
  EXPECT_TRUE(g_error_matches(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE));
}

TEST(Arguments, EveryEntryHasADescription)
{
  for (const GOptionEntry *entry = vd_arguments_get_entries(); entry->long_name != NULL; entry++)
    if (*entry->long_name != '\0') {
      EXPECT_NE(entry->description, nullptr) << entry->long_name;
    }
}

} // namespace
