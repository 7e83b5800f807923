/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Regions: found by their GUIDs, compared with the file and with each other. */
#include "formats/vhdx-region.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/bytes.h"
#include "formats/crc32c.h"
#include "util/checked.h"

enum {
  AT_SIGNATURE = 0,
  AT_CHECKSUM = 4,
  AT_COUNT = 8,
  HEADER_LENGTH = 16,
  ENTRY_LENGTH = 32,
  /* of an entry */
  AT_GUID = 0,
  AT_OFFSET = 16,
  AT_LENGTH = 24,
  AT_FLAGS = 28,
};

#define MAX_ENTRIES 2047
#define FLAG_REQUIRED 1

/* On disk: 2DC27766-F623-4200-9D64-115E9BFD4A08, 8B7CA206-4790-4B9A-B8FE-575F050F886E. */
static const uint8_t bat_guid[16] = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
                                     0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
static const uint8_t metadata_guid[16] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                          0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};

bool vd_vhdx_regions_check_sum(const VdSpan *span, VdFormatError *ret_error)
{
  uint32_t stored, sum = vd_span_crc32c(span, AT_CHECKSUM);

  if (!vd_span_has(span, AT_SIGNATURE, "regi", 4))
    return vd_span_fail(span, AT_SIGNATURE, "signature", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is not \"regi\"");
  if (!vd_span_load_le32(span, AT_CHECKSUM, "checksum", &stored, ret_error))
    return false;
  if (stored != sum)
    return vd_span_fail(span, AT_CHECKSUM, "checksum", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is 0x%08" PRIx32 ", the bytes give 0x%08" PRIx32, stored, sum);
  return true;
}

typedef struct {
  uint8_t guid[16];
  VdVhdxRange range;
  uint32_t flags;
} Entry;

static bool load_entry(const VdSpan *span, size_t at, Entry *entry, VdFormatError *ret_error)
{
  uint32_t length;

  if (!vd_span_load_bytes(span, at + AT_GUID, "guid", entry->guid, sizeof entry->guid, ret_error) ||
      !vd_span_load_le64(span, at + AT_OFFSET, "file_offset", &entry->range.offset, ret_error) ||
      !vd_span_load_le32(span, at + AT_LENGTH, "length", &length, ret_error) ||
      !vd_span_load_le32(span, at + AT_FLAGS, "flags", &entry->flags, ret_error))
    return false;
  entry->range.length = length;
  return true;
}

static bool check_entry(const VdSpan *span, size_t at, const Entry *entry, uint64_t file_size,
                        VdFormatError *ret_error)
{
  const VdVhdxRange *range = &entry->range;

  if ((entry->flags & ~(uint32_t)FLAG_REQUIRED) != 0)
    return vd_span_fail(span, at + AT_FLAGS, "flags", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is 0x%08" PRIx32 ", only the lowest bit has a meaning", entry->flags);
  if (range->length == 0 || range->length % VD_VHDX_MIB != 0)
    return vd_span_fail(span, at + AT_LENGTH, "length", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %" PRIu64 ", not a positive multiple of 1 MiB", range->length);
  if (range->offset < VD_VHDX_MIB || range->offset % VD_VHDX_MIB != 0 ||
      !vd_range_within(range->offset, range->length, file_size))
    return vd_span_fail(span, at + AT_OFFSET, "file_offset", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %" PRIu64 " (length %" PRIu64
                        "), not a multiple of 1 MiB within 1 MiB and the file's end at %" PRIu64,
                        range->offset, range->length, file_size);
  return true;
}

/* Takes a region that has a name here; the rest only has its place. */
static bool take_known(const VdSpan *span, size_t at, const Entry *entry, VdVhdxRegions *regions,
                       VdFormatError *ret_error)
{
  bool is_bat = memcmp(entry->guid, bat_guid, 16) == 0;
  bool is_metadata = memcmp(entry->guid, metadata_guid, 16) == 0;
  uint64_t ceiling = is_bat ? VD_VHDX_MAX_BAT : is_metadata ? VD_VHDX_MAX_METADATA : UINT64_MAX;

  if (!is_bat && !is_metadata && (entry->flags & FLAG_REQUIRED) != 0)
    return vd_span_fail(span, at + AT_GUID, "guid", VIRTDISK_ERROR_VHD_FORMAT_UNSUPPORTED_VERSION, ret_error,
                        "names a region that is required and not known here");
  if (entry->range.length > ceiling)
    return vd_span_fail(span, at + AT_LENGTH, "length", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %" PRIu64 ", more than %" PRIu64, entry->range.length, ceiling);
  if (is_bat)
    regions->bat = entry->range;
  if (is_metadata)
    regions->metadata = entry->range;
  return true;
}

static bool check_unique(const VdSpan *span, unsigned index, const Entry *entry, VdFormatError *ret_error)
{
  for (unsigned i = 0; i < index; i++)
    if (vd_span_has(span, HEADER_LENGTH + (size_t)i * ENTRY_LENGTH + AT_GUID, (const char *)entry->guid, 16))
      return vd_span_fail(span, HEADER_LENGTH + (size_t)index * ENTRY_LENGTH + AT_GUID, "guid",
                          VIRTDISK_ERROR_FILE_CORRUPT, ret_error, "stands in the table twice");
  return true;
}

static int compare_offsets(const void *a, const void *b)
{
  const VdVhdxRange *one = a, *other = b;

  return (one->offset > other->offset) - (one->offset < other->offset);
}

static bool check_overlap(const VdSpan *span, VdVhdxRegions *regions, VdFormatError *ret_error)
{
  qsort(regions->all, regions->n_all, sizeof regions->all[0], compare_offsets);
  for (unsigned i = 1; i < regions->n_all; i++)
    if (regions->all[i].offset - regions->all[i - 1].offset < regions->all[i - 1].length)
      return vd_span_fail(span, HEADER_LENGTH, "file_offset", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                          "%" PRIu64 " lies within the region or log at %" PRIu64 " (length %" PRIu64 ")",
                          regions->all[i].offset, regions->all[i - 1].offset, regions->all[i - 1].length);
  return true;
}

static bool load_entries(const VdSpan *span, uint32_t count, uint64_t file_size, VdVhdxRegions *regions,
                         VdFormatError *ret_error)
{
  for (uint32_t i = 0; i < count; i++) {
    size_t at = HEADER_LENGTH + (size_t)i * ENTRY_LENGTH;
    Entry entry;

    if (!load_entry(span, at, &entry, ret_error) || !check_unique(span, i, &entry, ret_error) ||
        !check_entry(span, at, &entry, file_size, ret_error) ||
        !take_known(span, at, &entry, regions, ret_error))
      return false;
    regions->all[regions->n_all++] = entry.range;
  }
  return true;
}

bool vd_vhdx_regions_parse(const VdSpan *span, const VdVhdxHeader *header, uint64_t file_size,
                           VdVhdxRegions *ret_regions, VdFormatError *ret_error)
{
  VdVhdxRegions regions = {.n_all = 0};
  uint32_t count;

  if (!vd_span_load_le32(span, AT_COUNT, "entry_count", &count, ret_error))
    return false;
  if (count > MAX_ENTRIES)
    return vd_span_fail(span, AT_COUNT, "entry_count", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %" PRIu32 ", more than %d", count, MAX_ENTRIES);
  if (count > VD_VHDX_MAX_REGIONS)
    return vd_span_fail(span, AT_COUNT, "entry_count", VIRTDISK_ERROR_NOT_SUPPORTED, ret_error,
                        "is %" PRIu32 ", more than the %d that are kept here", count, VD_VHDX_MAX_REGIONS);
  if (header->log_length > 0)
    regions.all[regions.n_all++] = (VdVhdxRange){header->log_offset, header->log_length};
  if (!load_entries(span, count, file_size, &regions, ret_error) || !check_overlap(span, &regions, ret_error))
    return false;
  if (regions.bat.length == 0 || regions.metadata.length == 0)
    return vd_span_fail(span, AT_COUNT, "entry_count", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %" PRIu32 ", and there is no %s region", count,
                        regions.bat.length == 0 ? "BAT" : "metadata");
  *ret_regions = regions;
  return true;
}

static void put_entry(const uint8_t guid[16], const VdVhdxRange *range, uint8_t *bytes)
{
  memcpy(&bytes[AT_GUID], guid, 16);
  vd_put_le64(&bytes[AT_OFFSET], range->offset);
  vd_put_le32(&bytes[AT_LENGTH], (uint32_t)range->length);
  vd_put_le32(&bytes[AT_FLAGS], FLAG_REQUIRED);
}

void vd_vhdx_regions_build(const VdVhdxRange *bat, const VdVhdxRange *metadata, uint8_t *ret_bytes)
{
  memset(ret_bytes, 0, VD_VHDX_REGIONS_LENGTH);
  memcpy(&ret_bytes[AT_SIGNATURE], "regi", 4);
  vd_put_le32(&ret_bytes[AT_COUNT], 2);
  put_entry(metadata_guid, metadata, &ret_bytes[HEADER_LENGTH]);
  put_entry(bat_guid, bat, &ret_bytes[HEADER_LENGTH + ENTRY_LENGTH]);
  vd_put_le32(&ret_bytes[AT_CHECKSUM], vd_crc32c(0, ret_bytes, VD_VHDX_REGIONS_LENGTH));
}

static void move_entry(const uint8_t guid[16], const VdVhdxRange *range, uint8_t *bytes)
{
  for (size_t at = HEADER_LENGTH; at + ENTRY_LENGTH <= VD_VHDX_REGIONS_LENGTH; at += ENTRY_LENGTH)
    if (memcmp(&bytes[at + AT_GUID], guid, 16) == 0) {
      vd_put_le64(&bytes[at + AT_OFFSET], range->offset);
      vd_put_le32(&bytes[at + AT_LENGTH], (uint32_t)range->length);
      return;
    }
}

void vd_vhdx_regions_move(const VdVhdxRange *bat, const VdVhdxRange *metadata, uint8_t *bytes)
{
  if (bat != NULL)
    move_entry(bat_guid, bat, bytes);
  if (metadata != NULL)
    move_entry(metadata_guid, metadata, bytes);
  vd_put_le32(&bytes[AT_CHECKSUM], 0);
  vd_put_le32(&bytes[AT_CHECKSUM], vd_crc32c(0, bytes, VD_VHDX_REGIONS_LENGTH));
}
