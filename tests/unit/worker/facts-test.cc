// SPDX-License-Identifier: LGPL-2.1-or-later
// Good facts, with one number or string broken at a time.
#include <gtest/gtest.h>
#include <gio/gio.h>

extern "C" {
#include "virtdisk-enums.h"
#include "virtdisk-error.h"
#include "worker/facts.h"
}

namespace
{

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kFileSize = 8 * kMiB + 512;

void put_content(VdContent *content, uint32_t partition, uint64_t offset, uint64_t size)
{
  content->partition = partition;
  content->offset = offset;
  content->size = size;
  g_strlcpy(content->usage, "filesystem", sizeof content->usage);
  g_strlcpy(content->type, "ext4", sizeof content->type);
  g_strlcpy(content->label,
            "a l\xc3\xa4"
            "bel",
            sizeof content->label);
}

VdFacts good_vhd()
{
  VdFacts facts = {};

  facts.device_id = VIRTDISK_DEVICE_VHD;
  facts.subtype = VIRTDISK_SUBTYPE_FIXED;
  facts.virtual_size = 8 * kMiB;
  facts.linear = 1;
  facts.sector_size = facts.physical_sector_size = 512;
  facts.has_identifier = 1;
  facts.is_4k_aligned = 1;
  facts.file_size = kFileSize;
  g_strlcpy(facts.pt_type, "gpt", sizeof facts.pt_type);
  facts.smallest_safe_size = 4 * kMiB;
  facts.n_contents = 3;
  put_content(&facts.contents[0], 0, 0, 8 * kMiB);
  put_content(&facts.contents[1], 1, kMiB, kMiB);
  put_content(&facts.contents[2], 256, 2 * kMiB, kMiB);
  return facts;
}

struct Broken {
  const char *name;
  void (*change)(VdFacts &facts);
  const char *field; // what the message names
};

void fill(char *text, size_t size)
{
  memset(text, 'x', size);
}

const Broken kBroken[] = {
    {"device_other", [](VdFacts &f) { f.device_id = VIRTDISK_DEVICE_RAW; }, "device_id"},
    {"device_unknown", [](VdFacts &f) { f.device_id = 0; }, "device_id"},
    {"subtype_dynamic", [](VdFacts &f) { f.subtype = 3; }, "subtype"},
    {"subtype_none", [](VdFacts &f) { f.subtype = 0; }, "subtype"},
    {"virtual_size_0", [](VdFacts &f) { f.virtual_size = 0; }, "virtual_size"},
    {"virtual_size_over_file", [](VdFacts &f) { f.virtual_size = kFileSize + 512; }, "virtual_size"},
    {"virtual_size_over_footer", [](VdFacts &f) { f.virtual_size = kFileSize; }, "virtual_size"},
    {"virtual_size_odd", [](VdFacts &f) { f.virtual_size -= 1; }, "virtual_size"},
    {"virtual_size_over_2040_GiB", [](VdFacts &f) { f.virtual_size = (UINT64_C(2040) << 30) + 512; },
     "virtual_size"},
    {"virtual_size_all_ones", [](VdFacts &f) { f.virtual_size = UINT64_MAX; }, "virtual_size"},
    {"payload_offset_odd", [](VdFacts &f) { f.payload_offset = 1, f.is_4k_aligned = 0; }, "payload_offset"},
    {"payload_offset_over_footer", [](VdFacts &f) { f.payload_offset = 512, f.is_4k_aligned = 0; },
     "payload_offset"},
    {"payload_offset_wraps", [](VdFacts &f) { f.payload_offset = UINT64_MAX - 4095; }, "payload_offset"},
    {"linear_0", [](VdFacts &f) { f.linear = 0; }, "linear"},
    {"linear_2", [](VdFacts &f) { f.linear = 2; }, "linear"},
    {"block_size_odd", [](VdFacts &f) { f.block_size = 513; }, "block_size"},
    {"block_size_small", [](VdFacts &f) { f.block_size = 256; }, "block_size"},
    {"block_size_large", [](VdFacts &f) { f.block_size = 1u << 31; }, "block_size"},
    {"sector_size_0", [](VdFacts &f) { f.sector_size = 0; }, "sector_size"},
    {"sector_size_2048", [](VdFacts &f) { f.sector_size = 2048; }, "sector_size"},
    {"physical_sector_size_0", [](VdFacts &f) { f.physical_sector_size = 0; }, "physical_sector_size"},
    {"physical_sector_size_256", [](VdFacts &f) { f.physical_sector_size = 256; }, "physical_sector_size"},
    {"physical_sector_size_odd", [](VdFacts &f) { f.physical_sector_size = 520; }, "physical_sector_size"},
    {"physical_sector_size_large", [](VdFacts &f) { f.physical_sector_size = 8192; }, "physical_sector_size"},
    {"has_identifier_0", [](VdFacts &f) { f.has_identifier = 0; }, "has_identifier"},
    {"has_identifier_2", [](VdFacts &f) { f.has_identifier = 2; }, "has_identifier"},
    {"is_4k_aligned_lies", [](VdFacts &f) { f.is_4k_aligned = 0; }, "is_4k_aligned"},
    {"is_4k_aligned_2", [](VdFacts &f) { f.is_4k_aligned = 2; }, "is_4k_aligned"},
    {"saved_state_2", [](VdFacts &f) { f.saved_state = 2; }, "saved_state"},
    {"file_size", [](VdFacts &f) { f.file_size += 1; }, "file_size"},
    {"smallest_over_disk", [](VdFacts &f) { f.smallest_safe_size = 8 * kMiB + 1; }, "smallest_safe_size"},
    {"smallest_0_with_table", [](VdFacts &f) { f.smallest_safe_size = 0; }, "smallest_safe_size"},
    {"smallest_without_table", [](VdFacts &f) { f.pt_type[0] = '\0', f.n_contents = 1; },
     "smallest_safe_size"},
    {"pt_type_other", [](VdFacts &f) { strcpy(f.pt_type, "bsd"); }, "pt_type"},
    {"pt_type_no_end", [](VdFacts &f) { fill(f.pt_type, sizeof f.pt_type); }, "pt_type"},
    {"n_contents", [](VdFacts &f) { f.n_contents = VD_MAX_PARTITIONS + 2; }, "n_contents"},
    {"n_contents_all_ones", [](VdFacts &f) { f.n_contents = UINT32_MAX; }, "n_contents"},
    {"partition_257", [](VdFacts &f) { f.contents[2].partition = 257; }, "contents[2].partition"},
    {"partition_twice", [](VdFacts &f) { f.contents[2].partition = 1; }, "contents[2].partition"},
    {"partition_without_table", [](VdFacts &f) { f.pt_type[0] = '\0', f.smallest_safe_size = 0; },
     "contents[1].partition"},
    {"flags", [](VdFacts &f) { f.contents[0].flags = 4; }, "contents[0].flags"},
    {"offset_odd", [](VdFacts &f) { f.contents[1].offset += 1; }, "contents[1].offset"},
    {"offset_outside", [](VdFacts &f) { f.contents[1].offset = 8 * kMiB; }, "contents[1].offset"},
    {"offset_wraps", [](VdFacts &f) { f.contents[1].offset = UINT64_MAX - 511; }, "contents[1].offset"},
    {"size_0", [](VdFacts &f) { f.contents[1].size = 0; }, "contents[1].offset"},
    {"size_odd", [](VdFacts &f) { f.contents[1].size = 100; }, "contents[1].offset"},
    {"size_outside", [](VdFacts &f) { f.contents[2].size = 6 * kMiB + 512; }, "contents[2].offset"},
    {"whole_disk_smaller", [](VdFacts &f) { f.contents[0].size = kMiB; }, "contents[0].size"},
    {"whole_disk_moved", [](VdFacts &f) { f.contents[0].offset = f.contents[0].size = 4 * kMiB; },
     "contents[0].size"},
    {"usage_no_end", [](VdFacts &f) { fill(f.contents[1].usage, sizeof f.contents[1].usage); },
     "contents[1].usage"},
    {"type_no_end", [](VdFacts &f) { fill(f.contents[1].type, sizeof f.contents[1].type); },
     "contents[1].type"},
    {"label_no_end", [](VdFacts &f) { fill(f.contents[1].label, sizeof f.contents[1].label); },
     "contents[1].label"},
    {"uuid_no_end", [](VdFacts &f) { fill(f.contents[1].uuid, sizeof f.contents[1].uuid); },
     "contents[1].uuid"},
    {"part_type_no_end", [](VdFacts &f) { fill(f.contents[1].part_type, sizeof f.contents[1].part_type); },
     "contents[1].part_type"},
    {"part_uuid_no_end", [](VdFacts &f) { fill(f.contents[1].part_uuid, sizeof f.contents[1].part_uuid); },
     "contents[1].part_uuid"},
    {"part_name_no_end", [](VdFacts &f) { fill(f.contents[1].part_name, sizeof f.contents[1].part_name); },
     "contents[1].part_name"},
    {"label_not_utf8", [](VdFacts &f) { strcpy(f.contents[1].label, "\xff\xfe"); }, "contents[1].label"},
    {"label_cut_character", [](VdFacts &f) { strcpy(f.contents[1].label, "a\xc3"); }, "contents[1].label"},
    {"label_newline", [](VdFacts &f) { strcpy(f.contents[1].label, "a\nb"); }, "contents[1].label"},
    {"label_escape", [](VdFacts &f) { strcpy(f.contents[1].label, "\x1b[2J"); }, "contents[1].label"},
    {"label_c1", [](VdFacts &f) { strcpy(f.contents[1].label, "\xc2\x9b"); }, "contents[1].label"},
};

class FactsBroken : public testing::TestWithParam<Broken>
{
};

TEST_P(FactsBroken, AreTheWorkersFault)
{
  VdFacts facts = good_vhd();
  g_autoptr(GError) error = nullptr;

  GetParam().change(facts);
  ASSERT_FALSE(vd_facts_check(&facts, VIRTDISK_DEVICE_VHD, kFileSize, &error));
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_WORKER_LOST)) << error->message;
  EXPECT_NE(strstr(error->message, GetParam().field), nullptr) << error->message;
}

INSTANTIATE_TEST_SUITE_P(Fields, FactsBroken, testing::ValuesIn(kBroken),
                         [](const auto &info) { return std::string(info.param.name); });

} // namespace

TEST(Facts, GoodOnesPass)
{
  VdFacts facts = good_vhd();
  g_autoptr(GError) error = nullptr;

  EXPECT_TRUE(vd_facts_check(&facts, VIRTDISK_DEVICE_VHD, kFileSize, &error)) << error->message;
}

TEST(Facts, FileSmallerThanATrailer)
{
  VdFacts facts = good_vhd();
  g_autoptr(GError) error = nullptr;

  facts.file_size = 100;
  facts.virtual_size = 512;
  EXPECT_FALSE(vd_facts_check(&facts, VIRTDISK_DEVICE_VHD, 100, &error));
}

TEST(Facts, RawIsTheWholeFile)
{
  VdFacts facts = {};
  g_autoptr(GError) error = nullptr;

  facts.device_id = VIRTDISK_DEVICE_RAW;
  facts.virtual_size = facts.file_size = kMiB;
  facts.linear = facts.is_4k_aligned = 1;
  facts.sector_size = facts.physical_sector_size = 512;
  EXPECT_TRUE(vd_facts_check(&facts, VIRTDISK_DEVICE_RAW, kMiB, &error)) << error->message;
}

TEST(Facts, IsoHasItsOwnSectors)
{
  VdFacts facts = {};
  g_autoptr(GError) error = nullptr;

  facts.device_id = VIRTDISK_DEVICE_ISO;
  facts.virtual_size = facts.file_size = kMiB;
  facts.linear = facts.is_4k_aligned = 1;
  facts.sector_size = facts.physical_sector_size = 2048;
  ASSERT_TRUE(vd_facts_check(&facts, VIRTDISK_DEVICE_ISO, kMiB, &error)) << error->message;
  facts.sector_size = 512;
  EXPECT_FALSE(vd_facts_check(&facts, VIRTDISK_DEVICE_ISO, kMiB, &error));
}

TEST(Facts, FormatThatNobodyServes)
{
  VdFacts facts = good_vhd();
  g_autoptr(GError) error = nullptr;

  facts.device_id = VIRTDISK_DEVICE_VHDX;
  EXPECT_FALSE(vd_facts_check(&facts, VIRTDISK_DEVICE_VHDX, kFileSize, &error));
}
