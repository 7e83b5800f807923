// SPDX-License-Identifier: LGPL-2.1-or-later
// The cache of metadata pages: what is loaded when, what stays, who is woken.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "sim-io.hh"

extern "C" {
#include "engine/pages.h"
}

namespace
{

constexpr size_t page_size = 4096, n_pages = 64;

struct Waiter : VdWaiter {
  unsigned woken = 0;

  Waiter() : VdWaiter()
  {
    wake = [](VdWaiter *self) { static_cast<Waiter *>(self)->woken++; };
  }
};

class Pages : public testing::Test
{
protected:
  vd_sim::Io sim;
  VdPages *pages = nullptr;
  Waiter waiter;
  int error = 0;

  void SetUp() override
  {
    std::vector<uint8_t> bytes(200 * page_size + 100);

    for (size_t i = 0; i < bytes.size(); i++)
      bytes[i] = static_cast<uint8_t>(i / page_size + 1);
    sim.add(vd_sim::Image::from_bytes(bytes), true);
    sim.add(vd_sim::Image::from_bytes(std::vector<uint8_t>(page_size, 99)), false);
    pages = vd_pages_new(sim.io(), page_size, n_pages * page_size);
  }
  void TearDown() override
  {
    vd_pages_free(pages);
  }
  VdStep get(uint64_t number, VdPage **page, unsigned file = 0)
  {
    return vd_pages_get(pages, file, number * page_size, page, &waiter, &error);
  }
  // In memory, whatever it takes.
  VdPage *have(uint64_t number, unsigned file = 0)
  {
    VdPage *page = nullptr;
    VdStep step;

    while ((step = get(number, &page, file)) == VD_STEP_WAIT)
      sim.run_until_quiet();
    return step == VD_STEP_DONE ? page : nullptr;
  }
};

TEST_F(Pages, APageIsLoadedOnceAndKnownByFileAndOffset)
{
  VdPage *page = nullptr;

  EXPECT_EQ(get(3, &page), VD_STEP_WAIT);
  EXPECT_EQ(vd_pages_peek(pages, 0, 3 * page_size), nullptr);
  sim.run_until_quiet();
  EXPECT_EQ(waiter.woken, 1u);
  ASSERT_EQ(get(3, &page), VD_STEP_DONE);
  EXPECT_EQ(page->data[0], 4);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(page->data) % page_size, 0u);
  EXPECT_EQ(vd_pages_peek(pages, 0, 3 * page_size), page);
  EXPECT_EQ(have(0, 1)->data[0], 99);
  EXPECT_EQ(have(0)->data[0], 1);
  EXPECT_EQ(vd_pages_loads(pages), 3u);
}

TEST_F(Pages, AllWhoWaitForAPageShareItsLoad)
{
  Waiter others[3];
  VdPage *page = nullptr;

  for (Waiter &other : others)
    EXPECT_EQ(vd_pages_get(pages, 0, 0, &page, &other, &error), VD_STEP_WAIT);
  sim.run_until_quiet();
  for (const Waiter &other : others)
    EXPECT_EQ(other.woken, 1u);
  EXPECT_EQ(vd_pages_loads(pages), 1u);
}

TEST_F(Pages, BehindTheEndOfTheFileThereAreZeros)
{
  VdPage *page = have(200);

  ASSERT_TRUE(page);
  EXPECT_EQ(page->data[99], 201);
  EXPECT_EQ(page->data[100], 0);
  EXPECT_EQ(have(5000)->data[0], 0);
}

TEST_F(Pages, TheLeastRecentlyUsedGoes)
{
  for (uint64_t i = 0; i < n_pages; i++)
    ASSERT_TRUE(have(i));
  have(0)->layer_data[0] = 5;
  have(100);
  EXPECT_TRUE(vd_pages_peek(pages, 0, 0));
  EXPECT_FALSE(vd_pages_peek(pages, 0, page_size));
  EXPECT_EQ(have(100)->layer_data[0], 0u);
}

TEST_F(Pages, WhatALayerKeptWithAPageGoesWithIt)
{
  have(0)->layer_data[0] = 5;
  for (uint64_t i = 1; i <= n_pages; i++)
    ASSERT_TRUE(have(i));
  EXPECT_EQ(have(0)->layer_data[0], 0u);
}

TEST_F(Pages, APinnedPageStays)
{
  VdPage *page = have(0);

  vd_pages_pin(pages, page);
  page->data[7] = 77;
  for (uint64_t i = 1; i < 3 * n_pages; i++)
    ASSERT_TRUE(have(i));
  EXPECT_EQ(vd_pages_peek(pages, 0, 0), page);
  EXPECT_EQ(page->data[7], 77);
  vd_pages_unpin(pages, page);
  for (uint64_t i = 1; i < 3 * n_pages; i++)
    ASSERT_TRUE(have(i));
  EXPECT_EQ(vd_pages_peek(pages, 0, 0), nullptr);
}

TEST_F(Pages, WithAllPinnedOneWaitsForRoomAndIsWokenInTheNextRound)
{
  std::vector<VdPage *> pinned;
  VdPage *page = nullptr;

  for (uint64_t i = 0; i < n_pages; i++) {
    pinned.push_back(have(i));
    vd_pages_pin(pages, pinned.back());
    vd_pages_pin(pages, pinned.back());
  }
  waiter.woken = 0;
  EXPECT_EQ(get(100, &page), VD_STEP_WAIT);
  sim.run_until_quiet();
  EXPECT_EQ(waiter.woken, 0u);
  vd_pages_unpin(pages, pinned[9]);
  sim.run_until_quiet();
  EXPECT_EQ(waiter.woken, 0u) << "pinned twice";
  vd_pages_unpin(pages, pinned[9]);
  EXPECT_EQ(waiter.woken, 0u) << "not inside the call";
  sim.run_until_quiet();
  EXPECT_EQ(waiter.woken, 1u);
  EXPECT_EQ(have(100)->data[0], 101);
}

TEST_F(Pages, AFailedLoadIsToldOnceAndThenTriedAgain)
{
  VdPage *page = nullptr;

  sim.fail(0, EIO);
  EXPECT_EQ(get(3, &page), VD_STEP_WAIT);
  sim.run_until_quiet();
  EXPECT_EQ(waiter.woken, 1u);
  EXPECT_EQ(vd_pages_peek(pages, 0, 3 * page_size), nullptr);
  EXPECT_EQ(get(3, &page), VD_STEP_FAILED);
  EXPECT_EQ(error, -EIO);
  EXPECT_EQ(get(3, &page), VD_STEP_WAIT);
  sim.run_until_quiet();
  EXPECT_EQ(get(3, &page), VD_STEP_DONE);
}

TEST_F(Pages, AnOverlayIsLaidOverWhatWasRead)
{
  vd_pages_set_overlay(
      pages, 0,
      [](void *user, uint64_t offset, uint8_t *data, size_t length) {
        EXPECT_EQ(length, page_size);
        if (offset == 2 * page_size)
          data[1] = *static_cast<uint8_t *>(user);
      },
      &(error = 42));
  EXPECT_EQ(have(2)->data[1], 42);
  EXPECT_EQ(have(2)->data[0], 3);
  EXPECT_EQ(have(1)->data[1], 2);
  EXPECT_EQ(have(0, 1)->data[1], 99);
}

TEST_F(Pages, RandomUseAgreesWithTheFile)
{
  std::mt19937_64 random(3);
  std::vector<VdPage *> pinned;

  for (int i = 0; i < 5000; i++) {
    uint64_t number = random() % 200;
    VdPage *page = have(number);

    ASSERT_TRUE(page);
    ASSERT_EQ(page->data[random() % page_size], static_cast<uint8_t>(number + 1));
    if (pinned.size() < n_pages / 2 && random() % 4 == 0) {
      vd_pages_pin(pages, page);
      pinned.push_back(page);
    } else if (!pinned.empty() && random() % 4 == 0) {
      std::swap(pinned[random() % pinned.size()], pinned.back());
      vd_pages_unpin(pages, pinned.back());
      pinned.pop_back();
    }
  }
}

} // namespace
