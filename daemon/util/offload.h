/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls that may block for as long as a file system likes (a dead server, a FUSE process of the caller's). */
#pragma once

#include <gio/gio.h>

/*
 * Runs func in a thread of its own, with the task's data; func ends in g_task_return_*(), and the callback
 * comes on the main loop. Not GTask's pool: ten callers whose file systems hang would stop everybody else
 * there. What bounds the threads is the quota of the calls that wait for them.
 */
void vd_offload(GTask *task, GTaskThreadFunc func);

/* Closes fd in a thread: close(2) waits for the answer of a FUSE process (FUSE_FLUSH). */
void vd_offload_close(int fd);
/* The same for n descriptors, in one thread; -1: none. fds: g_free()d then. */
void vd_offload_close_all(int *fds, gsize n);
