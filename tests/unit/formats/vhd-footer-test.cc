// SPDX-License-Identifier: LGPL-2.1-or-later
// One field of a good footer is broken at a time.
#include <gtest/gtest.h>

#include "images/cost.hh"
#include "images/vhd.hh"

extern "C" {
#include "formats/vhd-footer.h"
}

using images::VhdFooter;

namespace
{

constexpr uint64_t kOffset = 1 << 20;

bool parse(const images::Bytes &bytes, VdVhdFooter *footer, VdFormatError *error)
{
  VdSpan span = {"VHD footer", bytes.data(), bytes.size(), kOffset};

  return vd_vhd_footer_parse(&span, footer, error);
}

struct Broken {
  const char *name;
  void (*change)(VhdFooter &footer);
  VirtdiskError code;
  const char *field;
  uint64_t at; // bytes from the start of the footer
};

const Broken kBroken[] = {
    {"cookie", [](VhdFooter &f) { f.cookie = "conectiy"; }, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING, "cookie",
     0},
    {"cookie_poisoned", [](VhdFooter &f) { f.cookie = "v_poison"; }, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING,
     "cookie", 0},
    {"cookie_case", [](VhdFooter &f) { f.cookie = "Conectix"; }, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING,
     "cookie", 0},
    {"checksum", [](VhdFooter &f) { f.checksum = 0x12345678; },
     VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CHECKSUM_MISMATCH, "checksum", 64},
    {"checksum_zero", [](VhdFooter &f) { f.checksum = 0; }, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CHECKSUM_MISMATCH,
     "checksum", 64},
    {"version_2", [](VhdFooter &f) { f.version = 0x00020000; }, VIRTDISK_ERROR_VHD_FORMAT_UNSUPPORTED_VERSION,
     "version", 12},
    {"version_0", [](VhdFooter &f) { f.version = 1; }, VIRTDISK_ERROR_VHD_FORMAT_UNSUPPORTED_VERSION,
     "version", 12},
    {"data_offset_0", [](VhdFooter &f) { f.data_offset = 0; }, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT,
     "data_offset", 16},
    {"data_offset_512", [](VhdFooter &f) { f.data_offset = 512; }, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT,
     "data_offset", 16},
    {"data_offset_high", [](VhdFooter &f) { f.data_offset = UINT64_C(0xffffffff00000000); },
     VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT, "data_offset", 16},
    {"type_0", [](VhdFooter &f) { f.type = 0; }, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT, "disk_type", 60},
    {"type_1", [](VhdFooter &f) { f.type = 1; }, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT, "disk_type", 60},
    {"type_5", [](VhdFooter &f) { f.type = 5; }, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT, "disk_type", 60},
    {"type_high", [](VhdFooter &f) { f.type = 0x02000000; }, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT,
     "disk_type", 60},
    {"size_0", [](VhdFooter &f) { f.current_size = 0; }, VIRTDISK_ERROR_VHD_INVALID_SIZE, "current_size", 48},
    {"size_odd", [](VhdFooter &f) { f.current_size = 513; }, VIRTDISK_ERROR_VHD_INVALID_SIZE, "current_size",
     48},
    {"size_over_2040_GiB", [](VhdFooter &f) { f.current_size = (UINT64_C(2040) << 30) + 512; },
     VIRTDISK_ERROR_VHD_INVALID_SIZE, "current_size", 48},
    {"size_all_ones", [](VhdFooter &f) { f.current_size = UINT64_MAX - 511; },
     VIRTDISK_ERROR_VHD_INVALID_SIZE, "current_size", 48},
};

class VhdFooterBroken : public testing::TestWithParam<Broken>
{
};

TEST_P(VhdFooterBroken, IsRefusedByName)
{
  VhdFooter footer;
  VdVhdFooter parsed;
  VdFormatError error;

  GetParam().change(footer);
  ASSERT_FALSE(parse(footer.build(), &parsed, &error));
  EXPECT_EQ(error.code, GetParam().code) << error.text;
  EXPECT_STREQ(error.field, GetParam().field);
  EXPECT_EQ(error.offset, kOffset + GetParam().at);
  EXPECT_NE(strstr(error.text, GetParam().field), nullptr) << error.text;
  EXPECT_NE(strstr(error.text, "offset 1048576"), nullptr) << error.text;
}

INSTANTIATE_TEST_SUITE_P(Fields, VhdFooterBroken, testing::ValuesIn(kBroken),
                         [](const auto &info) { return std::string(info.param.name); });

struct Odd {
  const char *name;
  void (*change)(VhdFooter &footer);
};

// What looks strange but is allowed.
const Odd kOdd[] = {
    {"nothing", [](VhdFooter &) {}},
    {"features_0", [](VhdFooter &f) { f.features = 0; }},
    {"features_unknown", [](VhdFooter &f) { f.features = 0xffffffff; }},
    {"version_minor", [](VhdFooter &f) { f.version = 0x00010007; }},
    {"data_offset_32_ones", [](VhdFooter &f) { f.data_offset = UINT32_MAX; }},
    {"creator_nul", [](VhdFooter &f) { f.creator = std::string("d2v\0", 4); }},
    {"geometry_saturated", [](VhdFooter &f) { f.cylinders = 65535, f.heads = 16, f.sectors = 255; }},
    {"geometry_0", [](VhdFooter &f) { f.cylinders = 0, f.heads = 0, f.sectors = 0; }},
    {"original_size_other", [](VhdFooter &f) { f.original_size = 12345; }},
    {"hidden", [](VhdFooter &f) { f.hidden = 1; }},
};

class VhdFooterOdd : public testing::TestWithParam<Odd>
{
};

TEST_P(VhdFooterOdd, IsTaken)
{
  VhdFooter footer;
  VdVhdFooter parsed;
  VdFormatError error = {};

  GetParam().change(footer);
  ASSERT_TRUE(parse(footer.build(), &parsed, &error)) << error.text;
  EXPECT_EQ(parsed.type, VD_VHD_FIXED);
  EXPECT_EQ(parsed.current_size, UINT64_C(1) << 20) << "the geometry is never the size";
  EXPECT_EQ(parsed.offset, kOffset);
  EXPECT_EQ(memcmp(parsed.unique_id, footer.unique_id.data(), 16), 0);
  EXPECT_FALSE(parsed.saved_state);
}

INSTANTIATE_TEST_SUITE_P(Fields, VhdFooterOdd, testing::ValuesIn(kOdd),
                         [](const auto &info) { return std::string(info.param.name); });

} // namespace

TEST(VhdFooterParse, LargestDisk)
{
  VhdFooter footer;
  VdVhdFooter parsed;
  VdFormatError error = {};

  footer.current_size = UINT64_C(2040) << 30;
  EXPECT_TRUE(parse(footer.build(), &parsed, &error)) << error.text;
}

TEST(VhdFooterParse, AnySavedStateCounts)
{
  for (int state : {1, 2, 0xff}) {
    VhdFooter footer;
    VdVhdFooter parsed;
    VdFormatError error = {};

    footer.saved_state = static_cast<uint8_t>(state);
    ASSERT_TRUE(parse(footer.build(), &parsed, &error)) << error.text;
    EXPECT_TRUE(parsed.saved_state) << state;
  }
}

TEST(VhdFooterParse, EverySingleByteIsSummed)
{
  images::Bytes good = VhdFooter().build();

  for (size_t at = 0; at < good.size(); at++) {
    images::Bytes bytes = good;
    VdVhdFooter parsed;
    VdFormatError error;

    bytes[at] ^= 0x01;
    EXPECT_FALSE(parse(bytes, &parsed, &error)) << at;
  }
}

TEST(VhdFooterParse, ShortSpanIsAnError)
{
  images::Bytes good = VhdFooter().build();

  for (size_t length = 0; length < 85; length++) {
    images::Bytes bytes(good.begin(), good.begin() + static_cast<long>(length));
    VdVhdFooter parsed;
    VdFormatError error;

    EXPECT_FALSE(parse(bytes, &parsed, &error)) << length;
  }
}
