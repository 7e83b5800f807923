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
  facts.has_linkage = 1;
  facts.linkage[0] = 0x5a;
  facts.timestamp = 12345;
  facts.file_size = kFileSize;
  g_strlcpy(facts.pt_type, "gpt", sizeof facts.pt_type);
  facts.smallest_safe_size = 4 * kMiB;
  facts.n_contents = 3;
  put_content(&facts.contents[0], 0, 0, 8 * kMiB);
  put_content(&facts.contents[1], 1, kMiB, kMiB);
  put_content(&facts.contents[2], 256, 2 * kMiB, kMiB);
  return facts;
}

void put_place(VdFacts *facts, VdPlaceKind kind, const char *path)
{
  VdParentPlace *place = &facts->parent_places[facts->n_parent_places++];

  place->kind = kind;
  g_strlcpy(place->path, path, sizeof place->path);
}

// A child: nothing of it is linear, and nobody looked inside.
VdFacts good_vhdx()
{
  VdFacts facts = {};

  facts.device_id = VIRTDISK_DEVICE_VHDX;
  facts.subtype = VIRTDISK_SUBTYPE_DIFFERENCING;
  facts.virtual_size = UINT64_C(64) << 30;
  facts.block_size = 2 * kMiB;
  facts.sector_size = facts.physical_sector_size = 4096;
  facts.has_identifier = facts.has_linkage = facts.has_parent = facts.needs_repair = 1;
  facts.is_4k_aligned = 1;
  facts.parent_id[3] = facts.parent_id2[3] = 1;
  facts.file_size = kFileSize;
  put_place(&facts, VD_PLACE_RELATIVE, "..\\b\\p\xc3\xa4.vhdx");
  put_place(&facts, VD_PLACE_VOLUME, "\\\\?\\Volume{x}\\p.vhdx");
  put_place(&facts, VD_PLACE_ABSOLUTE, "C:\\p.vhdx");
  return facts;
}

// A fixed one whose blocks form one run.
VdFacts linear_vhdx()
{
  VdFacts facts = good_vhdx();

  facts.subtype = VIRTDISK_SUBTYPE_FIXED;
  facts.virtual_size = 4 * kMiB;
  facts.linear = 1;
  facts.payload_offset = 4 * kMiB;
  facts.has_parent = facts.n_parent_places = facts.needs_repair = 0;
  facts.parent_id[3] = facts.parent_id2[3] = 0;
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
    {"subtype_1", [](VdFacts &f) { f.subtype = 1; }, "subtype"},
    {"subtype_32", [](VdFacts &f) { f.subtype = 32; }, "subtype"},
    {"linear_dynamic", [](VdFacts &f) { f.subtype = 3; }, "linear"},
    {"no_linkage", [](VdFacts &f) { f.has_linkage = 0; }, "has_linkage"},
    {"has_linkage_2", [](VdFacts &f) { f.has_linkage = 2; }, "has_linkage"},
    {"fixed_with_parent", [](VdFacts &f) { f.has_parent = 1; }, "has_parent"},
    {"fixed_to_repair", [](VdFacts &f) { f.needs_repair = 1; }, "needs_repair"},
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

const Broken kBrokenVhdx[] = {
    {"subtype_none", [](VdFacts &f) { f.subtype = 0; }, "subtype"},
    {"sector_size_2048", [](VdFacts &f) { f.sector_size = 2048; }, "sector_size"},
    {"sector_size_0", [](VdFacts &f) { f.sector_size = 0; }, "sector_size"},
    {"sector_size_both", [](VdFacts &f) { f.sector_size = 4096 | 512; }, "sector_size"},
    {"physical_below_logical", [](VdFacts &f) { f.physical_sector_size = 512; }, "physical_sector_size"},
    {"virtual_size_over_64_TiB", [](VdFacts &f) { f.virtual_size = (UINT64_C(64) << 40) + 4096; },
     "virtual_size"},
    {"virtual_size_over_entries", [](VdFacts &f) { f.virtual_size = (kFileSize / 8 + 1) * 2 * kMiB; },
     "virtual_size"},
    {"block_size_0", [](VdFacts &f) { f.block_size = 0; }, "block_size"},
    {"block_size_small", [](VdFacts &f) { f.block_size = kMiB / 2; }, "block_size"},
    {"block_size_large", [](VdFacts &f) { f.block_size = 512 * kMiB; }, "block_size"},
    {"block_size_odd", [](VdFacts &f) { f.block_size = 3 * kMiB; }, "block_size"},
    {"linear_child", [](VdFacts &f) { f.linear = 1, f.needs_repair = 0; }, "linear"},
    {"payload_offset", [](VdFacts &f) { f.payload_offset = 4 * kMiB; }, "payload_offset"},
    {"needs_repair_2", [](VdFacts &f) { f.needs_repair = 2; }, "needs_repair"},
    {"has_identifier_0", [](VdFacts &f) { f.has_identifier = 0; }, "has_identifier"},
    {"has_linkage_0", [](VdFacts &f) { f.has_linkage = 0; }, "has_linkage"},
    {"timestamp", [](VdFacts &f) { f.timestamp = 1; }, "timestamp"},
    {"saved_state", [](VdFacts &f) { f.saved_state = 1; }, "saved_state"},
    {"has_parent_0", [](VdFacts &f) { f.has_parent = 0; }, "has_parent"},
    {"has_parent_2", [](VdFacts &f) { f.has_parent = 2; }, "has_parent"},
    {"dynamic_with_parent", [](VdFacts &f) { f.subtype = VIRTDISK_SUBTYPE_DYNAMIC; }, "has_parent"},
    {"dynamic_with_places", [](VdFacts &f) { f.subtype = VIRTDISK_SUBTYPE_DYNAMIC, f.has_parent = 0; },
     "n_parent_places"},
    {"dynamic_with_parent_id",
     [](VdFacts &f) { f.subtype = VIRTDISK_SUBTYPE_DYNAMIC, f.has_parent = f.n_parent_places = 0; },
     "parent_id"},
    {"parent_timestamp", [](VdFacts &f) { f.parent_timestamp = 1; }, "parent_timestamp"},
    {"n_parent_places", [](VdFacts &f) { f.n_parent_places = VD_MAX_PARENT_PLACES + 1; }, "n_parent_places"},
    {"n_parent_places_all_ones", [](VdFacts &f) { f.n_parent_places = UINT32_MAX; }, "n_parent_places"},
    {"place_kind_unknown", [](VdFacts &f) { f.parent_places[1].kind = 4; }, "parent_places[1].kind"},
    {"place_kind_33", [](VdFacts &f) { f.parent_places[1].kind = 33; }, "parent_places[1].kind"},
    {"place_kind_of_vhd", [](VdFacts &f) { f.parent_places[1].kind = VD_PLACE_UNIX; },
     "parent_places[1].kind"},
    {"place_no_end", [](VdFacts &f) { fill(f.parent_places[2].path, VD_MAX_PARENT_PATH); },
     "parent_places[2].path"},
    {"place_empty", [](VdFacts &f) { f.parent_places[2].path[0] = '\0'; }, "parent_places[2].path"},
    {"place_not_utf8", [](VdFacts &f) { strcpy(f.parent_places[0].path, "a\xc3"); }, "parent_places[0].path"},
    {"place_newline", [](VdFacts &f) { strcpy(f.parent_places[0].path, "a\nb"); }, "parent_places[0].path"},
    {"contents",
     [](VdFacts &f) {
       f.n_contents = 1;
       put_content(&f.contents[0], 0, 0, f.virtual_size);
     },
     "n_contents"},
    {"partition_table", [](VdFacts &f) { strcpy(f.pt_type, "gpt"), f.smallest_safe_size = kMiB; },
     "n_contents"},
};

class FactsBrokenVhdx : public testing::TestWithParam<Broken>
{
};

TEST_P(FactsBrokenVhdx, AreTheWorkersFault)
{
  VdFacts facts = good_vhdx();
  g_autoptr(GError) error = nullptr;

  GetParam().change(facts);
  ASSERT_FALSE(vd_facts_check(&facts, VIRTDISK_DEVICE_VHDX, kFileSize, &error));
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_WORKER_LOST)) << error->message;
  EXPECT_NE(strstr(error->message, GetParam().field), nullptr) << error->message;
}

INSTANTIATE_TEST_SUITE_P(Vhdx, FactsBrokenVhdx, testing::ValuesIn(kBrokenVhdx),
                         [](const auto &info) { return std::string(info.param.name); });

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

TEST(Facts, VhdxChildPasses)
{
  VdFacts facts = good_vhdx();
  g_autoptr(GError) error = nullptr;

  EXPECT_TRUE(vd_facts_check(&facts, VIRTDISK_DEVICE_VHDX, kFileSize, &error)) << error->message;
}

// Only of its device can be told what is inside.
TEST(Facts, ContentsOfATranslatedImagePassOnceItIsAttached)
{
  VdFacts facts = good_vhdx();
  g_autoptr(GError) error = nullptr;

  facts.n_contents = 1;
  facts.contents[0].size = facts.virtual_size;
  strcpy(facts.contents[0].type, "ext4");
  EXPECT_FALSE(vd_facts_check(&facts, VIRTDISK_DEVICE_VHDX, kFileSize, nullptr));
  EXPECT_TRUE(vd_facts_check_attached(&facts, VIRTDISK_DEVICE_VHDX, kFileSize, &error)) << error->message;
  facts.contents[0].size++;
  EXPECT_FALSE(vd_facts_check_attached(&facts, VIRTDISK_DEVICE_VHDX, kFileSize, nullptr));
}

TEST(Facts, VhdxInOneRunPassesAndMustFitTheFile)
{
  VdFacts facts = linear_vhdx();
  g_autoptr(GError) error = nullptr;

  ASSERT_TRUE(vd_facts_check(&facts, VIRTDISK_DEVICE_VHDX, kFileSize, &error)) << error->message;
  facts.virtual_size += 4096;
  EXPECT_FALSE(vd_facts_check(&facts, VIRTDISK_DEVICE_VHDX, kFileSize, nullptr));
  facts = linear_vhdx();
  facts.needs_repair = 1;
  EXPECT_FALSE(vd_facts_check(&facts, VIRTDISK_DEVICE_VHDX, kFileSize, nullptr));
}

TEST(Facts, VhdChildPasses)
{
  VdFacts facts = good_vhdx();
  g_autoptr(GError) error = nullptr;

  facts.device_id = VIRTDISK_DEVICE_VHD;
  facts.sector_size = facts.physical_sector_size = 512;
  facts.timestamp = facts.parent_timestamp = 7;
  facts.is_4k_aligned = 0;
  facts.n_parent_places = 1;
  put_place(&facts, VD_PLACE_UNIX, "/a/p.vhd");
  ASSERT_TRUE(vd_facts_check(&facts, VIRTDISK_DEVICE_VHD, kFileSize, &error)) << error->message;
  strcpy(facts.parent_places[1].path, "a/p.vhd");
  EXPECT_FALSE(vd_facts_check(&facts, VIRTDISK_DEVICE_VHD, kFileSize, nullptr));
  facts.parent_places[1].kind = VD_PLACE_VOLUME;
  EXPECT_FALSE(vd_facts_check(&facts, VIRTDISK_DEVICE_VHD, kFileSize, nullptr));
}

TEST(Facts, FormatThatNobodyServes)
{
  VdFacts facts = good_vhd();
  g_autoptr(GError) error = nullptr;

  facts.device_id = 77;
  EXPECT_FALSE(vd_facts_check(&facts, 77, kFileSize, &error));
}
