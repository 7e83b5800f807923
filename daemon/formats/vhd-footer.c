/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The VHD footer; what it is and what holds after a parse stands in the header. */
#include "formats/vhd-footer.h"

#include <inttypes.h>
#include <string.h>

#include "formats/vhd-bytes.h"
#include "formats/vhd-geometry.h"

/* Where the fields lie, in bytes. */
enum {
  AT_COOKIE = 0,
  AT_FEATURES = 8,
  AT_VERSION = 12,
  AT_DATA_OFFSET = 16,
  AT_TIMESTAMP = 24,
  AT_CREATOR = 28,
  AT_CREATOR_VERSION = 32,
  AT_CREATOR_OS = 36,
  AT_ORIGINAL_SIZE = 40,
  AT_CURRENT_SIZE = VD_VHD_AT_CURRENT_SIZE,
  AT_GEOMETRY = 56,
  AT_TYPE = 60,
  AT_CHECKSUM = 64,
  AT_UNIQUE_ID = 68,
  AT_SAVED_STATE = 84,
};

#define COOKIE "conectix"
#define COOKIE_LENGTH 8
#define MAJOR_VERSION 1
/* Bit 1 is reserved and always set. */
#define FEATURES_NONE 2
#define VERSION (MAJOR_VERSION << 16)

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
      !vd_span_load_be32(span, AT_TIMESTAMP, "timestamp", &footer->timestamp, ret_error) ||
      !vd_span_load_be64(span, AT_CURRENT_SIZE, "current_size", &footer->current_size, ret_error) ||
      !vd_span_load_be32(span, AT_TYPE, "disk_type", ret_type, ret_error) ||
      !vd_span_load_bytes(span, AT_UNIQUE_ID, "unique_id", footer->unique_id, sizeof footer->unique_id,
                          ret_error) ||
      !vd_span_load_u8(span, AT_SAVED_STATE, "saved_state", &saved_state, ret_error) ||
      !vd_span_load_bytes(span, 0, "footer", footer->bytes, sizeof footer->bytes, ret_error))
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

static bool check_agreement(const VdVhdFooter *trailer, const VdVhdFooter *front, VdFormatError *ret_error)
{
  const char *field = NULL;

  if (front->type != trailer->type)
    field = "disk_type";
  else if (front->data_offset != trailer->data_offset)
    field = "data_offset";
  else if (memcmp(front->unique_id, trailer->unique_id, sizeof front->unique_id) != 0)
    field = "unique_id";
  if (field == NULL)
    return true;
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT, trailer->offset, field,
                             "VHD footer at offset %" PRIu64 ": %s differs from that of the copy at offset 0",
                             trailer->offset, field);
}

/* The trailer is good. What a guest wrote into the first sector of its fixed disk is no copy of a footer. */
static bool compare_with_front(const VdReader *reader, VdVhdFooters *footers, VdFormatError *ret_error)
{
  VdVhdFooter front;
  VdFormatError unused;

  if (footers->footer.type == VD_VHD_FIXED)
    return true;
  if (!vd_vhd_footer_read_front(reader, &front, &unused)) {
    footers->front_stale = true;
    return true;
  }
  footers->front_stale = memcmp(front.bytes, footers->footer.bytes, sizeof front.bytes) != 0;
  return check_agreement(&footers->footer, &front, ret_error);
}

bool vd_vhd_footers_read(const VdReader *reader, VdVhdFooters *ret_footers, VdFormatError *ret_error)
{
  VdVhdFooters footers = {0};
  VdFormatError unused;

  if (vd_vhd_footer_read_trailer(reader, &footers.footer, ret_error)) {
    footers.space_end = footers.footer.offset;
    footers.trailer = reader->size - footers.footer.offset == VD_VHD_SHORT_FOOTER_LENGTH
                          ? VD_VHD_TRAILER_SHORT
                          : VD_VHD_TRAILER_GOOD;
    if (!compare_with_front(reader, &footers, ret_error))
      return false;
  } else {
    if (!vd_vhd_footer_read_front(reader, &footers.footer, &unused) || footers.footer.type == VD_VHD_FIXED)
      return false;
    footers.trailer = VD_VHD_TRAILER_MISSING;
    footers.space_end = reader->size;
  }
  *ret_footers = footers;
  return true;
}

static void put_geometry(uint8_t *bytes, uint64_t size)
{
  VdVhdGeometry geometry = vd_vhd_geometry_for_new(size);

  vd_put_be32(&bytes[AT_GEOMETRY],
              (uint32_t)geometry.cylinders << 16 | (uint32_t)geometry.heads << 8 | geometry.sectors);
}

void vd_vhd_footer_build(const VdVhdFooter *footer, uint8_t ret_bytes[VD_VHD_FOOTER_LENGTH])
{
  memset(ret_bytes, 0, VD_VHD_FOOTER_LENGTH);
  memcpy(&ret_bytes[AT_COOKIE], COOKIE, COOKIE_LENGTH);
  vd_put_be32(&ret_bytes[AT_FEATURES], footer->features | FEATURES_NONE);
  vd_put_be32(&ret_bytes[AT_VERSION], VERSION);
  vd_put_be64(&ret_bytes[AT_DATA_OFFSET], footer->data_offset);
  vd_put_be32(&ret_bytes[AT_TIMESTAMP], footer->timestamp);
  memcpy(&ret_bytes[AT_CREATOR], VD_VHD_CREATOR, strlen(VD_VHD_CREATOR));
  vd_put_be32(&ret_bytes[AT_CREATOR_VERSION], VERSION);
  memcpy(&ret_bytes[AT_CREATOR_OS], VD_VHD_CREATOR_OS, strlen(VD_VHD_CREATOR_OS));
  vd_put_be64(&ret_bytes[AT_ORIGINAL_SIZE], footer->current_size);
  vd_put_be64(&ret_bytes[AT_CURRENT_SIZE], footer->current_size);
  put_geometry(ret_bytes, footer->current_size);
  vd_put_be32(&ret_bytes[AT_TYPE], footer->type);
  memcpy(&ret_bytes[AT_UNIQUE_ID], footer->unique_id, sizeof footer->unique_id);
  ret_bytes[AT_SAVED_STATE] = footer->saved_state;
  vd_put_be32(&ret_bytes[AT_CHECKSUM], vd_vhd_checksum(ret_bytes, VD_VHD_FOOTER_LENGTH));
}

void vd_vhd_footer_change(VdVhdFooter *footer)
{
  uint8_t *bytes = footer->bytes;
  uint8_t size[8];

  vd_put_be64(size, footer->current_size);
  if (memcmp(&bytes[AT_CURRENT_SIZE], size, sizeof size) != 0)
    put_geometry(bytes, footer->current_size);
  memcpy(&bytes[AT_CURRENT_SIZE], size, sizeof size);
  vd_put_be64(&bytes[AT_DATA_OFFSET], footer->data_offset);
  memcpy(&bytes[AT_UNIQUE_ID], footer->unique_id, sizeof footer->unique_id);
  vd_put_be32(&bytes[AT_CHECKSUM], 0);
  vd_put_be32(&bytes[AT_CHECKSUM], vd_vhd_checksum(bytes, VD_VHD_FOOTER_LENGTH));
}

uint32_t vd_vhd_timestamp(uint64_t unix_time)
{
  return unix_time < VD_VHD_EPOCH || unix_time - VD_VHD_EPOCH > UINT32_MAX
             ? 0
             : (uint32_t)(unix_time - VD_VHD_EPOCH);
}
