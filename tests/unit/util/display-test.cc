// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>
#include <string>

extern "C" {
#include "util/display.h"
}

static std::string display(const char *path)
{
  g_autofree char *text = vd_text_to_display(path);

  return text;
}

TEST(Display, FitTextIsUnchanged)
{
  EXPECT_EQ(display("/srv/Größe 100% \\ 画像.iso"), "/srv/Größe 100% \\ 画像.iso");
  EXPECT_EQ(display(""), "");
}

TEST(Display, WhatATerminalObeysIsEscaped)
{
  EXPECT_EQ(display("/a\n\033[2J\177"), "/a\\x0a\\x1b[2J\\x7f");
}

TEST(Display, WhatReordersTextIsEscaped)
{
  EXPECT_EQ(display("/a\xe2\x80\xae"
                    "osi.b"),
            "/a\\xe2\\x80\\xaeosi.b"); // right-to-left override
  EXPECT_EQ(display("/a\xe2\x80\xa8"
                    "b"),
            "/a\\xe2\\x80\\xa8"
            "b"); // line separator
}

TEST(Display, BytesThatAreNotUtf8AreEscaped)
{
  EXPECT_EQ(display("/\xff\xfe.iso"), "/\\xff\\xfe.iso");
  EXPECT_EQ(display("/\xc3"), "/\\xc3");                   // cut short
  EXPECT_EQ(display("/\xed\xa0\x80"), "/\\xed\\xa0\\x80"); // half of a surrogate pair
  EXPECT_TRUE(g_utf8_validate(display("/\xf8\x88\x80\x80\x80\xc0\xaf").c_str(), -1, nullptr));
}

TEST(Display, CutsBetweenCharacters)
{
  char target[8];

  vd_text_cut("Größe", target, sizeof target);
  EXPECT_STREQ(target, "Größe"); // seven bytes and the end
  vd_text_cut("Größen", target, sizeof target);
  EXPECT_STREQ(target, "Größe");
  vd_text_cut("123456ß", target, sizeof target);
  EXPECT_STREQ(target, "123456");
  vd_text_cut("1234567\n", target, sizeof target);
  EXPECT_STREQ(target, "1234567");
}
