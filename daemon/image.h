/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image: one regular file, opened by somebody entitled to, and looked at from outside only (its type,
 * flags, host). Nobody reads its bytes here. Immutable but for the lock. Each function may run in any thread,
 * one at a time for one image. Those that ask the file system block as long as it does (a dead server, a
 * user's FUSE process), so the main loop leaves vd_image_new(), vd_image_unchanged() and vd_image_lock() to a
 * thread.
 */
#pragma once

#include <gio/gio.h>
#include <sys/stat.h>

#include "util/display.h"
#include "virtdisk-enums.h"

typedef struct VdImage VdImage;

struct VdImage {
  gatomicrefcount refs;
  int fd;            /* owned; close-on-exec; a client may share its open file description */
  char *path;        /* bytes; what the kernel calls it, after "(unreachable)" if that is another file here */
  char *display;     /* path as UTF-8, the rest escaped */
  gboolean writable; /* fd is O_RDWR */
  struct stat st;    /* when it was opened */
  guint32 device_id; /* resolved VirtdiskDeviceId, never UNKNOWN */
  char *origin_url;  /* user.xdg.origin.url or .referrer.url, UTF-8, at most 4096 bytes; or NULL */
  gboolean remote;   /* on a network file system */
  gboolean may_hang; /* a server or a FUSE process answers for the file */
  gboolean local;    /* nobody is asked, so that it can be closed anywhere */
  guint locked;      /* image-lock.c: the bytes held */
};

/* Name of the format on the bus ("iso", "vhd", "vhdx", "vhds", "raw"), its vendor's GUID; or NULL. */
const char *vd_device_id_to_format(guint32 device_id);
const char *vd_device_id_to_vendor(guint32 device_id);

/*
 * What provider the type names. device_id UNKNOWN: the extension of path decides (.iso, .vhd .avhd, .vhdx
 * .avhdx, .vhds, .img .raw; letter case does not matter); otherwise path is not looked at and may be NULL.
 * vendor: GUID text without braces, or NULL; must be unknown (zeros) or fit the device id.
 * Errors: INVALID_PARAMETER (vendor is no GUID); PROVIDER_NOT_FOUND, as OpenVirtualDisk has it for "no
 * provider for the type or extension": a device id or vendor that nobody knows, a vendor that does not make
 * this format, no such extension, a format that this version does not serve (VHDSET).
 */
gboolean vd_image_resolve_type(guint32 device_id, const char *vendor, const char *path,
                               guint32 *ret_device_id, GError **error);

/*
 * Takes fd (also on failure). path may be NULL: then /proc/self/fd names it. want_write: the handle will
 * write. Errors:
 *   NOT_A_REGULAR_FILE       folders, pipes, sockets, devices, files of proc, sysfs and the like, files
 *                            without a name (memfd, deleted)
 *   INVALID_PARAMETER        not a descriptor; O_PATH, O_APPEND, O_DIRECT, write-only
 *   ACCESS_DENIED            want_write and the descriptor is read-only; a FUSE mount of another user
 *   WRITE_PROTECT            want_write and the file is immutable, append-only or sealed by fs-verity
 *   SHARING_VIOLATION        the file is swap space
 *   UNSUPPORTED_COMPRESSION, FILE_ENCRYPTED, FILE_SYSTEM_LIMITATION
 *                            see vd_hostfile_check()
 * and those of vd_image_resolve_type(). The flags of the descriptor are not changed, only close-on-exec set.
 * For a read-only want a writable descriptor is exchanged for one that reads only, where the file can be
 * opened again; writable tells what the descriptor can do.
 */
VdImage *vd_image_new(int fd, const char *path, guint32 device_id, const char *vendor, gboolean want_write,
                      guint32 open_flags, GError **error);
/* The same in a thread of its own: each look at the file may take as long as its file system likes. Takes fd.
 */
void vd_image_new_async(int fd, const char *path, guint32 device_id, const char *vendor, gboolean want_write,
                        guint32 open_flags, GAsyncReadyCallback callback, gpointer user_data);
VdImage *vd_image_new_finish(GAsyncResult *result, GError **error);
VdImage *vd_image_ref(VdImage *self);
void vd_image_unref(VdImage *self);

/* FALSE with FILE_CHANGED if size, times or identity differ from st (something happened while a person
 * thought). */
gboolean vd_image_unchanged(VdImage *self, GError **error);
void vd_image_unchanged_async(VdImage *self, GAsyncReadyCallback callback, gpointer user_data);
gboolean vd_image_unchanged_finish(VdImage *self, GAsyncResult *result, GError **error);
/*
 * Who owns the file now, and who may do what with it, without asking a server; the group's bits only where
 * nothing but the group is meant by them (with an access control list they are its mask) and that is known at
 * once. FALSE: not to be had.
 */
gboolean vd_image_owner(VdImage *self, uid_t *ret_uid, gid_t *ret_gid, mode_t *ret_mode);
/* Bytes in the file and on the host, as far as they are known without asking a server; FALSE: not to be had.
 */
gboolean vd_image_sizes(VdImage *self, guint64 *ret_size, guint64 *ret_allocated);

/*
 * Locks that others see: OFD locks on the bytes QEMU uses (block/file-posix.c: 100 + permission, 200 +
 * permission not shared; consistent-read 0, write 1, write-unchanged 2, resize 3) and BSD flock (exclusive
 * for write, shared for read; not on network file systems, where it would cover those bytes). They belong to
 * the open file description: a loop device configured with fd keeps them when the service goes, and two
 * images made from one description (a client passed it twice) share them, so that the second unlock frees
 * both. Neither sees the other, so the caller compares st first. Locking a locked image changes its mode; on
 * failure what was held before is held again. write needs writable. Errors: SHARING_VIOLATION, naming the
 * process that holds the conflicting lock where /proc tells; IO. File systems without locks (ENOLCK,
 * EOPNOTSUPP, ENOSYS) are let through.
 */
gboolean vd_image_lock(VdImage *self, gboolean write, GError **error);
void vd_image_lock_async(VdImage *self, gboolean write, GAsyncReadyCallback callback, gpointer user_data);
gboolean vd_image_lock_finish(VdImage *self, GAsyncResult *result, GError **error);
/* Not done by the last unref: a device may outlive us and rely on the locks. Waits for nobody: where a file
 * system may keep us waiting a thread does it, so self is not to be locked again. */
void vd_image_unlock(VdImage *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdImage, vd_image_unref)
