/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The part of an operation that runs in a thread: the order to a worker, and what it answers. Of the handle
 * only descriptors are used, which stay open for as long as the operation is known to be under way. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "operate-private.h"
#include "util/cleanup.h"

/* Milliseconds between two words of a worker; one that says less is stuck. Disks of a sleeping server count.
 */
#define SILENCE_DEADLINE_MS (5 * 60 * 1000)
#define MAX_ITEMS_SIZE (VD_OPERATION_MAX_ITEMS * 16)

static VdTask task_of(VdOperationKind kind)
{
  switch (kind) {
  case VD_OPERATION_COMPACT:
    return VD_TASK_COMPACT;
  case VD_OPERATION_EXPAND:
  case VD_OPERATION_RESIZE:
    return VD_TASK_RESIZE;
  case VD_OPERATION_MERGE:
    return VD_TASK_MERGE;
  case VD_OPERATION_MEASURE:
    return VD_TASK_MEASURE;
  case VD_OPERATION_SET_CHANGE_TRACKING:
  case VD_OPERATION_CHANGE_TRACKING_STATE:
  case VD_OPERATION_QUERY_CHANGES:
    return VD_TASK_CHANGES;
  case VD_OPERATION_ENUMERATE_METADATA:
  case VD_OPERATION_GET_METADATA:
  case VD_OPERATION_SET_METADATA:
  case VD_OPERATION_DELETE_METADATA:
    return VD_TASK_METADATA;
  default:
    return VD_TASK_EDIT;
  }
}

static guint32 call_of(const VdOperation *op)
{
  switch (op->kind) {
  case VD_OPERATION_SET_CHANGE_TRACKING:
    return op->value;
  case VD_OPERATION_CHANGE_TRACKING_STATE:
    return VD_CHANGES_STATE;
  case VD_OPERATION_QUERY_CHANGES:
    return VD_CHANGES_QUERY;
  case VD_OPERATION_ENUMERATE_METADATA:
    return VD_METADATA_ENUMERATE;
  case VD_OPERATION_GET_METADATA:
    return VD_METADATA_GET;
  case VD_OPERATION_SET_METADATA:
    return VD_METADATA_SET;
  case VD_OPERATION_DELETE_METADATA:
    return VD_METADATA_DELETE;
  case VD_OPERATION_SET_PARENT:
  case VD_OPERATION_SET_LOCATOR:
    return VD_EDIT_PARENT;
  case VD_OPERATION_SET_IDENTIFIER:
    return VD_EDIT_IDENTIFIER;
  case VD_OPERATION_SET_PHYSICAL_SECTOR_SIZE:
    return VD_EDIT_PHYSICAL_SECTOR_SIZE;
  case VD_OPERATION_SET_VIRTUAL_DISK_ID:
    return VD_EDIT_VIRTUAL_DISK_ID;
  default:
    return 0;
  }
}

static void take_files(Operate *o)
{
  const VdHandle *handle = o->handle;
  gboolean whole = o->op.kind == VD_OPERATION_COMPACT || o->op.kind == VD_OPERATION_MERGE ||
                   o->op.kind == VD_OPERATION_MEASURE;
  guint n_parents = whole && handle->chain != NULL ? handle->chain->images->len : 0;

  o->fds = g_new(int, n_parents + 1);
  o->fds[0] = o->child != NULL ? o->child->fd : handle->image->fd;
  for (guint i = 0; i < n_parents; i++)
    o->fds[i + 1] = ((VdImage *)g_ptr_array_index(handle->chain->images, i))->fd;
  o->n_fds = n_parents + 1;
  o->n_written = !vd_operate_writes(o->op.kind) || vd_operate_is_of_changes(o->op.kind) ? 0
                 : o->op.kind == VD_OPERATION_MERGE                                     ? o->op.target_depth
                                                                                        : 1;
}

/* What was checked for a growth must not become something else, whatever size the image has by now. */
static gboolean is_growth(const Operate *o)
{
  return o->op.kind == VD_OPERATION_EXPAND ||
         (o->op.kind == VD_OPERATION_RESIZE && o->op.new_size >= o->virtual_size);
}

/* Who writes to the image now knows its changes, or nobody does. */
static guint32 flags_of_changes(const VdDisk *disk)
{
  const VdDiskAttachment *a = disk->attachment;

  if (a == NULL || a->device == NULL || a->plan.read_only)
    return 0;
  return vd_device_get_info(a->device)->tracked ? VD_CHANGES_SERVED : VD_CHANGES_UNTRACKED;
}

static void fill_changes(Operate *o)
{
  o->order.flags = flags_of_changes(o->handle->disk);
  o->order.disk_size = o->virtual_size;
  if (o->op.kind != VD_OPERATION_QUERY_CHANGES)
    return;
  o->order.offset = o->op.offset;
  o->order.size = o->op.length;
  g_strlcpy(o->order.change_tracking_id, o->op.id, sizeof o->order.change_tracking_id);
}

void vd_operate_fill(Operate *o)
{
  const VdOperation *op = &o->op;

  take_files(o);
  o->order.call = call_of(op);
  o->order.flags = op->kind == VD_OPERATION_COMPACT ? op->flags : is_growth(o) ? VD_RESIZE_GROW_ONLY : 0;
  o->order.source_depth = op->source_depth;
  o->order.target_depth = op->target_depth;
  o->order.value = op->value;
  o->order.size = op->data != NULL ? g_bytes_get_size(op->data) : op->new_size;
  memcpy(o->order.guid, op->guid, sizeof o->order.guid);
  if (vd_operate_is_of_changes(op->kind))
    fill_changes(o);
}

/* Data too long for a message */

static gboolean write_all(int fd, GBytes *bytes, GError **error)
{
  gsize left;
  const guint8 *data = g_bytes_get_data(bytes, &left);

  while (left > 0) {
    gssize n = write(fd, data, left);

    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0) {
      g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NO_RESOURCES, "data for the worker: %s",
                  g_strerror(errno));
      return FALSE;
    }
    data += n;
    left -= (gsize)n;
  }
  return TRUE;
}

static int make_blob(const Operate *o, GError **error)
{
  vd_autofd fd = memfd_create("virtdisk-blob", MFD_CLOEXEC);

  if (fd < 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NO_RESOURCES, "memory for the worker: %s",
                g_strerror(errno));
    return -1;
  }
  if (o->op.data != NULL && !write_all(fd, o->op.data, error))
    return -1;
  return vd_steal_fd(&fd);
}

static GBytes *read_blob(int fd, guint64 size, guint64 ceiling, GError **error)
{
  g_autofree guint8 *data = NULL;
  gsize done = 0;

  if (size > ceiling) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_WORKER_LOST,
                "the worker's answer: %" G_GUINT64_FORMAT " bytes of metadata", size);
    return NULL;
  }
  data = g_malloc(size + 1);
  while (done < size) {
    gssize n = pread(fd, data + done, size - done, (off_t)done);

    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0) {
      g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_WORKER_LOST,
                          "the worker's answer: less metadata than it says");
      return NULL;
    }
    done += (gsize)n;
  }
  return g_bytes_new_take(g_steal_pointer(&data), size);
}

/* In order, apart, and within what was asked for. */
static gboolean check_ranges(const Operate *o, GError **error)
{
  guint64 at = o->op.offset, end = o->op.offset + o->result->processed;
  gsize n = g_bytes_get_size(o->result->data) / 16;
  const guint64 *numbers = g_bytes_get_data(o->result->data, NULL);
  gboolean sound = g_bytes_get_size(o->result->data) % 16 == 0 && o->result->processed <= o->op.length;

  for (gsize i = 0; sound && i < n; i++) {
    guint64 offset = GUINT64_FROM_LE(numbers[2 * i]), length = GUINT64_FROM_LE(numbers[2 * i + 1]);

    sound = offset >= at && offset <= end && length > 0 && length <= end - offset;
    at = offset + length;
  }
  if (!sound)
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_WORKER_LOST,
                        "the worker's answer: ranges of changes that cannot be");
  return sound;
}

static gboolean take_ranges(Operate *o, int fd, guint64 size, GError **error)
{
  o->result->data = read_blob(fd, size, (guint64)o->op.value * 16, error);
  return o->result->data != NULL && check_ranges(o, error);
}

static gboolean take_blob(Operate *o, int fd, guint64 size, GError **error)
{
  gboolean list = o->op.kind == VD_OPERATION_ENUMERATE_METADATA;

  if (o->op.kind == VD_OPERATION_QUERY_CHANGES)
    return take_ranges(o, fd, size, error);
  if (!list && o->op.kind != VD_OPERATION_GET_METADATA)
    return TRUE;
  o->result->data = read_blob(fd, size, list ? MAX_ITEMS_SIZE : VD_OPERATION_MAX_ITEM, error);
  if (o->result->data != NULL && list && size % 16 != 0)
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_WORKER_LOST,
                        "the worker's answer: part of an id of metadata");
  return o->result->data != NULL && (!list || size % 16 == 0);
}

/* One worker */

static gboolean run(Operate *o, VdTask task, guint n_written, int blob, GCancellable *cancellable,
                    VdServeResult *ret_told, GError **error)
{
  VdServiceSpec spec = {
      .program = o->program,
      .user_argument = o->user_argument,
      .setup = {.task = task,
                .flags = n_written > 0 ? VD_SERVE_WRITABLE : 0,
                .device_id = o->handle->disk->device_id,
                .n_written = n_written,
                .order = o->order},
      .transport_fd = -1,
      .images = o->fds,
      .n_images = o->n_fds,
      .blob_fd = MAX(blob, 0),
      .changes_fd = MAX(o->changes_fd, 0),
      .deadline_ms = SILENCE_DEADLINE_MS,
      .progress = o->job != NULL ? vd_job_tell : NULL,
      .progress_user = o->job,
  };
  g_autoptr(VdService) service = vd_service_start(&spec, cancellable, error);

  return service != NULL && vd_service_get_result(service, ret_told, error);
}

static gboolean needs_guard(const Operate *o)
{
  return o->op.kind == VD_OPERATION_RESIZE &&
         (o->op.flags & VIRTDISK_RESIZE_ALLOW_UNSAFE_VIRTUAL_SIZE) == 0 && o->op.new_size < o->virtual_size;
}

static gboolean guard_size(Operate *o, GCancellable *cancellable, GError **error)
{
  VdServeResult measured;

  return !needs_guard(o) ||
         (run(o, VD_TASK_MEASURE, 0, -1, cancellable, &measured, error) &&
          vd_operate_guard_size(&o->op, o->virtual_size, measured.smallest_safe_size, &o->order.size, error));
}

/* Numbers that a worker tells are for people; sizes are learnt anew from the image. */
static void keep_result(Operate *o, const VdServeResult *told)
{
  VdOperationResult *result = o->result;

  result->size = told->size;
  result->copied = told->copied;
  result->given_back = told->given_back;
  result->smallest_safe_size = MIN(told->smallest_safe_size, VD_MAX_VIRTUAL_SIZE);
  result->fragmentation = MIN(told->fragmentation, 100);
  result->fell_back = told->fell_back;
  result->processed = told->processed;
  result->changes = told->changes;
  g_strlcpy(result->note, told->note, sizeof result->note);
}

/* Who asks file systems needs a file of its own, for libblkid. */
static gboolean wants_blob(const Operate *o, VdTask task)
{
  return task == VD_TASK_METADATA || o->op.kind == VD_OPERATION_QUERY_CHANGES ||
         (task == VD_TASK_COMPACT && (o->order.flags & VD_COMPACT_FILE_SYSTEMS) != 0);
}

gboolean vd_operate_work(Operate *o, GCancellable *cancellable, GError **error)
{
  VdTask task = task_of(o->op.kind);
  vd_autofd blob = -1;
  VdServeResult told;

  o->result = g_new0(VdOperationResult, 1);
  if (o->op.kind == VD_OPERATION_CHANGE_TRACKING_STATE && o->changes_fd < 0)
    return TRUE;
  if (wants_blob(o, task)) {
    blob = make_blob(o, error);
    if (blob < 0)
      return FALSE;
  }
  if (!guard_size(o, cancellable, error) || !run(o, task, o->n_written, blob, cancellable, &told, error))
    return FALSE;
  keep_result(o, &told);
  return take_blob(o, blob, told.size, error);
}

/* data outlives the thread: the task that waits for it owns it. */
void vd_operate_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  GError *error = NULL;

  if (vd_operate_work(data, cancellable, &error))
    g_task_return_boolean(task, TRUE);
  else
    g_task_return_error(task, error);
}
