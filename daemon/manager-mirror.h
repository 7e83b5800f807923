/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * MirrorVirtualDisk: an attached disk that a worker serves is copied to another file while it is in use, and
 * what is written meanwhile goes to both, until the mirror takes the image's place (BreakMirrorVirtualDisk)
 * or is given up. It is an operation (manager-operate.h), whose job runs for all that time.
 */
#pragma once

#include "operate-private.h"

/* The state of the disk, before anything is begun. Errors: VHD_INVALID_STATE (not attached, or for reading
 * only), NOT_SUPPORTED (the kernel serves it alone, or cannot let another worker take over). */
gboolean vd_mirror_check_disk(const VdDisk *disk, GError **error);
/* Takes task (its data: Operate); ends in vd_operate_finish(). */
void vd_mirror_begin(GTask *task);

/* Of an attachment whose disk is mirrored. The device is gone; and: nobody wants it any more. */
void vd_mirror_lost(VdDiskAttachment *attachment);
void vd_mirror_cancel(VdDiskAttachment *attachment);
/* What it is mirrored to, or NULL. */
const VdImage *vd_mirror_get_image(const VdDiskAttachment *attachment);
/* At any moment that image may take the disk's image's place. */
gboolean vd_mirror_is_breaking(const VdDiskAttachment *attachment);
