/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Another size for the disk, whatever is on it: what a partition needs has been looked at before. */
#include <inttypes.h>

#include "engine/edit.h"
#include "worker/task.h"

/* Bytes, of the image as it is; 0 with *ret_error. */
static uint64_t size_of(const VdLayerSource *source, uint32_t device_id, VdFormatError *ret_error)
{
  VdLayer *layer = vd_layer_open(source, device_id, ret_error);
  uint64_t size = layer ? layer->size : 0;

  if (layer)
    vd_layer_free(layer);
  return size;
}

bool vd_task_resize(VdServer *server, VdServeResult *result, VdFormatError *ret_error)
{
  const VdServeSetup *setup = &server->order.setup;
  VdLayerSource source;
  uint64_t size;

  if (!vd_serve_make_pages(server, ret_error))
    return false;
  source = vd_serve_source(server, 0, false);
  size = size_of(&source, setup->device_id, ret_error);
  if (size == 0)
    return false;
  if ((setup->order.flags & VD_RESIZE_GROW_ONLY) != 0 && setup->order.size < size)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_SIZE, 0, "size",
                               "the disk has %" PRIu64 " bytes, and is not to shrink to %" PRIu64, size,
                               setup->order.size);
  source.writable = true;
  if (!vd_task_step(server, 0, 1, ret_error) ||
      !vd_edit_size(&source, setup->device_id, setup->order.size, ret_error))
    return false;
  result->size = setup->order.size;
  return true;
}
