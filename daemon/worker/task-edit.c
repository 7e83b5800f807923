/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One field of an image that nobody serves. It is short: whoever has begun it is not told to end. */
#include <string.h>

#include "engine/edit.h"
#include "worker/task.h"

/* A path that came over the line has its end. */
static bool check_path(const char *path, size_t size, VdFormatError *ret_error)
{
  return memchr(path, '\0', size) ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "parent",
                             "the order to the worker: a path of the parent has no end");
}

static bool edit_parent(const VdLayerSource *source, uint32_t device_id, const VdTaskOrder *order,
                        VdFormatError *ret_error)
{
  VdEditParent parent = {
      .timestamp = order->timestamp, .relative = order->parent_relative, .absolute = order->parent_absolute};

  memcpy(parent.linkage, order->linkage, sizeof parent.linkage);
  return check_path(order->parent_relative, sizeof order->parent_relative, ret_error) &&
         check_path(order->parent_absolute, sizeof order->parent_absolute, ret_error) &&
         vd_edit_parent(source, device_id, &parent, ret_error);
}

bool vd_task_edit(VdServer *server, VdServeResult *result, VdFormatError *ret_error)
{
  const VdServeSetup *setup = &server->order.setup;
  const VdTaskOrder *order = &setup->order;
  VdLayerSource source;

  if (!vd_serve_make_pages(server, ret_error))
    return false;
  source = vd_serve_source(server, 0, true);
  switch ((VdEditKind)order->call) {
  case VD_EDIT_PARENT:
    return edit_parent(&source, setup->device_id, order, ret_error);
  case VD_EDIT_IDENTIFIER:
    return vd_edit_identifier(&source, setup->device_id, order->guid, ret_error);
  case VD_EDIT_PHYSICAL_SECTOR_SIZE:
    return vd_edit_physical_sector_size(&source, setup->device_id, order->value, ret_error);
  case VD_EDIT_VIRTUAL_DISK_ID:
    return vd_edit_virtual_disk_id(&source, setup->device_id, order->guid, ret_error);
  }
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "call",
                             "the order to the worker: edit %u is none", order->call);
}
