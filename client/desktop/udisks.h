/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mounting and unmounting through UDisks2, as the user. The only file of the desktop that knows its names.
 * Blocks; any thread that has a main context of its own as thread default (signals of the bus arrive there).
 */
#pragma once

#include <gio/gio.h>

/* UDisks2 hears of a device from udev, a little after the service has. */
#define VD_UDISKS_DEADLINE_MS 10000

#define VD_UDISKS_ERROR (vd_udisks_error_quark())
GQuark vd_udisks_error_quark(void);

typedef enum {
  VD_UDISKS_ABSENT,  /* not on the bus, and cannot be started */
  VD_UDISKS_UNKNOWN, /* it got to know no file system on the device in time */
  VD_UDISKS_REFUSED, /* polkit said no, or nobody gave the password */
  VD_UDISKS_BUSY,
  VD_UDISKS_FAILED,
} VdUdisksError;

/*
 * Waits until UDisks2 knows the file system with this UUID (may be empty) on the device, since for a moment
 * it may take the device for what it was before; then mounts it. Already mounted is fine. options: with
 * commas, or NULL. Returns where. (transfer full)
 */
char *vd_udisks_mount(GDBusConnection *bus, const char *device, const char *uuid, const char *options,
                      GError **error);
gboolean vd_udisks_unmount(GDBusConnection *bus, const char *device, GError **error);
/* Unmounts and locks what was unlocked of an encrypted device; nothing unlocked is fine. */
gboolean vd_udisks_lock(GDBusConnection *bus, const char *device, GError **error);
