/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ublk driver as a way to attach: ublk.c makes devices, ublk-release.c gives them back, ublk-recover.c
 * finds them again and gives them new workers. */
#pragma once

#include "attach/choose.h"
#include "attach/ublk-control.h"

extern const VdRoute vd_route_ublk;

/* Shared by the files. */
gboolean vd_ublk_release(const VdAttachment *attachment, VdDetachMode mode, GCancellable *cancellable,
                         gboolean *ret_pending, GError **error);
void vd_ublk_abandon(VdAttachment *attachment);
void vd_ublk_reclaim(const VdAttachment *attachment);
gboolean vd_ublk_recover(const VdAttachment *attachment, GError **error);
void vd_ublk_retire(const VdAttachment *attachment);
void vd_ublk_give_up(const VdAttachment *attachment);
void vd_ublk_scan(const char *rundir, GPtrArray *ret_found);

/* Errors: NOT_SUPPORTED (the kernel cannot, or could not when the device was made), IO. */
gboolean vd_ublk_resize(const VdAttachment *attachment, guint64 size, GError **error);

/* Opens /dev/ublkcN, which takes one opener at a time; udev is one for a moment. Waits for its close.
 * -1: errors IO, TIMED_OUT. */
int vd_ublk_open_char(guint32 id, GCancellable *cancellable, GError **error);
/* An error for what a control command returned. */
void vd_ublk_set_error(GError **error, guint32 id, const char *what, int result);
/* Reads number, size and sequence number of the disk that is there, which gets the name. Errors: IO. */
gboolean vd_ublk_describe(VdAttachment *made, GError **error);
/* Everything that is left of a device: worker, disk, record, hints. */
void vd_ublk_destroy(VdUblkControl *control, VdServing *serving);
