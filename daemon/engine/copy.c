/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pieces of one size go round through a few buffers: read, looked at whether they are zeros, given their
 * place in the order of the disk, written. Reads of the next ones are under way meanwhile.
 */
#include "engine/copy.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* Bytes of a piece: what is read is still in the processor's cache when it is written. */
#define PIECE (UINT64_C(512) << 10)
#define N_SLOTS 8
/* Of one piece that many files, or many places, have a part of. */
#define MAX_READS 64
/* Bytes that are shared in one call, at most: who waits hears how far it is. */
#define MAX_SHARED (UINT64_C(64) << 20)
#define ALIGNMENT 4096

typedef enum { SLOT_FREE, SLOT_READING, SLOT_WRITING } SlotState;

typedef struct {
  SlotState state;
  uint8_t *buffer; /* PIECE bytes */
  uint64_t offset, length;
  VdWalk *walk;
  VdIoOp reads[MAX_READS];
  unsigned n_reads, pending;
  int error; /* of the first that failed */
  VdIoOp failed;
  VdWalkPiece whole; /* the one place that has all of it; length 0: there is none */
} Slot;

typedef struct {
  const VdCopy *copy;
  const VdCopySteps *steps;
  VdIo *io;
  Slot slots[N_SLOTS];
  uint8_t *memory;
  unsigned first, n; /* slots in use, in the order of the disk */
  unsigned n_placed; /* of them, from the first on */
  bool cannot_share[VD_IO_MAX_FILES];
  uint64_t at; /* next to be read, bytes of the disk */
  uint64_t copied;
} Pump;

static uint64_t min(uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

static void on_done(VdIoOp *op, int result)
{
  Slot *slot = op->user;

  slot->pending--;
  if (result == 0 || slot->error != 0)
    return;
  slot->error = result;
  slot->failed = *op;
}

static bool wait_for(VdIo *io, const Slot *slot, VdFormatError *ret_error)
{
  while (slot->pending > 0) {
    int result = io->ops->wait(io);

    if (result < 0)
      return vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, 0, "", "waiting for the disk: %s",
                                 strerrordesc_np(-result));
  }
  return true;
}

/* Whatever comes of it: the buffers are the kernel's until then. */
static void drain(Pump *self)
{
  VdFormatError unused;

  for (unsigned i = 0; i < N_SLOTS; i++)
    if (!wait_for(self->io, &self->slots[i], &unused))
      return;
}

static bool judge_read(const Slot *slot, VdFormatError *ret_error)
{
  return slot->error == 0 || vd_walk_blame(slot->walk, slot->failed.file, slot->failed.offset,
                                           slot->failed.length, -slot->error, ret_error);
}

static bool judge_write(const Slot *slot, VdFormatError *ret_error)
{
  VirtdiskError code = slot->error == -ENOSPC || slot->error == -EDQUOT ? VIRTDISK_ERROR_DISK_FULL
                       : slot->error == -EFBIG ? VIRTDISK_ERROR_FILE_SYSTEM_LIMITATION
                                               : VIRTDISK_ERROR_IO;

  return slot->error == 0 ||
         vd_format_error_set(ret_error, code, slot->failed.offset, "",
                             "the new image: writing %" PRIu64 " bytes at offset %" PRIu64 ": %s",
                             slot->failed.length, slot->failed.offset, strerrordesc_np(-slot->error));
}

static bool read_piece(Slot *slot, const VdWalkPiece *piece, uint64_t within, uint64_t length,
                       VdFormatError *ret_error)
{
  VdIoOp *op;

  if (slot->n_reads == MAX_READS) {
    if (!wait_for(slot->walk->io, slot, ret_error) || !judge_read(slot, ret_error))
      return false;
    slot->n_reads = 0;
  }
  op = &slot->reads[slot->n_reads++];
  *op = (VdIoOp){.kind = piece->padded ? VD_IO_READ_PADDED : VD_IO_READ,
                 .file = piece->file,
                 .offset = piece->offset,
                 .length = length,
                 .buffer = slot->buffer + within,
                 .done = on_done,
                 .user = slot};
  slot->pending++;
  vd_io_submit(slot->walk->io, op);
  return true;
}

/* Begins to read. */
static bool fill(Slot *slot, VdWalk *walk, uint64_t offset, uint64_t length, VdFormatError *ret_error)
{
  slot->walk = walk;
  slot->offset = offset;
  slot->length = length;
  slot->n_reads = 0;
  slot->error = 0;
  slot->whole = (VdWalkPiece){0};
  for (uint64_t done = 0, part; done < length; done += part) {
    VdWalkPiece piece = {.length = length - done};

    if (offset + done < walk->size && !vd_walk_look(walk, offset + done, &piece, ret_error))
      return false;
    part = min(piece.length, length - done);
    if (!piece.data)
      memset(slot->buffer + done, 0, part);
    else if (!read_piece(slot, &piece, done, part, ret_error))
      return false;
    if (part == length)
      slot->whole = piece;
  }
  return true;
}

static bool is_zero(const uint8_t *bytes, uint64_t length)
{
  return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

/* Sharing */

static bool is_aligned(uint64_t a, uint64_t b, uint64_t c)
{
  return (a | b | c) % ALIGNMENT == 0;
}

/* False: it cannot be shared. A file system that cannot is not asked again. */
static bool share(Pump *self, const VdWalkPiece *piece, uint64_t length, uint64_t place)
{
  const VdCopy *copy = self->copy;
  struct file_clone_range range = {.src_fd = copy->source->fds[piece->file],
                                   .src_offset = piece->offset,
                                   .src_length = length,
                                   .dest_offset = place};

  if (!piece->data || piece->padded || copy->builder->whole || self->cannot_share[piece->file] ||
      !is_aligned(piece->offset, length, place))
    return false;
  if (ioctl(copy->source->fds[copy->file], FICLONERANGE, &range) == 0)
    return true;
  self->cannot_share[piece->file] = true;
  return false;
}

/* Without reading it: where the file is the disk, and gives nothing away by having shared zeros. */
static bool share_unread(Pump *self, const VdWalkPiece *piece, uint64_t *ret_length, VdFormatError *ret_error)
{
  uint64_t length = min(piece->length, MAX_SHARED) / ALIGNMENT * ALIGNMENT, place;

  *ret_length = 0;
  if (self->copy->builder->block_size != 0 || length == 0)
    return true;
  if (!vd_builder_place(self->copy->builder, self->at, &place, ret_error))
    return false;
  if (share(self, piece, length, place))
    *ret_length = length;
  return true;
}

/* Round and round */

static Slot *slot_at(Pump *self, unsigned index)
{
  return &self->slots[(self->first + index) % N_SLOTS];
}

/* The oldest that is not placed yet; its data has come. */
static bool place_one(Pump *self, VdFormatError *ret_error)
{
  Slot *slot = slot_at(self, self->n_placed);
  uint64_t place;

  if (!wait_for(self->io, slot, ret_error) || !judge_read(slot, ret_error))
    return false;
  self->n_placed++;
  slot->state = SLOT_WRITING;
  if (is_zero(slot->buffer, slot->length))
    return true;
  if (!vd_builder_place(self->copy->builder, slot->offset, &place, ret_error))
    return false;
  self->copied += slot->length;
  if (slot->whole.length != 0 && share(self, &slot->whole, slot->length, place))
    return true;
  slot->reads[0] = (VdIoOp){.kind = VD_IO_WRITE,
                            .file = self->copy->file,
                            .offset = place,
                            .length = slot->length,
                            .buffer = slot->buffer,
                            .done = on_done,
                            .user = slot};
  slot->pending = 1;
  vd_io_submit(self->io, &slot->reads[0]);
  return true;
}

/* The oldest of all is written, so that its buffer is free. */
static bool end_one(Pump *self, VdFormatError *ret_error)
{
  Slot *slot = slot_at(self, 0);

  if (self->n_placed == 0 && !place_one(self, ret_error))
    return false;
  if (!wait_for(self->io, slot, ret_error) || !judge_write(slot, ret_error))
    return false;
  slot->state = SLOT_FREE;
  self->first = (self->first + 1) % N_SLOTS;
  self->n--;
  self->n_placed--;
  return true;
}

/* Half of the slots read ahead, the others are written. */
static bool read_next(Pump *self, VdFormatError *ret_error)
{
  VdWalk *walk = self->copy->source;
  uint64_t length = min(PIECE - self->at % PIECE, walk->size - self->at);
  Slot *slot;

  if (self->n == N_SLOTS && !end_one(self, ret_error))
    return false;
  slot = slot_at(self, self->n++);
  slot->state = SLOT_READING;
  if (!fill(slot, walk, self->at, length, ret_error))
    return false;
  self->at += length;
  return self->n - self->n_placed <= N_SLOTS / 2 || place_one(self, ret_error);
}

static bool go_on(Pump *self, VdFormatError *ret_error)
{
  VdWalk *walk = self->copy->source;
  uint64_t shared;
  VdWalkPiece piece;

  if (!self->steps->step(self->steps->user, self->at, ret_error) ||
      !vd_walk_look(walk, self->at, &piece, ret_error))
    return false;
  if (!piece.data) {
    self->at += piece.length;
    return true;
  }
  if (!share_unread(self, &piece, &shared, ret_error))
    return false;
  self->at += shared;
  self->copied += shared;
  return shared != 0 || read_next(self, ret_error);
}

static bool run(Pump *self, VdFormatError *ret_error)
{
  while (self->at < self->copy->source->size)
    if (!go_on(self, ret_error))
      return false;
  while (self->n > 0)
    if (!end_one(self, ret_error))
      return false;
  return true;
}

static Pump *pump_new(VdIo *io, const VdCopySteps *steps, VdFormatError *ret_error)
{
  Pump *self = calloc(1, sizeof *self);

  if (self != NULL)
    self->memory = aligned_alloc(VD_IO_ALIGNMENT, N_SLOTS * PIECE);
  if (self == NULL || self->memory == NULL) {
    free(self);
    vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory to copy with");
    return NULL;
  }
  self->io = io;
  self->steps = steps;
  for (unsigned i = 0; i < N_SLOTS; i++)
    self->slots[i].buffer = self->memory + i * PIECE;
  return self;
}

static void pump_free(Pump *self)
{
  drain(self);
  free(self->memory);
  free(self);
}

bool vd_copy_run(const VdCopy *copy, const VdCopySteps *steps, uint64_t *ret_copied, VdFormatError *ret_error)
{
  Pump *self = pump_new(copy->source->io, steps, ret_error);
  bool good;

  if (self == NULL)
    return false;
  self->copy = copy;
  good = run(self, ret_error);
  *ret_copied = self->copied;
  pump_free(self);
  return good;
}

/* Comparing */

static bool compare_piece(Pump *self, VdWalk *a, VdWalk *b, uint64_t at, uint64_t length,
                          VdFormatError *ret_error)
{
  Slot *one = &self->slots[0], *other = &self->slots[1];

  if (!fill(one, a, at, length, ret_error) || !fill(other, b, at, length, ret_error) ||
      !wait_for(self->io, one, ret_error) || !wait_for(self->io, other, ret_error) ||
      !judge_read(one, ret_error) || !judge_read(other, ret_error))
    return false;
  if (memcmp(one->buffer, other->buffer, length) == 0)
    return true;
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, at, "",
                             "the new image differs from its source within %" PRIu64
                             " bytes at offset %" PRIu64 " of the disk",
                             length, at);
}

static bool look(VdWalk *walk, uint64_t at, uint64_t end, VdWalkPiece *ret_piece, VdFormatError *ret_error)
{
  *ret_piece = (VdWalkPiece){.length = end - at};
  return at >= walk->size || vd_walk_look(walk, at, ret_piece, ret_error);
}

static bool compare_all(Pump *self, VdWalk *a, VdWalk *b, VdFormatError *ret_error)
{
  for (uint64_t at = 0, length; at < b->size; at += length) {
    VdWalkPiece left, right;

    if (!self->steps->step(self->steps->user, at, ret_error) || !look(a, at, b->size, &left, ret_error) ||
        !look(b, at, b->size, &right, ret_error))
      return false;
    length = min(left.length, right.length);
    if (!left.data && !right.data)
      continue;
    length = min(PIECE, b->size - at);
    if (!compare_piece(self, a, b, at, length, ret_error))
      return false;
  }
  return true;
}

bool vd_copy_compare(VdWalk *a, VdWalk *b, const VdCopySteps *steps, VdFormatError *ret_error)
{
  Pump *self = pump_new(a->io, steps, ret_error);
  bool good;

  if (self == NULL)
    return false;
  good = compare_all(self, a, b, ret_error);
  pump_free(self);
  return good;
}
