/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From the end of the file to free places in front: what lies furthest back first, so that whoever is stopped
 * has made the file as short as the work that was done allows. What is copied is durable before the map
 * changes; the old place is used by nobody else, and goes when the file is cut. Of neighbours the order
 * stays.
 */
#include "engine/compact-private.h"

#include <errno.h>
#include <stdlib.h>

/* Pieces without space that are passed by between two looks at whether it is to end. */
#define PASS 65536

static void swap(VdRemap *a, VdRemap *b)
{
  VdRemap old = *a;

  *a = *b;
  *b = old;
}

/* A heap: each lies in front of its two children. */
static void sift_down(VdRemap *heap, unsigned n, unsigned at)
{
  for (;;) {
    unsigned least = at, child = 2 * at + 1;

    for (unsigned i = child; i < n && i < child + 2; i++)
      if (heap[i].from.offset < heap[least].from.offset)
        least = i;
    if (least == at)
      return;
    swap(&heap[at], &heap[least]);
    at = least;
  }
}

static void sift_up(VdRemap *heap, unsigned at)
{
  for (; at > 0 && heap[at].from.offset < heap[(at - 1) / 2].from.offset; at = (at - 1) / 2)
    swap(&heap[at], &heap[(at - 1) / 2]);
}

static void add(VdCompact *self, uint64_t number, VdPiece piece)
{
  VdRemap remap = {.piece = number, .from = piece, .kind = VD_RUN_HERE};

  if (self->n_last < VD_COMPACT_LAST) {
    self->last[self->n_last] = remap;
    sift_up(self->last, self->n_last++);
  } else if (piece.offset > self->last[0].from.offset) {
    self->last[0] = remap;
    sift_down(self->last, self->n_last, 0);
  }
}

/* The one that lies furthest back comes first. */
static void sort(VdCompact *self)
{
  for (unsigned n = self->n_last; n > 1; n--) {
    swap(&self->last[0], &self->last[n - 1]);
    sift_down(self->last, n - 1, 0);
  }
}

static bool find_last(VdCompact *self)
{
  uint64_t pieces = self->leaf->ops->count_pieces(self->leaf);

  self->n_last = 0;
  for (uint64_t number = 0; number < pieces; number++) {
    VdPiece piece;

    if (number % PASS == 0 && !vd_compact_step(self))
      return false;
    if (!vd_compact_piece(self, number, &piece))
      return false;
    if (piece.length > 0)
      add(self, number, piece);
  }
  sort(self);
  return true;
}

/* Takes places; how many of those at the end have one is returned. */
static unsigned take_places(VdCompact *self)
{
  VdLayer *leaf = self->leaf;
  unsigned n = 0;

  while (n < self->n_last && leaf->ops->take_place(leaf, &self->last[n].from, &self->last[n].to)) {
    self->completion += self->last[n].from.length;
    n++;
  }
  return n;
}

/* Each place was found for the piece furthest back that had none. All of them lie in front of all pieces: so
 * that they may be given out the other way round, and what follows each other goes on doing so. */
static void keep_order(VdCompact *self, unsigned n, uint64_t length)
{
  unsigned a = 0, b = n;

  while (a < b) {
    if (self->last[a].from.length != length) {
      a++;
    } else if (self->last[b - 1].from.length != length) {
      b--;
    } else {
      uint64_t to = self->last[a].to;

      b--;
      self->last[a].to = self->last[b].to;
      self->last[b].to = to;
      a++;
    }
  }
}

static void on_copied(VdIoOp *op, int result)
{
  VdCompactSlot *slot = op->user;
  VdCompact *self = slot->compact;

  if (result < 0)
    vd_compact_fail(self, result);
  self->current += op->length;
  self->result->moved += op->length;
  slot->busy = false;
  self->n_busy--;
}

static void on_read(VdIoOp *op, int result)
{
  VdCompactSlot *slot = op->user;

  if (result < 0 || (slot->has_hole && vd_compact_is_zero(slot->buffer, op->length))) {
    on_copied(op, result);
    return;
  }
  op->kind = VD_IO_WRITE;
  op->offset = slot->to;
  op->done = on_copied;
  vd_io_submit(slot->compact->engine->io, op);
}

/* Blocks have one length, those of the map another. */
static void keep_orders(VdCompact *self, unsigned n)
{
  unsigned i = 0;

  if (n == 0)
    return;
  keep_order(self, n, self->last[0].from.length);
  while (i < n && self->last[i].from.length == self->last[0].from.length)
    i++;
  if (i < n)
    keep_order(self, n, self->last[i].from.length);
}

/* The file may end inside of what is read. */
static bool copy(VdCompact *self, const VdRemap *remap, bool has_hole)
{
  for (uint64_t at = 0; at < remap->from.length; at += VD_COMPACT_CHUNK) {
    uint64_t left = remap->from.length - at;
    VdCompactSlot *slot = vd_compact_slot(self);

    if (!slot)
      return false;
    slot->busy = true;
    self->n_busy++;
    slot->to = remap->to + at;
    slot->has_hole = has_hole;
    slot->op = (VdIoOp){.kind = VD_IO_READ_PADDED,
                        .file = self->leaf->file,
                        .offset = remap->from.offset + at,
                        .length = left < VD_COMPACT_CHUNK ? left : VD_COMPACT_CHUNK,
                        .buffer = slot->buffer,
                        .done = on_read,
                        .user = slot};
    vd_io_submit(self->engine->io, &slot->op);
  }
  return true;
}

/* Where it can be had zeros are a hole at the new place too. */
static bool make_hole(VdCompact *self, const VdRemap *remap)
{
  VdIoOp op = {
      .kind = VD_IO_PUNCH, .file = self->leaf->file, .offset = remap->to, .length = remap->from.length};

  return vd_io_run(self->engine->io, &op) == 0;
}

static bool make_durable(VdCompact *self)
{
  VdIoOp flush = {.kind = VD_IO_FLUSH, .file = self->leaf->file};
  int result = vd_io_run(self->engine->io, &flush);

  return result == 0 || vd_compact_fail(self, result);
}

static void free_places(VdCompact *self, unsigned first, unsigned end)
{
  for (unsigned i = first; i < end; i++)
    self->leaf->ops->free_place(self->leaf, self->last[i].to, self->last[i].from.length);
}

/* [first, end) of the last pieces; those in front first, as they are read. */
static bool move_some(VdCompact *self, unsigned first, unsigned end)
{
  bool good = vd_compact_begin(self);

  for (unsigned i = end; i > first && good; i--)
    good = copy(self, &self->last[i - 1], make_hole(self, &self->last[i - 1]));
  if (!vd_compact_drain(self) || !good || !make_durable(self)) {
    free_places(self, first, end);
    return false;
  }
  for (unsigned i = first; i < end; i++)
    self->list[self->n_list++] = self->last[i];
  return vd_compact_record(self);
}

static unsigned batch_end(const VdCompact *self, unsigned first, unsigned n)
{
  uint64_t bytes = 0;
  unsigned end = first;

  while (end < n && end - first < VD_COMPACT_LIST && (end == first || bytes < VD_COMPACT_BATCH))
    bytes += self->last[end++].from.length;
  return end;
}

bool vd_compact_move(VdCompact *self)
{
  unsigned n, end;

  do {
    if (!find_last(self))
      return false;
    n = take_places(self);
    keep_orders(self, n);
    for (unsigned first = 0; first < n; first = end) {
      end = batch_end(self, first, n);
      if (!move_some(self, first, end)) {
        free_places(self, end, n);
        return false;
      }
    }
  } while (n == VD_COMPACT_LAST);
  return true;
}
