/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What udev shall know of a device: rundir/udev/<kernel-name>.<disk sequence number>, read by
 * 90-virtdisk.rules. The number in the name keeps the file from being applied to the next user of the same
 * kernel name. Any thread.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "attach/device.h"

/* Writes the file under a name that udev does not look for, since the number is known only after the device
 * is made; vd_hints_publish() is then one rename. Errors: INTERNAL (a bad property), IO. */
gboolean vd_hints_prepare(const VdAttachSpec *spec, const char *name, GError **error);
gboolean vd_hints_publish(const char *rundir, const char *name, guint64 diskseq, GError **error);
/* What was published for diskseq 0, because the name was ours before the number was known, gets the number.
 */
gboolean vd_hints_number(const char *rundir, const char *name, guint64 diskseq, GError **error);
/* Takes it away from udev's eyes, so that a device on its way out does not get our owner again; publish
 * brings it back. */
void vd_hints_hide(const char *rundir, const char *name, guint64 diskseq);
/* Removes both; diskseq 0: what was prepared for a device that did not come to be. */
void vd_hints_remove(const char *rundir, const char *name, guint64 diskseq);
/* TRUE if we have published the file of this very device. */
gboolean vd_hints_exist(const char *rundir, const char *name, guint64 diskseq);
/* The node's owner, group and mode as the file says; FALSE if it says nothing of them. */
gboolean vd_hints_read_owner(const char *rundir, const char *name, guint64 diskseq, uid_t *ret_uid,
                             gid_t *ret_gid, mode_t *ret_mode);
/* TRUE while a file of this kernel name is in udev's eyes: a device that was given to somebody and has not
 * been cleaned up after. */
gboolean vd_hints_are_public(const char *rundir, const char *name);
/* Removes every file but those of the live ones (element char*: <kernel-name>.<number>). each, or NULL:
 * called before one that udev may have seen is removed. */
void vd_hints_sweep(const char *rundir, GPtrArray *live,
                    void (*each)(const char *rundir, const char *name, guint64 diskseq));
char *vd_hints_file_name(const char *name, guint64 diskseq);
