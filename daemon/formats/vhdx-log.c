/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The search for the active sequence (MS-VHDX 2.3.3), in one turn around the ring, and its replay. */
#include "formats/vhdx-log.h"

#include <inttypes.h>
#include <stdlib.h>

#include "formats/vhdx-log-entry.h"

/* A run of valid entries with rising numbers. */
typedef struct {
  VdVhdxLogEntry head;
  uint64_t length; /* bytes; 0: no entry */
} Run;

typedef struct {
  VdVhdxLogRing ring;
  uint32_t *run_of; /* for each sector: number of the run of which an entry begins there */
  uint32_t n_runs;
  bool found;
  VdVhdxLogEntry head; /* of the best run so far, if found */
  bool has_why;        /* why an entry of this log does not count, for the message if none does */
  VdFormatError why;
} Search;

static void search_clear(Search *self)
{
  free(self->ring.buffer);
  free(self->run_of);
}

static bool search_init(Search *self, const VdReader *reader, const VdVhdxHeader *header,
                        VdFormatError *ret_error)
{
  self->ring = (VdVhdxLogRing){
      .reader = reader, .header = header, .buffer = malloc(VD_READER_MAX_LENGTH), .loaded = UINT32_MAX};
  self->run_of = calloc(header->log_length / VD_VHDX_PAGE, sizeof *self->run_of);
  if (self->ring.buffer == NULL || self->run_of == NULL)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, header->log_offset, "",
                               "no memory to read the VHDX log at offset %" PRIu64, header->log_offset);
  return true;
}

/* Reads a run from that place on. False: the file cannot be read. */
static bool follow(Search *self, uint32_t start, Run *ret_run, VdFormatError *ret_error)
{
  uint32_t log_length = self->ring.header->log_length;
  Run run = {.length = 0};

  self->n_runs++;
  while (run.length < log_length) {
    uint32_t position = (uint32_t)((start + run.length) % log_length);
    VdVhdxLogEntry entry;
    VdFormatError error;
    VdVhdxLogVerdict verdict = vd_vhdx_log_entry_read(&self->ring, position, &entry, &error);

    if (verdict == VD_LOG_UNREADABLE)
      *ret_error = error;
    if (verdict == VD_LOG_UNREADABLE)
      return false;
    if (verdict == VD_LOG_BROKEN && !self->has_why) {
      self->why = error;
      self->has_why = true;
    }
    if (verdict != VD_LOG_VALID || entry.length > log_length - run.length ||
        (run.length > 0 && (run.head.sequence == UINT64_MAX || entry.sequence != run.head.sequence + 1)))
      break;
    self->run_of[position / VD_VHDX_PAGE] = self->n_runs;
    run.head = entry;
    run.length += entry.length;
  }
  *ret_run = run;
  return true;
}

/*
 * A run counts if the tail that its head names is the start of one of its entries. One that does not count
 * can be passed over whole: what begins later in it has the same head and fewer entries.
 */
static bool search(Search *self, VdFormatError *ret_error)
{
  const VdVhdxHeader *header = self->ring.header;

  for (uint64_t position = 0; position < header->log_length;) {
    Run run;

    if (!follow(self, (uint32_t)position, &run, ret_error))
      return false;
    if (run.length > 0 && self->run_of[run.head.tail / VD_VHDX_PAGE] == self->n_runs &&
        (!self->found || run.head.sequence > self->head.sequence)) {
      self->head = run.head;
      self->found = true;
    }
    position += run.length > 0 ? run.length : VD_VHDX_PAGE;
  }
  if (self->found)
    return true;
  if (self->has_why) {
    *ret_error = self->why;
    return false;
  }
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_CORRUPT, header->log_offset, "log_guid",
                             "VHDX log at offset %" PRIu64
                             ": log_guid says that it is in use, but it has no active sequence",
                             header->log_offset);
}

/* Calls sink for all entries from the tail to the head; NULL: just checks. */
static bool replay(Search *self, VdVhdxLogSink sink, void *user, unsigned *ret_n, VdFormatError *ret_error)
{
  uint32_t log_length = self->ring.header->log_length;
  uint64_t position = self->head.tail;
  VdVhdxLogEntry entry = {.start = UINT32_MAX};

  *ret_n = 0;
  while (entry.start != self->head.start) {
    uint32_t start = (uint32_t)(position % log_length);

    /* It was valid a moment ago. */
    if (position - self->head.tail >= log_length ||
        vd_vhdx_log_entry_read(&self->ring, start, &entry, ret_error) != VD_LOG_VALID)
      return vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, self->ring.header->log_offset + start, "",
                                 "VHDX log entry at offset %" PRIu64 ": changed while it was read",
                                 self->ring.header->log_offset + start);
    if (!vd_vhdx_log_entry_effects(&self->ring, &entry, sink, user, ret_error))
      return false;
    position += entry.length;
    ++*ret_n;
  }
  return true;
}

static bool check_sizes(const Search *self, VdFormatError *ret_error)
{
  const VdVhdxLogEntry *head = &self->head;
  uint64_t file_size = self->ring.reader->size, at = self->ring.header->log_offset + head->start;

  if (head->flushed_file_offset > file_size)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_CORRUPT, at + VD_LOG_AT_FLUSHED,
                               "flushed_file_offset",
                               "VHDX log entry at offset %" PRIu64 ": flushed_file_offset is %" PRIu64
                               ", the file has %" PRIu64 " bytes: its end was cut off",
                               at, head->flushed_file_offset, file_size);
  if (head->last_file_offset > VD_VHDX_MAX_FILE_SIZE)
    return vd_format_error_set(
        ret_error, VIRTDISK_ERROR_FILE_CORRUPT, at + VD_LOG_AT_LAST, "last_file_offset",
        "VHDX log entry at offset %" PRIu64 ": last_file_offset is %" PRIu64 ", more than %" PRIu64, at,
        head->last_file_offset, VD_VHDX_MAX_FILE_SIZE);
  return true;
}

bool vd_vhdx_log_replay(const VdReader *reader, const VdVhdxHeader *header, VdVhdxLogSink sink, void *user,
                        VdVhdxLogSummary *ret_summary, VdFormatError *ret_error)
{
  Search found __attribute__((cleanup(search_clear))) = {0};
  unsigned n_entries;

  if (!search_init(&found, reader, header, ret_error) || !search(&found, ret_error) ||
      !check_sizes(&found, ret_error) || !replay(&found, NULL, NULL, &n_entries, ret_error) ||
      !replay(&found, sink, user, &n_entries, ret_error))
    return false;
  *ret_summary = (VdVhdxLogSummary){.sequence = found.head.sequence,
                                    .last_file_offset = found.head.last_file_offset,
                                    .flushed_file_offset = found.head.flushed_file_offset,
                                    .n_entries = n_entries};
  return true;
}
