/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Partitions of a disk in the kernel, where the kernel has no parser for them. Any thread. */
#pragma once

#include "attach/device.h"

/* Adds those the kernel has not made itself. One that does not fit is left out, with a message in the log.
 * size: of the disk, bytes. Returns how many were added. */
guint vd_partitions_complete(int fd, const char *name, guint64 size, const VdPartitionSpec *partitions,
                             gsize n_partitions);
/* Takes away those that nobody uses. */
void vd_partitions_remove(int fd, const char *name);
/* Kernel names. (transfer full) */
GStrv vd_partitions_list(const char *name);
