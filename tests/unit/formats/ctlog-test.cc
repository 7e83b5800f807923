// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include <functional>
#include <unistd.h>
#include <vector>

#include "images/image.hh"
#include "images/vhdx.hh"

extern "C" {
#include "formats/ctlog.h"
#include "virtdisk-enums.h"
}

using images::Bytes;

namespace
{

constexpr uint64_t MiB = 1 << 20;
const uint8_t id[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

VdCtlog made(uint64_t size = 256 * MiB, uint32_t device_id = VIRTDISK_DEVICE_VHDX)
{
  VdCtlog log;

  vd_ctlog_init(&log, device_id, size, id);
  return log;
}

Bytes header(const VdCtlog &log)
{
  Bytes bytes(VD_CTLOG_PAGE);

  vd_ctlog_build(&log, bytes.data());
  return bytes;
}

bool parse(const Bytes &bytes, VdCtlog *ret_log, VdFormatError *ret_error)
{
  VdSpan span = {"header", bytes.data(), bytes.size(), 0};

  return vd_ctlog_parse(&span, ret_log, ret_error);
}

// A whole file: two headers, and marks.
Bytes file_of(const VdCtlog &log, const VdCtlog *other, const std::vector<uint16_t> &marks)
{
  Bytes bytes(vd_ctlog_file_size(&log)), page(VD_CTLOG_PAGE);
  auto put = [&](uint64_t at) { std::copy(page.begin(), page.end(), bytes.begin() + static_cast<long>(at)); };

  vd_ctlog_build(&log, page.data());
  put(log.slot * VD_CTLOG_PAGE);
  if (other) {
    vd_ctlog_build(other, page.data());
    put((1 - log.slot) * VD_CTLOG_PAGE);
  }
  for (uint32_t i = 0; i < vd_ctlog_count_pages(&log); i++) {
    vd_ctlog_build_page(&log, i, marks.data(), page.data());
    put(vd_ctlog_page_offset(i));
  }
  return bytes;
}

struct Found {
  bool good = false;
  VdCtlog log = {};
  std::vector<uint16_t> marks;
  VdFormatError error = {};
};

Found read(const Bytes &bytes)
{
  images::File file(bytes);
  Found found;
  VdReader reader;

  EXPECT_TRUE(vd_reader_init(&reader, file.fd(), &found.error));
  found.good = vd_ctlog_read(&reader, &found.log, &found.error);
  if (found.good) {
    found.marks.resize(vd_ctlog_count_granules(&found.log));
    EXPECT_TRUE(vd_ctlog_read_marks(&reader, &found.log, found.marks.data(), &found.error));
  }
  return found;
}

} // namespace

TEST(Ctlog, GranulesHaveACeiling)
{
  for (auto [size, granule] :
       std::vector<std::pair<uint64_t, uint64_t>>{{1, 64 << 10},
                                                  {UINT64_C(128) << 30, 64 << 10},
                                                  {(UINT64_C(128) << 30) + 512, 128 << 10},
                                                  {UINT64_C(64) << 40, 32 * MiB},
                                                  {UINT64_C(1) << 62, UINT64_C(1) << 41}}) {
    VdCtlog log = made(size);

    EXPECT_EQ(log.granule, granule) << size;
    EXPECT_LE(vd_ctlog_count_granules(&log), VD_CTLOG_MAX_GRANULES);
    EXPECT_LT(vd_ctlog_file_size(&log), 5 * MiB);
  }
}

TEST(Ctlog, WhatIsBuiltIsReadAgain)
{
  VdCtlog log = made(), copy;
  VdFormatError error;

  log.sequence = 77;
  log.state = VD_CTLOG_DIRTY;
  log.point = 9;
  log.tie = {{9, 8, 7}, 1234567, -5, 999999999, 42, UINT64_MAX};
  log.session_id[3] = 4;
  ASSERT_TRUE(parse(header(log), &copy, &error)) << error.text;
  EXPECT_EQ(header(copy), header(log));
  EXPECT_EQ(copy.tie.seconds, -5);
}

TEST(Ctlog, HostileHeaders)
{
  struct Row {
    const char *field;
    size_t at;
    uint64_t value;
    unsigned length;
  };
  const Row rows[] = {
      {"magic", 0, 0, 8},
      {"version", 12, 2, 4},
      {"state", 24, 0, 4},
      {"state", 24, 4, 4},
      {"device_id", 28, VIRTDISK_DEVICE_ISO, 4},
      {"device_id", 28, 99, 4},
      {"size", 48, 0, 8},
      {"size", 48, UINT64_MAX, 8},
      {"size", 48, (uint64_t{VD_CTLOG_MAX_GRANULES} << 16) + 1, 8},
      {"granule", 56, 0, 8},
      {"granule", 56, 32768, 8},
      {"granule", 56, 65536 * 3, 8},
      {"point", 64, 0, 4},
      {"point", 64, 65536, 4},
  };

  for (const Row &row : rows) {
    Bytes bytes = header(made());
    VdFormatError error;
    VdCtlog log;

    images::put_le(bytes, row.at, row.value, row.length);
    images::put_le(bytes, 8, 0, 4);
    images::put_le(bytes, 8, images::crc32c(bytes), 4);
    EXPECT_FALSE(parse(bytes, &log, &error)) << row.field << " " << row.value;
    EXPECT_EQ(error.code, VIRTDISK_ERROR_CTLOG_INCONSISTENT_TRACKING_FILE) << row.field;
    EXPECT_STREQ(error.field, row.field);
  }
  for (size_t at = 0; at < VD_CTLOG_PAGE; at += 97) {
    Bytes bytes = header(made());
    VdFormatError error;
    VdCtlog log;

    bytes[at] ^= 1;
    EXPECT_FALSE(parse(bytes, &log, &error)) << at;
  }
  VdFormatError error;
  VdCtlog log;
  Bytes cut = header(made());
  cut.resize(100);
  EXPECT_FALSE(parse(cut, &log, &error));
}

TEST(Ctlog, TheNewerHeaderThatHoldsIsCurrent)
{
  std::vector<uint16_t> marks(4096);
  VdCtlog first = made(), second = made();

  second.sequence = 2;
  second.slot = 1;
  second.point = 5;
  EXPECT_EQ(read(file_of(first, &second, marks)).log.point, 5u);
  Bytes torn = file_of(first, &second, marks);
  torn[VD_CTLOG_PAGE + 700] ^= 1;
  EXPECT_EQ(read(torn).log.point, 1u);
  torn[700] ^= 1;
  EXPECT_FALSE(read(torn).good);
  Bytes cut = file_of(first, &second, marks);
  cut.resize(cut.size() - 1);
  EXPECT_EQ(read(cut).error.code, VIRTDISK_ERROR_CTLOG_INCONSISTENT_TRACKING_FILE);
  EXPECT_FALSE(read(Bytes()).good);
}

TEST(Ctlog, APageThatDoesNotHoldCountsAsChanged)
{
  std::vector<uint16_t> marks(4096);
  VdCtlog log = made();

  log.point = 3;
  marks[1] = 2;
  marks[5] = 7; // of a point that is not yet
  Bytes bytes = file_of(log, nullptr, marks);
  Found whole = read(bytes);
  ASSERT_TRUE(whole.good) << whole.error.text;
  EXPECT_EQ(whole.marks[0], 0);
  EXPECT_EQ(whole.marks[1], 2);
  EXPECT_EQ(whole.marks[5], 3);
  EXPECT_EQ(whole.marks[2040], 0);
  bytes[vd_ctlog_page_offset(0) + 4000] ^= 1;
  Found torn = read(bytes);
  EXPECT_EQ(torn.marks[0], 3);
  EXPECT_EQ(torn.marks[2039], 3);
  EXPECT_EQ(torn.marks[2040], 0);
  VdCtlog other = log;
  other.id[0] ^= 1; // pages of an earlier log
  Bytes mixed = file_of(log, nullptr, marks);
  std::copy_n(header(other).begin(), VD_CTLOG_PAGE, mixed.begin());
  EXPECT_EQ(read(mixed).marks[3000], 3);
}

TEST(Ctlog, Ids)
{
  VdCtlog log = made();
  char text[VD_CTLOG_ID_LENGTH];
  VdFormatError error;
  uint32_t point = 0;

  log.point = 300;
  vd_ctlog_format_id(&log, 258, text);
  EXPECT_STREQ(text, "rctX:01020304:0506:0708:090a:0b0c0d0e0f10:00000102");
  ASSERT_TRUE(vd_ctlog_parse_id(&log, text, &point, &error));
  EXPECT_EQ(point, 258u);
  ASSERT_TRUE(vd_ctlog_parse_id(&log, "rctX:01020304:0506:0708:090A:0B0C0D0E0F10:00000102", &point, &error));
  for (const char *bad : {"", "rctX", "rctX:01020304:0506:0708:090a:0b0c0d0e0f10:0000010",
                          "rctX:01020304:0506:0708:090a:0b0c0d0e0f10:000001020",
                          "rctY:01020304:0506:0708:090a:0b0c0d0e0f10:00000102",
                          "rctX:01020304-0506:0708:090a:0b0c0d0e0f10:00000102",
                          "rctX:01020304:0506:0708:090a:0b0c0d0e0f1g:00000102",
                          "rctX:01020304:0506:0708:090a:0b0c0d0e0f10:00000000",
                          "rctX:01020304:0506:0708:090a:0b0c0d0e0f10:0000012d"}) {
    EXPECT_FALSE(vd_ctlog_parse_id(&log, bad, &point, &error)) << bad;
    EXPECT_EQ(error.code, VIRTDISK_ERROR_VHD_INVALID_CHANGE_TRACKING_ID) << bad;
  }
  EXPECT_FALSE(vd_ctlog_parse_id(&log, "rctX:11020304:0506:0708:090a:0b0c0d0e0f10:00000102", &point, &error));
  EXPECT_EQ(error.code, VIRTDISK_ERROR_VHD_MISSING_CHANGE_TRACKING_INFORMATION);
}

TEST(Ctlog, Ranges)
{
  VdCtlog log = made(10 * 65536 + 512);
  std::vector<uint16_t> marks = {0, 2, 3, 0, 1, 0, 0, 0, 0, 0, 2};
  auto all = [&](uint32_t point, uint64_t offset, uint64_t end) {
    std::vector<std::pair<uint64_t, uint64_t>> found;
    uint64_t at, length;

    for (; vd_ctlog_next_range(&log, marks.data(), point, offset, end, &at, &length); offset = at + length)
      found.emplace_back(at, length);
    return found;
  };
  using Ranges = std::vector<std::pair<uint64_t, uint64_t>>;

  log.point = 3;
  EXPECT_EQ(all(1, 0, log.size), (Ranges{{65536, 131072}, {262144, 65536}, {655360, 512}}));
  EXPECT_EQ(all(2, 0, log.size), (Ranges{{65536, 131072}, {655360, 512}}));
  EXPECT_EQ(all(3, 0, log.size), (Ranges{{131072, 65536}}));
  EXPECT_EQ(all(1, 65536 + 512, 65536 + 1024), (Ranges{{65536 + 512, 512}}));
  EXPECT_EQ(all(1, 1000, 65536), Ranges{});
  EXPECT_EQ(all(1, log.size, log.size), Ranges{});
}

TEST(Ctlog, Ties)
{
  struct Row {
    const char *name;
    uint32_t device_id;
    VdCtlogState state;
    std::function<void(VdCtlogTie &)> change;
    bool tied;
  };
  auto nothing = [](VdCtlogTie &) {};
  auto time = [](VdCtlogTie &tie) { tie.nanoseconds++; };
  auto size = [](VdCtlogTie &tie) { tie.file_size++; };
  auto inode = [](VdCtlogTie &tie) { tie.inode++; };
  auto other = [](VdCtlogTie &tie) { tie.id[0]++; };
  auto session = [](VdCtlogTie &tie) { memset(tie.id, 7, sizeof tie.id); };
  const Row rows[] = {
      {"VHDX", VIRTDISK_DEVICE_VHDX, VD_CTLOG_CLEAN, nothing, true},
      {"VHDX, copied", VIRTDISK_DEVICE_VHDX, VD_CTLOG_CLEAN, time, true},
      {"VHDX, written", VIRTDISK_DEVICE_VHDX, VD_CTLOG_CLEAN, other, false},
      {"VHDX, dirty, not begun", VIRTDISK_DEVICE_VHDX, VD_CTLOG_DIRTY, nothing, true},
      {"VHDX, dirty", VIRTDISK_DEVICE_VHDX, VD_CTLOG_DIRTY, session, true},
      {"VHDX, dirty, others", VIRTDISK_DEVICE_VHDX, VD_CTLOG_DIRTY, other, false},
      {"VHDX, a session that was not announced", VIRTDISK_DEVICE_VHDX, VD_CTLOG_CLEAN, session, false},
      {"VHDX, broken", VIRTDISK_DEVICE_VHDX, VD_CTLOG_BROKEN, nothing, false},
      {"VHD", VIRTDISK_DEVICE_VHD, VD_CTLOG_CLEAN, nothing, true},
      {"VHD, moved", VIRTDISK_DEVICE_VHD, VD_CTLOG_CLEAN, inode, true},
      {"VHD, written", VIRTDISK_DEVICE_VHD, VD_CTLOG_CLEAN, time, false},
      {"VHD, of another id", VIRTDISK_DEVICE_VHD, VD_CTLOG_CLEAN, other, false},
      {"VHD, stamped", VIRTDISK_DEVICE_VHD, VD_CTLOG_CLEAN, [](VdCtlogTie &tie) { tie.timestamp++; }, false},
      {"VHD, dirty", VIRTDISK_DEVICE_VHD, VD_CTLOG_DIRTY, nothing, false},
      {"raw", VIRTDISK_DEVICE_RAW, VD_CTLOG_CLEAN, nothing, true},
      {"raw, larger", VIRTDISK_DEVICE_RAW, VD_CTLOG_CLEAN, size, false},
      {"raw, written", VIRTDISK_DEVICE_RAW, VD_CTLOG_CLEAN, time, false},
      {"raw, another", VIRTDISK_DEVICE_RAW, VD_CTLOG_CLEAN, inode, false},
      {"raw, dirty", VIRTDISK_DEVICE_RAW, VD_CTLOG_DIRTY, nothing, false},
  };

  for (const Row &row : rows) {
    VdCtlog log = made(256 * MiB, row.device_id);
    VdCtlogTie tie = {{1}, 100, 5, 6, 7, 8};

    log.state = row.state;
    log.tie = tie;
    memset(log.session_id, 7, sizeof log.session_id);
    row.change(tie);
    EXPECT_EQ(vd_ctlog_is_tied(&log, &tie), row.tied) << row.name;
  }
}
