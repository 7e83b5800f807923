/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text for messages, dialogs and logs. Any thread. */
#pragma once

#include <glib.h>

/*
 * path (bytes) as valid UTF-8 of one line: bytes that are not UTF-8 and characters that a terminal obeys or
 * that reorder text stand as \xNN. Text that is fit already comes back unchanged. (transfer full)
 */
char *vd_display_path(const char *path);
