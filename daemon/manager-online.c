/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk that grows while it is attached. Where a worker serves it, that one ends, the image grows while
 * nobody serves it, and the next worker serves all of it; where the kernel does, the image grows under it,
 * behind what it shows. Then the kernel is told.
 */
#include <sys/stat.h>

#include "attach/serving.h"
#include "operate-private.h"
#include "util/offload.h"

gboolean vd_operate_is_online(const VdDisk *disk, const VdOperation *op)
{
  const VdDiskAttachment *a = disk->attachment;
  /* Or has grown already, and its device has not. */
  gboolean grows = a != NULL && (op->new_size > disk->facts.virtual_size ||
                                 (op->new_size == disk->facts.virtual_size && op->new_size > a->plan.size));
  gboolean may = op->kind == VD_OPERATION_RESIZE ||
                 (op->kind == VD_OPERATION_EXPAND && (op->flags & VIRTDISK_EXPAND_NOTIFY_CHANGE) != 0);

  return may && grows && a->device != NULL && !a->plan.read_only && a->plan.whole &&
         disk->state == VD_DISK_ATTACHED;
}

/* Takes working. error: taken, or NULL. The attachment is there: nobody forgets it while it is changing. */
static void end(GTask *working, GError *error)
{
  Operate *o = g_task_get_task_data(working);
  VdDisk *disk = o->handle->disk;

  disk->attachment->changing = FALSE;
  if (!disk->attachment->lost) {
    vd_manager_update_record(o->manager, disk);
    vd_manager_emit(o->manager, VD_SIGNAL_DISK_CHANGED, disk);
    vd_manager_catch_up(o->manager, disk);
  } else if (vd_disk_step(disk, VD_EVENT_GONE)) {
    vd_manager_forget_attachment(o->manager, disk);
  }
  if (error != NULL)
    g_task_return_error(working, error);
  else
    g_task_return_boolean(working, TRUE);
  g_object_unref(working);
}

static void on_resized(GObject *source, GAsyncResult *result, gpointer user_data)
{
  GTask *working = user_data;
  Operate *o = g_task_get_task_data(working);
  VdDisk *disk = o->handle->disk;
  g_autoptr(GError) error = NULL;
  g_autofree char *note = NULL;

  if (vd_device_resize_finish(disk->attachment->device, result, &error))
    disk->attachment->plan.size = o->op.new_size;
  else
    note = g_strdup_printf("the image has grown, and its device will when it is attached again: %s",
                           error->message);
  if (note != NULL)
    vd_text_cut(note, o->result->note, sizeof o->result->note);
  end(working, NULL);
}

/* What a worker would say of the image, if it could be looked at while another one writes to it. */
static void on_grown(GTask *working, GError *error)
{
  Operate *o = g_task_get_task_data(working);
  VdDisk *disk = o->handle->disk;
  VdDiskAttachment *a = disk->attachment;

  if (o->grown) {
    disk->facts.virtual_size = o->result->size = o->op.new_size;
    disk->facts.file_size = o->file_size;
  }
  if (error != NULL || a->lost)
    end(working, error);
  else
    vd_device_resize_async(a->device, o->op.new_size, NULL, on_resized, working);
}

static gboolean grow(Operate *o, int fd, GCancellable *cancellable, GError **error)
{
  struct stat st;

  o->fds[0] = fd;
  if (!vd_operate_work(o, cancellable, error))
    return FALSE;
  if (fstat(fd, &st) == 0)
    o->file_size = (guint64)st.st_size;
  o->grown = TRUE;
  return TRUE;
}

static gboolean grow_between(VdServing *serving, gpointer data, GError **error)
{
  GTask *working = data;

  if (!grow(g_task_get_task_data(working), serving->images[0].fd, g_task_get_cancellable(working), error))
    return FALSE;
  serving->setup.size = ((Operate *)g_task_get_task_data(working))->op.new_size;
  return TRUE;
}

static void on_exchanged(GObject *source, GAsyncResult *result, gpointer user_data)
{
  GTask *working = user_data;
  const Operate *o = g_task_get_task_data(working);
  GError *error = NULL;

  vd_device_exchange_finish(o->handle->disk->attachment->device, result, &error);
  on_grown(working, error);
}

static void grow_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Operate *o = data;
  GError *error = NULL;

  if (grow(o, o->fds[0], cancellable, &error))
    g_task_return_boolean(task, TRUE);
  else
    g_task_return_error(task, error);
}

static void on_grown_under(GObject *source, GAsyncResult *result, gpointer user_data)
{
  GError *error = NULL;

  g_task_propagate_boolean(G_TASK(result), &error);
  on_grown(user_data, error);
}

void vd_operate_online(GTask *owned)
{
  Operate *o = g_task_get_task_data(owned);
  VdDiskAttachment *a = o->handle->disk->attachment;
  g_autoptr(GTask) growing = NULL;

  o->online = a->changing = TRUE;
  if (vd_device_get_info(a->device)->served) {
    vd_device_exchange_async(a->device, grow_between, g_object_ref(owned), g_object_unref, on_exchanged,
                             owned);
    return;
  }
  growing = g_task_new(NULL, g_task_get_cancellable(owned), on_grown_under, owned);
  g_task_set_check_cancellable(growing, FALSE);
  g_task_set_task_data(growing, o, NULL);
  vd_offload(growing, grow_in_thread);
}
