/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The copying of a merge. Each slot has a piece of the disk: read straight from the file that has it, then
 * written by a request. Zeros need no buffer. Pieces do not overlap, so they may land in any order.
 */
#include "engine/merge-copy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/extents.h"

#define SLOTS 8
/* Bytes. */
#define PIECE (UINT64_C(1) << 20)
#define ZERO_PIECE (UINT64_C(64) << 20)
/* How much is looked at before whoever waits is told, bytes. */
#define SKIP_PIECE (UINT64_C(16) << 30)

typedef struct Copier Copier;

typedef struct {
  Copier *copier;
  VdIoOp op;
  VdRequest request;
  uint8_t *buffer;
  bool busy;
} Slot;

struct Copier {
  const VdMergeCopy *copy;
  Slot slots[SLOTS];
  uint8_t *memory;
  unsigned n_busy;
  uint64_t size, at; /* bytes: of the disk; behind the last piece that was begun */
  VdExtent extent;   /* what is left of it begins at `at` */
  uint64_t copied;
  int error;
  uint64_t error_at; /* in the disk, bytes */
};

static void fail(Copier *self, int error, uint64_t offset)
{
  if (self->error == 0) {
    self->error = error;
    self->error_at = offset;
  }
}

static void release(Slot *slot, int result)
{
  slot->busy = false;
  slot->copier->n_busy--;
  if (result < 0)
    fail(slot->copier, result, slot->request.offset);
}

static void on_written(VdRequest *request, int result)
{
  release(request->user, result);
}

static void on_read(VdIoOp *op, int result)
{
  Slot *slot = op->user;

  if (result < 0)
    release(slot, result);
  else
    vd_engine_submit(slot->copier->copy->engine, &slot->request);
}

static Slot *take_slot(Copier *self)
{
  unsigned i = 0;

  while (self->slots[i].busy)
    i++;
  self->slots[i].busy = true;
  self->n_busy++;
  return &self->slots[i];
}

static void begin_read(Copier *self, Slot *slot, uint64_t length)
{
  const VdExtent *extent = &self->extent;

  slot->op = (VdIoOp){.kind = extent->padded ? VD_IO_READ_PADDED : VD_IO_READ,
                      .file = self->copy->layers[extent->layer]->file,
                      .offset = extent->offset,
                      .length = length,
                      .buffer = slot->buffer,
                      .done = on_read,
                      .user = slot};
  self->copied += length;
  vd_io_submit(self->copy->merge->io, &slot->op);
}

/* The next piece of the extent; a slot is free. */
static void begin_piece(Copier *self)
{
  VdExtent *extent = &self->extent;
  bool here = extent->kind == VD_RUN_HERE;
  uint64_t most = here ? PIECE : ZERO_PIECE;
  uint64_t length = extent->length < most ? extent->length : most;
  Slot *slot = take_slot(self);

  slot->request.op = here ? VD_OP_WRITE : VD_OP_WRITE_ZEROES;
  slot->request.flags = 0;
  slot->request.offset = self->at;
  slot->request.length = length;
  slot->request.buffer = here ? slot->buffer : NULL;
  slot->request.done = on_written;
  slot->request.user = slot;
  if (here)
    begin_read(self, slot, length);
  else
    vd_engine_submit(self->copy->engine, &slot->request);
  extent->offset += length;
  extent->length -= length;
  self->at += length;
}

static void find_next(Copier *self)
{
  const VdMergeCopy *copy = self->copy;
  uint64_t left = self->size - self->at;
  int result = vd_extent_find(copy->merge->io, copy->layers, copy->first, copy->last, self->at,
                              left < SKIP_PIECE ? left : SKIP_PIECE, &self->extent);

  if (result < 0) {
    fail(self, result, self->at);
  } else if (self->extent.kind == VD_RUN_PARENT) {
    self->at += self->extent.length;
    self->extent.length = 0;
  }
}

static void wait_for_one(Copier *self)
{
  VdIo *io = self->copy->merge->io;
  unsigned before = self->n_busy;

  while (self->n_busy == before && before > 0) {
    int result = io->ops->wait(io);

    if (result < 0 && self->n_busy == before) {
      /* No completion can be had any more. */
      fail(self, result, self->at);
      return;
    }
  }
}

static void drain(Copier *self)
{
  unsigned before;

  do {
    before = self->n_busy;
    wait_for_one(self);
  } while (self->n_busy < before);
}

static bool run(Copier *self, VdFormatError *ret_error)
{
  const VdMerge *merge = self->copy->merge;

  while (self->error == 0 && self->at < self->size) {
    if (!merge->step(merge->user, self->at, self->size, ret_error))
      return false;
    if (self->extent.length == 0)
      find_next(self);
    else if (self->n_busy == SLOTS)
      wait_for_one(self);
    else
      begin_piece(self);
  }
  return true;
}

static void flush(Copier *self)
{
  Slot *slot = take_slot(self);

  slot->request.op = VD_OP_FLUSH;
  slot->request.flags = 0;
  slot->request.offset = slot->request.length = 0;
  slot->request.buffer = NULL;
  slot->request.done = on_written;
  slot->request.user = slot;
  vd_engine_submit(self->copy->engine, &slot->request);
  drain(self);
}

static bool judge(const Copier *self, VdFormatError *ret_error)
{
  bool full = self->error == -ENOSPC || self->error == -EDQUOT || self->error == -EFBIG;

  return self->error == 0 ||
         vd_format_error_set(ret_error, full ? VIRTDISK_ERROR_DISK_FULL : VIRTDISK_ERROR_IO, self->error_at,
                             "", "merging at offset %" PRIu64 " of the disk: %s", self->error_at,
                             strerrordesc_np(-self->error));
}

bool vd_merge_copy(const VdMergeCopy *copy, uint64_t *ret_copied, VdFormatError *ret_error)
{
  Copier self = {.copy = copy, .size = vd_engine_size(copy->engine)};
  bool good;

  self.memory = aligned_alloc(VD_IO_ALIGNMENT, SLOTS * PIECE);
  if (!self.memory)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory to merge");
  for (unsigned i = 0; i < SLOTS; i++) {
    self.slots[i].copier = &self;
    self.slots[i].buffer = self.memory + i * PIECE;
  }
  good = run(&self, ret_error);
  drain(&self);
  if (good && self.error == 0)
    flush(&self);
  /* With I/O that does not end (see wait_for_one()) the memory is not ours to give back. */
  if (self.n_busy == 0)
    free(self.memory);
  *ret_copied = self.copied;
  return good && judge(&self, ret_error);
}
