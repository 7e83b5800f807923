/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The looks at an image that ask its file system, each in a thread of its own. */
#include "image.h"

#include <fcntl.h>
#include <sys/xattr.h>

#include "util/offload.h"

#define ACL_XATTR "system.posix_acl_access"

/* new */

typedef struct {
  int fd;
  char *path;
  guint32 device_id;
  char *vendor;
  gboolean want_write;
  guint32 open_flags;
} New;

static void new_free(gpointer data)
{
  New *new = data;

  if (new->fd >= 0) /* no thread has taken it */
    vd_offload_close(new->fd);
  g_free(new->path);
  g_free(new->vendor);
  g_free(new);
}

static void new_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  New *new = data;
  GError *error = NULL;
  int fd = new->fd;
  VdImage *image;

  new->fd = -1;
  image = vd_image_new(fd, new->path, new->device_id, new->vendor, new->want_write, new->open_flags, &error);

  if (image == NULL)
    g_task_return_error(task, error);
  else
    g_task_return_pointer(task, image, (GDestroyNotify)vd_image_unref);
}

void vd_image_new_async(int fd, const char *path, guint32 device_id, const char *vendor, gboolean want_write,
                        guint32 open_flags, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(NULL, NULL, callback, user_data);
  New *new = g_new(New, 1);

  *new = (New){fd, g_strdup(path), device_id, g_strdup(vendor), want_write, open_flags};
  g_task_set_task_data(task, new, new_free);
  vd_offload(task, new_in_thread);
}

VdImage *vd_image_new_finish(GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

/* unchanged and lock */

typedef struct {
  VdImage *image;
  gboolean write;
} Look;

static void look_free(gpointer data)
{
  Look *look = data;

  vd_image_unref(look->image);
  g_free(look);
}

static void start_look(VdImage *image, gboolean write, GTaskThreadFunc func, GAsyncReadyCallback callback,
                       gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(NULL, NULL, callback, user_data);
  Look *look = g_new(Look, 1);

  *look = (Look){vd_image_ref(image), write};
  g_task_set_task_data(task, look, look_free);
  vd_offload(task, func);
}

static void return_verdict(GTask *task, gboolean good, GError *error)
{
  if (good)
    g_task_return_boolean(task, TRUE);
  else
    g_task_return_error(task, error);
}

static void unchanged_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  GError *error = NULL;
  gboolean good = vd_image_unchanged(((Look *)data)->image, &error);

  return_verdict(task, good, error);
}

void vd_image_unchanged_async(VdImage *self, GAsyncReadyCallback callback, gpointer user_data)
{
  start_look(self, FALSE, unchanged_in_thread, callback, user_data);
}

gboolean vd_image_unchanged_finish(VdImage *self, GAsyncResult *result, GError **error)
{
  return g_task_propagate_boolean(G_TASK(result), error);
}

static void lock_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  const Look *look = data;
  GError *error = NULL;
  gboolean good = vd_image_lock(look->image, look->write, &error);

  return_verdict(task, good, error);
}

void vd_image_lock_async(VdImage *self, gboolean write, GAsyncReadyCallback callback, gpointer user_data)
{
  start_look(self, write, lock_in_thread, callback, user_data);
}

gboolean vd_image_lock_finish(VdImage *self, GAsyncResult *result, GError **error)
{
  return g_task_propagate_boolean(G_TASK(result), error);
}

/* owner and sizes */

gboolean vd_image_owner(VdImage *self, uid_t *ret_uid, gid_t *ret_gid, mode_t *ret_mode)
{
  const guint wanted = STATX_UID | STATX_GID | STATX_MODE;
  struct statx stx;

  if (statx(self->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, wanted, &stx) < 0 ||
      (stx.stx_mask & wanted) != wanted)
    return FALSE;
  *ret_uid = stx.stx_uid;
  *ret_gid = stx.stx_gid;
  *ret_mode = stx.stx_mode;
  if (self->may_hang || fgetxattr(self->fd, ACL_XATTR, NULL, 0) > 0)
    *ret_mode &= ~(mode_t)S_IRWXG;
  return TRUE;
}

gboolean vd_image_sizes(VdImage *self, guint64 *ret_size, guint64 *ret_allocated)
{
  struct statx stx;

  if (statx(self->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE | STATX_BLOCKS, &stx) < 0)
    return FALSE;
  *ret_size = stx.stx_size;
  *ret_allocated = stx.stx_blocks * 512;
  return TRUE;
}
