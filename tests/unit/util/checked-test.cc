// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

extern "C" {
#include "util/checked.h"
}

TEST(Checked, SumThatWrapsFails)
{
  uint64_t sum;

  EXPECT_TRUE(vd_add_u64(UINT64_MAX - 1, 1, &sum));
  EXPECT_EQ(sum, UINT64_MAX);
  EXPECT_FALSE(vd_add_u64(UINT64_MAX, 1, &sum));
}

TEST(Checked, ProductThatWrapsFails)
{
  uint64_t product;

  EXPECT_TRUE(vd_mul_u64(UINT64_C(1) << 32, (UINT64_C(1) << 32) - 1, &product));
  EXPECT_FALSE(vd_mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &product));
}

TEST(Checked, RangeEndsAtLimit)
{
  EXPECT_TRUE(vd_range_within(0, 512, 512));
  EXPECT_TRUE(vd_range_within(512, 0, 512));
  EXPECT_FALSE(vd_range_within(1, 512, 512));
  EXPECT_FALSE(vd_range_within(513, 0, 512));
  EXPECT_FALSE(vd_range_within(1, UINT64_MAX, 512));
}
