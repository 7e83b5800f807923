// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

extern "C" {
#include "bar.h"
#include "operate.h"
}

#include <string>

namespace
{

std::string line(const VdBarState &state, guint width)
{
  g_autofree char *text = vd_bar_format(&state, width);
  return text;
}

std::string said(const char *results)
{
  g_autoptr(GVariant) value =
      results != nullptr ? g_variant_ref_sink(g_variant_new_parsed(results)) : nullptr;
  g_autofree char *text = vd_operate_describe("merge", value);
  return text;
}

TEST(Bar, FillsTheLine)
{
  VdBarState state = {"merge", 0.5, 0, 0, -1};
  EXPECT_EQ(line(state, 37), "merge  [##########..........]   50.0%");
  state.progress = 1;
  EXPECT_EQ(line(state, 27), "merge  [##########]  100.0%");
  state = {"convert", 0.25, 4294967296, 1048576, 75};
  for (guint width : {200u, 79u, 61u})
    EXPECT_EQ(line(state, width).size(), width);
}

TEST(Bar, IsLeftOutWhereItHasNoRoom)
{
  VdBarState state = {"convert", 0.25, 4294967296, 1048576, 75};
  EXPECT_EQ(line(state, 50), "convert   25.0% of 4GiB  1MiB/s  1:15 left");
  EXPECT_EQ(line(state, 10), "convert   ");
}

TEST(Bar, SaysNothingThatItDoesNotKnow)
{
  EXPECT_EQ(line({"expand", -1, 0, 0, -1}, 80), "expand  ");
}

TEST(Bar, Time)
{
  for (auto each :
       {std::make_pair(7, "0:07"), std::make_pair(754, "12:34"), std::make_pair(10800, "3:00:00")}) {
    g_autofree char *text = vd_bar_format_time(each.first);
    EXPECT_STREQ(text, each.second);
  }
}

TEST(Results, AreASentence)
{
  EXPECT_EQ(said("{'given-back': <uint64 1024>}"), "1KiB given back");
  EXPECT_EQ(said("{'new-size': <uint64 4194304>, 'note': <'why'>}"), "the disk has 4MiB now; why");
  EXPECT_EQ(said("{'copied': <uint64 0>}"), "0B copied");
  EXPECT_EQ(said("@a{sv} {}"), "merge is done");
  EXPECT_EQ(said(nullptr), "merge is done");
}

} // namespace
