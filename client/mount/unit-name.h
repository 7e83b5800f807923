/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How paths are written in systemd's units, see systemd.unit(5). Pure. */
#pragma once

#include <glib.h>

/* /srv/a-b: srv-a\x2db, as systemd-escape --path has it. (transfer full) */
char *vd_unit_name_from_path(const char *path);
/* For a setting that takes a list of paths: quoted, with nothing that systemd would replace. (transfer full)
 */
char *vd_unit_quote(const char *path);
