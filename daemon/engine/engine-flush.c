/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * FLUSH and FUA: one flush of the file at a time; all requests that came before it began share it, all that
 * come while it runs share the next.
 */
#include "engine/engine-private.h"

void vd_engine_join_flush(VdRequestState *state)
{
  VdEngine *self = state->engine;

  state->holds++;
  state->flushed = true;
  vd_states_push(&self->flush_waiting, state);
  vd_io_defer(self->io, &self->flush_task);
}

void vd_flush_step(VdRequestState *state)
{
  if (!state->flushed && !state->engine->read_only)
    vd_engine_join_flush(state);
}

static void on_flush_done(VdIoOp *op, int result)
{
  VdEngine *self = op->user;
  VdStates done = self->flush_active;
  VdRequestState *state;

  self->flush_active = (VdStates){0};
  if (self->flush_waiting.head)
    vd_io_defer(self->io, &self->flush_task);
  if (result == 0 && self->leaf->ops->flushed)
    self->leaf->ops->flushed(self->leaf, self->flush_mark);
  while ((state = vd_states_pop(&done)))
    vd_state_release(state, result);
}

static void on_flush_task(VdIoTask *task)
{
  VdEngine *self = (VdEngine *)((char *)task - offsetof(VdEngine, flush_task));

  if (self->flush_active.head || !self->flush_waiting.head)
    return;
  self->flush_active = self->flush_waiting;
  self->flush_waiting = (VdStates){0};
  self->counters.flushes++;
  self->counters.flushes_shared += self->flush_active.n - 1;
  if (self->leaf->ops->begin_flush)
    self->flush_mark = self->leaf->ops->begin_flush(self->leaf);
  vd_io_submit(self->io, &self->flush);
}

void vd_engine_flush_init(VdEngine *self)
{
  self->flush_task.run = on_flush_task;
  self->flush = (VdIoOp){.kind = VD_IO_FLUSH, .file = self->leaf->file, .done = on_flush_done, .user = self};
}
