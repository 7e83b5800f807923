/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* FUSE connections and file systems that no path leads to. Raw system calls; any thread. */
#pragma once

#include <glib.h>

/* A new connection, or -1 with errno. */
int vd_fuse_open(void);
/* A detached file system that fuse_fd answers for: no mount point, in no table of mounts. Does not wait for
 * the answer. Returns its descriptor, or -1 with errno; ret_step: what failed. */
int vd_fuse_mount(int fuse_fd, const char **ret_step);
/* Another end of the same connection. What its reader has not answered when it is closed fails, while the
 * connection goes on. -1 with errno. */
int vd_fuse_clone(int fuse_fd);
/* The kernel takes this for the size of the file (bytes, more than before) from now on, whatever else the
 * connection is asked meanwhile, and asks for the other attributes again. The file's pages in the cache are
 * lost: for files that are read and written directly alone. FALSE with errno. */
gboolean vd_fuse_file_has_grown(int fuse_fd, guint64 node, guint64 size);
/* Whether the kernel sends what a dead reader has not answered to the next one again (Linux 6.9). */
gboolean vd_fuse_can_resend(void);
