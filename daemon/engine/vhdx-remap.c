/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making a VHDX smaller (MS-VHDX 2.5): which entries of the BAT have space, free places in front of them, and
 * entries that change place or state. Pieces are entries of the BAT. An old place is free when the entry of
 * the log that leaves it is durable; what was there becomes a hole if nothing else came in its place.
 *
 * Blocks of sector bitmaps are copied like any other: a session that makes an image smaller changes no bits,
 * so what the file holds of them is their newest content.
 */
#include "engine/vhdx-layer.h"

#include <errno.h>

static void start_entry(VdVhdxLayer *self);
static void punch(VdVhdxLayer *self);

static bool is_bitmap(const VdVhdxLayer *self, uint64_t index)
{
  return (index + 1) % (self->vhdx.shape.chunk_ratio + 1) == 0;
}

uint64_t vd_vhdx_count_pieces(const VdLayer *base)
{
  return ((const VdVhdxLayer *)(const void *)base)->vhdx.shape.entries;
}

uint64_t vd_vhdx_piece_of(const VdLayer *base, uint64_t block)
{
  return vd_vhdx_bat_payload_index(&((const VdVhdxLayer *)(const void *)base)->vhdx.shape, block);
}

/* Bytes that an entry has of the file. What is no longer used may keep a block's space. */
static uint64_t space_of(const VdVhdxLayer *self, uint64_t index, uint64_t entry)
{
  if (vd_vhdx_bat_offset(entry) < VD_VHDX_MIB)
    return 0;
  switch (vd_vhdx_bat_state(entry)) {
  case VD_VHDX_FULLY_PRESENT:
    return is_bitmap(self, index) ? VD_VHDX_BITMAP_BLOCK : self->base.block_size;
  case VD_VHDX_UNDEFINED:
  case VD_VHDX_UNMAPPED:
  case VD_VHDX_PARTIALLY_PRESENT:
    return is_bitmap(self, index) ? 0 : self->base.block_size;
  default:
    return 0;
  }
}

VdStep vd_vhdx_piece(VdLayer *base, uint64_t number, VdPiece *ret_piece, VdWaiter *waiter, int *ret_error)
{
  VdVhdxLayer *self = vd_vhdx_layer(base);
  uint64_t entry;
  VdStep step = vd_vhdx_map_entry(self, number, &entry, waiter, ret_error);

  if (step == VD_STEP_DONE)
    *ret_piece = (VdPiece){.offset = vd_vhdx_bat_offset(entry), .length = space_of(self, number, entry)};
  return step;
}

bool vd_vhdx_take_place(VdLayer *base, const VdPiece *piece, uint64_t *ret_offset)
{
  return vd_vhdx_space_take_lowest(vd_vhdx_layer(base), piece->offset, piece->length, ret_offset);
}

void vd_vhdx_free_place(VdLayer *base, uint64_t offset, uint64_t length)
{
  vd_vhdx_space_give(vd_vhdx_layer(base), offset, length);
}

static void finish(VdVhdxLayer *self, int result)
{
  vd_vhdx_images_reset(self);
  vd_vhdx_layer_later(self, self->remapping.done, self->remapping.user, result);
}

static void give_back(VdVhdxLayer *self)
{
  VdVhdxRemapping *remapping = &self->remapping;

  for (; remapping->first < remapping->next; remapping->first++) {
    const VdRemap *remap = &remapping->list[remapping->first];

    vd_pages_forget(self->pages, self->base.file, remap->to,
                    remap->kind == VD_RUN_HERE ? remap->from.length : 0);
    vd_vhdx_space_give(self, remap->from.offset, remap->from.length);
  }
  start_entry(self);
}

static void on_punched(VdIoOp *op, int result)
{
  VdVhdxLayer *self = op->user;

  /* The space is free all the same. */
  if (result == -EOPNOTSUPP)
    self->space.can_punch = false;
  if (result < 0)
    give_back(self);
  else
    punch(self);
}

/* Of those that are gone the space goes back to the host; what was moved lies behind what will be cut. */
static void punch(VdVhdxLayer *self)
{
  VdVhdxRemapping *remapping = &self->remapping;
  VdPiece hole = {0};

  for (; remapping->punched < remapping->next; remapping->punched++) {
    const VdRemap *remap = &remapping->list[remapping->punched];

    if (remap->kind == VD_RUN_HERE || remap->from.length == 0)
      continue;
    if (hole.length > 0 && hole.offset + hole.length != remap->from.offset)
      break;
    if (hole.length == 0)
      hole.offset = remap->from.offset;
    hole.length += remap->from.length;
  }
  if (hole.length == 0) {
    give_back(self);
    return;
  }
  remapping->op = (VdIoOp){.kind = VD_IO_PUNCH,
                           .file = self->base.file,
                           .offset = hole.offset,
                           .length = hole.length,
                           .done = on_punched,
                           .user = self};
  vd_io_submit(self->base.io, &remapping->op);
}

static void on_durable(VdVhdxLayer *self, int result)
{
  if (result < 0)
    finish(self, result);
  else if (self->space.can_punch)
    punch(self);
  else
    give_back(self);
}

/* As when blocks become zeros (vhdx-zero.c). */
static void on_put_back(VdVhdxLayer *self, int result)
{
  if (result < 0)
    self->session.phase = VD_VHDX_CLOSED;
  finish(self, self->remapping.error);
}

/* An entry whose writing failed may stand in the log all the same: one without effect takes its place. */
static void on_written(VdVhdxLayer *self, int result)
{
  self->remapping.error = result;
  if (result < 0 && self->journal.result < 0)
    vd_vhdx_journal_write_tail(self, on_put_back);
  else if (result < 0)
    finish(self, result);
  else
    vd_vhdx_flush(self, &self->remapping.flush, on_durable);
}

static void set_entry(VdVhdxImage *image, uint64_t at, const VdRemap *remap)
{
  unsigned state = vd_vhdx_bat_state(vd_vhdx_load(image->data, at));

  switch (remap->kind) {
  case VD_RUN_HERE:
    vd_vhdx_images_set_entry(image, at, remap->to, state);
    break;
  case VD_RUN_ZERO:
    vd_vhdx_images_set_entry(image, at, 0, VD_VHDX_ZERO);
    break;
  case VD_RUN_PARENT:
    vd_vhdx_images_set_entry(image, at, 0, VD_VHDX_NOT_PRESENT);
    break;
  }
}

static void gather(VdVhdxLayer *self)
{
  VdVhdxRemapping *remapping = &self->remapping;

  while (remapping->next < remapping->n) {
    const VdRemap *remap = &remapping->list[remapping->next];
    VdVhdxImage *image;
    uint64_t at, page = vd_vhdx_map_bat_page(self, remap->piece, &at);
    int error = 0;
    VdStep step;

    if (self->images.n == VD_VHDX_ENTRY_PAGES && !vd_vhdx_images_find(self, page))
      break;
    step = vd_vhdx_images_get(self, page, false, &image, &remapping->waiter, &error);
    if (step == VD_STEP_FAILED)
      finish(self, error);
    if (step != VD_STEP_DONE)
      return;
    set_entry(image, at, remap);
    remapping->next++;
  }
  if (self->images.n > 0)
    vd_vhdx_journal_write(self, &self->images, on_written);
  else
    finish(self, 0);
}

static void start_entry(VdVhdxLayer *self)
{
  vd_vhdx_images_reset(self);
  gather(self);
}

static void on_page(VdWaiter *waiter)
{
  gather((VdVhdxLayer *)(void *)((char *)waiter - offsetof(VdVhdxLayer, remapping.waiter)));
}

void vd_vhdx_remap(VdLayer *base, const VdRemap *list, unsigned n, void (*done)(void *user, int result),
                   void *user)
{
  VdVhdxLayer *self = vd_vhdx_layer(base);
  VdVhdxRemapping *remapping = &self->remapping;

  *remapping = (VdVhdxRemapping){.list = list, .n = n, .waiter.wake = on_page, .done = done, .user = user};
  if (self->session.phase != VD_VHDX_BEGUN)
    finish(self, -EIO);
  else
    start_entry(self);
}
