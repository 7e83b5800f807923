/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Attachments of lifetime "boot": one key file each in /var/lib/virtdisk/boot, durable before the call
 * returns. */
#pragma once

#include <gio/gio.h>
#include <sys/types.h>

typedef struct {
  char *id;   /* name of the record: hex of SHA-256 of the path bytes; set by loading, not read by saving */
  char *path; /* absolute, bytes */
  uid_t uid;  /* who attached; the image is opened as this user, with the groups of the user database */
  uid_t image_uid; /* who owned the image then; what somebody else owns is not what was asked for */
  guint32 device_id;
  guint32 open_flags;
  guint32 attach_flags;
  gboolean read_only;
  gboolean detach_on_unmount;
  gboolean ignore_parent_timestamp; /* of the open */
  char *route;                      /* NULL: the best there is then */
  gboolean zero_copy;
  guint32 sector_size;   /* 0: default */
  gint32 partition_scan; /* -1: default, 0, 1 */
  guint64 restricted_offset, restricted_length;
  uid_t node_uid; /* VD_UID_INVALID: default */
  gid_t node_gid;
  gint64 node_mode; /* -1: default */
} VdBootRecord;

void vd_boot_record_free(VdBootRecord *self);
/* Writes with a temporary name, fsync, rename, fsync of the folder; may block on the disk, in any thread.
 * Errors: DISK_FULL, IO, INTERNAL (a number out of its range). */
gboolean vd_boot_save(const char *statedir, const VdBootRecord *record, GError **error);
/* A record that is not there is fine. Durable as saving is. Error: IO. */
gboolean vd_boot_remove(const char *statedir, const char *path, GError **error);
/* What is attached from path is attached from new_path too at the next boot, whose owner is image_uid. No
 * record is fine; others are not looked at. Blocks as saving does. Errors: those of saving, and IO. */
gboolean vd_boot_copy(const char *statedir, const char *path, const char *new_path, uid_t image_uid,
                      GError **error);
/* The same, and not from path any more. Errors: those of copying and removing. */
gboolean vd_boot_rename(const char *statedir, const char *path, const char *new_path, uid_t image_uid,
                        GError **error);
/* Records that do not parse are left out with a warning. (transfer full) (element VdBootRecord*) */
GPtrArray *vd_boot_load(const char *statedir);
