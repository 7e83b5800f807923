/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whole blocks of a dynamic VHD become zeros: their entries of the table go, durably, and only then their
 * data; until the holes are there nobody gets the space. Some sectors of the table at a time.
 */
#include "engine/vhd-layer.h"

#include <errno.h>
#include <string.h>

#define ENTRIES (VD_VHD_SECTOR / 4)

static void next_wave(VdVhdLayer *self);

static void finish(VdVhdLayer *self, int error)
{
  self->zero.done(self->zero.user, error);
}

static uint8_t *staged_bytes(VdVhdLayer *self, unsigned i)
{
  return &self->staging[(size_t)i * VD_VHD_SECTOR];
}

/* Blocks [first, end) of a sector of the table without their entries; false: there were none. */
static bool stage(VdVhdLayer *self, uint32_t sector, uint32_t first, uint32_t end)
{
  VdVhdZero *zero = &self->zero;
  uint8_t *bytes = staged_bytes(self, zero->n_staged);
  bool any = false;

  memcpy(bytes, &self->table[(size_t)sector * VD_VHD_SECTOR], VD_VHD_SECTOR);
  for (uint32_t block = first; block < end; block++) {
    any = any || vd_vhd_bat_entry(self->table, block) != VD_VHD_BLOCK_NONE;
    vd_vhd_bat_set_entry(bytes, block % ENTRIES, VD_VHD_BLOCK_NONE);
  }
  if (any)
    zero->staged[zero->n_staged++] = sector;
  return any;
}

/* Gives the space back whose entry is durably gone. */
static bool next_hole(VdVhdLayer *self, unsigned slot, VdIoOp *op)
{
  VdVhdZero *zero = &self->zero;

  while (zero->wave_block < zero->wave_end) {
    uint32_t block = zero->wave_block++;
    uint32_t sector = vd_vhd_bat_entry(self->table, block);

    vd_vhd_bat_set_entry(self->table, block, VD_VHD_BLOCK_NONE);
    if (sector == VD_VHD_BLOCK_NONE || zero->no_punch)
      continue;
    op->kind = VD_IO_PUNCH;
    op->offset = vd_vhd_block_offset(sector) + self->shape.bitmap_length;
    op->length = self->shape.block_size;
    return true;
  }
  return false;
}

/* Without holes there is no use in giving space back: it would not read as zeros. */
static int on_hole_landed(VdVhdLayer *self, unsigned slot, const VdIoOp *op, int result)
{
  if (result == 0)
    vd_vhd_space_free(self, (uint32_t)((op->offset - self->shape.bitmap_length) / VD_VHD_SECTOR));
  else if (result == -EOPNOTSUPP)
    self->zero.no_punch = true;
  return 0;
}

static void on_holes_made(VdVhdLayer *self, int result)
{
  next_wave(self);
}

static void on_put_back(VdVhdLayer *self, int result)
{
  finish(self, self->zero.error);
}

static bool next_put_back(VdVhdLayer *self, unsigned slot, VdIoOp *op)
{
  VdVhdZero *zero = &self->zero;

  if (zero->next_staged == zero->n_staged)
    return false;
  vd_vhd_table_fill(self, zero->staged[zero->next_staged++], op);
  return true;
}

static int on_put_back_landed(VdVhdLayer *self, unsigned slot, const VdIoOp *op, int result)
{
  vd_vhd_table_landed(self, op, result);
  return 0;
}

static void put_back(VdVhdLayer *self, int error)
{
  VdVhdZero *zero = &self->zero;

  zero->error = error;
  zero->next_staged = 0;
  self->pump.next = next_put_back;
  self->pump.landed = on_put_back_landed;
  self->pump.then = on_put_back;
  vd_vhd_pump_run(&self->pump, self);
}

static void on_table_durable(VdVhdLayer *self, int result)
{
  if (result < 0) {
    put_back(self, result);
    return;
  }
  self->space.changed = true;
  self->pump.next = next_hole;
  self->pump.landed = on_hole_landed;
  self->pump.then = on_holes_made;
  vd_vhd_pump_run(&self->pump, self);
}

static void on_table_written(VdVhdLayer *self, int result)
{
  VdIoOp flush = vd_vhd_flush_op();

  if (result < 0)
    put_back(self, result);
  else
    vd_vhd_single_run(&self->single, self, &flush, on_table_durable);
}

static bool next_staged(VdVhdLayer *self, unsigned slot, VdIoOp *op)
{
  VdVhdZero *zero = &self->zero;
  unsigned i = zero->next_staged;

  if (i == zero->n_staged)
    return false;
  zero->next_staged++;
  vd_vhd_table_fill(self, zero->staged[i], op);
  op->buffer = staged_bytes(self, i);
  return true;
}

static int on_staged_landed(VdVhdLayer *self, unsigned slot, const VdIoOp *op, int result)
{
  vd_vhd_table_landed(self, op, result);
  return result;
}

/* As many sectors of the table as can be staged. */
static void next_wave(VdVhdLayer *self)
{
  VdVhdZero *zero = &self->zero;

  zero->wave_block = zero->cursor;
  zero->n_staged = zero->next_staged = 0;
  while (zero->cursor < zero->end && zero->n_staged < VD_VHD_PUMP) {
    uint32_t sector = vd_vhd_table_sector(zero->cursor);
    uint32_t last = (sector + 1) * ENTRIES;
    uint32_t end = last < zero->end ? last : zero->end;

    stage(self, sector, zero->cursor, end);
    zero->cursor = end;
  }
  zero->wave_end = zero->cursor;
  if (zero->n_staged == 0) {
    finish(self, 0);
    return;
  }
  self->pump.next = next_staged;
  self->pump.landed = on_staged_landed;
  self->pump.then = on_table_written;
  vd_vhd_pump_run(&self->pump, self);
}

static void on_nothing(VdIoTask *task)
{
  VdVhdZero *zero = (VdVhdZero *)((char *)task - offsetof(VdVhdZero, task));

  zero->done(zero->user, 0);
}

static bool has_blocks(const VdVhdLayer *self, uint64_t first, uint64_t count)
{
  for (uint64_t block = first; block < first + count; block++)
    if (vd_vhd_bat_entry(self->table, (uint32_t)block) != VD_VHD_BLOCK_NONE)
      return true;
  return false;
}

void vd_vhd_zero(VdLayer *layer, uint64_t first, uint64_t count, void (*done)(void *user, int result),
                 void *user)
{
  VdVhdLayer *self = (VdVhdLayer *)layer;
  VdVhdZero *zero = &self->zero;

  zero->cursor = (uint32_t)first;
  zero->end = (uint32_t)(first + count);
  zero->error = 0;
  zero->done = done;
  zero->user = user;
  if (has_blocks(self, first, count)) {
    next_wave(self);
    return;
  }
  zero->task.run = on_nothing;
  vd_io_defer(layer->io, &zero->task);
}
