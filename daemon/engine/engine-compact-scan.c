/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which blocks need no space: those that the map says hold nothing of their own, those that nobody needs, and
 * those that hold zeros. The content is what the chain shows: a block of a child that is there in part is
 * zeros only if its parents have zeros where it has nothing. As soon as something is found the block is left.
 */
#include "engine/compact-private.h"

#include <errno.h>

#include "engine/extents.h"

/* Blocks without space that are passed by between two looks at whether it is to end. */
#define PASS 1024

/* Of a VHD that is a child the parent shows through what is gone. */
static bool can_hide_parent(const VdCompact *self)
{
  return self->leaf->ops->zero != NULL;
}

static uint64_t block_end(const VdCompact *self, uint64_t block)
{
  uint64_t start = block * self->leaf->block_size;

  return self->leaf->size - start < self->leaf->block_size ? self->leaf->size
                                                           : start + self->leaf->block_size;
}

/* Not from inside a completion: it waits. */
static bool flush_list(VdCompact *self)
{
  return self->n_list + VD_COMPACT_SLOTS < VD_COMPACT_LIST ||
         (vd_compact_drain(self) && vd_compact_record(self));
}

/* There is room: no more than the slots add to it before flush_list(). */
static void give_back(VdCompact *self, uint64_t block, VdRunKind kind)
{
  VdRemap *remap = &self->list[self->n_list];

  *remap = (VdRemap){.piece = self->leaf->ops->piece_of(self->leaf, block), .kind = kind};
  if (!vd_compact_piece(self, remap->piece, &remap->from))
    return;
  self->n_list++;
  self->result->blocks++;
}

static void read_on(VdCompactSlot *slot);

static void leave(VdCompactSlot *slot)
{
  VdCompact *self = slot->compact;

  self->current += block_end(self, slot->block) - slot->block * self->leaf->block_size;
  slot->busy = false;
  self->n_busy--;
}

static void on_read(VdRequest *request, int result)
{
  VdCompactSlot *slot = request->user;

  if (result < 0)
    vd_compact_fail(slot->compact, result);
  else if (vd_compact_is_zero(slot->buffer, request->length))
    slot->at += request->length;
  else
    slot->end = 0; /* it holds something */
  if (result == 0 && slot->at < slot->end && slot->compact->error == 0)
    read_on(slot);
  else
    leave(slot);
}

static void read_on(VdCompactSlot *slot)
{
  uint64_t most = slot->at % slot->compact->leaf->block_size == 0 ? VD_COMPACT_FIRST_LOOK : VD_COMPACT_CHUNK;
  uint64_t length = slot->end - slot->at;

  slot->request = (VdRequest){.op = VD_OP_READ,
                              .offset = slot->at,
                              .length = length < most ? length : most,
                              .buffer = slot->buffer,
                              .done = on_read,
                              .user = slot};
  vd_engine_submit(slot->compact->engine, &slot->request);
}

/* What the parents show of a range is zeros, as far as that is known or can be read. */
static bool parents_have_zeros(VdCompact *self, uint64_t offset, uint64_t end, uint8_t *buffer)
{
  VdEngine *engine = self->engine;

  while (offset < end) {
    uint64_t length = end - offset < VD_COMPACT_CHUNK ? end - offset : VD_COMPACT_CHUNK;
    VdExtent extent;
    VdIoOp op;
    int result = vd_extent_find(engine->io, engine->layers, 1, engine->n_layers - 1, offset, length, &extent);

    if (result < 0)
      return vd_compact_fail(self, result);
    offset += extent.length;
    if (extent.kind != VD_RUN_HERE)
      continue;
    op = (VdIoOp){.kind = extent.padded ? VD_IO_READ_PADDED : VD_IO_READ,
                  .file = engine->layers[extent.layer]->file,
                  .offset = extent.offset,
                  .length = extent.length,
                  .buffer = buffer};
    result = vd_io_run(engine->io, &op);
    if (result < 0)
      return vd_compact_fail(self, result);
    if (!vd_compact_is_zero(buffer, extent.length))
      return false;
  }
  return true;
}

/* A slot has read zeros to the end of its block. */
static bool found_zeros(const VdCompactSlot *slot)
{
  return slot->end != 0 && slot->at == slot->end;
}

/* What the slots found since; their buffers are free. */
static bool settle(VdCompact *self)
{
  for (unsigned i = 0; i < VD_COMPACT_SLOTS && self->error == 0; i++) {
    VdCompactSlot *slot = &self->slots[i];
    uint64_t start = slot->block * self->leaf->block_size;

    if (slot->busy || !found_zeros(slot))
      continue;
    if (can_hide_parent(self))
      give_back(self, slot->block, VD_RUN_ZERO);
    else if (parents_have_zeros(self, start, slot->end, slot->buffer))
      give_back(self, slot->block, VD_RUN_PARENT);
    slot->end = 0;
  }
  return self->error == 0;
}

static bool start_reading(VdCompact *self, uint64_t block)
{
  VdCompactSlot *slot = vd_compact_slot(self);

  if (!slot || !settle(self))
    return false;
  slot->busy = true;
  self->n_busy++;
  slot->block = block;
  slot->at = block * self->leaf->block_size;
  slot->end = block_end(self, block);
  read_on(slot);
  return true;
}

static bool is_unneeded(const VdCompact *self, uint64_t block)
{
  const VdFreeBlocks *unneeded = self->plan->unneeded;

  return unneeded && block < unneeded->blocks && (unneeded->bits[block / 8] >> (block % 8) & 1) != 0;
}

/* A block that has space. */
static bool look(VdCompact *self, uint64_t block)
{
  uint64_t start = block * self->leaf->block_size, length = block_end(self, block) - start;
  VdExtent extent;
  int result;

  if (is_unneeded(self, block)) {
    self->current += length;
    give_back(self, block, can_hide_parent(self) ? VD_RUN_ZERO : VD_RUN_PARENT);
    return self->error == 0;
  }
  result = vd_extent_find(self->engine->io, self->engine->layers, 0, 0, start, length, &extent);
  if (result < 0)
    return vd_compact_fail(self, result);
  if (extent.length == length && extent.kind != VD_RUN_HERE) {
    self->current += length;
    give_back(self, block, extent.kind);
    return self->error == 0;
  }
  if (self->plan->zeros == VD_COMPACT_SCAN)
    return start_reading(self, block);
  self->current += length;
  return true;
}

/* Blocks from this one on that never had anything. */
static uint64_t unused(const VdCompact *self, uint64_t block)
{
  VdLayer *leaf = self->leaf;
  uint64_t start = block * leaf->block_size;
  uint64_t length = leaf->ops->unused ? leaf->ops->unused(leaf, start, leaf->size - start) : 0;

  return start + length == leaf->size ? leaf->size / leaf->block_size + 1 - block : length / leaf->block_size;
}

bool vd_compact_scan(VdCompact *self)
{
  VdLayer *leaf = self->leaf;
  uint64_t blocks = (leaf->size + leaf->block_size - 1) / leaf->block_size, passed = 0;

  for (uint64_t block = 0; block < blocks;) {
    uint64_t skip = unused(self, block);
    VdPiece piece = {0};

    if (skip > 0) {
      block += skip;
      self->current = block < blocks ? block * leaf->block_size : leaf->size;
      continue;
    }
    if (++passed % PASS == 0 && !vd_compact_step(self))
      return false;
    if (!vd_compact_piece(self, leaf->ops->piece_of(leaf, block), &piece))
      return false;
    if (piece.length == 0)
      self->current += leaf->block_size;
    else if (!look(self, block) || !flush_list(self))
      return false;
    block++;
  }
  self->current = leaf->size;
  return vd_compact_drain(self) && settle(self) && vd_compact_record(self);
}
