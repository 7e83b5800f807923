/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Control commands of the ublk driver. One at a time, in the thread that opened the control; each has a
 * deadline, and one that the kernel does not finish is left behind with its buffer, never waited for.
 */
#pragma once

#include <gio/gio.h>

#include "util/ublk-abi.h"

/* Milliseconds. START_DEV before Linux 6.19 reads the partition tables; STOP_DEV writes back what is dirty.
 */
#define VD_UBLK_QUICK_MS 5000
#define VD_UBLK_START_MS 30000
#define VD_UBLK_STOP_MS 30000
#define VD_UBLK_QUIESCE_MS 5000
/* After a command was cancelled. */
#define VD_UBLK_CANCEL_MS 2000

/* Of ublksrv_flags: how a device is known as one of ours. */
#define VD_UBLK_MAGIC UINT64_C(0x7664)
guint64 vd_ublk_mark(const char *tag);

typedef struct VdUblkControl VdUblkControl;

/* Errors: NOT_SUPPORTED (no driver, no io_uring for us; the message says which). */
VdUblkControl *vd_ublk_control_open(GError **error);
void vd_ublk_control_free(VdUblkControl *self);
/* Bits that the driver offers. */
guint64 vd_ublk_control_features(VdUblkControl *self);

/* All return 0 or -errno; -ETIME: given up. */
int vd_ublk_get_info(VdUblkControl *self, guint32 id, VdUblkInfo *ret_info);
/* info: what is wanted, then what there is. */
int vd_ublk_add(VdUblkControl *self, VdUblkInfo *info);
int vd_ublk_set_params(VdUblkControl *self, guint32 id, VdUblkParams *params);
/* opener: the process that opened /dev/ublkcN. */
int vd_ublk_start(VdUblkControl *self, guint32 id, pid_t opener);
int vd_ublk_stop(VdUblkControl *self, guint32 id);
/* -EBUSY: somebody has the disk open. Only with VD_UBLK_F_SAFE_STOP_DEV. */
int vd_ublk_try_stop(VdUblkControl *self, guint32 id);
/* Without waiting for the last reference where the kernel can do that. */
int vd_ublk_delete(VdUblkControl *self, guint32 id);
int vd_ublk_start_recovery(VdUblkControl *self, guint32 id);
/* Only after vd_ublk_start_recovery() returned 0: else the device counts as served by nobody. */
int vd_ublk_end_recovery(VdUblkControl *self, guint32 id, pid_t opener);

/* size: bytes, whole sectors of 512; of a started device. Only with VD_UBLK_F_UPDATE_SIZE. */
int vd_ublk_update_size(VdUblkControl *self, guint32 id, guint64 size);
/* No request reaches the worker any more, and its commands end, so that it closes the image and ends;
 * requests wait for its successor. Waits up to VD_UBLK_QUIESCE_MS for those under way (-EBUSY, -EINTR or
 * -ETIME: not yet through). Only with VD_UBLK_F_QUIESCE. */
int vd_ublk_quiesce(VdUblkControl *self, guint32 id);

struct io_uring_sqe;
/* For tests: the 128 bytes of one submission. */
void vd_ublk_encode(struct io_uring_sqe *sqe, int control_fd, guint32 operation,
                    const VdUblkCommand *command);
/* For tests: answers instead of the kernel; NULL: the kernel. */
extern int (*vd_ublk_command_hook)(guint32 operation, VdUblkCommand *command);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdUblkControl, vd_ublk_control_free)
