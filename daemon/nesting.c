/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nesting.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "attach/mounts.h"

/* btrfs and its like report an anonymous device in st_dev; the mount table knows the block device behind it.
 */
static dev_t block_device_of(dev_t file_system)
{
  g_autoptr(GPtrArray) mounts = NULL;
  struct stat st;

  if (major(file_system) != 0)
    return file_system;
  mounts = vd_mounts_read(NULL);
  for (guint i = 0; mounts != NULL && i < mounts->len; i++) {
    const VdMount *mount = g_ptr_array_index(mounts, i);

    if (mount->number == file_system && vd_mount_names_device(mount) && stat(mount->source, &st) == 0 &&
        S_ISBLK(st.st_mode))
      return st.st_rdev;
  }
  return file_system;
}

VdDisk *vd_nesting_find_inner(VdManager *manager, VdDisk *outer)
{
  g_autoptr(GPtrArray) list = vd_manager_list(manager);

  for (guint i = 0; i < list->len; i++) {
    VdDisk *disk = g_ptr_array_index(list, i);

    if (disk != outer && vd_device_contains(outer->attachment->device, block_device_of(disk->image_dev)))
      return vd_disk_ref(disk);
  }
  return NULL;
}

VdDisk *vd_nesting_find_host(VdManager *manager, dev_t file_system)
{
  g_autoptr(GPtrArray) list = vd_manager_list(manager);
  dev_t device = block_device_of(file_system);

  for (guint i = 0; i < list->len; i++) {
    VdDisk *disk = g_ptr_array_index(list, i);

    if (vd_device_contains(disk->attachment->device, device))
      return vd_disk_ref(disk);
  }
  return NULL;
}
