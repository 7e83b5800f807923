/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two copies in turn: the one with the higher number counts, the other is the next to be written. */
#include "formats/vhdx-header.h"

#include <inttypes.h>
#include <string.h>

#include "formats/bytes.h"
#include "formats/crc32c.h"
#include "util/checked.h"

/* Where the fields lie, in bytes. */
enum {
  AT_SIGNATURE = 0,
  AT_CHECKSUM = 4,
  AT_SEQUENCE = 8,
  AT_FILE_WRITE_GUID = 16,
  AT_DATA_WRITE_GUID = 32,
  AT_LOG_GUID = 48,
  AT_LOG_VERSION = 64,
  AT_VERSION = 66,
  AT_LOG_LENGTH = 68,
  AT_LOG_OFFSET = 72,
};

#define FILE_SIGNATURE "vhdxfile"
#define SIGNATURE "head"
#define VERSION 1

bool vd_vhdx_guid_is_zero(const uint8_t guid[16])
{
  static const uint8_t zeros[16];

  return memcmp(guid, zeros, sizeof zeros) == 0;
}

void vd_vhdx_guid_swap(const uint8_t from[16], uint8_t ret_to[16])
{
  static const uint8_t places[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
  uint8_t swapped[16];

  for (size_t i = 0; i < sizeof swapped; i++)
    swapped[i] = from[places[i]];
  memcpy(ret_to, swapped, sizeof swapped);
}

static bool check_sum(const VdSpan *span, VdFormatError *ret_error)
{
  uint32_t stored, sum = vd_span_crc32c(span, AT_CHECKSUM);

  if (!vd_span_has(span, AT_SIGNATURE, SIGNATURE, strlen(SIGNATURE)))
    return vd_span_fail(span, AT_SIGNATURE, "signature", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is not \"" SIGNATURE "\"");
  if (!vd_span_load_le32(span, AT_CHECKSUM, "checksum", &stored, ret_error))
    return false;
  if (stored != sum)
    return vd_span_fail(span, AT_CHECKSUM, "checksum", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is 0x%08" PRIx32 ", the bytes give 0x%08" PRIx32, stored, sum);
  return true;
}

bool vd_vhdx_header_parse(const VdSpan *span, VdVhdxHeader *ret_header, VdFormatError *ret_error)
{
  VdVhdxHeader header = {0};
  uint16_t version;

  if (!check_sum(span, ret_error) || !vd_span_load_le16(span, AT_VERSION, "version", &version, ret_error) ||
      !vd_span_load_le64(span, AT_SEQUENCE, "sequence_number", &header.sequence, ret_error) ||
      !vd_span_load_bytes(span, AT_FILE_WRITE_GUID, "file_write_guid", header.file_write_guid, 16,
                          ret_error) ||
      !vd_span_load_bytes(span, AT_DATA_WRITE_GUID, "data_write_guid", header.data_write_guid, 16,
                          ret_error) ||
      !vd_span_load_bytes(span, AT_LOG_GUID, "log_guid", header.log_guid, 16, ret_error) ||
      !vd_span_load_le16(span, AT_LOG_VERSION, "log_version", &header.log_version, ret_error) ||
      !vd_span_load_le32(span, AT_LOG_LENGTH, "log_length", &header.log_length, ret_error) ||
      !vd_span_load_le64(span, AT_LOG_OFFSET, "log_offset", &header.log_offset, ret_error))
    return false;
  if (version != VERSION)
    return vd_span_fail(span, AT_VERSION, "version", VIRTDISK_ERROR_VHD_FORMAT_UNSUPPORTED_VERSION, ret_error,
                        "is %u, only 1 is known", version);
  *ret_header = header;
  return true;
}

/* The log's place; what else may not overlap it is checked where that is read. */
static bool check_log(const VdSpan *span, const VdVhdxHeader *header, uint64_t file_size,
                      VdFormatError *ret_error)
{
  bool empty = vd_vhdx_guid_is_zero(header->log_guid);

  if (!empty && header->log_version != 0)
    return vd_span_fail(span, AT_LOG_VERSION, "log_version", VIRTDISK_ERROR_VHD_FORMAT_UNSUPPORTED_VERSION,
                        ret_error, "is %u, and the log is not empty", header->log_version);
  if (empty && header->log_length == 0)
    return true;
  if (header->log_length == 0 || header->log_length % VD_VHDX_MIB != 0 ||
      header->log_length > VD_VHDX_MAX_LOG)
    return vd_span_fail(span, AT_LOG_LENGTH, "log_length", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %" PRIu32 ", not a multiple of 1 MiB from 1 to %" PRIu64 " MiB",
                        header->log_length, VD_VHDX_MAX_LOG / VD_VHDX_MIB);
  if (header->log_offset < VD_VHDX_MIB || header->log_offset % VD_VHDX_MIB != 0 ||
      !vd_range_within(header->log_offset, header->log_length, file_size))
    return vd_span_fail(span, AT_LOG_OFFSET, "log_offset", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %" PRIu64 " (length %" PRIu32
                        "), not a multiple of 1 MiB within 1 MiB and the file's end at %" PRIu64,
                        header->log_offset, header->log_length, file_size);
  return true;
}

/* One of the two copies, with its bytes. */
typedef struct {
  uint8_t bytes[VD_VHDX_HEADER_LENGTH];
  VdSpan span;
  VdVhdxHeader header;
  VdFormatError error;
  bool good;
} Copy;

static bool read_copy(const VdReader *reader, unsigned slot, Copy *copy, VdFormatError *ret_error)
{
  if (!vd_reader_read(reader, slot == 0 ? "VHDX header 1" : "VHDX header 2",
                      slot == 0 ? VD_VHDX_HEADER_1 : VD_VHDX_HEADER_2, copy->bytes, sizeof copy->bytes,
                      &copy->span, ret_error))
    return false;
  copy->good = vd_vhdx_header_parse(&copy->span, &copy->header, &copy->error);
  copy->header.slot = slot;
  return true;
}

/* An unknown version is worth more to the reader than a wrong checksum of the other copy. */
static const VdFormatError *error_of(const Copy copies[2])
{
  bool second = copies[0].error.code != VIRTDISK_ERROR_VHD_FORMAT_UNSUPPORTED_VERSION &&
                copies[1].error.code == VIRTDISK_ERROR_VHD_FORMAT_UNSUPPORTED_VERSION;

  return &copies[second ? 1 : 0].error;
}

static const Copy *current_of(const Copy copies[2], VdFormatError *ret_error)
{
  if (!copies[0].good && !copies[1].good) {
    *ret_error = *error_of(copies);
    return NULL;
  }
  if (!copies[0].good || !copies[1].good)
    return &copies[copies[0].good ? 0 : 1];
  if (copies[0].header.sequence != copies[1].header.sequence)
    return &copies[copies[0].header.sequence > copies[1].header.sequence ? 0 : 1];
  /* Some writers make both alike, and Windows opens such a file. */
  if (memcmp(copies[0].bytes, copies[1].bytes, sizeof copies[0].bytes) == 0)
    return &copies[0];
  vd_span_fail(&copies[1].span, AT_SEQUENCE, "sequence_number", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
               "is %" PRIu64 " in both headers, which differ", copies[1].header.sequence);
  return NULL;
}

static bool check_identifier(const VdReader *reader, VdFormatError *ret_error)
{
  uint8_t bytes[8];
  VdSpan span;

  if (reader->size < VD_VHDX_MIB)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_CORRUPT, reader->size, "file size",
                               "the file has %" PRIu64 " bytes, too few for a VHDX", reader->size);
  if (reader->size > VD_VHDX_MAX_FILE_SIZE)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_CORRUPT, reader->size, "file size",
                               "the file has %" PRIu64 " bytes, more than a VHDX can have", reader->size);
  if (!vd_reader_read(reader, "VHDX file identifier", 0, bytes, sizeof bytes, &span, ret_error))
    return false;
  if (!vd_span_has(&span, 0, FILE_SIGNATURE, strlen(FILE_SIGNATURE)))
    return vd_span_fail(&span, 0, "signature", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is not \"" FILE_SIGNATURE "\": this is no VHDX");
  return true;
}

bool vd_vhdx_header_choose(const VdReader *reader, VdVhdxHeader *ret_header, VdFormatError *ret_error)
{
  Copy copies[2];
  const Copy *current;

  if (!check_identifier(reader, ret_error) || !read_copy(reader, 0, &copies[0], ret_error) ||
      !read_copy(reader, 1, &copies[1], ret_error))
    return false;
  current = current_of(copies, ret_error);
  if (current == NULL || !check_log(&current->span, &current->header, reader->size, ret_error))
    return false;
  *ret_header = current->header;
  return true;
}

void vd_vhdx_header_build(const VdVhdxHeader *header, uint8_t *ret_bytes)
{
  memset(ret_bytes, 0, VD_VHDX_HEADER_LENGTH);
  memcpy(&ret_bytes[AT_SIGNATURE], SIGNATURE, strlen(SIGNATURE));
  vd_put_le64(&ret_bytes[AT_SEQUENCE], header->sequence);
  memcpy(&ret_bytes[AT_FILE_WRITE_GUID], header->file_write_guid, 16);
  memcpy(&ret_bytes[AT_DATA_WRITE_GUID], header->data_write_guid, 16);
  memcpy(&ret_bytes[AT_LOG_GUID], header->log_guid, 16);
  vd_put_le16(&ret_bytes[AT_LOG_VERSION], header->log_version);
  vd_put_le16(&ret_bytes[AT_VERSION], VERSION);
  vd_put_le32(&ret_bytes[AT_LOG_LENGTH], header->log_length);
  vd_put_le64(&ret_bytes[AT_LOG_OFFSET], header->log_offset);
  vd_put_le32(&ret_bytes[AT_CHECKSUM], vd_crc32c(0, ret_bytes, VD_VHDX_HEADER_LENGTH));
}
