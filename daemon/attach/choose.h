/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ways to attach. Each is one const descriptor; the first in the list that suits the image is taken. */
#pragma once

#include "attach/attachment.h"

typedef struct {
  const char *name;
  /* Why this way, in one sentence; NULL: it does not suit. */
  const char *(*suits)(const VdAttachSpec *spec);
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
  /* Adds those found in the kernel. (element VdAttachment*) */
  void (*scan)(const char *rundir, GPtrArray *found);
} VdRoute;

/* NULL-terminated, in order of preference. */
const VdRoute *const *vd_routes(void);
/* Errors: UNSUPPORTED_DISK_SECTOR_SIZE, INTERNAL (a spec that nobody may make). */
const VdRoute *vd_route_choose(const VdAttachSpec *spec, const char **ret_reason, GError **error);
