/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The loop driver as a way to attach. loop.c makes devices and finds them, loop-release.c gives them back,
 * loop-reclaim.c looks after those that ended by themselves. */
#pragma once

#include "attach/choose.h"

#include <linux/loop.h>

extern const VdRoute vd_route_loop;

/* Shared by the two files. */
gboolean vd_loop_release(const VdAttachment *attachment, VdDetachMode mode, GCancellable *cancellable,
                         gboolean *ret_pending, GError **error);
void vd_loop_abandon(VdAttachment *attachment);
/* Cleans up after a device that is gone, and was not released by us. In a thread; may block. */
void vd_loop_reclaim(const VdAttachment *attachment);
gboolean vd_loop_is_live(const VdAttachment *attachment);
/* VdRoute.resize. */
gboolean vd_loop_resize(const VdAttachment *attachment, guint64 size, GError **error);
/* TRUE if fd is a loop device with this very attachment. */
gboolean vd_loop_is_ours(int fd, const VdAttachment *attachment, struct loop_info64 *ret_info);
/* Every loop device that an attachment of this run directory made, a worker's too. (element VdAttachment*) */
void vd_loop_find(const char *rundir, GPtrArray *ret_found);
/* The tag in the device's file name, or NULL. (transfer full) */
char *vd_loop_read_tag(const struct loop_info64 *info);

/* The steps of attaching, in order. */
typedef enum {
  VD_LOOP_STEP_PREPARE,   /* the node is open and locked, the device is not configured yet */
  VD_LOOP_STEP_CONFIGURE, /* the kernel has the device from here on */
  VD_LOOP_STEP_VERIFY,
  VD_LOOP_STEP_HINTS,
  VD_LOOP_STEP_NODE,
  VD_LOOP_STEP_PARTITIONS,
} VdLoopStep;

/* For tests: asked after each step, in the thread that attaches; FALSE makes the step fail. NULL: no one. */
extern gboolean (*vd_loop_step_hook)(VdLoopStep step, const char *name);
