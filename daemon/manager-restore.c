/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* After a restart: what /run says against what the kernel has. Adopt what both know, undo what only one does.
 */
#include "manager-private.h"
#include "store/boot.h"

#include <string.h>

/* By the kernel's number of the disk. Who may write to a loop device may give it any tag, also another
 * disk's; so the tag counts only where the number was not known yet, and what is found that way is undone;
 * and for what is no disk of the kernel, of which only our own records tell. */
static VdDevice *take_device(GPtrArray *devices, const VdRunRecord *record)
{
  for (guint i = 0; i < devices->len; i++) {
    const VdDeviceInfo *info = vd_device_get_info(g_ptr_array_index(devices, i));

    if (record->diskseq != 0 ? info->diskseq == record->diskseq
                             : g_strcmp0(info->tag, record->tag) == 0 &&
                                   (record->phase == VD_RUN_INTENT || info->diskseq == 0))
      return g_ptr_array_steal_index_fast(devices, i);
  }
  return NULL;
}

static void on_orphan_detached(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(VdDevice) device = user_data;
  g_autoptr(GError) error = NULL;
  gboolean pending;

  if (!vd_device_detach_finish(device, result, &pending, &error))
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE",
                     "%s, left over from an interrupted attach: %s", vd_device_get_info(device)->title,
                     error->message);
}

static void undo_device(VdDevice *device)
{
  g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "MESSAGE",
                   "%s is left over from an interrupted attach: undone", vd_device_get_info(device)->title);
  vd_device_set_owned(device, FALSE);
  vd_device_detach_async(device, VD_DETACH_WHEN_IDLE, NULL, on_orphan_detached, device);
}

static VdDisk *disk_from_record(const VdRunRecord *record)
{
  VdDisk *disk = vd_disk_new(NULL);

  disk->image_dev = record->image_dev;
  disk->image_ino = record->image_ino;
  disk->image_uid = record->image_uid;
  disk->remote = record->remote;
  disk->physical_size = record->physical_size;
  disk->path = g_strdup(record->path);
  disk->display = vd_path_to_display(record->path);
  disk->device_id = record->facts.device_id;
  disk->origin_url = g_strdup(record->origin_url);
  disk->facts = record->facts;
  disk->has_facts = TRUE;
  return disk;
}

static void adopt_handle(VdManager *self, VdDisk *disk, const VdRunHandle *old)
{
  VdHandle *handle = g_new0(VdHandle, 1);

  g_atomic_ref_count_init(&handle->refs);
  handle->id = g_strdup(old->id);
  handle->disk = vd_disk_ref(disk);
  handle->owner = vd_identity_ref(disk->attachment->owner);
  handle->rights = (VdRights){.version = old->version, .mask = old->rights};
  handle->attacher = old->attacher;
  vd_manager_add_handle(self, handle);
  vd_handle_unref(handle);
}

static GPtrArray *parents_from_record(const VdRunRecord *record)
{
  GPtrArray *parents = g_ptr_array_new_with_free_func((GDestroyNotify)vd_parent_free);

  for (guint i = 0; i < record->parents->len; i++) {
    const VdRunParent *old = g_ptr_array_index(record->parents, i);

    g_ptr_array_add(parents, vd_parent_new(old->path, old->dev, old->ino, old->write));
  }
  return parents;
}

static VdDiskAttachment *attachment_from_record(const VdRunRecord *record, VdDevice *device)
{
  const VdDeviceInfo *info = vd_device_get_info(device);
  VdDiskAttachment *a = g_new0(VdDiskAttachment, 1);

  a->tag = g_strdup(record->tag);
  a->device = device;
  a->owner = vd_identity_new(record->bus_name, record->uid, record->gid, record->groups, record->n_groups,
                             record->pid);
  a->parents = parents_from_record(record);
  a->session = g_strdup(record->session);
  a->opened_read_only = record->opened_read_only;
  a->was_mounted = record->was_mounted;
  a->attached_at = record->attached_at;
  a->plan.flags = record->attach_flags;
  a->plan.read_only = info->read_only;
  a->plan.direct_io = info->direct_io;
  a->plan.detach_on_unmount = record->detach_on_unmount;
  a->plan.size = info->size;
  /* A device that could not be told of its disk's growth is smaller, and may be told yet. */
  a->plan.whole = (record->attach_flags & VIRTDISK_ATTACH_RESTRICTED_RANGE) == 0 ||
                  info->size == record->facts.virtual_size;
  a->plan.sector_size = record->facts.sector_size;
  if (!vd_lifetime_from_string(record->lifetime, &a->plan.lifetime))
    a->plan.lifetime = VD_LIFETIME_PERMANENT;
  return a;
}

static void adopt(VdManager *self, const VdRunRecord *record, VdDevice *device)
{
  g_autoptr(VdDisk) disk = disk_from_record(record);
  gboolean same_bus = record->bus_id != NULL && g_strcmp0(record->bus_id, self->bus_id) == 0;

  vd_device_set_owned(device, TRUE);
  disk->attachment = attachment_from_record(record, device);
  vd_manager_insert(self, disk);
  vd_disk_step(disk, VD_EVENT_ADOPT);
  vd_manager_watch_device(self, disk);
  for (guint i = 0; same_bus && i < record->handles->len; i++)
    adopt_handle(self, disk, g_ptr_array_index(record->handles, i));
  vd_manager_emit(self, VD_SIGNAL_DISK_ADDED, disk);
  if (self->ending)
    return;
  if (record->phase == VD_RUN_DETACHING)
    vd_manager_release(self, disk, "the service was stopped while detaching it");
  else if (disk->attachment->plan.lifetime == VD_LIFETIME_HANDLE && !same_bus)
    vd_manager_release(self, disk, "the bus of its owner is gone");
}

/* As image.c makes them. */
static gboolean is_image_path(const char *path)
{
  return path != NULL && (path[0] == '/' || g_str_has_prefix(path, "(unreachable)/"));
}

/* The service ended before the mirror took the image's place; what was made for the next boot goes. */
static void forget_mirror(VdManager *self, const VdRunRecord *record, VdDevice *device)
{
  const VdDeviceInfo *info = vd_device_get_info(device);
  g_autoptr(GError) error = NULL;
  VdLifetime lifetime;

  if (!vd_lifetime_from_string(record->lifetime, &lifetime) || lifetime != VD_LIFETIME_BOOT ||
      info->image_dev != record->image_dev || info->image_ino != record->image_ino)
    return;
  if (!vd_boot_remove(self->statedir, record->mirror_path, &error))
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "a boot record stays: %s", error->message);
}

/* The service ended as the mirror took the image's place: the worker's record tells which of the two it is.
 */
static void take_mirror(VdManager *self, VdRunRecord *record, VdDevice *device)
{
  const VdDeviceInfo *info = vd_device_get_info(device);
  g_autofree char *old = NULL;
  g_autoptr(GError) error = NULL;

  if (record->mirror_path == NULL)
    return;
  if (info->image_dev != record->mirror_dev || info->image_ino != record->mirror_ino) {
    forget_mirror(self, record, device);
    return;
  }
  old = g_steal_pointer(&record->path);
  record->path = g_steal_pointer(&record->mirror_path);
  record->image_dev = record->mirror_dev;
  record->image_ino = record->mirror_ino;
  record->image_uid = record->mirror_uid;
  if (!vd_boot_rename(self->statedir, old, record->path, record->image_uid, &error))
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "a boot record stays: %s", error->message);
}

static gboolean is_sound(const VdRunRecord *record, VdDevice *device)
{
  const VdDeviceInfo *info = vd_device_get_info(device);
  g_autoptr(GError) error = NULL;

  if (!is_image_path(record->path) || record->uid == VD_UID_INVALID || info->diskseq != record->diskseq ||
      info->image_dev != record->image_dev || info->image_ino != record->image_ino ||
      !vd_facts_check_attached(&record->facts, record->facts.device_id, record->facts.file_size, &error)) {
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE",
                     "the record of %s does not fit the device%s%s", info->path, error != NULL ? ": " : "",
                     error != NULL ? error->message : "");
    return FALSE;
  }
  return TRUE;
}

/* Not asked for any more, or never granted: it must not come at the next boot. What the boot service (it has
 * no bus) was attaching was asked for before. */
static void forget_boot(VdManager *self, const VdRunRecord *record, VdDevice *device)
{
  g_autoptr(GError) error = NULL;
  VdLifetime lifetime;

  if (!vd_lifetime_from_string(record->lifetime, &lifetime) || lifetime != VD_LIFETIME_BOOT)
    return;
  if (!(record->phase == VD_RUN_INTENT && record->bus_id != NULL) &&
      !(record->phase == VD_RUN_DETACHING && device == NULL))
    return;
  /* Reading the folder clears it of what a writer left that was killed. */
  g_ptr_array_unref(vd_boot_load(self->statedir));
  if (!vd_boot_remove(self->statedir, record->path, &error))
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "a boot record stays: %s", error->message);
}

static void restore_one(VdManager *self, VdRunRecord *record, GPtrArray *devices)
{
  VdDevice *device = take_device(devices, record);

  if (device != NULL)
    take_mirror(self, record, device);

  forget_boot(self, record, device);
  if (device == NULL) {
    vd_run_remove(self->rundir, record->tag);
  } else if (record->phase == VD_RUN_INTENT || !is_sound(record, device) ||
             vd_manager_lookup(self, record->image_dev, record->image_ino) != NULL) {
    vd_run_remove(self->rundir, record->tag);
    undo_device(device);
  } else {
    adopt(self, record, device);
  }
}

void vd_manager_set_ending(VdManager *self)
{
  self->ending = TRUE;
}

void vd_manager_restore(VdManager *self, const char *bus_id)
{
  g_autoptr(GPtrArray) records = vd_run_load(self->rundir);
  g_autoptr(GPtrArray) devices = vd_device_scan(self->rundir);

  g_free(self->bus_id);
  self->bus_id = g_strdup(bus_id);
  for (guint i = 0; i < records->len; i++)
    restore_one(self, g_ptr_array_index(records, i), devices);
  for (guint i = devices->len; i > 0; i--) {
    const char *tag = vd_device_get_info(g_ptr_array_index(devices, i - 1))->tag;

    if (*tag == '\0' || g_str_has_prefix(tag, self->instance))
      undo_device(g_ptr_array_steal_index_fast(devices, i - 1));
  }
  vd_manager_watch_mounts(self);
  /* Without a bus there is nobody to tell. */
  if (bus_id != NULL)
    vd_jobs_restore(self->jobs);
}
