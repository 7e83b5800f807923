/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making a VHD smaller: where its blocks are, free places in front of them, and entries of the table that
 * change. A block's sector bitmap goes with it. Some sectors of the table at a time: written, made durable,
 * and only then what they no longer refer to becomes holes. Each sector is written whole or not at all, and
 * both places of a block that was moved hold it until the table is durable.
 */
#include "engine/vhd-layer.h"

#include <stdlib.h>
#include <string.h>

#define ENTRIES (VD_VHD_SECTOR / 4)

static void next_wave(VdVhdLayer *self);

static uint64_t piece_length(const VdVhdLayer *self)
{
  return (uint64_t)self->shape.bitmap_length + self->shape.block_size;
}

uint64_t vd_vhd_count_pieces(const VdLayer *layer)
{
  return ((const VdVhdLayer *)layer)->shape.blocks;
}

uint64_t vd_vhd_piece_of(const VdLayer *layer, uint64_t block)
{
  return block;
}

VdStep vd_vhd_piece(VdLayer *layer, uint64_t number, VdPiece *ret_piece, VdWaiter *waiter, int *ret_error)
{
  VdVhdLayer *self = (VdVhdLayer *)layer;
  uint32_t sector = vd_vhd_bat_entry(self->table, (uint32_t)number);

  *ret_piece = (VdPiece){0};
  if (sector != VD_VHD_BLOCK_NONE)
    *ret_piece = (VdPiece){vd_vhd_block_offset(sector), piece_length(self)};
  return VD_STEP_DONE;
}

static void forget_places(VdVhdRemapping *remapping)
{
  free(remapping->used);
  remapping->used = NULL;
}

/* Where blocks are, in the order of the file. False: no memory, so that nothing can be moved. */
static bool find_places(VdVhdLayer *self)
{
  VdVhdRemapping *remapping = &self->remapping;

  if (remapping->used != NULL)
    return true;
  remapping->used = malloc((size_t)self->shape.blocks * sizeof *remapping->used);
  remapping->n_used = remapping->next_used = 0;
  remapping->place = vd_vhd_space_position(self, self->space.floor);
  if (remapping->used == NULL)
    return false;
  for (uint32_t block = 0; block < self->shape.blocks; block++) {
    uint32_t sector = vd_vhd_bat_entry(self->table, block);

    if (sector != VD_VHD_BLOCK_NONE)
      remapping->used[remapping->n_used++] = sector;
  }
  vd_vhd_sort_sectors(remapping->used, remapping->n_used);
  return true;
}

/* Ascending: what is given out once lies behind what is given out next never. */
bool vd_vhd_take_place(VdLayer *layer, const VdPiece *piece, uint64_t *ret_offset)
{
  VdVhdLayer *self = (VdVhdLayer *)layer;
  VdVhdRemapping *remapping = &self->remapping;
  uint64_t length = piece_length(self);

  if (!find_places(self))
    return false;
  for (; remapping->next_used < remapping->n_used; remapping->next_used++) {
    uint64_t start = vd_vhd_block_offset(remapping->used[remapping->next_used]);

    if (remapping->place + length <= start)
      break;
    if (remapping->place < start + length)
      remapping->place = vd_vhd_space_position(self, start + length);
  }
  if (remapping->place + length > piece->offset)
    return false;
  *ret_offset = remapping->place;
  remapping->place = vd_vhd_space_position(self, remapping->place + length);
  return true;
}

/* Found again when all places are looked for anew. */
void vd_vhd_free_place(VdLayer *layer, uint64_t offset, uint64_t length)
{
  forget_places(&((VdVhdLayer *)layer)->remapping);
}

static void finish(VdVhdLayer *self, int error)
{
  self->remapping.done(self->remapping.user, error);
}

static uint8_t *staged_bytes(VdVhdLayer *self, unsigned i)
{
  return &self->staging[(size_t)i * VD_VHD_SECTOR];
}

/* The staged copy of a sector of the table; NULL: there is no room for it now. */
static uint8_t *stage(VdVhdLayer *self, uint32_t sector)
{
  VdVhdRemapping *remapping = &self->remapping;
  unsigned i = 0;

  while (i < remapping->n_staged && remapping->staged[i] != sector)
    i++;
  if (i == VD_VHD_PUMP)
    return NULL;
  if (i == remapping->n_staged) {
    remapping->staged[remapping->n_staged++] = sector;
    memcpy(staged_bytes(self, i), &self->table[(size_t)sector * VD_VHD_SECTOR], VD_VHD_SECTOR);
  }
  return staged_bytes(self, i);
}

static uint32_t new_entry(const VdRemap *remap)
{
  return remap->kind == VD_RUN_HERE ? (uint32_t)(remap->to / VD_VHD_SECTOR) : VD_VHD_BLOCK_NONE;
}

/* The holes are for the host; what was moved lies behind what will be cut. */
static bool next_hole(VdVhdLayer *self, unsigned slot, VdIoOp *op)
{
  VdVhdRemapping *remapping = &self->remapping;

  while (remapping->first < remapping->next) {
    const VdRemap *remap = &remapping->list[remapping->first++];

    if (remap->kind == VD_RUN_HERE || remap->from.length == 0)
      continue;
    op->kind = VD_IO_PUNCH;
    op->offset = remap->from.offset;
    op->length = remap->from.length;
    return true;
  }
  return false;
}

/* A place that does not become a hole is free all the same. */
static int on_hole_landed(VdVhdLayer *self, unsigned slot, const VdIoOp *op, int result)
{
  return 0;
}

static void on_holes_made(VdVhdLayer *self, int result)
{
  next_wave(self);
}

static void on_put_back(VdVhdLayer *self, int result)
{
  finish(self, self->remapping.error);
}

static bool next_put_back(VdVhdLayer *self, unsigned slot, VdIoOp *op)
{
  VdVhdRemapping *remapping = &self->remapping;

  if (remapping->next_staged == remapping->n_staged)
    return false;
  vd_vhd_table_fill(self, remapping->staged[remapping->next_staged++], op);
  return true;
}

static int on_put_back_landed(VdVhdLayer *self, unsigned slot, const VdIoOp *op, int result)
{
  vd_vhd_table_landed(self, op, result);
  return 0;
}

static void put_back(VdVhdLayer *self, int error)
{
  self->remapping.error = error;
  self->remapping.next_staged = 0;
  self->pump.next = next_put_back;
  self->pump.landed = on_put_back_landed;
  self->pump.then = on_put_back;
  vd_vhd_pump_run(&self->pump, self);
}

static void change_table(VdVhdLayer *self)
{
  VdVhdRemapping *remapping = &self->remapping;

  self->space.changed = true;
  for (unsigned i = remapping->first; i < remapping->next; i++) {
    const VdRemap *remap = &remapping->list[i];

    vd_vhd_bat_set_entry(self->table, (uint32_t)remap->piece, new_entry(remap));
    vd_pages_forget(self->pages, self->base.file, remap->to,
                    remap->kind == VD_RUN_HERE ? self->shape.bitmap_length : 0);
    if (remap->kind != VD_RUN_HERE)
      forget_places(remapping);
  }
}

static void on_table_durable(VdVhdLayer *self, int result)
{
  if (result < 0) {
    put_back(self, result);
    return;
  }
  change_table(self);
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
  VdVhdRemapping *remapping = &self->remapping;
  unsigned i = remapping->next_staged;

  if (i == remapping->n_staged)
    return false;
  remapping->next_staged++;
  vd_vhd_table_fill(self, remapping->staged[i], op);
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
  VdVhdRemapping *remapping = &self->remapping;

  remapping->first = remapping->next;
  remapping->n_staged = remapping->next_staged = 0;
  for (; remapping->next < remapping->n; remapping->next++) {
    const VdRemap *remap = &remapping->list[remapping->next];
    uint8_t *bytes = stage(self, vd_vhd_table_sector((uint32_t)remap->piece));

    if (bytes == NULL)
      break;
    vd_vhd_bat_set_entry(bytes, (uint32_t)remap->piece % ENTRIES, new_entry(remap));
  }
  if (remapping->n_staged == 0) {
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
  VdVhdRemapping *remapping = (VdVhdRemapping *)((char *)task - offsetof(VdVhdRemapping, task));

  remapping->done(remapping->user, 0);
}

void vd_vhd_remap(VdLayer *layer, const VdRemap *list, unsigned n, void (*done)(void *user, int result),
                  void *user)
{
  VdVhdLayer *self = (VdVhdLayer *)layer;
  VdVhdRemapping *remapping = &self->remapping;

  remapping->list = list;
  remapping->n = n;
  remapping->first = remapping->next = 0;
  remapping->error = 0;
  remapping->done = done;
  remapping->user = user;
  if (n > 0) {
    next_wave(self);
    return;
  }
  remapping->task.run = on_nothing;
  vd_io_defer(layer->io, &remapping->task);
}
