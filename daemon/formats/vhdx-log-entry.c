/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lengths are checked before they lead anywhere; the checksum, which its writer chose, is checked last. */
#include "formats/vhdx-log-entry.h"

#include <inttypes.h>
#include <string.h>

#include "formats/crc32c.h"
#include "util/checked.h"

/* Nothing in front of the region tables goes through the log. */
#define FIRST_LOGGED (UINT64_C(192) << 10)
#define PAGE VD_VHDX_PAGE

/* The sector at that place of the ring, which goes on at its start. */
static bool load_sector(VdVhdxLogRing *ring, uint64_t position, VdSpan *ret_span, VdFormatError *ret_error)
{
  uint32_t at = (uint32_t)(position % ring->header->log_length), window = at & ~(uint32_t)(VD_VHDX_MIB - 1);
  VdSpan span = {.structure = "VHDX log",
                 .data = ring->buffer,
                 .length = VD_READER_MAX_LENGTH,
                 .file_offset = ring->header->log_offset + window};

  if (ring->loaded != window) {
    ring->loaded = UINT32_MAX;
    if (!vd_reader_read(ring->reader, "VHDX log", ring->header->log_offset + window, ring->buffer,
                        VD_READER_MAX_LENGTH, &span, ret_error))
      return false;
    ring->loaded = window;
  }
  *ret_span = vd_span_part(&span, "VHDX log entry", at - window, PAGE);
  return true;
}

static bool load_header(const VdSpan *span, VdVhdxLogEntry *entry, VdFormatError *ret_error)
{
  return vd_span_load_le32(span, VD_LOG_AT_LENGTH, "entry_length", &entry->length, ret_error) &&
         vd_span_load_le32(span, VD_LOG_AT_TAIL, "tail", &entry->tail, ret_error) &&
         vd_span_load_le64(span, VD_LOG_AT_SEQUENCE, "sequence_number", &entry->sequence, ret_error) &&
         vd_span_load_le32(span, VD_LOG_AT_COUNT, "descriptor_count", &entry->n_descriptors, ret_error) &&
         vd_span_load_le64(span, VD_LOG_AT_FLUSHED, "flushed_file_offset", &entry->flushed_file_offset,
                           ret_error) &&
         vd_span_load_le64(span, VD_LOG_AT_LAST, "last_file_offset", &entry->last_file_offset, ret_error);
}

static bool check_header(const VdSpan *span, const VdVhdxLogEntry *entry, uint32_t log_length,
                         VdFormatError *ret_error)
{
  if (entry->length < PAGE || entry->length % PAGE != 0 || entry->length > log_length)
    return vd_span_fail(span, VD_LOG_AT_LENGTH, "entry_length", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %" PRIu32 ", not a multiple of 4096 up to the log's %" PRIu32, entry->length,
                        log_length);
  if (entry->tail % PAGE != 0 || entry->tail >= log_length)
    return vd_span_fail(span, VD_LOG_AT_TAIL, "tail", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %" PRIu32 ", not a multiple of 4096 below the log's %" PRIu32, entry->tail,
                        log_length);
  if (entry->sequence == 0)
    return vd_span_fail(span, VD_LOG_AT_SEQUENCE, "sequence_number", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is 0");
  if (vd_vhdx_log_descriptor_sectors(entry->n_descriptors) * PAGE > entry->length)
    return vd_span_fail(span, VD_LOG_AT_COUNT, "descriptor_count", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %" PRIu32 ", too many for an entry of %" PRIu32 " bytes", entry->n_descriptors,
                        entry->length);
  return true;
}

/* Which descriptors lie in the index-th sector of an entry, and where the first of them begins. */
static void descriptors_of(const VdVhdxLogEntry *entry, uint32_t index, uint32_t *ret_n, size_t *ret_at)
{
  uint32_t in_first = (PAGE - VD_LOG_HEADER_LENGTH) / VD_LOG_DESCRIPTOR_LENGTH;
  uint32_t in_other = PAGE / VD_LOG_DESCRIPTOR_LENGTH;
  uint32_t before = index == 0 ? 0 : in_first + (index - 1) * in_other;
  uint32_t room = index == 0 ? in_first : in_other;

  *ret_n = entry->n_descriptors - before < room ? entry->n_descriptors - before : room;
  *ret_at = index == 0 ? VD_LOG_HEADER_LENGTH : 0;
}

static bool check_sequence(const VdSpan *span, size_t at, uint64_t sequence, const VdVhdxLogEntry *entry,
                           VdFormatError *ret_error)
{
  if (sequence == entry->sequence)
    return true;
  return vd_span_fail(span, at, "sequence_number", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                      "is %" PRIu64 ", the entry's is %" PRIu64, sequence, entry->sequence);
}

/* Adds up the data descriptors of a sector. */
static bool check_descriptors(const VdSpan *span, const VdVhdxLogEntry *entry, uint32_t index,
                              uint32_t *n_data, VdFormatError *ret_error)
{
  uint32_t n;
  size_t at;

  descriptors_of(entry, index, &n, &at);
  for (uint32_t i = 0; i < n; i++, at += VD_LOG_DESCRIPTOR_LENGTH) {
    bool is_data = vd_span_has(span, at, "desc", 4);
    uint64_t sequence;

    if (!is_data && !vd_span_has(span, at, "zero", 4))
      return vd_span_fail(span, at, "signature", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                          "of a descriptor is neither \"desc\" nor \"zero\"");
    if (!vd_span_load_le64(span, at + VD_LOG_AT_DESCRIPTOR_SEQUENCE, "sequence_number", &sequence,
                           ret_error) ||
        !check_sequence(span, at + VD_LOG_AT_DESCRIPTOR_SEQUENCE, sequence, entry, ret_error))
      return false;
    *n_data += is_data;
  }
  return true;
}

static bool check_data(const VdSpan *span, const VdVhdxLogEntry *entry, VdFormatError *ret_error)
{
  uint32_t high, low;

  if (!vd_span_has(span, 0, "data", 4))
    return vd_span_fail(span, 0, "signature", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "of a data sector is not \"data\"");
  return vd_span_load_le32(span, VD_LOG_AT_SEQUENCE_HIGH, "sequence_high", &high, ret_error) &&
         vd_span_load_le32(span, VD_LOG_AT_SEQUENCE_LOW, "sequence_low", &low, ret_error) &&
         check_sequence(span, VD_LOG_AT_SEQUENCE_HIGH, (uint64_t)high << 32 | low, entry, ret_error);
}

static VdVhdxLogVerdict verdict_of(const VdFormatError *error)
{
  return error->code == VIRTDISK_ERROR_IO ? VD_LOG_UNREADABLE : VD_LOG_BROKEN;
}

/* Goes through all sectors of an entry: what they are, and their checksum. */
static bool check_body(VdVhdxLogRing *ring, const VdVhdxLogEntry *entry, VdFormatError *ret_error)
{
  uint32_t n_sectors = entry->length / PAGE, n_data = 0, crc = 0, stored = 0;
  uint32_t n_descriptor_sectors = (uint32_t)vd_vhdx_log_descriptor_sectors(entry->n_descriptors);
  VdSpan span;

  for (uint32_t i = 0; i < n_sectors; i++) {
    if (!load_sector(ring, (uint64_t)entry->start + (uint64_t)i * PAGE, &span, ret_error))
      return false;
    if (i < n_descriptor_sectors ? !check_descriptors(&span, entry, i, &n_data, ret_error)
                                 : !check_data(&span, entry, ret_error))
      return false;
    crc = i == 0 ? vd_span_crc32c(&span, VD_LOG_AT_CHECKSUM) : vd_span_crc32c_more(&span, crc);
  }
  if (!load_sector(ring, entry->start, &span, ret_error) ||
      !vd_span_load_le32(&span, VD_LOG_AT_CHECKSUM, "checksum", &stored, ret_error))
    return false;
  if (stored != crc)
    return vd_span_fail(&span, VD_LOG_AT_CHECKSUM, "checksum", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is 0x%08" PRIx32 ", the bytes give 0x%08" PRIx32, stored, crc);
  if (n_data != n_sectors - n_descriptor_sectors)
    return vd_span_fail(&span, VD_LOG_AT_COUNT, "descriptor_count", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "comes with %" PRIu32 " of data, the entry has %" PRIu32 " data sectors", n_data,
                        n_sectors - n_descriptor_sectors);
  return true;
}

VdVhdxLogVerdict vd_vhdx_log_entry_read(VdVhdxLogRing *ring, uint32_t start, VdVhdxLogEntry *ret_entry,
                                        VdFormatError *ret_error)
{
  VdVhdxLogEntry entry = {.start = start};
  VdSpan span;

  if (!load_sector(ring, start, &span, ret_error))
    return verdict_of(ret_error);
  if (!vd_span_has(&span, VD_LOG_AT_SIGNATURE, "loge", 4) ||
      !vd_span_has(&span, VD_LOG_AT_GUID, (const char *)ring->header->log_guid, 16))
    return VD_LOG_FOREIGN;
  if (!load_header(&span, &entry, ret_error) ||
      !check_header(&span, &entry, ring->header->log_length, ret_error) ||
      !check_body(ring, &entry, ret_error))
    return verdict_of(ret_error);
  *ret_entry = entry;
  return VD_LOG_VALID;
}

/* Where a descriptor may write: behind the headers, beside the log, and not beyond any file. */
static bool check_target(const VdVhdxLogRing *ring, const VdSpan *span, size_t at, uint64_t offset,
                         uint64_t length, VdFormatError *ret_error)
{
  const VdVhdxHeader *header = ring->header;

  if (offset % PAGE != 0 || offset < FIRST_LOGGED || !vd_range_within(offset, length, VD_VHDX_MAX_FILE_SIZE))
    return vd_span_fail(span, at + VD_LOG_AT_OFFSET, "file_offset", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "of a descriptor is %" PRIu64 " (length %" PRIu64
                        "), not a multiple of 4096 within %" PRIu64 " and %" PRIu64,
                        offset, length, FIRST_LOGGED, VD_VHDX_MAX_FILE_SIZE);
  if (offset < header->log_offset + header->log_length && header->log_offset < offset + length)
    return vd_span_fail(span, at + VD_LOG_AT_OFFSET, "file_offset", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "of a descriptor is %" PRIu64 ", within the log itself", offset);
  return true;
}

static bool apply_zero(const VdVhdxLogRing *ring, const VdSpan *span, size_t at, VdVhdxLogSink sink,
                       void *user, VdFormatError *ret_error)
{
  uint64_t offset, length;

  if (!vd_span_load_le64(span, at + VD_LOG_AT_OFFSET, "file_offset", &offset, ret_error) ||
      !vd_span_load_le64(span, at + VD_LOG_AT_ZERO_LENGTH, "zero_length", &length, ret_error))
    return false;
  if (length % PAGE != 0)
    return vd_span_fail(span, at + VD_LOG_AT_ZERO_LENGTH, "zero_length", VIRTDISK_ERROR_FILE_CORRUPT,
                        ret_error, "is %" PRIu64 ", not a multiple of 4096", length);
  if (!vd_span_is_zero(span, at + VD_LOG_AT_RESERVED, 4))
    return vd_span_fail(span, at + VD_LOG_AT_RESERVED, "reserved", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "of a zero descriptor is not 0");
  if (!check_target(ring, span, at, offset, length, ret_error))
    return false;
  return sink == NULL || length == 0 || sink(user, offset, length, NULL, ret_error);
}

/* Puts the page together from its descriptor and its data sector. */
static bool apply_data(VdVhdxLogRing *ring, const VdSpan *span, size_t at, uint64_t position,
                       VdVhdxLogSink sink, void *user, VdFormatError *ret_error)
{
  uint8_t page[PAGE];
  uint64_t offset;
  VdSpan sector;

  if (!vd_span_load_le64(span, at + VD_LOG_AT_OFFSET, "file_offset", &offset, ret_error) ||
      !check_target(ring, span, at, offset, PAGE, ret_error))
    return false;
  if (sink == NULL)
    return true;
  return load_sector(ring, position, &sector, ret_error) &&
         vd_span_load_bytes(span, at + VD_LOG_AT_LEADING, "leading_bytes", page, 8, ret_error) &&
         vd_span_load_bytes(&sector, VD_LOG_AT_DATA, "data", &page[8], VD_LOG_DATA_LENGTH, ret_error) &&
         vd_span_load_bytes(span, at + VD_LOG_AT_TRAILING, "trailing_bytes", &page[PAGE - 4], 4, ret_error) &&
         sink(user, offset, PAGE, page, ret_error);
}

bool vd_vhdx_log_entry_effects(VdVhdxLogRing *ring, const VdVhdxLogEntry *entry, VdVhdxLogSink sink,
                               void *user, VdFormatError *ret_error)
{
  uint32_t n_sectors = (uint32_t)vd_vhdx_log_descriptor_sectors(entry->n_descriptors);
  uint64_t data = (uint64_t)entry->start + (uint64_t)n_sectors * PAGE;

  for (uint32_t i = 0; i < n_sectors; i++) {
    uint8_t copy[PAGE]; /* the window moves on to the data */
    VdSpan span;
    uint32_t n;
    size_t at;

    if (!load_sector(ring, (uint64_t)entry->start + (uint64_t)i * PAGE, &span, ret_error) ||
        !vd_span_load_bytes(&span, 0, "descriptors", copy, sizeof copy, ret_error))
      return false;
    span.data = copy;
    descriptors_of(entry, i, &n, &at);
    for (; n > 0; n--, at += VD_LOG_DESCRIPTOR_LENGTH) {
      bool is_data = vd_span_has(&span, at, "desc", 4);

      if (is_data ? !apply_data(ring, &span, at, data, sink, user, ret_error)
                  : !apply_zero(ring, &span, at, sink, user, ret_error))
        return false;
      data += is_data ? PAGE : 0;
    }
  }
  return true;
}
