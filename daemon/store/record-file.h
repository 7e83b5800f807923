/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A folder of small records, one file each: 0600 in 0700, owned by us, replaced as a whole, found through the
 * folder's descriptor and never through a symbolic link. Knows nothing of what stands in them.
 */
#pragma once

#include <gio/gio.h>

/* Ceiling of records that a load looks at; the rest is left out with a warning. */
#define VD_MAX_RECORDS 16384

typedef enum { VD_RECORD_VOLATILE, VD_RECORD_DURABLE } VdDurability;

/*
 * Opens base/name, making what is missing of the two (0700). A name that is a link, or a folder that another
 * user owns or may write to, is refused. -1 with error set (VIRTDISK_ERROR IO, DISK_FULL).
 */
int vd_record_folder_open(const char *base, const char *name, GError **error);

/* 1 to 64 characters of [0-9a-f]. */
gboolean vd_record_name_is_valid(const char *name);

/* The old or the new contents are there afterwards, whatever happens in between; durable: also after a power
 * cut. Errors: IO, DISK_FULL. */
gboolean vd_record_write(int folder, const char *name, const char *text, gsize length,
                         VdDurability durability, GError **error);
/* A record that is not there is fine. Error: IO. */
gboolean vd_record_unlink(int folder, const char *name, VdDurability durability, GError **error);

/* text: length bytes and a NUL. FALSE: not a record. */
typedef gboolean (*VdRecordFunc)(const char *name, const char *text, gsize length, gpointer user_data,
                                 GError **error);
typedef enum { VD_RECORD_KEEP_BROKEN, VD_RECORD_REMOVE_BROKEN } VdRecordBroken;

/* Calls each for that record, if it is there. Errors: IO (unreadable, or no record), those of each. */
gboolean vd_record_read(int folder, const char *name, gsize ceiling, VdRecordFunc each, gpointer user_data,
                        GError **error);

/*
 * Calls each for every record of at most ceiling bytes. What is no record (another name, kind of file, owner;
 * too large; refused by each) is told in a warning and kept or removed. Temporary files that a killed writer
 * left are removed.
 */
void vd_record_foreach(int folder, gsize ceiling, VdRecordBroken broken, VdRecordFunc each,
                       gpointer user_data);
