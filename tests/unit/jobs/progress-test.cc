// SPDX-License-Identifier: LGPL-2.1-or-later
// What is made of numbers that come now and then: a part, a speed, an end.
#include <gtest/gtest.h>

extern "C" {
#include "jobs/progress.h"
}

namespace
{

constexpr gint64 SECOND = G_USEC_PER_SEC;

class Progress : public testing::Test
{
protected:
  Progress()
  {
    vd_progress_start(&progress_, 0);
  }
  void add(gint64 seconds, guint64 current, guint64 completion = 1000)
  {
    vd_progress_add(&progress_, seconds * SECOND, current, completion);
  }
  VdProgress progress_;
};

TEST_F(Progress, NothingIsKnownAtFirst)
{
  EXPECT_FALSE(progress_.is_valid);
  EXPECT_EQ(vd_progress_fraction(&progress_), 0);
  EXPECT_EQ(vd_progress_left(&progress_), -1);
}

TEST_F(Progress, SteadySpeedTellsTheEnd)
{
  for (gint64 second = 1; second <= 5; second++)
    add(second, static_cast<guint64>(second) * 100);
  EXPECT_TRUE(progress_.is_valid);
  EXPECT_DOUBLE_EQ(vd_progress_fraction(&progress_), 0.5);
  EXPECT_DOUBLE_EQ(progress_.rate, 100);
  EXPECT_EQ(vd_progress_left(&progress_), 5 * SECOND);
}

TEST_F(Progress, OneSlowMomentIsSmoothed)
{
  add(1, 100);
  add(2, 100);
  EXPECT_LT(progress_.rate, 100);
  EXPECT_GT(progress_.rate, 50);
}

TEST_F(Progress, ALongSlowTimeCounts)
{
  add(1, 100);
  add(101, 100);
  EXPECT_LT(progress_.rate, 10);
}

TEST_F(Progress, WordsThatComeAtOnceSayNothingOfTheSpeed)
{
  add(1, 100);
  vd_progress_add(&progress_, SECOND + 1, 900, 1000);
  EXPECT_DOUBLE_EQ(progress_.rate, 100);
  EXPECT_DOUBLE_EQ(vd_progress_fraction(&progress_), 0.9);
}

TEST_F(Progress, GoingBackIsNoSpeed)
{
  add(1, 500);
  add(2, 100);
  EXPECT_DOUBLE_EQ(progress_.rate, 500);
  EXPECT_DOUBLE_EQ(vd_progress_fraction(&progress_), 0.1);
  add(3, 200);
  EXPECT_LT(progress_.rate, 500);
}

TEST_F(Progress, WhatChangesItsMindStaysWithinItsBounds)
{
  add(1, 900, 800);
  EXPECT_EQ(vd_progress_fraction(&progress_), 1);
  EXPECT_EQ(vd_progress_left(&progress_), 0);
  add(2, 900, 0);
  EXPECT_EQ(vd_progress_fraction(&progress_), 0);
  EXPECT_EQ(vd_progress_left(&progress_), -1);
}

TEST_F(Progress, AnEndInALongTimeIsNotTold)
{
  add(1, 1, G_MAXUINT64);
  EXPECT_EQ(vd_progress_left(&progress_), -1);
  EXPECT_GE(vd_progress_fraction(&progress_), 0);
}

} // namespace
