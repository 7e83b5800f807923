// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

extern "C" {
#include "bus/options.h"
#include "virtdisk-error.h"
}

namespace
{

struct Target {
  guint32 number;
  guint64 size;
  gboolean flag, has_flag;
  const char *word;
};

const VdOption table[] = {
    VD_OPTION(Target, "number", U32, number),
    VD_OPTION(Target, "size", U64, size),
    VD_OPTION_HAS(Target, "flag", BOOL, flag, has_flag),
    VD_OPTION(Target, "word", STRING, word),
};

class Options : public testing::Test
{
protected:
  bool parse(const char *text)
  {
    g_autoptr(GVariant) options = g_variant_ref_sink(g_variant_new_parsed(text));

    g_clear_error(&error);
    return vd_options_parse(options, table, G_N_ELEMENTS(table), &target, arena, &error);
  }
  ~Options() override
  {
    g_clear_error(&error);
    g_ptr_array_unref(arena);
  }
  Target target = {};
  GPtrArray *arena = g_ptr_array_new_with_free_func(g_free);
  GError *error = nullptr;
};

TEST_F(Options, EachTypeArrives)
{
  ASSERT_TRUE(parse("{'number': <uint32 7>, 'size': <uint64 8>, 'flag': <false>, 'word': <'x'>}"));
  EXPECT_EQ(target.number, 7u);
  EXPECT_EQ(target.size, 8u);
  EXPECT_FALSE(target.flag);
  EXPECT_TRUE(target.has_flag);
  EXPECT_STREQ(target.word, "x");
}

TEST_F(Options, NothingGivenNothingTouched)
{
  ASSERT_TRUE(parse("@a{sv} {}"));
  EXPECT_FALSE(target.has_flag);
  EXPECT_EQ(target.word, nullptr);
}

TEST_F(Options, UnknownKeyWrongTypeAndTwiceAreRefusedByName)
{
  const char *const bad[] = {"{'numbr': <uint32 7>}", "{'number': <7>}", "{'flag': <'true'>}",
                             "{'number': <uint32 1>, 'number': <uint32 2>}"};
  const char *const named[] = {"numbr", "number", "flag", "number"};

  for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
    EXPECT_FALSE(parse(bad[i])) << bad[i];
    EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER)) << bad[i];
    EXPECT_NE(strstr(error->message, named[i]), nullptr) << error->message;
  }
}

} // namespace
