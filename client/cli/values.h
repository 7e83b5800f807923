/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Values of options as people write them, and sizes as people read them. Pure but for user and group names.
 */
#pragma once

#include "virtdisk-enums.h"

/*
 * All parsers: text to *ret, untouched on failure. Errors: G_OPTION_ERROR BAD_VALUE, naming the option.
 */

/* 4096, 4K, 4KiB, 4kB, 1.5 is refused. Bytes. */
gboolean vd_value_parse_size(const char *option, const char *text, guint64 *ret, GError **error);
/* Octal, at most 0777. */
gboolean vd_value_parse_mode(const char *option, const char *text, guint32 *ret, GError **error);
/* A name or a number. */
gboolean vd_value_parse_user(const char *option, const char *text, guint32 *ret, GError **error);
gboolean vd_value_parse_group(const char *option, const char *text, guint32 *ret, GError **error);
/* ret_vendor: (transfer none) GUID, or NULL for auto. */
gboolean vd_value_parse_format(const char *option, const char *text, VirtdiskDeviceId *ret,
                               const char **ret_vendor, GError **error);
/* session, permanent or boot. */
gboolean vd_value_check_lifetime(const char *option, const char *text, GError **error);
/* loop, ublk or fuse. */
gboolean vd_value_check_route(const char *option, const char *text, GError **error);

/* Nothing is resolved: "a/.." is another folder if a is a symbolic link. (transfer full) */
char *vd_value_absolute(const char *path);
/* 700MiB, 1.5GiB, 512B: no space, so that it stays one field in a pipe. (transfer full) */
char *vd_value_format_size(guint64 bytes);
/* Control characters and bytes that are not UTF-8 become \xNN: file names and labels are hostile to
 * terminals. (transfer full) */
char *vd_value_printable(const char *text);
/* The text itself if it is UTF-8, else as vd_value_printable(): for JSON. (transfer full) */
char *vd_value_to_utf8(const char *text);
