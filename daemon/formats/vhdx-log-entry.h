/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One entry of a VHDX log (MS-VHDX 2.3.1): whether it is valid as MS-VHDX has it, and what it would write.
 * The log is a ring: an entry may go on at the ring's start.
 */
#pragma once

#include "formats/vhdx-log.h"

/* The ring, seen through a window that moves. */
typedef struct {
  const VdReader *reader;
  const VdVhdxHeader *header;
  uint8_t *buffer; /* VD_READER_MAX_LENGTH bytes; borrowed */
  uint32_t loaded; /* where the window begins, bytes from the ring's start; UINT32_MAX: nowhere yet */
} VdVhdxLogRing;

typedef struct {
  uint32_t start, length, tail; /* bytes; start and tail from the ring's start */
  uint32_t n_descriptors;
  uint64_t sequence;
  uint64_t flushed_file_offset, last_file_offset; /* bytes */
} VdVhdxLogEntry;

typedef enum {
  VD_LOG_VALID,
  VD_LOG_FOREIGN,    /* no entry of this log */
  VD_LOG_BROKEN,     /* an entry of this log that does not hold; error filled */
  VD_LOG_UNREADABLE, /* error filled: IO */
} VdVhdxLogVerdict;

/*
 * start: a multiple of VD_VHDX_PAGE within the ring. No sector but the first of a valid entry begins as an
 * entry does: so a search that goes on behind whatever it has read takes one look at each sector.
 */
VdVhdxLogVerdict vd_vhdx_log_entry_read(VdVhdxLogRing *ring, uint32_t start, VdVhdxLogEntry *ret_entry,
                                        VdFormatError *ret_error);

/* Checks where each descriptor of a valid entry wants to write, and calls sink (NULL: just checks). */
bool vd_vhdx_log_entry_effects(VdVhdxLogRing *ring, const VdVhdxLogEntry *entry, VdVhdxLogSink sink,
                               void *user, VdFormatError *ret_error);

/* Where things lie in an entry, for readers and builders; bytes. */
enum {
  VD_LOG_AT_SIGNATURE = 0,
  VD_LOG_AT_CHECKSUM = 4,
  VD_LOG_AT_LENGTH = 8,
  VD_LOG_AT_TAIL = 12,
  VD_LOG_AT_SEQUENCE = 16,
  VD_LOG_AT_COUNT = 24,
  VD_LOG_AT_GUID = 32,
  VD_LOG_AT_FLUSHED = 48,
  VD_LOG_AT_LAST = 56,
  VD_LOG_HEADER_LENGTH = 64,
  VD_LOG_DESCRIPTOR_LENGTH = 32,
  /* of a data descriptor */
  VD_LOG_AT_TRAILING = 4,
  VD_LOG_AT_LEADING = 8,
  /* of a zero descriptor */
  VD_LOG_AT_RESERVED = 4,
  VD_LOG_AT_ZERO_LENGTH = 8,
  /* of both */
  VD_LOG_AT_OFFSET = 16,
  VD_LOG_AT_DESCRIPTOR_SEQUENCE = 24,
  /* of a data sector */
  VD_LOG_AT_SEQUENCE_HIGH = 4,
  VD_LOG_AT_DATA = 8,
  VD_LOG_DATA_LENGTH = 4084,
  VD_LOG_AT_SEQUENCE_LOW = 4092,
};

/* Sectors that the header and so many descriptors take. */
static inline uint64_t vd_vhdx_log_descriptor_sectors(uint64_t n_descriptors)
{
  return (VD_LOG_HEADER_LENGTH + n_descriptors * VD_LOG_DESCRIPTOR_LENGTH + VD_VHDX_PAGE - 1) / VD_VHDX_PAGE;
}
