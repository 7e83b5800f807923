/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which of the file systems on a disk is meant. Pure. */
#pragma once

#include <glib.h>

#define VD_PARTITION_ANY (-1)

/*
 * file_systems: as Disk.FileSystems, aa{sv}. device: node of the whole disk. partition: a number, or
 * VD_PARTITION_ANY: the only file system, or the one of the whole disk (an ISO with boot partitions).
 * Returns the node to mount (transfer full). Errors: VD_EXIT_ERROR NOT_FOUND, USAGE (ambiguous; the message
 * names them), UNUSABLE_IMAGE (nothing that can be mounted).
 */
char *vd_choose_file_system(GVariant *file_systems, const char *device, gint partition, GError **error);

/* /dev/loop3, 1: /dev/loop3p1; /dev/sda, 1: /dev/sda1. (transfer full) */
char *vd_choose_partition_node(const char *device, guint partition);
