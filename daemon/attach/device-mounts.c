/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The partitions of a device, and the mounts of both in the mount namespace of the service. */
#include "attach/device.h"

#include <string.h>
#include <sys/sysmacros.h>

#include "attach/mounts.h"
#include "attach/sysfs.h"

static gboolean is_node_of(VdDevice *self, const char *node)
{
  g_autoptr(GPtrArray) blocks = vd_sysfs_list_blocks(NULL, vd_device_get_info(self)->name);

  for (guint i = 0; i < blocks->len; i++)
    if (g_str_has_prefix(node, "/dev/") &&
        g_str_equal(node + strlen("/dev/"), ((VdSysBlock *)g_ptr_array_index(blocks, i))->name))
      return TRUE;
  return FALSE;
}

/* user: his are not counted; NULL: nobody's. */
static guint count_mounts(VdDevice *self, const char *user)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(GPtrArray) mounts = vd_mounts_read(&error);
  guint count = 0;

  if (mounts == NULL) {
    g_warning("%s", error->message);
    return 0;
  }
  for (guint i = 0; i < mounts->len; i++) {
    const VdMount *mount = g_ptr_array_index(mounts, i);

    if (user != NULL && vd_mount_is_of_user(mount, user))
      continue;
    if (major(mount->number) == 0 ? vd_mount_names_device(mount) && is_node_of(self, mount->source)
                                  : vd_device_contains(self, mount->number))
      count++;
  }
  return count;
}

guint vd_device_count_mounts(VdDevice *self)
{
  return count_mounts(self, NULL);
}

guint vd_device_count_mounts_of_others(VdDevice *self, const char *user)
{
  return count_mounts(self, user);
}

gboolean vd_device_contains(VdDevice *self, dev_t devno)
{
  const VdDeviceInfo *info = vd_device_get_info(self);
  g_autofree char *link = NULL, *target = NULL, *disk = NULL, *name = NULL;

  if (info->number == 0)
    return FALSE;
  if (devno == info->number)
    return TRUE;
  /* One look, however many partitions there are: callers ask for each disk, on the main loop. The folder of a
   * partition lies within its disk's. */
  link = g_strdup_printf("/sys/dev/block/%u:%u", major(devno), minor(devno));
  target = major(devno) != 0 ? g_file_read_link(link, NULL) : NULL;
  if (target == NULL)
    return FALSE;
  disk = g_path_get_dirname(target);
  name = g_path_get_basename(disk);
  return g_str_equal(name, info->name);
}

char *vd_device_partition_path(VdDevice *self, guint32 partition)
{
  const char *disk = vd_device_get_info(self)->name;
  g_autofree char *name = g_strdup_printf("%sp%u", disk, partition);

  if (!vd_sysfs_exists(NULL, disk, name))
    return NULL;
  return g_strconcat("/dev/", name, NULL);
}
