/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "exit.h"
#include "mounts.h"
#include "values.h"

VdTarget *vd_target_new(const char *argument)
{
  VdTarget *self = g_new0(VdTarget, 1);
  struct stat st;

  self->path = vd_value_absolute(argument);
  self->kind = VD_TARGET_IMAGE;
  if (stat(self->path, &st) != 0)
    return self;
  if (S_ISBLK(st.st_mode)) {
    self->kind = VD_TARGET_DEVICE;
    self->partition = vd_mounts_get_partition(st.st_rdev, NULL);
  } else if (S_ISDIR(st.st_mode)) {
    self->kind = VD_TARGET_DIRECTORY;
  }
  return self;
}

void vd_target_free(VdTarget *self)
{
  g_free(self->path);
  g_free(self);
}

/* The device below a mount point, or NULL and an error. */
static char *device_of_directory(const VdTarget *self, GError **error)
{
  char *resolved = realpath(self->path, NULL);
  char *source = vd_mounts_find_source(resolved != NULL ? resolved : self->path);

  free(resolved);
  if (source == NULL) {
    g_autofree char *shown = vd_value_printable(self->path);

    g_set_error(error, VD_EXIT_ERROR, VD_EXIT_NOT_FOUND, "%s is a directory on which nothing is mounted",
                shown);
  }
  return source;
}

VirtdiskDisk *vd_target_find_disk(VdCli *cli, const VdTarget *self, GError **error)
{
  g_autofree char *device = NULL;

  if (self->kind == VD_TARGET_DIRECTORY) {
    device = device_of_directory(self, error);
    if (device == NULL)
      return NULL;
  }
  return virtdisk_client_get_disk_for_path(cli->client, device != NULL ? device : self->path,
                                           cli->cancellable, error);
}

gboolean vd_target_is_not_attached(const GError *error)
{
  return g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND) ||
         g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_VIRTUAL_DISK) ||
         g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_DEVICE_NOT_EXIST);
}
