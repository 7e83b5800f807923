/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sparse header of a VHD; what holds after a parse and after a read stands in the header. */
#include "formats/vhd-sparse.h"

#include <inttypes.h>
#include <string.h>

#include "formats/utf16.h"
#include "formats/vhd-bytes.h"
#include "util/checked.h"

enum {
  AT_COOKIE = 0,
  AT_DATA_OFFSET = 8,
  AT_TABLE_OFFSET = 16,
  AT_VERSION = 24,
  AT_MAX_ENTRIES = 28,
  AT_BLOCK_SIZE = 32,
  AT_CHECKSUM = 36,
  AT_PARENT_ID = 40,
  AT_PARENT_TIMESTAMP = 56,
  AT_PARENT_NAME = 64,
  AT_LOCATORS = 576,
};

/* Of the footer, for messages. */
#define AT_FOOTER_DATA_OFFSET 16
#define COOKIE "cxsparse"
#define COOKIE_LENGTH 8
#define MAJOR_VERSION 1
#define SECTOR_SIZE VD_VHD_SECTOR_SIZE

uint64_t vd_vhd_block_count(uint64_t size, uint32_t block_size)
{
  return size / block_size + (size % block_size != 0);
}

uint64_t vd_vhd_table_length(uint32_t entries)
{
  return ((uint64_t)entries * 4 + SECTOR_SIZE - 1) / SECTOR_SIZE * SECTOR_SIZE;
}

uint32_t vd_vhd_bitmap_length(uint32_t block_size)
{
  uint32_t bytes = (block_size / SECTOR_SIZE + 7) / 8;

  return (bytes + SECTOR_SIZE - 1) / SECTOR_SIZE * SECTOR_SIZE;
}

static bool check_cookie_and_sum(const VdSpan *span, VdFormatError *ret_error)
{
  uint32_t stored;
  uint32_t sum = ~vd_span_sum(span, AT_CHECKSUM, sizeof stored);

  if (!vd_span_has(span, AT_COOKIE, COOKIE, COOKIE_LENGTH))
    return vd_span_fail(span, AT_COOKIE, "cookie", VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, ret_error,
                        "is not \"" COOKIE "\"");
  if (!vd_span_load_be32(span, AT_CHECKSUM, "checksum", &stored, ret_error))
    return false;
  if (stored != sum)
    return vd_span_fail(span, AT_CHECKSUM, "checksum", VIRTDISK_ERROR_VHD_SPARSE_HEADER_CHECKSUM_MISMATCH,
                        ret_error, "is 0x%08" PRIx32 ", the bytes give 0x%08" PRIx32, stored, sum);
  return true;
}

/* The data offset of this header is not followed: it has no meaning, and a chain of such headers could be
 * endless. */
static bool load_fields(const VdSpan *span, VdVhdSparse *sparse, VdFormatError *ret_error)
{
  if (!vd_span_load_be64(span, AT_TABLE_OFFSET, "table_offset", &sparse->table_offset, ret_error) ||
      !vd_span_load_be32(span, AT_VERSION, "version", &sparse->version, ret_error) ||
      !vd_span_load_be32(span, AT_MAX_ENTRIES, "max_table_entries", &sparse->max_entries, ret_error) ||
      !vd_span_load_be32(span, AT_BLOCK_SIZE, "block_size", &sparse->block_size, ret_error) ||
      !vd_span_load_bytes(span, AT_PARENT_ID, "parent_id", sparse->parent_id, sizeof sparse->parent_id,
                          ret_error) ||
      !vd_span_load_be32(span, AT_PARENT_TIMESTAMP, "parent_timestamp", &sparse->parent_timestamp, ret_error))
    return false;
  for (unsigned i = 0; i < VD_VHD_LOCATORS; i++)
    if (!vd_vhd_locator_parse(span, AT_LOCATORS + i * VD_VHD_LOCATOR_LENGTH, &sparse->locators[i], ret_error))
      return false;
  return true;
}

/* The name is the last of the places to look for the parent: one that is no text is as good as none. */
static void load_name(const VdSpan *span, VdVhdSparse *sparse)
{
  VdFormatError unused;

  if (!vd_utf16_to_utf8(span, AT_PARENT_NAME, VD_VHD_PARENT_NAME_LENGTH, VD_UTF16_BE, "parent_name",
                        sparse->parent_name, sizeof sparse->parent_name, &unused))
    sparse->parent_name[0] = '\0';
}

static bool check_numbers(const VdSpan *span, const VdVhdSparse *sparse, VdFormatError *ret_error)
{
  if (sparse->version >> 16 != MAJOR_VERSION)
    return vd_span_fail(span, AT_VERSION, "version", VIRTDISK_ERROR_VHD_SPARSE_HEADER_UNSUPPORTED_VERSION,
                        ret_error, "is 0x%08" PRIx32 ", only major version 1 is known", sparse->version);
  if (!vd_is_power_of_two(sparse->block_size) || sparse->block_size < VD_VHD_MIN_BLOCK ||
      sparse->block_size > VD_VHD_MAX_BLOCK)
    return vd_span_fail(span, AT_BLOCK_SIZE, "block_size", VIRTDISK_ERROR_VHD_INVALID_BLOCK_SIZE, ret_error,
                        "is %" PRIu32 " bytes, not a power of two from %" PRIu32 " to %" PRIu32,
                        sparse->block_size, VD_VHD_MIN_BLOCK, VD_VHD_MAX_BLOCK);
  if (sparse->max_entries > VD_VHD_MAX_TABLE_ENTRIES)
    return vd_span_fail(span, AT_MAX_ENTRIES, "max_table_entries", VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT,
                        ret_error, "is %" PRIu32 ", more than %" PRIu32, sparse->max_entries,
                        VD_VHD_MAX_TABLE_ENTRIES);
  if (sparse->table_offset % SECTOR_SIZE != 0)
    return vd_span_fail(span, AT_TABLE_OFFSET, "table_offset", VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT,
                        ret_error, "is %" PRIu64 ", not a multiple of %d", sparse->table_offset, SECTOR_SIZE);
  return true;
}

bool vd_vhd_sparse_parse(const VdSpan *span, VdVhdSparse *ret_sparse, VdFormatError *ret_error)
{
  VdVhdSparse sparse = {.offset = span->file_offset};

  if (!check_cookie_and_sum(span, ret_error) || !load_fields(span, &sparse, ret_error) ||
      !check_numbers(span, &sparse, ret_error))
    return false;
  load_name(span, &sparse);
  *ret_sparse = sparse;
  return true;
}

static bool has_text(const VdVhdLocator *locator)
{
  return locator->length > 0 && vd_vhd_locator_is_known(locator);
}

unsigned vd_vhd_sparse_ranges(const VdVhdSparse *sparse, VdVhdType type, VdVhdRange ret[VD_VHD_MAX_RANGES])
{
  unsigned n = 0;

  ret[n++] = (VdVhdRange){0, VD_VHD_FOOTER_LENGTH};
  ret[n++] = (VdVhdRange){sparse->offset, VD_VHD_SPARSE_LENGTH};
  ret[n++] = (VdVhdRange){sparse->table_offset, vd_vhd_table_length(sparse->max_entries)};
  for (unsigned i = 0; type == VD_VHD_DIFFERENCING && i < VD_VHD_LOCATORS; i++)
    if (has_text(&sparse->locators[i]))
      ret[n++] = (VdVhdRange){sparse->locators[i].offset, sparse->locators[i].length};
  return n;
}

static bool overlaps(const VdVhdRange *a, const VdVhdRange *b)
{
  return a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}

/* A header that is outside, or that lies over the front footer. */
static bool check_place(const VdVhdFooters *footers, VdFormatError *ret_error)
{
  const VdVhdFooter *footer = &footers->footer;

  if (footer->data_offset % SECTOR_SIZE == 0 && footer->data_offset >= VD_VHD_FOOTER_LENGTH &&
      vd_range_within(footer->data_offset, VD_VHD_SPARSE_LENGTH, footers->space_end))
    return true;
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT,
                             footer->offset + AT_FOOTER_DATA_OFFSET, "data_offset",
                             "VHD footer at offset %" PRIu64 ": data_offset is %" PRIu64
                             ", no place for a sparse header in a file whose trailer is at %" PRIu64,
                             footer->offset, footer->data_offset, footers->space_end);
}

static bool check_table(const VdVhdFooters *footers, const VdVhdSparse *sparse, const VdSpan *span,
                        VdFormatError *ret_error)
{
  VdVhdRange ranges[VD_VHD_MAX_RANGES];
  uint64_t needed = vd_vhd_block_count(footers->footer.current_size, sparse->block_size);

  vd_vhd_sparse_ranges(sparse, footers->footer.type, ranges);
  if (sparse->max_entries < needed)
    return vd_span_fail(span, AT_MAX_ENTRIES, "max_table_entries", VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT,
                        ret_error, "is %" PRIu32 ", the disk has %" PRIu64 " blocks", sparse->max_entries,
                        needed);
  if (!vd_range_within(ranges[2].offset, ranges[2].length, footers->space_end))
    return vd_span_fail(span, AT_TABLE_OFFSET, "table_offset", VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT,
                        ret_error,
                        "is %" PRIu64 ", a table of %" PRIu64 " bytes there is not within the first %" PRIu64,
                        sparse->table_offset, ranges[2].length, footers->space_end);
  if (overlaps(&ranges[2], &ranges[0]) || overlaps(&ranges[2], &ranges[1]))
    return vd_span_fail(span, AT_TABLE_OFFSET, "table_offset", VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT,
                        ret_error, "is %" PRIu64 ", over the footer's copy or this header",
                        sparse->table_offset);
  return true;
}

static bool fail_locator(const VdVhdLocator *locator, VdFormatError *ret_error)
{
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, locator->own_offset,
                             "parent_locator",
                             "VHD parent locator at offset %" PRIu64 ": its %" PRIu32
                             " bytes of text at %" PRIu64 " are outside the file or over a structure",
                             locator->own_offset, locator->length, locator->offset);
}

/* Texts that lie over what matters; over each other they may. */
static bool check_locators(const VdVhdFooters *footers, const VdVhdSparse *sparse, VdFormatError *ret_error)
{
  VdVhdRange ranges[VD_VHD_MAX_RANGES];

  if (footers->footer.type != VD_VHD_DIFFERENCING)
    return true;
  vd_vhd_sparse_ranges(sparse, VD_VHD_DYNAMIC, ranges);
  for (unsigned i = 0; i < VD_VHD_LOCATORS; i++) {
    VdVhdRange text = {sparse->locators[i].offset, sparse->locators[i].length};

    if (has_text(&sparse->locators[i]) &&
        (!vd_range_within(text.offset, text.length, footers->space_end) || overlaps(&text, &ranges[0]) ||
         overlaps(&text, &ranges[1]) || overlaps(&text, &ranges[2])))
      return fail_locator(&sparse->locators[i], ret_error);
  }
  return true;
}

bool vd_vhd_sparse_read(const VdReader *reader, const VdVhdFooters *footers, VdVhdSparse *ret_sparse,
                        VdFormatError *ret_error)
{
  uint8_t buffer[VD_VHD_SPARSE_LENGTH];
  VdVhdSparse sparse;
  VdSpan span;

  if (!check_place(footers, ret_error) ||
      !vd_reader_read(reader, "VHD sparse header", footers->footer.data_offset, buffer, sizeof buffer, &span,
                      ret_error) ||
      !vd_vhd_sparse_parse(&span, &sparse, ret_error) || !check_table(footers, &sparse, &span, ret_error) ||
      !check_locators(footers, &sparse, ret_error))
    return false;
  *ret_sparse = sparse;
  return true;
}

bool vd_vhd_sparse_build(const VdVhdSparse *sparse, uint8_t ret_bytes[VD_VHD_SPARSE_LENGTH])
{
  size_t unused;

  memset(ret_bytes, 0, VD_VHD_SPARSE_LENGTH);
  memcpy(&ret_bytes[AT_COOKIE], COOKIE, COOKIE_LENGTH);
  vd_put_be64(&ret_bytes[AT_DATA_OFFSET], UINT64_MAX);
  vd_put_be64(&ret_bytes[AT_TABLE_OFFSET], sparse->table_offset);
  vd_put_be32(&ret_bytes[AT_VERSION], MAJOR_VERSION << 16);
  vd_put_be32(&ret_bytes[AT_MAX_ENTRIES], sparse->max_entries);
  vd_put_be32(&ret_bytes[AT_BLOCK_SIZE], sparse->block_size);
  memcpy(&ret_bytes[AT_PARENT_ID], sparse->parent_id, sizeof sparse->parent_id);
  vd_put_be32(&ret_bytes[AT_PARENT_TIMESTAMP], sparse->parent_timestamp);
  if (!vd_utf16_from_utf8(sparse->parent_name, VD_UTF16_BE, &ret_bytes[AT_PARENT_NAME],
                          VD_VHD_PARENT_NAME_LENGTH, &unused))
    return false;
  for (unsigned i = 0; i < VD_VHD_LOCATORS; i++)
    vd_vhd_locator_build(&sparse->locators[i], &ret_bytes[AT_LOCATORS + i * VD_VHD_LOCATOR_LENGTH]);
  vd_put_be32(&ret_bytes[AT_CHECKSUM], vd_vhd_checksum(ret_bytes, VD_VHD_SPARSE_LENGTH));
  return true;
}

void vd_vhd_sparse_set_entries(uint8_t bytes[VD_VHD_SPARSE_LENGTH], uint32_t max_entries)
{
  vd_put_be32(&bytes[AT_MAX_ENTRIES], max_entries);
  vd_put_be32(&bytes[AT_CHECKSUM], 0);
  vd_put_be32(&bytes[AT_CHECKSUM], vd_vhd_checksum(bytes, VD_VHD_SPARSE_LENGTH));
}
