/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The space of a VHD that new blocks are handed out from. Whatever is ready reads as zeros, durably, and has
 * its bitmap; where it comes from, and in which order it is made ready, stands in vhd-layer.h.
 */
#include "engine/vhd-layer.h"

#include <errno.h>

/* With fewer ready than this part of a step, more are made ready before they are asked for. */
#define LOW_MARK 4
/* What a table of another program may take behind ours, bytes; a bit for each block there can be, and more.
 */
#define FOREIGN_TABLE (UINT64_C(1) << 20)

static uint64_t round_up(uint64_t value, uint64_t unit)
{
  return (value + unit - 1) / unit * unit;
}

uint64_t vd_vhd_space_position(const VdVhdLayer *self, uint64_t offset)
{
  uint32_t bitmap = self->shape.bitmap_length;

  return self->space.aligned ? round_up(offset + bitmap, VD_VHD_ALIGNMENT) - bitmap
                             : round_up(offset, VD_VHD_SECTOR);
}

uint64_t vd_vhd_space_stride(const VdVhdLayer *self)
{
  uint32_t bitmap = self->shape.bitmap_length;

  return self->shape.block_size + (self->space.aligned ? round_up(bitmap, VD_VHD_ALIGNMENT) : bitmap);
}

static uint64_t end_of_structures(const VdVhdLayer *self)
{
  uint64_t end = 0;

  for (unsigned i = 0; i < self->shape.n_ranges; i++) {
    uint64_t range_end = self->shape.ranges[i].offset + self->shape.ranges[i].length;

    end = range_end > end ? range_end : end;
  }
  return end;
}

/* Beside zeros, and the ones that a table is filled up with. What cannot be read holds something. */
static bool holds_something(const VdReader *reader, uint64_t from, uint64_t to)
{
  uint64_t table_end = round_up(from, VD_VHD_ALIGNMENT);
  uint8_t bytes[4096];

  for (uint64_t at = vd_reader_next_data(reader, from); at < to; at = vd_reader_next_data(reader, at)) {
    size_t length = to - at < sizeof bytes ? (size_t)(to - at) : sizeof bytes;
    VdFormatError error;
    VdSpan span;

    if (!vd_reader_read(reader, "space before the blocks", at, bytes, length, &span, &error))
      return true;
    for (size_t i = 0; i < length; i++)
      if (bytes[i] != 0 && (bytes[i] != 0xff || at + i >= table_end))
        return true;
    at += length;
  }
  return false;
}

/* Between the table and the first block other programs keep things of their own; no block is moved there, nor
 * the trailer. With nothing but zeros it is where blocks were. */
static uint64_t find_floor(const VdVhdLayer *self, const VdReader *reader, const VdVhdBatUse *use,
                           uint64_t trailer)
{
  uint64_t end = end_of_structures(self), first = use->allocated > 0 ? use->lowest : trailer;

  if (first < end)
    return end;
  first = first < end + FOREIGN_TABLE ? first : end + FOREIGN_TABLE;
  return use->allocated > 0 && first - end > VD_VHD_ALIGNMENT && !holds_something(reader, end, first) ? end
                                                                                                      : first;
}

void vd_vhd_space_init(VdVhdLayer *self, const VdReader *reader, const VdVhdFooters *footers,
                       const VdVhdBatUse *use)
{
  VdVhdSpace *space = &self->space;
  uint64_t trailer = footers->space_end;
  uint64_t first = use->allocated > 0 ? use->lowest : trailer;
  uint64_t blocks;

  space->aligned = (first + self->shape.bitmap_length) % VD_VHD_ALIGNMENT == 0;
  if (use->allocated == 0 && footers->trailer == VD_VHD_TRAILER_MISSING)
    space->aligned = true;
  space->floor = find_floor(self, reader, use, trailer);
  space->trailer = trailer;
  space->next = vd_vhd_space_position(self, trailer);
  space->stale = trailer;
  blocks = VD_VHD_GROWTH / vd_vhd_space_stride(self);
  blocks = blocks < VD_VHD_GROWTH_BLOCKS ? blocks : VD_VHD_GROWTH_BLOCKS;
  space->growth = blocks > 0 ? (unsigned)blocks : 1;
}

uint64_t vd_vhd_space_end(const VdVhdLayer *self)
{
  uint64_t end = self->space.floor;

  for (uint32_t block = 0; block < self->shape.blocks; block++) {
    uint32_t sector = vd_vhd_bat_entry(self->table, block);
    uint64_t block_end = vd_vhd_block_offset(sector) + self->shape.bitmap_length + self->shape.block_size;

    if (sector != VD_VHD_BLOCK_NONE && block_end > end)
      end = block_end;
  }
  return vd_vhd_space_position(self, end);
}

static bool refill(VdVhdLayer *self);

static void finish_refill(VdVhdLayer *self, int error)
{
  VdVhdSpace *space = &self->space;

  space->refilling = false;
  space->error = error == -EFBIG || error == -EDQUOT ? -ENOSPC : error;
  space->n_to_fail = error < 0 ? space->n_waiting : 0;
  space->n_waiting = 0;
  vd_waiters_wake(&space->waiters);
  /* Who has failed meanwhile does not ask again. */
  space->n_to_fail = 0;
}

static void add_ready(VdVhdSpace *space, uint64_t place)
{
  space->ready[(space->first_ready + space->n_ready++) % VD_VHD_READY] = place;
}

/* All that was being prepared is durable. */
static void on_prepared(VdVhdLayer *self, int result)
{
  VdVhdSpace *space = &self->space;

  if (result == 0)
    space->stale = 0;
  for (unsigned i = 0; i < space->n_preparing; i++)
    if (result == 0)
      add_ready(space, space->preparing[i]);
    else if (space->recycling)
      vd_vhd_space_free(self, (uint32_t)(space->preparing[i] / VD_VHD_SECTOR));
  if (result == 0 && !space->recycling)
    space->next += space->n_preparing * vd_vhd_space_stride(self);
  finish_refill(self, result);
}

static void on_bitmaps_written(VdVhdLayer *self, int result)
{
  VdIoOp flush = vd_vhd_flush_op();

  if (result < 0)
    on_prepared(self, result);
  else
    vd_vhd_single_run(&self->space.single, self, &flush, on_prepared);
}

static bool next_bitmap(VdVhdLayer *self, unsigned slot, VdIoOp *op)
{
  VdVhdSpace *space = &self->space;

  if (space->cursor == space->n_preparing)
    return false;
  op->kind = VD_IO_WRITE;
  op->offset = space->preparing[space->cursor++];
  op->length = self->shape.bitmap_length;
  op->buffer = self->ones;
  return true;
}

static void write_bitmaps(VdVhdLayer *self, int result)
{
  VdVhdSpace *space = &self->space;

  if (result < 0 || self->type == VD_VHD_DIFFERENCING) {
    on_bitmaps_written(self, result);
    return;
  }
  space->cursor = 0;
  space->pump.next = next_bitmap;
  space->pump.landed = NULL;
  space->pump.then = on_bitmaps_written;
  vd_vhd_pump_run(&space->pump, self);
}

/* What is being prepared reads as zeros but for an old trailer. */
static void clear_trailer(VdVhdLayer *self, int result)
{
  VdVhdSpace *space = &self->space;
  VdIoOp zeros = {
      .kind = VD_IO_WRITE, .offset = space->stale, .length = VD_VHD_SECTOR, .buffer = self->zeros};

  if (result == 0 && space->stale != 0 && space->stale < space->trailer)
    vd_vhd_single_run(&space->single, self, &zeros, write_bitmaps);
  else
    write_bitmaps(self, result);
}

static bool next_hole(VdVhdLayer *self, unsigned slot, VdIoOp *op)
{
  VdVhdSpace *space = &self->space;

  if (space->cursor == space->n_preparing)
    return false;
  op->kind = VD_IO_PUNCH;
  op->offset = space->preparing[space->cursor++];
  op->length = (uint64_t)self->shape.bitmap_length + self->shape.block_size;
  return true;
}

/* One that does not become a hole is lost. */
static int on_hole_landed(VdVhdLayer *self, unsigned slot, const VdIoOp *op, int result)
{
  VdVhdSpace *space = &self->space;

  for (unsigned i = 0; result < 0 && i < space->n_preparing; i++)
    if (space->preparing[i] == op->offset)
      space->preparing[i] = 0;
  return 0;
}

static void on_holes_made(VdVhdLayer *self, int result)
{
  VdVhdSpace *space = &self->space;
  unsigned n = 0;

  for (unsigned i = 0; i < space->n_preparing; i++)
    if (space->preparing[i] != 0)
      space->preparing[n++] = space->preparing[i];
  space->n_preparing = n;
  if (n > 0)
    clear_trailer(self, 0);
  else if (!refill(self))
    finish_refill(self, -ENOSPC);
}

static void prepare(VdVhdLayer *self)
{
  VdVhdSpace *space = &self->space;

  space->changed = true;
  if (!space->recycling) {
    clear_trailer(self, 0);
    return;
  }
  space->cursor = 0;
  space->pump.next = next_hole;
  space->pump.landed = on_hole_landed;
  space->pump.then = on_holes_made;
  vd_vhd_pump_run(&space->pump, self);
}

/* Places behind one another, from the first that was never handed out. */
static void choose_fresh(VdVhdLayer *self, unsigned count)
{
  VdVhdSpace *space = &self->space;

  space->n_preparing = count;
  for (unsigned i = 0; i < count; i++)
    space->preparing[i] = space->next + i * vd_vhd_space_stride(self);
}

static void on_grown(VdVhdLayer *self, int result)
{
  VdVhdSpace *space = &self->space;

  if (result < 0) {
    finish_refill(self, result);
    return;
  }
  space->stale = space->trailer;
  space->trailer = space->new_trailer;
  vd_pages_set_size(self->pages, self->base.file, space->trailer);
  prepare(self);
}

static void on_trailer_written(VdVhdLayer *self, int result)
{
  VdIoOp flush = vd_vhd_flush_op();

  if (result < 0)
    on_grown(self, result);
  else
    vd_vhd_single_run(&self->space.single, self, &flush, on_grown);
}

static void grow(VdVhdLayer *self)
{
  VdVhdSpace *space = &self->space;
  VdIoOp op = {.kind = VD_IO_WRITE, .length = VD_VHD_SECTOR, .buffer = self->footer};

  space->new_trailer = space->next + space->n_preparing * vd_vhd_space_stride(self);
  op.offset = space->new_trailer;
  space->changed = true;
  vd_vhd_single_run(&space->single, self, &op, on_trailer_written);
}

/* Blocks from the next place on whose sector the table can name. */
static unsigned nameable(const VdVhdLayer *self, unsigned most)
{
  uint64_t limit = vd_vhd_block_offset(VD_VHD_BLOCK_NONE);
  unsigned n = 0;

  while (n < most && self->space.next + n * vd_vhd_space_stride(self) < limit)
    n++;
  return n;
}

static void choose_freed(VdVhdSpace *space)
{
  space->n_preparing = 0;
  while (space->n_freed > 0 && space->n_preparing < space->growth)
    space->preparing[space->n_preparing++] = vd_vhd_block_offset(space->freed[--space->n_freed]);
}

/* Given back in this session first, then what is before the trailer, then the file grows. False: there is no
 * more. */
static bool refill(VdVhdLayer *self)
{
  VdVhdSpace *space = &self->space;
  uint64_t room = space->trailer > space->next ? space->trailer - space->next : 0;
  unsigned count = nameable(self, space->growth);

  if (space->n_freed == 0 && count == 0)
    return false;
  space->recycling = space->n_freed > 0;
  if (space->recycling)
    choose_freed(space);
  else
    choose_fresh(self, count);
  space->refilling = true;
  if (space->recycling || room >= count * vd_vhd_space_stride(self))
    prepare(self);
  else
    grow(self);
  return true;
}

VdStep vd_vhd_space_take(VdVhdLayer *self, uint64_t *ret_place, VdWaiter *waiter, int *ret_error)
{
  VdVhdSpace *space = &self->space;

  if (space->n_ready > 0) {
    *ret_place = space->ready[space->first_ready];
    space->first_ready = (space->first_ready + 1) % VD_VHD_READY;
    space->n_ready--;
    if (space->n_ready < space->growth / LOW_MARK && !space->refilling)
      refill(self);
    return VD_STEP_DONE;
  }
  *ret_error = space->error;
  if (space->n_to_fail > 0) {
    space->n_to_fail--;
    return VD_STEP_FAILED;
  }
  if (!space->refilling && !refill(self)) {
    *ret_error = -ENOSPC;
    return VD_STEP_FAILED;
  }
  space->n_waiting++;
  vd_waiters_add(&space->waiters, waiter);
  return VD_STEP_WAIT;
}

void vd_vhd_space_free(VdVhdLayer *self, uint32_t sector)
{
  VdVhdSpace *space = &self->space;

  if (space->n_freed < space->max_freed)
    space->freed[space->n_freed++] = sector;
}
