/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ways to attach. Each is one const descriptor; the first in the list that suits the image is taken. */
#pragma once

#include "attach/attachment.h"

/* After a release that is pending: who notices that the last holder has gone. */
typedef enum {
  VD_IDLE_KERNEL, /* which then drops the device */
  VD_IDLE_WATCH,  /* we do, and release it again */
} VdIdle;

typedef struct {
  const char *name;
  gboolean by_name; /* taken where spec->route asks for it, and only there */
  VdIdle idle;
  /* ret_why (transfer full): why this way, in one sentence without its end; if FALSE: why not, as a part of
   * one. In a thread; may block. */
  gboolean (*suits)(const VdAttachSpec *spec, char **ret_why);
  /* In a thread; may block. On failure nothing is left in the kernel or in rundir. (transfer full) */
  VdAttachment *(*attach)(const VdAttachSpec *spec, GCancellable *cancellable, GError **error);
  /* In a thread; may block up to VD_DETACH_DEADLINE_MS. Errors: BUSY, TIMED_OUT, IO, OPERATION_ABORTED. A
   * device that is not this attachment any more counts as gone. */
  gboolean (*release)(const VdAttachment *attachment, VdDetachMode mode, GCancellable *cancellable,
                      gboolean *ret_pending, GError **error);
  /* Undoes what attach has just made, held or not. In a thread; may block. */
  void (*abandon)(VdAttachment *attachment);
  /* Makes the node of an attachment that has ended without release safe for its next user. In a thread; may
   * block. */
  void (*reclaim)(const VdAttachment *attachment);
  /* Whether the kernel still has this very attachment. Any thread; does not block. */
  gboolean (*is_live)(const VdAttachment *attachment);
  /* Its worker is gone: another one takes over, and who waits goes on. In a thread; may block. NULL: there is
   * no worker, or none could: the device has ended with it. */
  gboolean (*recover)(const VdAttachment *attachment, GError **error);
  /* Its worker, which serves well, is to be replaced: it ends as gently as the kernel lets it, or stays and
   * is ended by recover, which comes next. In a thread; may block. NULL: it is not replaced while it serves.
   */
  void (*retire)(const VdAttachment *attachment);
  /* Whether requests that a worker leaves unanswered are given to the next. NULL: they are. */
  gboolean (*may_exchange)(void);
  /* The image has another size, bytes, which whoever serves it knows: the kernel is told. Partitions stay. In
   * a thread; may block. Errors: NOT_SUPPORTED, BUSY, IO. NULL: it cannot be. */
  gboolean (*resize)(const VdAttachment *attachment, guint64 size, GError **error);
  /* No worker can be had: who waits gets errors, and the device goes as soon as it can. In a thread; may
   * block. */
  void (*give_up)(const VdAttachment *attachment);
  /* Adds those found in the kernel. (element VdAttachment*) */
  void (*scan)(const char *rundir, GPtrArray *found);
} VdRoute;

/* NULL-terminated, in order of preference. */
const VdRoute *const *vd_routes(void);
/* The first that suits, or the one that spec->route wants. In a thread; may block. ret_reason (transfer
 * full). Errors: UNSUPPORTED_DISK_SECTOR_SIZE, NOT_SUPPORTED (none suits, or not the one wanted: the message
 * says why), INVALID_PARAMETER (no such route), INTERNAL (a spec that nobody may make). */
const VdRoute *vd_route_choose(const VdRoute *const *among, const VdAttachSpec *spec, char **ret_reason,
                               GError **error);
