/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The checker of a VHD: both footers, the sparse header, locators, every entry of the table, the bitmaps of
 * dynamic images against the data, and what of the file belongs to nobody.
 */
#include "formats/check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checker.h"
#include "formats/create-file.h"
#include "formats/vhd-bat.h"

#define SECTOR VD_VHD_SECTOR_SIZE
/* Bytes of a block that are looked at in one go. */
#define PIECE ((size_t)64 << 10)

typedef struct {
  VdChecker checker;
  const VdReader *reader;
  VdVhdFooters footers;
  VdVhdSparse sparse;
  VdVhdBatShape shape;
  uint8_t *table;
  uint32_t *sectors; /* of the blocks that are there, in the order of the file */
  uint32_t n_sectors;
  uint8_t *piece;
} Check;

static void check_clear(Check *self)
{
  free(self->table);
  free(self->sectors);
  free(self->piece);
}

static void check_footers(Check *self)
{
  const VdVhdFooters *footers = &self->footers;

  if (footers->trailer == VD_VHD_TRAILER_MISSING)
    vd_checker_say(&self->checker, VD_FAULT_MINOR, VD_CAN_REPAIR, self->reader->size, "footer",
                   "VHD footer at the end of the file (%" PRIu64
                   " bytes) is lost; the copy at offset 0 stands in",
                   self->reader->size);
  if (footers->trailer == VD_VHD_TRAILER_SHORT)
    vd_checker_say(&self->checker, VD_FAULT_NOTE, VD_CAN_REPAIR, footers->space_end, "footer",
                   "VHD footer at offset %" PRIu64 " has 511 bytes, as writers before 2004 made it",
                   footers->space_end);
  if (footers->front_stale)
    vd_checker_say(&self->checker, VD_FAULT_MINOR, VD_CAN_REPAIR, 0, "footer",
                   "VHD footer at offset 0 is bad, or differs from the one at offset %" PRIu64
                   ", which counts",
                   footers->footer.offset);
  if (footers->footer.saved_state)
    vd_checker_say(&self->checker, VD_FAULT_NOTE, VD_CANNOT_REPAIR, footers->footer.offset + 84,
                   "saved_state", "VHD footer at offset %" PRIu64 ": a saved machine depends on this disk",
                   footers->footer.offset);
}

/* From bit first on, up to end. */
static uint32_t count_clear(const uint8_t *bitmap, uint32_t first, uint32_t end)
{
  uint32_t bit = first;

  while (bit < end && (bitmap[bit / 8 % SECTOR] >> (7 - bit % 8) & 1) == 0)
    bit++;
  return bit - first;
}

/* The first sector from offset on that is not zero; UINT64_MAX: there is none. What cannot be read, because a
 * last block may be short, is no data. */
static uint64_t find_data(const Check *self, uint64_t offset, uint64_t length)
{
  uint64_t end = offset + length < self->reader->size ? offset + length : self->reader->size;
  VdFormatError error;
  VdSpan span;

  for (uint64_t at = vd_reader_next_data(self->reader, offset) & ~(uint64_t)(SECTOR - 1); at < end;) {
    size_t piece = end - at < PIECE ? end - at : PIECE;

    if (!vd_reader_read(self->reader, "VHD block", at, self->piece, piece, &span, &error))
      return UINT64_MAX;
    for (size_t i = 0; i < piece; i += SECTOR)
      if (!vd_span_is_zero(&span, i, piece - i < SECTOR ? piece - i : SECTOR))
        return at + i;
    at += piece;
  }
  return UINT64_MAX;
}

/* Data under clear bits of a dynamic disk: it is shown, and another reader may show zeros. */
static void check_dynamic_block(Check *self, uint32_t block, uint32_t sector)
{
  uint8_t bitmap[SECTOR];
  uint64_t begin = (uint64_t)sector * SECTOR, data = begin + self->shape.bitmap_length;
  uint32_t n = self->shape.block_size / SECTOR;
  VdFormatError error;
  VdSpan span;

  for (uint32_t i = 0, end = 0, clear; i < n; i += clear + 1) {
    uint64_t found = UINT64_MAX;

    if (i >= end) {
      i = end;
      end = n - i < SECTOR * 8 ? n : i + SECTOR * 8;
      if (!vd_reader_read(self->reader, "VHD sector bitmap", begin + i / 8, bitmap, SECTOR, &span, &error)) {
        vd_checker_tell(&self->checker, VD_FAULT_SERIOUS, VD_CANNOT_REPAIR, &error);
        return;
      }
    }
    clear = count_clear(bitmap, i, end);
    if (clear > 0)
      found = find_data(self, data + (uint64_t)i * SECTOR, (uint64_t)clear * SECTOR);
    if (found == UINT64_MAX)
      continue;
    vd_checker_say(&self->checker, VD_FAULT_NOTE, VD_CANNOT_REPAIR, found, "sector bitmap",
                   "VHD block %" PRIu32 " at offset %" PRIu64
                   ": its bitmap says that the sector at offset %" PRIu64 " is empty, and it is not",
                   block, begin, found);
    return;
  }
}

static void check_entries(Check *self)
{
  VdFormatError error;

  for (uint32_t block = 0; block < self->shape.blocks; block++) {
    uint32_t sector = vd_vhd_bat_entry(self->table, block);

    if (sector == VD_VHD_BLOCK_NONE)
      continue;
    self->checker.summary->allocated_blocks++;
    if (!vd_vhd_bat_check_entry(&self->shape, block, sector, &error)) {
      vd_checker_tell(&self->checker, VD_FAULT_SERIOUS, VD_CANNOT_REPAIR, &error);
      continue;
    }
    self->sectors[self->n_sectors++] = sector;
    if (self->footers.footer.type == VD_VHD_DYNAMIC)
      check_dynamic_block(self, block, sector);
  }
}

/* In the order of the file: overlaps, and the gaps between that no structure fills. */
static void check_space(Check *self)
{
  uint64_t whole = (uint64_t)self->shape.bitmap_length + self->shape.block_size;
  uint64_t end = 0, leaked = 0, previous_end = 0;

  for (unsigned i = 0; i < self->shape.n_ranges; i++)
    if (self->shape.ranges[i].offset + self->shape.ranges[i].length > end)
      end = self->shape.ranges[i].offset + self->shape.ranges[i].length;
  vd_vhd_sort_sectors(self->sectors, self->n_sectors);
  for (uint32_t i = 0; i < self->n_sectors; i++) {
    uint64_t begin = (uint64_t)self->sectors[i] * SECTOR;

    if (begin < previous_end)
      vd_checker_say(&self->checker, VD_FAULT_SERIOUS, VD_CANNOT_REPAIR, begin, "block_allocation_table",
                     "VHD block at offset %" PRIu64 " lies within another one, which ends at %" PRIu64, begin,
                     previous_end);
    else if (begin >= end + whole)
      leaked += begin - end;
    previous_end = begin + whole;
    end = begin + whole > end ? begin + whole : end;
  }
  if (self->shape.space_end >= end + whole)
    leaked += self->shape.space_end - end;
  self->checker.summary->leaked = leaked;
  if (leaked > 0)
    vd_checker_say(&self->checker, VD_FAULT_LEAK, VD_CANNOT_REPAIR, end, "",
                   "%" PRIu64 " bytes of the file belong to nothing (the last block ends at %" PRIu64 ")",
                   leaked, end);
}

static bool check_blocks(Check *self, VdFormatError *ret_error)
{
  self->table = malloc(vd_vhd_table_length(self->shape.blocks));
  self->sectors = calloc(self->shape.blocks + 1U, sizeof *self->sectors);
  self->piece = malloc(PIECE);
  if (self->table == NULL || self->sectors == NULL || self->piece == NULL)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory to check the VHD");
  if (!vd_vhd_bat_read(self->reader, &self->shape, self->table, ret_error)) {
    vd_checker_tell(&self->checker, VD_FAULT_SERIOUS, VD_CANNOT_REPAIR, ret_error);
    return true;
  }
  self->checker.summary->blocks = self->shape.blocks;
  check_entries(self);
  check_space(self);
  return true;
}

static void check_fixed(Check *self)
{
  const VdVhdFooter *footer = &self->footers.footer;

  if (footer->current_size > footer->offset)
    vd_checker_say(&self->checker, VD_FAULT_SERIOUS, VD_CANNOT_REPAIR, footer->offset + 48, "current_size",
                   "VHD footer at offset %" PRIu64 ": current_size is %" PRIu64
                   " bytes, the file has room for %" PRIu64,
                   footer->offset, footer->current_size, footer->offset);
}

bool vd_vhd_check(const VdReader *reader, VdFaultSink sink, void *user, VdCheckSummary *ret_summary,
                  VdFormatError *ret_error)
{
  Check check
      __attribute__((cleanup(check_clear))) = {.checker = {sink, user, ret_summary, 0}, .reader = reader};
  VdFormatError error;

  if (!vd_vhd_footers_read(reader, &check.footers, &error)) {
    vd_checker_tell(&check.checker, VD_FAULT_SERIOUS, VD_CANNOT_REPAIR, &error);
    return true;
  }
  check_footers(&check);
  if (check.footers.footer.type == VD_VHD_FIXED) {
    check_fixed(&check);
    return true;
  }
  if (!vd_vhd_sparse_read(reader, &check.footers, &check.sparse, &error)) {
    vd_checker_tell(&check.checker, VD_FAULT_SERIOUS, VD_CANNOT_REPAIR, &error);
    return true;
  }
  check.shape = vd_vhd_bat_shape(&check.footers, &check.sparse);
  return check_blocks(&check, ret_error);
}

/* The front copy from the trailer; a lost trailer is written by whoever opens the image for writing. */
bool vd_vhd_repair(int fd, VdFormatError *ret_error)
{
  VdReader reader;
  VdVhdFooters footers;

  if (!vd_reader_init(&reader, fd, ret_error) || !vd_vhd_footers_read(&reader, &footers, ret_error))
    return false;
  if (!footers.front_stale)
    return true;
  return vd_create_file_write(fd, 0, footers.footer.bytes, VD_VHD_FOOTER_LENGTH, ret_error) &&
         vd_create_file_sync(fd, ret_error);
}
