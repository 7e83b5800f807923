/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the file system under an image says of it. Looks at the descriptor and at tables, never at image
 * bytes. */
#pragma once

#include <gio/gio.h>

/*
 * Whether an image may lie here. UNSUPPORTED_COMPRESSION (Win32 618) unless open_flags has
 * SUPPORT_COMPRESSED_VOLUMES, FILE_ENCRYPTED (6002) unless SUPPORT_ENCRYPTED_FILES, FILE_SYSTEM_LIMITATION
 * (665): an NFS, SMB or 9p share that this very host serves. Blocks as the file system does.
 */
gboolean vd_hostfile_check(int fd, guint32 open_flags, GError **error);
/* WRITE_PROTECT: the file itself forbids writing, whatever the descriptor was opened for. SHARING_VIOLATION:
 * it is swap space. */
gboolean vd_hostfile_check_use(int fd, gboolean want_write, GError **error);
/*
 * Whether the file system with this number is a share served by this host. mountinfo: text as in proc(5);
 * addresses: numeric addresses and names of this host, NULL at the end. 127.0.0.0/8, ::1 and localhost always
 * are.
 */
gboolean vd_hostfile_is_loopback_share(const char *mountinfo, dev_t number, const char *const *addresses);
/* On a network or cluster file system, also by way of FUSE. */
gboolean vd_hostfile_is_remote(int fd);
/* A server or a user's process answers for it (network, FUSE). */
gboolean vd_hostfile_may_hang(int fd);
/* Known to ask nobody but the kernel and its disk: elsewhere even close(2) may wait. */
gboolean vd_hostfile_is_local(int fd);
/* proc, sysfs, devpts, cgroup, debugfs, tracefs, securityfs, configfs, bpf, pstore, efivarfs and their like.
 */
gboolean vd_hostfile_is_pseudo(int fd);
/* Logical and physical sector size of the disk below the file, bytes; 512 and 512 where there is none.
 * removable: as sysfs says. */
void vd_hostfile_host_disk(dev_t number, guint32 *ret_logical, guint32 *ret_physical,
                           gboolean *ret_removable);
