/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "formats/ctlog.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/bytes.h"
#include "formats/crc32c.h"
#include "formats/vhd-footer.h"
#include "formats/vhdx-header.h"
#include "virtdisk-enums.h"
#include "worker/facts.h"

#define VERSION 1

enum {
  AT_MAGIC = 0,
  AT_CHECKSUM = 8,
  AT_VERSION = 12,
  AT_SEQUENCE = 16,
  AT_STATE = 24,
  AT_DEVICE_ID = 28,
  AT_ID = 32,
  AT_SIZE = 48,
  AT_GRANULE = 56,
  AT_POINT = 64,
  AT_TIE_ID = 72,
  AT_FILE_SIZE = 88,
  AT_SECONDS = 96,
  AT_NANOSECONDS = 104,
  AT_TIMESTAMP = 108,
  AT_INODE = 112,
  AT_SESSION_ID = 120,
  AT_END = 136,
};

enum { AT_PAGE_CHECKSUM = 0, AT_PAGE_NUMBER = 4, AT_PAGE_ID = 8, AT_MARKS = 16, PAGE_ID_LENGTH = 8 };

void vd_ctlog_init(VdCtlog *log, uint32_t device_id, uint64_t size, const uint8_t id[16])
{
  *log = (VdCtlog){.sequence = 1,
                   .state = VD_CTLOG_CLEAN,
                   .device_id = device_id,
                   .size = size,
                   .granule = VD_CTLOG_MIN_GRANULE,
                   .point = 1};
  memcpy(log->id, id, sizeof log->id);
  while (vd_ctlog_count_granules(log) > VD_CTLOG_MAX_GRANULES)
    log->granule *= 2;
}

/* Of disks that are larger than they can be, too. */
uint32_t vd_ctlog_count_granules(const VdCtlog *log)
{
  uint64_t n = log->size / log->granule + (log->size % log->granule != 0);

  return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

uint32_t vd_ctlog_count_pages(const VdCtlog *log)
{
  return (vd_ctlog_count_granules(log) + VD_CTLOG_MARKS_OF_PAGE - 1) / VD_CTLOG_MARKS_OF_PAGE;
}

uint64_t vd_ctlog_page_offset(uint32_t page)
{
  return ((uint64_t)VD_CTLOG_N_HEADERS + page) * VD_CTLOG_PAGE;
}

uint64_t vd_ctlog_file_size(const VdCtlog *log)
{
  return vd_ctlog_page_offset(vd_ctlog_count_pages(log));
}

/* Building */

static void put_checksum(uint8_t *bytes, size_t at)
{
  VdSpan span = {"", bytes, VD_CTLOG_PAGE, 0};

  vd_put_le32(bytes + at, vd_span_crc32c(&span, at));
}

void vd_ctlog_build(const VdCtlog *log, uint8_t *ret_bytes)
{
  memset(ret_bytes, 0, VD_CTLOG_PAGE);
  memcpy(ret_bytes + AT_MAGIC, VD_CTLOG_MAGIC, VD_CTLOG_MAGIC_SIZE);
  vd_put_le32(ret_bytes + AT_VERSION, VERSION);
  vd_put_le64(ret_bytes + AT_SEQUENCE, log->sequence);
  vd_put_le32(ret_bytes + AT_STATE, log->state);
  vd_put_le32(ret_bytes + AT_DEVICE_ID, log->device_id);
  memcpy(ret_bytes + AT_ID, log->id, sizeof log->id);
  vd_put_le64(ret_bytes + AT_SIZE, log->size);
  vd_put_le64(ret_bytes + AT_GRANULE, log->granule);
  vd_put_le32(ret_bytes + AT_POINT, log->point);
  memcpy(ret_bytes + AT_TIE_ID, log->tie.id, sizeof log->tie.id);
  vd_put_le64(ret_bytes + AT_FILE_SIZE, log->tie.file_size);
  vd_put_le64(ret_bytes + AT_SECONDS, (uint64_t)log->tie.seconds);
  vd_put_le32(ret_bytes + AT_NANOSECONDS, log->tie.nanoseconds);
  vd_put_le32(ret_bytes + AT_TIMESTAMP, log->tie.timestamp);
  vd_put_le64(ret_bytes + AT_INODE, log->tie.inode);
  memcpy(ret_bytes + AT_SESSION_ID, log->session_id, sizeof log->session_id);
  put_checksum(ret_bytes, AT_CHECKSUM);
}

void vd_ctlog_build_page(const VdCtlog *log, uint32_t page, const uint16_t *marks, uint8_t *ret_bytes)
{
  uint32_t first = page * VD_CTLOG_MARKS_OF_PAGE, n = vd_ctlog_count_granules(log) - first;

  memset(ret_bytes, 0, VD_CTLOG_PAGE);
  vd_put_le32(ret_bytes + AT_PAGE_NUMBER, page);
  memcpy(ret_bytes + AT_PAGE_ID, log->id, PAGE_ID_LENGTH);
  for (uint32_t i = 0; i < n && i < VD_CTLOG_MARKS_OF_PAGE; i++)
    vd_put_le16(ret_bytes + AT_MARKS + (size_t)i * 2, marks[first + i]);
  put_checksum(ret_bytes, AT_PAGE_CHECKSUM);
}

uint16_t vd_ctlog_mark_of(const uint8_t *bytes, uint32_t at)
{
  const uint8_t *mark = bytes + AT_MARKS + (size_t)at * 2;

  return (uint16_t)(mark[0] | mark[1] << 8);
}

/* Parsing */

static bool load(const VdSpan *span, VdCtlog *log, uint32_t *ret_state, VdFormatError *ret_error)
{
  uint64_t seconds;

  if (!vd_span_load_le64(span, AT_SEQUENCE, "sequence", &log->sequence, ret_error) ||
      !vd_span_load_le32(span, AT_STATE, "state", ret_state, ret_error) ||
      !vd_span_load_le32(span, AT_DEVICE_ID, "device_id", &log->device_id, ret_error) ||
      !vd_span_load_bytes(span, AT_ID, "id", log->id, sizeof log->id, ret_error) ||
      !vd_span_load_le64(span, AT_SIZE, "size", &log->size, ret_error) ||
      !vd_span_load_le64(span, AT_GRANULE, "granule", &log->granule, ret_error) ||
      !vd_span_load_le32(span, AT_POINT, "point", &log->point, ret_error) ||
      !vd_span_load_bytes(span, AT_TIE_ID, "tie", log->tie.id, sizeof log->tie.id, ret_error) ||
      !vd_span_load_le64(span, AT_FILE_SIZE, "file_size", &log->tie.file_size, ret_error) ||
      !vd_span_load_le64(span, AT_SECONDS, "mtime", &seconds, ret_error) ||
      !vd_span_load_le32(span, AT_NANOSECONDS, "mtime", &log->tie.nanoseconds, ret_error) ||
      !vd_span_load_le32(span, AT_TIMESTAMP, "timestamp", &log->tie.timestamp, ret_error) ||
      !vd_span_load_le64(span, AT_INODE, "inode", &log->tie.inode, ret_error) ||
      !vd_span_load_bytes(span, AT_SESSION_ID, "session_id", log->session_id, sizeof log->session_id,
                          ret_error))
    return false;
  log->tie.seconds = (int64_t)seconds;
  return true;
}

#define INCONSISTENT VIRTDISK_ERROR_CTLOG_INCONSISTENT_TRACKING_FILE

static bool check(const VdSpan *span, const VdCtlog *log, uint32_t state, VdFormatError *ret_error)
{
  if (state < VD_CTLOG_CLEAN || state > VD_CTLOG_BROKEN)
    return vd_span_fail(span, AT_STATE, "state", INCONSISTENT, ret_error, "is %" PRIu32, state);
  if (log->device_id != VIRTDISK_DEVICE_VHD && log->device_id != VIRTDISK_DEVICE_VHDX &&
      log->device_id != VIRTDISK_DEVICE_RAW)
    return vd_span_fail(span, AT_DEVICE_ID, "device_id", INCONSISTENT, ret_error, "is %" PRIu32,
                        log->device_id);
  if (log->granule < VD_CTLOG_MIN_GRANULE || (log->granule & (log->granule - 1)) != 0)
    return vd_span_fail(span, AT_GRANULE, "granule", INCONSISTENT, ret_error, "is %" PRIu64, log->granule);
  if (log->size == 0 || log->size > VD_MAX_RAW_SIZE || vd_ctlog_count_granules(log) > VD_CTLOG_MAX_GRANULES)
    return vd_span_fail(span, AT_SIZE, "size", INCONSISTENT, ret_error,
                        "is %" PRIu64 ", in granules of %" PRIu64, log->size, log->granule);
  if (log->point == 0 || log->point > VD_CTLOG_LAST_POINT)
    return vd_span_fail(span, AT_POINT, "point", INCONSISTENT, ret_error, "is %" PRIu32, log->point);
  return true;
}

bool vd_ctlog_parse(const VdSpan *span, VdCtlog *ret_log, VdFormatError *ret_error)
{
  uint32_t checksum, version, state;

  *ret_log = (VdCtlog){0};
  if (!vd_span_has(span, AT_MAGIC, VD_CTLOG_MAGIC, VD_CTLOG_MAGIC_SIZE))
    return vd_span_fail(span, AT_MAGIC, "magic", INCONSISTENT, ret_error, "is not \"vdctlog1\"");
  if (!vd_span_load_le32(span, AT_CHECKSUM, "checksum", &checksum, ret_error) ||
      !vd_span_load_le32(span, AT_VERSION, "version", &version, ret_error))
    return false;
  if (checksum != vd_span_crc32c(span, AT_CHECKSUM))
    return vd_span_fail(span, AT_CHECKSUM, "checksum", INCONSISTENT, ret_error, "is 0x%08" PRIx32, checksum);
  if (version != VERSION)
    return vd_span_fail(span, AT_VERSION, "version", INCONSISTENT, ret_error, "is %" PRIu32, version);
  if (!load(span, ret_log, &state, ret_error) || !check(span, ret_log, state, ret_error))
    return false;
  ret_log->state = (VdCtlogState)state;
  return true;
}

static bool read_header(const VdReader *reader, unsigned slot, VdCtlog *ret_log, VdFormatError *ret_error)
{
  uint8_t bytes[VD_CTLOG_PAGE];
  VdSpan span;

  if (!vd_reader_read(reader, "change tracking header", (uint64_t)slot * VD_CTLOG_PAGE, bytes, sizeof bytes,
                      &span, ret_error) ||
      !vd_ctlog_parse(&span, ret_log, ret_error))
    return false;
  ret_log->slot = slot;
  return true;
}

bool vd_ctlog_read(const VdReader *reader, VdCtlog *ret_log, VdFormatError *ret_error)
{
  VdCtlog logs[VD_CTLOG_N_HEADERS];
  VdFormatError other;
  bool first, second;

  if (reader->size < (uint64_t)VD_CTLOG_N_HEADERS * VD_CTLOG_PAGE)
    return vd_format_error_set(ret_error, INCONSISTENT, 0, "",
                               "the change tracking file has %" PRIu64 " bytes: no room for its headers",
                               reader->size);
  first = read_header(reader, 0, &logs[0], ret_error);
  second = read_header(reader, 1, &logs[1], first ? &other : ret_error);
  if (!first && !second)
    return false;
  *ret_log = logs[second && (!first || logs[1].sequence > logs[0].sequence)];
  return reader->size >= vd_ctlog_file_size(ret_log) ||
         vd_format_error_set(ret_error, INCONSISTENT, AT_SIZE, "size",
                             "the change tracking file has %" PRIu64 " bytes, and needs %" PRIu64,
                             reader->size, vd_ctlog_file_size(ret_log));
}

static bool is_whole(const VdSpan *span, const VdCtlog *log, uint32_t page)
{
  uint32_t checksum, number;
  VdFormatError ignored;

  return vd_span_load_le32(span, AT_PAGE_CHECKSUM, "checksum", &checksum, &ignored) &&
         vd_span_load_le32(span, AT_PAGE_NUMBER, "page", &number, &ignored) &&
         checksum == vd_span_crc32c(span, AT_PAGE_CHECKSUM) && number == page &&
         vd_span_has(span, AT_PAGE_ID, (const char *)log->id, PAGE_ID_LENGTH);
}

static void take_marks(const VdSpan *span, const VdCtlog *log, uint32_t n, uint16_t *marks)
{
  VdFormatError ignored;

  for (uint32_t i = 0; i < n; i++) {
    uint16_t mark = 0;

    if (!vd_span_load_le16(span, AT_MARKS + (size_t)i * 2, "mark", &mark, &ignored) || mark > log->point)
      mark = (uint16_t)log->point;
    marks[i] = mark;
  }
}

bool vd_ctlog_read_marks(const VdReader *reader, const VdCtlog *log, uint16_t *ret_marks,
                         VdFormatError *ret_error)
{
  uint32_t left = vd_ctlog_count_granules(log);

  for (uint32_t page = 0; left > 0; page++) {
    uint32_t n = left < VD_CTLOG_MARKS_OF_PAGE ? left : VD_CTLOG_MARKS_OF_PAGE;
    uint8_t bytes[VD_CTLOG_PAGE];
    VdSpan span;

    if (!vd_reader_read(reader, "change tracking marks", vd_ctlog_page_offset(page), bytes, sizeof bytes,
                        &span, ret_error))
      return false;
    if (is_whole(&span, log, page))
      take_marks(&span, log, n, ret_marks);
    else
      for (uint32_t i = 0; i < n; i++)
        ret_marks[i] = (uint16_t)log->point;
    ret_marks += n;
    left -= n;
  }
  return true;
}

/* The tie */

static bool look_into(const VdReader *reader, uint32_t device_id, VdCtlogTie *tie, VdFormatError *ret_error)
{
  VdVhdxHeader header;
  VdVhdFooters footers;

  switch (device_id) {
  case VIRTDISK_DEVICE_VHDX:
    if (!vd_vhdx_header_choose(reader, &header, ret_error))
      return false;
    memcpy(tie->id, header.data_write_guid, sizeof tie->id);
    return true;
  case VIRTDISK_DEVICE_VHD:
    if (!vd_vhd_footers_read(reader, &footers, ret_error))
      return false;
    memcpy(tie->id, footers.footer.unique_id, sizeof tie->id);
    tie->timestamp = footers.footer.timestamp;
    return true;
  default:
    return true;
  }
}

bool vd_ctlog_look(int fd, uint32_t device_id, VdCtlogTie *ret_tie, VdFormatError *ret_error)
{
  VdReader reader;
  struct stat st;

  *ret_tie = (VdCtlogTie){0};
  if (!vd_reader_init(&reader, fd, ret_error))
    return false;
  if (fstat(fd, &st) < 0)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, 0, "", "the image: %s", strerrordesc_np(errno));
  ret_tie->file_size = (uint64_t)st.st_size;
  ret_tie->seconds = st.st_mtim.tv_sec;
  ret_tie->nanoseconds = (uint32_t)st.st_mtim.tv_nsec;
  ret_tie->inode = st.st_ino;
  return look_into(&reader, device_id, ret_tie, ret_error);
}

bool vd_ctlog_is_tied(const VdCtlog *log, const VdCtlogTie *tie)
{
  bool same_id = memcmp(log->tie.id, tie->id, sizeof tie->id) == 0;

  if (log->state == VD_CTLOG_BROKEN)
    return false;
  if (log->device_id == VIRTDISK_DEVICE_VHDX)
    return same_id ||
           (log->state == VD_CTLOG_DIRTY && memcmp(log->session_id, tie->id, sizeof log->session_id) == 0);
  return log->state == VD_CTLOG_CLEAN && same_id && log->tie.timestamp == tie->timestamp &&
         log->tie.file_size == tie->file_size && log->tie.seconds == tie->seconds &&
         log->tie.nanoseconds == tie->nanoseconds &&
         (log->device_id == VIRTDISK_DEVICE_VHD || log->tie.inode == tie->inode);
}

/* Ids of points. After "rctX:" come hexadecimal digits in groups. */

static const unsigned groups[] = {4, 2, 2, 2, 6, 4}; /* bytes */
#define PREFIX "rctX"

void vd_ctlog_format_id(const VdCtlog *log, uint32_t point, char ret_text[VD_CTLOG_ID_LENGTH])
{
  uint8_t bytes[20];
  size_t at = strlen(PREFIX), from = 0;

  memcpy(bytes, log->id, 16);
  for (unsigned i = 0; i < 4; i++)
    bytes[16 + i] = (uint8_t)(point >> (24 - 8 * i));
  memcpy(ret_text, PREFIX, at);
  for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
    ret_text[at++] = ':';
    for (unsigned j = 0; j < groups[i]; j++, at += 2)
      snprintf(ret_text + at, 3, "%02x", bytes[from++]);
  }
}

static int digit_of(char c)
{
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool take_id(const char *text, uint8_t ret_bytes[20])
{
  size_t to = 0;

  if (strlen(text) != VD_CTLOG_ID_LENGTH - 1 || strncmp(text, PREFIX, strlen(PREFIX)) != 0)
    return false;
  text += strlen(PREFIX);
  for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
    if (*text++ != ':')
      return false;
    for (unsigned j = 0; j < groups[i]; j++, text += 2) {
      int high = digit_of(text[0]), low = high < 0 ? -1 : digit_of(text[1]);

      if (low < 0)
        return false;
      ret_bytes[to++] = (uint8_t)(high << 4 | low);
    }
  }
  return true;
}

bool vd_ctlog_parse_id(const VdCtlog *log, const char *text, uint32_t *ret_point, VdFormatError *ret_error)
{
  uint8_t bytes[20];
  uint32_t point = 0;

  if (!take_id(text, bytes))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_CHANGE_TRACKING_ID, 0, "",
                               "ChangeTrackingId is not rctX: and the digits of a point");
  for (unsigned i = 16; i < sizeof bytes; i++)
    point = point << 8 | bytes[i];
  if (memcmp(bytes, log->id, sizeof log->id) != 0)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_MISSING_CHANGE_TRACKING_INFORMATION, 0, "",
                               "ChangeTrackingId is of a point before tracking was turned on as it is now");
  if (point == 0 || point > log->point)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_CHANGE_TRACKING_ID, 0, "",
                               "ChangeTrackingId is of point %" PRIu32 ", and the newest is %" PRIu32, point,
                               log->point);
  *ret_point = point;
  return true;
}

bool vd_ctlog_next_range(const VdCtlog *log, const uint16_t *marks, uint32_t point, uint64_t offset,
                         uint64_t end, uint64_t *ret_offset, uint64_t *ret_length)
{
  uint64_t at = offset, start;

  while (at < end && marks[at / log->granule] < point)
    at = (at / log->granule + 1) * log->granule;
  if (at >= end)
    return false;
  start = at;
  while (at < end && marks[at / log->granule] >= point)
    at = (at / log->granule + 1) * log->granule;
  *ret_offset = start;
  *ret_length = (at < end ? at : end) - start;
  return true;
}
