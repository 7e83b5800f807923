// SPDX-License-Identifier: LGPL-2.1-or-later
// Which entries of a log count, what they write and in which order, and the bytes of new ones.
#include <gtest/gtest.h>

#include "images/cost.hh"
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
constexpr uint64_t kMiB = 1 << 20, kBat = 3 * kMiB;

struct Effect {
  uint64_t offset, length;
  int fill; // first byte of the page, -1: zeros

  bool operator==(const Effect &other) const
  {
    return offset == other.offset && length == other.length && fill == other.fill;
  }
};

std::ostream &operator<<(std::ostream &out, const Effect &effect)
{
  return out << effect.offset << "+" << effect.length << "=" << effect.fill;
}

struct Replay {
  bool good = false;
  std::vector<Effect> effects;
  VdVhdxLogSummary summary = {};
  VdFormatError error = {};
};

bool collect(void *user, uint64_t offset, uint64_t length, const uint8_t *data, VdFormatError *)
{
  static_cast<Replay *>(user)->effects.push_back({offset, length, data ? data[0] : -1});
  return true;
}

Replay replay(const Vhdx &image)
{
  auto file = image.make();
  VdVhdxHeader header;
  VdReader reader;
  Replay result;

  EXPECT_TRUE(vd_reader_init(&reader, file->fd(), &result.error));
  EXPECT_TRUE(vd_vhdx_header_choose(&reader, &header, &result.error)) << result.error.text;
  result.good = vd_vhdx_log_replay(&reader, &header, collect, &result, &result.summary, &result.error);
  return result;
}

VhdxDescriptor page(uint64_t offset, uint8_t fill)
{
  VhdxDescriptor one;

  one.offset = offset;
  one.page = Bytes(kPage, fill);
  return one;
}

VhdxDescriptor zeros(uint64_t offset, uint64_t length)
{
  VhdxDescriptor one;

  one.offset = offset;
  one.length = length;
  return one;
}

// An entry whose only page bears its sequence number.
VhdxLogEntry entry(uint32_t position, uint64_t sequence, uint32_t tail)
{
  VhdxLogEntry one;

  one.position = position;
  one.sequence = sequence;
  one.tail = tail;
  one.last = 5 * kMiB;
  one.descriptors = {page(kBat, static_cast<uint8_t>(sequence))};
  return one;
}

std::vector<int> fills(const Replay &replayed)
{
  std::vector<int> result;

  for (const Effect &effect : replayed.effects)
    result.push_back(effect.fill);
  return result;
}

Replay replay_of(const std::vector<VhdxLogEntry> &entries)
{
  Vhdx image;

  image.set_log(entries);
  return replay(image);
}

} // namespace

TEST(VhdxLog, FromTheTailToTheHead)
{
  Replay all = replay_of({entry(0, 1, 0), entry(0x2000, 2, 0), entry(0x4000, 3, 0)});
  Replay two = replay_of({entry(0, 1, 0), entry(0x2000, 2, 0), entry(0x4000, 3, 0x2000)});
  Replay one = replay_of({entry(0, 1, 0), entry(0x2000, 2, 0), entry(0x4000, 3, 0x4000)});

  EXPECT_EQ(fills(all), (std::vector<int>{1, 2, 3})) << all.error.text;
  EXPECT_EQ(fills(two), (std::vector<int>{2, 3}));
  EXPECT_EQ(fills(one), (std::vector<int>{3}));
  EXPECT_EQ(all.summary.n_entries, 3u);
  EXPECT_EQ(one.summary.n_entries, 1u);
  EXPECT_EQ(all.summary.sequence, 3u);
  EXPECT_EQ(all.summary.last_file_offset, 5 * kMiB);
}

TEST(VhdxLog, TheHighestHeadWins)
{
  EXPECT_EQ(fills(replay_of({entry(0, 7, 0), entry(0x8000, 3, 0x8000)})), (std::vector<int>{7}));
  EXPECT_EQ(fills(replay_of({entry(0, 3, 0), entry(0x8000, 7, 0x8000)})), (std::vector<int>{7}));
}

TEST(VhdxLog, AGapInTheNumbersEndsARun)
{
  // 1 and 2, then 4, whose tail is the first: no run of its own has that entry.
  EXPECT_EQ(fills(replay_of({entry(0, 1, 0), entry(0x2000, 2, 0), entry(0x4000, 4, 0)})),
            (std::vector<int>{1, 2}));
  EXPECT_EQ(fills(replay_of({entry(0, 1, 0), entry(0x2000, 2, 0), entry(0x4000, 4, 0x4000)})),
            (std::vector<int>{4}));
}

TEST(VhdxLog, NumbersDoNotWrap)
{
  EXPECT_EQ(fills(replay_of({entry(0, UINT64_MAX, 0), entry(0x2000, 1, 0x2000)})), (std::vector<int>{255}));
}

TEST(VhdxLog, ATornHeadIsLeftOut)
{
  std::vector<VhdxLogEntry> entries = {entry(0, 1, 0), entry(0x2000, 2, 0), entry(0x4000, 3, 0)};

  entries[2].checksum = 1;
  EXPECT_EQ(fills(replay_of(entries)), (std::vector<int>{1, 2}));
}

TEST(VhdxLog, EntriesOfAnotherLogDoNotCount)
{
  std::vector<VhdxLogEntry> entries = {entry(0, 1, 0), entry(0x2000, 9, 0x2000)};

  entries[1].log_guid = images::guid_of(0x22);
  EXPECT_EQ(fills(replay_of(entries)), (std::vector<int>{1}));
}

TEST(VhdxLog, AroundTheEndOfTheRing)
{
  uint32_t last = kMiB - 0x1000;

  // The second entry's data sector lies at the ring's start, the third behind it.
  EXPECT_EQ(fills(replay_of({entry(last - 0x2000, 1, last - 0x2000), entry(last, 2, last - 0x2000),
                             entry(0x1000, 3, last - 0x2000)})),
            (std::vector<int>{1, 2, 3}));
  // Only the part behind the ring's end is in use.
  EXPECT_EQ(fills(replay_of({entry(last, 2, last), entry(0x1000, 3, 0x1000)})), (std::vector<int>{3}));
}

TEST(VhdxLog, OneRunThatFillsTheRing)
{
  std::vector<VhdxLogEntry> entries;

  for (uint32_t i = 0; i < kMiB / 0x2000; i++)
    entries.push_back(entry(i * 0x2000, i + 1, 0));
  EXPECT_EQ(replay_of(entries).summary.n_entries, 128u);
}

TEST(VhdxLog, TheOrderOfDescriptors)
{
  VhdxLogEntry one = entry(0, 1, 0);

  one.descriptors = {page(kBat, 1), zeros(kBat, 0x10000), page(kBat + 0x1000, 2), zeros(kBat, 0),
                     page(kBat, 3)};
  EXPECT_EQ(replay_of({one}).effects,
            (std::vector<Effect>{
                {kBat, kPage, 1}, {kBat, 0x10000, -1}, {kBat + 0x1000, kPage, 2}, {kBat, kPage, 3}}));
}

TEST(VhdxLog, DescriptorsInSeveralSectors)
{
  for (unsigned n : {126u, 127u, 254u, 255u}) {
    VhdxLogEntry one = entry(0, 1, 0);

    one.descriptors.clear();
    for (unsigned i = 0; i < n; i++)
      one.descriptors.push_back(i % 2 == 0 ? page(kBat + i * kPage, static_cast<uint8_t>(i))
                                           : zeros(kBat + i * kPage, kPage));
    Replay replayed = replay_of({one});
    ASSERT_TRUE(replayed.good) << n << ": " << replayed.error.text;
    ASSERT_EQ(replayed.effects.size(), n);
    for (unsigned i = 0; i < n; i++)
      EXPECT_EQ(replayed.effects[i],
                (Effect{kBat + i * kPage, kPage, i % 2 == 0 ? static_cast<int>(i) : -1}));
  }
}

TEST(VhdxLog, AnEntryWithoutDescriptors)
{
  VhdxLogEntry one = entry(0, 1, 0);

  one.descriptors.clear();
  Replay replayed = replay_of({one});
  EXPECT_TRUE(replayed.good) << replayed.error.text;
  EXPECT_TRUE(replayed.effects.empty());
}

// A bad descriptor in the last entry: nothing of the first is told.
TEST(VhdxLog, AllIsCheckedBeforeAnythingIsTold)
{
  std::vector<VhdxLogEntry> entries = {entry(0, 1, 0), entry(0x2000, 2, 0)};

  entries[1].descriptors = {page(64 << 10, 2)};
  Replay replayed = replay_of(entries);
  EXPECT_FALSE(replayed.good);
  EXPECT_TRUE(replayed.effects.empty());
}

TEST(VhdxLog, FlushedOffsetOfZeroIsSomethingWindowsWrites)
{
  EXPECT_TRUE(replay_of({entry(0, 1, 0)}).good);
}

TEST(VhdxLog, WhatTheSinkRefusesStops)
{
  Vhdx image;
  VdFormatError error = {};
  VdVhdxLogSummary summary;
  VdVhdxHeader header;
  VdReader reader;

  image.set_log({entry(0, 1, 0)});
  auto file = image.make();
  ASSERT_TRUE(vd_reader_init(&reader, file->fd(), &error));
  ASSERT_TRUE(vd_vhdx_header_choose(&reader, &header, &error));
  auto refuse = [](void *, uint64_t, uint64_t, const uint8_t *, VdFormatError *ret_error) {
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_DISK_FULL, 0, "", "no");
  };
  EXPECT_FALSE(vd_vhdx_log_replay(&reader, &header, refuse, nullptr, &summary, &error));
  EXPECT_EQ(error.code, VIRTDISK_ERROR_DISK_FULL);
}

TEST(VhdxLog, ABuiltEntryIsWhatTheSpecificationSays)
{
  for (unsigned n : {0u, 1u, 126u, 127u}) {
    VhdxLogEntry expected = entry(0, UINT64_C(0x0102030405060708), 0x5000);
    std::vector<VdVhdxLogWrite> writes;
    std::vector<Bytes> pages;
    VdVhdxLogStamp stamp = {};
    unsigned n_pages = 0;

    expected.flushed = 7 * kMiB;
    expected.last = 9 * kMiB;
    expected.descriptors.clear();
    for (unsigned i = 0; i < n; i++) {
      pages.push_back(Bytes(kPage));
      for (size_t at = 0; at < kPage; at++)
        pages[i][at] = static_cast<uint8_t>(at * 7 + i);
    }
    for (unsigned i = 0; i < n; i++) {
      uint64_t offset = (4 + i) * kMiB;

      expected.descriptors.push_back(i % 3 == 2 ? zeros(offset, 0x8000) : page(offset, 0));
      if (i % 3 != 2)
        expected.descriptors[i].page = pages[i];
      writes.push_back({offset, i % 3 == 2 ? nullptr : pages[i].data(), i % 3 == 2 ? 0x8000u : kPage});
      n_pages += i % 3 != 2;
    }
    stamp.sequence = expected.sequence;
    stamp.tail = expected.tail;
    memset(stamp.log_guid, 0x10, 16);
    stamp.flushed_file_offset = expected.flushed;
    stamp.last_file_offset = expected.last;
    Bytes bytes(vd_vhdx_log_entry_length(n_pages, n - n_pages), 0xee);
    vd_vhdx_log_entry_build(&stamp, writes.data(), n, bytes.data());
    EXPECT_EQ(bytes, expected.build()) << n;
  }
}

namespace
{

class Overlay : public testing::Test
{
protected:
  void open(const Vhdx &image)
  {
    VdVhdxHeader header;

    file_ = image.make();
    ASSERT_TRUE(vd_reader_init(&reader_, file_->fd(), &error_));
    ASSERT_TRUE(vd_vhdx_header_choose(&reader_, &header, &error_)) << error_.text;
    overlay_ = vd_vhdx_overlay_new(&reader_, &header, &error_);
  }
  void TearDown() override
  {
    vd_vhdx_overlay_free(overlay_);
  }
  Bytes read(uint64_t offset, size_t length)
  {
    Bytes bytes(length, 0x99);
    VdSpan span;

    EXPECT_TRUE(
        vd_vhdx_overlay_read(overlay_, &reader_, "test", offset, bytes.data(), length, &span, &error_))
        << error_.text;
    return bytes;
  }

  std::unique_ptr<images::File> file_;
  VdReader reader_;
  VdVhdxOverlay *overlay_ = nullptr;
  VdFormatError error_ = {};
};

Bytes three(uint8_t first, uint8_t second, uint8_t third)
{
  return images::joined(images::joined(Bytes(kPage, first), Bytes(kPage, second)), Bytes(kPage, third));
}

} // namespace

TEST_F(Overlay, LaterEffectsCoverEarlierOnes)
{
  VhdxLogEntry one = entry(0, 1, 0), two = entry(0x4000, 2, 0);
  Vhdx image;

  one.descriptors = {page(4 * kMiB, 1), page(4 * kMiB + kPage, 2), page(4 * kMiB + 2 * kPage, 3)};
  two.descriptors = {zeros(4 * kMiB, 2 * kPage), page(4 * kMiB + kPage, 5)};
  image.set_log({one, two});
  open(image);
  ASSERT_NE(overlay_, nullptr) << error_.text;
  EXPECT_EQ(read(4 * kMiB, 3 * kPage), three(0, 5, 3));
  // In pieces that no page bounds.
  EXPECT_EQ(read(4 * kMiB + 4000, 200), images::joined(Bytes(96, 0), Bytes(104, 5)));
  EXPECT_EQ(vd_vhdx_overlay_file_size(overlay_, reader_.size), reader_.size);
}

TEST_F(Overlay, TheFileGrowsAsTheLogSays)
{
  VhdxLogEntry one = entry(0, 1, 0);
  Vhdx image;

  one.last = 8 * kMiB;
  one.descriptors = {page(6 * kMiB, 4)};
  image.set_log({one});
  open(image);
  ASSERT_NE(overlay_, nullptr) << error_.text;
  EXPECT_EQ(vd_vhdx_overlay_file_size(overlay_, reader_.size), 8 * kMiB);
  EXPECT_EQ(read(6 * kMiB - kPage, 3 * kPage), three(0, 4, 0));
  EXPECT_EQ(read(5 * kMiB - kPage, 3 * kPage), three(0, 0, 0));
  EXPECT_EQ(read(8 * kMiB - kPage, kPage), Bytes(kPage));

  Bytes bytes(kPage);
  VdSpan span;
  EXPECT_FALSE(
      vd_vhdx_overlay_read(overlay_, &reader_, "test", 8 * kMiB, bytes.data(), kPage, &span, &error_));
  EXPECT_EQ(error_.code, VIRTDISK_ERROR_IO);
}

TEST_F(Overlay, NextSaysWhereToLook)
{
  VhdxLogEntry one = entry(0, 1, 0);
  Vhdx image;

  one.descriptors = {page(4 * kMiB + kPage, 1), zeros(kBat, 2 * kPage)};
  image.set_log({one});
  open(image);
  ASSERT_NE(overlay_, nullptr) << error_.text;
  EXPECT_EQ(vd_vhdx_overlay_next(overlay_, 0), kBat);
  EXPECT_EQ(vd_vhdx_overlay_next(overlay_, kBat + kPage), kBat + kPage);
  EXPECT_EQ(vd_vhdx_overlay_next(overlay_, kBat + 2 * kPage), 4 * kMiB + kPage);
  EXPECT_EQ(vd_vhdx_overlay_next(overlay_, 4 * kMiB + 2 * kPage), UINT64_MAX);
  EXPECT_EQ(vd_vhdx_overlay_next(nullptr, 0), UINT64_MAX);
}

TEST_F(Overlay, ManyEffects)
{
  VhdxLogEntry one = entry(0, 1, 0);
  Vhdx image;

  one.descriptors.clear();
  for (unsigned i = 0; i < 200; i++)
    one.descriptors.push_back(page(kBat + i * kPage, static_cast<uint8_t>(i + 1)));
  image.set_log({one});
  open(image);
  ASSERT_NE(overlay_, nullptr) << error_.text;
  for (unsigned i = 0; i < 200; i++)
    EXPECT_EQ(read(kBat + i * kPage, 1)[0], i + 1);
}
