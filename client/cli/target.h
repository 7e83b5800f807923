/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an argument names: an image, a device that shows one, or a directory one is mounted on. */
#pragma once

#include <sys/types.h>

#include "cli.h"

typedef enum { VD_TARGET_IMAGE, VD_TARGET_DEVICE, VD_TARGET_DIRECTORY } VdTargetKind;

typedef struct {
  char *path; /* absolute; any bytes */
  VdTargetKind kind;
  guint partition; /* of a DEVICE; 0: a whole disk */
} VdTarget;

/* What does not exist is taken for an image: the service may know it still. Never fails. */
VdTarget *vd_target_new(const char *argument);
void vd_target_free(VdTarget *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdTarget, vd_target_free)

/* The attached disk. Errors: VIRTDISK_ERROR NOT_FOUND and others of GetDiskForPath; VD_EXIT_ERROR. (transfer
 * full) */
VirtdiskDisk *vd_target_find_disk(VdCli *cli, const VdTarget *self, GError **error);
/* TRUE if an error of vd_target_find_disk() says that the image is not attached, rather than a failure. */
gboolean vd_target_is_not_attached(const GError *error);
