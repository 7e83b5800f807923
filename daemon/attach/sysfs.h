/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What /sys/block says of a disk and its partitions. Reads only; any thread. */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* The kernel's own ceiling of partitions of a disk (DISK_MAX_PARTS). */
#define VD_SYS_MAX_PARTITIONS 256

typedef struct {
  char *name;     /* loop3 or loop3p1 */
  guint32 number; /* of the partition; 0: the disk itself */
  dev_t devno;
} VdSysBlock;

/* sys_root NULL: /sys; tests use trees of their own. */

/* First line of block/<name>/<attribute>, without its end; NULL if there is none. (transfer full) */
char *vd_sysfs_read(const char *sys_root, const char *name, const char *attribute);
gboolean vd_sysfs_read_u64(const char *sys_root, const char *name, const char *attribute, guint64 *ret_value);
gboolean vd_sysfs_exists(const char *sys_root, const char *name, const char *attribute);
/* Names in block/<name>/<attribute> (name NULL: in block/). (transfer full) (element char*) */
GPtrArray *vd_sysfs_list(const char *sys_root, const char *name, const char *attribute);
/* The disk first, then its partitions by number. (transfer full) (element VdSysBlock*) */
GPtrArray *vd_sysfs_list_blocks(const char *sys_root, const char *name);
