/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The VHD footer; what it is and what holds after a parse stands in the header. */
#include "formats/vhd-footer.h"

#include <inttypes.h>

/* Where the fields lie, in bytes. */
enum {
  AT_COOKIE = 0,
  AT_FEATURES = 8,
  AT_VERSION = 12,
  AT_DATA_OFFSET = 16,
  AT_CURRENT_SIZE = VD_VHD_AT_CURRENT_SIZE,
  AT_TYPE = 60,
  AT_CHECKSUM = 64,
  AT_UNIQUE_ID = 68,
  AT_SAVED_STATE = 84,
};

#define COOKIE "conectix"
#define COOKIE_LENGTH 8
#define MAJOR_VERSION 1

static bool check_cookie_and_sum(const VdSpan *span, VdFormatError *ret_error)
{
  uint32_t stored;
  uint32_t sum = ~vd_span_sum(span, AT_CHECKSUM, sizeof stored);

  if (!vd_span_has(span, AT_COOKIE, COOKIE, COOKIE_LENGTH))
    return vd_span_fail(span, AT_COOKIE, "cookie", VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING, ret_error,
                        "is not \"" COOKIE "\": this is no VHD, or its end was cut off");
  if (!vd_span_load_be32(span, AT_CHECKSUM, "checksum", &stored, ret_error))
    return false;
  if (stored != sum)
    return vd_span_fail(span, AT_CHECKSUM, "checksum", VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CHECKSUM_MISMATCH,
                        ret_error, "is 0x%08" PRIx32 ", the bytes give 0x%08" PRIx32, stored, sum);
  return true;
}

static bool load_fields(const VdSpan *span, VdVhdFooter *footer, uint32_t *ret_type, VdFormatError *ret_error)
{
  uint8_t saved_state;

  if (!vd_span_load_be32(span, AT_FEATURES, "features", &footer->features, ret_error) ||
      !vd_span_load_be32(span, AT_VERSION, "version", &footer->version, ret_error) ||
      !vd_span_load_be64(span, AT_DATA_OFFSET, "data_offset", &footer->data_offset, ret_error) ||
      !vd_span_load_be64(span, AT_CURRENT_SIZE, "current_size", &footer->current_size, ret_error) ||
      !vd_span_load_be32(span, AT_TYPE, "disk_type", ret_type, ret_error) ||
      !vd_span_load_bytes(span, AT_UNIQUE_ID, "unique_id", footer->unique_id, sizeof footer->unique_id,
                          ret_error) ||
      !vd_span_load_u8(span, AT_SAVED_STATE, "saved_state", &saved_state, ret_error))
    return false;
  /* Any other number than 0 is taken for "a saved machine depends on this": the careful reading. */
  footer->saved_state = saved_state != 0;
  return true;
}

static bool check_type(const VdSpan *span, uint32_t type, uint64_t data_offset, VdFormatError *ret_error)
{
  if (type != VD_VHD_FIXED && type != VD_VHD_DYNAMIC && type != VD_VHD_DIFFERENCING)
    return vd_span_fail(span, AT_TYPE, "disk_type", VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT, ret_error,
                        "is %" PRIu32 ", not fixed (2), dynamic (3) or differencing (4)", type);
  /* The specification prints 32 ones, all known writers store 64. */
  if (type == VD_VHD_FIXED && data_offset != UINT64_MAX && data_offset != UINT32_MAX)
    return vd_span_fail(span, AT_DATA_OFFSET, "data_offset", VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT,
                        ret_error, "is 0x%" PRIx64 ", a fixed disk has all ones", data_offset);
  return true;
}

static bool check_size(const VdSpan *span, uint64_t size, VdFormatError *ret_error)
{
  if (size == 0 || size % VD_VHD_SECTOR_SIZE != 0)
    return vd_span_fail(span, AT_CURRENT_SIZE, "current_size", VIRTDISK_ERROR_VHD_INVALID_SIZE, ret_error,
                        "is %" PRIu64 " bytes, not a positive multiple of %d", size, VD_VHD_SECTOR_SIZE);
  if (size > VD_VHD_MAX_SIZE)
    return vd_span_fail(span, AT_CURRENT_SIZE, "current_size", VIRTDISK_ERROR_VHD_INVALID_SIZE, ret_error,
                        "is %" PRIu64 " bytes, more than the format's 2040 GiB", size);
  return true;
}

bool vd_vhd_footer_parse(const VdSpan *span, VdVhdFooter *ret_footer, VdFormatError *ret_error)
{
  VdVhdFooter footer = {.offset = span->file_offset};
  uint32_t type;

  if (!check_cookie_and_sum(span, ret_error) || !load_fields(span, &footer, &type, ret_error))
    return false;
  if (footer.version >> 16 != MAJOR_VERSION)
    return vd_span_fail(span, AT_VERSION, "version", VIRTDISK_ERROR_VHD_FORMAT_UNSUPPORTED_VERSION, ret_error,
                        "is 0x%08" PRIx32 ", only major version 1 is known", footer.version);
  if (!check_type(span, type, footer.data_offset, ret_error) ||
      !check_size(span, footer.current_size, ret_error))
    return false;
  footer.type = (VdVhdType)type;
  *ret_footer = footer;
  return true;
}

/* Reads length bytes at offset; what is missing to a full footer counts as zero. */
static bool read_footer(const VdReader *reader, const char *structure, uint64_t offset, size_t length,
                        VdVhdFooter *ret_footer, VdFormatError *ret_error)
{
  uint8_t buffer[VD_VHD_FOOTER_LENGTH] = {0};
  VdSpan span;

  if (!vd_reader_read(reader, structure, offset, buffer, length, &span, ret_error))
    return false;
  span.length = sizeof buffer;
  return vd_vhd_footer_parse(&span, ret_footer, ret_error);
}

bool vd_vhd_footer_read_trailer(const VdReader *reader, VdVhdFooter *ret_footer, VdFormatError *ret_error)
{
  size_t length = reader->size % VD_VHD_FOOTER_LENGTH == VD_VHD_SHORT_FOOTER_LENGTH
                      ? VD_VHD_SHORT_FOOTER_LENGTH
                      : VD_VHD_FOOTER_LENGTH;

  if (reader->size < length)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING, 0, "cookie",
                               "the file has %" PRIu64 " bytes, too few for a VHD footer", reader->size);
  return read_footer(reader, "VHD footer", reader->size - length, length, ret_footer, ret_error);
}

bool vd_vhd_footer_read_front(const VdReader *reader, VdVhdFooter *ret_footer, VdFormatError *ret_error)
{
  return read_footer(reader, "VHD footer copy", 0, VD_VHD_FOOTER_LENGTH, ret_footer, ret_error);
}
