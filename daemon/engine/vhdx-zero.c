/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whole blocks become zeros and give their space back (MS-VHDX 2.5.1.1, state ZERO): logged, flushed, and
 * only then punched and free for others. Of a child too: NOT_PRESENT would show the parent.
 */
#include "engine/vhdx-layer.h"

#include <errno.h>

static void start_entry(VdVhdxLayer *self);
static void punch(VdVhdxLayer *self);

static void finish(VdVhdxLayer *self, int result)
{
  vd_vhdx_images_reset(self);
  vd_vhdx_layer_later(self, self->zeroing.done, self->zeroing.user, result);
}

static bool reads_as_zeros(const VdVhdxLayer *self, uint64_t entry)
{
  switch (vd_vhdx_bat_state(entry)) {
  case VD_VHDX_NOT_PRESENT:
    return !self->base.has_parent;
  case VD_VHDX_ZERO:
    return true;
  default:
    return false;
  }
}

static bool has_space(uint64_t entry)
{
  unsigned state = vd_vhdx_bat_state(entry);

  return state != VD_VHDX_NOT_PRESENT && state != VD_VHDX_ZERO && vd_vhdx_bat_offset(entry) >= VD_VHDX_MIB;
}

/* What the BAT says of a block, with the changes of this entry: who waited for a page of them would wait for
 * this. */
static VdStep get_entry(VdVhdxLayer *self, uint64_t index, uint64_t *ret_entry, int *ret_error)
{
  uint64_t at;
  const VdVhdxImage *image = vd_vhdx_images_find(self, vd_vhdx_map_bat_page(self, index, &at));

  if (!image)
    return vd_vhdx_map_entry(self, index, ret_entry, &self->zeroing.waiter, ret_error);
  *ret_entry = vd_vhdx_load(image->data, at);
  return VD_STEP_DONE;
}

/* WAIT too when no more fits into the entry: *ret_full. */
static VdStep zero_block(VdVhdxLayer *self, uint64_t block, bool *ret_full, int *ret_error)
{
  VdVhdxZeroing *zeroing = &self->zeroing;
  uint64_t index = vd_vhdx_bat_payload_index(&self->vhdx.shape, block);
  uint64_t entry, at;
  VdVhdxImage *image;
  VdStep step = get_entry(self, index, &entry, ret_error);
  uint64_t page = vd_vhdx_map_bat_page(self, index, &at);

  if (step != VD_STEP_DONE || reads_as_zeros(self, entry))
    return step;
  *ret_full = zeroing->n_freed == VD_VHDX_FREED || self->images.n == VD_VHDX_ENTRY_PAGES;
  if (*ret_full)
    return VD_STEP_WAIT;
  step = vd_vhdx_images_get(self, page, false, &image, &zeroing->waiter, ret_error);
  if (step != VD_STEP_DONE)
    return step;
  vd_vhdx_images_set_entry(image, at, 0, VD_VHDX_ZERO);
  if (has_space(entry))
    zeroing->freed[zeroing->n_freed++] = vd_vhdx_bat_offset(entry);
  return VD_STEP_DONE;
}

static void give_back(VdVhdxLayer *self)
{
  for (unsigned i = 0; i < self->zeroing.n_freed; i++)
    vd_vhdx_space_give(self, self->zeroing.freed[i], self->base.block_size);
  start_entry(self);
}

static void on_punched(VdIoOp *op, int result)
{
  VdVhdxLayer *self = op->user;

  /* The space is free all the same; where the host cannot make holes it waits for the next opening. */
  if (result == -EOPNOTSUPP)
    self->space.can_punch = false;
  if (result < 0 || self->zeroing.punched == self->zeroing.n_freed)
    give_back(self);
  else
    punch(self);
}

static void punch(VdVhdxLayer *self)
{
  VdVhdxZeroing *zeroing = &self->zeroing;
  uint64_t offset = zeroing->freed[zeroing->punched];
  uint64_t length = 0;

  while (zeroing->punched < zeroing->n_freed && zeroing->freed[zeroing->punched] == offset + length) {
    length += self->base.block_size;
    zeroing->punched++;
  }
  zeroing->op = (VdIoOp){.kind = VD_IO_PUNCH,
                         .file = self->base.file,
                         .offset = offset,
                         .length = length,
                         .done = on_punched,
                         .user = self};
  vd_io_submit(self->base.io, &zeroing->op);
}

static void on_durable(VdVhdxLayer *self, int result)
{
  self->zeroing.punched = 0;
  if (result < 0)
    finish(self, result);
  else if (self->zeroing.n_freed > 0 && self->space.can_punch)
    punch(self);
  else
    give_back(self);
}

/* With the old entry perhaps in the log, and a new one in its place that is not there either, nothing may be
 * written any more until the image is opened anew: it could be lost with its block. */
static void on_put_back(VdVhdxLayer *self, int result)
{
  if (result < 0)
    self->session.phase = VD_VHDX_CLOSED;
  finish(self, self->zeroing.error);
}

/* An entry whose writing failed may stand in the log all the same. Its blocks go on being written in place,
 * without any further entry, and a power cut would take them away: one without effect takes its place. (If
 * there was no room in the log nothing was written.) */
static void on_written(VdVhdxLayer *self, int result)
{
  self->zeroing.error = result;
  if (result < 0 && self->journal.result < 0)
    vd_vhdx_journal_write_tail(self, on_put_back);
  else if (result < 0)
    finish(self, result);
  else
    vd_vhdx_flush(self, &self->zeroing.flush, on_durable);
}

static void gather(VdVhdxLayer *self)
{
  VdVhdxZeroing *zeroing = &self->zeroing;
  bool full = false;
  int error = 0;

  while (zeroing->next < zeroing->end) {
    VdStep step = zero_block(self, zeroing->next, &full, &error);

    if (full)
      break;
    if (step == VD_STEP_FAILED)
      finish(self, error);
    if (step != VD_STEP_DONE)
      return;
    zeroing->next++;
  }
  if (self->images.n > 0)
    vd_vhdx_journal_write(self, &self->images, on_written);
  else
    finish(self, 0);
}

static void start_entry(VdVhdxLayer *self)
{
  vd_vhdx_images_reset(self);
  self->zeroing.n_freed = 0;
  gather(self);
}

static void on_page(VdWaiter *waiter)
{
  gather((VdVhdxLayer *)(void *)((char *)waiter - offsetof(VdVhdxLayer, zeroing.waiter)));
}

void vd_vhdx_zero(VdLayer *base, uint64_t first, uint64_t count, void (*done)(void *user, int result),
                  void *user)
{
  VdVhdxLayer *self = vd_vhdx_layer(base);
  VdVhdxZeroing *zeroing = &self->zeroing;

  zeroing->next = first;
  zeroing->end = first + count;
  zeroing->waiter.wake = on_page;
  zeroing->done = done;
  zeroing->user = user;
  if (self->session.phase != VD_VHDX_BEGUN)
    finish(self, -EIO);
  else
    start_entry(self);
}
