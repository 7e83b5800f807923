/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GetVirtualDiskInformation: one answer per GET_VIRTUAL_DISK_INFO_VERSION. Main loop only. */
#pragma once

#include "manager-operate.h"

/* GET_VIRTUAL_DISK_INFO; the member that version names is set. Strings are borrowed from the disk. Cleared
 * with vd_info_clear(). */
typedef struct {
  guint32 version;
  GStrv parent_locations; /* owned; of display: the one parent, or every place where it was looked for */
  union {
    struct {
      guint64 virtual_size, physical_size; /* bytes */
      guint32 block_size, sector_size;     /* bytes */
    } size;
    char identifier[37]; /* GUID text; also of the parent, and of the virtual disk */
    gboolean parent_resolved;
    guint32 parent_timestamp; /* seconds since 2000 */
    struct {
      guint32 device_id;
      const char *vendor;
    } type;
    guint32 provider_subtype;
    gboolean is_4k_aligned;
    struct {
      guint32 logical_sector_size, physical_sector_size; /* bytes; of the host's disk */
      gboolean is_remote;
    } physical_disk;
    guint32 vhd_physical_sector_size;   /* bytes */
    guint64 smallest_safe_virtual_size; /* bytes */
    guint32 fragmentation_percentage;
    gboolean is_loaded;
    struct {
      gboolean enabled, newer_changes;
      char most_recent_id[64]; /* or empty */
    } change_tracking;
  };
} VdInfo;

/*
 * Errors: ACCESS_DENIED (no GET_INFO right), INVALID_PARAMETER (no such version), VHD_INVALID_TYPE (the
 * format or subtype has no such thing), VHD_COULD_NOT_COMPUTE_MINIMUM_VIRTUAL_SIZE (no partition table).
 */
gboolean vd_info_get(VdHandle *handle, guint32 version, VdInfo *ret_info, GError **error);
/* It is not in memory: VD_OPERATION_MEASURE has it, or VD_OPERATION_CHANGE_TRACKING_STATE. */
gboolean vd_info_needs_measure(const VdHandle *handle, guint32 version);
/* ret_info: its version is set. Errors: VHD_COULD_NOT_COMPUTE_MINIMUM_VIRTUAL_SIZE. */
gboolean vd_info_of_measured(VdHandle *handle, const VdOperationResult *measured, VdInfo *ret_info,
                             GError **error);
void vd_info_clear(VdInfo *info);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VdInfo, vd_info_clear)
