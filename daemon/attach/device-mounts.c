/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mounts of a device and its partitions, in the mount namespace of the service. */
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

guint vd_device_count_mounts(VdDevice *self)
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

    if (major(mount->number) == 0 ? vd_mount_names_device(mount) && is_node_of(self, mount->source)
                                  : vd_device_contains(self, mount->number))
      count++;
  }
  return count;
}
