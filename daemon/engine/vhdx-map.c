/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the bytes of a VHDX are (MS-VHDX 2.5): the state of their block, and for blocks that are present in
 * part the bits of their sectors. The table was checked when the image was opened; an image that changes
 * under us gives errors to the reader.
 */
#include "engine/vhdx-layer.h"

#include <errno.h>
#include <stdlib.h>

#include "util/checked.h"

/* Bytes of the BAT that count as used together when an image is opened. */
#define BAT_STEP (UINT64_C(64) << 10)

VdStep vd_vhdx_map_page(VdVhdxLayer *self, uint64_t offset, const uint8_t **ret_data, VdWaiter *waiter,
                        int *ret_error)
{
  const VdVhdxSlot *slot = vd_vhdx_journal_slot(self, offset);
  VdPage *page;
  VdStep step;

  if (slot) {
    *ret_data = slot->data;
    return VD_STEP_DONE;
  }
  if (self->images.n > 0 && !vd_pages_peek(self->pages, self->base.file, offset) &&
      vd_vhdx_images_find(self, offset)) {
    vd_waiters_add(&self->images.waiters, waiter);
    return VD_STEP_WAIT;
  }
  step = vd_pages_get(self->pages, self->base.file, offset, &page, waiter, ret_error);
  if (step == VD_STEP_DONE)
    *ret_data = page->data;
  return step;
}

uint64_t vd_vhdx_map_bat_page(const VdVhdxLayer *self, uint64_t index, uint64_t *ret_at)
{
  uint64_t offset = self->vhdx.bat.offset + index * 8;

  *ret_at = offset % VD_VHDX_PAGE;
  return offset - *ret_at;
}

/* Pages of the BAT before this offset in the file. */
static uint64_t bat_page(const VdVhdxLayer *self, uint64_t offset)
{
  return (offset - self->vhdx.bat.offset) / VD_VHDX_PAGE;
}

static bool is_used(const VdVhdxLayer *self, uint64_t page)
{
  return (self->bat_used[page / 8] >> (page % 8) & 1) != 0;
}

/* The holes of the file are not used; what is none is looked at in steps. */
bool vd_vhdx_map_init(VdVhdxLayer *self, const VdReader *reader)
{
  uint64_t at = self->vhdx.bat.offset, end = at + self->vhdx.bat.length;

  self->bat_used = calloc(1, (size_t)(self->vhdx.bat.length / VD_VHDX_PAGE / 8 + 1));
  if (!self->bat_used)
    return false;
  while (at < end) {
    uint64_t next = vd_reader_next_data(reader, at), logged = vd_vhdx_overlay_next(self->vhdx.overlay, at);
    uint64_t step_end;

    next = logged < next ? logged : next;
    if (next >= end)
      break;
    at = next / VD_VHDX_PAGE * VD_VHDX_PAGE;
    for (step_end = at / BAT_STEP * BAT_STEP + BAT_STEP; at < step_end; at += VD_VHDX_PAGE)
      vd_vhdx_map_use(self, at);
  }
  return true;
}

void vd_vhdx_map_use(VdVhdxLayer *self, uint64_t offset)
{
  uint64_t page;

  if (offset < self->vhdx.bat.offset || offset - self->vhdx.bat.offset >= self->vhdx.bat.length)
    return;
  page = bat_page(self, offset);
  self->bat_used[page / 8] |= (uint8_t)(1U << (page % 8));
}

/* Whole pages, by what their first and last entries tell of. */
uint64_t vd_vhdx_unused(const VdLayer *base, uint64_t offset, uint64_t length)
{
  const VdVhdxLayer *self = (const VdVhdxLayer *)(const void *)base;
  const VdVhdxBatShape *shape = &self->vhdx.shape;
  uint64_t first = offset / base->block_size, end = (offset + length - 1) / base->block_size + 1;
  uint64_t at, page = vd_vhdx_map_bat_page(self, vd_vhdx_bat_payload_index(shape, first), &at);
  uint64_t last = vd_vhdx_map_bat_page(self, vd_vhdx_bat_payload_index(shape, end - 1), &at);
  uint64_t n = bat_page(self, page), n_end = bat_page(self, last) + 1, index, block;

  while (n < n_end && !is_used(self, n))
    n += n % 8 == 0 && self->bat_used[n / 8] == 0 ? 8 : 1;
  if (n >= n_end)
    return length;
  /* The first entry of the page that is used; of a bitmap's the next block is meant. */
  index = n * (VD_VHDX_PAGE / 8);
  block = index - index / (shape->chunk_ratio + 1);
  return block > first ? block * base->block_size - offset : 0;
}

VdStep vd_vhdx_map_entry(VdVhdxLayer *self, uint64_t index, uint64_t *ret_entry, VdWaiter *waiter,
                         int *ret_error)
{
  const uint8_t *data;
  uint64_t at;
  uint64_t page = vd_vhdx_map_bat_page(self, index, &at);
  VdStep step;

  *ret_entry = 0;
  if (!is_used(self, bat_page(self, page)))
    return VD_STEP_DONE;
  step = vd_vhdx_map_page(self, page, &data, waiter, ret_error);
  if (step == VD_STEP_DONE)
    *ret_entry = vd_vhdx_load(data, at);
  return step;
}

static VdStep fail(int *ret_error, int error)
{
  *ret_error = error;
  return VD_STEP_FAILED;
}

VdStep vd_vhdx_map_bitmap(VdVhdxLayer *self, uint64_t block, uint64_t *ret_offset, VdWaiter *waiter,
                          int *ret_error)
{
  const VdVhdxBatShape *shape = &self->vhdx.shape;
  uint64_t entry, offset;
  VdStep step = vd_vhdx_map_entry(self, vd_vhdx_bat_bitmap_index(shape, block), &entry, waiter, ret_error);

  if (step != VD_STEP_DONE)
    return step;
  offset = vd_vhdx_bat_offset(entry);
  if (vd_vhdx_bat_state(entry) != VD_VHDX_FULLY_PRESENT || offset < VD_VHDX_MIB ||
      !vd_range_within(offset, VD_VHDX_BITMAP_BLOCK, self->whole_size))
    return fail(ret_error, -EIO);
  *ret_offset = offset + vd_vhdx_bitmap_offset(shape, block);
  return VD_STEP_DONE;
}

static bool bit(const uint8_t *bits, uint64_t at)
{
  return (bits[at / 8] >> (at % 8) & 1) != 0;
}

uint64_t vd_vhdx_bits_run(const uint8_t *bits, uint64_t first, uint64_t count, bool *ret_set)
{
  bool set = bit(bits, first);
  uint8_t whole = set ? 0xFF : 0;
  uint64_t n = 1;

  while (n < count) {
    if ((first + n) % 8 == 0 && count - n >= 8 && bits[(first + n) / 8] == whole)
      n += 8;
    else if (bit(bits, first + n) == set)
      n++;
    else
      break;
  }
  *ret_set = set;
  return n;
}

/* A run of a block that begins at start in the file. What a log extends the file by are zeros, also the rest
 * of a sector in which the file ends. A block that is behind all that is lost, or the lost part of it. */
static VdStep clip(const VdVhdxLayer *self, uint64_t start, VdRun *run, int *ret_error)
{
  uint64_t size = self->file_size, sector_size = self->base.sector_size;

  if (start < VD_VHDX_MIB || start >= self->whole_size || run->offset >= self->whole_size ||
      self->whole_size - run->offset < sector_size)
    return fail(ret_error, -EIO);
  if (run->length > self->whole_size - run->offset)
    run->length = (self->whole_size - run->offset) / sector_size * sector_size;
  run->kind = run->offset < size ? VD_RUN_HERE : VD_RUN_ZERO;
  if (run->kind == VD_RUN_ZERO || run->length <= size - run->offset)
    return VD_STEP_DONE;
  run->length = (size - run->offset) / sector_size * sector_size;
  run->padded = run->length == 0;
  if (run->padded)
    run->length = sector_size;
  return VD_STEP_DONE;
}

/* The log of an image that may not be written is for metadata; one that writes into a block too would read
 * otherwise once it is replayed. Its zeros are told of; its pages are nowhere that could be told. */
static VdStep find_here(const VdVhdxLayer *self, uint64_t start, VdRun *run, int *ret_error)
{
  VdStep step = clip(self, start, run, ret_error);
  VdVhdxLogged logged;
  uint64_t length;

  if (step != VD_STEP_DONE || !self->vhdx.overlay)
    return step;
  logged = vd_vhdx_overlay_look(self->vhdx.overlay, run->offset, &length);
  if (logged == VD_VHDX_LOG_PAGE)
    return fail(ret_error, -EIO);
  if (run->length > length)
    run->length = length;
  if (logged == VD_VHDX_LOG_ZEROS)
    run->kind = VD_RUN_ZERO;
  return VD_STEP_DONE;
}

static VdStep find_in_part(VdVhdxLayer *self, uint64_t start, uint64_t offset, VdRun *run, VdWaiter *waiter,
                           int *ret_error)
{
  uint64_t block = offset / self->base.block_size;
  uint64_t sector = offset % self->base.block_size / self->base.sector_size;
  uint64_t count = run->length / self->base.sector_size;
  uint64_t bits, first;
  const uint8_t *data;
  bool set;
  VdStep step = vd_vhdx_map_bitmap(self, block, &bits, waiter, ret_error);

  if (step != VD_STEP_DONE)
    return step;
  bits += sector / 8;
  step = vd_vhdx_map_page(self, bits / VD_VHDX_PAGE * VD_VHDX_PAGE, &data, waiter, ret_error);
  if (step != VD_STEP_DONE)
    return step;
  first = bits % VD_VHDX_PAGE * 8 + sector % 8;
  if (count > VD_VHDX_PAGE * 8 - first)
    count = VD_VHDX_PAGE * 8 - first;
  run->length = vd_vhdx_bits_run(data, first, count, &set) * self->base.sector_size;
  if (set)
    return find_here(self, start, run, ret_error);
  run->kind = VD_RUN_PARENT;
  return VD_STEP_DONE;
}

VdStep vd_vhdx_find(VdLayer *base, uint64_t offset, uint64_t length, VdRun *ret_run, VdWaiter *waiter,
                    int *ret_error)
{
  VdVhdxLayer *self = vd_vhdx_layer(base);
  uint64_t index = vd_vhdx_bat_payload_index(&self->vhdx.shape, offset / base->block_size);
  uint64_t entry, start;
  VdStep step = vd_vhdx_map_entry(self, index, &entry, waiter, ret_error);

  if (step != VD_STEP_DONE)
    return step;
  start = vd_vhdx_bat_offset(entry);
  *ret_run = (VdRun){.kind = VD_RUN_ZERO, .length = length, .offset = start + offset % base->block_size};
  switch (vd_vhdx_bat_state(entry)) {
  case VD_VHDX_NOT_PRESENT:
    ret_run->kind = base->has_parent ? VD_RUN_PARENT : VD_RUN_ZERO;
    return VD_STEP_DONE;
  case VD_VHDX_UNDEFINED:
  case VD_VHDX_ZERO:
  case VD_VHDX_UNMAPPED:
    return VD_STEP_DONE;
  case VD_VHDX_FULLY_PRESENT:
    return find_here(self, start, ret_run, ret_error);
  case VD_VHDX_PARTIALLY_PRESENT:
    return base->has_parent ? find_in_part(self, start, offset, ret_run, waiter, ret_error)
                            : fail(ret_error, -EIO);
  default:
    return fail(ret_error, -EIO);
  }
}
