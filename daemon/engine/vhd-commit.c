/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A batch of updates of a VHD is recorded: first the bitmaps' sectors, as many at a time as can be staged,
 * then the table's. The payload is durable where that matters (vhd-layer.h), so nothing is flushed here.
 *
 * If a write fails nothing of the batch counts: what is in memory is written over what may be in the file.
 */
#include "engine/vhd-layer.h"

#include <string.h>

static VdVhdUpdateKind kind_of(const VdUpdate *update)
{
  return (VdVhdUpdateKind)update->layer_data[VD_VHD_UPDATE_KIND];
}

/* The update writes its block's sector of the table. */
static bool has_entry(const VdUpdate *update)
{
  return kind_of(update) != VD_VHD_UPDATE_BITS;
}

/* If the table in the file may refer to the place, nobody else can have it. */
static void give_back(VdVhdLayer *self, const VdUpdate *update)
{
  if (!vd_vhd_bit(self->suspect, vd_vhd_table_sector((uint32_t)update->block)))
    vd_vhd_space_free(self, (uint32_t)(update->layer_data[VD_VHD_UPDATE_PLACE] / VD_VHD_SECTOR));
}

static void finish(VdVhdLayer *self, int error)
{
  VdVhdCommit *commit = &self->commit;
  VdUpdate *batch = commit->batch;

  commit->batch = NULL;
  for (VdUpdate *update = batch; update != NULL; update = update->next) {
    vd_vhd_release_update(self, update);
    if (error < 0 && kind_of(update) == VD_VHD_UPDATE_NEW)
      give_back(self, update);
  }
  vd_waiters_wake(&self->busy_waiters);
  commit->done(commit->user, error);
}

/* Each sector of the table that the batch changes, once. */
static bool next_table_sector(VdVhdLayer *self, unsigned slot, VdIoOp *op)
{
  VdVhdCommit *commit = &self->commit;

  while (commit->cursor != NULL) {
    VdUpdate *update = commit->cursor;
    uint32_t sector = vd_vhd_table_sector((uint32_t)update->block);

    commit->cursor = update->next;
    if (!has_entry(update) || vd_vhd_bit(self->written, sector))
      continue;
    vd_vhd_set_bit(self->written, sector, true);
    vd_vhd_table_fill(self, sector, op);
    return true;
  }
  return false;
}

static int on_table_landed(VdVhdLayer *self, unsigned slot, const VdIoOp *op, int result)
{
  vd_vhd_table_landed(self, op, result);
  return result;
}

static void clear_written(VdVhdLayer *self)
{
  for (VdUpdate *update = self->commit.batch; update != NULL; update = update->next)
    vd_vhd_set_bit(self->written, vd_vhd_table_sector((uint32_t)update->block), false);
}

static void pump_table(VdVhdLayer *self, VdVhdLanded landed, VdVhdThen then)
{
  clear_written(self);
  self->commit.cursor = self->commit.batch;
  self->pump.next = next_table_sector;
  self->pump.landed = landed;
  self->pump.then = then;
  vd_vhd_pump_run(&self->pump, self);
}

static void set_entries(VdVhdLayer *self, bool there)
{
  for (VdUpdate *update = self->commit.batch; update != NULL; update = update->next)
    if (kind_of(update) == VD_VHD_UPDATE_NEW)
      vd_vhd_bat_set_entry(self->table, (uint32_t)update->block,
                           there ? (uint32_t)(update->layer_data[VD_VHD_UPDATE_PLACE] / VD_VHD_SECTOR)
                                 : VD_VHD_BLOCK_NONE);
}

static void on_put_back(VdVhdLayer *self, int result)
{
  clear_written(self);
  finish(self, self->commit.error);
}

/* A sector that cannot be put back is suspect; the others are to be written all the same. */
static int on_put_back_landed(VdVhdLayer *self, unsigned slot, const VdIoOp *op, int result)
{
  vd_vhd_table_landed(self, op, result);
  return 0;
}

static void on_table_written(VdVhdLayer *self, int result)
{
  if (result < 0) {
    self->commit.error = result;
    set_entries(self, false);
    pump_table(self, on_put_back_landed, on_put_back);
  } else {
    clear_written(self);
    finish(self, 0);
  }
}

static void write_table(VdVhdLayer *self)
{
  set_entries(self, true);
  pump_table(self, on_table_landed, on_table_written);
}

static uint8_t *staged_bytes(VdVhdLayer *self, unsigned i)
{
  return &self->staging[(size_t)i * VD_VHD_SECTOR];
}

static const uint8_t *page_bytes(const VdVhdLayer *self, const VdVhdStaged *staged)
{
  return &staged->page->data[staged->offset % vd_pages_page_size(self->pages)];
}

static void load_staged(VdVhdLayer *self, unsigned i)
{
  const VdVhdStaged *staged = &self->commit.staged[i];

  if (staged->page != NULL)
    memcpy(staged_bytes(self, i), page_bytes(self, staged), VD_VHD_SECTOR);
  else
    memset(staged_bytes(self, i), 0, VD_VHD_SECTOR);
}

/* The staged sector that an update changes; VD_VHD_PUMP: there is no room for it now. */
static unsigned stage(VdVhdLayer *self, const VdUpdate *update)
{
  VdVhdCommit *commit = &self->commit;
  uint64_t offset = update->layer_data[VD_VHD_UPDATE_BITMAP];
  unsigned i = 0;

  while (i < commit->n_staged && commit->staged[i].offset != offset)
    i++;
  if (i < commit->n_staged || i == VD_VHD_PUMP)
    return i;
  commit->staged[i] = (VdVhdStaged){.offset = offset};
  if (kind_of(update) == VD_VHD_UPDATE_BITS)
    commit->staged[i].page = (VdPage *)(uintptr_t)update->layer_data[VD_VHD_UPDATE_PAGE];
  commit->n_staged++;
  load_staged(self, i);
  return i;
}

static void set_bits(const VdVhdLayer *self, uint8_t *bitmap, const VdUpdate *update)
{
  uint64_t first = vd_vhd_first_bit(self, update->offset);
  uint64_t end = first + update->length / VD_VHD_SECTOR;

  for (uint64_t bit = first; bit < end;)
    if (bit % 8 == 0 && end - bit >= 8) {
      bitmap[bit / 8] = 0xff;
      bit += 8;
    } else {
      bitmap[bit / 8] = (uint8_t)(bitmap[bit / 8] | 0x80U >> (bit % 8));
      bit++;
    }
}

static void fill_staged_op(VdVhdLayer *self, unsigned i, VdIoOp *op)
{
  op->kind = VD_IO_WRITE;
  op->offset = self->commit.staged[i].offset;
  op->length = VD_VHD_SECTOR;
  op->buffer = staged_bytes(self, i);
}

static bool next_staged(VdVhdLayer *self, unsigned slot, VdIoOp *op)
{
  if (self->commit.next_staged == self->commit.n_staged)
    return false;
  fill_staged_op(self, self->commit.next_staged++, op);
  return true;
}

static VdVhdStaged *staged_of(VdVhdLayer *self, const VdIoOp *op)
{
  size_t at = (size_t)((const uint8_t *)op->buffer - self->staging);

  return &self->commit.staged[at / VD_VHD_SECTOR];
}

static int on_staged_landed(VdVhdLayer *self, unsigned slot, const VdIoOp *op, int result)
{
  VdVhdStaged *staged = staged_of(self, op);

  staged->failed = result < 0;
  if (result == 0 && staged->page != NULL)
    memcpy(&staged->page->data[staged->offset % vd_pages_page_size(self->pages)], op->buffer, VD_VHD_SECTOR);
  return result;
}

static bool next_failed(VdVhdLayer *self, unsigned slot, VdIoOp *op)
{
  VdVhdCommit *commit = &self->commit;

  while (commit->next_staged < commit->n_staged) {
    unsigned i = commit->next_staged++;

    if (!commit->staged[i].failed)
      continue;
    load_staged(self, i);
    fill_staged_op(self, i, op);
    return true;
  }
  return false;
}

static int on_restaged_landed(VdVhdLayer *self, unsigned slot, const VdIoOp *op, int result)
{
  return 0;
}

static void on_bits_put_back(VdVhdLayer *self, int result)
{
  finish(self, self->commit.error);
}

static void write_bits(VdVhdLayer *self);

static void on_bits_written(VdVhdLayer *self, int result)
{
  if (result == 0) {
    write_bits(self);
    return;
  }
  self->commit.error = result;
  self->commit.next_staged = 0;
  self->pump.next = next_failed;
  self->pump.landed = on_restaged_landed;
  self->pump.then = on_bits_put_back;
  vd_vhd_pump_run(&self->pump, self);
}

/* As many of the bitmaps' sectors as can be staged; when there are no more, the table. */
static void write_bits(VdVhdLayer *self)
{
  VdVhdCommit *commit = &self->commit;

  commit->n_staged = commit->next_staged = 0;
  for (; commit->cursor != NULL; commit->cursor = commit->cursor->next) {
    unsigned i = stage(self, commit->cursor);

    if (i == VD_VHD_PUMP)
      break;
    set_bits(self, staged_bytes(self, i), commit->cursor);
  }
  if (commit->n_staged == 0) {
    write_table(self);
    return;
  }
  self->pump.next = next_staged;
  self->pump.landed = on_staged_landed;
  self->pump.then = on_bits_written;
  vd_vhd_pump_run(&self->pump, self);
}

void vd_vhd_commit(VdLayer *layer, VdUpdate *batch, void (*done)(void *user, int result), void *user)
{
  VdVhdLayer *self = (VdVhdLayer *)layer;
  VdVhdCommit *commit = &self->commit;

  commit->batch = commit->cursor = batch;
  commit->error = 0;
  commit->done = done;
  commit->user = user;
  if (self->type == VD_VHD_DIFFERENCING)
    write_bits(self);
  else
    write_table(self);
}
