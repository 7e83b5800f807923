/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A run that makes an image smaller: what its two halves share. */
#include "engine/compact-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool vd_compact_fail(VdCompact *self, int error)
{
  if (self->error == 0)
    self->error = error;
  return false;
}

bool vd_compact_is_zero(const uint8_t *bytes, size_t length)
{
  uint64_t word;

  if (length < sizeof word)
    return length == 0;
  memcpy(&word, bytes, sizeof word);
  return word == 0 && memcmp(bytes, bytes + sizeof word, length - sizeof word) == 0;
}

static bool wait_once(VdCompact *self)
{
  VdIo *io = self->engine->io;
  int result = io->ops->wait(io);

  return result >= 0 || vd_compact_fail(self, result);
}

static bool go_on(VdCompact *self)
{
  if (self->completion < self->current)
    self->completion = self->current;
  if (self->error == 0 && !self->plan->step(self->plan->user, self->current, self->completion))
    self->error = -ECANCELED;
  return self->error == 0;
}

bool vd_compact_step(VdCompact *self)
{
  return go_on(self) && (self->n_busy == 0 || wait_once(self));
}

bool vd_compact_drain(VdCompact *self)
{
  while (self->n_busy > 0)
    if (!wait_once(self))
      return false;
  return go_on(self);
}

VdCompactSlot *vd_compact_slot(VdCompact *self)
{
  if (!go_on(self))
    return NULL;
  while (self->n_busy == VD_COMPACT_SLOTS)
    if (!vd_compact_step(self))
      return NULL;
  if (self->error < 0)
    return NULL;
  for (unsigned i = 0;; i++)
    if (!self->slots[i].busy)
      return &self->slots[i];
}

typedef struct {
  VdWaiter waiter; /* first member */
  bool over;
  int result;
} Wait;

static void on_woken(VdWaiter *waiter)
{
  ((Wait *)waiter)->over = true;
}

static void on_done(void *user, int result)
{
  *(Wait *)user = (Wait){.over = true, .result = result};
}

static bool wait_for(VdCompact *self, Wait *wait)
{
  while (!wait->over)
    if (!wait_once(self))
      return false;
  return wait->result == 0 || vd_compact_fail(self, wait->result);
}

bool vd_compact_piece(VdCompact *self, uint64_t number, VdPiece *ret_piece)
{
  for (;;) {
    Wait wait = {.waiter.wake = on_woken};
    int error = -EIO;
    VdStep step = self->leaf->ops->piece(self->leaf, number, ret_piece, &wait.waiter, &error);

    if (step == VD_STEP_DONE)
      return true;
    if (step == VD_STEP_FAILED)
      return vd_compact_fail(self, error);
    if (!wait_for(self, &wait))
      return false;
  }
}

bool vd_compact_begin(VdCompact *self)
{
  VdEngine *engine = self->engine;
  Wait wait = {0};

  if (engine->session == VD_SESSION_BEGUN)
    return true;
  self->leaf->keeps_identity = !self->plan->unneeded;
  self->leaf->ops->begin(self->leaf, on_done, &wait);
  if (!wait_for(self, &wait))
    return false;
  engine->session = VD_SESSION_BEGUN;
  return true;
}

bool vd_compact_record(VdCompact *self)
{
  Wait wait = {0};
  unsigned n = self->n_list;

  self->n_list = 0;
  if (n == 0)
    return true;
  if (!vd_compact_begin(self))
    return false;
  self->leaf->ops->remap(self->leaf, self->list, n, on_done, &wait);
  return wait_for(self, &wait);
}

static bool init(VdCompact *self)
{
  self->memory = aligned_alloc(VD_IO_ALIGNMENT, VD_COMPACT_SLOTS * VD_COMPACT_CHUNK);
  for (unsigned i = 0; i < VD_COMPACT_SLOTS; i++)
    self->slots[i] = (VdCompactSlot){.compact = self, .buffer = self->memory + i * VD_COMPACT_CHUNK};
  return self->memory != NULL;
}

/* What is in flight comes home first, if it can: it lies in the memory that goes. */
static int end(VdCompact *self)
{
  int error = self->error;

  while (self->n_busy > 0 && wait_once(self))
    ;
  if (self->n_busy > 0)
    return error;
  free(self->memory);
  free(self);
  return error;
}

int vd_engine_compact(VdEngine *self, const VdCompactPlan *plan, VdCompactResult *ret_result)
{
  VdCompact *compact;

  *ret_result = (VdCompactResult){0};
  if (!self->leaf->ops->remap || self->read_only)
    return -EMEDIUMTYPE;
  if (self->leaf->saved_state)
    return -EBUSY;
  compact = calloc(1, sizeof *compact);
  if (!compact)
    return -ENOMEM;
  compact->engine = self;
  compact->leaf = self->leaf;
  compact->plan = plan;
  compact->result = ret_result;
  compact->completion = self->leaf->size;
  if (!init(compact))
    vd_compact_fail(compact, -ENOMEM);
  else if (vd_compact_scan(compact) && plan->moves == VD_COMPACT_MOVE)
    vd_compact_move(compact);
  return end(compact);
}
