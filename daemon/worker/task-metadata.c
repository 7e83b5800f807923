/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* User metadata: ids and values are too long for a message, and go through the blob, a file in memory that
 * the daemon has made for this order alone. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "engine/edit.h"
#include "worker/task.h"

#define ID_LENGTH 16

/* One at a time: an item, or all ids. */
static uint8_t buffer[VD_METADATA_MAX_ITEM];
static uint8_t ids[VD_METADATA_MAX_ITEMS][ID_LENGTH];

static bool blob_failed(VdFormatError *ret_error)
{
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, 0, "blob",
                             "the memory that carries metadata to and from the worker: %s",
                             errno != 0 ? strerrordesc_np(errno) : "it ends early");
}

static bool write_blob(int fd, const void *bytes, size_t length, VdServeResult *result,
                       VdFormatError *ret_error)
{
  for (size_t done = 0; done < length;) {
    ssize_t n = pwrite(fd, (const uint8_t *)bytes + done, length - done, (off_t)done);

    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return blob_failed(ret_error);
    done += (size_t)n;
  }
  result->size = length;
  return true;
}

static bool read_blob(int fd, size_t length, VdFormatError *ret_error)
{
  for (size_t done = 0; done < length;) {
    ssize_t n = pread(fd, buffer + done, length - done, (off_t)done);

    if (n < 0 && errno == EINTR)
      continue;
    if (n == 0)
      errno = 0;
    if (n <= 0)
      return blob_failed(ret_error);
    done += (size_t)n;
  }
  return true;
}

static bool set(const VdServeOrder *order, const VdLayerSource *source, VdFormatError *ret_error)
{
  const VdTaskOrder *task = &order->setup.order;

  if (task->size > VD_METADATA_MAX_ITEM)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "size",
                               "an item of metadata has at most %u bytes, not %" PRIu64, VD_METADATA_MAX_ITEM,
                               task->size);
  return read_blob(order->blob_fd, task->size, ret_error) &&
         vd_metadata_set(source, order->setup.device_id, task->guid, buffer, (uint32_t)task->size, ret_error);
}

bool vd_task_metadata(VdServer *server, VdServeResult *result, VdFormatError *ret_error)
{
  const VdServeOrder *order = &server->order;
  VdLayerSource source = vd_serve_source(server, 0, (order->setup.flags & VD_SERVE_WRITABLE) != 0);
  uint32_t device_id = order->setup.device_id, length;
  unsigned n;

  switch ((VdMetadataCall)order->setup.order.call) {
  case VD_METADATA_ENUMERATE:
    return vd_metadata_enumerate(&source, device_id, ids, &n, ret_error) &&
           write_blob(order->blob_fd, ids, (size_t)n * ID_LENGTH, result, ret_error);
  case VD_METADATA_GET:
    return vd_metadata_get(&source, device_id, order->setup.order.guid, buffer, &length, ret_error) &&
           write_blob(order->blob_fd, buffer, length, result, ret_error);
  case VD_METADATA_SET:
    return set(order, &source, ret_error);
  case VD_METADATA_DELETE:
    return vd_metadata_delete(&source, device_id, order->setup.order.guid, ret_error);
  }
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "call",
                             "the order to the worker: metadata call %u is none", order->setup.order.call);
}
