/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * DISCARD and WRITE_ZEROES. Whole blocks of the leaf are given back by its zero(), for which nothing else may
 * be in the engine: the request waits until those before it are through, those after it wait. What holds
 * nothing is found out before that, so that a discard of empty space disturbs nobody.
 */
#include "engine/engine-private.h"

#include <errno.h>

/* Blocks that are looked at before other requests have their turn. */
#define SCAN_MOST 16384

uint32_t vd_layer_discard_size(const VdLayer *layer)
{
  return layer->discard_size ? layer->discard_size : layer->block_size;
}

bool vd_engine_can_zero(const VdEngine *self)
{
  return !self->read_only && self->leaf->ops->zero && vd_layer_discard_size(self->leaf) != 0 &&
         !self->zero_refused;
}

/* Where the block at offset ends: the last one with the disk. */
static uint64_t block_end(const VdEngine *self, uint64_t offset)
{
  uint32_t unit = vd_layer_discard_size(self->leaf);
  uint64_t end = offset - offset % unit + unit;

  return end < self->leaf->size ? end : self->leaf->size;
}

static uint64_t round_up(const VdEngine *self, uint64_t offset)
{
  uint32_t unit = vd_layer_discard_size(self->leaf);

  return offset % unit == 0 ? offset : block_end(self, offset);
}

/* End of the last whole block of a range. */
static uint64_t whole_end(const VdEngine *self, uint64_t end)
{
  return end == self->leaf->size ? end : end - end % vd_layer_discard_size(self->leaf);
}

/* Nothing is to be done for blocks that are like this. A DISCARD need not hide what the parent shows, and
 * there is no space to be had. */
static bool is_empty(const VdRequestState *state, VdRunKind kind)
{
  return kind == VD_RUN_ZERO || (kind == VD_RUN_PARENT && state->request->op == VD_OP_DISCARD);
}

typedef enum { SCAN_EMPTY, SCAN_FULL, SCAN_STOP } Scan;

/* Whole blocks at the cursor that need no look at each of them; 0: there are none. */
static uint64_t unused(const VdRequestState *state)
{
  const VdLayer *leaf = state->engine->leaf;
  uint64_t at = state->cursor, length;

  if (!leaf->ops->unused || !is_empty(state, leaf->has_parent ? VD_RUN_PARENT : VD_RUN_ZERO))
    return 0;
  length = leaf->ops->unused(leaf, at, state->whole_end - at);
  return length > 0 ? whole_end(state->engine, at + length) - at : 0;
}

/* Looks at the block at the cursor and those that are like it. *ret_end: where they end. */
static Scan scan(VdRequestState *state, uint64_t *ret_end)
{
  VdEngine *self = state->engine;
  VdLayer *leaf = self->leaf;
  uint64_t at = state->cursor, end = block_end(self, at), run_end;
  VdRun run;
  int error;
  VdStep step;

  *ret_end = at + unused(state);
  if (*ret_end > at)
    return SCAN_EMPTY;
  step = vd_layer_find(leaf, state, at, state->whole_end - at, &run, &error);
  if (step == VD_STEP_WAIT)
    vd_state_park(state);
  if (step == VD_STEP_FAILED)
    vd_state_fail(state, error);
  if (step != VD_STEP_DONE)
    return SCAN_STOP;
  run_end = at + run.length;
  *ret_end = run_end < end ? end : whole_end(self, run_end);
  return run_end >= end && is_empty(state, run.kind) ? SCAN_EMPTY : SCAN_FULL;
}

/* zero() cannot be had: the blocks are written, or a DISCARD is through. */
static void on_refused(VdRequestState *state)
{
  state->engine->zero_refused = true;
  state->cursor = state->request->op == VD_OP_DISCARD ? state->end : state->zero_start;
}

static void on_zeroed(void *user, int result)
{
  VdRequestState *state = user;

  if (result == -EOPNOTSUPP) {
    on_refused(state);
    result = 0;
  }
  state->zero_start = state->zero_end = 0;
  vd_state_release(state, result);
}

static void zero_found(VdRequestState *state)
{
  VdLayer *leaf = state->engine->leaf;
  uint32_t unit = vd_layer_discard_size(leaf);
  uint64_t length = state->zero_end - state->zero_start;

  state->holds++;
  leaf->ops->zero(leaf, state->zero_start / unit, (length + unit - 1) / unit, on_zeroed, state);
}

static void wait_exclusive(VdRequestState *state)
{
  state->holds++;
  vd_states_push(&state->engine->exclusive_waiting, state);
}

static void on_yield_task(VdIoTask *task)
{
  vd_waiters_wake(&((VdEngine *)((char *)task - offsetof(VdEngine, yield_task)))->yielding);
}

void vd_engine_zero_init(VdEngine *self)
{
  self->yield_task.run = on_yield_task;
}

static void yield(VdRequestState *state)
{
  vd_state_park(state);
  vd_waiters_add(&state->engine->yielding, &state->waiter);
  vd_io_defer(state->engine->io, &state->engine->yield_task);
}

/* Blocks that are full gather from the cursor on. True: there are some, and their end is known. */
static bool gather(VdRequestState *state)
{
  for (unsigned n = 0; state->cursor < state->whole_end; n++) {
    uint64_t end;
    Scan found;

    if (n == SCAN_MOST) {
      yield(state);
      return false;
    }
    found = scan(state, &end);
    if (found == SCAN_STOP)
      return false;
    if (found == SCAN_EMPTY && state->zero_end > state->zero_start)
      return true;
    if (found == SCAN_FULL && !state->exclusive)
      return true;
    if (found == SCAN_FULL) {
      if (state->zero_end == state->zero_start)
        state->zero_start = state->cursor;
      state->zero_end = end;
    }
    state->cursor = end;
  }
  return state->zero_end > state->zero_start;
}

/* Makes [cursor, whole_end) zeros; true: it is through. */
static bool zero_whole(VdRequestState *state)
{
  if (!gather(state))
    return state->cursor >= state->whole_end && state->holds == 0;
  if (!vd_engine_begin(state))
    return false;
  if (state->exclusive)
    zero_found(state);
  else
    wait_exclusive(state);
  return false;
}

void vd_discard_step(VdRequestState *state)
{
  VdEngine *self = state->engine;

  if (state->holds > 0)
    return;
  if (!vd_engine_can_zero(self)) {
    state->cursor = state->end;
    return;
  }
  if (state->whole_end == 0) {
    state->cursor = round_up(self, state->cursor);
    state->whole_end = whole_end(self, state->end);
  }
  if (state->cursor >= state->whole_end || zero_whole(state))
    state->cursor = state->end;
}

/* What is not zero as it is, from the cursor on; false: the state waits. */
static bool skip_zeros(VdRequestState *state, uint64_t limit, uint64_t *ret_end)
{
  VdLayer *layer;
  VdRun run;
  int error;
  VdStep step = vd_engine_locate(state, state->cursor, limit - state->cursor, &layer, &run, &error);

  if (step == VD_STEP_WAIT)
    vd_state_park(state);
  if (step == VD_STEP_FAILED)
    vd_state_fail(state, error);
  if (step != VD_STEP_DONE)
    return false;
  *ret_end = state->cursor + run.length;
  if (run.kind == VD_RUN_ZERO)
    state->cursor = *ret_end;
  return true;
}

static void write_zeroes(VdRequestState *state, uint64_t limit)
{
  bool keep = state->request->flags & VD_REQUEST_NO_UNMAP;

  while (!state->error && !state->parked && state->cursor < limit && state->free_parts) {
    uint64_t part_end = limit;

    if (!keep && !skip_zeros(state, limit, &part_end))
      return;
    if (state->cursor < part_end && vd_engine_begin(state))
      vd_write_up_to(state, part_end);
  }
}

void vd_zeroes_step(VdRequestState *state)
{
  VdEngine *self = state->engine;
  bool whole = vd_engine_can_zero(self) && !(state->request->flags & VD_REQUEST_NO_UNMAP);
  uint64_t first = state->end; /* where whole blocks begin */

  if (whole) {
    state->whole_end = whole_end(self, state->end);
    first = round_up(self, state->cursor);
    if (first >= state->whole_end)
      first = state->end;
  }
  if (state->cursor < first)
    write_zeroes(state, first);
  else if (state->holds == 0 && zero_whole(state))
    vd_state_leave_exclusive(state);
}
