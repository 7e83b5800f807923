/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What every backend of VdIo shares: work put off to the end of a round, flushes, waiters, and waiting for
 * one op. */
#include "engine/io.h"

#include <errno.h>

#include "engine/layer.h"

typedef struct {
  VdIoDone done;
  void *user;
  bool finished;
} Run;

void vd_io_init(VdIo *self, const VdIoOps *ops)
{
  self->ops = ops;
  self->tasks = NULL;
  self->tasks_end = &self->tasks;
}

void vd_io_defer(VdIo *self, VdIoTask *task)
{
  if (task->queued)
    return;
  task->queued = true;
  task->next = NULL;
  *self->tasks_end = task;
  self->tasks_end = &task->next;
}

bool vd_io_run_tasks(VdIo *self)
{
  VdIoTask *task = self->tasks;

  /* Those that are put off from here on belong to the next round. */
  self->tasks = NULL;
  self->tasks_end = &self->tasks;
  if (!task)
    return false;
  while (task) {
    VdIoTask *next = task->next;

    task->queued = false;
    task->run(task);
    task = next;
  }
  return true;
}

static void tell(VdIoOp *list, int result)
{
  while (list) {
    VdIoOp *op = list;

    list = op->next;
    op->result = result;
    op->done(op, result);
  }
}

static VdIoOp *take_waiting(VdIoFlusher *self)
{
  VdIoOp *list = self->waiting;

  self->waiting = NULL;
  return list;
}

static void on_flush_done(VdIoOp *op, int result);

static void flush_next(VdIoFlusher *self)
{
  if (self->active || !self->waiting)
    return;
  if (self->failed) {
    vd_io_defer(self->io, &self->task);
    return;
  }
  self->active = take_waiting(self);
  self->op = (VdIoOp){.kind = VD_IO_FLUSH, .file = self->active->file, .done = on_flush_done, .user = self};
  self->io->ops->submit(self->io, &self->op);
}

static void on_flush_done(VdIoOp *op, int result)
{
  VdIoFlusher *self = op->user;
  VdIoOp *list = self->active;

  self->active = NULL;
  self->failed = result < 0;
  flush_next(self);
  tell(list, result);
}

static void on_flush_task(VdIoTask *task)
{
  VdIoFlusher *self = (VdIoFlusher *)((char *)task - offsetof(VdIoFlusher, task));

  tell(take_waiting(self), -EIO);
}

void vd_io_submit_flush(VdIo *self, VdIoOp *op)
{
  VdIoFlusher *flusher = &self->flushers[op->file];

  flusher->io = self;
  flusher->task.run = on_flush_task;
  op->next = NULL;
  if (!flusher->waiting)
    flusher->waiting_end = &flusher->waiting;
  *flusher->waiting_end = op;
  flusher->waiting_end = &op->next;
  flush_next(flusher);
}

static void on_run_done(VdIoOp *op, int result)
{
  Run *run = op->user;

  op->user = run->user;
  op->done = run->done;
  run->finished = true;
  if (run->done)
    run->done(op, result);
}

static void on_lost_done(VdIoOp *op, int result) {}

int vd_io_run(VdIo *self, VdIoOp *op)
{
  Run run = {.done = op->done, .user = op->user};

  op->done = on_run_done;
  op->user = &run;
  vd_io_submit(self, op);
  while (!run.finished) {
    int error = self->ops->wait(self);

    if (error < 0 && !run.finished) {
      op->done = on_lost_done;
      return error;
    }
  }
  return op->result;
}

void vd_waiters_add(VdWaiters *self, VdWaiter *waiter)
{
  waiter->next = NULL;
  if (self->tail)
    self->tail->next = waiter;
  else
    self->head = waiter;
  self->tail = waiter;
}

void vd_waiters_wake(VdWaiters *self)
{
  VdWaiter *waiter = self->head;

  self->head = self->tail = NULL;
  while (waiter) {
    VdWaiter *next = waiter->next;

    waiter->wake(waiter);
    waiter = next;
  }
}
