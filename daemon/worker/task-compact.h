/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The inside of the task that compacts, shared by task-compact*.c. */
#pragma once

#include "engine/compact.h"
#include "worker/task.h"

/* Asks the file systems of the disk that server->engine has open; *ret_blocks to be freed, its bits. Fills
 * what the result says of it. False with the error: it is to end. */
bool vd_task_compact_free(VdServer *server, VdFreeBlocks *ret_blocks, VdServeResult *result,
                          VdFormatError *ret_error);
