/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From device back to image: refuse while others need it and say who; inner images first when forced. */
#include "manager-private.h"
#include "nesting.h"
#include "store/boot.h"
#include "util/offload.h"

#include <string.h>

typedef struct {
  VdDisk *disk;
  VdHandle *handle;
  VdDetachMode mode;
  gboolean was_pending; /* the kernel had been told to drop it when idle */
  gboolean pending;     /* what is answered */
} Detach;

static void detach_free(gpointer data)
{
  Detach *detach = data;

  g_clear_pointer(&detach->disk, vd_disk_unref);
  g_clear_pointer(&detach->handle, vd_handle_unref);
  g_free(detach);
}

static void start_detach(GTask *task);

/* The other handles, as a person can find them. */
static char *describe_handles(VdDisk *disk, VdHandle *except)
{
  g_autoptr(GString) text = g_string_new(NULL);

  for (guint i = 0; i < disk->handles->len; i++) {
    const VdHandle *handle = g_ptr_array_index(disk->handles, i);

    if (handle == except || handle->opening)
      continue;
    g_string_append_printf(text, "%sa handle of uid %u", text->len > 0 ? ", " : "",
                           (guint)handle->owner->uid);
    if (handle->owner->pid > 0) {
      g_autofree char *file = g_strdup_printf("/proc/%d/comm", (int)handle->owner->pid);
      g_autofree char *comm = NULL;

      if (g_file_get_contents(file, &comm, NULL, NULL)) {
        /* A process names itself as it likes. */
        g_autofree char *name = vd_path_to_display(g_strchomp(comm));

        g_string_append_printf(text, " (%s, pid %d)", name, (int)handle->owner->pid);
      }
    }
  }
  return g_string_free(g_steal_pointer(&text), FALSE);
}

typedef struct {
  char *statedir;
  char *path;
} RemoveBoot;

static void remove_boot_free(gpointer data)
{
  RemoveBoot *remove = data;

  g_free(remove->statedir);
  g_free(remove->path);
  g_free(remove);
}

/* It waits for the disk (fsync), so not on the main loop. */
static void remove_boot_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  const RemoveBoot *remove = data;
  g_autoptr(GError) error = NULL;

  if (!vd_boot_remove(remove->statedir, remove->path, &error))
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "a boot record stays: %s", error->message);
  g_task_return_boolean(task, TRUE);
}

/* The record in /run goes last: who starts after a crash sees from it what else was to go. */
static void conclude(GTask *owned)
{
  g_autoptr(GTask) task = owned;
  Detach *detach = g_task_get_task_data(task);

  if (!detach->pending && vd_disk_step(detach->disk, VD_EVENT_GONE))
    vd_manager_forget_attachment(g_task_get_source_object(task), detach->disk);
  g_task_return_int(task, detach->pending);
}

static void on_boot_removed(GObject *source, GAsyncResult *result, gpointer user_data)
{
  conclude(user_data);
}

/* Asked for, so it does not come back at the next boot either; the call ends when that is sure. */
static void forget_boot(VdManager *self, VdDisk *disk, VdLifetime lifetime, GTask *owned)
{
  g_autoptr(GTask) removal = NULL;
  RemoveBoot *remove;

  if (lifetime != VD_LIFETIME_BOOT || self->ending) {
    conclude(owned);
    return;
  }
  remove = g_new(RemoveBoot, 1);
  *remove = (RemoveBoot){g_strdup(self->statedir), g_strdup(disk->path)};
  removal = g_task_new(NULL, NULL, on_boot_removed, owned);
  g_task_set_task_data(removal, remove, remove_boot_free);
  vd_offload(removal, remove_boot_in_thread);
}

static void on_device_detached(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  Detach *detach = g_task_get_task_data(task);
  VdDisk *disk = detach->disk;
  VdLifetime lifetime = disk->attachment->plan.lifetime;
  GError *error = NULL;

  if (!vd_device_detach_finish(disk->attachment->device, result, &detach->pending, &error)) {
    vd_disk_step(disk, detach->was_pending ? VD_EVENT_PENDING : VD_EVENT_REFUSED);
    vd_manager_update_record(self, disk);
    vd_manager_emit(self, VD_SIGNAL_DISK_CHANGED, disk);
    vd_manager_catch_up(self, disk);
    g_task_return_error(task, error);
    return;
  }
  if (detach->pending) {
    vd_disk_step(disk, VD_EVENT_PENDING);
    vd_manager_update_record(self, disk);
    vd_manager_emit(self, VD_SIGNAL_DISK_CHANGED, disk);
  }
  forget_boot(self, disk, lifetime, g_steal_pointer(&task));
}

static void on_inner_detached(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  gboolean pending;
  GError *error = NULL;

  if (!vd_manager_detach_finish(g_task_get_source_object(task), result, &pending, &error)) {
    g_prefix_error(&error, "an image inside: ");
    g_task_return_error(task, error);
    return;
  }
  start_detach(g_steal_pointer(&task));
}

static GError *busy_handles(VdDisk *disk, VdHandle *except)
{
  g_autofree char *who = describe_handles(disk, except);

  return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_BUSY, "%s (%s) is held by %s", disk->display,
                     vd_device_get_info(disk->attachment->device)->title, who);
}

/* WHEN_IDLE while handles are open: the last of them to close ends the attachment. */
static void defer_to_handles(VdManager *self, VdDisk *disk, GTask *owned)
{
  Detach *detach = g_task_get_task_data(owned);
  VdLifetime before = disk->attachment->plan.lifetime;

  detach->pending = TRUE;
  disk->attachment->plan.lifetime = VD_LIFETIME_HANDLE;
  vd_manager_update_record(self, disk);
  vd_manager_emit(self, VD_SIGNAL_DISK_CHANGED, disk);
  forget_boot(self, disk, before, owned);
}

static void start_detach(GTask *owned)
{
  g_autoptr(GTask) task = owned;
  VdManager *self = g_task_get_source_object(task);
  Detach *detach = g_task_get_task_data(task);
  VdDisk *disk = detach->disk;
  GCancellable *cancellable = g_task_get_cancellable(task);
  g_autoptr(VdDisk) inner = NULL;

  if (disk->attachment == NULL || disk->attachment->device == NULL) {
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND, "%s is not attached",
                            disk->display);
    return;
  }
  if (detach->mode != VD_DETACH_FORCE && vd_disk_count_handles(disk, detach->handle) > 0) {
    if (detach->mode == VD_DETACH_WHEN_IDLE)
      defer_to_handles(self, disk, g_steal_pointer(&task));
    else
      g_task_return_error(task, busy_handles(disk, detach->handle));
    return;
  }
  /* Before anything inside goes for nothing. */
  if (disk->attachment->changing) {
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE, "%s is being %s",
                            disk->display, disk->operation != NULL ? disk->operation : "changed");
    return;
  }
  inner = vd_nesting_find_inner(self, disk);
  if (inner != NULL && detach->mode == VD_DETACH_FORCE) {
    vd_manager_detach_async(self, inner, NULL, VD_DETACH_FORCE, cancellable, on_inner_detached,
                            g_steal_pointer(&task));
    return;
  }
  if (inner != NULL && detach->mode == VD_DETACH_IF_IDLE) {
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_BUSY,
                            "%s (%s) holds the image %s, which is attached as %s: detach that first",
                            disk->display, vd_device_get_info(disk->attachment->device)->title,
                            inner->display, vd_device_get_info(inner->attachment->device)->title);
    return;
  }
  detach->was_pending = disk->state == VD_DISK_DETACH_PENDING;
  if (!vd_disk_step(disk, VD_EVENT_DETACH)) {
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE, "%s is %s", disk->display,
                            vd_disk_state_name(disk->state));
    return;
  }
  vd_manager_update_record(self, disk);
  vd_manager_emit(self, VD_SIGNAL_DISK_CHANGED, disk);
  vd_device_detach_async(disk->attachment->device, detach->mode, cancellable, on_device_detached,
                         g_steal_pointer(&task));
}

void vd_manager_detach_async(VdManager *self, VdDisk *disk, VdHandle *handle, VdDetachMode mode,
                             GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new(self, cancellable, callback, user_data);
  Detach *detach = g_new0(Detach, 1);

  g_task_set_check_cancellable(task, FALSE);
  detach->disk = vd_disk_ref(disk);
  detach->handle = handle != NULL ? vd_handle_ref(handle) : NULL;
  detach->mode = mode;
  g_task_set_task_data(task, detach, detach_free);
  start_detach(task);
}

gboolean vd_manager_detach_finish(VdManager *self, GAsyncResult *result, gboolean *ret_pending,
                                  GError **error)
{
  gssize pending = g_task_propagate_int(G_TASK(result), error);

  if (pending < 0)
    return FALSE;
  *ret_pending = pending > 0;
  return TRUE;
}
