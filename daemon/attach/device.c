/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The object that is the device. State is written here, on the main loop, and nowhere else; threads get
 * copies. Must never assume that a name such as loop3 still means the same device: the sequence number
 * decides.
 */
#include "attach/device.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "attach/device-private.h"
#include "attach/hints.h"
#include "attach/inuse.h"
#include "attach/partitions.h"
#include "attach/settle.h"
#include "attach/sysfs.h"
#include "attach/uevents.h"
#include "util/cleanup.h"
#include "util/offload.h"
#include "virtdisk-error.h"

/* Every device that the kernel still has, and the one pair of ears of all of them. Main loop only. */
static GPtrArray *live_devices;
static VdUevents *live_events;

static void device_free(VdDevice *self)
{
  vd_idle_watch_free(self->idle);
  vd_supervisor_free(self->supervisor);
  vd_attachment_free(self->attachment);
  g_free(self->reason);
  g_free(self);
}

static void stop_listening(VdDevice *self)
{
  if (live_devices == NULL || !g_ptr_array_remove_fast(live_devices, self) || live_devices->len > 0)
    return;
  g_clear_pointer(&live_devices, g_ptr_array_unref);
  g_clear_pointer(&live_events, vd_uevents_free);
}

/* How a device came to be gone. */
typedef enum {
  GONE_RELEASED, /* by us, and its node was ours again before */
  GONE_LOST,     /* by others */
} Gone;

typedef struct {
  const VdRoute *route;
  VdAttachment *attachment;
} ReclaimOp;

static void reclaim_op_free(gpointer data)
{
  ReclaimOp *op = data;

  vd_attachment_free(op->attachment);
  g_free(op);
}

static void reclaim_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  const ReclaimOp *op = data;

  op->route->reclaim(op->attachment);
  g_task_return_boolean(task, TRUE);
}

/* The next user of the name must not find it open to ours. done or NULL: afterwards. */
static void reclaim(VdDevice *self, GAsyncReadyCallback done, gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(NULL, NULL, done, user_data);
  ReclaimOp *op = g_new(ReclaimOp, 1);

  *op = (ReclaimOp){self->route, vd_attachment_copy(self->attachment)};
  g_task_set_task_data(task, op, reclaim_op_free);
  vd_offload(task, reclaim_in_thread);
}

static void tell_waiting(VdDevice *self)
{
  g_autoptr(GPtrArray) waiting = g_steal_pointer(&self->waiting);

  for (guint i = 0; waiting != NULL && i < waiting->len; i++)
    g_task_return_boolean(g_ptr_array_index(waiting, i), TRUE);
}

/* The only place where a device becomes gone. */
static void mark_gone(VdDevice *self, Gone how)
{
  VdDeviceGoneFunc func = self->gone_func;
  const VdAttachment *attachment = self->attachment;

  if (self->gone)
    return;
  vd_device_ref(self);
  self->gone = TRUE;
  self->owned = FALSE;
  self->gone_func = NULL;
  stop_listening(self);
  g_clear_pointer(&self->idle, vd_idle_watch_free);
  g_clear_pointer(&self->supervisor, vd_supervisor_free);
  if (how == GONE_LOST)
    reclaim(self, NULL, NULL);
  else
    vd_hints_remove(attachment->rundir, attachment->name, attachment->diskseq);
  if (func != NULL)
    func(self, self->gone_data);
  tell_waiting(self);
  vd_device_unref(self);
}

static void on_reclaimed(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(VdDevice) self = user_data;

  mark_gone(self, GONE_RELEASED);
}

/* Its end was noticed. An image that a worker served is not free before the worker has closed it. */
static void handle_end(VdDevice *self)
{
  if (self->attachment->serving == NULL) {
    /* While we detach it ourselves, that thread sees to the node. */
    mark_gone(self, self->detaching ? GONE_RELEASED : GONE_LOST);
    return;
  }
  if (self->detaching || self->ending || self->gone)
    return;
  self->ending = TRUE;
  reclaim(self, on_reclaimed, vd_device_ref(self));
}

static gboolean concerns(const VdUevent *event, const VdDevice *device)
{
  return event == NULL || g_str_has_prefix(event->name, device->attachment->name);
}

static void on_uevent(const VdUevent *event, gpointer user_data)
{
  g_autoptr(GPtrArray) lost = g_ptr_array_new_with_free_func((GDestroyNotify)vd_device_unref);

  for (guint i = 0; i < live_devices->len; i++) {
    VdDevice *device = g_ptr_array_index(live_devices, i);

    if (concerns(event, device) && !device->route->is_live(device->attachment))
      g_ptr_array_add(lost, vd_device_ref(device));
  }
  for (guint i = 0; i < lost->len; i++)
    handle_end(g_ptr_array_index(lost, i));
}

static void start_listening(VdDevice *self)
{
  g_autoptr(GError) error = NULL;

  if (live_devices == NULL)
    live_devices = g_ptr_array_new();
  g_ptr_array_add(live_devices, self);
  if (live_events != NULL)
    return;
  live_events = vd_uevents_new(VD_UEVENTS_KERNEL, &error);
  if (live_events != NULL)
    vd_uevents_attach(live_events, on_uevent, NULL);
  else
    g_warning("Devices that others detach will not be noticed: %s", error->message);
}

static gboolean on_gone_before(gpointer user_data)
{
  handle_end(user_data);
  return G_SOURCE_REMOVE;
}

/* There is nobody but the worker to say that a connection has ended. */
static void on_worker_failed(gpointer user_data)
{
  VdDevice *self = user_data;

  if (self->route->recover == NULL) {
    handle_end(self);
    return;
  }
  self->info.failed = TRUE;
  if (self->news_func != NULL)
    self->news_func(self, self->news_data);
}

/* Takes reason and attachment over. */
static VdDevice *device_new(const VdRoute *route, char *reason, VdAttachment *attachment, gboolean settled,
                            gboolean owned)
{
  VdDevice *self = g_new0(VdDevice, 1);

  self->refs = 1;
  self->route = route;
  self->reason = reason;
  self->attachment = attachment;
  self->owned = owned;
  self->info =
      (VdDeviceInfo){.route = route->name,
                     .reason = reason,
                     .path = attachment->path,
                     .title = *attachment->path != '\0' ? attachment->path : "a connection without device",
                     .name = attachment->name,
                     .tag = attachment->tag,
                     .number = attachment->number,
                     .diskseq = attachment->diskseq,
                     .size = attachment->size,
                     .read_only = attachment->read_only,
                     .direct_io = attachment->direct_io,
                     .settled = settled,
                     .image_dev = attachment->image_dev,
                     .image_ino = attachment->image_ino,
                     .served = attachment->serving != NULL,
                     .tracked = attachment->serving != NULL && vd_serving_is_tracked(attachment->serving)};
  start_listening(self);
  if (attachment->serving != NULL)
    self->supervisor = vd_supervisor_new(route, attachment, on_worker_failed, self);
  /* Gone before anybody listened; the owner has yet to say whom to tell. */
  if (!route->is_live(attachment))
    g_idle_add_full(G_PRIORITY_DEFAULT, on_gone_before, vd_device_ref(self), (GDestroyNotify)vd_device_unref);
  return self;
}

VdDevice *vd_device_ref(VdDevice *self)
{
  self->refs++;
  return self;
}

int vd_device_take_connection(VdDevice *self)
{
  return vd_steal_fd(&self->attachment->client_fd);
}

pid_t vd_device_worker_pid(VdDevice *self)
{
  return vd_serving_get_pid(self->attachment->serving);
}

void vd_device_rest_worker(VdDevice *self)
{
  vd_serving_rest(self->attachment->serving);
}

/* The reference that a device without owner has to itself goes with the device, or when that cannot be. */
static void on_abandoned_gone(VdDevice *self, gpointer user_data)
{
  vd_device_unref(self);
}

static void on_abandoned_detached(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdDevice *self = user_data;
  g_autoptr(GError) error = NULL;

  if (vd_device_detach_finish(self, result, NULL, &error) || self->gone)
    return;
  g_warning("%s is left attached: %s", self->info.title, error->message);
  vd_device_set_gone_func(self, NULL, NULL);
  vd_device_unref(self);
}

void vd_device_unref(VdDevice *self)
{
  if (--self->refs > 0)
    return;
  if (!self->owned || self->gone) {
    stop_listening(self);
    device_free(self);
    return;
  }
  /* Nobody is left to be asked, so it stays alive by itself until the kernel has given it back. */
  self->refs = 1;
  self->owned = FALSE;
  vd_device_set_gone_func(self, on_abandoned_gone, NULL);
  vd_device_detach_async(self, VD_DETACH_WHEN_IDLE, NULL, on_abandoned_detached, self);
}

const VdDeviceInfo *vd_device_get_info(VdDevice *self)
{
  return &self->info;
}

void vd_device_set_owned(VdDevice *self, gboolean owned)
{
  self->owned = owned && !self->gone;
}

/* It was gone before its owner had said whom to tell. */
static gboolean on_told_late(gpointer user_data)
{
  VdDevice *self = user_data;
  VdDeviceGoneFunc func = g_steal_pointer(&self->gone_func);

  if (func != NULL)
    func(self, self->gone_data);
  return G_SOURCE_REMOVE;
}

void vd_device_set_gone_func(VdDevice *self, VdDeviceGoneFunc func, gpointer user_data)
{
  self->gone_func = func;
  self->gone_data = user_data;
  if (self->gone && func != NULL)
    g_idle_add_full(G_PRIORITY_DEFAULT, on_told_late, vd_device_ref(self), (GDestroyNotify)vd_device_unref);
}

/* Attaching: prepare -> attach_in_thread -> on_attached -> (udev) on_settled -> done. */

typedef struct {
  VdAttachSpec spec; /* a deep copy; the descriptor is ours */
  GStrv udev_env;
  int *images;          /* those of the chain, and room for one */
  const VdRoute *route; /* written by the thread, read after it */
  char *reason;
  VdSettle *settle;
  VdAttachment *made;
  GError *failure;    /* why what was made is being undone */
  gpointer user_data; /* the caller's, for made_func */
} AttachOp;

static void attach_op_free(AttachOp *op)
{
  g_free((char *)op->spec.tag);
  g_free((char *)op->spec.rundir);
  g_free((VdPartitionSpec *)op->spec.partitions);
  g_free((char *)op->spec.route);
  g_free((char *)op->spec.served.program);
  g_free((char *)op->spec.served.user_argument);
  g_strfreev(op->udev_env);
  op->images[op->spec.served.n_images] = op->spec.fd;
  op->images[op->spec.served.n_images + 1] = op->spec.served.changes_fd > 0 ? op->spec.served.changes_fd : -1;
  vd_offload_close_all(op->images, op->spec.served.n_images + 2);
  g_free(op->reason);
  vd_settle_free(op->settle);
  vd_attachment_free(op->made);
  g_clear_error(&op->failure);
  g_free(op);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(AttachOp, attach_op_free)

static gboolean take_fd(int fd, int *ret_fd, GError **error)
{
  *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (*ret_fd >= 0)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, errno == EMFILE ? VIRTDISK_ERROR_NO_RESOURCES : VIRTDISK_ERROR_INTERNAL,
              "The image's descriptor cannot be duplicated: %s", g_strerror(errno));
  return FALSE;
}

static gboolean take_images(AttachOp *op, const VdServedSpec *served, GError **error)
{
  gsize *n = &op->spec.served.n_images;

  op->images = g_new(int, served->n_images + 2);
  op->spec.served.images = op->images;
  for (*n = 0; *n < served->n_images; (*n)++)
    if (!take_fd(served->images[*n], &op->images[*n], error))
      return FALSE;
  return TRUE;
}

static AttachOp *attach_op_new(const VdAttachSpec *spec, GError **error)
{
  g_autoptr(AttachOp) op = g_new0(AttachOp, 1);

  op->spec = *spec;
  op->spec.fd = -1;
  op->spec.served.changes_fd = 0;
  op->spec.route = g_strdup(spec->route);
  op->spec.served.program = g_strdup(spec->served.program);
  op->spec.served.user_argument = g_strdup(spec->served.user_argument);
  op->spec.tag = g_strdup(spec->tag);
  op->spec.rundir = g_strdup(spec->rundir);
  op->spec.partitions = g_memdup2(spec->partitions, spec->n_partitions * sizeof *spec->partitions);
  op->udev_env = g_strdupv((char **)spec->udev_env);
  op->spec.udev_env = (const char *const *)op->udev_env;
  if (!take_images(op, &spec->served, error) || !take_fd(spec->fd, &op->spec.fd, error) ||
      (spec->served.changes_fd > 0 && !take_fd(spec->served.changes_fd, &op->spec.served.changes_fd, error)))
    return NULL;
  /* It listens from here on, before the kernel makes the device. */
  op->settle = vd_settle_new(error);
  return op->settle != NULL ? g_steal_pointer(&op) : NULL;
}

static void abandon_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  AttachOp *op = data;

  op->route->abandon(op->made);
  g_task_return_boolean(task, TRUE);
}

static void abandon_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  AttachOp *op = g_task_get_task_data(task);

  g_task_return_error(task, g_steal_pointer(&op->failure));
}

/* The failure is told only after nothing is left. */
static void abandon(GTask *task, GError *failure)
{
  AttachOp *op = g_task_get_task_data(task);
  g_autoptr(GTask) undo = g_task_new(NULL, NULL, abandon_done, task);

  op->failure = failure;
  g_task_set_task_data(undo, op, NULL);
  vd_offload(undo, abandon_in_thread);
}

/* Where our rule is not installed, udev has put its own owner back. */
static void reassert_owner(VdAttachment *made)
{
  g_autoptr(GError) error = NULL;

  if (made->hold_fd >= 0 && !vd_node_give(made->hold_fd, &made->owner, &error))
    g_warning("%s: %s", made->path, error->message);
  vd_node_give_partitions(made->name, &made->owner);
}

static void on_settled(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  AttachOp *op = g_task_get_task_data(task);
  GError *error = NULL;
  gboolean settled;

  /* Cancelled: the device may be open to its owner already, and then cannot be undone at once. It is the
   * caller's to release, and to count until it is gone. */
  if (!vd_settle_wait_finish(op->settle, result, &settled, &error)) {
    g_clear_error(&error);
    settled = FALSE;
  }
  if (!op->route->is_live(op->made)) {
    abandon(g_steal_pointer(&task), g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_IO,
                                                "%s was detached by another program", op->made->path));
    return;
  }
  reassert_owner(op->made);
  vd_clear_fd(&op->made->hold_fd);
  g_task_return_pointer(
      task, device_new(op->route, g_steal_pointer(&op->reason), g_steal_pointer(&op->made), settled, TRUE),
      (GDestroyNotify)vd_device_unref);
}

static void attach_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  AttachOp *op = data;
  GError *error = NULL;

  op->route = vd_route_choose(vd_routes(), &op->spec, &op->reason, &error);
  if (op->route != NULL)
    op->made = op->route->attach(&op->spec, cancellable, &error);
  if (op->made != NULL)
    g_task_return_boolean(task, TRUE);
  else
    g_task_return_error(task, error);
}

static void on_attached(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  AttachOp *op = g_task_get_task_data(task);
  g_auto(GStrv) partitions = NULL;
  GError *error = NULL;

  if (!g_task_propagate_boolean(G_TASK(result), &error)) {
    g_task_return_error(task, error);
    return;
  }
  if (*op->made->path == '\0') {
    g_task_return_pointer(
        task, device_new(op->route, g_steal_pointer(&op->reason), g_steal_pointer(&op->made), TRUE, TRUE),
        (GDestroyNotify)vd_device_unref);
    return;
  }
  if (op->spec.made_func != NULL)
    op->spec.made_func(op->made->path, op->made->name, op->made->number, op->user_data);
  partitions = vd_partitions_list(op->made->name);
  vd_settle_wait_async(op->settle, op->made->name, op->made->diskseq, (const char *const *)partitions,
                       VD_SETTLE_DEADLINE_MS, g_task_get_cancellable(task), on_settled, task);
  g_steal_pointer(&task);
}

void vd_device_attach_async(const VdAttachSpec *spec, GCancellable *cancellable, GAsyncReadyCallback callback,
                            gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(NULL, cancellable, callback, user_data);
  g_autoptr(GTask) work = NULL;
  GError *error = NULL;
  AttachOp *op = attach_op_new(spec, &error);

  g_task_set_source_tag(task, vd_device_attach_async);
  g_task_set_check_cancellable(task, FALSE);
  if (op == NULL) {
    g_task_return_error(task, error);
    return;
  }
  op->user_data = user_data;
  g_task_set_task_data(task, op, (GDestroyNotify)attach_op_free);
  work = g_task_new(NULL, cancellable, on_attached, g_object_ref(task));
  g_task_set_check_cancellable(work, FALSE);
  g_task_set_task_data(work, op, NULL);
  vd_offload(work, attach_in_thread);
}

VdDevice *vd_device_attach_finish(GAsyncResult *result, GError **error)
{
  g_return_val_if_fail(g_async_result_is_tagged(result, vd_device_attach_async), NULL);
  return g_task_propagate_pointer(G_TASK(result), error);
}

/* Detaching: detach_in_thread on a copy -> detach_done. */

typedef struct {
  VdDevice *device; /* main loop only */
  const VdRoute *route;
  VdAttachment *attachment;
  VdDetachMode mode;
  gboolean pending;
} DetachOp;

static void detach_op_free(DetachOp *op)
{
  vd_attachment_free(op->attachment);
  vd_device_unref(op->device);
  g_free(op);
}

static void detach_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  DetachOp *op = data;
  GError *error = NULL;

  if (op->route->release(op->attachment, op->mode, cancellable, &op->pending, &error))
    g_task_return_boolean(task, TRUE);
  else
    g_task_return_error(task, error);
}

static void on_maybe_idle(gpointer user_data);

/* After a look: what happens from here on is noticed, what happened during the look by the clock. */
static void await_idle(VdDevice *self)
{
  g_clear_pointer(&self->idle, vd_idle_watch_free);
  if (self->unwanted && !self->gone && !self->ending)
    self->idle = vd_idle_watch_new(self->info.name, on_maybe_idle, self);
}

static void on_look_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(VdDevice) self = user_data;
  g_autoptr(GError) error = NULL;

  if (!vd_device_detach_finish(self, result, NULL, &error))
    g_message("%s: %s", self->info.path, error->message);
}

static void on_maybe_idle(gpointer user_data)
{
  VdDevice *self = user_data;

  if (!self->detaching)
    vd_device_detach_async(self, VD_DETACH_WHEN_IDLE, NULL, on_look_done, vd_device_ref(self));
}

static void detach_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  DetachOp *op = g_task_get_task_data(task);
  GError *error = NULL;

  op->device->detaching = FALSE;
  if (!g_task_propagate_boolean(G_TASK(result), &error))
    g_task_return_error(task, error);
  else if (op->pending)
    op->device->unwanted = op->route->idle == VD_IDLE_WATCH;
  else
    mark_gone(op->device, GONE_RELEASED);
  await_idle(op->device);
  /* Events that came while the thread was at work were left to it. */
  if (!op->device->gone && !op->route->is_live(op->device->attachment))
    handle_end(op->device);
  if (error == NULL)
    g_task_return_boolean(task, TRUE);
}

void vd_device_detach_async(VdDevice *self, VdDetachMode mode, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(NULL, cancellable, callback, user_data);
  g_autoptr(GTask) work = NULL;
  DetachOp *op = g_new0(DetachOp, 1);

  g_task_set_source_tag(task, vd_device_detach_async);
  g_task_set_check_cancellable(task, FALSE);
  op->device = vd_device_ref(self);
  op->route = self->route;
  op->attachment = vd_attachment_copy(self->attachment);
  op->mode = mode;
  g_task_set_task_data(task, op, (GDestroyNotify)detach_op_free);
  if (self->gone) {
    g_task_return_boolean(task, TRUE);
    return;
  }
  if (self->detaching) {
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_BUSY, "%s is being detached already",
                            self->info.title);
    return;
  }
  if (self->ending) {
    if (self->waiting == NULL)
      self->waiting = g_ptr_array_new_with_free_func(g_object_unref);
    g_ptr_array_add(self->waiting, g_steal_pointer(&task));
    return;
  }
  self->detaching = TRUE;
  work = g_task_new(NULL, cancellable, detach_done, g_object_ref(task));
  g_task_set_check_cancellable(work, FALSE);
  g_task_set_task_data(work, op, NULL);
  vd_offload(work, detach_in_thread);
}

gboolean vd_device_detach_finish(VdDevice *self, GAsyncResult *result, gboolean *ret_pending, GError **error)
{
  DetachOp *op;

  g_return_val_if_fail(g_async_result_is_tagged(result, vd_device_detach_async), FALSE);
  op = g_task_get_task_data(G_TASK(result));
  if (ret_pending != NULL)
    *ret_pending = op->pending && !self->gone;
  /* The last holder may have gone since the thread looked, and that was told already. */
  return g_task_propagate_boolean(G_TASK(result), self->gone ? NULL : error) || self->gone;
}

static void adopt_found(GPtrArray *devices, GPtrArray *live_files, const VdRoute *route, GPtrArray *found)
{
  for (guint i = 0; i < found->len; i++) {
    VdAttachment *attachment = g_ptr_array_index(found, i);

    g_ptr_array_add(live_files, vd_hints_file_name(attachment->name, attachment->diskseq));
    g_ptr_array_add(devices, device_new(route, g_strdup("It was found attached"), attachment, TRUE, FALSE));
  }
}

/* A device that ended while no service was there to see it. */
static void reclaim_forgotten(const char *rundir, const char *name, guint64 diskseq)
{
  g_autoptr(VdAttachment) attachment = vd_attachment_new(rundir);

  attachment->name = g_strdup(name);
  attachment->path = g_strconcat("/dev/", name, NULL);
  attachment->diskseq = diskseq;
  attachment->owner.set = vd_hints_read_owner(rundir, name, diskseq, &attachment->owner.uid,
                                              &attachment->owner.gid, &attachment->owner.mode);
  for (const VdRoute *const *route = vd_routes(); *route != NULL; route++)
    (*route)->reclaim(attachment);
}

GPtrArray *vd_device_scan(const char *rundir)
{
  GPtrArray *devices = g_ptr_array_new_with_free_func((GDestroyNotify)vd_device_unref);
  g_autoptr(GPtrArray) live_files = g_ptr_array_new_with_free_func(g_free);

  for (const VdRoute *const *route = vd_routes(); *route != NULL; route++) {
    g_autoptr(GPtrArray) found = g_ptr_array_new();

    (*route)->scan(rundir, found);
    adopt_found(devices, live_files, *route, found);
  }
  vd_hints_sweep(rundir, live_files, reclaim_forgotten);
  return devices;
}
