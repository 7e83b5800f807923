/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image: one regular file, opened by somebody entitled to, and looked at from outside only (its type,
 * flags, host). Nobody reads its bytes here. Immutable but for the lock. Main loop only.
 */
#pragma once

#include <gio/gio.h>
#include <sys/stat.h>

#include "virtdisk-enums.h"

typedef struct VdImage VdImage;

struct VdImage {
  gatomicrefcount refs;
  int fd;            /* owned; blocking mode, close-on-exec */
  char *path;        /* bytes; what the caller named or, for a descriptor, what the kernel calls it */
  char *display;     /* path as UTF-8, the rest escaped */
  gboolean writable; /* fd is O_RDWR */
  struct stat st;    /* when it was opened */
  guint32 device_id; /* resolved VirtdiskDeviceId, never UNKNOWN */
  char *origin_url;  /* user.xdg.origin.url, UTF-8, at most 4096 bytes; or NULL */
  gboolean remote;   /* on a network file system */
};

/* Name of the format on the bus ("iso", "vhd", "raw"), or NULL. */
const char *vd_device_id_to_format(guint32 device_id);
const char *vd_device_id_to_vendor(guint32 device_id);

/*
 * What provider the type names. device_id UNKNOWN: the extension of path decides (.iso, .vhd .avhd, .vhdx
 * .avhdx, .vhds, .img .raw; letter case does not matter). vendor: GUID text or NULL; must be unknown or fit
 * the device id. Errors: INVALID_PARAMETER (number or vendor unknown), PROVIDER_NOT_FOUND (no such extension,
 * or a format that this version does not serve).
 */
gboolean vd_image_resolve_type(guint32 device_id, const char *vendor, const char *path,
                               guint32 *ret_device_id, GError **error);

/*
 * Takes fd (also on failure). path may be NULL: then /proc/self/fd names it. want_write: the handle will
 * write. Checks type, flags and access mode of the descriptor: O_PATH, O_APPEND, write-only, non-regular
 * files, files of proc/sysfs and the like, memfd and other files without a name are refused
 * (NOT_A_REGULAR_FILE, INVALID_PARAMETER, ACCESS_DENIED when want_write and the descriptor is read-only).
 * Host checks, with the OPEN flags that relax them: UNSUPPORTED_COMPRESSION (618), FILE_ENCRYPTED (6002),
 * FILE_SYSTEM_LIMITATION (665: a network share that this very host serves).
 * A read-only want on a writable descriptor is fine: writable tells what the descriptor can do.
 */
VdImage *vd_image_new(int fd, const char *path, guint32 device_id, const char *vendor, gboolean want_write,
                      guint32 open_flags, GError **error);
VdImage *vd_image_ref(VdImage *self);
void vd_image_unref(VdImage *self);

/* FALSE with FILE_CHANGED if size, times or identity differ from st (something happened while a person
 * thought). */
gboolean vd_image_unchanged(VdImage *self, GError **error);

/*
 * Locks that others see: OFD locks on the bytes QEMU uses (block/file-posix.c: 100 + permission, 200 +
 * permission not shared; consistent-read 0, write 1, write-unchanged 2, resize 3) and BSD flock (exclusive
 * for write, shared for read). They belong to the open file description, so a loop device configured with fd
 * keeps them. Errors: SHARING_VIOLATION, naming the process that holds the conflicting lock where /proc/locks
 * tells. File systems without locks (ENOLCK, EOPNOTSUPP) are let through.
 */
gboolean vd_image_lock(VdImage *self, gboolean write, GError **error);
void vd_image_unlock(VdImage *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdImage, vd_image_unref)
