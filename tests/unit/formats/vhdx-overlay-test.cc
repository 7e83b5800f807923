// SPDX-License-Identifier: LGPL-2.1-or-later
// A log that is held in memory, however often and in whatever order it says the same.
#include <gtest/gtest.h>

#include <random>

#include "images/vhdx.hh"

extern "C" {
#include "formats/vhdx-log.h"
}

using images::Bytes;
using images::Vhdx;
using images::VhdxDescriptor;
using images::VhdxLogEntry;

namespace
{

constexpr uint32_t kPage = 4096;
constexpr uint64_t kMiB = 1 << 20, kArea = 4 * kMiB;
constexpr unsigned kPages = 64;

VhdxLogEntry entry_of(const std::vector<VhdxDescriptor> &descriptors)
{
  VhdxLogEntry one;

  one.sequence = 1;
  one.last = 5 * kMiB;
  one.descriptors = descriptors;
  return one;
}

VhdxDescriptor zeros(uint64_t offset, uint64_t length)
{
  VhdxDescriptor one;

  one.offset = offset;
  one.length = length;
  return one;
}

class VhdxOverlay : public testing::Test
{
protected:
  void open(const std::vector<VhdxDescriptor> &descriptors)
  {
    Vhdx image;
    VdVhdxHeader header;
    VdFormatError error;

    TearDown();
    image.set_log({entry_of(descriptors)});
    file_ = image.make();
    ASSERT_TRUE(vd_reader_init(&reader_, file_->fd(), &error));
    ASSERT_TRUE(vd_vhdx_header_choose(&reader_, &header, &error)) << error.text;
    overlay_ = vd_vhdx_overlay_new(&reader_, &header, &error);
    ASSERT_NE(overlay_, nullptr) << error.text;
  }
  void TearDown() override
  {
    vd_vhdx_overlay_free(overlay_);
    overlay_ = nullptr;
  }

  std::unique_ptr<images::File> file_;
  VdReader reader_;
  VdVhdxOverlay *overlay_ = nullptr;
};

} // namespace

TEST_F(VhdxOverlay, IsWhatTheEffectsLeaveOneAfterTheOther)
{
  for (unsigned seed = 0; seed < 40; seed++) {
    std::mt19937 random(seed);
    std::vector<VhdxDescriptor> descriptors;
    std::vector<int> should(kPages, -1); // -1: the file's own

    for (unsigned i = 0; i < 1 + random() % 60; i++) {
      unsigned first = random() % kPages, n = 1 + random() % (kPages - first);
      VhdxDescriptor one = zeros(kArea + first * kPage, n * kPage);

      if (random() % 2 == 0) {
        one.page = Bytes(kPage, static_cast<uint8_t>(i + 1));
        n = 1;
      }
      std::fill_n(should.begin() + first, n, one.page ? static_cast<int>(i + 1) : 0);
      descriptors.push_back(one);
    }
    ASSERT_NO_FATAL_FAILURE(open(descriptors));
    Bytes all(kPages * kPage, 0x99);
    vd_vhdx_overlay_apply(overlay_, kArea, all.data(), all.size());
    for (unsigned i = 0, next = 0; i < kPages; i++) {
      int value = should[i] < 0 ? 0x99 : should[i];

      EXPECT_EQ(Bytes(all.begin() + i * kPage, all.begin() + (i + 1) * kPage),
                Bytes(kPage, static_cast<uint8_t>(value)))
          << "page " << i << ", seed " << seed;
      for (next = std::max(i, next); next < kPages && should[next] < 0;)
        next++;
      EXPECT_EQ(vd_vhdx_overlay_next(overlay_, kArea + i * kPage),
                next < kPages ? kArea + next * kPage : UINT64_MAX)
          << "page " << i << ", seed " << seed;
    }
  }
}

// Each time that metadata is read all of them would be gone through, and each clear all of it: hours.
TEST_F(VhdxOverlay, TheSameAreaClearedOverAndOverCostsNoMoreThanOnce)
{
  ASSERT_NO_FATAL_FAILURE(open(std::vector<VhdxDescriptor>(20000, zeros(kArea, 1 << 30))));
  Bytes some(kMiB, 0x99);
  for (unsigned i = 0; i < 1000; i++)
    vd_vhdx_overlay_apply(overlay_, kArea + i * kMiB, some.data(), some.size());
  EXPECT_EQ(some, Bytes(kMiB, 0));
}
