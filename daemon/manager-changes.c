/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the changes of an image are kept: IMAGE.ctlog beside it, found and made as the caller. What is in it
 * only workers know. An empty one is none: that is how tracking is turned off. Another user must not choose
 * the file: it is no link, has one name, is the image owner's or the caller's, and is no image in use.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "operate-private.h"
#include "util/cleanup.h"
#include "util/offload.h"

#define SUFFIX ".ctlog"

/* NULL: the image has no name that could be gone by. (transfer full) */
static char *path_of(const VdImage *image)
{
  return image->path != NULL && image->path[0] == '/' ? g_strconcat(image->path, SUFFIX, NULL) : NULL;
}

static gboolean is_missing(const GError *error)
{
  return g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_NOT_FOUND) ||
         g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_PATH_NOT_FOUND);
}

static gboolean is_empty(int fd)
{
  struct stat st;

  return fstat(fd, &st) == 0 && st.st_size == 0;
}

/* Takes the descriptor; -1 if it is none that may be the image's. */
static int check_file(VdManager *self, const VdHandle *handle, uid_t caller, int fd, GError **error)
{
  struct stat st;

  if (fd < 0)
    return -1;
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
      (st.st_uid == handle->image->st.st_uid || st.st_uid == caller) &&
      vd_manager_lookup(self, st.st_dev, st.st_ino) == NULL)
    return fd;
  vd_offload_close(fd);
  g_set_error(
      error, VIRTDISK_ERROR, VIRTDISK_ERROR_CTLOG_INCONSISTENT_TRACKING_FILE,
      "%s%s is not a file of the image's or the caller's alone: it has another owner or another name, "
      "or is an image",
      handle->disk->display, SUFFIX);
  return -1;
}

gboolean vd_operate_is_of_changes(VdOperationKind kind)
{
  return kind == VD_OPERATION_SET_CHANGE_TRACKING || kind == VD_OPERATION_CHANGE_TRACKING_STATE ||
         kind == VD_OPERATION_QUERY_CHANGES;
}

static GError *no_name(const VdImage *image)
{
  return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_NOT_FOUND,
                     "%s has no name here beside which its changes could be kept", image->display);
}

/* Tracking that is off */

/* The file is like the image, as far as the caller may have it so. */
static void set_owner(const Operate *o)
{
  const struct stat *st = &o->handle->image->st;
  gboolean may_give = o->identity->uid == 0;

  o->manager->source.set_owner(o->changes_file, may_give ? st->st_uid : (uid_t)-1,
                               may_give ? st->st_gid : (gid_t)-1, st->st_mode & 0666);
}

typedef struct {
  GTask *task; /* borrowed */
  VdOperateNext next;
} Opening;

static void on_made(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autofree Opening *opening = user_data;
  Operate *o = g_task_get_task_data(opening->task);
  GError *error = NULL;

  o->changes_file =
      o->manager->source.create_finish(o->manager->source.opener, result, &o->changes_fd, &error);
  if (o->changes_file != NULL)
    set_owner(o);
  opening->next(opening->task, error);
}

static GError *find_fault_of_off(const Operate *o)
{
  if (o->op.kind == VD_OPERATION_QUERY_CHANGES)
    return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_CHANGE_TRACKING_DISABLED,
                       "the changes of %s are not tracked", o->handle->disk->display);
  if (o->op.kind == VD_OPERATION_SET_CHANGE_TRACKING && o->op.value != VD_CHANGES_ENABLE)
    return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_CTLOG_INVALID_TRACKING_STATE,
                       "the changes of %s are not tracked", o->handle->disk->display);
  return NULL;
}

/* path: NULL if there is a file, which is empty. */
static void go_on_without(Opening *opening, const char *path)
{
  Operate *o = g_task_get_task_data(opening->task);
  GError *error = find_fault_of_off(o);

  if (error == NULL && path != NULL && o->op.kind == VD_OPERATION_SET_CHANGE_TRACKING) {
    o->manager->source.create_async(o->manager->source.opener, o->identity, path,
                                    g_task_get_cancellable(opening->task), on_made, opening);
    return;
  }
  if (o->op.kind == VD_OPERATION_CHANGE_TRACKING_STATE)
    vd_clear_fd(&o->changes_fd);
  opening->next(opening->task, error);
  g_free(opening);
}

static void on_opened(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Opening *opening = user_data;
  Operate *o = g_task_get_task_data(opening->task);
  g_autofree char *path = path_of(o->handle->image);
  GError *error = NULL;

  o->changes_fd =
      check_file(o->manager, o->handle, o->identity->uid,
                 o->manager->source.open_finish(o->manager->source.opener, result, &error), &error);
  if (is_missing(error)) {
    g_error_free(error);
    go_on_without(opening, path);
  } else if (error == NULL && is_empty(o->changes_fd)) {
    go_on_without(opening, NULL);
  } else {
    opening->next(opening->task, error);
    g_free(opening);
  }
}

void vd_operate_open_changes(GTask *task, VdOperateNext next)
{
  Operate *o = g_task_get_task_data(task);
  g_autofree char *path = path_of(o->handle->image);
  Opening *opening = g_new(Opening, 1);

  *opening = (Opening){task, next};
  if (path != NULL) {
    o->manager->source.open_async(o->manager->source.opener, o->identity, path,
                                  o->op.kind == VD_OPERATION_SET_CHANGE_TRACKING ? VD_SOURCE_SIDE_WRITE
                                                                                 : VD_SOURCE_SIDE_READ,
                                  g_task_get_cancellable(task), on_opened, opening);
    return;
  }
  if (o->op.kind == VD_OPERATION_SET_CHANGE_TRACKING) {
    g_free(opening);
    next(task, no_name(o->handle->image));
    return;
  }
  go_on_without(opening, NULL);
}

/* The file that was made gets its name when it is whole */

static void on_published(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autofree Opening *opening = user_data;
  Operate *o = g_task_get_task_data(opening->task);
  GError *error = NULL;

  if (o->manager->source.publish_finish(o->changes_file, result, &error))
    o->manager->source.keep(o->changes_file);
  opening->next(opening->task, error);
}

void vd_operate_publish_changes(GTask *task, VdOperateNext next)
{
  Operate *o = g_task_get_task_data(task);
  Opening *opening;

  if (o->changes_file == NULL) {
    next(task, NULL);
    return;
  }
  opening = g_new(Opening, 1);
  *opening = (Opening){task, next};
  o->manager->source.publish_async(o->changes_file, on_published, opening);
}

void vd_operate_clear_changes(Operate *o)
{
  if (o->changes_file != NULL)
    o->manager->source.free_file(o->changes_file);
  else if (o->changes_fd >= 0)
    vd_offload_close(o->changes_fd);
}

/* Attaching */

static gboolean is_wanted(const VdHandle *handle)
{
  return handle->disk->device_id != VIRTDISK_DEVICE_ISO && !handle->disk->attachment->plan.read_only;
}

static void on_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  const VdHandle *handle = g_task_get_task_data(task);
  g_autoptr(GError) error = NULL;
  int fd = check_file(self, handle, handle->owner->uid,
                      self->source.open_finish(self->source.opener, result, &error), &error);

  if (fd >= 0 && is_empty(fd)) {
    vd_offload_close(fd);
    fd = -1;
  }
  if (error != NULL && !is_missing(error))
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "MESSAGE", "the changes of %s are not tracked: %s",
                     handle->disk->display, error->message);
  g_task_return_int(task, fd);
}

void vd_manager_find_changes_async(VdManager *self, VdHandle *handle, GCancellable *cancellable,
                                   GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(self, cancellable, callback, user_data);
  g_autofree char *path = is_wanted(handle) ? path_of(handle->image) : NULL;

  g_task_set_check_cancellable(task, FALSE);
  g_task_set_task_data(task, vd_handle_ref(handle), (GDestroyNotify)vd_handle_unref);
  if (path != NULL)
    self->source.open_async(self->source.opener, handle->owner, path, VD_SOURCE_SIDE_WRITE, cancellable,
                            on_found, g_steal_pointer(&task));
  else
    g_task_return_int(task, -1);
}

int vd_manager_find_changes_finish(VdManager *self, GAsyncResult *result)
{
  return (int)g_task_propagate_int(G_TASK(result), NULL);
}
