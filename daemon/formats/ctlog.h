/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * IMAGE.ctlog: which parts of an image's disk have changed since which point (QueryChangesVirtualDisk). Ours
 * alone; what Windows keeps is not public. Pages of 4096 bytes, all numbers little-endian:
 *
 *   page 0, 1   two headers; the one with the higher sequence whose checksum holds is current
 *   page 2...   marks: for each granule of the disk the last point after which it was changed
 *
 *   header   0 "vdctlog1"          8 CRC-32C of the page, these four bytes as zero    12 version, 1
 *           16 sequence           24 state (VdCtlogState)                             28 VirtdiskDeviceId
 *           32 id of this log, 16 bytes                                               48 size of the disk
 *           56 bytes of a granule 64 point: number of the newest, from 1              68 zero
 *           72 tie: 16 bytes of identity, 88 size of the file, 96 mtime: seconds, 104 nanoseconds, 108 VHD's
 *              time stamp, 112 inode
 *          120 identity that the session under way gives the image, 16 bytes; the rest is zero
 *   marks    0 CRC-32C as above    4 number of the page, from 0   8 the first 8 bytes of the log's id
 *           16 2040 marks of 16 bits; 0: not changed since the first point
 *
 * A page of marks that does not hold together (torn by a power cut, or of an earlier log) counts as changed
 * from end to end. The log is worth nothing unless it is tied to the image: see vd_ctlog_is_tied().
 * The caller's checks are these: after a successful parse the granule is a power of two of at least 64 KiB,
 * there are at most VD_CTLOG_MAX_GRANULES of them, and the state is one of the three.
 */
#pragma once

#include "formats/reader.h"

#define VD_CTLOG_MAGIC "vdctlog1" /* at the beginning of each header */
#define VD_CTLOG_MAGIC_SIZE 8
#define VD_CTLOG_PAGE 4096
#define VD_CTLOG_N_HEADERS 2
#define VD_CTLOG_MARKS_OF_PAGE 2040
/* Bytes; larger ones where there would be more than so many. The log of a 64 TiB disk has 4 MiB. */
#define VD_CTLOG_MIN_GRANULE (UINT64_C(64) << 10)
#define VD_CTLOG_MAX_GRANULES (UINT32_C(1) << 21)
#define VD_CTLOG_LAST_POINT 65535U
/* "rctX:", the log's id, a colon, eight digits, and a NUL. */
#define VD_CTLOG_ID_LENGTH 51

typedef enum {
  VD_CTLOG_CLEAN = 1, /* all is marked, and the tie is the image as it was left */
  VD_CTLOG_DIRTY,     /* somebody writes, or did when he ended without a word */
  VD_CTLOG_BROKEN,    /* changes may be missing: a new log has to be begun */
} VdCtlogState;

/* What an image is known by. VHDX: id is its DataWriteGuid, as on disk, and says it all. VHD: the unique id,
 * and what else tells that somebody wrote. Others have no id: the file itself has to be the same. */
typedef struct {
  uint8_t id[16];
  uint64_t file_size; /* bytes */
  int64_t seconds;    /* the time of its last change */
  uint32_t nanoseconds;
  uint32_t timestamp; /* VHD */
  uint64_t inode;
} VdCtlogTie;

typedef struct {
  uint64_t sequence;
  unsigned slot; /* 0 or 1: which of the two headers it is */
  VdCtlogState state;
  uint32_t device_id; /* VirtdiskDeviceId */
  uint8_t id[16];
  uint64_t size, granule; /* bytes */
  uint32_t point;
  VdCtlogTie tie;
  uint8_t session_id[16]; /* DIRTY: the VHDX has this id or the tie's */
} VdCtlog;

/* A log that begins now, with its first point. */
void vd_ctlog_init(VdCtlog *log, uint32_t device_id, uint64_t size, const uint8_t id[16]);
uint32_t vd_ctlog_count_granules(const VdCtlog *log);
uint32_t vd_ctlog_count_pages(const VdCtlog *log);
/* Bytes of the file; and where a page of marks lies. */
uint64_t vd_ctlog_file_size(const VdCtlog *log);
uint64_t vd_ctlog_page_offset(uint32_t page);

/* The bytes of a header and of a page of marks (all marks of the disk are given), VD_CTLOG_PAGE each. */
void vd_ctlog_build(const VdCtlog *log, uint8_t *ret_bytes);
void vd_ctlog_build_page(const VdCtlog *log, uint32_t page, const uint16_t *marks, uint8_t *ret_bytes);

/* One mark of such a page. */
uint16_t vd_ctlog_mark_of(const uint8_t *bytes, uint32_t at);

/* One header. Errors: CTLOG_INCONSISTENT_TRACKING_FILE. */
bool vd_ctlog_parse(const VdSpan *span, VdCtlog *ret_log, VdFormatError *ret_error);
/* The current one, compared with the length of the file. */
bool vd_ctlog_read(const VdReader *reader, VdCtlog *ret_log, VdFormatError *ret_error);
/* ret_marks: one for each granule. None is newer than the newest point. Errors: IO. */
bool vd_ctlog_read_marks(const VdReader *reader, const VdCtlog *log, uint16_t *ret_marks,
                         VdFormatError *ret_error);

/* What an image is known by now. A file that is being written to is not known by it. Errors: those of the
 * format, IO. */
bool vd_ctlog_look(int fd, uint32_t device_id, VdCtlogTie *ret_tie, VdFormatError *ret_error);
/* Whether the image is the one that the log tells of, and nobody has changed it since. Of what was left
 * behind DIRTY that can be told of a VHDX alone. */
bool vd_ctlog_is_tied(const VdCtlog *log, const VdCtlogTie *tie);

/* The id of a point, as "rctX:xxxxxxxx:xxxx:xxxx:xxxx:xxxxxxxxxxxx:00000001". */
void vd_ctlog_format_id(const VdCtlog *log, uint32_t point, char ret_text[VD_CTLOG_ID_LENGTH]);
/* Errors: VHD_INVALID_CHANGE_TRACKING_ID (it is none, or of a point that is not yet),
 * VHD_MISSING_CHANGE_TRACKING_INFORMATION (of another log). */
bool vd_ctlog_parse_id(const VdCtlog *log, const char *text, uint32_t *ret_point, VdFormatError *ret_error);

/* The next range of what was changed after point, in [offset, end), bytes; false: there is none. end is at
 * most the size of the disk. */
bool vd_ctlog_next_range(const VdCtlog *log, const uint16_t *marks, uint32_t point, uint64_t offset,
                         uint64_t end, uint64_t *ret_offset, uint64_t *ret_length);
