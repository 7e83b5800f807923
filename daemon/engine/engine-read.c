/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* READ: each part straight from the layer that has it into the request's buffer. */
#include "engine/engine-private.h"

#include <errno.h>
#include <string.h>

uint64_t vd_layer_cut(const VdLayer *layer, uint64_t offset, uint64_t length)
{
  uint64_t left;

  if (length > VD_ENGINE_MAX_TRANSFER)
    length = VD_ENGINE_MAX_TRANSFER;
  if (layer->block_size == 0)
    return length;
  left = layer->block_size - offset % layer->block_size;
  return length < left ? length : left;
}

/* A parent may be smaller than its child: zeros follow. */
VdStep vd_layer_find(VdLayer *layer, VdRequestState *state, uint64_t offset, uint64_t length, VdRun *ret_run,
                     int *ret_error)
{
  VdStep step;

  if (offset >= layer->size) {
    *ret_run = (VdRun){.kind = VD_RUN_ZERO, .length = length};
    return VD_STEP_DONE;
  }
  if (length > layer->size - offset)
    length = layer->size - offset;
  length = vd_layer_cut(layer, offset, length);
  step = layer->ops->find(layer, offset, length, ret_run, &state->waiter, ret_error);
  if (step == VD_STEP_DONE && (ret_run->length == 0 || ret_run->length > length)) {
    *ret_error = -EIO;
    return VD_STEP_FAILED;
  }
  return step;
}

/* Who waited goes on where it stood: if each began at the leaf again, many of them would need more pages of
 * metadata at a time than there are, take them from each other, and none would ever come to the end. */
static unsigned first_layer(VdRequestState *state, uint64_t offset, uint64_t *length)
{
  unsigned first = state->sought_at == offset ? state->sought_layer : 0;

  state->sought_layer = 0;
  if (first > 0 && *length > state->sought_length)
    *length = state->sought_length;
  return first;
}

VdStep vd_engine_locate(VdRequestState *state, uint64_t offset, uint64_t length, VdLayer **ret_layer,
                        VdRun *ret_run, int *ret_error)
{
  VdEngine *engine = state->engine;

  for (unsigned i = first_layer(state, offset, &length); i < engine->n_layers; i++) {
    VdStep step = vd_layer_find(engine->layers[i], state, offset, length, ret_run, ret_error);

    if (step == VD_STEP_WAIT) {
      state->sought_layer = i;
      state->sought_at = offset;
      state->sought_length = length;
    }
    if (step != VD_STEP_DONE)
      return step;
    *ret_layer = engine->layers[i];
    if (ret_run->kind != VD_RUN_PARENT)
      return VD_STEP_DONE;
    length = ret_run->length;
  }
  *ret_error = -EIO;
  return VD_STEP_FAILED;
}

static void on_read_done(VdIoOp *op, int result)
{
  vd_part_done(op->user, result);
}

static void send_read(VdRequestState *state, VdPart *part)
{
  if (!part)
    return;
  state->engine->counters.reads++;
  vd_io_submit(state->engine->io, &part->op);
}

static void fill_read(VdPart *part, const VdLayer *layer, const VdRun *run, uint8_t *buffer)
{
  part->op.kind = run->padded ? VD_IO_READ_PADDED : VD_IO_READ;
  part->op.file = layer->file;
  part->op.offset = run->offset;
  part->op.length = run->length;
  part->op.buffer = buffer;
  part->op.done = on_read_done;
  part->op.user = part;
}

/* Zeros, where the buffer is not ours to clear. */
static bool read_zeros(VdRequestState *state, uint8_t *buffer, uint64_t length)
{
  VdPart *part = vd_state_take_part(state);

  if (!part)
    return false;
  part->op.kind = VD_IO_READ;
  part->op.file = VD_IO_ZERO_FILE;
  part->op.offset = 0;
  part->op.length = length;
  part->op.buffer = buffer;
  part->op.done = on_read_done;
  part->op.user = part;
  vd_io_submit(state->engine->io, &part->op);
  return true;
}

static bool continues(const VdPart *part, const VdLayer *layer, const VdRun *run, const uint8_t *buffer)
{
  return part && !run->padded && part->op.kind == VD_IO_READ && part->op.file == layer->file &&
         part->op.offset + part->op.length == run->offset &&
         (const uint8_t *)part->op.buffer + part->op.length == buffer &&
         part->op.length + run->length <= VD_ENGINE_MAX_TRANSFER;
}

void vd_read_step(VdRequestState *state)
{
  VdRequest *request = state->request;
  VdPart *open = NULL; /* grows as long as the file goes on where it ends */

  while (!state->error && state->cursor < state->end && (state->free_parts || open)) {
    uint8_t *buffer = request->buffer + (state->cursor - request->offset);
    VdLayer *layer;
    VdRun run;
    int error;
    VdStep step = vd_engine_locate(state, state->cursor, state->end - state->cursor, &layer, &run, &error);

    if (step == VD_STEP_WAIT)
      vd_state_park(state);
    if (step == VD_STEP_FAILED)
      vd_state_fail(state, error);
    if (step != VD_STEP_DONE)
      break;
    if (run.kind == VD_RUN_ZERO) {
      if (!(request->flags & VD_REQUEST_REMOTE))
        memset(buffer, 0, run.length);
      else if (!read_zeros(state, buffer, run.length))
        break;
    } else if (continues(open, layer, &run, buffer)) {
      open->op.length += run.length;
    } else {
      send_read(state, open);
      open = vd_state_take_part(state);
      if (!open)
        break;
      fill_read(open, layer, &run, buffer);
    }
    state->cursor += run.length;
  }
  send_read(state, open);
}
