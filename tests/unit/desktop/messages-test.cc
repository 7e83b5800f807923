// SPDX-License-Identifier: LGPL-2.1-or-later
// Every case has a sentence that is whole, and a next step.
#include <gtest/gtest.h>

extern "C" {
#include "messages.h"
#include "work.h"
}

#include <set>
#include <string>

namespace
{

class EachSaying : public testing::TestWithParam<int>
{
protected:
  VdSaying saying = static_cast<VdSaying>(GetParam());
  const VdMessage *message = vd_message_get(saying);

  std::string fill(const char *pattern)
  {
    const VdBlanks blanks = {"disk.vhdx", "/media/disk", "It is broken"};
    g_autofree char *text = vd_message_fill(pattern, &blanks);

    return text;
  }
};

TEST_P(EachSaying, IsThere)
{
  ASSERT_NE(message->summary, nullptr);
  ASSERT_NE(message->body, nullptr);
  EXPECT_LT(message->next, VD_N_NEXT);
}

TEST_P(EachSaying, NamesTheImage)
{
  EXPECT_NE(fill(message->summary).find("“disk.vhdx”"), std::string::npos) << message->summary;
}

TEST_P(EachSaying, IsFilledInAndEndsAsASentence)
{
  std::string summary = fill(message->summary), body = fill(message->body);

  EXPECT_EQ((summary + body).find('{'), std::string::npos) << summary << body;
  EXPECT_NE(summary.back(), '.') << summary;
  EXPECT_EQ(body.back(), '.') << body;
  EXPECT_EQ(body.find(".."), std::string::npos) << body;
}

TEST_P(EachSaying, SpeaksToPeople)
{
  std::string text = fill(message->summary) + fill(message->body);

  for (const char *word : {"errno", "ERROR", "D-Bus", "handle", "polkit", "descriptor"})
    EXPECT_EQ(text.find(word), std::string::npos) << text;
}

/* What did not work is not left there: the reader is told what to do. */
TEST_P(EachSaying, OffersTheNextStep)
{
  static const std::set<std::string> verbs = {"Eject", "eject", "Open",  "open",   "Check",
                                              "Ask",   "Look",  "Copy",  "Delete", "Unlock",
                                              "Try",   "Let",   "Close", "Make",   "Convert"};
  std::string body = fill(message->body);
  bool found = message->next != VD_NEXT_NOTHING;

  for (const std::string &verb : verbs)
    found |= body.find(verb + " ") != std::string::npos;
  if (message->tone == VD_TONE_WARN) {
    EXPECT_TRUE(found) << body;
  }
}

INSTANTIATE_TEST_SUITE_P(Messages, EachSaying, testing::Range(0, static_cast<int>(VD_N_SAYINGS)));

TEST(Messages, AreAllDifferent)
{
  std::set<std::string> bodies;

  for (int i = 0; i < VD_N_SAYINGS; i++)
    EXPECT_TRUE(bodies.insert(vd_message_get(static_cast<VdSaying>(i))->body).second) << i;
}

TEST(Messages, WhatIsFilledInIsNotFilledInAgain)
{
  const VdBlanks blanks = {"{reason}", "{name}", "secret"};
  g_autofree char *text = vd_message_fill("{name} {place} {other} {", &blanks);
  const VdBlanks none = {};
  g_autofree char *empty = vd_message_fill("a{name}b", &none);

  EXPECT_STREQ(text, "{reason} {name} {other} {");
  EXPECT_STREQ(empty, "ab");
}

TEST(Messages, KeysOfButtonsAreReadBack)
{
  std::set<std::string> keys;

  EXPECT_EQ(vd_next_key(VD_NEXT_NOTHING), nullptr);
  for (int i = VD_NEXT_NOTHING + 1; i < VD_N_NEXT; i++) {
    auto next = static_cast<VdNext>(i);

    ASSERT_NE(vd_next_key(next), nullptr);
    ASSERT_NE(vd_next_label(next), nullptr);
    EXPECT_TRUE(keys.insert(vd_next_key(next)).second);
    EXPECT_EQ(vd_next_of_key(vd_next_key(next)), next);
  }
  EXPECT_EQ(vd_next_of_key("default"), VD_NEXT_NOTHING);
  EXPECT_EQ(vd_next_of_key(""), VD_NEXT_NOTHING);
}

VdSaying saying_of(GQuark domain, int code)
{
  g_autoptr(GError) error = g_error_new_literal(domain, code, "x");

  return vd_saying_of_error(error);
}

TEST(Messages, ErrorsOfTheServiceHaveTheirSentence)
{
  const struct {
    VirtdiskError code;
    VdSaying saying;
  } rows[] = {
      {VIRTDISK_ERROR_SHARING_VIOLATION, VD_SAYING_IN_USE},
      {VIRTDISK_ERROR_BUSY, VD_SAYING_STILL_BUSY},
      {VIRTDISK_ERROR_ACCESS_DENIED, VD_SAYING_NO_ACCESS},
      {VIRTDISK_ERROR_PRIVILEGE_NOT_HELD, VD_SAYING_NOT_ALLOWED},
      {VIRTDISK_ERROR_AUTHORIZATION_DISMISSED, VD_SAYING_DISMISSED},
      {VIRTDISK_ERROR_FILE_NOT_FOUND, VD_SAYING_NOT_FOUND},
      {VIRTDISK_ERROR_FILE_CORRUPT, VD_SAYING_DAMAGED},
      {VIRTDISK_ERROR_VHD_PARENT_VHD_NOT_FOUND, VD_SAYING_PARENT_MISSING},
      {VIRTDISK_ERROR_UNSUPPORTED_COMPRESSION, VD_SAYING_WRONG_PLACE},
      {VIRTDISK_ERROR_NO_RESOURCES, VD_SAYING_NO_SERVICE},
      {VIRTDISK_ERROR_INTERNAL, VD_SAYING_FAILED},
  };

  for (const auto &row : rows)
    EXPECT_EQ(saying_of(VIRTDISK_ERROR, row.code), row.saying) << row.code;
  EXPECT_EQ(saying_of(G_IO_ERROR, G_IO_ERROR_BUSY), VD_SAYING_FAILED);
}

/* An image that cannot be opened because of what is in it is never "that did not work". */
TEST(Messages, EveryErrorOfTheFormatsSaysMoreThanThatItFailed)
{
  for (int code = VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING;
       code <= VIRTDISK_ERROR_VHD_FORMAT_UNSUPPORTED_VERSION; code++)
    EXPECT_NE(saying_of(VIRTDISK_ERROR, code), VD_SAYING_FAILED) << code;
}

TEST(Messages, NoFailureIsASuccess)
{
  for (int code = 0; code < VIRTDISK_N_ERRORS; code++)
    EXPECT_FALSE(vd_saying_is_success(saying_of(VIRTDISK_ERROR, code))) << code;
}

TEST(Outcome, OfAnErrorIsAPartOfASentence)
{
  g_autoptr(VdOutcome) outcome = vd_outcome_new("/images/{name}.vhdx");

  vd_outcome_fail(outcome, g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_CORRUPT,
                                               "header 1 is bad. (ERROR_FILE_CORRUPT, 1392)"));
  g_autofree char *summary = vd_outcome_summary(outcome), *body = vd_outcome_body(outcome);

  EXPECT_STREQ(summary, "“{name}.vhdx” is damaged");
  EXPECT_EQ(std::string(body).rfind("header 1 is bad. Check it", 0), 0u) << body;
  vd_outcome_fail(outcome,
                  g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_CORRUPT, "not \xff UTF-8"));
  EXPECT_TRUE(g_utf8_validate(outcome->reason, -1, NULL));
}

} // namespace
