/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is mounted from a disk, as this process sees it. Reads /proc and /sys, changes nothing. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
  dev_t number; /* of the file system; anonymous for btrfs */
  char *type;
  char *source;     /* device node; of FUSE whatever its user says */
  char *mountpoint; /* any bytes */
} VdMount;

void vd_mount_free(VdMount *self);
/* TRUE if it has no device's number and its source is the device by the kernel's word: btrfs and the like. */
gboolean vd_mount_names_device(const VdMount *self);

typedef enum {
  VD_MOUNTS_DISK, /* the device and its partitions */
  VD_MOUNTS_ONLY, /* the device alone */
} VdMountsScope;

/* text: contents of mountinfo. Element: VdMount*, in the order of mounting. Lines that do not parse are
 * passed over. Pure. */
GPtrArray *vd_mounts_parse(const char *text);
/* Device numbers of a disk and its partitions. sys_root: NULL is the real one. Element: guint64 (a dev_t). */
GArray *vd_mounts_list_devices(dev_t disk, const char *sys_root);
/* Number of the partition, 0 for a whole disk. sys_root: NULL is the real one. */
guint vd_mounts_get_partition(dev_t device, const char *sys_root);

/* Mounts of a device node now, in the order of mounting; none if there is no such device. */
GPtrArray *vd_mounts_of(const char *device, VdMountsScope scope);
/* Device node of what is mounted on a directory, or NULL: not a mount point of one. (transfer full) */
char *vd_mounts_find_source(const char *directory);
