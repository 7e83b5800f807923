/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's end of a serving worker: starts it, or finds it again after a restart; says when it is gone.
 * A VdService owns the line and knows the process, it does not own the process's life: the worker serves on
 * when the daemon ends. Reference counting is safe in any thread.
 */
#pragma once

#include <gio/gio.h>

#include "worker/serve-protocol.h"

/* Milliseconds; a worker that is not ready then is killed. Reading a large allocation table counts. */
#define VD_SERVICE_READY_DEADLINE_MS 20000

/* Until a task that is told to end has; then it is killed. */
#define VD_SERVICE_ABORT_DEADLINE_MS 10000

typedef struct VdService VdService;

typedef struct {
  const char *program;       /* virtdisk-worker */
  const char *user_argument; /* UID:GID, or NULL: as we are, for tests */
  const char *socket_path;   /* of the listening socket, below the run directory; NULL: none (tasks) */
  VdServeSetup setup;        /* header is filled by the service */
  int transport_fd;          /* borrowed, or -1 */
  const int *images;         /* borrowed */
  unsigned n_images;
  int blob_fd;       /* borrowed, of a task; 0: none */
  int changes_fd;    /* borrowed: the change tracking file of images[0]; 0: none */
  guint deadline_ms; /* until it is ready, or done; 0: VD_SERVICE_READY_DEADLINE_MS. A long task: between two
                        words of it */
  /* Of long tasks, in the thread of vd_service_start(): how far it is. May be NULL. */
  void (*progress)(gpointer user, guint64 current, guint64 completion);
  gpointer progress_user;
} VdServiceSpec;

/* Blocking, in a thread: starts a worker, sends set-up and descriptors, waits until it is ready (or done, for
 * a task). A long task that is cancelled is told so, and waited for as long as VD_SERVICE_ABORT_DEADLINE_MS;
 * one that was done before it heard of it has succeeded.
 * Errors: those that a worker may blame an image for, TIMED_OUT, WORKER_LOST, NO_RESOURCES. */
VdService *vd_service_start(const VdServiceSpec *spec, GCancellable *cancellable, GError **error);
/* What a task of CHECK or REPAIR found: (element-type VdFault) (transfer full), at most VD_CHECK_MAX_FAULTS,
 * every text plain. Once. Errors: WORKER_LOST (it did not say). */
GArray *vd_service_take_faults(VdService *self, VdCheckSummary *ret_summary, gboolean *ret_repaired,
                               GError **error);
/* What a long task told of itself, its numbers unchecked but its text plain. Errors: WORKER_LOST. */
gboolean vd_service_get_result(VdService *self, VdServeResult *ret_result, GError **error);
/* Blocking, short: connects to one that serves already. Errors: NOT_FOUND (nobody listens), WORKER_LOST,
 * TIMED_OUT. */
VdService *vd_service_connect(const char *socket_path, GError **error);
/* Blocking: a worker that was killed may have had writes under way, which the kernel ends after the process.
 * Until they have ended, or the deadline. FALSE: they have not. */
gboolean vd_service_await_end(const char *socket_path, guint deadline_ms);
/* Of another version: it can be watched, stopped, killed and waited for, and nothing else. */
gboolean vd_service_is_foreign(VdService *self);

/* Blocking: until each worker that was started has the scope that it was to get, or has none (each request
 * has a deadline of seconds). For a process that ends at once, of a unit that may end with it. */
void vd_scope_await(void);

VdService *vd_service_ref(VdService *self);
void vd_service_unref(VdService *self);
const VdServeReport *vd_service_report(VdService *self);
pid_t vd_service_pid(VdService *self);

/* Blocking, in a thread, and only before vd_service_watch(): descriptors of the transport and the images, as
 * the worker has them (transfer full; -1 where there is none). The transport is /dev/fuse for sure, of images
 * nothing is known. ret_transport may be NULL: it is closed. */
gboolean vd_service_take_files(VdService *self, int *ret_transport, int *ret_images, unsigned n_images,
                               GError **error);
/* Called once on the main loop when the line closes. closed: the image was closed cleanly; error: else what
 * was said last, or NULL. */
typedef void (*VdServiceGoneFunc)(VdService *self, gboolean closed, const GError *error, gpointer user_data);
void vd_service_watch(VdService *self, VdServiceGoneFunc func, gpointer user_data); /* func NULL: no more */
/* Asks for a clean end; blocking, in a thread, until it has gone or the deadline. A worker closes the image
 * only after its transport has ended. Errors: TIMED_OUT, OPERATION_ABORTED, and what the worker said. */
gboolean vd_service_stop(VdService *self, guint deadline_ms, GError **error);
/* As stop, but does not ask. */
gboolean vd_service_wait(VdService *self, guint deadline_ms, GCancellable *cancellable, GError **error);
/* Asks it to keep the image in its clean form from now on whenever nobody writes, so that it can be killed
 * then (SIGTERM). Any thread. */
void vd_service_rest(VdService *self);

/* What a worker with VD_SERVE_MIRROR has told of its mirror. */
typedef struct {
  guint64 current, completion; /* bytes that are alike, of how many; 0, 0: nothing was told yet */
  gboolean mirrored;           /* both hold the same, and what is written goes to both */
  gboolean failed;             /* there is no mirror any more, and the disk goes on */
} VdServiceMirror;

/* ret_error: why it has failed (transfer full), else NULL; may be NULL. Any thread. */
void vd_service_get_mirror(VdService *self, VdServiceMirror *ret_mirror, GError **ret_error);
/* Called on the main loop whenever it tells something new of its mirror, for as long as it is watched; at
 * once, if it has already. Before vd_service_watch(). */
typedef void (*VdServiceNewsFunc)(VdService *self, gpointer user_data);
void vd_service_set_news_func(VdService *self, VdServiceNewsFunc func, gpointer user_data);
/* The mirror takes the image's place: blocking, in a thread, until all of it is durable in its file and the
 * worker ends, or the deadline. The worker must not be watched. Errors: what the worker said, TIMED_OUT,
 * WORKER_LOST; the image has then all that was acknowledged, and the worker may serve on. */
gboolean vd_service_break_mirror(VdService *self, guint deadline_ms, GError **error);

/* Ends it at once; what was acknowledged is in the file. Any thread. */
void vd_service_kill(VdService *self);
/* Whether the line has closed. Any thread. */
gboolean vd_service_is_gone(VdService *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdService, vd_service_unref)
