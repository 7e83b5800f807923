/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mounting through UDisks2, as the user. The only file that knows its names. */
#pragma once

#include "cli.h"

/* UDisks2 hears of a new device from udev, a little after we do. */
#define VD_UDISKS_DEADLINE_MS 10000

/*
 * All: Errors: VIRTDISK_ERROR (not authorised, busy, device unknown, other), VD_EXIT_ERROR NOT_AVAILABLE: no
 * UDisks2 on the bus and none that can be started. They run the thread's default main context.
 */

/* options: mount options with commas, or NULL. A file system that somebody else has just mounted is fine.
 * Returns the mount point. (transfer full) */
char *vd_udisks_mount(VdCli *cli, const char *device, const char *options, GError **error);
/* Ends one mount of the device. */
gboolean vd_udisks_unmount(VdCli *cli, const char *device, GError **error);
