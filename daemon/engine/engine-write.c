/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* WRITE, and the writing of zeros: each part straight to where the leaf says; then the map, if it must
 * change.
 */
#include "engine/engine-private.h"

#include <errno.h>

static void on_begun(void *user, int result)
{
  VdEngine *self = user;

  self->session = result == 0 ? VD_SESSION_BEGUN : VD_SESSION_NEW;
  self->session_error = result;
  vd_waiters_wake(&self->session_waiters);
}

static void on_session_wake(VdWaiter *waiter)
{
  VdRequestState *state = (VdRequestState *)((char *)waiter - offsetof(VdRequestState, waiter));

  vd_state_unpark(state, state->engine->session_error);
}

bool vd_engine_begin(VdRequestState *state)
{
  VdEngine *self = state->engine;

  if (self->session == VD_SESSION_BEGUN)
    return true;
  vd_state_park(state);
  state->waiter.wake = on_session_wake;
  vd_waiters_add(&self->session_waiters, &state->waiter);
  if (self->session == VD_SESSION_NEW) {
    self->session = VD_SESSION_BEGINNING;
    self->leaf->ops->begin(self->leaf, on_begun, self);
  }
  return false;
}

static void on_write_done(VdIoOp *op, int result)
{
  VdPart *part = op->user;
  VdEngine *engine = part->state->engine;

  if (!part->updates) {
    vd_part_done(part, result);
  } else if (result == 0) {
    vd_engine_add_update(engine, &part->update);
  } else {
    engine->leaf->ops->cancel(engine->leaf, &part->update);
    vd_part_done(part, result);
  }
}

static void send_write(VdRequestState *state, VdPart *part)
{
  if (!part)
    return;
  state->engine->counters.writes++;
  vd_io_submit(state->engine->io, &part->op);
}

static void fill_write(VdPart *part, const VdLayer *leaf, const VdPlace *place, void *buffer)
{
  part->op.kind = VD_IO_WRITE;
  part->op.file = leaf->file;
  part->op.offset = place->offset;
  part->op.length = place->length;
  part->op.buffer = buffer;
  part->op.done = on_write_done;
  part->op.user = part;
  part->updates = place->update;
}

static bool continues(const VdPart *part, const VdPlace *place, const void *buffer)
{
  return part && !part->updates && !place->update && part->op.offset + part->op.length == place->offset &&
         (const uint8_t *)part->op.buffer + part->op.length == (const uint8_t *)buffer &&
         part->op.length + place->length <= VD_ENGINE_MAX_TRANSFER;
}

/* Asks for the place of what is at the cursor. */
static VdStep ask(VdRequestState *state, uint64_t limit, VdPlace *ret_place, VdUpdate *update, int *ret_error)
{
  VdLayer *leaf = state->engine->leaf;
  uint64_t length = vd_layer_cut(leaf, state->cursor, limit - state->cursor);
  VdStep step;

  if (state->request->op != VD_OP_WRITE && length > VD_ENGINE_ZEROS)
    length = VD_ENGINE_ZEROS;
  ret_place->update = false;
  step = leaf->ops->place(leaf, state->cursor, length, ret_place, update, &state->waiter, ret_error);
  if (step == VD_STEP_DONE && (ret_place->length == 0 || ret_place->length > length)) {
    if (ret_place->update)
      leaf->ops->cancel(leaf, update);
    *ret_error = -EIO;
    return VD_STEP_FAILED;
  }
  return step;
}

void vd_write_up_to(VdRequestState *state, uint64_t limit)
{
  VdEngine *engine = state->engine;
  VdRequest *request = state->request;
  VdPart *open = NULL; /* grows as long as the file goes on where it ends */

  while (!state->error && state->cursor < limit) {
    bool zeros = request->op != VD_OP_WRITE;
    uint8_t *buffer = zeros ? engine->zeros : request->buffer + (state->cursor - request->offset);
    VdPart *part = vd_state_take_part(state);
    VdPlace place;
    int error;
    VdStep step;

    if (!part)
      break;
    step = ask(state, limit, &place, &part->update, &error);
    if (step != VD_STEP_DONE) {
      vd_state_return_part(state, part);
      if (step == VD_STEP_WAIT)
        vd_state_park(state);
      else
        vd_state_fail(state, error);
      break;
    }
    if (continues(open, &place, buffer)) {
      open->op.length += place.length;
      vd_state_return_part(state, part);
    } else {
      send_write(state, open);
      fill_write(part, engine->leaf, &place, buffer);
      open = part;
    }
    state->cursor += place.length;
  }
  send_write(state, open);
}

void vd_write_step(VdRequestState *state)
{
  if (vd_engine_begin(state))
    vd_write_up_to(state, state->end);
}
