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

/* failed: called once, as the device is given up; its end is told by others. A device without worker gets one
 * at once, and so does one whose worker is of an earlier program, where its route can retire it. */
VdSupervisor *vd_supervisor_new(const VdRoute *route, const VdAttachment *attachment,
                                void (*failed)(gpointer user_data), gpointer user_data);
/* No worker is made and nobody is called any more. */
void vd_supervisor_free(VdSupervisor *self);
