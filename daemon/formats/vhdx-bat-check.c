/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The whole BAT in one pass: each entry by itself, and what space it takes against all others, by one bit per
 * MiB of the file. Holes, and pages without any place in them, cost next to nothing.
 */
#include "formats/vhdx.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/checked.h"

#define ENTRY_LENGTH sizeof(uint64_t)
#define ENTRIES_PER_PAGE (4096 / ENTRY_LENGTH)
#define NO_BLOCK UINT64_MAX

typedef struct {
  const VdReader *reader;
  const VdVhdx *vhdx;
  VdVhdxBatVisit visit;
  VdVhdxBatFault fault;
  void *user;
  bool tolerant; /* of blocks that the file ends before */
  VdVhdxOccupancy taken;
  uint64_t capacity; /* MiB */
  uint64_t partial;  /* first partially present entry of a chunk whose bitmap was not yet seen, or NO_BLOCK */
  uint8_t *buffer;   /* VD_READER_MAX_LENGTH bytes */
} Check;

void vd_vhdx_occupancy_clear(VdVhdxOccupancy *occupancy)
{
  free(occupancy->bits);
  *occupancy = (VdVhdxOccupancy){0};
}

static void check_clear(Check *self)
{
  free(self->buffer);
  vd_vhdx_occupancy_clear(&self->taken);
}

static bool is_taken(const Check *self, uint64_t unit)
{
  return (self->taken.bits[unit / 8] >> (unit % 8) & 1) != 0;
}

/* False: part of it was taken already. The range is within the capacity. */
static bool take(Check *self, uint64_t offset, uint64_t length)
{
  uint64_t end = (offset + length + VD_VHDX_MIB - 1) / VD_VHDX_MIB;

  for (uint64_t unit = offset / VD_VHDX_MIB; unit < end; unit++) {
    if (is_taken(self, unit))
      return false;
    self->taken.bits[unit / 8] |= (uint8_t)(1U << (unit % 8));
  }
  if (self->taken.length < end)
    self->taken.length = end;
  return true;
}

static bool check_init(Check *self, VdFormatError *ret_error)
{
  const VdVhdx *vhdx = self->vhdx;

  self->partial = NO_BLOCK;
  self->capacity = (vhdx->file_size + vhdx->block_size) / VD_VHDX_MIB + 1;
  self->taken.length = (vhdx->file_size + VD_VHDX_MIB - 1) / VD_VHDX_MIB;
  self->taken.bits = calloc(self->capacity / 8 + 1, 1);
  self->buffer = malloc(VD_READER_MAX_LENGTH);
  if (self->taken.bits == NULL || self->buffer == NULL)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, vhdx->bat.offset, "",
                               "no memory to check the VHDX BAT");
  take(self, 0, VD_VHDX_MIB);
  for (unsigned i = 0; i < vhdx->n_reserved; i++)
    take(self, vhdx->reserved[i].offset, vhdx->reserved[i].length);
  return true;
}

__attribute__((format(printf, 5, 6))) static bool fail(const Check *self, uint64_t index, const char *field,
                                                       VdFormatError *ret_error, const char *format, ...)
{
  VdSpan span = {.structure = "VHDX BAT entry",
                 .length = ENTRY_LENGTH,
                 .file_offset = self->vhdx->bat.offset + index * ENTRY_LENGTH};
  char detail[160];
  va_list args;

  va_start(args, format);
  vsnprintf(detail, sizeof detail, format, args);
  va_end(args);
  return vd_span_fail(&span, 0, field, VIRTDISK_ERROR_FILE_CORRUPT, ret_error, "%s", detail);
}

/* How much of a block the file must hold: all of it, but of the disk's last block what the disk has. */
static uint64_t needed_of(const VdVhdx *vhdx, uint64_t block)
{
  uint64_t rest = vhdx->virtual_size - block * vhdx->block_size;

  return rest < vhdx->block_size ? rest : vhdx->block_size;
}

static bool take_space(Check *self, uint64_t index, uint64_t entry, uint64_t length, uint64_t needed,
                       VdFormatError *ret_error)
{
  uint64_t offset = vd_vhdx_bat_offset(entry);

  if (self->tolerant && offset >= VD_VHDX_MIB && !vd_range_within(offset, needed, self->vhdx->file_size))
    return true;
  if (offset < VD_VHDX_MIB || !vd_range_within(offset, needed, self->vhdx->file_size))
    return fail(self, index, "file_offset", ret_error,
                "is %" PRIu64 " (length %" PRIu64 "), not within 1 MiB and the file's end at %" PRIu64,
                offset, needed, self->vhdx->file_size);
  if (!take(self, offset, length))
    return fail(self, index, "file_offset", ret_error,
                "is %" PRIu64 " (length %" PRIu64 "), where another block, a region or the log lies", offset,
                length);
  return true;
}

static bool check_payload(Check *self, uint64_t index, uint64_t block, uint64_t entry,
                          VdFormatError *ret_error)
{
  const VdVhdx *vhdx = self->vhdx;
  unsigned state = vd_vhdx_bat_state(entry);

  switch (state) {
  case VD_VHDX_NOT_PRESENT:
  case VD_VHDX_ZERO:
    return true;
  case VD_VHDX_UNDEFINED:
  case VD_VHDX_UNMAPPED:
    if (vd_vhdx_bat_offset(entry) == 0)
      return true;
    break;
  case VD_VHDX_PARTIALLY_PRESENT:
    if (!vhdx->has_parent)
      return fail(self, index, "state", ret_error, "is 7 (partially present), and the image has no parent");
    if (self->partial == NO_BLOCK)
      self->partial = index;
    break;
  case VD_VHDX_FULLY_PRESENT:
    break;
  default:
    return fail(self, index, "state", ret_error, "is %u, which has no meaning", state);
  }
  return take_space(self, index, entry, vhdx->block_size, needed_of(vhdx, block), ret_error);
}

static bool check_bitmap(Check *self, uint64_t index, uint64_t entry, VdFormatError *ret_error)
{
  unsigned state = vd_vhdx_bat_state(entry);

  if (state == VD_VHDX_NOT_PRESENT)
    return true;
  if (state != VD_VHDX_FULLY_PRESENT || !self->vhdx->has_parent)
    return fail(self, index, "state", ret_error, "of a bitmap block is %u%s", state,
                self->vhdx->has_parent ? "" : ", and the image has no parent");
  self->partial = NO_BLOCK;
  return take_space(self, index, entry, VD_VHDX_BITMAP_BLOCK, VD_VHDX_BITMAP_BLOCK, ret_error);
}

/* Before an entry of another chunk, or at the end: its bitmap must have come. */
static bool check_partial(const Check *self, uint64_t chunk, VdFormatError *ret_error)
{
  uint64_t stride = self->vhdx->shape.chunk_ratio + 1;

  if (self->partial == NO_BLOCK || self->partial / stride == chunk)
    return true;
  return fail(self, self->partial, "state", ret_error,
              "is 7 (partially present), and entry %" PRIu64 " names no bitmap block",
              self->partial / stride * stride + stride - 1);
}

static bool check_entry(Check *self, uint64_t index, uint64_t entry, VdFormatError *ret_error)
{
  uint64_t stride = self->vhdx->shape.chunk_ratio + 1, chunk = index / stride;
  bool bitmap = index % stride == stride - 1;
  uint64_t block = index - chunk;

  /* Room for blocks behind the disk's end, which the last chunk of a differencing image has. */
  if (!bitmap && block >= self->vhdx->shape.payload_blocks)
    return true;
  if (vd_vhdx_bat_reserved(entry))
    return fail(self, index, "reserved", ret_error, "bits are set: 0x%016" PRIx64, entry);
  if (!check_partial(self, chunk, ret_error)) {
    self->partial = NO_BLOCK;
    return false;
  }
  if (bitmap ? !check_bitmap(self, index, entry, ret_error)
             : !check_payload(self, index, block, entry, ret_error))
    return false;
  return self->visit == NULL || self->visit(self->user, index, entry, bitmap, ret_error);
}

/* After a fault: whoever wants to hear of all of them has it told, and the next entry is looked at. */
static bool go_on(const Check *self, const VdFormatError *error)
{
  if (self->fault == NULL)
    return false;
  self->fault(self->user, error);
  return true;
}

/* One page of the same state over and over, with no place: nothing is there to be at fault, and of a large
 * disk there are many. Among them must be no bitmap's entry: what is a block's state is none of a bitmap's.
 */
static bool is_bare_page(const Check *self, const VdSpan *span, uint64_t first, uint64_t at)
{
  uint64_t stride = self->vhdx->shape.chunk_ratio + 1, index = first + at, entry;

  return vd_span_repeats(span, at * ENTRY_LENGTH, ENTRIES_PER_PAGE * ENTRY_LENGTH, ENTRY_LENGTH) &&
         vd_span_load_le64(span, at * ENTRY_LENGTH, "entry", &entry, NULL) &&
         (entry == VD_VHDX_NOT_PRESENT ||
          (entry <= VD_VHDX_UNMAPPED && (index + ENTRIES_PER_PAGE) / stride == index / stride));
}

static bool check_piece(Check *self, const VdSpan *span, uint64_t first, uint64_t n, VdFormatError *ret_error)
{
  for (uint64_t i = 0; i < n; i++) {
    uint64_t entry;

    if (i % ENTRIES_PER_PAGE == 0 && is_bare_page(self, span, first, i)) {
      i += ENTRIES_PER_PAGE - 1;
      continue;
    }
    if (!vd_span_load_le64(span, i * ENTRY_LENGTH, "entry", &entry, ret_error))
      return false;
    if (entry != 0 && !check_entry(self, first + i, entry, ret_error) && !go_on(self, ret_error))
      return false;
  }
  return true;
}

/* The first byte of the BAT from there on that may be something else than zero, down to a page. */
static uint64_t next_used(const Check *self, uint64_t at)
{
  uint64_t offset = self->vhdx->bat.offset + at, next = vd_reader_next_data(self->reader, offset);
  uint64_t logged = vd_vhdx_overlay_next(self->vhdx->overlay, offset);

  next = logged < next ? logged : next;
  return (next - self->vhdx->bat.offset) & ~UINT64_C(4095);
}

static bool check_table(Check *self, VdFormatError *ret_error)
{
  uint64_t length = self->vhdx->shape.entries * ENTRY_LENGTH;

  for (uint64_t at = next_used(self, 0); at < length;) {
    uint64_t piece = length - at < VD_READER_MAX_LENGTH ? length - at : VD_READER_MAX_LENGTH;
    VdSpan span;

    if (!vd_vhdx_overlay_read(self->vhdx->overlay, self->reader, "VHDX BAT", self->vhdx->bat.offset + at,
                              self->buffer, piece, &span, ret_error) ||
        !check_piece(self, &span, at / ENTRY_LENGTH, piece / ENTRY_LENGTH, ret_error))
      return false;
    at += piece;
    if (at < length)
      at = next_used(self, at);
  }
  return check_partial(self, NO_BLOCK, ret_error) || go_on(self, ret_error);
}

static bool run(Check *self, VdVhdxOccupancy *ret_occupancy, VdFormatError *ret_error)
{
  if (!check_init(self, ret_error) || !check_table(self, ret_error))
    return false;
  if (ret_occupancy != NULL) {
    *ret_occupancy = self->taken;
    self->taken = (VdVhdxOccupancy){0};
  }
  return true;
}

bool vd_vhdx_survey_bat(const VdReader *reader, const VdVhdx *vhdx, VdVhdxBatVisit visit,
                        VdVhdxBatFault fault, void *user, VdVhdxOccupancy *ret_occupancy,
                        VdFormatError *ret_error)
{
  Check check __attribute__((cleanup(check_clear))) = {
      .reader = reader, .vhdx = vhdx, .visit = visit, .fault = fault, .user = user};

  return run(&check, ret_occupancy, ret_error);
}

bool vd_vhdx_check_bat_to_read(const VdReader *reader, const VdVhdx *vhdx, VdVhdxBatVisit visit, void *user,
                               VdFormatError *ret_error)
{
  Check check __attribute__((cleanup(check_clear))) = {
      .reader = reader, .vhdx = vhdx, .visit = visit, .user = user, .tolerant = true};

  return run(&check, NULL, ret_error);
}

bool vd_vhdx_check_bat(const VdReader *reader, const VdVhdx *vhdx, VdVhdxBatVisit visit, void *user,
                       VdVhdxOccupancy *ret_occupancy, VdFormatError *ret_error)
{
  return vd_vhdx_survey_bat(reader, vhdx, visit, NULL, user, ret_occupancy, ret_error);
}
