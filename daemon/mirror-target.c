/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mirror-target.h"

#include <string.h>
#include <sys/stat.h>

#include "nesting.h"
#include "util/offload.h"
#include "worker/service.h"

typedef struct {
  VdIdentity *identity;
  VdHandle *handle;
  char *path;
  VdMirrorTargetMode mode;
  VdMirrorTarget *target;
  VdCreateSpec spec;
  int fd; /* the new file's; its owner is target->file */
  char *program, *user_argument;
} Open;

void vd_mirror_target_free(VdMirrorTarget *self)
{
  if (self == NULL)
    return;
  if (self->image != NULL)
    vd_image_unlock(self->image);
  g_clear_pointer(&self->image, vd_image_unref);
  if (self->file != NULL)
    self->manager->source.free_file(self->file);
  g_free(self->facts);
  g_free(self);
}

static void open_free(gpointer data)
{
  Open *o = data;

  vd_mirror_target_free(o->target);
  vd_handle_unref(o->handle);
  vd_identity_unref(o->identity);
  g_free(o->program);
  g_free(o->user_argument);
  g_free(o->path);
  g_free(o);
}

/* Takes both. */
static void fail(GTask *owned, GError *error)
{
  g_autoptr(GTask) task = owned;

  g_task_return_error(task, error);
}

static gboolean refuse(GError **error, VirtdiskError code, const char *name, const char *what)
{
  g_set_error(error, VIRTDISK_ERROR, (gint)code, "%s %s", name, what);
  return FALSE;
}

/* It is like the image */

static gboolean has_same_parent(const VdFacts *facts, const VdFacts *other)
{
  static const guint8 none[16] = {0};

  if (!facts->has_parent || !other->has_parent)
    return facts->has_parent == other->has_parent;
  return memcmp(facts->parent_id, other->parent_id, sizeof none) == 0 ||
         (memcmp(facts->parent_id2, none, sizeof none) != 0 &&
          memcmp(facts->parent_id2, other->parent_id, sizeof none) == 0);
}

static gboolean fits(const Open *o, GError **error)
{
  const VdFacts *disk = &o->handle->disk->facts, *facts = o->target->facts;
  const char *name = o->target->image->display;

  if (facts->virtual_size != disk->virtual_size) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_SIZE,
                "%s is a disk of %" G_GUINT64_FORMAT
                " bytes, and the one to be mirrored has %" G_GUINT64_FORMAT,
                name, facts->virtual_size, disk->virtual_size);
    return FALSE;
  }
  if (facts->sector_size != disk->sector_size)
    return refuse(error, VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE, name,
                  "has sectors of another size than the disk");
  if (!has_same_parent(disk, facts))
    return refuse(error, VIRTDISK_ERROR_VHD_INVALID_TYPE, name,
                  disk->has_parent ? "is not a child of the parent that the image has"
                                   : "is a differencing image, and the one to be mirrored is not");
  return TRUE;
}

static void on_probed(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  Open *o = g_task_get_task_data(task);
  GError *error = NULL;

  o->target->facts = vd_worker_probe_finish(o->target->manager->worker, result, &error);
  if (o->target->facts == NULL || !fits(o, &error))
    fail(g_steal_pointer(&task), error);
  else
    g_task_return_pointer(task, g_steal_pointer(&o->target), (GDestroyNotify)vd_mirror_target_free);
}

/* Nobody else has it */

static void on_locked(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  GCancellable *cancellable = g_task_get_cancellable(task);
  Open *o = g_task_get_task_data(task);
  VdImage *image = o->target->image;
  GError *error = NULL;

  if (!vd_image_lock_finish(image, result, &error)) {
    fail(g_steal_pointer(&task), error);
    return;
  }
  vd_worker_probe_async(o->target->manager->worker, o->identity->uid, image->fd, image->device_id, TRUE,
                        cancellable, on_probed, g_steal_pointer(&task));
}

/* What is written to the disk would be written to the disk. */
static gboolean lies_elsewhere(const Open *o, GError **error)
{
  VdImage *image = o->target->image;
  dev_t place = image->st.st_dev;

  for (guint depth = 0; depth < VD_CHAIN_MAX_DEPTH; depth++) {
    g_autoptr(VdDisk) host = vd_nesting_find_host(o->target->manager, place);

    if (host == NULL)
      return TRUE;
    if (host == o->handle->disk)
      return refuse(error, VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED, image->display,
                    "lies on the disk that is to be mirrored");
    place = host->image_dev;
  }
  return TRUE;
}

static gboolean is_free(const Open *o, GError **error)
{
  VdManager *manager = o->target->manager;
  const VdImage *image = o->target->image;

  if (vd_manager_lookup(manager, image->st.st_dev, image->st.st_ino) != NULL)
    return refuse(error, VIRTDISK_ERROR_SHARING_VIOLATION, image->display, "is open or attached");
  return vd_manager_may_use(manager, image, TRUE, error) && lies_elsewhere(o, error);
}

/* What the name stands for now is what was made, or somebody was quick. */
static gboolean is_what_was_made(const Open *o, GError **error)
{
  const VdImage *image = o->target->image;
  struct stat st;

  if (o->mode == VD_MIRROR_TARGET_EXISTING ||
      (fstat(o->fd, &st) == 0 && st.st_dev == image->st.st_dev && st.st_ino == image->st.st_ino))
    return TRUE;
  return refuse(error, VIRTDISK_ERROR_FILE_CHANGED, image->display,
                "was replaced as soon as it had been made");
}

static void on_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  Open *o = g_task_get_task_data(task);
  GError *error = NULL;

  o->target->image = vd_manager_find_finish(VD_MANAGER(source), result, &error);
  if (o->target->image == NULL || !is_what_was_made(o, &error) || !is_free(o, &error))
    fail(g_steal_pointer(&task), error);
  else
    vd_image_lock_async(o->target->image, TRUE, on_locked, g_steal_pointer(&task));
}

/* Of the image's format, whatever the name says. */
static void find(GTask *owned)
{
  Open *o = g_task_get_task_data(owned);
  const VdOpenParams open = {
      .device_id = o->handle->disk->device_id, .version = 1, .flags = o->handle->rights.flags};
  const VdRights rights = {.version = 1, .write = TRUE};

  vd_manager_find_async(o->target->manager, o->identity, o->path, &open, &rights,
                        g_task_get_cancellable(owned), on_found, owned);
}

/* A new file */

static void on_published(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  Open *o = g_task_get_task_data(task);
  GError *error = NULL;

  if (o->target->manager->source.publish_finish(o->target->file, result, &error))
    find(g_steal_pointer(&task));
  else
    fail(g_steal_pointer(&task), error);
}

static void on_written(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  Open *o = g_task_get_task_data(task);
  GError *error = NULL;

  if (g_task_propagate_boolean(G_TASK(result), &error))
    o->target->manager->source.publish_async(o->target->file, on_published, g_steal_pointer(&task));
  else
    fail(g_steal_pointer(&task), error);
}

/* data outlives the thread: the task that waits for it owns it. */
static void write_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Open *o = data;
  VdServiceSpec spec = {
      .program = o->program,
      .user_argument = o->user_argument,
      .setup = {.task = VD_TASK_CREATE,
                .flags = VD_SERVE_WRITABLE,
                .device_id = o->spec.device_id,
                .create = o->spec},
      .transport_fd = -1,
      .images = &o->fd,
      .n_images = 1,
  };
  GError *error = NULL;
  g_autoptr(VdService) service = vd_service_start(&spec, cancellable, &error);

  if (service != NULL)
    g_task_return_boolean(task, TRUE);
  else
    g_task_return_error(task, error);
}

static gboolean fill_spec(Open *o, GError **error)
{
  const VdDisk *disk = o->handle->disk;
  const GPtrArray *parents = disk->attachment->parents;
  g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", o->fd);
  g_autofree char *name = g_file_read_link(link, NULL);
  g_autofree char *folder = g_path_get_dirname(name != NULL && name[0] == '/' ? name : o->path);
  const char *parent =
      parents != NULL && parents->len > 0 ? ((const VdParent *)g_ptr_array_index(parents, 0))->path : NULL;

  return vd_create_from_original(&disk->facts, folder, parent, o->target->manager->path_map, &o->spec, error);
}

static void on_file_made(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  Open *o = g_task_get_task_data(task);
  VdManager *manager = o->target->manager;
  g_autoptr(GTask) writing = NULL;
  GError *error = NULL;

  o->target->file = manager->source.create_finish(manager->source.opener, result, &o->fd, &error);
  if (o->target->file == NULL || !fill_spec(o, &error)) {
    fail(g_steal_pointer(&task), error);
    return;
  }
  writing = g_task_new(NULL, g_task_get_cancellable(task), on_written, task);
  g_task_set_check_cancellable(writing, FALSE);
  g_task_set_task_data(writing, o, NULL);
  vd_offload(writing, write_in_thread);
  g_steal_pointer(&task);
}

void vd_mirror_target_open_async(VdManager *manager, VdIdentity *identity, VdHandle *handle, const char *path,
                                 VdMirrorTargetMode mode, GCancellable *cancellable,
                                 GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new(manager, cancellable, callback, user_data);
  Open *o = g_new0(Open, 1);

  g_task_set_check_cancellable(task, FALSE);
  g_task_set_task_data(task, o, open_free);
  o->identity = vd_identity_ref(identity);
  o->handle = vd_handle_ref(handle);
  o->path = g_strdup(path);
  o->mode = mode;
  o->fd = -1;
  o->program = g_strdup(vd_worker_client_get_program(manager->worker));
  o->user_argument = g_strdup(vd_worker_client_get_user_argument(manager->worker));
  o->target = g_new0(VdMirrorTarget, 1);
  o->target->manager = manager;
  if (mode == VD_MIRROR_TARGET_EXISTING)
    find(task);
  else
    manager->source.create_async(manager->source.opener, identity, path, cancellable, on_file_made, task);
}

VdMirrorTarget *vd_mirror_target_open_finish(GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}
