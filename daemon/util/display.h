/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names and texts that others chose, made fit for a log, a dialog, a message. For people only. Any thread. */
#pragma once

#include <glib.h>

/* FALSE: it changes the line, the direction or the look of the text around it. */
gboolean vd_is_harmless(gunichar character);
/*
 * Bytes as valid UTF-8 of one line: bytes that are not UTF-8, control characters, line separators and marks
 * that turn the direction of text become \xNN. What is fit already comes back unchanged. (transfer full)
 */
char *vd_text_to_display(const char *text);
/* The same into size bytes at target, cut at a character. */
void vd_text_cut(const char *text, char *target, gsize size);
/* The same for a path or a process' name, and a backslash becomes two: nothing else can look like it.
 * (transfer full) */
char *vd_path_to_display(const char *path);
