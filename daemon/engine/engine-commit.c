/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The commit pump: changes of the map whose payload is written are recorded together, one batch at a time.
 * What comes while a batch is under way is the next one, so that parallel writes share the flushes.
 */
#include "engine/engine-private.h"

#include <errno.h>

void vd_engine_add_update(VdEngine *self, VdUpdate *update)
{
  update->next = NULL;
  *self->pending_end = update;
  self->pending_end = &update->next;
  self->counters.updates++;
  vd_io_defer(self->io, &self->commit_task);
}

static VdPart *part_of(VdUpdate *update)
{
  return (VdPart *)((char *)update - offsetof(VdPart, update));
}

/* The batch is over; its requests go on. They may add to the next one. */
static void end_batch(VdEngine *self, int result)
{
  VdUpdate *update = self->batch;

  self->batch = NULL;
  if (self->pending)
    vd_io_defer(self->io, &self->commit_task);
  while (update) {
    VdUpdate *next = update->next;

    vd_part_done(part_of(update), result);
    update = next;
  }
}

static void on_committed(void *user, int result)
{
  end_batch(user, result);
}

static void commit(VdEngine *self)
{
  self->counters.commits++;
  self->leaf->ops->commit(self->leaf, self->batch, on_committed, self);
}

static void cancel_batch(VdEngine *self)
{
  VdUpdate *update = self->batch;

  while (update) {
    VdUpdate *next = update->next;

    self->leaf->ops->cancel(self->leaf, update);
    update = next;
  }
}

static void on_barrier_done(VdIoOp *op, int result)
{
  VdEngine *self = op->user;

  if (result < 0) {
    cancel_batch(self);
    end_batch(self, result);
    return;
  }
  if (self->leaf->ops->flushed)
    self->leaf->ops->flushed(self->leaf, self->barrier_mark);
  commit(self);
}

static bool needs_barrier(const VdUpdate *update)
{
  while (update && !update->barrier)
    update = update->next;
  return update != NULL;
}

/* At the end of a round: all payload that was written in it goes together. */
static void on_commit_task(VdIoTask *task)
{
  VdEngine *self = (VdEngine *)((char *)task - offsetof(VdEngine, commit_task));

  if (self->batch || !self->pending)
    return;
  self->batch = self->pending;
  self->pending = NULL;
  self->pending_end = &self->pending;
  if (!needs_barrier(self->batch)) {
    commit(self);
    return;
  }
  self->counters.flushes++;
  if (self->leaf->ops->begin_flush)
    self->barrier_mark = self->leaf->ops->begin_flush(self->leaf);
  vd_io_submit(self->io, &self->barrier);
}

void vd_engine_commit_init(VdEngine *self)
{
  self->pending_end = &self->pending;
  self->commit_task.run = on_commit_task;
  self->barrier =
      (VdIoOp){.kind = VD_IO_FLUSH, .file = self->leaf->file, .done = on_barrier_done, .user = self};
}
