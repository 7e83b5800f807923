/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ends of a VHD: its trailer, and the copy in front. An image that is closed has its trailer right behind
 * its last block. One that was not (a power cut, a killed worker, another program that leaves the trailer out
 * while it writes) gets that when it is opened for writing. At each moment one of the two footers is whole.
 */
#include "engine/vhd-layer.h"

/* In this order, each after the one before it. Those that are not due are skipped. */
enum {
  STEP_TABLE, /* sectors that are not known to be in the file as they are in memory */
  STEP_TABLE_FLUSH,
  STEP_FRONT,
  STEP_FRONT_FLUSH,
  STEP_TRAILER,
  STEP_TRAILER_FLUSH,
  STEP_TRUNCATE,
  STEP_TRUNCATE_FLUSH,
  STEP_DONE,
};

static void run_step(VdVhdLayer *self);

static void on_step_done(VdVhdLayer *self, int result)
{
  VdVhdTail *tail = &self->tail;

  if (result < 0) {
    tail->done(tail->user, result);
    return;
  }
  tail->step++;
  run_step(self);
}

static bool next_suspect(VdVhdLayer *self, unsigned slot, VdIoOp *op)
{
  VdVhdTail *tail = &self->tail;

  while (tail->next_sector < self->n_sectors) {
    uint32_t sector = tail->next_sector++;

    if (!vd_vhd_bit(self->suspect, sector))
      continue;
    vd_vhd_table_fill(self, sector, op);
    return true;
  }
  return false;
}

static int on_suspect_landed(VdVhdLayer *self, unsigned slot, const VdIoOp *op, int result)
{
  vd_vhd_table_landed(self, op, result);
  return result;
}

static void write_suspects(VdVhdLayer *self)
{
  self->tail.next_sector = 0;
  self->pump.next = next_suspect;
  self->pump.landed = on_suspect_landed;
  self->pump.then = on_step_done;
  vd_vhd_pump_run(&self->pump, self);
}

/* The next step that is due, from the current one on. The table is flushed in any case: entries that were
 * taken out after an error must be gone before the trailer comes to where their blocks were. */
static unsigned due(const VdVhdLayer *self)
{
  const VdVhdTail *tail = &self->tail;

  if (tail->step == STEP_TABLE && self->n_suspect == 0)
    return STEP_TABLE_FLUSH;
  if (tail->step == STEP_FRONT && !tail->front)
    return STEP_TRAILER;
  return tail->step;
}

static void run_step(VdVhdLayer *self)
{
  VdVhdTail *tail = &self->tail;
  VdIoOp op = vd_vhd_flush_op();

  tail->step = due(self);
  switch (tail->step) {
  case STEP_TABLE:
    write_suspects(self);
    return;
  case STEP_FRONT:
  case STEP_TRAILER:
    op = (VdIoOp){.kind = VD_IO_WRITE, .length = VD_VHD_SECTOR, .buffer = self->footer};
    op.offset = tail->step == STEP_TRAILER ? tail->trailer : 0;
    break;
  case STEP_TRUNCATE:
    op = (VdIoOp){.kind = VD_IO_TRUNCATE, .length = tail->trailer + VD_VHD_SECTOR};
    break;
  case STEP_DONE:
    tail->done(tail->user, 0);
    return;
  default:
    break;
  }
  vd_vhd_single_run(&self->single, self, &op, on_step_done);
}

static void start(VdVhdLayer *self, uint64_t trailer, void (*done)(void *user, int result), void *user)
{
  VdVhdTail *tail = &self->tail;

  tail->step = STEP_TABLE;
  tail->trailer = trailer;
  tail->done = done;
  tail->user = user;
  run_step(self);
}

static void on_nothing(VdIoTask *task)
{
  VdVhdTail *tail = (VdVhdTail *)((char *)task - offsetof(VdVhdTail, task));

  tail->done(tail->user, 0);
}

static void on_refilled(VdWaiter *waiter)
{
  VdVhdTail *tail = (VdVhdTail *)((char *)waiter - offsetof(VdVhdTail, waiter));
  VdVhdLayer *self = (VdVhdLayer *)((char *)tail - offsetof(VdVhdLayer, tail));

  vd_vhd_close(&self->base, tail->done, tail->user);
}

void vd_vhd_close(VdLayer *layer, void (*done)(void *user, int result), void *user)
{
  VdVhdLayer *self = (VdVhdLayer *)layer;
  VdVhdTail *tail = &self->tail;

  if (self->space.refilling) {
    tail->done = done;
    tail->user = user;
    tail->waiter.wake = on_refilled;
    vd_waiters_add(&self->space.waiters, &tail->waiter);
    return;
  }
  if (self->space.changed || self->n_suspect > 0) {
    start(self, vd_vhd_space_end(self), done, user);
    return;
  }
  tail->done = done;
  tail->user = user;
  tail->task.run = on_nothing;
  vd_io_defer(layer->io, &tail->task);
}

typedef struct {
  bool over;
  int result;
} Mending;

static void on_mended(void *user, int result)
{
  Mending *mending = user;

  mending->over = true;
  mending->result = result;
}

/* Where the trailer belongs of an image as it was found. A short one is made whole where it is; one with
 * room for a block before it has that from a session that was cut off. */
static uint64_t right_place(const VdVhdLayer *self, const VdVhdFooters *footers)
{
  uint64_t here = footers->space_end, tight;

  if (self->type == VD_VHD_FIXED)
    return here;
  tight = vd_vhd_space_end(self);
  if (footers->trailer == VD_VHD_TRAILER_MISSING || here % VD_VHD_SECTOR != 0 ||
      here >= tight + vd_vhd_space_stride(self))
    return tight;
  return here;
}

int vd_vhd_tail_mend(VdVhdLayer *self, const VdVhdFooters *footers)
{
  VdIo *io = self->base.io;
  uint64_t place = right_place(self, footers);
  Mending mending = {0};

  if (footers->trailer == VD_VHD_TRAILER_GOOD && !footers->front_stale && place == footers->space_end)
    return 0;
  self->tail.front = footers->front_stale;
  start(self, place, on_mended, &mending);
  while (!mending.over) {
    int error = io->ops->wait(io);

    if (error < 0 && !mending.over)
      return error;
  }
  self->tail.front = false;
  if (mending.result == 0) {
    self->space.trailer = self->space.stale = place;
    self->space.next = vd_vhd_space_position(self, place);
  }
  return mending.result;
}
