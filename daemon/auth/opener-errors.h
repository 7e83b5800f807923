/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the opener's answers mean to the caller. Any thread. */
#pragma once

#include <gio/gio.h>
#include <sys/types.h>

#include "auth/opener-protocol.h"

/* The error of an answer without a descriptor. ACCESS_DENIED has one text for one path, whatever is there.
 * (transfer full) */
GError *vd_opener_error(const VdOpenerReply *answer, const char *path, uid_t uid);
