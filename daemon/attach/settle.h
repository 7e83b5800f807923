/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting until udev has processed a disk and its partitions. A disk is known by its sequence number, so the
 * event of an earlier user of the same name never counts. Main loop only. */
#pragma once

#include <gio/gio.h>

#include "attach/uevents.h"

typedef struct VdSettle VdSettle;

/* Listens from now on; to be made before the kernel makes the device. NULL with error: no listening. */
VdSettle *vd_settle_new(GError **error);
void vd_settle_free(VdSettle *self);

/* FALSE: no udevd answers on this machine, so there is nothing to wait for. */
gboolean vd_settle_udev_runs(void);

/* partitions: kernel names (loop3p1), NULL-terminated. Errors: OPERATION_ABORTED. self must outlive the call.
 */
void vd_settle_wait_async(VdSettle *self, const char *name, guint64 diskseq, const char *const *partitions,
                          guint deadline_ms, GCancellable *cancellable, GAsyncReadyCallback callback,
                          gpointer user_data);
/* ret_settled FALSE: the deadline passed. */
gboolean vd_settle_wait_finish(VdSettle *self, GAsyncResult *result, gboolean *ret_settled, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdSettle, vd_settle_free)
