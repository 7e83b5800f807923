/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where new bytes of a VHDX go (MS-VHDX 2.5.1.1), and which blocks are being changed. A block that gets its
 * space belongs to one update alone until that is recorded or given up; of a block that is present in part
 * several updates may be under way, each for bits of its own.
 */
#include "engine/vhdx-layer.h"

#include <errno.h>

#include "util/checked.h"

static unsigned bucket_of(uint64_t key)
{
  return (unsigned)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 53) % VD_VHDX_BUSY;
}

void vd_vhdx_busy_init(VdVhdxBusyTable *self)
{
  for (uint16_t i = 0; i < VD_VHDX_BUSY; i++) {
    self->buckets[i] = VD_VHDX_BUSY;
    self->records[i].next = (uint16_t)(i + 1);
  }
  self->unused = 0;
}

static VdVhdxBusy *busy_find(VdVhdxBusyTable *self, uint64_t key)
{
  uint16_t index = self->buckets[bucket_of(key)];

  while (index < VD_VHDX_BUSY && self->records[index].key != key)
    index = self->records[index].next;
  return index < VD_VHDX_BUSY ? &self->records[index] : NULL;
}

/* There is an unused one. */
static uint64_t busy_take(VdVhdxBusyTable *self, uint64_t key, bool exclusive)
{
  VdVhdxBusy *record = busy_find(self, key);
  unsigned bucket = bucket_of(key);

  if (!record) {
    record = &self->records[self->unused];
    self->unused = record->next;
    record->key = key;
    record->next = self->buckets[bucket];
    self->buckets[bucket] = (uint16_t)(record - self->records);
  }
  record->exclusive = exclusive;
  record->count++;
  return (uint64_t)(record - self->records);
}

static void append(VdWaiters *to, VdWaiters *from)
{
  if (!from->head)
    return;
  if (to->tail)
    to->tail->next = from->head;
  else
    to->head = from->head;
  to->tail = from->tail;
  from->head = from->tail = NULL;
}

static void busy_drop(VdVhdxBusyTable *self, uint64_t index, VdWaiters *woken)
{
  VdVhdxBusy *record = &self->records[index];
  uint16_t *link = &self->buckets[bucket_of(record->key)];

  if (--record->count > 0)
    return;
  while (*link != index)
    link = &self->records[*link].next;
  *link = record->next;
  record->next = self->unused;
  self->unused = (uint16_t)index;
  append(woken, &record->waiters);
  append(woken, &self->waiters);
}

void vd_vhdx_place_release(VdVhdxLayer *self, const VdUpdate *update, VdWaiters *woken)
{
  if (update->layer_data[VD_UPDATE_CHUNK_BUSY] != VD_UPDATE_NO_CHUNK)
    busy_drop(&self->busy, update->layer_data[VD_UPDATE_CHUNK_BUSY], woken);
  busy_drop(&self->busy, update->layer_data[VD_UPDATE_BUSY], woken);
}

void vd_vhdx_cancel(VdLayer *base, VdUpdate *update)
{
  VdVhdxLayer *self = vd_vhdx_layer(base);
  VdWaiters woken = {0};

  /* No entry of the log ever named this space. */
  if (update->layer_data[VD_UPDATE_KIND] != VD_UPDATE_BITS)
    vd_vhdx_space_give(self, update->layer_data[VD_UPDATE_PAYLOAD], base->block_size);
  if (update->layer_data[VD_UPDATE_BITMAP] != 0)
    vd_vhdx_space_give(self, update->layer_data[VD_UPDATE_BITMAP], VD_VHDX_BITMAP_BLOCK);
  vd_vhdx_place_release(self, update, &woken);
  vd_waiters_wake(&woken);
}

/* What place() works on. */
typedef struct {
  VdVhdxLayer *self;
  uint64_t offset, length, block, entry;
  VdPlace *place;
  VdUpdate *update;
  VdWaiter *waiter;
  int *error;
} Placing;

static VdStep fail(const Placing *placing, int error)
{
  *placing->error = error;
  return VD_STEP_FAILED;
}

static VdStep wait_on(VdWaiters *waiters, const Placing *placing)
{
  vd_waiters_add(waiters, placing->waiter);
  return VD_STEP_WAIT;
}

static bool is_whole(const Placing *placing)
{
  uint64_t block_size = placing->self->base.block_size;
  uint64_t start = placing->block * block_size;
  uint64_t left = placing->self->base.size - start;

  return placing->offset == start && placing->length == (left < block_size ? left : block_size);
}

/* The update of bytes that lie at start + their place in the block. */
static void fill(const Placing *placing, unsigned kind, uint64_t payload, bool barrier)
{
  *placing->place = (VdPlace){.length = placing->length,
                              .offset = payload + placing->offset % placing->self->base.block_size,
                              .update = true};
  *placing->update = (VdUpdate){
      .offset = placing->offset, .length = placing->length, .block = placing->block, .barrier = barrier};
  placing->update->layer_data[VD_UPDATE_KIND] = kind;
  placing->update->layer_data[VD_UPDATE_PAYLOAD] = payload;
  placing->update->layer_data[VD_UPDATE_CHUNK_BUSY] = VD_UPDATE_NO_CHUNK;
  placing->update->layer_data[VD_UPDATE_BUSY] =
      busy_take(&placing->self->busy, placing->block, kind != VD_UPDATE_BITS);
}

/* Space of the whole block; what is not written now reads as zeros. old_is_zero: it did so before. */
static VdStep place_new(const Placing *placing, bool old_is_zero)
{
  uint64_t payload;
  bool recycled;
  VdStep step = vd_vhdx_space_take(placing->self, placing->self->base.block_size, &payload, &recycled,
                                   placing->waiter, placing->error);

  if (step == VD_STEP_DONE)
    fill(placing, VD_UPDATE_WHOLE, payload, recycled || !old_is_zero);
  return step;
}

/* Space of a block whose other sectors stay the parent's; of the chunk's bitmap too if it has none. */
static VdStep place_part(const Placing *placing)
{
  VdVhdxLayer *self = placing->self;
  const VdVhdxBatShape *shape = &self->vhdx.shape;
  uint64_t chunk_key = VD_VHDX_CHUNK_KEY | placing->block / shape->chunk_ratio;
  VdVhdxBusy *busy = busy_find(&self->busy, chunk_key);
  uint64_t bitmap, offset;
  bool has_bitmap, recycled;
  VdStep step;

  if (busy)
    return wait_on(&busy->waiters, placing);
  step = vd_vhdx_map_entry(self, vd_vhdx_bat_bitmap_index(shape, placing->block), &bitmap, placing->waiter,
                           placing->error);
  if (step != VD_STEP_DONE)
    return step;
  has_bitmap = vd_vhdx_bat_state(bitmap) == VD_VHDX_FULLY_PRESENT;
  step = vd_vhdx_space_take(self, self->base.block_size + (has_bitmap ? 0 : VD_VHDX_BITMAP_BLOCK), &offset,
                            &recycled, placing->waiter, placing->error);
  if (step != VD_STEP_DONE)
    return step;
  fill(placing, VD_UPDATE_PART, offset, true);
  if (!has_bitmap) {
    placing->update->layer_data[VD_UPDATE_BITMAP] = offset + self->base.block_size;
    placing->update->layer_data[VD_UPDATE_CHUNK_BUSY] = busy_take(&self->busy, chunk_key, true);
  }
  return VD_STEP_DONE;
}

/* No further than the page of the bitmap in which the first bit is. */
static VdStep place_bits(Placing *placing, uint64_t payload)
{
  VdVhdxLayer *self = placing->self;
  uint32_t sector_size = self->base.sector_size;
  uint64_t sector = placing->offset % self->base.block_size / sector_size;
  uint64_t count = placing->length / sector_size;
  uint64_t bits, first;
  const uint8_t *data;
  bool set;
  VdStep step = vd_vhdx_map_bitmap(self, placing->block, &bits, placing->waiter, placing->error);

  if (step != VD_STEP_DONE)
    return step;
  bits += sector / 8;
  step = vd_vhdx_map_page(self, bits / VD_VHDX_PAGE * VD_VHDX_PAGE, &data, placing->waiter, placing->error);
  if (step != VD_STEP_DONE)
    return step;
  first = bits % VD_VHDX_PAGE * 8 + sector % 8;
  if (count > VD_VHDX_PAGE * 8 - first && !is_whole(placing))
    count = VD_VHDX_PAGE * 8 - first;
  placing->length = count * sector_size;
  if (count <= VD_VHDX_PAGE * 8 - first && vd_vhdx_bits_run(data, first, count, &set) == count && set)
    *placing->place = (VdPlace){placing->length, payload + placing->offset % self->base.block_size, false};
  else
    fill(placing, VD_UPDATE_BITS, payload, true);
  return VD_STEP_DONE;
}

static VdStep place_present(Placing *placing)
{
  VdVhdxLayer *self = placing->self;
  uint64_t payload = vd_vhdx_bat_offset(placing->entry);
  uint64_t end;

  /* The image was checked when it was opened: this one was changed by others since. */
  if (payload < VD_VHDX_MIB || !vd_add_u64(payload, self->base.block_size, &end) ||
      end > vd_vhdx_round_up(self->file_size, VD_VHDX_MIB))
    return fail(placing, -EIO);
  if (vd_vhdx_bat_state(placing->entry) == VD_VHDX_PARTIALLY_PRESENT)
    return place_bits(placing, payload);
  *placing->place = (VdPlace){placing->length, payload + placing->offset % self->base.block_size, false};
  return VD_STEP_DONE;
}

static VdStep place_by_state(Placing *placing)
{
  switch (vd_vhdx_bat_state(placing->entry)) {
  case VD_VHDX_NOT_PRESENT:
    if (placing->self->base.has_parent && !is_whole(placing))
      return place_part(placing);
    return place_new(placing, !placing->self->base.has_parent);
  case VD_VHDX_UNDEFINED:
  case VD_VHDX_ZERO:
  case VD_VHDX_UNMAPPED:
    return place_new(placing, true);
  case VD_VHDX_PARTIALLY_PRESENT:
    return placing->self->base.has_parent ? place_present(placing) : fail(placing, -EIO);
  case VD_VHDX_FULLY_PRESENT:
    return place_present(placing);
  default:
    return fail(placing, -EIO);
  }
}

VdStep vd_vhdx_place(VdLayer *base, uint64_t offset, uint64_t length, VdPlace *ret_place, VdUpdate *update,
                     VdWaiter *waiter, int *ret_error)
{
  VdVhdxLayer *self = vd_vhdx_layer(base);
  Placing placing = {.self = self,
                     .offset = offset,
                     .length = length,
                     .block = offset / base->block_size,
                     .place = ret_place,
                     .update = update,
                     .waiter = waiter,
                     .error = ret_error};
  VdVhdxBusy *busy = busy_find(&self->busy, placing.block);
  VdStep step;

  if (self->session.phase != VD_VHDX_BEGUN)
    return fail(&placing, -EIO);
  if (busy && busy->exclusive)
    return wait_on(&busy->waiters, &placing);
  /* One for the block, one for its chunk. */
  if (self->busy.unused >= VD_VHDX_BUSY || self->busy.records[self->busy.unused].next >= VD_VHDX_BUSY)
    return wait_on(&self->busy.waiters, &placing);
  step = vd_vhdx_map_entry(self, vd_vhdx_bat_payload_index(&self->vhdx.shape, placing.block), &placing.entry,
                           waiter, ret_error);
  return step == VD_STEP_DONE ? place_by_state(&placing) : step;
}
