/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dependency.h"

#include <string.h>
#include <sys/sysmacros.h>

#include "attach/mounts.h"
#include "hostfile.h"
#include "nesting.h"

/* Images within images: deeper than anybody goes, and a bound on the walk. */
#define MAX_NESTING 32

void vd_dependency_free(VdDependency *self)
{
  g_free(self->device);
  g_free(self->host_volume);
  g_free(self->relative_path);
  g_free(self->dependent_volume);
  g_free(self);
}

/* The mount that a path of this file system is seen through: the longest mount point that begins the path. */
static const VdMount *mount_of(GPtrArray *mounts, dev_t number, const char *path)
{
  const VdMount *best = NULL;

  for (guint i = 0; i < mounts->len; i++) {
    const VdMount *mount = g_ptr_array_index(mounts, i);
    gsize length = strlen(mount->point);

    if (mount->number != number || strncmp(path, mount->point, length) != 0)
      continue;
    if (length > 1 && path[length] != '/' && path[length] != '\0')
      continue;
    if (best == NULL || length >= strlen(best->point))
      best = mount;
  }
  return best;
}

static char *relative_to(const VdMount *mount, const char *path)
{
  const char *rest = path;

  if (mount == NULL)
    return g_strdup(path);
  if (mount->point[1] != '\0')
    rest = path + strlen(mount->point);
  return g_build_filename("/", mount->root, rest, NULL);
}

static guint32 flags_of(VdDisk *disk)
{
  guint32 flags = 0, logical, physical;
  gboolean removable;
  struct stat root;

  vd_hostfile_host_disk(disk->image_dev, &logical, &physical, &removable);
  if (disk->facts.subtype != VIRTDISK_SUBTYPE_DYNAMIC && disk->facts.subtype != VIRTDISK_SUBTYPE_DIFFERENCING)
    flags |= VIRTDISK_DEPENDENT_FULLY_ALLOCATED;
  if (disk->attachment->parents != NULL && disk->attachment->parents->len > 0)
    flags |= VIRTDISK_DEPENDENT_MULT_BACKING_FILES;
  if (disk->attachment->plan.read_only)
    flags |= VIRTDISK_DEPENDENT_READ_ONLY;
  if (disk->attachment->plan.lifetime != VD_LIFETIME_HANDLE)
    flags |= VIRTDISK_DEPENDENT_PERMANENT_LIFETIME;
  if ((disk->attachment->plan.flags & VIRTDISK_ATTACH_NO_DRIVE_LETTER) != 0)
    flags |= VIRTDISK_DEPENDENT_NO_DRIVE_LETTER;
  if (disk->remote)
    flags |= VIRTDISK_DEPENDENT_REMOTE;
  if (removable)
    flags |= VIRTDISK_DEPENDENT_REMOVABLE;
  if (stat("/", &root) == 0 && root.st_dev == disk->image_dev)
    flags |= VIRTDISK_DEPENDENT_SYSTEM_VOLUME_PARENT;
  return flags;
}

static VdDependency *describe(VdDisk *disk, GPtrArray *mounts, guint32 level, const char *dependent)
{
  VdDependency *self = g_new0(VdDependency, 1);
  const VdMount *mount = mount_of(mounts, disk->image_dev, disk->path);

  self->flags = flags_of(disk);
  self->device_id = disk->device_id;
  self->vendor = vd_device_id_to_vendor(disk->device_id);
  self->ancestor_level = level;
  self->device = g_strdup(vd_device_get_info(disk->attachment->device)->path);
  self->host_volume = g_strdup(mount != NULL && mount->source != NULL ? mount->source : "");
  self->relative_path = relative_to(mount, disk->path);
  self->dependent_volume = g_strdup(dependent != NULL ? dependent : "");
  return self;
}

/* A parent of the chain: a file of its own, behind the same device. */
static VdDependency *describe_parent(VdDisk *disk, const VdParent *parent, GPtrArray *mounts, guint32 level)
{
  VdDependency *self = describe(disk, mounts, level, NULL);
  const VdMount *mount = mount_of(mounts, parent->dev, parent->path);

  self->flags |= VIRTDISK_DEPENDENT_PARENT;
  if (!parent->write)
    self->flags |= VIRTDISK_DEPENDENT_READ_ONLY;
  g_free(self->host_volume);
  g_free(self->relative_path);
  self->host_volume = g_strdup(mount != NULL && mount->source != NULL ? mount->source : "");
  self->relative_path = relative_to(mount, parent->path);
  return self;
}

static guint count_parents(const VdDisk *disk)
{
  return disk->attachment->parents != NULL ? disk->attachment->parents->len : 0;
}

static dev_t volume_of(const struct stat *st)
{
  return S_ISBLK(st->st_mode) ? st->st_rdev : st->st_dev;
}

/* Upwards: the disk that the volume is on, then the disk that one's image is on, ... */
static void find_hosts(VdManager *manager, dev_t volume, GPtrArray *mounts, GPtrArray *found)
{
  g_autoptr(VdDisk) disk = vd_nesting_find_host(manager, volume);

  for (guint level = 0; disk != NULL && level < MAX_NESTING; level++) {
    VdDisk *host = vd_nesting_find_host(manager, disk->image_dev);

    g_ptr_array_add(found, describe(disk, mounts, found->len, NULL));
    for (guint i = 0; i < count_parents(disk); i++)
      g_ptr_array_add(
          found, describe_parent(disk, g_ptr_array_index(disk->attachment->parents, i), mounts, found->len));
    vd_disk_unref(disk);
    disk = host;
  }
}

/* Parents that lie on the volume, whatever the leaf does. */
static void find_hosted_parents(VdDisk *disk, dev_t volume, guint32 level, GPtrArray *mounts,
                                GPtrArray *found)
{
  for (guint i = 0; i < count_parents(disk); i++) {
    const VdParent *parent = g_ptr_array_index(disk->attachment->parents, i);

    if (parent->dev == volume)
      g_ptr_array_add(found, describe_parent(disk, parent, mounts, level + i + 1));
  }
}

/* Downwards: images on the volume, then images on what those show, ... */
static void find_hosted(VdManager *manager, dev_t volume, guint32 level, GPtrArray *mounts, GPtrArray *found)
{
  g_autoptr(GPtrArray) list = vd_manager_list(manager);
  g_autoptr(VdDisk) asked = vd_nesting_find_host(manager, volume);

  for (guint i = 0; i < list->len && level < MAX_NESTING; i++) {
    VdDisk *disk = g_ptr_array_index(list, i);
    g_autoptr(VdDisk) host = vd_nesting_find_host(manager, disk->image_dev);

    if (disk != asked)
      find_hosted_parents(disk, volume, level, mounts, found);
    if (disk == asked || !(disk->image_dev == volume || (asked != NULL && host == asked)))
      continue;
    g_ptr_array_add(found, describe(disk, mounts, level, NULL));
    find_hosted(manager, vd_device_get_info(disk->attachment->device)->number, level + 1, mounts, found);
  }
}

GPtrArray *vd_dependency_find(VdManager *manager, const struct stat *st, guint32 flags, GError **error)
{
  g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func((GDestroyNotify)vd_dependency_free);
  g_autoptr(GPtrArray) mounts = NULL;

  if ((flags & ~(guint32)VIRTDISK_DEPENDENCY_ALL_FLAGS) != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "unknown dependency flags 0x%08x",
                flags & ~(guint32)VIRTDISK_DEPENDENCY_ALL_FLAGS);
    return NULL;
  }
  if ((flags & VIRTDISK_DEPENDENCY_DISK_HANDLE) != 0 && !S_ISBLK(st->st_mode)) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                        "DISK_HANDLE needs the node of a disk");
    return NULL;
  }
  mounts = vd_mounts_read(error);
  if (mounts == NULL)
    return NULL;
  if ((flags & VIRTDISK_DEPENDENCY_HOST_VOLUMES) == 0) {
    find_hosted(manager, volume_of(st), 0, mounts, found);
    return g_steal_pointer(&found);
  }
  find_hosts(manager, volume_of(st), mounts, found);
  if (found->len == 0) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_VIRTUAL_DISK,
                        "no attached image carries it");
    return NULL;
  }
  return g_steal_pointer(&found);
}
