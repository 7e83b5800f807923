/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mounting with mount(8) and umount(8), for the superuser and where there is no UDisks2. */
#pragma once

#include <gio/gio.h>

/* Below it directories are made for mounts that name none, and removed again. */
#define VD_MOUNT_PARENT "/run/media"
#define VD_MOUNT_ROOT VD_MOUNT_PARENT "/root"

/* nosuid and nodev, then the options given, which may say otherwise. options: or NULL. (transfer full) */
char *vd_mount8_make_options(const char *options);
/* directory: NULL makes one. Returns the mount point. (transfer full) Errors: VD_EXIT_ERROR, G_IO_ERROR. */
char *vd_mount8_mount(const char *device, const char *directory, const char *options,
                      GCancellable *cancellable, GError **error);
/* Errors: VD_EXIT_ERROR, G_IO_ERROR. */
gboolean vd_mount8_unmount(const char *mountpoint, GCancellable *cancellable, GError **error);
