/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "once.h"

#include <sys/stat.h>

typedef struct {
  VdManager *manager; /* owned */
  VdOnceWishes wishes;
  VdIdentity *identity;
  VdOpenParams open;
  VdAttachParams attach;
  VdRights rights;
  VdHandle *handle; /* or NULL */
  VdOnceAttached done;
  gpointer user_data;
} Once;

static void once_free(Once *once)
{
  g_clear_pointer(&once->handle, vd_handle_unref);
  g_clear_pointer(&once->identity, vd_identity_unref);
  g_object_unref(once->manager);
  g_free(once);
}

/* error: taken. */
static void finish(Once *once, VdDisk *disk, gboolean added, GError *error)
{
  g_autoptr(GError) owned = error;

  once->done(disk, added, owned, once->user_data);
  once_free(once);
}

typedef struct {
  Once *once;
  VdDisk *disk; /* owned, or NULL: it failed */
  GError *error;
} Closing;

/* Only then: the record of the disk says that nobody holds a handle. */
static void on_closed(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autofree Closing *closing = user_data;
  g_autoptr(VdDisk) disk = closing->disk;

  vd_manager_close_finish(VD_MANAGER(source), result, NULL);
  finish(closing->once, disk, TRUE, closing->error);
}

static void on_attached(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Closing *closing = g_new0(Closing, 1);

  closing->once = user_data;
  closing->disk = vd_manager_attach_finish(VD_MANAGER(source), result, &closing->error);
  vd_manager_close_async(VD_MANAGER(source), closing->once->handle, on_closed, closing);
}

static void on_opened(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Once *once = user_data;
  GError *error = NULL;

  once->handle = vd_manager_open_finish(VD_MANAGER(source), result, &error);
  if (once->handle == NULL) {
    finish(once, NULL, FALSE, error);
    return;
  }
  vd_manager_withhold_handle(VD_MANAGER(source), once->handle);
  vd_manager_attach_async(VD_MANAGER(source), once->handle, &once->attach, NULL, NULL, NULL, NULL,
                          on_attached, once);
}

static void on_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Once *once = user_data;
  GError *error = NULL;
  g_autoptr(VdImage) image = vd_manager_find_finish(VD_MANAGER(source), result, &error);
  VdDisk *disk = image != NULL ? vd_manager_find_by_stat(VD_MANAGER(source), &image->st) : NULL;

  if (image == NULL || disk != NULL)
    finish(once, disk, FALSE, error);
  else
    vd_manager_open_async(VD_MANAGER(source), once->identity, image, &once->rights, NULL, NULL, NULL,
                          on_opened, once);
}

static gboolean resolve(Once *once, GError **error)
{
  guint32 device_id;
  VdLifetime lifetime;
  gboolean read_only;

  once->open = (VdOpenParams){.device_id = once->wishes.device_id,
                              .mask = VIRTDISK_ACCESS_READ,
                              .flags = once->wishes.cached ? VIRTDISK_OPEN_CACHED_IO : 0,
                              .version = 1};
  once->attach = (VdAttachParams){.flags = VIRTDISK_ATTACH_PERMANENT_LIFETIME,
                                  .version = 1,
                                  .detach_on_unmount = TRUE,
                                  .has_sector_size = once->wishes.sector_size != 0,
                                  .sector_size = once->wishes.sector_size,
                                  .route = once->wishes.route};
  if (!vd_access_open(&once->open, once->wishes.path, &device_id, &once->rights, error))
    return FALSE;
  if (once->wishes.read_only || device_id == VIRTDISK_DEVICE_ISO)
    once->attach.flags |= VIRTDISK_ATTACH_READ_ONLY;
  if (!vd_access_attach_flags(&once->attach, device_id, &lifetime, &read_only, error))
    return FALSE;
  if (read_only)
    return TRUE;
  once->open.mask = VIRTDISK_ACCESS_ATTACH_RW | VIRTDISK_ACCESS_DETACH | VIRTDISK_ACCESS_GET_INFO;
  return vd_access_open(&once->open, once->wishes.path, &device_id, &once->rights, error);
}

void vd_once_attach(VdManager *manager, const VdOnceWishes *wishes, VdOnceAttached done, gpointer user_data)
{
  Once *once = g_new0(Once, 1);
  GError *error = NULL;

  once->manager = g_object_ref(manager);
  once->wishes = *wishes;
  once->done = done;
  once->user_data = user_data;
  once->identity = vd_identity_new(NULL, 0, VD_GID_INVALID, NULL, 0, 0);
  if (resolve(once, &error))
    vd_manager_find_async(manager, once->identity, wishes->path, &once->open, &once->rights, NULL, on_found,
                          once);
  else
    finish(once, NULL, FALSE, error);
}

typedef struct {
  VdOnceDetached done;
  gpointer user_data;
} Detach;

static void on_detached(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autofree Detach *detach = user_data;
  g_autoptr(GError) error = NULL;
  gboolean pending;

  vd_manager_detach_finish(VD_MANAGER(source), result, &pending, &error);
  detach->done(error, detach->user_data);
}

void vd_once_detach(VdManager *manager, const char *device, VdOnceDetached done, gpointer user_data)
{
  g_autoptr(GError) error = NULL;
  struct stat st;
  VdDisk *disk = stat(device, &st) == 0 && S_ISBLK(st.st_mode) ? vd_manager_find_by_stat(manager, &st) : NULL;
  Detach *detach;

  if (disk == NULL) {
    g_set_error(&error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND, "%s shows no image", device);
    done(error, user_data);
    return;
  }
  if (!disk->attachment->plan.detach_on_unmount || vd_device_count_mounts(disk->attachment->device) > 0) {
    done(NULL, user_data);
    return;
  }
  detach = g_new(Detach, 1);
  *detach = (Detach){done, user_data};
  vd_manager_detach_async(manager, disk, NULL, VD_DETACH_IF_IDLE, NULL, on_detached, detach);
}
