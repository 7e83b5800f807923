/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The checker of a VHDX: both headers, both region tables, the log, metadata, every entry of the BAT, every
 * sector bitmap that is referred to, and what of the file belongs to nobody.
 */
#include "formats/check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checker.h"
#include "formats/create-file.h"
#include "formats/vhdx-region.h"
#include "util/checked.h"

typedef struct {
  VdChecker checker;
  const VdReader *reader;
  VdVhdx vhdx;
  VdVhdxOccupancy taken;
  uint8_t *buffer; /* VD_VHDX_REGIONS_LENGTH bytes */
} Check;

static void check_clear(Check *self)
{
  vd_vhdx_clear(&self->vhdx);
  vd_vhdx_occupancy_clear(&self->taken);
  free(self->buffer);
}

static bool header_is_good(const VdReader *reader, unsigned slot, VdVhdxHeader *ret_header,
                           VdFormatError *ret_error)
{
  uint8_t bytes[VD_VHDX_HEADER_LENGTH];
  VdSpan span;

  return vd_reader_read(reader, slot == 0 ? "VHDX header 1" : "VHDX header 2",
                        slot == 0 ? VD_VHDX_HEADER_1 : VD_VHDX_HEADER_2, bytes, sizeof bytes, &span,
                        ret_error) &&
         vd_vhdx_header_parse(&span, ret_header, ret_error);
}

static bool regions_are_good(const VdReader *reader, const VdVhdxOverlay *overlay, unsigned copy,
                             uint8_t *buffer, VdFormatError *ret_error)
{
  VdSpan span;

  return vd_vhdx_overlay_read(overlay, reader, copy == 0 ? "VHDX region table 1" : "VHDX region table 2",
                              copy == 0 ? VD_VHDX_REGIONS_1 : VD_VHDX_REGIONS_2, buffer,
                              VD_VHDX_REGIONS_LENGTH, &span, ret_error) &&
         vd_vhdx_regions_check_sum(&span, ret_error);
}

/* One copy of two: the other one is good, or the image would not have been read. */
static void check_copies(Check *self)
{
  VdVhdxHeader header;
  VdFormatError error;
  uint64_t hash[2] = {0};

  for (unsigned i = 0; i < 2; i++) {
    if (!header_is_good(self->reader, i, &header, &error))
      vd_checker_tell(&self->checker, VD_FAULT_MINOR, VD_CAN_REPAIR, &error);
    if (!regions_are_good(self->reader, self->vhdx.overlay, i, self->buffer, &error))
      vd_checker_tell(&self->checker, VD_FAULT_MINOR, VD_CAN_REPAIR, &error);
    else
      for (size_t at = 0; at < VD_VHDX_REGIONS_LENGTH; at++)
        hash[i] = hash[i] * 1099511628211U + self->buffer[at] + 1;
  }
  if (hash[0] != 0 && hash[1] != 0 && hash[0] != hash[1])
    vd_checker_say(&self->checker, VD_FAULT_MINOR, VD_CAN_REPAIR, VD_VHDX_REGIONS_2, "region table",
                   "VHDX region table 2 at offset %" PRIu64 " differs from table 1, which counts",
                   VD_VHDX_REGIONS_2);
}

static void check_log(Check *self)
{
  if (self->vhdx.overlay != NULL)
    vd_checker_say(&self->checker, VD_FAULT_NOTE, VD_CAN_REPAIR, self->vhdx.header.log_offset, "log",
                   "VHDX log at offset %" PRIu64 " is to be replayed: the image was not closed",
                   self->vhdx.header.log_offset);
}

static void on_bat_fault(void *user, const VdFormatError *error)
{
  Check *self = user;

  vd_checker_tell(&self->checker, VD_FAULT_SERIOUS, VD_CANNOT_REPAIR, error);
}

static bool has_bit(const uint8_t *bits, uint64_t number)
{
  return (bits[number / 8] >> (number % 8) & 1) != 0;
}

static bool on_entry(void *user, uint64_t index, uint64_t entry, bool bitmap, VdFormatError *ret_error)
{
  Check *self = user;
  unsigned state = vd_vhdx_bat_state(entry);
  uint64_t end = vd_vhdx_bat_offset(entry) + self->vhdx.block_size;

  if (bitmap)
    return true;
  if (state == VD_VHDX_FULLY_PRESENT || state == VD_VHDX_PARTIALLY_PRESENT)
    self->checker.summary->allocated_blocks++;
  if (state == VD_VHDX_ZERO && vd_vhdx_bat_offset(entry) != 0)
    vd_checker_say(
        &self->checker, VD_FAULT_NOTE, VD_CANNOT_REPAIR, self->vhdx.bat.offset + index * 8, "file_offset",
        "VHDX BAT entry at offset %" PRIu64 ": a block of zeros has an offset, which Windows refuses",
        self->vhdx.bat.offset + index * 8);
  if ((state == VD_VHDX_FULLY_PRESENT || state == VD_VHDX_PARTIALLY_PRESENT) && end > self->vhdx.file_size)
    vd_checker_say(&self->checker, VD_FAULT_NOTE, VD_CANNOT_REPAIR, self->vhdx.bat.offset + index * 8,
                   "file_offset",
                   "VHDX BAT entry at offset %" PRIu64 ": the last block ends at %" PRIu64
                   ", behind the file's end at %" PRIu64,
                   self->vhdx.bat.offset + index * 8, end, self->vhdx.file_size);
  return true;
}

/* Whole MiB between the structures that nothing refers to. */
static void check_leaks(Check *self)
{
  uint64_t leaked = 0, first = 0, whole = self->vhdx.file_size / VD_VHDX_MIB;

  for (uint64_t unit = 1; unit < whole && unit < self->taken.length; unit++)
    if (!has_bit(self->taken.bits, unit)) {
      first = leaked == 0 ? unit : first;
      leaked++;
    }
  if (whole > self->taken.length) {
    first = leaked == 0 ? self->taken.length : first;
    leaked += whole - self->taken.length;
  }
  self->checker.summary->leaked = leaked * VD_VHDX_MIB;
  if (leaked > 0)
    vd_checker_say(&self->checker, VD_FAULT_LEAK, VD_CANNOT_REPAIR, first * VD_VHDX_MIB, "",
                   "%" PRIu64 " MiB of the file belong to nothing, the first at offset %" PRIu64, leaked,
                   first * VD_VHDX_MIB);
}

bool vd_vhdx_check(const VdReader *reader, VdFaultSink sink, void *user, VdCheckSummary *ret_summary,
                   VdFormatError *ret_error)
{
  Check check
      __attribute__((cleanup(check_clear))) = {.checker = {sink, user, ret_summary, 0}, .reader = reader};
  VdFormatError error;

  check.buffer = malloc(VD_VHDX_REGIONS_LENGTH);
  if (check.buffer == NULL)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory to check the VHDX");
  if (!vd_vhdx_read(reader, &check.vhdx, &error)) {
    vd_checker_tell(&check.checker, VD_FAULT_SERIOUS, VD_CANNOT_REPAIR, &error);
    return true;
  }
  ret_summary->blocks = check.vhdx.shape.payload_blocks;
  check_copies(&check);
  check_log(&check);
  if (!vd_vhdx_survey_bat(reader, &check.vhdx, on_entry, on_bat_fault, &check, &check.taken, &error))
    vd_checker_tell(&check.checker, VD_FAULT_SERIOUS, VD_CANNOT_REPAIR, &error);
  else
    check_leaks(&check);
  return true;
}

/* Mending the copies. The log is replayed by whoever opens the image for writing. */

static bool mend_header(int fd, const VdReader *reader, const VdVhdxHeader *current, VdFormatError *ret_error)
{
  uint8_t bytes[VD_VHDX_HEADER_LENGTH];
  VdVhdxHeader header = *current;
  VdFormatError unused;

  header.slot ^= 1;
  if (header_is_good(reader, header.slot, &header, &unused))
    return true;
  header = *current;
  header.slot ^= 1;
  /* One less: the good one stays current. A new one would have to be newer, and be trusted the next moment.
   */
  if (header.sequence > 0)
    header.sequence--;
  vd_vhdx_header_build(&header, bytes);
  return vd_create_file_write(fd, header.slot == 0 ? VD_VHDX_HEADER_1 : VD_VHDX_HEADER_2, bytes, sizeof bytes,
                              ret_error) &&
         vd_create_file_sync(fd, ret_error);
}

static void free_bytes(uint8_t **bytes)
{
  free(*bytes);
}

/* The table that counts is the first good one; the other becomes like it. */
static bool mend_regions(Check *check, int fd, VdFormatError *ret_error)
{
  uint8_t *other __attribute__((cleanup(free_bytes))) = malloc(VD_VHDX_REGIONS_LENGTH);
  VdFormatError unused;
  bool first = regions_are_good(check->reader, NULL, 0, check->buffer, &unused);

  if (other == NULL)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory to mend the VHDX");
  if (!first && !regions_are_good(check->reader, NULL, 1, check->buffer, ret_error))
    return false;
  if (regions_are_good(check->reader, NULL, first ? 1 : 0, other, &unused) &&
      memcmp(other, check->buffer, VD_VHDX_REGIONS_LENGTH) == 0)
    return true;
  return vd_create_file_write(fd, first ? VD_VHDX_REGIONS_2 : VD_VHDX_REGIONS_1, check->buffer,
                              VD_VHDX_REGIONS_LENGTH, ret_error) &&
         vd_create_file_sync(fd, ret_error);
}

bool vd_vhdx_repair(int fd, VdFormatError *ret_error)
{
  VdReader reader;
  Check check __attribute__((cleanup(check_clear))) = {.reader = &reader};

  check.buffer = malloc(VD_VHDX_REGIONS_LENGTH);
  if (check.buffer == NULL)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory to mend the VHDX");
  if (!vd_reader_init(&reader, fd, ret_error) || !vd_vhdx_read(&reader, &check.vhdx, ret_error))
    return false;
  if (!mend_header(fd, &reader, &check.vhdx.header, ret_error))
    return false;
  /* What a log that is not yet replayed says of the tables counts more than the tables. */
  return check.vhdx.overlay != NULL || mend_regions(&check, fd, ret_error);
}
