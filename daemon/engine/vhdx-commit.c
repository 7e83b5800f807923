/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A batch of updates becomes entries of the log: the pages of BAT and bitmaps with all their changes, each
 * page once. What a failed entry would have referred to is given to nobody else until the image is closed,
 * since the entry may stand in the file all the same.
 */
#include "engine/vhdx-layer.h"

#include <errno.h>

void vd_vhdx_images_reset(VdVhdxLayer *self)
{
  self->images.n = 0;
  vd_waiters_wake(&self->images.waiters);
}

VdVhdxImage *vd_vhdx_images_find(VdVhdxLayer *self, uint64_t offset)
{
  VdVhdxImages *images = &self->images;

  for (unsigned i = 0; i < images->n; i++)
    if (images->images[i].offset == offset)
      return &images->images[i];
  return NULL;
}

VdStep vd_vhdx_images_get(VdVhdxLayer *self, uint64_t offset, bool fresh, VdVhdxImage **ret_image,
                          VdWaiter *waiter, int *ret_error)
{
  VdVhdxImages *images = &self->images;
  VdVhdxImage *image = vd_vhdx_images_find(self, offset);
  const uint8_t *data = NULL;
  VdStep step = VD_STEP_DONE;

  if (!image && !fresh)
    step = vd_vhdx_map_page(self, offset, &data, waiter, ret_error);
  if (step != VD_STEP_DONE)
    return step;
  if (!image) {
    image = &images->images[images->n];
    *image = (VdVhdxImage){.offset = offset, .data = images->memory + (size_t)images->n * VD_VHDX_PAGE};
    images->n++;
    if (data)
      memcpy(image->data, data, VD_VHDX_PAGE);
    else
      memset(image->data, 0, VD_VHDX_PAGE);
  }
  *ret_image = image;
  return VD_STEP_DONE;
}

static bool bits_are(const uint8_t *bits, uint64_t first, uint64_t count, bool set)
{
  bool what;

  return vd_vhdx_bits_run(bits, first, count, &what) == count && what == set;
}

static void set_bits(uint8_t *bits, uint64_t first, uint64_t count, bool set)
{
  for (uint64_t at = first; at < first + count;) {
    if (at % 8 == 0 && first + count - at >= 8) {
      bits[at / 8] = set ? 0xFF : 0;
      at += 8;
      continue;
    }
    if (set)
      bits[at / 8] |= (uint8_t)(1U << (at % 8));
    else
      bits[at / 8] &= (uint8_t) ~(1U << (at % 8));
    at++;
  }
}

static void change_bits(VdVhdxImage *image, uint64_t first, uint64_t count, bool set)
{
  if (count == 0 || bits_are(image->data, first, count, set))
    return;
  set_bits(image->data, first, count, set);
  image->changed = true;
}

static VdStep get_entry(VdVhdxLayer *self, uint64_t index, VdVhdxImage **ret_image, uint64_t *ret_at,
                        int *ret_error)
{
  uint64_t page = vd_vhdx_map_bat_page(self, index, ret_at);

  return vd_vhdx_images_get(self, page, false, ret_image, &self->commit.waiter, ret_error);
}

void vd_vhdx_images_set_entry(VdVhdxImage *image, uint64_t at, uint64_t offset, unsigned state)
{
  vd_vhdx_store(image->data, at, offset | state);
  image->changed = true;
}

/* Pages of an entry that one update can need: its bits, and two entries of the BAT. */
static unsigned most_pages(const VdVhdxLayer *self)
{
  return (unsigned)(vd_vhdx_bitmap_length(&self->vhdx.shape) / VD_VHDX_PAGE) + 3;
}

/* Sectors of the block that this page of its bits has: [*ret_first, + *ret_count), of the block; the first of
 * them is bit *ret_bit of the page. */
static void sectors_of_page(const VdVhdxLayer *self, uint64_t bits, uint64_t page, uint64_t *ret_first,
                            uint64_t *ret_count, uint64_t *ret_bit)
{
  uint64_t length = vd_vhdx_bitmap_length(&self->vhdx.shape);
  uint64_t start = page > bits ? page : bits;
  uint64_t end = page + VD_VHDX_PAGE < bits + length ? page + VD_VHDX_PAGE : bits + length;

  *ret_first = (start - bits) * 8;
  *ret_count = (end - start) * 8;
  *ret_bit = (start - page) * 8;
}

/* The bits of an update in one page; clears the block's others there if it is new. */
static void change_page(VdVhdxLayer *self, const VdUpdate *update, VdVhdxImage *image, uint64_t bits,
                        bool clear)
{
  uint64_t from = update->offset % self->base.block_size / self->base.sector_size;
  uint64_t to = from + update->length / self->base.sector_size;
  uint64_t first, count, bit;

  sectors_of_page(self, bits, image->offset, &first, &count, &bit);
  if (from < first)
    from = first;
  if (to > first + count)
    to = first + count;
  if (from >= to)
    from = to = first;
  if (clear) {
    change_bits(image, bit, from - first, false);
    change_bits(image, bit + (to - first), first + count - to, false);
  }
  change_bits(image, bit + (from - first), to - from, true);
}

/* All pages with bits of the block that are to be changed are got before the first is changed. */
static VdStep change_bitmap(VdVhdxLayer *self, const VdUpdate *update, uint64_t bits, bool clear, bool fresh,
                            int *ret_error)
{
  uint64_t length = vd_vhdx_bitmap_length(&self->vhdx.shape);
  uint64_t from = bits, to = bits + length;
  VdVhdxImage *image;

  if (!clear) {
    from += update->offset % self->base.block_size / self->base.sector_size / 8;
    to = bits + ((update->offset % self->base.block_size + update->length) / self->base.sector_size + 7) / 8;
  }
  from = from / VD_VHDX_PAGE * VD_VHDX_PAGE;
  for (uint64_t page = from; page < to; page += VD_VHDX_PAGE) {
    VdStep step = vd_vhdx_images_get(self, page, fresh, &image, &self->commit.waiter, ret_error);

    if (step != VD_STEP_DONE)
      return step;
  }
  for (uint64_t page = from; page < to; page += VD_VHDX_PAGE)
    change_page(self, update, vd_vhdx_images_find(self, page), bits, clear);
  return VD_STEP_DONE;
}

static VdStep apply_part(VdVhdxLayer *self, const VdUpdate *update, VdVhdxImage *payload, uint64_t at,
                         int *ret_error)
{
  const VdVhdxBatShape *shape = &self->vhdx.shape;
  uint64_t fresh = update->layer_data[VD_UPDATE_BITMAP];
  uint64_t bitmap_at, bitmap;
  VdVhdxImage *entry;
  VdStep step =
      get_entry(self, vd_vhdx_bat_bitmap_index(shape, update->block), &entry, &bitmap_at, ret_error);

  if (step != VD_STEP_DONE)
    return step;
  bitmap = fresh != 0 ? fresh : vd_vhdx_bat_offset(vd_vhdx_load(entry->data, bitmap_at));
  step = change_bitmap(self, update, bitmap + vd_vhdx_bitmap_offset(shape, update->block), true, fresh != 0,
                       ret_error);
  if (step != VD_STEP_DONE)
    return step;
  if (fresh != 0)
    vd_vhdx_images_set_entry(entry, bitmap_at, fresh, VD_VHDX_FULLY_PRESENT);
  vd_vhdx_images_set_entry(payload, at, update->layer_data[VD_UPDATE_PAYLOAD], VD_VHDX_PARTIALLY_PRESENT);
  return VD_STEP_DONE;
}

static bool is_whole(const VdVhdxLayer *self, const VdUpdate *update)
{
  uint64_t left = self->base.size - update->block * self->base.block_size;

  return update->length == (left < self->base.block_size ? left : self->base.block_size);
}

/* Whether all sectors of the block are here now, as far as one page tells. */
static bool is_full(VdVhdxLayer *self, const VdUpdate *update, uint64_t bits)
{
  uint64_t left = self->base.size - update->block * self->base.block_size;
  uint64_t sectors = (left < self->base.block_size ? left : self->base.block_size) / self->base.sector_size;
  VdVhdxImage *image = vd_vhdx_images_find(self, bits / VD_VHDX_PAGE * VD_VHDX_PAGE);

  return image && bits % VD_VHDX_PAGE * 8 + sectors <= VD_VHDX_PAGE * 8 &&
         bits_are(image->data, bits % VD_VHDX_PAGE * 8, sectors, true);
}

static VdStep apply_bits(VdVhdxLayer *self, const VdUpdate *update, VdVhdxImage *payload, uint64_t at,
                         int *ret_error)
{
  const VdVhdxBatShape *shape = &self->vhdx.shape;
  uint64_t offset = update->layer_data[VD_UPDATE_PAYLOAD];
  uint64_t bitmap_at, bits;
  VdVhdxImage *entry;
  VdStep step;

  /* Another update has made it whole meanwhile. */
  if (vd_vhdx_bat_state(vd_vhdx_load(payload->data, at)) == VD_VHDX_FULLY_PRESENT)
    return VD_STEP_DONE;
  if (is_whole(self, update)) {
    vd_vhdx_images_set_entry(payload, at, offset, VD_VHDX_FULLY_PRESENT);
    return VD_STEP_DONE;
  }
  step = get_entry(self, vd_vhdx_bat_bitmap_index(shape, update->block), &entry, &bitmap_at, ret_error);
  if (step != VD_STEP_DONE)
    return step;
  bits =
      vd_vhdx_bat_offset(vd_vhdx_load(entry->data, bitmap_at)) + vd_vhdx_bitmap_offset(shape, update->block);
  step = change_bitmap(self, update, bits, false, false, ret_error);
  if (step == VD_STEP_DONE && is_full(self, update, bits))
    vd_vhdx_images_set_entry(payload, at, offset, VD_VHDX_FULLY_PRESENT);
  return step;
}

/* Puts an update into the images; changes nothing unless DONE. */
static VdStep apply(VdVhdxLayer *self, const VdUpdate *update, int *ret_error)
{
  VdVhdxImage *payload;
  uint64_t at;
  VdStep step =
      get_entry(self, vd_vhdx_bat_payload_index(&self->vhdx.shape, update->block), &payload, &at, ret_error);

  if (step != VD_STEP_DONE)
    return step;
  switch (update->layer_data[VD_UPDATE_KIND]) {
  case VD_UPDATE_PART:
    return apply_part(self, update, payload, at, ret_error);
  case VD_UPDATE_BITS:
    return apply_bits(self, update, payload, at, ret_error);
  default:
    vd_vhdx_images_set_entry(payload, at, update->layer_data[VD_UPDATE_PAYLOAD], VD_VHDX_FULLY_PRESENT);
    return VD_STEP_DONE;
  }
}

/* Those from first up to end are over, written or not. */
static void release(VdVhdxLayer *self, VdUpdate *end)
{
  VdWaiters woken = {0};

  for (VdUpdate *update = self->commit.first; update != end; update = update->next)
    vd_vhdx_place_release(self, update, &woken);
  self->commit.first = end;
  vd_waiters_wake(&woken);
}

static void finish(VdVhdxLayer *self, int result)
{
  release(self, NULL);
  vd_vhdx_images_reset(self);
  vd_vhdx_layer_later(self, self->commit.done, self->commit.user, result);
}

static void gather(VdVhdxLayer *self);

static void on_written(VdVhdxLayer *self, int result)
{
  if (result < 0 || !self->commit.next) {
    finish(self, result);
    return;
  }
  release(self, self->commit.next);
  vd_vhdx_images_reset(self);
  gather(self);
}

static void gather(VdVhdxLayer *self)
{
  VdVhdxCommit *commit = &self->commit;
  int error = 0;

  while (commit->next && self->images.n + most_pages(self) <= VD_VHDX_ENTRY_PAGES) {
    VdStep step = apply(self, commit->next, &error);

    if (step == VD_STEP_WAIT)
      return;
    if (step == VD_STEP_FAILED) {
      finish(self, error);
      return;
    }
    commit->next = commit->next->next;
  }
  vd_vhdx_journal_write(self, &self->images, on_written);
}

static void on_page(VdWaiter *waiter)
{
  gather((VdVhdxLayer *)(void *)((char *)waiter - offsetof(VdVhdxLayer, commit.waiter)));
}

void vd_vhdx_commit(VdLayer *base, VdUpdate *batch, void (*done)(void *user, int result), void *user)
{
  VdVhdxLayer *self = vd_vhdx_layer(base);

  self->commit.first = self->commit.next = batch;
  self->commit.waiter.wake = on_page;
  self->commit.done = done;
  self->commit.user = user;
  vd_vhdx_images_reset(self);
  gather(self);
}
