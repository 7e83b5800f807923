/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The source of a copy. An image is treated as a parent is: others may read it, nobody writes. A block device
 * has no such locks; what there is, its exclusive opening, is had where the caller asks for it.
 */
#include "manager-source.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "attach/inuse.h"
#include "util/offload.h"

/* Of those that the new image is to be opened with, what says how files are found and may lie. */
#define SOURCE_FLAGS                                                                                         \
  (VIRTDISK_OPEN_IGNORE_RELATIVE_PARENT_LOCATOR | VIRTDISK_OPEN_SUPPORT_COMPRESSED_VOLUMES |                 \
   VIRTDISK_OPEN_SUPPORT_ENCRYPTED_FILES)

typedef struct {
  VdIdentity *identity;
  char *path;
  VdOpenParams open;
  VdRights rights;
  dev_t device;       /* that was asked about, and is to be opened */
  gboolean exclusive; /* nobody else is to claim the device */
  gboolean taken;     /* somebody else has */
  VdCopySource *source;
} Find;

void vd_copy_source_free(VdCopySource *self)
{
  if (self->chain != NULL)
    vd_chain_unlock(self->chain);
  vd_chain_free(self->chain);
  if (self->image != NULL)
    vd_image_unlock(self->image);
  g_clear_pointer(&self->image, vd_image_unref);
  if (self->device_fd >= 0)
    vd_offload_close(self->device_fd);
  g_free(self);
}

static void find_free(gpointer data)
{
  Find *find = data;

  g_clear_pointer(&find->source, vd_copy_source_free);
  vd_identity_unref(find->identity);
  g_free((char *)find->open.vendor);
  g_free(find->path);
  g_free(find);
}

/* Images */

static void on_chain_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  Find *find = g_task_get_task_data(task);
  GError *error = NULL;

  find->source->chain = vd_manager_find_chain_finish(self, result, &error);
  if (find->source->chain == NULL)
    g_task_return_error(task, error);
  else
    g_task_return_pointer(task, g_steal_pointer(&find->source), (GDestroyNotify)vd_copy_source_free);
}

static void on_image_probed(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  Find *find = g_task_get_task_data(task);
  GError *error = NULL;
  GCancellable *cancellable = g_task_get_cancellable(task);
  g_autofree VdFacts *facts = vd_worker_probe_finish(self->worker, result, &error);

  if (facts == NULL) {
    g_prefix_error(&error, "%s: ", find->source->image->display);
    g_task_return_error(task, error);
    return;
  }
  find->source->facts = *facts;
  if (facts->has_parent)
    vd_manager_find_chain_async(self, find->identity, find->source->image, facts, &find->rights, cancellable,
                                on_chain_found, g_steal_pointer(&task));
  else
    g_task_return_pointer(task, g_steal_pointer(&find->source), (GDestroyNotify)vd_copy_source_free);
}

static void on_image_locked(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  Find *find = g_task_get_task_data(task);
  VdImage *image = find->source->image;
  GCancellable *cancellable = g_task_get_cancellable(task);
  GError *error = NULL;

  if (vd_image_lock_finish(image, result, &error))
    vd_worker_probe_async(self->worker, find->identity->uid, image->fd, image->device_id, FALSE, cancellable,
                          on_image_probed, g_steal_pointer(&task));
  else
    g_task_return_error(task, error);
}

static gboolean refuse(const VdImage *image, const char *how, GError **error)
{
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION,
              "%s is %s for writing, and cannot be "
              "copied meanwhile",
              image->display, how);
  return FALSE;
}

static gboolean may_be_source(VdManager *self, const VdImage *image, GError **error)
{
  VdDisk *disk = vd_manager_lookup(self, image->st.st_dev, image->st.st_ino);

  for (guint i = 0; disk != NULL && i < disk->handles->len; i++) {
    const VdRights *rights = &((VdHandle *)g_ptr_array_index(disk->handles, i))->rights;

    if (vd_access_is_exclusive(rights) && rights->write)
      return refuse(image, "open", error);
  }
  if (disk != NULL && disk->attachment != NULL && !disk->attachment->plan.read_only)
    return refuse(image, "attached", error);
  return vd_manager_may_use(self, image, FALSE, error);
}

static void on_image_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = VD_MANAGER(source);
  Find *find = g_task_get_task_data(task);
  GError *error = NULL;

  find->source->image = vd_manager_find_finish(self, result, &error);
  if (find->source->image == NULL || !may_be_source(self, find->source->image, &error))
    g_task_return_error(task, error);
  else
    vd_image_lock_async(find->source->image, FALSE, on_image_locked, g_steal_pointer(&task));
}

static void find_image(GTask *owned)
{
  VdManager *self = g_task_get_source_object(owned);
  Find *find = g_task_get_task_data(owned);
  guint32 device_id;
  GError *error = NULL;

  if (vd_access_open(&find->open, find->path, &device_id, &find->rights, &error)) {
    vd_manager_find_async(self, find->identity, find->path, &find->open, &find->rights,
                          g_task_get_cancellable(owned), on_image_found, owned);
  } else {
    g_task_return_error(owned, error);
    g_object_unref(owned);
  }
}

/* Devices */

/* Its holders where they can be told. */
static GError *taken_error(const Find *find, const struct stat *st)
{
  g_autofree char *link = g_strdup_printf("/sys/dev/block/%u:%u", major(st->st_rdev), minor(st->st_rdev));
  g_autofree char *target = g_file_read_link(link, NULL);
  g_autofree char *name = target != NULL ? g_path_get_basename(target) : NULL;
  g_autofree char *display = vd_path_to_display(find->path);
  g_autofree char *who = NULL;
  g_autoptr(GPtrArray) holders = name != NULL ? vd_inuse_find(name, NULL, NULL) : NULL;
  gboolean online = FALSE;

  for (guint i = 0; holders != NULL && i < holders->len; i++)
    online |= ((VdHolder *)g_ptr_array_index(holders, i))->kind != VD_HOLDER_PROCESS;
  if (holders != NULL && holders->len > 0)
    who = vd_inuse_describe(holders);
  return g_error_new(VIRTDISK_ERROR,
                     online ? VIRTDISK_ERROR_DISK_ONLINE_AND_WRITABLE : VIRTDISK_ERROR_DISK_ALREADY_OWNED,
                     "%s is %s: %s", display, online ? "in use, and can be written to" : "claimed by another",
                     who != NULL ? who : "by whom cannot be told");
}

static gboolean ask_device(Find *find, GError **error)
{
  VdFacts *facts = &find->source->facts;
  int fd = find->source->device_fd, sector_size = 0, read_only = 0;
  guint physical_size = 0;
  guint64 size = 0;
  struct stat st;

  if (fstat(fd, &st) < 0 || !S_ISBLK(st.st_mode) || ioctl(fd, BLKGETSIZE64, &size) < 0 ||
      ioctl(fd, BLKSSZGET, &sector_size) < 0 || ioctl(fd, BLKPBSZGET, &physical_size) < 0 ||
      ioctl(fd, BLKROGET, &read_only) < 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "The device of the source cannot be asked: %s",
                g_strerror(errno));
    return FALSE;
  }
  if (st.st_rdev != find->device) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_CHANGED,
                "The source was device %u:%u when its use was allowed, and is %u:%u now", major(find->device),
                minor(find->device), major(st.st_rdev), minor(st.st_rdev));
    return FALSE;
  }
  if (find->taken && read_only == 0) {
    g_propagate_error(error, taken_error(find, &st));
    return FALSE;
  }
  *facts = (VdFacts){.device_id = VIRTDISK_DEVICE_RAW,
                     .virtual_size = size,
                     .sector_size = (guint32)sector_size,
                     .physical_sector_size = physical_size};
  if (size >= 512 && size % 512 == 0)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_SIZE,
              "The device of the source has %" G_GUINT64_FORMAT " bytes: no medium is in it", size);
  return FALSE;
}

static void ask_device_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Find *find = data;
  GError *error = NULL;

  if (ask_device(find, &error))
    g_task_return_pointer(task, g_steal_pointer(&find->source), (GDestroyNotify)vd_copy_source_free);
  else
    g_task_return_error(task, error);
}

static void open_device(GTask *owned);

static void on_device_opened(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  Find *find = g_task_get_task_data(task);
  GError *error = NULL;

  find->source->device_fd = self->source.open_finish(self->source.opener, result, &error);
  if (find->source->device_fd >= 0) {
    vd_offload(task, ask_device_in_thread);
  } else if (find->exclusive && !find->taken &&
             g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION)) {
    /* It is no harm if nobody can write to it. */
    g_error_free(error);
    find->taken = TRUE;
    open_device(g_steal_pointer(&task));
  } else {
    g_task_return_error(task, error);
  }
}

static void open_device(GTask *owned)
{
  VdManager *self = g_task_get_source_object(owned);
  Find *find = g_task_get_task_data(owned);

  self->source.open_async(self->source.opener, find->identity, find->path,
                          find->exclusive && !find->taken ? VD_SOURCE_DEVICE_EXCLUSIVE : VD_SOURCE_DEVICE,
                          g_task_get_cancellable(owned), on_device_opened, owned);
}

static void find_device(GTask *owned)
{
  const Find *find = g_task_get_task_data(owned);

  if (find->open.device_id == VIRTDISK_DEVICE_UNKNOWN || find->open.device_id == VIRTDISK_DEVICE_RAW) {
    open_device(owned);
    return;
  }
  g_task_return_new_error(owned, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                          "A device is copied as it is: source-device-id is not raw");
  g_object_unref(owned);
}

void vd_manager_find_source_async(VdManager *self, VdIdentity *identity, const VdCreateParams *params,
                                  guint32 open_flags, GCancellable *cancellable, GAsyncReadyCallback callback,
                                  gpointer user_data)
{
  GTask *task = g_task_new(self, cancellable, callback, user_data);
  Find *find = g_new0(Find, 1);

  g_task_set_check_cancellable(task, FALSE); /* what is found holds locks */
  find->identity = vd_identity_ref(identity);
  find->path = g_strdup(params->source_path);
  find->open = (VdOpenParams){.device_id = params->source_device_id,
                              .vendor = g_strdup(params->source_vendor),
                              .version = 1,
                              .mask = VIRTDISK_ACCESS_READ,
                              .flags = open_flags & SOURCE_FLAGS};
  find->device = params->source_device;
  find->exclusive = (params->flags & VIRTDISK_CREATE_PREVENT_WRITES_TO_SOURCE_DISK) != 0;
  find->source = g_new0(VdCopySource, 1);
  find->source->device_fd = -1;
  g_task_set_task_data(task, find, find_free);
  if (params->source_device != 0)
    find_device(task);
  else
    find_image(task);
}

VdCopySource *vd_manager_find_source_finish(VdManager *self, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

GArray *vd_copy_source_files(const VdCopySource *self)
{
  GArray *files = g_array_new(FALSE, FALSE, sizeof(int));

  g_array_append_val(files, *(self->image != NULL ? &self->image->fd : &self->device_fd));
  for (guint i = 0; self->chain != NULL && i < self->chain->images->len; i++)
    g_array_append_val(files, ((VdImage *)g_ptr_array_index(self->chain->images, i))->fd);
  return files;
}

gboolean vd_copy_source_unchanged(const VdCopySource *self, GError **error)
{
  if (self->image != NULL && !vd_image_unchanged(self->image, error))
    return FALSE;
  for (guint i = 0; self->chain != NULL && i < self->chain->images->len; i++)
    if (!vd_image_unchanged(g_ptr_array_index(self->chain->images, i), error))
      return FALSE;
  return TRUE;
}
