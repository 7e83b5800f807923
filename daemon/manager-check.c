/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checking and repairing: the file is opened as the caller and locked, a worker looks at it, and tells. */
#include "manager-private.h"
#include "util/offload.h"
#include "worker/service.h"

/* Milliseconds. Every bitmap is read, and every block that a bitmap calls empty. */
#define CHECK_DEADLINE_MS (30 * 60 * 1000)

typedef struct {
  VdCheckMode mode;
  VdImage *image; /* locked if locked */
  gboolean locked;
  char *program, *user_argument;
  VdCheckResult *result;
  gpointer charge;
  GDestroyNotify free_charge;
} Check;

void vd_check_result_free(VdCheckResult *self)
{
  if (self == NULL)
    return;
  g_clear_pointer(&self->faults, g_array_unref);
  g_free(self);
}

static void check_free(gpointer data)
{
  Check *check = data;

  if (check->locked)
    vd_image_unlock(check->image);
  g_clear_pointer(&check->image, vd_image_unref);
  g_clear_pointer(&check->result, vd_check_result_free);
  if (check->charge != NULL)
    check->free_charge(check->charge);
  g_free(check->program);
  g_free(check->user_argument);
  g_free(check);
}

static gboolean refuse(const VdImage *image, const char *what, GError **error)
{
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION, "%s is %s", image->display, what);
  return FALSE;
}

/* By our own tables; the locks tell of others. */
static gboolean may_check(VdManager *self, const Check *check, GError **error)
{
  VdDisk *disk = vd_manager_lookup(self, check->image->st.st_dev, check->image->st.st_ino);
  gboolean write = check->mode == VD_CHECK_REPAIR;

  for (guint i = 0; disk != NULL && i < disk->handles->len; i++) {
    const VdRights *rights = &((VdHandle *)g_ptr_array_index(disk->handles, i))->rights;

    if (vd_access_is_exclusive(rights) && (write || rights->write))
      return refuse(check->image, write ? "open" : "open for writing", error);
  }
  if (disk != NULL && disk->attachment != NULL && (write || !disk->attachment->plan.read_only))
    return refuse(check->image, write ? "attached" : "attached for writing", error);
  return vd_manager_may_use(self, check->image, write, error);
}

static void on_looked(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  Check *check = g_task_get_task_data(task);
  GError *error = NULL;

  if (g_task_propagate_boolean(G_TASK(result), &error))
    g_task_return_pointer(task, g_steal_pointer(&check->result), (GDestroyNotify)vd_check_result_free);
  else
    g_task_return_error(task, error);
}

/* check outlives the thread: the task that waits for it owns it. */
static void look_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Check *check = data;
  gboolean write = check->mode == VD_CHECK_REPAIR;
  VdServiceSpec spec = {
      .program = check->program,
      .user_argument = check->user_argument,
      .setup = {.task = write ? VD_TASK_REPAIR : VD_TASK_CHECK,
                .flags = write ? VD_SERVE_WRITABLE : 0,
                .device_id = check->image->device_id},
      .transport_fd = -1,
      .images = &check->image->fd,
      .n_images = 1,
      .deadline_ms = CHECK_DEADLINE_MS,
  };
  GError *error = NULL;
  g_autoptr(VdService) service = vd_service_start(&spec, cancellable, &error);

  check->result = g_new0(VdCheckResult, 1);
  if (service != NULL)
    check->result->faults =
        vd_service_take_faults(service, &check->result->summary, &check->result->repaired, &error);
  if (error == NULL)
    g_task_return_boolean(task, TRUE);
  else
    g_task_return_error(task, error);
}

static void on_locked(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  GCancellable *cancellable = g_task_get_cancellable(task);
  Check *check = g_task_get_task_data(task);
  g_autoptr(GTask) looking = NULL;
  GError *error = NULL;

  check->locked = vd_image_lock_finish(check->image, result, &error);
  if (!check->locked) {
    g_task_return_error(task, error);
    return;
  }
  looking = g_task_new(NULL, cancellable, on_looked, g_steal_pointer(&task));
  g_task_set_check_cancellable(looking, FALSE);
  g_task_set_task_data(looking, check, NULL);
  vd_offload(looking, look_in_thread);
}

static void on_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = VD_MANAGER(source);
  Check *check = g_task_get_task_data(task);
  GError *error = NULL;

  check->image = vd_manager_find_finish(self, result, &error);
  if (check->image == NULL || !may_check(self, check, &error))
    g_task_return_error(task, error);
  else
    vd_image_lock_async(check->image, check->mode == VD_CHECK_REPAIR, on_locked, g_steal_pointer(&task));
}

void vd_manager_check_async(VdManager *self, VdIdentity *identity, const char *path, const VdOpenParams *open,
                            VdCheckMode mode, gpointer charge, GDestroyNotify free_charge,
                            GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(self, cancellable, callback, user_data);
  const VdRights rights = {.version = 1, .write = mode == VD_CHECK_REPAIR};
  Check *check = g_new0(Check, 1);
  guint32 device_id = VIRTDISK_DEVICE_UNKNOWN;
  GError *error = NULL;

  /* What was found is not dropped by who goes too late. */
  g_task_set_check_cancellable(task, FALSE);
  check->mode = mode;
  check->charge = charge;
  check->free_charge = free_charge;
  check->program = g_strdup(vd_worker_client_get_program(self->worker));
  check->user_argument = g_strdup(vd_worker_client_get_user_argument(self->worker));
  g_task_set_task_data(task, check, check_free);
  if (!vd_image_resolve_type(open->device_id, open->vendor, path, &device_id, &error))
    g_task_return_error(task, error);
  else if (mode == VD_CHECK_REPAIR && device_id != VIRTDISK_DEVICE_VHD && device_id != VIRTDISK_DEVICE_VHDX)
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
                            "nothing can be repaired in a file of the format %s",
                            vd_device_id_to_format(device_id));
  else
    vd_manager_find_async(self, identity, path, open, &rights, cancellable, on_found, g_steal_pointer(&task));
}

VdCheckResult *vd_manager_check_finish(VdManager *self, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}
