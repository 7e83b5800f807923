/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the file system under an image says of it. Looks at the descriptor and at tables, never at image
 * bytes. */
#pragma once

#include <gio/gio.h>

/* UNSUPPORTED_COMPRESSION, FILE_ENCRYPTED, FILE_SYSTEM_LIMITATION; see vd_image_new(). */
gboolean vd_hostfile_check(int fd, guint32 open_flags, GError **error);
/* The same with tables of the caller's, for tests: text of mountinfo, and the addresses of this host. */
gboolean vd_hostfile_is_loopback_share(const char *mountinfo, dev_t number, const char *const *addresses);
gboolean vd_hostfile_is_remote(int fd);
/* proc, sysfs, devpts, cgroup, debugfs, tracefs, securityfs, configfs, bpf, pstore, efivarfs and their like.
 */
gboolean vd_hostfile_is_pseudo(int fd);
/* Logical and physical sector size of the disk below the file, bytes; 512 and 512 where there is none.
 * removable: as sysfs says. */
void vd_hostfile_host_disk(dev_t number, guint32 *ret_logical, guint32 *ret_physical,
                           gboolean *ret_removable);
