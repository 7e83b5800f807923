/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests: their states, who is let in when, and how they end. What they do is in engine-*.c. */
#include "engine/engine-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALL_PARTS ((UINT32_C(1) << VD_REQUEST_PARTS) - 1)

void vd_states_push(VdStates *self, VdRequestState *state)
{
  state->next = NULL;
  if (self->tail)
    self->tail->next = state;
  else
    self->head = state;
  self->tail = state;
  self->n++;
}

VdRequestState *vd_states_pop(VdStates *self)
{
  VdRequestState *state = self->head;

  if (!state)
    return NULL;
  self->head = state->next;
  if (!self->head)
    self->tail = NULL;
  self->n--;
  return state;
}

/* A block device knows few errors. */
static int to_block_error(int error)
{
  switch (error) {
  case 0:
  case -ENOSPC:
  case -EROFS:
  case -EINVAL:
  case -EREMOTEIO:
    return error;
  case -EDQUOT:
  case -EFBIG:
    return -ENOSPC;
  default:
    return -EIO;
  }
}

static int check(const VdEngine *self, const VdRequest *request)
{
  uint64_t mask = self->leaf->sector_size - 1, size = self->leaf->size;

  if (request->op == VD_OP_FLUSH)
    return 0;
  if (request->op > VD_OP_WRITE_ZEROES || request->length == 0 ||
      ((request->offset | request->length) & mask))
    return -EINVAL;
  if (request->offset > size || request->length > size - request->offset)
    return -EINVAL;
  return self->read_only && request->op != VD_OP_READ ? -EROFS : 0;
}

/* Nobody comes in while one waits to be alone, or is. */
static bool is_open(const VdEngine *self)
{
  return !self->exclusive_waiting.head && !self->exclusive_running && self->free_states;
}

static void admit(VdEngine *self, VdRequest *request)
{
  static void (*const steps[])(VdRequestState *) = {vd_read_step, vd_write_step, vd_flush_step,
                                                    vd_discard_step, vd_zeroes_step};
  VdRequestState *state = self->free_states;
  bool moves = request->op != VD_OP_FLUSH;

  self->free_states = state->next;
  self->active++;
  request->state = state;
  state->request = request;
  state->error = check(self, request);
  state->step = state->error ? NULL : steps[request->op];
  state->cursor = moves ? request->offset : 0;
  state->end = moves ? request->offset + request->length : 0;
  state->whole_end = state->zero_start = state->zero_end = 0;
  state->sought_layer = 0;
  state->flushed = false;
  vd_state_advance(state);
}

/* Those who wait: one to be alone as soon as all others are through, else the next to come in. */
static void go_on(VdEngine *self)
{
  if (self->admitting || (!self->held && !self->exclusive_waiting.head))
    return;
  self->admitting = true;
  for (;;) {
    if (self->exclusive_waiting.head && !self->exclusive_running &&
        self->active == self->exclusive_waiting.n) {
      VdRequestState *state = vd_states_pop(&self->exclusive_waiting);

      self->exclusive_running = state->exclusive = true;
      vd_state_release(state, 0);
    } else if (self->held && is_open(self)) {
      VdRequest *request = self->held;

      self->held = request->next;
      if (!self->held)
        self->held_end = &self->held;
      admit(self, request);
    } else {
      break;
    }
  }
  self->admitting = false;
}

static void complete(VdRequestState *state)
{
  VdEngine *self = state->engine;
  VdRequest *request = state->request;
  int result = to_block_error(state->error);

  self->active--;
  state->next = self->free_states;
  self->free_states = state;
  request->state = NULL;
  request->done(request, result);
}

static void on_finish_task(VdIoTask *task)
{
  VdEngine *self = (VdEngine *)((char *)task - offsetof(VdEngine, finish_task));
  VdStates finished = self->finished;
  VdRequestState *state;

  self->finished = (VdStates){0};
  while ((state = vd_states_pop(&finished)))
    complete(state);
  go_on(self);
}

static bool wants_flush(const VdRequestState *self)
{
  return !self->error && !self->flushed && self->request->op != VD_OP_READ &&
         self->request->op != VD_OP_DISCARD && (self->request->flags & VD_REQUEST_FUA);
}

static void finish(VdRequestState *self)
{
  VdEngine *engine = self->engine;

  vd_state_leave_exclusive(self);
  if (wants_flush(self)) {
    vd_engine_join_flush(self);
  } else if (engine->submitting > 0) {
    vd_states_push(&engine->finished, self);
    vd_io_defer(engine->io, &engine->finish_task);
  } else {
    complete(self);
  }
}

void vd_state_advance(VdRequestState *self)
{
  VdEngine *engine = self->engine;

  if (self->stepping) {
    self->again = true;
    return;
  }
  self->stepping = true;
  do {
    self->again = false;
    if (!self->parked && !self->error)
      self->step(self);
  } while (!self->error && (self->again || (self->holds == 0 && self->cursor < self->end)));
  self->stepping = false;
  if (self->holds == 0)
    finish(self);
  go_on(engine);
}

void vd_state_fail(VdRequestState *self, int error)
{
  if (!self->error)
    self->error = error;
}

void vd_state_release(VdRequestState *self, int error)
{
  vd_state_fail(self, error);
  self->holds--;
  vd_state_advance(self);
}

void vd_state_park(VdRequestState *self)
{
  self->parked = true;
  self->holds++;
}

static void on_wake(VdWaiter *waiter)
{
  vd_state_unpark((VdRequestState *)((char *)waiter - offsetof(VdRequestState, waiter)), 0);
}

void vd_state_unpark(VdRequestState *self, int error)
{
  self->parked = false;
  self->waiter.wake = on_wake;
  vd_state_release(self, error);
}

void vd_state_leave_exclusive(VdRequestState *self)
{
  if (self->exclusive)
    self->engine->exclusive_running = false;
  self->exclusive = false;
}

VdPart *vd_state_take_part(VdRequestState *self)
{
  unsigned i = (unsigned)__builtin_ffs((int)self->free_parts);

  if (i == 0)
    return NULL;
  self->free_parts &= self->free_parts - 1;
  self->holds++;
  return &self->parts[i - 1];
}

static void give_back(VdPart *part)
{
  part->state->free_parts |= UINT32_C(1) << (part - part->state->parts);
}

void vd_state_return_part(VdRequestState *self, VdPart *part)
{
  give_back(part);
  self->holds--;
}

void vd_part_done(VdPart *part, int error)
{
  give_back(part);
  vd_state_release(part->state, error);
}

void vd_engine_submit(VdEngine *self, VdRequest *request)
{
  self->submitting++;
  if (!self->held && is_open(self)) {
    admit(self, request);
  } else {
    request->next = NULL;
    *self->held_end = request;
    self->held_end = &request->next;
  }
  self->submitting--;
}

bool vd_engine_is_idle(const VdEngine *self)
{
  const VdLayerOps *ops = self->leaf->ops;

  return self->active == 0 && !self->held && !self->batch && !(ops->is_busy && ops->is_busy(self->leaf));
}

uint64_t vd_engine_size(const VdEngine *self)
{
  return self->leaf->size;
}

uint32_t vd_engine_sector_size(const VdEngine *self)
{
  return self->leaf->sector_size;
}

uint32_t vd_engine_block_size(const VdEngine *self)
{
  return self->leaf->block_size;
}

uint32_t vd_engine_discard_granularity(const VdEngine *self)
{
  bool can = !self->read_only && self->leaf->ops->zero;

  return can ? vd_layer_discard_size(self->leaf) : 0;
}

VdEngineCounters vd_engine_counters(const VdEngine *self)
{
  VdEngineCounters counters = self->counters;

  counters.page_loads = self->pages ? vd_pages_loads(self->pages) : 0;
  return counters;
}

typedef struct {
  bool done;
  int result;
} Closing;

static void on_closed(void *user, int result)
{
  *(Closing *)user = (Closing){true, result};
}

int vd_engine_close(VdEngine *self)
{
  Closing closing = {0};

  if (self->active > 0 || self->held)
    return -EBUSY;
  if (self->read_only || !self->leaf->ops->close)
    return 0;
  self->leaf->ops->close(self->leaf, on_closed, &closing);
  while (!closing.done) {
    int error = self->io->ops->wait(self->io);

    if (error < 0 && !closing.done)
      return error;
  }
  return closing.result;
}

static bool init_states(VdEngine *self)
{
  self->states = calloc(VD_ENGINE_MAX_REQUESTS, sizeof *self->states);
  self->zeros = aligned_alloc(VD_IO_ALIGNMENT, VD_ENGINE_ZEROS);
  if (!self->states || !self->zeros)
    return false;
  memset(self->zeros, 0, VD_ENGINE_ZEROS);
  for (unsigned i = VD_ENGINE_MAX_REQUESTS; i-- > 0;) {
    VdRequestState *state = &self->states[i];

    state->engine = self;
    state->free_parts = ALL_PARTS;
    state->waiter.wake = on_wake;
    for (unsigned j = 0; j < VD_REQUEST_PARTS; j++)
      state->parts[j].state = state;
    state->next = self->free_states;
    self->free_states = state;
  }
  return true;
}

static void init(VdEngine *self, const VdEngineOptions *options)
{
  self->leaf = self->layers[0];
  self->read_only = options && options->read_only;
  self->pages = options ? options->pages : NULL;
  self->held_end = &self->held;
  self->finish_task.run = on_finish_task;
  self->session = self->leaf->ops->begin ? VD_SESSION_NEW : VD_SESSION_BEGUN;
  vd_engine_commit_init(self);
  vd_engine_flush_init(self);
  vd_engine_zero_init(self);
}

VdEngine *vd_engine_new(VdIo *io, VdLayer *const *layers, unsigned n_layers, const VdEngineOptions *options)
{
  VdEngine *self = n_layers > 0 && n_layers <= VD_IO_MAX_FILES ? calloc(1, sizeof *self) : NULL;
  bool good = self != NULL;

  if (!good) {
    for (unsigned i = 0; i < n_layers; i++)
      vd_layer_free(layers[i]);
    errno = n_layers > 0 && n_layers <= VD_IO_MAX_FILES ? ENOMEM : EINVAL;
    return NULL;
  }
  memcpy(self->layers, layers, n_layers * sizeof *layers);
  self->n_layers = n_layers;
  self->io = io;
  init(self, options);
  good = self->leaf->writable || self->read_only;
  errno = EINVAL;
  if (good && init_states(self))
    return self;
  if (good)
    errno = ENOMEM;
  vd_engine_free(self);
  return NULL;
}

void vd_engine_free(VdEngine *self)
{
  int saved = errno;

  if (!self)
    return;
  for (unsigned i = 0; i < self->n_layers; i++)
    vd_layer_free(self->layers[i]);
  free(self->zeros);
  free(self->states);
  free(self);
  errno = saved;
}
