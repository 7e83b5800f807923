/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the bytes of a VHD are, and where new ones go. */
#include "engine/vhd-layer.h"

#include <string.h>

static uint32_t block_of(const VdVhdLayer *self, uint64_t offset)
{
  return (uint32_t)(offset / self->shape.block_size);
}

/* A block that an update is about to add is not there yet. */
static uint32_t entry_of(const VdVhdLayer *self, uint32_t block)
{
  if (self->busy != NULL && vd_vhd_bit(self->busy, block))
    return VD_VHD_BLOCK_NONE;
  return vd_vhd_bat_entry(self->table, block);
}

/* Where the byte at a guest's offset lies in the file, if its block is at that place. */
static uint64_t data_at(const VdVhdLayer *self, uint64_t place, uint64_t offset)
{
  return place + self->shape.bitmap_length + offset % self->shape.block_size;
}

/* The sector of a bitmap that tells of a guest's offset, bytes in the file. */
static uint64_t bitmap_at(const VdVhdLayer *self, uint64_t place, uint64_t offset)
{
  uint64_t sector = offset % self->shape.block_size / VD_VHD_SECTOR;

  return place + sector / VD_VHD_BITS * VD_VHD_SECTOR;
}

/* Bytes from offset that the same sector of a bitmap tells of. */
static uint64_t cut_to_bitmap(uint64_t offset, uint64_t length)
{
  const uint64_t covered = (uint64_t)VD_VHD_BITS * VD_VHD_SECTOR;
  uint64_t rest = covered - offset % covered;

  return length < rest ? length : rest;
}

static bool is_set(const uint8_t *bitmap, unsigned bit)
{
  return bitmap[bit / 8] & 0x80 >> (bit % 8);
}

/* Bits from first on that are all like it, at most count. */
static unsigned same_bits(const uint8_t *bitmap, unsigned first, unsigned count)
{
  uint8_t all = is_set(bitmap, first) ? 0xff : 0;
  unsigned n = 1;

  while (n < count) {
    unsigned bit = first + n;

    if (bit % 8 == 0 && count - n >= 8 && bitmap[bit / 8] == all)
      n += 8;
    else if (is_set(bitmap, bit) == (all != 0))
      n++;
    else
      break;
  }
  return n;
}

static VdStep get_bitmap(VdVhdLayer *self, uint64_t at, VdPage **ret_page, const uint8_t **ret_bitmap,
                         VdWaiter *waiter, int *ret_error)
{
  uint64_t page_size = vd_pages_page_size(self->pages);
  VdStep step =
      vd_pages_get(self->pages, self->base.file, at / page_size * page_size, ret_page, waiter, ret_error);

  if (step == VD_STEP_DONE)
    *ret_bitmap = &(*ret_page)->data[at % page_size];
  return step;
}

/* Of a read-only image whose last block was cut short: there are zeros behind its end. */
static void cut_to_data(const VdVhdLayer *self, VdRun *run)
{
  if (run->offset >= self->data_end)
    run->kind = VD_RUN_ZERO;
  else if (run->length > self->data_end - run->offset)
    run->length = self->data_end - run->offset;
}

static VdStep find_in_child(VdVhdLayer *self, uint64_t place, uint64_t offset, uint64_t length,
                            VdRun *ret_run, VdWaiter *waiter, int *ret_error)
{
  const uint8_t *bitmap;
  VdPage *page;
  unsigned n;
  VdStep step = get_bitmap(self, bitmap_at(self, place, offset), &page, &bitmap, waiter, ret_error);

  if (step != VD_STEP_DONE)
    return step;
  length = cut_to_bitmap(offset, length);
  n = same_bits(bitmap, vd_vhd_first_bit(self, offset), (unsigned)(length / VD_VHD_SECTOR));
  *ret_run = (VdRun){.kind = is_set(bitmap, vd_vhd_first_bit(self, offset)) ? VD_RUN_HERE : VD_RUN_PARENT,
                     .length = (uint64_t)n * VD_VHD_SECTOR,
                     .offset = data_at(self, place, offset)};
  return VD_STEP_DONE;
}

VdStep vd_vhd_find(VdLayer *layer, uint64_t offset, uint64_t length, VdRun *ret_run, VdWaiter *waiter,
                   int *ret_error)
{
  VdVhdLayer *self = (VdVhdLayer *)layer;
  VdStep step = VD_STEP_DONE;
  uint32_t sector;
  uint64_t place;

  *ret_run = (VdRun){.kind = VD_RUN_HERE, .length = length, .offset = offset};
  if (self->type == VD_VHD_FIXED)
    return VD_STEP_DONE;
  sector = entry_of(self, block_of(self, offset));
  place = vd_vhd_block_offset(sector);
  if (sector == VD_VHD_BLOCK_NONE) {
    ret_run->kind = self->type == VD_VHD_DYNAMIC ? VD_RUN_ZERO : VD_RUN_PARENT;
    return VD_STEP_DONE;
  }
  if (self->type == VD_VHD_DIFFERENCING)
    step = find_in_child(self, place, offset, length, ret_run, waiter, ret_error);
  else
    ret_run->offset = data_at(self, place, offset);
  if (step == VD_STEP_DONE && ret_run->kind == VD_RUN_HERE)
    cut_to_data(self, ret_run);
  return step;
}

static void fill_update(VdUpdate *update, uint64_t offset, uint64_t length, uint32_t block,
                        VdVhdUpdateKind kind)
{
  memset(update, 0, sizeof *update);
  update->offset = offset;
  update->length = length;
  update->block = block;
  update->layer_data[VD_VHD_UPDATE_KIND] = kind;
}

static VdStep place_new(VdVhdLayer *self, uint64_t offset, uint64_t length, VdPlace *ret_place,
                        VdUpdate *update, VdWaiter *waiter, int *ret_error)
{
  uint32_t block = block_of(self, offset);
  uint64_t place;
  VdStep step;

  if (vd_vhd_bit(self->busy, block)) {
    vd_waiters_add(&self->busy_waiters, waiter);
    return VD_STEP_WAIT;
  }
  step = vd_vhd_space_take(self, &place, waiter, ret_error);
  if (step != VD_STEP_DONE)
    return step;
  vd_vhd_set_bit(self->busy, block, true);
  if (self->type == VD_VHD_DIFFERENCING)
    length = cut_to_bitmap(offset, length);
  fill_update(update, offset, length, block, VD_VHD_UPDATE_NEW);
  update->barrier = self->type == VD_VHD_DIFFERENCING;
  update->layer_data[VD_VHD_UPDATE_PLACE] = place;
  update->layer_data[VD_VHD_UPDATE_BITMAP] = bitmap_at(self, place, offset);
  *ret_place = (VdPlace){.length = length, .offset = data_at(self, place, offset), .update = true};
  return VD_STEP_DONE;
}

/* In place where all bits are set; else the bits change. Those that are set already are so once more. */
static VdStep place_in_child(VdVhdLayer *self, uint64_t place, uint64_t offset, uint64_t length,
                             VdPlace *ret_place, VdUpdate *update, VdWaiter *waiter, int *ret_error)
{
  uint64_t at = bitmap_at(self, place, offset);
  const uint8_t *bitmap;
  VdPage *page;
  unsigned n;
  VdStep step = get_bitmap(self, at, &page, &bitmap, waiter, ret_error);

  if (step != VD_STEP_DONE)
    return step;
  length = cut_to_bitmap(offset, length);
  n = (unsigned)(length / VD_VHD_SECTOR);
  *ret_place = (VdPlace){.length = length, .offset = data_at(self, place, offset)};
  if (is_set(bitmap, vd_vhd_first_bit(self, offset)) &&
      same_bits(bitmap, vd_vhd_first_bit(self, offset), n) == n)
    return VD_STEP_DONE;
  fill_update(update, offset, length, block_of(self, offset), VD_VHD_UPDATE_BITS);
  update->barrier = true;
  update->layer_data[VD_VHD_UPDATE_BITMAP] = at;
  update->layer_data[VD_VHD_UPDATE_PAGE] = (uintptr_t)page;
  vd_pages_pin(self->pages, page);
  ret_place->update = true;
  return VD_STEP_DONE;
}

VdStep vd_vhd_place(VdLayer *layer, uint64_t offset, uint64_t length, VdPlace *ret_place, VdUpdate *update,
                    VdWaiter *waiter, int *ret_error)
{
  VdVhdLayer *self = (VdVhdLayer *)layer;
  uint32_t block, sector;

  *ret_place = (VdPlace){.length = length, .offset = offset};
  if (self->type == VD_VHD_FIXED)
    return VD_STEP_DONE;
  block = block_of(self, offset);
  sector = entry_of(self, block);
  if (sector == VD_VHD_BLOCK_NONE)
    return place_new(self, offset, length, ret_place, update, waiter, ret_error);
  if (self->type == VD_VHD_DIFFERENCING)
    return place_in_child(self, vd_vhd_block_offset(sector), offset, length, ret_place, update, waiter,
                          ret_error);
  ret_place->offset = data_at(self, vd_vhd_block_offset(sector), offset);
  /* The file may say that this block is not there: what is written now must not be lost by that. */
  ret_place->update = vd_vhd_bit(self->suspect, vd_vhd_table_sector(block));
  if (ret_place->update)
    fill_update(update, offset, length, block, VD_VHD_UPDATE_AGAIN);
  return VD_STEP_DONE;
}

void vd_vhd_release_update(VdVhdLayer *self, VdUpdate *update)
{
  if (update->layer_data[VD_VHD_UPDATE_KIND] == VD_VHD_UPDATE_NEW)
    vd_vhd_set_bit(self->busy, update->block, false);
  if (update->layer_data[VD_VHD_UPDATE_KIND] == VD_VHD_UPDATE_BITS)
    vd_pages_unpin(self->pages, (VdPage *)(uintptr_t)update->layer_data[VD_VHD_UPDATE_PAGE]);
}

void vd_vhd_cancel(VdLayer *layer, VdUpdate *update)
{
  VdVhdLayer *self = (VdVhdLayer *)layer;

  vd_vhd_release_update(self, update);
  if (update->layer_data[VD_VHD_UPDATE_KIND] == VD_VHD_UPDATE_NEW)
    vd_vhd_space_free(self, (uint32_t)(update->layer_data[VD_VHD_UPDATE_PLACE] / VD_VHD_SECTOR));
  vd_waiters_wake(&self->busy_waiters);
}
