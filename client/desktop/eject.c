/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ejecting: unmounted through UDisks2, what was unlocked is locked, then detached. Nothing is forced. */
#include "mounts.h"
#include "udisks.h"
#include "work.h"

static gboolean unmount_all(GDBusConnection *bus, const char *device, GError **error)
{
  g_autoptr(GPtrArray) mounts = vd_mounts_of(device, VD_MOUNTS_DISK);

  for (guint i = mounts->len; i > 0; i--)
    if (!vd_udisks_unmount(bus, ((const VdMount *)g_ptr_array_index(mounts, i - 1))->source, error))
      return FALSE;
  return TRUE;
}

static gboolean lock_all(GDBusConnection *bus, VirtdiskDisk *disk, GError **error)
{
  g_autoptr(GVariant) file_systems = virtdisk_disk_get_file_systems(disk);

  for (gsize i = 0; i < g_variant_n_children(file_systems); i++) {
    g_autoptr(GVariant) row = g_variant_get_child_value(file_systems, i);
    const char *usage = "", *device = "";

    g_variant_lookup(row, "usage", "&s", &usage);
    g_variant_lookup(row, "device", "&s", &device);
    if (g_str_equal(usage, "crypto") && !vd_udisks_lock(bus, device, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean is_gone(const GError *error)
{
  return g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_VIRTUAL_DISK) ||
         g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND) ||
         g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_DEVICE_NOT_EXIST) ||
         g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE);
}

/* It may have gone by itself, with its last mount. */
static gboolean detach(VirtdiskClient *client, VirtdiskHandle *handle, const char *device, GError **error)
{
  g_autoptr(GError) cause = NULL;
  gboolean detached = handle != NULL ? virtdisk_handle_detach_virtual_disk(handle, VIRTDISK_DETACH_NONE, NULL,
                                                                           NULL, NULL, &cause)
                                     : virtdisk_client_detach_image(client, device, NULL, NULL, NULL, &cause);

  if (detached || is_gone(cause))
    return TRUE;
  g_propagate_error(error, g_steal_pointer(&cause));
  return FALSE;
}

void vd_work_eject(VirtdiskClient *client, VirtdiskHandle *handle, VdOutcome *outcome)
{
  GError *error = NULL;
  g_autoptr(GError) unmounting = NULL;
  g_autoptr(VirtdiskDisk) disk = virtdisk_client_get_disk_for_path(client, outcome->path, NULL, &error);
  GDBusConnection *bus = virtdisk_client_get_connection(client);

  if (disk == NULL) {
    vd_outcome_fail(outcome, error);
    return;
  }
  outcome->device = g_strdup(virtdisk_disk_get_device(disk));
  /* Why it did not work the service knows best: it sees who holds the disk. */
  if (!unmount_all(bus, outcome->device, &unmounting) || !lock_all(bus, disk, &unmounting))
    g_debug("%s: %s", outcome->device, unmounting->message);
  if (!detach(client, handle, outcome->device, &error)) {
    vd_outcome_fail(outcome, error);
    return;
  }
  outcome->saying = VD_SAYING_EJECTED;
  g_clear_pointer(&outcome->device, g_free);
}
