/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looks after the worker of a device: one that ends before its device is replaced, and the device goes on. A
 * device whose workers keep failing is given up, so that who waits for it gets an error rather than nothing.
 * Main loop only.
 */
#pragma once

#include "attach/choose.h"

/* So many failures within so many milliseconds, and it is given up. A worker that ends sooner than
 * VD_RECOVERY_PROOF_MS after it took over has failed: the request that ends it comes again. */
#define VD_RECOVERY_MAX_FAILURES 3
#define VD_RECOVERY_WINDOW_MS 60000
#define VD_RECOVERY_PROOF_MS 5000
/* From a failure to the next try. */
#define VD_RECOVERY_PAUSE_MS 1000

typedef struct VdSupervisor VdSupervisor;

/* failed: called once, as the device is given up; its end is told by others. Where the route cannot recover:
 * as the worker ends, and that is the end. A device without worker gets one
 * at once, and so does one whose worker is of an earlier program, where its route can retire it. */
VdSupervisor *vd_supervisor_new(const VdRoute *route, const VdAttachment *attachment,
                                void (*failed)(gpointer user_data), gpointer user_data);
/*
 * before, or NULL: called first, in a thread, while the worker serves; the worker has ended when it returns
 * TRUE, and goes on when it fails. Its worker ends, between is called in a thread while nobody serves and
 * requests wait, and another worker goes on with what it has left in the serving (set-up and images). One
 * that fails leaves the serving as it was, and the next worker goes on with that. While a worker is being
 * replaced as it is, one exchange waits for its turn. Errors: before's and between's; BUSY (another one
 * waits, or the device ends, or was given up); those of a successor that cannot be made, which is tried again
 * as after a failure.
 */
void vd_supervisor_exchange_async(VdSupervisor *self, VdExchangeFunc before, VdExchangeFunc between,
                                  gpointer data, GDestroyNotify free_data, GAsyncReadyCallback callback,
                                  gpointer user_data);
gboolean vd_supervisor_exchange_finish(GAsyncResult *result, GError **error);
/* news: called whenever a worker has told something new of its mirror (VD_SERVE_MIRROR), from the next one
 * on. */
void vd_supervisor_set_news_func(VdSupervisor *self, void (*news)(gpointer user_data), gpointer user_data);
/* No worker is made and nobody is called any more. */
void vd_supervisor_free(VdSupervisor *self);
