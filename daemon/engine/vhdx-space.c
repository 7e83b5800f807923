/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The space of a VHDX that is written: 1 MiB units. New space comes from behind everything that was ever used
 * (the file grows in steps), where the host gives zeros; or from holes, once the host has made them zeros too
 * (PUNCH). What it gives out reads as zeros, always: a block must not show what another one held.
 */
#include "engine/vhdx-layer.h"

#include <errno.h>
#include <stdlib.h>

/* The file grows by this, or by a block if that is more; so much of a hole is punched at a time. Bytes. */
#define STEP (UINT64_C(32) << 20)
/* More space than the disk needs, for what is given up after errors. MiB. */
#define SPARE 4096

static bool used(const VdVhdxSpace *space, uint64_t unit)
{
  return (space->map[unit / 8] >> (unit % 8) & 1) != 0;
}

/* bytes; what lies outside of the map is not remembered. */
static void mark(VdVhdxSpace *space, uint64_t offset, uint64_t length, bool in_use)
{
  uint64_t end = (offset + length) / VD_VHDX_MIB;

  for (uint64_t unit = offset / VD_VHDX_MIB; unit < end && unit < space->map_length; unit++) {
    if (in_use)
      space->map[unit / 8] |= (uint8_t)(1U << (unit % 8));
    else
      space->map[unit / 8] &= (uint8_t) ~(1U << (unit % 8));
  }
}

uint64_t vd_vhdx_space_end(const VdVhdxLayer *self)
{
  const VdVhdxSpace *space = &self->space;
  uint64_t unit = space->frontier / VD_VHDX_MIB;

  if (unit > space->map_length)
    return space->frontier;
  while (unit > 0 && !used(space, unit - 1))
    unit -= unit % 8 == 0 && space->map[unit / 8 - 1] == 0 ? 8 : 1;
  return unit * VD_VHDX_MIB > space->floor ? unit * VD_VHDX_MIB : space->floor;
}

static uint64_t most_units(const VdVhdxLayer *self, uint64_t file_units)
{
  const VdVhdxBatShape *shape = &self->vhdx.shape;
  uint64_t units = file_units + shape->payload_blocks * (self->base.block_size / VD_VHDX_MIB) +
                   shape->bitmap_blocks + SPARE;

  return units < VD_VHDX_MAX_FILE_SIZE / VD_VHDX_MIB ? units : VD_VHDX_MAX_FILE_SIZE / VD_VHDX_MIB;
}

static uint64_t count_holes(const VdVhdxSpace *space)
{
  uint64_t end = space->frontier / VD_VHDX_MIB;
  uint64_t n = 0;

  for (uint64_t unit = 0; unit < end; unit += 8)
    if (end - unit >= 8)
      n += 8 - (unsigned)__builtin_popcount(space->map[unit / 8]);
    else
      for (uint64_t i = unit; i < end; i++)
        n += !used(space, i);
  return n;
}

bool vd_vhdx_space_init(VdVhdxLayer *self, VdVhdxOccupancy *occupancy)
{
  VdVhdxSpace *space = &self->space;
  uint64_t file_units = vd_vhdx_round_up(self->file_size, VD_VHDX_MIB) / VD_VHDX_MIB;

  if (occupancy->length > file_units)
    file_units = occupancy->length;
  space->map_length = most_units(self, file_units);
  if (space->map_length < file_units)
    return false;
  space->map = calloc(1, (size_t)(space->map_length + 7) / 8);
  if (!space->map)
    return false;
  memcpy(space->map, occupancy->bits, (size_t)(occupancy->length + 7) / 8);
  space->frontier = file_units * VD_VHDX_MIB;
  /* Of a fixed disk the space stays reserved on the host. */
  space->floor = self->vhdx.leave_blocks_allocated && !self->base.has_parent
                     ? vd_vhdx_round_up(self->file_size, VD_VHDX_MIB)
                     : 0;
  space->frontier = vd_vhdx_space_end(self);
  space->holes = count_holes(space);
  space->can_punch = true;
  return true;
}

void vd_vhdx_space_clear(VdVhdxLayer *self)
{
  free(self->space.map);
  self->space.map = NULL;
}

void vd_vhdx_space_give(VdVhdxLayer *self, uint64_t offset, uint64_t length)
{
  VdVhdxSpace *space = &self->space;

  if (length == 0 || (offset + length) / VD_VHDX_MIB > space->map_length)
    return;
  mark(space, offset, length, false);
  space->holes += length / VD_VHDX_MIB;
  space->none_of = 0;
  for (unsigned i = 0; i < 2; i++)
    if (offset / VD_VHDX_MIB < space->lowest[i])
      space->lowest[i] = 0;
}

static void wake(VdVhdxLayer *self, int error)
{
  VdVhdxSpace *space = &self->space;

  space->error = error;
  space->error_shares = error < 0 ? space->n_waiting : 0;
  space->n_waiting = 0;
  vd_waiters_wake(&space->waiters);
  /* Who has failed meanwhile does not ask again. */
  space->error_shares = 0;
}

static VdStep wait_for_space(VdVhdxSpace *space, VdWaiter *waiter)
{
  vd_waiters_add(&space->waiters, waiter);
  space->n_waiting++;
  return VD_STEP_WAIT;
}

static void on_punched(VdIoOp *op, int result)
{
  VdVhdxLayer *self = op->user;
  VdVhdxSpace *space = &self->space;

  space->punching = false;
  if (result == 0) {
    space->ready = op->offset;
    space->ready_end = op->offset + op->length;
  } else if (result == -EOPNOTSUPP) {
    /* The holes are there when the image is opened the next time. */
    space->can_punch = false;
  } else {
    /* For want of space, perhaps: it is tried again when something more was given back. */
    vd_vhdx_space_give(self, op->offset, op->length);
    space->none_of = 1;
  }
  wake(self, 0);
}

/* Units; behind it there are no holes, or none that are known. */
static uint64_t holes_end(const VdVhdxSpace *space)
{
  uint64_t end = space->frontier / VD_VHDX_MIB;

  return end < space->map_length ? end : space->map_length;
}

/* Units of the hole at unit, at most most. */
static uint64_t hole_length(const VdVhdxSpace *space, uint64_t unit, uint64_t most)
{
  uint64_t end = holes_end(space);
  uint64_t n = 0;

  while (n < most && unit + n < end && !used(space, unit + n))
    n++;
  return n;
}

static bool find_hole(VdVhdxSpace *space, uint64_t from, uint64_t to, uint64_t least, uint64_t *ret_unit)
{
  uint64_t unit = from;

  while (unit < to) {
    uint64_t n;

    if (unit % 8 == 0 && space->map[unit / 8] == 0xFF) {
      unit += 8;
      continue;
    }
    n = hole_length(space, unit, least);
    if (n >= least) {
      *ret_unit = unit;
      return true;
    }
    unit += n + 1;
  }
  return false;
}

bool vd_vhdx_space_take_lowest(VdVhdxLayer *self, uint64_t before, uint64_t length, uint64_t *ret_offset)
{
  VdVhdxSpace *space = &self->space;
  uint64_t end = holes_end(space), least = length / VD_VHDX_MIB, unit;
  uint64_t *lowest = &space->lowest[least > 1];

  if (before / VD_VHDX_MIB < end)
    end = before / VD_VHDX_MIB;
  if (!find_hole(space, *lowest, end, least, &unit))
    return false;
  mark(space, unit * VD_VHDX_MIB, length, true);
  space->holes -= least;
  *lowest = unit + least;
  *ret_offset = unit * VD_VHDX_MIB;
  return true;
}

static bool punch_hole(VdVhdxLayer *self, uint64_t least)
{
  VdVhdxSpace *space = &self->space;
  uint64_t end = holes_end(space);
  uint64_t most = least > STEP / VD_VHDX_MIB ? least : STEP / VD_VHDX_MIB;
  uint64_t unit, n;

  if (!space->can_punch || space->holes < least || (space->none_of != 0 && least >= space->none_of))
    return false;
  if (!find_hole(space, space->cursor, end, least, &unit) && !find_hole(space, 0, end, least, &unit)) {
    space->none_of = least;
    return false;
  }
  n = hole_length(space, unit, most);
  n -= n % least;
  mark(space, unit * VD_VHDX_MIB, n * VD_VHDX_MIB, true);
  space->holes -= n;
  space->cursor = unit + n;
  space->punching = true;
  space->punch_op = (VdIoOp){.kind = VD_IO_PUNCH,
                             .file = self->base.file,
                             .offset = unit * VD_VHDX_MIB,
                             .length = n * VD_VHDX_MIB,
                             .done = on_punched,
                             .user = self};
  vd_io_submit(self->base.io, &space->punch_op);
  return true;
}

static void submit_growth(VdVhdxLayer *self, uint64_t size);

static void on_grown(VdIoOp *op, int result)
{
  VdVhdxLayer *self = op->user;
  VdVhdxSpace *space = &self->space;
  uint64_t size = op->offset + op->length;

  if (result < 0 && size > space->grow_least) {
    submit_growth(self, space->grow_least);
    return;
  }
  space->growing = false;
  if (result == 0)
    vd_vhdx_layer_resized(self, size);
  wake(self, result);
}

/* One page of zeros at the new end. */
static void submit_growth(VdVhdxLayer *self, uint64_t size)
{
  VdVhdxSpace *space = &self->space;

  memset(self->session.page, 0, VD_VHDX_PAGE);
  space->grow_op = (VdIoOp){.kind = VD_IO_WRITE,
                            .file = self->base.file,
                            .offset = size - VD_VHDX_PAGE,
                            .length = VD_VHDX_PAGE,
                            .buffer = self->session.page,
                            .done = on_grown,
                            .user = self};
  vd_io_submit(self->base.io, &space->grow_op);
}

static VdStep grow(VdVhdxLayer *self, uint64_t length, VdWaiter *waiter, int *ret_error)
{
  VdVhdxSpace *space = &self->space;
  uint64_t step = length > STEP ? length : STEP;
  uint64_t size = space->frontier + step;

  if (space->error_shares > 0) {
    space->error_shares--;
    *ret_error = space->error;
    return VD_STEP_FAILED;
  }
  if (space->frontier + length > VD_VHDX_MAX_FILE_SIZE) {
    *ret_error = -ENOSPC;
    return VD_STEP_FAILED;
  }
  if (size > VD_VHDX_MAX_FILE_SIZE)
    size = VD_VHDX_MAX_FILE_SIZE;
  space->growing = true;
  space->grow_least = space->frontier + length;
  submit_growth(self, size);
  return wait_for_space(space, waiter);
}

static bool take_ready(VdVhdxLayer *self, uint64_t length, uint64_t *ret_offset)
{
  VdVhdxSpace *space = &self->space;

  if (space->ready_end - space->ready < length) {
    vd_vhdx_space_give(self, space->ready, space->ready_end - space->ready);
    space->ready = space->ready_end = 0;
    return false;
  }
  *ret_offset = space->ready;
  space->ready += length;
  return true;
}

VdStep vd_vhdx_space_take(VdVhdxLayer *self, uint64_t length, uint64_t *ret_offset, bool *ret_recycled,
                          VdWaiter *waiter, int *ret_error)
{
  VdVhdxSpace *space = &self->space;

  *ret_recycled = true;
  if (take_ready(self, length, ret_offset))
    return VD_STEP_DONE;
  if (space->punching || punch_hole(self, length / VD_VHDX_MIB))
    return wait_for_space(space, waiter);
  *ret_recycled = false;
  if (space->growing)
    return wait_for_space(space, waiter);
  if (space->frontier + length > self->file_size)
    return grow(self, length, waiter, ret_error);
  *ret_offset = space->frontier;
  space->frontier += length;
  mark(space, *ret_offset, length, true);
  return VD_STEP_DONE;
}

bool vd_vhdx_space_is_busy(const VdVhdxLayer *self)
{
  return self->space.growing || self->space.punching;
}
