/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Our end of the line to virtdisk-worker: spawn, ask, check, bury. Main loop only. */
#pragma once

#include <gio/gio.h>

#include "worker/facts.h"

/* Named deadlines, in milliseconds. */
/* From the start of the worker to its answer. */
#define VD_WORKER_PROBE_DEADLINE_MS 5000
/* In line for a worker; then NO_RESOURCES. */
#define VD_WORKER_QUEUE_DEADLINE_MS 60000

/* From the answer, or the kill, to the end of the process; what goes on then hangs in the kernel. */
#define VD_WORKER_LINGER_MS 1000

/* Ceiling of workers that probe at the same time; further probes wait in line. Those that hang do not count.
 */
#define VD_WORKER_MAX_PROBES 16
/* Ceiling for one user, with those that hang: a worker waits, and cannot be killed, as long as a user's FUSE
 * process does not answer the close of its file. */
#define VD_WORKER_MAX_PER_UID 8

typedef struct VdWorkerClient VdWorkerClient;

/*
 * program: path of virtdisk-worker. user: account that the worker runs as ("" or NULL: stays as it is, for
 * tests without privilege; the sandbox keeps all else that needs none). deadline_ms: 0 for
 * VD_WORKER_PROBE_DEADLINE_MS.
 */
VdWorkerClient *vd_worker_client_new(const char *program, const char *user, guint deadline_ms);
VdWorkerClient *vd_worker_client_ref(VdWorkerClient *self);
void vd_worker_client_unref(VdWorkerClient *self);
/* What a worker that serves is to be started as: the program, and its UID:GID or NULL (as we are). */
const char *vd_worker_client_get_program(VdWorkerClient *self);
const char *vd_worker_client_get_user_argument(VdWorkerClient *self);

/*
 * Asks a fresh sandboxed worker what image_fd holds. uid: who asks for it. image_fd is borrowed for the call
 * only (the worker opens the file anew for reading, where the kernel allows it; see main.c). required_device:
 * the format that the caller expects (never UNKNOWN). content: also say what is inside (libblkid). Errors:
 * VIRTDISK_ERROR with the format's own code and a message that names the field and the offset; TIMED_OUT (the
 * worker was killed at its deadline), WORKER_LOST (it died, or its answer does not hold), OPERATION_ABORTED
 * (cancelled), FILE_CHANGED (the file's size changed meanwhile), NO_RESOURCES (no worker could be started),
 * LIMIT_EXCEEDED (as many workers of this user's as there may be hang),
 * INTERNAL (it could not shut itself in, or its account does not exist).
 */
void vd_worker_probe_async(VdWorkerClient *self, uid_t uid, int image_fd, guint32 required_device,
                           gboolean content, GCancellable *cancellable, GAsyncReadyCallback callback,
                           gpointer user_data);
/* Asks a worker what is inside a block device of ours: only contents, pt_type and smallest_safe_size of the
 * facts mean anything. device_fd: borrowed for the call. size: bytes. Errors: as above. */
void vd_worker_look_inside_async(VdWorkerClient *self, uid_t uid, int device_fd, guint64 size,
                                 guint32 sector_size, GCancellable *cancellable, GAsyncReadyCallback callback,
                                 gpointer user_data);
/* Of either. Returns (transfer full): free with g_free. */
VdFacts *vd_worker_probe_finish(VdWorkerClient *self, GAsyncResult *result, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdWorkerClient, vd_worker_client_unref)
