/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the bytes of a chain are: what the layers say, one below the other, put together. */
#include "engine/extents.h"

#include <errno.h>

/* Runs that one call puts together; so that none takes long on a table full of small ones. */
#define MAX_RUNS 4096

typedef struct {
  VdWaiter waiter; /* first member */
  bool woken;
} Wait;

static void on_woken(VdWaiter *waiter)
{
  ((Wait *)waiter)->woken = true;
}

/* Within one block. */
static int find_in_layer(VdIo *io, VdLayer *layer, uint64_t offset, uint64_t length, VdRun *ret_run)
{
  for (;;) {
    Wait wait = {.waiter.wake = on_woken};
    int error = -EIO;
    VdStep step = layer->ops->find(layer, offset, length, ret_run, &wait.waiter, &error);

    if (step != VD_STEP_WAIT)
      return step == VD_STEP_DONE ? 0 : error;
    while (!wait.woken) {
      int result = io->ops->wait(io);

      if (result < 0)
        return result;
    }
  }
}

static uint64_t min(uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

/* What one layer says. Many blocks at once where it has never had any. */
static int look(VdIo *io, VdLayer *layer, uint64_t offset, uint64_t length, VdRun *ret_run)
{
  uint64_t unused;

  if (offset >= layer->size) {
    *ret_run = (VdRun){.kind = VD_RUN_ZERO, .length = length};
    return 0;
  }
  length = min(length, layer->size - offset);
  unused = layer->ops->unused ? layer->ops->unused(layer, offset, length) : 0;
  if (unused != 0) {
    *ret_run =
        (VdRun){.kind = layer->has_parent ? VD_RUN_PARENT : VD_RUN_ZERO, .length = min(unused, length)};
    return 0;
  }
  if (layer->block_size != 0)
    length = min(length, layer->block_size - offset % layer->block_size);
  return find_in_layer(io, layer, offset, length, ret_run);
}

static int find_one(VdIo *io, VdLayer *const *layers, unsigned first, unsigned last, uint64_t offset,
                    uint64_t length, VdExtent *ret_extent)
{
  for (unsigned i = first; i <= last; i++) {
    VdRun run;
    int result = look(io, layers[i], offset, length, &run);

    if (result < 0)
      return result;
    if (run.length == 0 || run.length > length)
      return -EIO;
    length = run.length;
    *ret_extent = (VdExtent){.kind = run.kind, .layer = i, .length = length};
    if (run.kind == VD_RUN_HERE) {
      ret_extent->offset = run.offset;
      ret_extent->padded = run.padded;
    }
    if (run.kind != VD_RUN_PARENT)
      return 0;
  }
  return 0;
}

static bool follows(const VdExtent *extent, const VdExtent *next)
{
  if (extent->kind != next->kind)
    return false;
  return extent->kind != VD_RUN_HERE || (extent->layer == next->layer && extent->padded == next->padded &&
                                         extent->offset + extent->length == next->offset);
}

int vd_extent_find(VdIo *io, VdLayer *const *layers, unsigned first, unsigned last, uint64_t offset,
                   uint64_t length, VdExtent *ret_extent)
{
  VdExtent next;
  int result = find_one(io, layers, first, last, offset, length, ret_extent);

  for (unsigned n = 1; result == 0 && ret_extent->length < length && n < MAX_RUNS; n++) {
    result =
        find_one(io, layers, first, last, offset + ret_extent->length, length - ret_extent->length, &next);
    if (result < 0 || !follows(ret_extent, &next))
      return result;
    ret_extent->length += next.length;
  }
  return result;
}
