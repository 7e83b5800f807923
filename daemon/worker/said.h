/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a worker says went wrong, as an error of ours. A worker may blame an image; it has no say in who may
 * do what, and none in what a terminal does with its text. */
#pragma once

#include <gio/gio.h>

#include "formats/error.h"
#include "formats/fault.h"

/* WORKER_LOST with "virtdisk-worker " before the text. */
GError *vd_worker_lost(const char *what);
/* Never NULL: what cannot have been said by a sound worker is WORKER_LOST. Any thread. */
GError *vd_worker_said_error(const VdFormatError *said);
/* Ends in NUL within size bytes, and nothing is done to a terminal with it. */
gboolean vd_worker_said_text(const char *text, gsize size);
/* A fault that a sound worker may have found: its numbers are in range, its texts are plain. Any thread. */
gboolean vd_worker_said_fault(const VdFault *said);
