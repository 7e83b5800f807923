/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The file is the disk, byte for byte: raw images and ISO. Only DISCARD is more than the identity. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "engine/layer.h"

#define SECTOR_SIZE 512
/* What file systems can give back. */
#define DISCARD_SIZE 4096

typedef struct {
  VdLayer layer;
  VdIoOp punch; /* one zero() at a time */
  void (*zeroed)(void *user, int result);
  void *zeroed_user;
} RawLayer;

static void raw_free(VdLayer *layer)
{
  free(layer);
}

static VdStep raw_find(VdLayer *layer, uint64_t offset, uint64_t length, VdRun *ret_run, VdWaiter *waiter,
                       int *ret_error)
{
  *ret_run = (VdRun){.kind = VD_RUN_HERE, .length = length, .offset = offset};
  return VD_STEP_DONE;
}

static VdStep raw_place(VdLayer *layer, uint64_t offset, uint64_t length, VdPlace *ret_place,
                        VdUpdate *update, VdWaiter *waiter, int *ret_error)
{
  *ret_place = (VdPlace){.length = length, .offset = offset};
  return VD_STEP_DONE;
}

static void on_punched(VdIoOp *op, int result)
{
  RawLayer *self = op->user;

  self->zeroed(self->zeroed_user, result);
}

static void raw_zero(VdLayer *layer, uint64_t first, uint64_t count, void (*done)(void *user, int result),
                     void *user)
{
  RawLayer *self = (RawLayer *)layer;
  uint64_t offset = first * DISCARD_SIZE, length = count * DISCARD_SIZE;

  self->zeroed = done;
  self->zeroed_user = user;
  self->punch = (VdIoOp){
      .kind = VD_IO_PUNCH,
      .file = layer->file,
      .offset = offset,
      .length = length < layer->size - offset ? length : layer->size - offset,
      .done = on_punched,
      .user = self,
  };
  vd_io_submit(layer->io, &self->punch);
}

VdLayer *vd_raw_layer_open(const VdLayerSource *source, VdFormatError *ret_error)
{
  static const VdLayerOps ops = {.free = raw_free, .find = raw_find, .place = raw_place, .zero = raw_zero};
  uint64_t size = source->io->files[source->file].size;
  RawLayer *self;

  if (size < SECTOR_SIZE || size % SECTOR_SIZE != 0) {
    vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_SIZE, size, "file size",
                        "the raw image has %" PRIu64 " bytes, not a positive multiple of %d", size,
                        SECTOR_SIZE);
    return NULL;
  }
  self = calloc(1, sizeof *self);
  if (!self) {
    vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory for the raw image");
    return NULL;
  }
  self->layer = (VdLayer){
      .ops = &ops,
      .io = source->io,
      .file = source->file,
      .size = size,
      .sector_size = SECTOR_SIZE,
      .discard_size = DISCARD_SIZE,
      .writable = source->writable,
  };
  return &self->layer;
}
