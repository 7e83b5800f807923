// SPDX-License-Identifier: LGPL-2.1-or-later
// One field of a good image is broken at a time; the image is probed as a whole.
#include <gtest/gtest.h>

#include "images/cost.hh"
#include "images/vhd.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/registry.h"
#include "formats/vhd-bat.h"
}

using images::Bytes;
using images::SparseVhd;

namespace
{

constexpr uint64_t kHeader = 512;

VdFormatError refusal(const SparseVhd &image)
{
  images::File file(image.build());
  VdFacts facts;
  VdFormatError error = {};

  EXPECT_FALSE(vd_format_probe(file.fd(), VIRTDISK_DEVICE_VHD, VD_CONTENT_SKIP, &facts, &error));
  return error;
}

struct Broken {
  const char *name;
  void (*change)(SparseVhd &image);
  VirtdiskError code;
  const char *field;
  uint64_t offset;
};

const Broken kBroken[] = {
    {"cookie", [](SparseVhd &i) { i.header.cookie = "cxsparsf"; }, VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT,
     "cookie", kHeader},
    {"cookie_of_a_footer", [](SparseVhd &i) { i.header.cookie = "conectix"; },
     VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, "cookie", kHeader},
    {"checksum", [](SparseVhd &i) { i.header.checksum = 1; },
     VIRTDISK_ERROR_VHD_SPARSE_HEADER_CHECKSUM_MISMATCH, "checksum", kHeader + 36},
    {"version", [](SparseVhd &i) { i.header.version = 0x00020000; },
     VIRTDISK_ERROR_VHD_SPARSE_HEADER_UNSUPPORTED_VERSION, "version", kHeader + 24},
    {"block_size_0", [](SparseVhd &i) { i.header.block_size = 0; }, VIRTDISK_ERROR_VHD_INVALID_BLOCK_SIZE,
     "block_size", kHeader + 32},
    {"block_size_odd", [](SparseVhd &i) { i.header.block_size = (512 << 10) + 512; },
     VIRTDISK_ERROR_VHD_INVALID_BLOCK_SIZE, "block_size", kHeader + 32},
    {"block_size_small", [](SparseVhd &i) { i.header.block_size = 512; },
     VIRTDISK_ERROR_VHD_INVALID_BLOCK_SIZE, "block_size", kHeader + 32},
    {"block_size_large", [](SparseVhd &i) { i.header.block_size = 512 << 20; },
     VIRTDISK_ERROR_VHD_INVALID_BLOCK_SIZE, "block_size", kHeader + 32},
    {"block_size_giant", [](SparseVhd &i) { i.header.block_size = 0x80000000; },
     VIRTDISK_ERROR_VHD_INVALID_BLOCK_SIZE, "block_size", kHeader + 32},
    {"table_too_small", [](SparseVhd &i) { i.header.max_entries = 1; },
     VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, "max_table_entries", kHeader + 28},
    {"table_empty", [](SparseVhd &i) { i.header.max_entries = 0; }, VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT,
     "max_table_entries", kHeader + 28},
    {"table_giant", [](SparseVhd &i) { i.header.max_entries = UINT32_MAX; },
     VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, "max_table_entries", kHeader + 28},
    {"table_past_the_trailer", [](SparseVhd &i) { i.header.max_entries = (0xe00 - 0x600) / 4 + 1; },
     VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, "table_offset", kHeader + 16},
    {"table_in_the_footer", [](SparseVhd &i) { i.header.table_offset = 0; },
     VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, "table_offset", kHeader + 16},
    {"table_in_the_header", [](SparseVhd &i) { i.header.table_offset = 0x400; },
     VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, "table_offset", kHeader + 16},
    {"table_unaligned", [](SparseVhd &i) { i.header.table_offset = 0x610; },
     VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, "table_offset", kHeader + 16},
    {"table_outside", [](SparseVhd &i) { i.header.table_offset = UINT64_C(1) << 40; },
     VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, "table_offset", kHeader + 16},
    {"table_at_the_end_of_numbers", [](SparseVhd &i) { i.header.table_offset = UINT64_MAX - 511; },
     VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, "table_offset", kHeader + 16},
    {"header_unaligned", [](SparseVhd &i) { i.footer.data_offset = 0x2fe; },
     VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT, "data_offset", 0xe00 + 16},
    {"header_over_the_trailer", [](SparseVhd &i) { i.footer.data_offset = 0xc00; },
     VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT, "data_offset", 0xe00 + 16},
    {"header_outside", [](SparseVhd &i) { i.footer.data_offset = UINT64_C(1) << 50; },
     VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT, "data_offset", 0xe00 + 16},
    {"header_of_all_ones", [](SparseVhd &i) { i.footer.data_offset = UINT64_MAX; },
     VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT, "data_offset", 0xe00 + 16},
    {"front_of_another_type",
     [](SparseVhd &i) {
       i.front = i.footer;
       i.front->type = 4;
     },
     VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT, "disk_type", 0xe00},
    {"front_of_another_disk",
     [](SparseVhd &i) {
       i.front = i.footer;
       i.front->unique_id[3] ^= 1;
     },
     VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT, "unique_id", 0xe00},
    {"front_with_another_header",
     [](SparseVhd &i) {
       i.front = i.footer;
       i.front->data_offset = 1024;
     },
     VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT, "data_offset", 0xe00},
    {"both_footers_bad", [](SparseVhd &i) { i.footer.checksum = 7; },
     VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CHECKSUM_MISMATCH, "checksum", 0xe00 + 64},
    {"disk_larger_than_its_table", [](SparseVhd &i) { i.footer.current_size = UINT64_C(2040) << 30; },
     VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, "max_table_entries", kHeader + 28},
    {"locator_outside",
     [](SparseVhd &i) {
       i.footer.type = 4;
       i.header.locators[2] = {"W2ru", 512, 12, UINT64_C(1) << 33};
     },
     VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, "parent_locator", kHeader + 576 + 48},
    {"locator_at_the_end_of_numbers",
     [](SparseVhd &i) {
       i.footer.type = 4;
       i.header.locators[0] = {"W2ku", 512, 12, UINT64_MAX - 4};
     },
     VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, "parent_locator", kHeader + 576},
    {"locator_of_4_GiB",
     [](SparseVhd &i) {
       i.footer.type = 4;
       i.header.locators[7] = {"Wi2k", UINT32_MAX, UINT32_MAX, 0x800};
     },
     VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, "parent_locator", kHeader + 576 + 7 * 24},
    {"locator_over_the_table",
     [](SparseVhd &i) {
       i.footer.type = 4;
       i.header.locators[0] = {"W2ru", 512, 12, 0x7f8};
     },
     VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, "parent_locator", kHeader + 576},
};

class VhdSparseBroken : public testing::TestWithParam<Broken>
{
};

TEST_P(VhdSparseBroken, IsRefusedByName)
{
  SparseVhd image;

  GetParam().change(image);
  VdFormatError error = refusal(image);
  EXPECT_EQ(error.code, GetParam().code) << error.text;
  EXPECT_STREQ(error.field, GetParam().field) << error.text;
  EXPECT_EQ(error.offset, GetParam().offset) << error.text;
}

INSTANTIATE_TEST_SUITE_P(Fields, VhdSparseBroken, testing::ValuesIn(kBroken),
                         [](const auto &info) { return std::string(info.param.name); });

VdFacts probe(const SparseVhd &image)
{
  images::File file(image.build());
  VdFacts facts = {};
  VdFormatError error = {};

  EXPECT_TRUE(vd_format_probe(file.fd(), VIRTDISK_DEVICE_VHD, VD_CONTENT_SKIP, &facts, &error)) << error.text;
  return facts;
}

} // namespace

TEST(VhdSparse, Dynamic)
{
  VdFacts facts = probe(SparseVhd());

  EXPECT_EQ(facts.subtype, static_cast<uint32_t>(VIRTDISK_SUBTYPE_DYNAMIC));
  EXPECT_EQ(facts.virtual_size, 1u << 20);
  EXPECT_EQ(facts.block_size, 512u << 10);
  EXPECT_EQ(facts.linear, 0u);
  EXPECT_EQ(facts.sector_size, 512u);
  EXPECT_EQ(facts.physical_sector_size, 512u);
  EXPECT_EQ(facts.identifier[1], 0x11);
  EXPECT_EQ(facts.linkage[1], 0x11);
  EXPECT_EQ(facts.has_linkage, 1u);
  EXPECT_EQ(facts.has_parent, 0u);
  EXPECT_EQ(facts.timestamp, 0x2c000000u);
  EXPECT_EQ(facts.is_4k_aligned, 1u);
  EXPECT_EQ(facts.needs_repair, 0u);
}

TEST(VhdSparse, Differencing)
{
  SparseVhd image(4);

  image.header.parent_id = {0xa0, 0xa1};
  image.header.parent_timestamp = 77;
  image.header.parent_name = u"parent.vhd";
  VdFacts facts = probe(image);
  EXPECT_EQ(facts.subtype, static_cast<uint32_t>(VIRTDISK_SUBTYPE_DIFFERENCING));
  EXPECT_EQ(facts.has_parent, 1u);
  EXPECT_EQ(facts.parent_id[1], 0xa1);
  EXPECT_EQ(facts.parent_timestamp, 77u);
  ASSERT_EQ(facts.n_parent_places, 1u);
  EXPECT_EQ(facts.parent_places[0].kind, static_cast<uint32_t>(VD_PLACE_ABSOLUTE));
  EXPECT_STREQ(facts.parent_places[0].path, "parent.vhd");
}

TEST(VhdSparse, HeaderOverTheFooterIsRefused)
{
  SparseVhd image;
  Bytes bytes = image.build();

  image.footer.data_offset = 0;
  Bytes footer = image.footer.build();
  std::copy(footer.begin(), footer.end(), bytes.begin());
  std::copy(footer.begin(), footer.end(), bytes.end() - 512);
  images::File file(bytes);
  VdFacts facts;
  VdFormatError error;
  EXPECT_FALSE(vd_format_probe(file.fd(), VIRTDISK_DEVICE_VHD, VD_CONTENT_SKIP, &facts, &error));
  EXPECT_EQ(error.code, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT) << error.text;
  EXPECT_STREQ(error.field, "data_offset");
}

TEST(VhdSparse, TheHeaderMayLieElsewhere)
{
  SparseVhd image;

  image.footer.data_offset = 0x800;
  image.header.table_offset = 0x200;
  EXPECT_EQ(probe(image).block_size, 512u << 10);
}

// Another program's chain of headers is not followed, wherever it leads.
TEST(VhdSparse, TheHeadersOwnDataOffsetMeansNothing)
{
  SparseVhd image;

  for (uint64_t offset : {UINT64_C(0), UINT64_C(512), UINT64_C(1) << 60}) {
    image.header.data_offset = offset;
    EXPECT_EQ(probe(image).block_size, 512u << 10);
  }
}

TEST(VhdSparse, TrailerLostWhileItGrew)
{
  SparseVhd image;

  image.end = SparseVhd::MISSING;
  EXPECT_EQ(probe(image).needs_repair, 1u);
  image.end = SparseVhd::WHOLE;
  image.trailer = image.footer;
  image.trailer->checksum = 1;
  image.trailer_offset = 0x2e00;
  EXPECT_EQ(probe(image).needs_repair, 1u);
}

TEST(VhdSparse, FrontCopyBadOrStale)
{
  SparseVhd image;

  image.front = image.footer;
  image.front->checksum = 1;
  EXPECT_EQ(probe(image).needs_repair, 1u);
  image.front->checksum.reset();
  image.front->current_size = 512;
  VdFacts facts = probe(image);
  EXPECT_EQ(facts.virtual_size, 1u << 20) << "the trailer's size counts";
  EXPECT_EQ(facts.needs_repair, 1u);
}

TEST(VhdSparse, TrailerOf511Bytes)
{
  SparseVhd image;

  image.end = SparseVhd::SHORT;
  EXPECT_EQ(probe(image).needs_repair, 0u);
}

TEST(VhdSparse, AlignmentIsThatOfTheFirstBlock)
{
  SparseVhd image;

  image.table[1] = 0x1000 / 512;
  image.trailer_offset = 0x1000 + 512 + (512 << 10);
  EXPECT_EQ(probe(image).is_4k_aligned, 0u);
  image.table[1] = 0xe00 / 512;
  EXPECT_EQ(probe(image).is_4k_aligned, 1u);
}

TEST(VhdSparse, SavedStateAndUnknownFeaturesAreNoFault)
{
  SparseVhd image;

  image.footer.saved_state = 0xff;
  image.footer.features = 0xffffffff;
  EXPECT_EQ(probe(image).saved_state, 1u);
}

TEST(VhdSparse, BuildAndParseAgree)
{
  VdVhdSparse sparse = {}, parsed;
  uint8_t bytes[VD_VHD_SPARSE_LENGTH];
  VdFormatError error = {};

  sparse.table_offset = 0x2000;
  sparse.max_entries = 5;
  sparse.block_size = 2 << 20;
  sparse.parent_timestamp = 9;
  sparse.parent_id[15] = 7;
  strcpy(sparse.parent_name, "gr\xc3\xb6\xc3\x9f"
                             "er.vhd");
  sparse.locators[3] = {VD_VHD_LOCATOR_W2KU, 4096, 20, 0x1000, 0};
  ASSERT_TRUE(vd_vhd_sparse_build(&sparse, bytes));
  VdSpan span = {"VHD sparse header", bytes, sizeof bytes, 512};
  ASSERT_TRUE(vd_vhd_sparse_parse(&span, &parsed, &error)) << error.text;
  EXPECT_EQ(parsed.table_offset, sparse.table_offset);
  EXPECT_EQ(parsed.max_entries, 5u);
  EXPECT_EQ(parsed.block_size, 2u << 20);
  EXPECT_EQ(parsed.parent_timestamp, 9u);
  EXPECT_EQ(parsed.parent_id[15], 7);
  EXPECT_STREQ(parsed.parent_name, sparse.parent_name);
  EXPECT_EQ(parsed.locators[3].code, static_cast<uint32_t>(VD_VHD_LOCATOR_W2KU));
  EXPECT_EQ(parsed.locators[3].offset, 0x1000u);
}

TEST(VhdSparse, ANameTooLongIsNotBuilt)
{
  VdVhdSparse sparse = {};
  uint8_t bytes[VD_VHD_SPARSE_LENGTH];

  memset(sparse.parent_name, 'a', 257);
  EXPECT_FALSE(vd_vhd_sparse_build(&sparse, bytes));
}

TEST(VhdSparse, SizesOfTableAndBitmap)
{
  EXPECT_EQ(vd_vhd_bitmap_length(2 << 20), 512u);
  EXPECT_EQ(vd_vhd_bitmap_length(512 << 10), 512u);
  EXPECT_EQ(vd_vhd_bitmap_length(4 << 10), 512u);
  EXPECT_EQ(vd_vhd_bitmap_length(4 << 20), 1024u);
  EXPECT_EQ(vd_vhd_bitmap_length(256 << 20), 65536u);
  EXPECT_EQ(vd_vhd_table_length(1), 512u);
  EXPECT_EQ(vd_vhd_table_length(128), 512u);
  EXPECT_EQ(vd_vhd_table_length(129), 1024u);
  EXPECT_EQ(vd_vhd_block_count((2 << 20) + 512, 2 << 20), 2u);
}
