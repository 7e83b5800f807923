/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attaching and detaching, through the service or, where there is no bus (early at boot, late in a shutdown),
 * by a run of virtdiskd that does this one thing.
 */
#pragma once

#include "mount/options.h"
#include "virtdisk.h"

/* Seconds until a bus that accepts and does not answer (it is being stopped) is given up. */
#define VD_MOUNT_BUS_DEADLINE 20

typedef struct VdMountService VdMountService;

/* Never fails: without a bus it works directly. */
VdMountService *vd_mount_service_new(GCancellable *cancellable);
void vd_mount_service_free(VdMountService *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdMountService, vd_mount_service_free)

typedef struct {
  char *device;
  gboolean read_only;
  gboolean added;         /* it was not attached before */
  GVariant *file_systems; /* aa{sv} */
} VdMountDisk;

void vd_mount_disk_free(VdMountDisk *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdMountDisk, vd_mount_disk_free)

typedef enum { VD_MOUNT_READ_WRITE, VD_MOUNT_READ_ONLY } VdMountAccess;

/* path: absolute. It is attached until its last file system is unmounted. An image that is attached already,
 * by root and until somebody detaches it, is found as it is; by a user or for a while: SHARING_VIOLATION.
 * Errors: VIRTDISK_ERROR, G_IO_ERROR, VD_EXIT_ERROR. */
VdMountDisk *vd_mount_service_attach(VdMountService *self, const char *path, const VdMountOptions *options,
                                     VdMountAccess access, GError **error);

typedef enum {
  VD_MOUNT_UNDO, /* what attach() has added, and nobody has mounted */
  VD_MOUNT_OVER, /* after an unmount: only if the disk was to be detached then, and nothing else is mounted */
} VdMountWhy;

/* device: the disk's or a partition's. One that is in use, or is gone already, is no failure: who uses it is
 * waited for by the service. Errors: as above. */
gboolean vd_mount_service_detach(VdMountService *self, const char *device, VdMountWhy why, GError **error);
