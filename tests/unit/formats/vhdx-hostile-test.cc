// SPDX-License-Identifier: LGPL-2.1-or-later
// A good image with one thing broken at a time: each gets an error that names the field and its place.
#include <gtest/gtest.h>

#include "images/cost.hh"
#include "images/vhdx.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/registry.h"
#include "formats/vhdx.h"
}

using images::bat_entry;
using images::Bytes;
using images::guid_of;
using images::le_bytes;
using images::Vhdx;
using images::VhdxDescriptor;
using images::VhdxHeader;
using images::VhdxLocator;
using images::VhdxLogEntry;
using images::VhdxRegionTable;

namespace
{

constexpr uint64_t kKiB = 1024, kMiB = 1 << 20;
constexpr uint64_t kHeader1 = 64 * kKiB, kHeader2 = 128 * kKiB, kRegions = 192 * kKiB, kLog = kMiB;
constexpr uint64_t kMetadata = 2 * kMiB, kBat = 3 * kMiB, kItems = kMetadata + 65536;
constexpr VirtdiskError kCorrupt = VIRTDISK_ERROR_FILE_CORRUPT;
constexpr VirtdiskError kVersion = VIRTDISK_ERROR_VHD_FORMAT_UNSUPPORTED_VERSION;
constexpr VirtdiskError kSize = VIRTDISK_ERROR_VHD_INVALID_SIZE;

struct Broken {
  const char *name;
  void (*change)(Vhdx &image);
  VirtdiskError code;
  const char *field;
  uint64_t offset;
};

VhdxLogEntry entry(uint64_t sequence = 1, std::vector<VhdxDescriptor> descriptors = {})
{
  VhdxLogEntry one;

  one.sequence = sequence;
  one.descriptors = std::move(descriptors);
  one.last = 5 * kMiB;
  return one;
}

VhdxDescriptor zeros(uint64_t offset, uint64_t length = 4096)
{
  VhdxDescriptor one;

  one.offset = offset;
  one.length = length;
  return one;
}

VhdxDescriptor page(uint64_t offset, const Bytes &bytes = Bytes(4096, 0xab))
{
  VhdxDescriptor one;

  one.offset = offset;
  one.page = bytes;
  return one;
}

template <typename Change> void log_of(Vhdx &image, Change change)
{
  VhdxLogEntry one = entry(1, {page(kBat)});

  change(one);
  image.set_log({one});
}

void set_bat(Vhdx &image, uint64_t index, uint64_t value)
{
  image.bat[index] = value;
}

template <typename Change> void locator_of(Vhdx &image, Change change)
{
  VhdxLocator locator;

  change(locator);
  image.set_parent(locator);
}

constexpr uint64_t kLocator = kItems + 40;
// The item table: entries of 32 bytes behind a head of 32.
constexpr uint64_t item_at(unsigned index, unsigned at)
{
  return kMetadata + 32 + index * 32 + at;
}
constexpr uint64_t region_at(unsigned index, unsigned at)
{
  return kRegions + 16 + index * 32 + at;
}

const Broken kFile[] = {
    {"no_signature", [](Vhdx &v) { v.file_signature = "vhdxfilf"; }, kCorrupt, "signature", 0},
    {"empty", [](Vhdx &v) { v.file_size = 0; }, kCorrupt, "file size", 0},
    {"short", [](Vhdx &v) { v.file_size = kMiB - 1; }, kCorrupt, "file size", kMiB - 1},
    {"headers_only", [](Vhdx &v) { v.file_size = kMiB; }, kCorrupt, "log_offset", kHeader2 + 72},
    {"cut_in_metadata", [](Vhdx &v) { v.file_size = 2 * kMiB + 4096; }, kCorrupt, "file_offset",
     region_at(0, 16)},
    {"cut_in_bat", [](Vhdx &v) { v.file_size = 3 * kMiB + 4096; }, kCorrupt, "file_offset", region_at(1, 16)},
    {"cut_in_block", [](Vhdx &v) { v.file_size = 5 * kMiB - 1; }, kCorrupt, "file_offset", kBat},
};

const Broken kHeaders[] = {
    {"no_signature", [](Vhdx &v) { v.for_both_headers([](VhdxHeader &h) { h.signature = "hear"; }); },
     kCorrupt, "signature", kHeader1},
    {"checksums", [](Vhdx &v) { v.for_both_headers([](VhdxHeader &h) { h.checksum = 1; }); }, kCorrupt,
     "checksum", kHeader1 + 4},
    {"version_0", [](Vhdx &v) { v.for_both_headers([](VhdxHeader &h) { h.version = 0; }); }, kVersion,
     "version", kHeader1 + 66},
    {"version_2", [](Vhdx &v) { v.for_both_headers([](VhdxHeader &h) { h.version = 2; }); }, kVersion,
     "version", kHeader1 + 66},
    {"version_2_beside_damage", [](Vhdx &v) { v.headers[0].checksum = 1, v.headers[1].version = 2; },
     kVersion, "version", kHeader2 + 66},
    {"equal_sequences_other_content",
     [](Vhdx &v) {
       v.headers[1].sequence = v.headers[0].sequence;
       v.headers[1].data_write_guid[0]++;
     },
     kCorrupt, "sequence_number", kHeader2 + 8},
    {"log_version_with_log",
     [](Vhdx &v) {
       v.set_log({entry()});
       v.headers[1].log_version = 1;
     },
     kVersion, "log_version", kHeader2 + 64},
    {"log_length_0_with_log",
     [](Vhdx &v) {
       v.set_log({});
       v.headers[1].log_length = 0;
     },
     kCorrupt, "log_length", kHeader2 + 68},
    {"log_length_odd", [](Vhdx &v) { v.headers[1].log_length = 4096; }, kCorrupt, "log_length",
     kHeader2 + 68},
    {"log_length_4_GiB", [](Vhdx &v) { v.headers[1].log_length = 0xfff00000; }, kCorrupt, "log_length",
     kHeader2 + 68},
    {"log_offset_0", [](Vhdx &v) { v.headers[1].log_offset = 0; }, kCorrupt, "log_offset", kHeader2 + 72},
    {"log_offset_odd", [](Vhdx &v) { v.headers[1].log_offset = kMiB + 4096; }, kCorrupt, "log_offset",
     kHeader2 + 72},
    {"log_offset_at_end", [](Vhdx &v) { v.headers[1].log_offset = 5 * kMiB; }, kCorrupt, "log_offset",
     kHeader2 + 72},
    {"log_offset_wraps", [](Vhdx &v) { v.headers[1].log_offset = UINT64_MAX - kMiB + 1; }, kCorrupt,
     "log_offset", kHeader2 + 72},
    {"log_over_metadata", [](Vhdx &v) { v.headers[1].log_offset = 2 * kMiB; }, kCorrupt, "file_offset",
     region_at(0, 0)},
    {"log_over_bat", [](Vhdx &v) { v.headers[1].log_offset = 3 * kMiB; }, kCorrupt, "file_offset",
     region_at(0, 0)},
    {"log_over_block", [](Vhdx &v) { v.headers[1].log_offset = 4 * kMiB; }, kCorrupt, "file_offset", kBat},
};

const Broken kLogs[] = {
    {"empty", [](Vhdx &v) { v.set_log({}); }, kCorrupt, "log_guid", kLog},
    {"foreign_guid", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.log_guid = guid_of(0x11); }); },
     kCorrupt, "log_guid", kLog},
    {"signature", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.signature = "logf"; }); }, kCorrupt,
     "log_guid", kLog},
    {"checksum", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.checksum = 7; }); }, kCorrupt, "checksum",
     kLog + 4},
    {"entry_length_0", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.length = 0; }); }, kCorrupt,
     "entry_length", kLog + 8},
    {"entry_length_odd", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.length = 8191; }); }, kCorrupt,
     "entry_length", kLog + 8},
    {"entry_length_over_log", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.length = kMiB + 4096; }); },
     kCorrupt, "entry_length", kLog + 8},
    {"entry_length_all_ones", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.length = 0xfffff000; }); },
     kCorrupt, "entry_length", kLog + 8},
    {"entry_of_the_whole_log",
     [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.length = kMiB, e.descriptors = {}; }); }, kCorrupt,
     "signature", kLog + 4096},
    {"tail_odd", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.tail = 100; }); }, kCorrupt, "tail",
     kLog + 12},
    {"tail_outside", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.tail = kMiB; }); }, kCorrupt, "tail",
     kLog + 12},
    {"tail_is_no_entry", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.tail = 4096; }); }, kCorrupt,
     "log_guid", kLog},
    {"sequence_0", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.sequence = 0; }); }, kCorrupt,
     "sequence_number", kLog + 16},
    {"descriptor_count_all_ones", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.count = UINT32_MAX; }); },
     kCorrupt, "descriptor_count", kLog + 24},
    {"descriptor_count_wraps", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.count = 0x07fffffe; }); },
     kCorrupt, "descriptor_count", kLog + 24},
    {"descriptor_count_more_than_there", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.count = 2; }); },
     kCorrupt, "signature", kLog + 96},
    {"descriptor_signature",
     [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.descriptors[0].signature = "dose"; }); }, kCorrupt,
     "signature", kLog + 64},
    {"descriptor_sequence",
     [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.descriptors[0].sequence = 2; }); }, kCorrupt,
     "sequence_number", kLog + 64 + 24},
    {"data_signature", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.data_signature = "date"; }); },
     kCorrupt, "signature", kLog + 4096},
    {"data_sequence",
     [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.data_sequence = UINT64_C(1) << 32 | 1; }); }, kCorrupt,
     "sequence_number", kLog + 4096 + 4},
    {"data_sector_without_descriptor", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.count = 0; }); },
     kCorrupt, "descriptor_count", kLog + 24},
    {"data_descriptors_beyond_data_sectors",
     [](Vhdx &v) {
       log_of(v, [](VhdxLogEntry &e) {
         e.descriptors = {zeros(kBat), zeros(kBat)};
         e.descriptors[1].signature = "desc";
       });
     },
     kCorrupt, "descriptor_count", kLog + 24},
    {"target_file_identifier", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.descriptors = {page(0)}; }); },
     kCorrupt, "file_offset", kLog + 64 + 16},
    {"target_header", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.descriptors = {page(kHeader1)}; }); },
     kCorrupt, "file_offset", kLog + 64 + 16},
    {"target_before_regions",
     [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.descriptors = {page(kRegions - 4096)}; }); }, kCorrupt,
     "file_offset", kLog + 64 + 16},
    {"target_log", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.descriptors = {page(kLog + 8192)}; }); },
     kCorrupt, "file_offset", kLog + 64 + 16},
    {"zeros_over_log",
     [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.descriptors = {zeros(kRegions, 2 * kMiB)}; }); },
     kCorrupt, "file_offset", kLog + 64 + 16},
    {"target_odd", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.descriptors = {page(kBat + 512)}; }); },
     kCorrupt, "file_offset", kLog + 64 + 16},
    {"target_beyond_all_files",
     [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.descriptors = {page(UINT64_C(1) << 62)}; }); }, kCorrupt,
     "file_offset", kLog + 64 + 16},
    {"target_wraps",
     [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.descriptors = {page(UINT64_MAX - 4095)}; }); }, kCorrupt,
     "file_offset", kLog + 64 + 16},
    {"zeros_2_to_63",
     [](Vhdx &v) {
       log_of(v, [](VhdxLogEntry &e) { e.descriptors = {zeros(4 * kMiB, UINT64_C(1) << 63)}; });
     },
     kCorrupt, "file_offset", kLog + 64 + 16},
    {"zeros_odd", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.descriptors = {zeros(kBat, 100)}; }); },
     kCorrupt, "zero_length", kLog + 64 + 8},
    {"zeros_reserved",
     [](Vhdx &v) {
       log_of(v, [](VhdxLogEntry &e) {
         e.descriptors = {zeros(kBat)};
         e.descriptors[0].reserved = 1;
       });
     },
     kCorrupt, "reserved", kLog + 64 + 4},
    {"file_cut_off", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.flushed = 6 * kMiB; }); }, kCorrupt,
     "flushed_file_offset", kLog + 48},
    {"file_of_exabytes", [](Vhdx &v) { log_of(v, [](VhdxLogEntry &e) { e.last = UINT64_C(1) << 60; }); },
     kCorrupt, "last_file_offset", kLog + 56},
    // Clean before the replay, hostile after it.
    {"makes_regions_hostile",
     [](Vhdx &v) {
       VhdxRegionTable table = v.regions[0];
       Bytes bytes;

       table.entries[1].offset = 2 * kMiB;
       bytes = table.build();
       bytes.resize(4096);
       log_of(v, [&](VhdxLogEntry &e) { e.descriptors = {page(kRegions, bytes)}; });
     },
     kCorrupt, "file_offset", kRegions + 16},
    {"makes_bat_hostile",
     [](Vhdx &v) {
       Bytes bytes(4096);

       images::put_le(bytes, 8, bat_entry(2, 6), 8);
       log_of(v, [&](VhdxLogEntry &e) { e.descriptors = {page(kBat, bytes)}; });
     },
     kCorrupt, "file_offset", kBat + 8},
};

const Broken kRegionTables[] = {
    {"both_checksums", [](Vhdx &v) { v.for_both_tables([](VhdxRegionTable &t) { t.checksum = 1; }); },
     kCorrupt, "checksum", kRegions + 4},
    {"both_signatures", [](Vhdx &v) { v.for_both_tables([](VhdxRegionTable &t) { t.signature = "rege"; }); },
     kCorrupt, "signature", kRegions},
    // The second copy is good, but the first counts.
    {"first_hostile_second_good", [](Vhdx &v) { v.regions[0].entries[0].offset = kMiB / 2; }, kCorrupt,
     "file_offset", region_at(0, 16)},
    {"count_2048", [](Vhdx &v) { v.regions[0].count = 2048; }, kCorrupt, "entry_count", kRegions + 8},
    {"count_all_ones", [](Vhdx &v) { v.regions[0].count = UINT32_MAX; }, kCorrupt, "entry_count",
     kRegions + 8},
    {"count_65", [](Vhdx &v) { v.regions[0].count = 65; }, VIRTDISK_ERROR_NOT_SUPPORTED, "entry_count",
     kRegions + 8},
    {"count_0", [](Vhdx &v) { v.regions[0].count = 0; }, kCorrupt, "entry_count", kRegions + 8},
    {"no_bat", [](Vhdx &v) { v.regions[0].entries.pop_back(); }, kCorrupt, "entry_count", kRegions + 8},
    {"two_bats",
     [](Vhdx &v) {
       v.file_size = 6 * kMiB;
       v.regions[0].entries.push_back({images::kBatRegion, 5 * kMiB, kMiB, 1});
     },
     kCorrupt, "guid", region_at(2, 0)},
    {"length_0", [](Vhdx &v) { v.regions[0].entries[1].length = 0; }, kCorrupt, "length", region_at(1, 24)},
    {"length_odd", [](Vhdx &v) { v.regions[0].entries[1].length = 4096; }, kCorrupt, "length",
     region_at(1, 24)},
    {"length_beyond_file", [](Vhdx &v) { v.regions[0].entries[1].length = 0xfff00000; }, kCorrupt,
     "file_offset", region_at(1, 16)},
    {"offset_odd", [](Vhdx &v) { v.regions[0].entries[1].offset += 512; }, kCorrupt, "file_offset",
     region_at(1, 16)},
    {"offset_in_headers", [](Vhdx &v) { v.regions[0].entries[1].offset = 0; }, kCorrupt, "file_offset",
     region_at(1, 16)},
    {"offset_wraps", [](Vhdx &v) { v.regions[0].entries[1].offset = UINT64_MAX - kMiB + 1; }, kCorrupt,
     "file_offset", region_at(1, 16)},
    {"overlap", [](Vhdx &v) { v.regions[0].entries[1].offset = 2 * kMiB; }, kCorrupt, "file_offset",
     kRegions + 16},
    {"over_log", [](Vhdx &v) { v.regions[0].entries[1].offset = kMiB; }, kCorrupt, "file_offset",
     kRegions + 16},
    {"flags", [](Vhdx &v) { v.regions[0].entries[0].flags = 3; }, kCorrupt, "flags", region_at(0, 28)},
    {"unknown_required",
     [](Vhdx &v) {
       v.regions[0].entries.push_back({guid_of(9), 4 * kMiB, kMiB, 1});
     },
     kVersion, "guid", region_at(2, 0)},
    {"block_over_optional",
     [](Vhdx &v) {
       v.regions[0].entries.push_back({guid_of(9), 4 * kMiB, kMiB, 0});
     },
     kCorrupt, "file_offset", kBat},
    {"metadata_over_128_MiB",
     [](Vhdx &v) {
       v.file_size = 200 * kMiB;
       v.regions[0].entries[0] = {images::kMetadataRegion, 10 * kMiB, 129 * kMiB, 1};
     },
     kCorrupt, "length", region_at(0, 24)},
    {"bat_over_513_MiB",
     [](Vhdx &v) {
       v.file_size = 600 * kMiB;
       v.regions[0].entries[1] = {images::kBatRegion, 10 * kMiB, 514 * kMiB, 1};
     },
     kCorrupt, "length", region_at(1, 24)},
    {"bat_too_short", [](Vhdx &v) { v.set_size(UINT64_C(1) << 40); }, kCorrupt, "length", kBat},
};

const Broken kMetadatas[] = {
    {"signature", [](Vhdx &v) { v.metadata_signature = "metadatu"; }, kCorrupt, "signature", kMetadata},
    {"count_65535", [](Vhdx &v) { v.item_count = 65535; }, kCorrupt, "entry_count", kMetadata + 10},
    {"count_more_than_there", [](Vhdx &v) { v.item_count = 6; }, kCorrupt, "item_id", item_at(5, 0)},
    {"missing", [](Vhdx &v) { v.items.pop_back(); }, kCorrupt, "entry_count", kMetadata + 10},
    {"twice",
     [](Vhdx &v) {
       v.items.push_back({images::kDiskSize, 70000, 6, le_bytes(UINT64_C(64) << 40, 8), {}});
     },
     kCorrupt, "item_id", item_at(5, 0)},
    {"unknown_required",
     [](Vhdx &v) {
       v.items.push_back({guid_of(7), 70000, 4, Bytes(4), {}});
     },
     kVersion, "item_id", item_at(5, 0)},
    {"user_and_required",
     [](Vhdx &v) {
       v.items.push_back({guid_of(7), 70000, 5, Bytes(4), {}});
     },
     kCorrupt, "flags", item_at(5, 24)},
    {"flags", [](Vhdx &v) { v.items[1].flags = 0x0e; }, kCorrupt, "flags", item_at(1, 24)},
    {"size_of_file", [](Vhdx &v) { v.items[1].flags = 4; }, kCorrupt, "flags", item_at(1, 24)},
    {"parameters_of_disk", [](Vhdx &v) { v.items[0].flags = 6; }, kCorrupt, "flags", item_at(0, 24)},
    {"length_4", [](Vhdx &v) { v.items[1].length = 4; }, kCorrupt, "length", item_at(1, 20)},
    {"length_0", [](Vhdx &v) { v.items[1].length = 0; }, kCorrupt, "length", item_at(1, 20)},
    {"present_but_empty", [](Vhdx &v) { v.items[1].length = 0, v.items[1].offset = 0; }, kCorrupt, "length",
     item_at(1, 20)},
    {"length_over_1_MiB", [](Vhdx &v) { v.items[1].length = kMiB + 1; }, kCorrupt, "length", item_at(1, 20)},
    {"in_the_table", [](Vhdx &v) { v.items[1].offset = 65528; }, kCorrupt, "offset", item_at(1, 16)},
    {"beyond_the_region", [](Vhdx &v) { v.items[1].offset = kMiB - 4; }, kCorrupt, "offset", item_at(1, 16)},
    {"offset_all_ones", [](Vhdx &v) { v.items[1].offset = UINT32_MAX; }, kCorrupt, "offset", item_at(1, 16)},
    {"overlap", [](Vhdx &v) { v.items[2].offset = v.items[1].offset + 4; }, kCorrupt, "offset",
     item_at(2, 16)},
    {"incomplete_file",
     [](Vhdx &v) {
       v.items.push_back({images::kIncompleteFile, 0, 4, {}, {}});
     },
     kCorrupt, "item_id", item_at(5, 0)},
    // A user's item under the name of a system one does not take its place.
    {"user_item_for_system_item", [](Vhdx &v) { v.items[1].flags = 1; }, kCorrupt, "entry_count",
     kMetadata + 10},
    {"block_size_0", [](Vhdx &v) { v.set_parameters(0, 0); }, kCorrupt, "block_size", kItems},
    {"block_size_small", [](Vhdx &v) { v.set_parameters(kMiB / 2, 0); }, kCorrupt, "block_size", kItems},
    {"block_size_odd", [](Vhdx &v) { v.set_parameters(3 * kMiB, 0); }, kCorrupt, "block_size", kItems},
    {"block_size_512_MiB", [](Vhdx &v) { v.set_parameters(512 * kMiB, 0); }, kCorrupt, "block_size", kItems},
    {"parameter_flags", [](Vhdx &v) { v.set_parameters(kMiB, 4); }, kCorrupt, "flags", kItems + 4},
    {"size_0", [](Vhdx &v) { v.set_size(0); }, kSize, "virtual_disk_size", kItems + 8},
    {"size_odd", [](Vhdx &v) { v.set_size(kMiB + 1); }, kSize, "virtual_disk_size", kItems + 8},
    {"size_not_in_4096",
     [](Vhdx &v) {
       v.set_sectors(4096, 4096);
       v.set_size(kMiB + 512);
     },
     kSize, "virtual_disk_size", kItems + 8},
    {"size_over_64_TiB", [](Vhdx &v) { v.set_size((UINT64_C(64) << 40) + 512); }, kSize, "virtual_disk_size",
     kItems + 8},
    {"size_all_ones", [](Vhdx &v) { v.set_size(UINT64_MAX - 511); }, kSize, "virtual_disk_size", kItems + 8},
    {"sector_0", [](Vhdx &v) { v.set_sectors(0, 4096); }, kCorrupt, "sector_size", kItems + 16},
    {"sector_1", [](Vhdx &v) { v.set_sectors(1, 4096); }, kCorrupt, "sector_size", kItems + 16},
    {"sector_513", [](Vhdx &v) { v.set_sectors(513, 4096); }, kCorrupt, "sector_size", kItems + 16},
    {"physical_sector_0", [](Vhdx &v) { v.set_sectors(512, 0); }, kCorrupt, "sector_size", kItems + 20},
    {"physical_below_logical", [](Vhdx &v) { v.set_sectors(4096, 512); }, kCorrupt, "sector_size",
     kItems + 20},
};

const Broken kLocators[] = {
    {"flag_without_locator", [](Vhdx &v) { v.set_parameters(kMiB, 2); }, kCorrupt, "parent_locator",
     kMetadata},
    {"locator_without_flag",
     [](Vhdx &v) {
       v.set_parent();
       v.set_parameters(kMiB, 0);
     },
     kCorrupt, "parent_locator", kLocator},
    {"item_over_64_KiB",
     [](Vhdx &v) {
       v.set_parent();
       v.items.back().value.resize(65537);
     },
     kCorrupt, "parent_locator", kLocator},
    {"shorter_than_its_head",
     [](Vhdx &v) {
       v.set_parent();
       v.items.back().length = 10;
     },
     kCorrupt, "key_value_count", kLocator + 18},
    {"type", [](Vhdx &v) { locator_of(v, [](VhdxLocator &l) { l.type = guid_of(3); }); },
     VIRTDISK_ERROR_NOT_SUPPORTED, "locator_type", kLocator},
    {"count_65535", [](Vhdx &v) { locator_of(v, [](VhdxLocator &l) { l.count = 65535; }); }, kCorrupt,
     "key_value_count", kLocator + 18},
    {"count_200", [](Vhdx &v) { locator_of(v, [](VhdxLocator &l) { l.count = 200; }); }, kCorrupt,
     "key_offset", kLocator + 20},
    {"count_0", [](Vhdx &v) { locator_of(v, [](VhdxLocator &l) { l.count = 0; }); }, kCorrupt,
     "parent_linkage", kLocator + 18},
    {"key_in_the_table", [](Vhdx &v) { locator_of(v, [](VhdxLocator &l) { l.pairs[0].key_offset = 20; }); },
     kCorrupt, "key_offset", kLocator + 20},
    {"key_outside",
     [](Vhdx &v) { locator_of(v, [](VhdxLocator &l) { l.pairs[1].key_offset = UINT32_MAX; }); }, kCorrupt,
     "key_offset", kLocator + 32},
    {"value_outside", [](Vhdx &v) { locator_of(v, [](VhdxLocator &l) { l.pairs[1].value_length = 65534; }); },
     kCorrupt, "value_offset", kLocator + 32 + 4},
    {"value_odd", [](Vhdx &v) { locator_of(v, [](VhdxLocator &l) { l.pairs[1].value_length = 3; }); },
     kCorrupt, "value_offset", kLocator + 32 + 4},
    {"value_empty", [](Vhdx &v) { locator_of(v, [](VhdxLocator &l) { l.pairs[1].value_length = 0; }); },
     kCorrupt, "value_offset", kLocator + 32 + 4},
    {"key_empty", [](Vhdx &v) { locator_of(v, [](VhdxLocator &l) { l.pairs[1].key_length = 0; }); }, kCorrupt,
     "key_offset", kLocator + 32},
    {"linkage_twice", [](Vhdx &v) { locator_of(v, [](VhdxLocator &l) { l.pairs.push_back(l.pairs[0]); }); },
     kCorrupt, "parent_linkage", kLocator + 20 + 36},
    {"linkage_missing",
     [](Vhdx &v) { locator_of(v, [](VhdxLocator &l) { l.pairs.erase(l.pairs.begin()); }); }, kCorrupt,
     "parent_linkage", kLocator + 18},
    {"linkage_other_case",
     [](Vhdx &v) { locator_of(v, [](VhdxLocator &l) { l.pairs[0].key = "Parent_linkage"; }); }, kCorrupt,
     "parent_linkage", kLocator + 18},
    {"linkage_no_guid",
     [](Vhdx &v) {
       locator_of(v, [](VhdxLocator &l) { l.pairs[0].value = "{a3a2a1a0-a5a4-a7a6-a8a9-aaabacadaeag}"; });
     },
     kCorrupt, "parent_linkage", kLocator + 20 + 36 + 28},
    {"linkage_long",
     [](Vhdx &v) { locator_of(v, [](VhdxLocator &l) { l.pairs[0].value = std::string(200, 'a'); }); },
     kCorrupt, "parent_linkage", kLocator + 20 + 36 + 28 + 78},
    {"path_with_nul",
     [](Vhdx &v) {
       locator_of(v, [](VhdxLocator &l) { l.pairs[1].raw_value = Bytes{'a', 0, 0, 0, 'b', 0}; });
     },
     kCorrupt, "relative_path", kLocator + 20 + 36 + 28 + 76 + 26 + 2},
    {"path_with_half_a_pair",
     [](Vhdx &v) { locator_of(v, [](VhdxLocator &l) {
                     l.pairs[1].raw_value = Bytes{0, 0xd8};
                   }); }, kCorrupt,
     "relative_path", kLocator + 20 + 36 + 28 + 76 + 26},
    {"path_with_newline", [](Vhdx &v) { locator_of(v, [](VhdxLocator &l) { l.pairs[1].value = "a\nb"; }); },
     kCorrupt, "relative_path", kLocator + 20 + 36 + 28 + 76 + 26 + 2},
};

const Broken kBats[] = {
    {"state_4", [](Vhdx &v) { set_bat(v, 1, bat_entry(5, 4)); }, kCorrupt, "state", kBat + 8},
    {"state_5", [](Vhdx &v) { set_bat(v, 1, bat_entry(0, 5)); }, kCorrupt, "state", kBat + 8},
    {"partial_without_parent", [](Vhdx &v) { set_bat(v, 0, bat_entry(4, 7)); }, kCorrupt, "state", kBat},
    {"reserved_bits", [](Vhdx &v) { set_bat(v, 1, 0x8 | bat_entry(0, 2)); }, kCorrupt, "reserved", kBat + 8},
    {"present_at_0", [](Vhdx &v) { set_bat(v, 1, bat_entry(0, 6)); }, kCorrupt, "file_offset", kBat + 8},
    {"in_log", [](Vhdx &v) { set_bat(v, 1, bat_entry(1, 6)); }, kCorrupt, "file_offset", kBat + 8},
    {"in_metadata", [](Vhdx &v) { set_bat(v, 1, bat_entry(2, 6)); }, kCorrupt, "file_offset", kBat + 8},
    {"in_bat", [](Vhdx &v) { set_bat(v, 1, bat_entry(3, 6)); }, kCorrupt, "file_offset", kBat + 8},
    {"at_end", [](Vhdx &v) { set_bat(v, 1, bat_entry(5, 6)); }, kCorrupt, "file_offset", kBat + 8},
    {"highest_offset", [](Vhdx &v) { set_bat(v, 1, bat_entry((UINT64_C(1) << 44) - 1, 6)); }, kCorrupt,
     "file_offset", kBat + 8},
    {"shared", [](Vhdx &v) { set_bat(v, 1, bat_entry(4, 6)); }, kCorrupt, "file_offset", kBat + 8},
    {"shared_with_unmapped", [](Vhdx &v) { set_bat(v, 1, bat_entry(4, 3)); }, kCorrupt, "file_offset",
     kBat + 8},
    {"shared_with_undefined", [](Vhdx &v) { set_bat(v, 1, bat_entry(4, 1)); }, kCorrupt, "file_offset",
     kBat + 8},
    {"overlap_by_half",
     [](Vhdx &v) {
       v.set_parameters(2 * kMiB, 0);
       v.file_size = 7 * kMiB;
       v.bat = {{0, bat_entry(4, 6)}, {1, bat_entry(5, 6)}};
     },
     kCorrupt, "file_offset", kBat + 8},
    {"unmapped_beyond_end", [](Vhdx &v) { set_bat(v, 1, bat_entry(9, 3)); }, kCorrupt, "file_offset",
     kBat + 8},
    {"bitmap_in_dynamic",
     [](Vhdx &v) {
       v.set_size(UINT64_C(8) << 30);
       v.file_size = 6 * kMiB;
       set_bat(v, 4096, bat_entry(5, 6));
     },
     kCorrupt, "state", kBat + UINT64_C(4096) * 8},
    {"partial_without_bitmap",
     [](Vhdx &v) {
       v.set_parent();
       set_bat(v, 0, bat_entry(4, 7));
     },
     kCorrupt, "state", kBat},
    {"partial_without_bitmap_in_a_former_chunk",
     [](Vhdx &v) {
       v.set_parent();
       v.set_size(UINT64_C(8) << 30);
       v.file_size = 7 * kMiB;
       v.bat = {{1, bat_entry(4, 7)}, {4097, bat_entry(5, 7)}, {4097 + 4096, bat_entry(6, 6)}};
     },
     kCorrupt, "state", kBat + 8},
    {"bitmap_over_block",
     [](Vhdx &v) {
       v.set_parent();
       v.bat = {{0, bat_entry(4, 7)}, {4096, bat_entry(4, 6)}};
     },
     kCorrupt, "file_offset", kBat + UINT64_C(4096) * 8},
    {"bitmap_state_7",
     [](Vhdx &v) {
       v.set_parent();
       v.bat = {{0, bat_entry(4, 7)}, {4096, bat_entry(4, 7)}};
     },
     kCorrupt, "state", kBat + UINT64_C(4096) * 8},
    {"bitmap_cut_off",
     [](Vhdx &v) {
       v.set_parent();
       v.file_size = 6 * kMiB - 512;
       v.bat = {{0, bat_entry(4, 7)}, {4096, bat_entry(5, 6)}};
     },
     kCorrupt, "file_offset", kBat + UINT64_C(4096) * 8},
};

struct Answer {
  bool good;
  VdFacts facts;
  VdFormatError error;
};

std::unique_ptr<Answer> probe(const images::File &file)
{
  auto answer = std::make_unique<Answer>();

  answer->good =
      vd_format_probe(file.fd(), VIRTDISK_DEVICE_VHDX, VD_CONTENT_SKIP, &answer->facts, &answer->error);
  return answer;
}

// Who only reads is served what the file still has; who writes is refused.
std::unique_ptr<Answer> probe_to_write(const images::File &file)
{
  std::unique_ptr<Answer> answer = probe(file);
  VdReader reader;
  VdVhdx vhdx;

  if (!answer->good)
    return answer;
  answer->good =
      vd_reader_init(&reader, file.fd(), &answer->error) && vd_vhdx_read(&reader, &vhdx, &answer->error);
  if (!answer->good)
    return answer;
  answer->good = vd_vhdx_check_bat(&reader, &vhdx, nullptr, nullptr, nullptr, &answer->error);
  vd_vhdx_clear(&vhdx);
  EXPECT_STREQ(answer->error.field, "file_offset");
  return answer;
}

class VhdxBroken : public testing::TestWithParam<Broken>
{
};

TEST_P(VhdxBroken, IsNamed)
{
  Vhdx image;

  GetParam().change(image);
  auto answer = probe_to_write(*image.make());
  ASSERT_FALSE(answer->good);
  EXPECT_EQ(answer->error.code, GetParam().code) << answer->error.text;
  EXPECT_STREQ(answer->error.field, GetParam().field) << answer->error.text;
  EXPECT_EQ(answer->error.offset, GetParam().offset) << answer->error.text;
  EXPECT_LT(strlen(answer->error.text), sizeof answer->error.text - 1) << "cut off: " << answer->error.text;
}

std::string name_of(const testing::TestParamInfo<Broken> &info)
{
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(File, VhdxBroken, testing::ValuesIn(kFile), name_of);
INSTANTIATE_TEST_SUITE_P(Headers, VhdxBroken, testing::ValuesIn(kHeaders), name_of);
INSTANTIATE_TEST_SUITE_P(Log, VhdxBroken, testing::ValuesIn(kLogs), name_of);
INSTANTIATE_TEST_SUITE_P(Regions, VhdxBroken, testing::ValuesIn(kRegionTables), name_of);
INSTANTIATE_TEST_SUITE_P(Metadata, VhdxBroken, testing::ValuesIn(kMetadatas), name_of);
INSTANTIATE_TEST_SUITE_P(Locator, VhdxBroken, testing::ValuesIn(kLocators), name_of);
INSTANTIATE_TEST_SUITE_P(Bat, VhdxBroken, testing::ValuesIn(kBats), name_of);

// What costs time or memory: fails, or not, within bounds.
class VhdxCostly : public testing::Test
{
protected:
  // Image files are memory too: they are made before the bounds begin.
  void begin()
  {
    images::Cost::begin();
  }
};

} // namespace

TEST(VhdxGood, TheImageThatTheOthersBreak)
{
  auto answer = probe(*Vhdx().make());

  EXPECT_TRUE(answer->good) << answer->error.text;
}

TEST_F(VhdxCostly, HugeDiskInATinyFile)
{
  Vhdx image;

  image.set_size(UINT64_C(64) << 40);
  image.for_both_tables([](VhdxRegionTable &table) { table.entries[1].length = 513 * kMiB; });
  image.bat = {{0, bat_entry(516, 6)}};
  image.file_size = 517 * kMiB;
  auto file = image.make();
  begin();
  auto answer = probe(*file);
  EXPECT_TRUE(answer->good) << answer->error.text;
  EXPECT_LT(images::Cost::time(), images::kCostSlack * 100000);
}

TEST_F(VhdxCostly, HugeDiskWithADirtyLog)
{
  Vhdx image;

  image.set_size(UINT64_C(64) << 40);
  image.for_both_tables([](VhdxRegionTable &table) { table.entries[1].length = 513 * kMiB; });
  image.bat = {{0, bat_entry(516, 6)}};
  image.file_size = 517 * kMiB;
  image.set_log({entry(1, {page(kBat + 512 * kMiB, Bytes(4096)), zeros(kBat + 4096, 512 * kMiB)})});
  auto file = image.make();
  begin();
  auto answer = probe(*file);
  EXPECT_TRUE(answer->good) << answer->error.text;
}

// Each sector begins an entry that says it fills the log.
TEST_F(VhdxCostly, EntriesThatClaimAll)
{
  Vhdx image;

  image.headers[0].log_length = image.headers[1].log_length = 16 * kMiB;
  image.headers[0].log_offset = image.headers[1].log_offset = 5 * kMiB;
  image.file_size = 21 * kMiB;
  image.set_log({});
  for (uint32_t position = 0; position < 16 * kMiB; position += 4096) {
    VhdxLogEntry one = entry();

    one.position = position;
    one.length = 16 * kMiB;
    image.log.push_back(one);
  }
  auto file = image.make();
  begin();
  EXPECT_EQ(probe(*file)->error.code, kCorrupt);
}

// One run that fills the log, all valid, whose head names a tail that is no entry: each start would have to
// be tried, were it not for the others.
TEST_F(VhdxCostly, ARunWithoutATail)
{
  Vhdx image;

  image.headers[0].log_length = image.headers[1].log_length = 16 * kMiB;
  image.headers[0].log_offset = image.headers[1].log_offset = 5 * kMiB;
  image.file_size = 21 * kMiB;
  image.set_log({});
  for (uint32_t position = 0; position + 4096 < 16 * kMiB; position += 4096) {
    VhdxLogEntry one = entry(1 + position / 4096);

    one.position = position;
    one.tail = 16 * kMiB - 4096;
    image.log.push_back(one);
  }
  auto file = image.make();
  begin();
  EXPECT_EQ(probe(*file)->error.code, kCorrupt);
}

TEST_F(VhdxCostly, AnEmptyLogOfTheLargestSize)
{
  Vhdx image;

  image.headers[0].log_length = image.headers[1].log_length = 256 * kMiB;
  image.headers[0].log_offset = image.headers[1].log_offset = 5 * kMiB;
  image.file_size = 261 * kMiB;
  image.set_log({});
  auto file = image.make();
  begin();
  EXPECT_EQ(probe(*file)->error.code, kCorrupt);
}

TEST_F(VhdxCostly, ZerosToTheEndOfAllFiles)
{
  Vhdx image;

  image.set_log({entry(1, {zeros(4 * kMiB, (UINT64_C(1) << 47) - 4 * kMiB)})});
  auto file = image.make();
  begin();
  auto answer = probe(*file);
  EXPECT_TRUE(answer->good) << answer->error.text;
}

// More than is kept in memory.
TEST_F(VhdxCostly, ALogThatZerosTooMuch)
{
  std::vector<VhdxDescriptor> descriptors(70000, zeros(kBat));
  Vhdx image;

  image.headers[0].log_length = image.headers[1].log_length = 4 * kMiB;
  image.headers[0].log_offset = image.headers[1].log_offset = 5 * kMiB;
  image.file_size = 9 * kMiB;
  image.set_log({entry(1, descriptors)});
  auto file = image.make();
  begin();
  EXPECT_EQ(probe(*file)->error.code, VIRTDISK_ERROR_NOT_SUPPORTED);
}

TEST_F(VhdxCostly, AllRegionAndItemEntriesThereCanBe)
{
  Vhdx image;

  for (uint32_t i = 5; i < 2047; i++)
    image.items.push_back({guid_of(0), 65536 + 64 + i * 4, i < 1028 ? 1u : 0u, Bytes(4), {}});
  for (size_t i = 5; i < image.items.size(); i++)
    images::put_bytes(image.items[i].value, 0, reinterpret_cast<const uint8_t *>("abcd"), 4),
        image.items[i].id = guid_of(1), image.items[i].id[0] = static_cast<uint8_t>(i),
        image.items[i].id[1] = static_cast<uint8_t>(i >> 8);
  image.for_both_tables([](VhdxRegionTable &table) {
    for (unsigned i = 2; i < 64; i++) {
      table.entries.push_back({guid_of(static_cast<uint8_t>(i)), (3 + i) * kMiB, kMiB, 0});
    }
  });
  image.bat = {};
  image.file_size = 70 * kMiB;
  auto file = image.make();
  begin();
  auto answer = probe(*file);
  EXPECT_TRUE(answer->good) << answer->error.text;
}
