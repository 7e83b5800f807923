/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The long operations on images, each in a file of its own (task-*.c): what they have in common. They run in
 * a worker that does nothing else, inside the sandbox, blocking. The files are nobody else's meanwhile. A
 * task that is killed, at any moment, leaves an image that opens, with the data that it had; one that is run
 * again goes on.
 */
#pragma once

#include "worker/serve.h"

/* Does what the order says, and tells the result. */
bool vd_task_run(VdServer *server, VdFormatError *ret_error);

/*
 * To be called before each piece of work, of some ten milliseconds at most: tells the daemon how far it is
 * (a few times per second), and hears whether it is to end. False with OPERATION_ABORTED. The numbers: as
 * GetVirtualDiskOperationProgress has them.
 */
bool vd_task_step(VdServer *server, uint64_t current, uint64_t completion, VdFormatError *ret_error);

/* Of the whole result, zero at first, header aside, each task fills what is its own. */
bool vd_task_copy(VdServer *server, VdServeResult *result, VdFormatError *ret_error);
bool vd_task_compact(VdServer *server, VdServeResult *result, VdFormatError *ret_error);
bool vd_task_resize(VdServer *server, VdServeResult *result, VdFormatError *ret_error);
bool vd_task_merge(VdServer *server, VdServeResult *result, VdFormatError *ret_error);
bool vd_task_edit(VdServer *server, VdServeResult *result, VdFormatError *ret_error);
bool vd_task_metadata(VdServer *server, VdServeResult *result, VdFormatError *ret_error);
bool vd_task_changes(VdServer *server, VdServeResult *result, VdFormatError *ret_error);
bool vd_task_measure(VdServer *server, VdServeResult *result, VdFormatError *ret_error);
