/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One array says what is known of each item; the checks go by it. */
#include "formats/vhdx-metadata.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/bytes.h"
#include "util/checked.h"
#include "worker/facts.h"

enum {
  AT_SIGNATURE = 0,
  AT_COUNT = 10,
  HEADER_LENGTH = 32,
  ENTRY_LENGTH = 32,
  /* of an entry */
  AT_GUID = 0,
  AT_OFFSET = 16,
  AT_LENGTH = 20,
  AT_FLAGS = 24,
};

#define FLAG_USER VD_VHDX_METADATA_USER
#define FLAG_DISK VD_VHDX_METADATA_DISK
#define FLAG_REQUIRED VD_VHDX_METADATA_REQUIRED
#define ALL_FLAGS 7
#define PARAMETER_LEAVE_ALLOCATED 1
#define PARAMETER_HAS_PARENT 2

#define MAX_ENTRIES VD_VHDX_METADATA_MAX_ENTRIES
#define MAX_USER_ENTRIES VD_VHDX_METADATA_MAX_USER_ENTRIES
/* Ceiling of an item, bytes. */
#define MAX_ITEM (UINT32_C(1) << 20)
#define MAX_TOTAL VD_VHDX_METADATA_MAX_TOTAL

typedef struct {
  const char *name;
  uint8_t guid[16]; /* as on disk */
  uint32_t length;  /* bytes; 0: any */
  bool of_disk;     /* IsVirtualDisk */
  bool must_exist;
} Known;

static const Known known[VD_VHDX_N_ITEMS] = {
    [VD_VHDX_ITEM_FILE_PARAMETERS] = {"file_parameters",
                                      {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0,
                                       0xaa, 0x44, 0xe7, 0x6b},
                                      8,
                                      false,
                                      true},
    [VD_VHDX_ITEM_SIZE] = {"virtual_disk_size",
                           {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8,
                            0x3b, 0xf4, 0xb8},
                           8,
                           true,
                           true},
    [VD_VHDX_ITEM_DISK_ID] = {"virtual_disk_id",
                              {0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0,
                               0x00, 0xc7, 0x46},
                              16,
                              true,
                              true},
    [VD_VHDX_ITEM_SECTOR_SIZE] = {"logical_sector_size",
                                  {0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33,
                                   0xa8, 0xfa, 0xab, 0x5f},
                                  4,
                                  true,
                                  true},
    [VD_VHDX_ITEM_PHYSICAL_SECTOR_SIZE] = {"physical_sector_size",
                                           {0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9,
                                            0x88, 0x52, 0x51, 0xc5, 0x56},
                                           4,
                                           true,
                                           true},
    [VD_VHDX_ITEM_PARENT_LOCATOR] = {"parent_locator",
                                     {0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8,
                                      0x48, 0x34, 0xab, 0x0c},
                                     0,
                                     false,
                                     false},
};

/* DA02D7BC-3D3A-423C-AC88-2A36AB21479B: a geometry, which nothing here needs. */
static const uint8_t chs_guid[16] = {0xbc, 0xd7, 0x02, 0xda, 0x3a, 0x3d, 0x3c, 0x42,
                                     0xac, 0x88, 0x2a, 0x36, 0xab, 0x21, 0x47, 0x9b};
/* 71CC85F0-1B69-4E28-9558-C3BF83AE75D3: there while the image is being made. */
static const uint8_t incomplete_guid[16] = {0xf0, 0x85, 0xcc, 0x71, 0x69, 0x1b, 0x28, 0x4e,
                                            0x95, 0x58, 0xc3, 0xbf, 0x83, 0xae, 0x75, 0xd3};

typedef struct {
  uint8_t key[17]; /* GUID, and whether it is a user's */
  uint32_t offset, length, flags;
  size_t at; /* of the entry in the table */
} Entry;

/* As they are loaded; sorted twice for the checks. */
typedef struct {
  Entry entries[MAX_ENTRIES];
  unsigned n;
} Table;

static bool load_entry(const VdSpan *span, size_t at, Entry *entry, VdFormatError *ret_error)
{
  entry->at = at;
  if (!vd_span_load_bytes(span, at + AT_GUID, "item_id", entry->key, 16, ret_error) ||
      !vd_span_load_le32(span, at + AT_OFFSET, "offset", &entry->offset, ret_error) ||
      !vd_span_load_le32(span, at + AT_LENGTH, "length", &entry->length, ret_error) ||
      !vd_span_load_le32(span, at + AT_FLAGS, "flags", &entry->flags, ret_error))
    return false;
  entry->key[16] = (uint8_t)(entry->flags & FLAG_USER);
  return true;
}

static bool check_entry(const VdSpan *span, const Entry *entry, uint64_t region_length,
                        VdFormatError *ret_error)
{
  if (vd_vhdx_guid_is_zero(entry->key))
    return vd_span_fail(span, entry->at + AT_GUID, "item_id", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is zero");
  if ((entry->flags & ~(uint32_t)ALL_FLAGS) != 0 ||
      (entry->flags & (FLAG_USER | FLAG_REQUIRED)) == (FLAG_USER | FLAG_REQUIRED))
    return vd_span_fail(span, entry->at + AT_FLAGS, "flags", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is 0x%08" PRIx32 ", which no item may have", entry->flags);
  if (entry->length > MAX_ITEM || (entry->length == 0) != (entry->offset == 0))
    return vd_span_fail(span, entry->at + AT_LENGTH, "length", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %" PRIu32 " with offset %" PRIu32, entry->length, entry->offset);
  if (entry->length > 0 && (entry->offset < VD_VHDX_METADATA_TABLE_LENGTH ||
                            !vd_range_within(entry->offset, entry->length, region_length)))
    return vd_span_fail(span, entry->at + AT_OFFSET, "offset", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %" PRIu32 " (length %" PRIu32 "), not within the table's end at %d and the "
                        "region's at %" PRIu64,
                        entry->offset, entry->length, VD_VHDX_METADATA_TABLE_LENGTH, region_length);
  return true;
}

static bool load_table(const VdSpan *span, uint64_t region_length, Table *table, VdFormatError *ret_error)
{
  uint64_t totals[2] = {0, 0};
  unsigned n_user = 0;
  uint16_t count;

  if (!vd_span_has(span, AT_SIGNATURE, "metadata", 8))
    return vd_span_fail(span, AT_SIGNATURE, "signature", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is not \"metadata\"");
  if (!vd_span_load_le16(span, AT_COUNT, "entry_count", &count, ret_error))
    return false;
  if (count > MAX_ENTRIES)
    return vd_span_fail(span, AT_COUNT, "entry_count", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %u, more than %d", count, MAX_ENTRIES);
  for (table->n = 0; table->n < count; table->n++) {
    Entry *entry = &table->entries[table->n];

    if (!load_entry(span, HEADER_LENGTH + (size_t)table->n * ENTRY_LENGTH, entry, ret_error) ||
        !check_entry(span, entry, region_length, ret_error))
      return false;
    totals[entry->flags & FLAG_USER] += entry->length;
    n_user += entry->flags & FLAG_USER;
  }
  if (n_user > MAX_USER_ENTRIES || totals[0] > MAX_TOTAL || totals[1] > MAX_TOTAL)
    return vd_span_fail(span, AT_COUNT, "entry_count", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %u: %u items of the user, %" PRIu64 " bytes, are too many", count, n_user,
                        totals[0] + totals[1]);
  return true;
}

static int compare_keys(const void *a, const void *b)
{
  const Entry *one = a, *other = b;
  int order = memcmp(one->key, other->key, sizeof one->key);

  return order != 0 ? order : (one->at > other->at) - (one->at < other->at);
}

static int compare_offsets(const void *a, const void *b)
{
  const Entry *one = a, *other = b;

  return (one->offset > other->offset) - (one->offset < other->offset);
}

static bool check_apart(const VdSpan *span, Table *table, VdFormatError *ret_error)
{
  qsort(table->entries, table->n, sizeof table->entries[0], compare_keys);
  for (unsigned i = 1; i < table->n; i++)
    if (memcmp(table->entries[i].key, table->entries[i - 1].key, sizeof table->entries[i].key) == 0)
      return vd_span_fail(span, table->entries[i].at + AT_GUID, "item_id", VIRTDISK_ERROR_FILE_CORRUPT,
                          ret_error, "stands in the table twice");
  qsort(table->entries, table->n, sizeof table->entries[0], compare_offsets);
  for (unsigned i = 1; i < table->n; i++) {
    const Entry *entry = &table->entries[i], *before = &table->entries[i - 1];

    if (entry->offset - before->offset < before->length)
      return vd_span_fail(span, entry->at + AT_OFFSET, "offset", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                          "is %" PRIu32 ", within the item at %" PRIu32 " (length %" PRIu32 ")",
                          entry->offset, before->offset, before->length);
  }
  return true;
}

static bool take_known(const VdSpan *span, const Entry *entry, VdVhdxItem item, VdVhdxMetadata *metadata,
                       VdFormatError *ret_error)
{
  const Known *what = &known[item];

  if (entry->length == 0 || (what->length != 0 && entry->length != what->length))
    return vd_span_fail(span, entry->at + AT_LENGTH, "length", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "of %s is %" PRIu32 ", not %" PRIu32, what->name, entry->length, what->length);
  if (((entry->flags & FLAG_DISK) != 0) != what->of_disk)
    return vd_span_fail(span, entry->at + AT_FLAGS, "flags", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "of %s is 0x%08" PRIx32, what->name, entry->flags);
  metadata->items[item] = (VdVhdxRange){entry->offset, entry->length};
  return true;
}

static bool take_entry(const VdSpan *span, const Entry *entry, VdVhdxMetadata *metadata,
                       VdFormatError *ret_error)
{
  /* A user's item may bear any GUID; it is none of ours. */
  if ((entry->flags & FLAG_USER) != 0)
    return true;
  for (VdVhdxItem item = 0; item < VD_VHDX_N_ITEMS; item++)
    if (memcmp(entry->key, known[item].guid, 16) == 0)
      return take_known(span, entry, item, metadata, ret_error);
  if (memcmp(entry->key, incomplete_guid, 16) == 0)
    return vd_span_fail(span, entry->at + AT_GUID, "item_id", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "says that the image was never finished");
  if ((entry->flags & FLAG_REQUIRED) != 0 && memcmp(entry->key, chs_guid, 16) != 0)
    return vd_span_fail(span, entry->at + AT_GUID, "item_id", VIRTDISK_ERROR_VHD_FORMAT_UNSUPPORTED_VERSION,
                        ret_error, "names an item that is required and not known here");
  return true;
}

static void free_table(Table **table)
{
  free(*table);
}

bool vd_vhdx_metadata_parse(const VdSpan *span, uint64_t region_length, VdVhdxMetadata *ret_metadata,
                            VdFormatError *ret_error)
{
  Table *table __attribute__((cleanup(free_table))) = malloc(sizeof *table);
  VdVhdxMetadata metadata = {0};

  if (table == NULL)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, span->file_offset, "",
                               "no memory for the VHDX metadata table");
  if (!load_table(span, region_length, table, ret_error) || !check_apart(span, table, ret_error))
    return false;
  for (unsigned i = 0; i < table->n; i++)
    if (!take_entry(span, &table->entries[i], &metadata, ret_error))
      return false;
  for (VdVhdxItem item = 0; item < VD_VHDX_N_ITEMS; item++)
    if (known[item].must_exist && metadata.items[item].length == 0)
      return vd_span_fail(span, AT_COUNT, "entry_count", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                          "is %u, and there is no %s", table->n, known[item].name);
  *ret_metadata = metadata;
  return true;
}

unsigned vd_vhdx_metadata_entries(const VdSpan *span, VdVhdxMetadataEntry *ret_entries)
{
  uint16_t count = 0;
  unsigned n = 0;

  if (!vd_span_load_le16(span, AT_COUNT, "entry_count", &count, NULL))
    return 0;
  for (; n < count && n < MAX_ENTRIES; n++) {
    VdVhdxMetadataEntry *to = &ret_entries[n];
    VdFormatError unused;
    Entry entry;

    if (!load_entry(span, HEADER_LENGTH + (size_t)n * ENTRY_LENGTH, &entry, &unused))
      break;
    *to = (VdVhdxMetadataEntry){.offset = entry.offset, .length = entry.length, .flags = entry.flags};
    memcpy(to->guid, entry.key, sizeof to->guid);
  }
  return n;
}

void vd_vhdx_metadata_put_entries(const VdVhdxMetadataEntry *entries, unsigned n, uint8_t *table)
{
  vd_put_le16(&table[AT_COUNT], (uint16_t)n);
  memset(&table[HEADER_LENGTH], 0, VD_VHDX_METADATA_TABLE_LENGTH - HEADER_LENGTH);
  for (unsigned i = 0; i < n; i++) {
    uint8_t *bytes = &table[HEADER_LENGTH + (size_t)i * ENTRY_LENGTH];

    memcpy(&bytes[AT_GUID], entries[i].guid, sizeof entries[i].guid);
    vd_put_le32(&bytes[AT_OFFSET], entries[i].offset);
    vd_put_le32(&bytes[AT_LENGTH], entries[i].length);
    vd_put_le32(&bytes[AT_FLAGS], entries[i].flags);
  }
}

const uint8_t *vd_vhdx_metadata_guid(VdVhdxItem item)
{
  return known[item].guid;
}

bool vd_vhdx_parameters_parse(const VdSpan *span, VdVhdx *vhdx, VdFormatError *ret_error)
{
  uint32_t block_size, flags;

  if (!vd_span_load_le32(span, 0, "block_size", &block_size, ret_error) ||
      !vd_span_load_le32(span, 4, "flags", &flags, ret_error))
    return false;
  if (!vd_is_power_of_two(block_size) || block_size < VD_VHDX_MIN_BLOCK || block_size > VD_VHDX_MAX_BLOCK)
    return vd_span_fail(span, 0, "block_size", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %" PRIu32 ", not a power of two from 1 MiB to 256 MiB", block_size);
  if ((flags & ~(uint32_t)(PARAMETER_LEAVE_ALLOCATED | PARAMETER_HAS_PARENT)) != 0)
    return vd_span_fail(span, 4, "flags", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is 0x%08" PRIx32 ", only the two lowest bits have a meaning", flags);
  vhdx->block_size = block_size;
  vhdx->leave_blocks_allocated = (flags & PARAMETER_LEAVE_ALLOCATED) != 0;
  vhdx->has_parent = (flags & PARAMETER_HAS_PARENT) != 0;
  return true;
}

bool vd_vhdx_sector_size_parse(const VdSpan *span, uint32_t *ret_size, VdFormatError *ret_error)
{
  uint32_t size;

  if (!vd_span_load_le32(span, 0, "sector_size", &size, ret_error))
    return false;
  if (size != 512 && size != 4096)
    return vd_span_fail(span, 0, "sector_size", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %" PRIu32 ", neither 512 nor 4096", size);
  *ret_size = size;
  return true;
}

bool vd_vhdx_size_parse(const VdSpan *span, uint32_t sector_size, uint64_t *ret_size,
                        VdFormatError *ret_error)
{
  uint64_t size;

  if (!vd_span_load_le64(span, 0, "virtual_disk_size", &size, ret_error))
    return false;
  if (size == 0 || size % sector_size != 0 || size > VD_MAX_VIRTUAL_SIZE)
    return vd_span_fail(span, 0, "virtual_disk_size", VIRTDISK_ERROR_VHD_INVALID_SIZE, ret_error,
                        "is %" PRIu64 ", not a positive multiple of %" PRIu32 " up to 64 TiB", size,
                        sector_size);
  *ret_size = size;
  return true;
}

/* Appends an entry and reserves the place of its item, which is returned. */
static uint8_t *add_item(uint8_t *region, unsigned *n, uint32_t *place, VdVhdxItem item, uint32_t length)
{
  uint8_t *entry = &region[HEADER_LENGTH + (size_t)*n * ENTRY_LENGTH], *value = &region[*place];

  memcpy(&entry[AT_GUID], known[item].guid, 16);
  vd_put_le32(&entry[AT_OFFSET], *place);
  vd_put_le32(&entry[AT_LENGTH], length);
  vd_put_le32(&entry[AT_FLAGS], FLAG_REQUIRED | (known[item].of_disk ? FLAG_DISK : 0));
  vd_put_le16(&region[AT_COUNT], (uint16_t)++ * n);
  *place += length;
  return value;
}

void vd_vhdx_metadata_build(const VdVhdxMetadataSpec *spec, uint8_t *ret_bytes, size_t length)
{
  uint32_t place = VD_VHDX_METADATA_TABLE_LENGTH;
  unsigned n = 0;
  uint8_t *item;

  memset(ret_bytes, 0, length);
  memcpy(ret_bytes, "metadata", 8);
  item = add_item(ret_bytes, &n, &place, VD_VHDX_ITEM_FILE_PARAMETERS, 8);
  vd_put_le32(item, spec->block_size);
  vd_put_le32(&item[4], (spec->leave_blocks_allocated ? PARAMETER_LEAVE_ALLOCATED : 0) |
                            (spec->locator != NULL ? PARAMETER_HAS_PARENT : 0));
  vd_put_le64(add_item(ret_bytes, &n, &place, VD_VHDX_ITEM_SIZE, 8), spec->size);
  vd_put_le32(add_item(ret_bytes, &n, &place, VD_VHDX_ITEM_SECTOR_SIZE, 4), spec->sector_size);
  vd_put_le32(add_item(ret_bytes, &n, &place, VD_VHDX_ITEM_PHYSICAL_SECTOR_SIZE, 4),
              spec->physical_sector_size);
  memcpy(add_item(ret_bytes, &n, &place, VD_VHDX_ITEM_DISK_ID, 16), spec->disk_id, 16);
  if (spec->locator != NULL)
    memcpy(add_item(ret_bytes, &n, &place, VD_VHDX_ITEM_PARENT_LOCATOR, spec->locator_length), spec->locator,
           spec->locator_length);
}
