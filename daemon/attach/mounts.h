/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of mounts, and a call when it changes (POLLPRI on /proc/self/mountinfo; Linux 2.6.26). */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
  guint id; /* as statx(2) tells it */
  dev_t number;
  char *root;  /* of the mount within its file system */
  char *point; /* unescaped */
  char *fs_type;
  char *source;
  char *super_options;
} VdMount;

void vd_mount_free(VdMount *self);
/* TRUE if the source is the device by the kernel's word: a file system of several disks, with a number of its
 * own. A FUSE mount says of its source whatever its user likes. */
gboolean vd_mount_names_device(const VdMount *self);
/* TRUE if it lies where UDisks2 mounts what the user of this name wants mounted. Pure. */
gboolean vd_mount_is_of_user(const VdMount *self, const char *user);
/* text: contents of a mountinfo file. Lines that do not parse are left out. (transfer full) (element
 * VdMount*) */
GPtrArray *vd_mounts_parse(const char *text);
/* The mounts of this process' namespace, oldest first. NULL with error set (VIRTDISK_ERROR IO). */
GPtrArray *vd_mounts_read(GError **error);

typedef struct VdMountWatch VdMountWatch;
/* changed is called on the thread-default main context after each change of the table. */
VdMountWatch *vd_mount_watch_new(void (*changed)(gpointer user_data), gpointer user_data, GError **error);
void vd_mount_watch_free(VdMountWatch *self);
