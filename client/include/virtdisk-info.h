/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the service says of an image, and of what depends on what. */
#pragma once

#include "virtdisk-types.h"

G_BEGIN_DECLS

/* ---- VirtdiskInfo ---- */

GType virtdisk_info_get_type(void);
/**
 * virtdisk_info_ref:
 * @info: an answer
 * Returns: (transfer full): @info.
 */
VirtdiskInfo *virtdisk_info_ref(VirtdiskInfo *info);
/**
 * virtdisk_info_unref:
 * @info: (transfer full): an answer
 */
void virtdisk_info_unref(VirtdiskInfo *info);
/**
 * virtdisk_info_get_version:
 * @info: an answer
 * Returns: what was asked for.
 */
VirtdiskInfoVersion virtdisk_info_get_version(VirtdiskInfo *info);
/**
 * virtdisk_info_to_variant:
 * @info: an answer
 * Returns: (transfer full): all members by their names in virtdisk.h (VirtualSize, Is4kAligned), a value of
 * type a{sv}.
 */
GVariant *virtdisk_info_to_variant(VirtdiskInfo *info);
/**
 * virtdisk_info_get_virtual_size:
 * @info: an answer to %VIRTDISK_INFO_SIZE
 * Returns: size of the disk in bytes.
 */
guint64 virtdisk_info_get_virtual_size(VirtdiskInfo *info);
/**
 * virtdisk_info_get_physical_size:
 * @info: an answer to %VIRTDISK_INFO_SIZE
 * Returns: what the image takes on its file system, in bytes.
 */
guint64 virtdisk_info_get_physical_size(VirtdiskInfo *info);
/**
 * virtdisk_info_get_block_size:
 * @info: an answer to %VIRTDISK_INFO_SIZE
 * Returns: the format's allocation unit in bytes, 0 if it has none.
 */
guint virtdisk_info_get_block_size(VirtdiskInfo *info);
/**
 * virtdisk_info_get_sector_size:
 * @info: an answer to %VIRTDISK_INFO_SIZE
 * Returns: logical sector in bytes.
 */
guint virtdisk_info_get_sector_size(VirtdiskInfo *info);
/**
 * virtdisk_info_get_identifier:
 * @info: an answer to %VIRTDISK_INFO_IDENTIFIER
 * Returns: (transfer none) (nullable): GUID.
 */
const char *virtdisk_info_get_identifier(VirtdiskInfo *info);
/**
 * virtdisk_info_get_parent_resolved:
 * @info: an answer to %VIRTDISK_INFO_PARENT_LOCATION
 * Returns: whether the parent was found.
 */
gboolean virtdisk_info_get_parent_resolved(VirtdiskInfo *info);
/**
 * virtdisk_info_dup_parent_locations:
 * @info: an answer to %VIRTDISK_INFO_PARENT_LOCATION
 * Returns: (transfer full) (nullable) (array zero-terminated=1): the parent, or all places it was looked for.
 */
char **virtdisk_info_dup_parent_locations(VirtdiskInfo *info);
/**
 * virtdisk_info_get_parent_identifier:
 * @info: an answer to %VIRTDISK_INFO_PARENT_IDENTIFIER
 * Returns: (transfer none) (nullable): GUID.
 */
const char *virtdisk_info_get_parent_identifier(VirtdiskInfo *info);
/**
 * virtdisk_info_get_parent_timestamp:
 * @info: an answer to %VIRTDISK_INFO_PARENT_TIMESTAMP
 * Returns: seconds since 2000-01-01 00:00 UTC.
 */
guint virtdisk_info_get_parent_timestamp(VirtdiskInfo *info);
/**
 * virtdisk_info_get_device_id:
 * @info: an answer to %VIRTDISK_INFO_VIRTUAL_STORAGE_TYPE
 * Returns: the format.
 */
VirtdiskDeviceId virtdisk_info_get_device_id(VirtdiskInfo *info);
/**
 * virtdisk_info_get_vendor_id:
 * @info: an answer to %VIRTDISK_INFO_VIRTUAL_STORAGE_TYPE
 * Returns: (transfer none) (nullable): GUID.
 */
const char *virtdisk_info_get_vendor_id(VirtdiskInfo *info);
/**
 * virtdisk_info_get_provider_subtype:
 * @info: an answer to %VIRTDISK_INFO_PROVIDER_SUBTYPE
 * Returns: fixed, dynamic or differencing.
 */
VirtdiskSubtype virtdisk_info_get_provider_subtype(VirtdiskInfo *info);
/**
 * virtdisk_info_get_is_4k_aligned:
 * @info: an answer to %VIRTDISK_INFO_IS_4K_ALIGNED
 * Returns: whether payload lies at multiples of 4096 in the file.
 */
gboolean virtdisk_info_get_is_4k_aligned(VirtdiskInfo *info);
/**
 * virtdisk_info_get_logical_sector_size:
 * @info: an answer to %VIRTDISK_INFO_PHYSICAL_DISK
 * Returns: logical sector of the host's disk in bytes.
 */
guint virtdisk_info_get_logical_sector_size(VirtdiskInfo *info);
/**
 * virtdisk_info_get_physical_sector_size:
 * @info: an answer to %VIRTDISK_INFO_PHYSICAL_DISK
 * Returns: physical sector of the host's disk in bytes.
 */
guint virtdisk_info_get_physical_sector_size(VirtdiskInfo *info);
/**
 * virtdisk_info_get_is_remote:
 * @info: an answer to %VIRTDISK_INFO_PHYSICAL_DISK
 * Returns: whether the image lies on another machine.
 */
gboolean virtdisk_info_get_is_remote(VirtdiskInfo *info);
/**
 * virtdisk_info_get_vhd_physical_sector_size:
 * @info: an answer to %VIRTDISK_INFO_VHD_PHYSICAL_SECTOR_SIZE
 * Returns: physical sector that the disk reports, in bytes.
 */
guint virtdisk_info_get_vhd_physical_sector_size(VirtdiskInfo *info);
/**
 * virtdisk_info_get_smallest_safe_virtual_size:
 * @info: an answer to %VIRTDISK_INFO_SMALLEST_SAFE_VIRTUAL_SIZE
 * Returns: the smallest size that keeps all partitions, in bytes.
 */
guint64 virtdisk_info_get_smallest_safe_virtual_size(VirtdiskInfo *info);
/**
 * virtdisk_info_get_fragmentation_percentage:
 * @info: an answer to %VIRTDISK_INFO_FRAGMENTATION
 * Returns: 0 to 100.
 */
guint virtdisk_info_get_fragmentation_percentage(VirtdiskInfo *info);
/**
 * virtdisk_info_get_change_tracking_enabled:
 * @info: an answer to %VIRTDISK_INFO_CHANGE_TRACKING_STATE
 * Returns: whether changes are tracked.
 */
gboolean virtdisk_info_get_change_tracking_enabled(VirtdiskInfo *info);
/**
 * virtdisk_info_get_newer_changes:
 * @info: an answer to %VIRTDISK_INFO_CHANGE_TRACKING_STATE
 * Returns: whether anything was, or may have been, written since the newest point.
 */
gboolean virtdisk_info_get_newer_changes(VirtdiskInfo *info);
/**
 * virtdisk_info_get_most_recent_id:
 * @info: an answer to %VIRTDISK_INFO_CHANGE_TRACKING_STATE
 * Returns: (transfer none) (nullable): id of the newest point; empty: nothing is known since any.
 */
const char *virtdisk_info_get_most_recent_id(VirtdiskInfo *info);
/**
 * virtdisk_info_get_is_loaded:
 * @info: an answer to %VIRTDISK_INFO_IS_LOADED
 * Returns: whether the disk is attached and in use.
 */
gboolean virtdisk_info_get_is_loaded(VirtdiskInfo *info);
/**
 * virtdisk_info_get_virtual_disk_id:
 * @info: an answer to %VIRTDISK_INFO_VIRTUAL_DISK_ID
 * Returns: (transfer none) (nullable): GUID.
 */
const char *virtdisk_info_get_virtual_disk_id(VirtdiskInfo *info);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirtdiskInfo, virtdisk_info_unref)

/* ---- VirtdiskDependency ---- */

GType virtdisk_dependency_get_type(void);
/**
 * virtdisk_dependency_copy:
 * @dependency: an entry
 * Returns: (transfer full): a copy.
 */
VirtdiskDependency *virtdisk_dependency_copy(const VirtdiskDependency *dependency);
/**
 * virtdisk_dependency_free:
 * @dependency: (transfer full) (nullable): an entry
 */
void virtdisk_dependency_free(VirtdiskDependency *dependency);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirtdiskDependency, virtdisk_dependency_free)

G_END_DECLS
