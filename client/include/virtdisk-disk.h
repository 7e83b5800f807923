/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VirtdiskDisk: as org.virtdisk1.Disk has it. Strings are never NULL ("" if not known) and are valid until
 * the disk changes, that is until the client's main context runs; other threads use g_object_get(), which
 * copies. */
#pragma once

#include "virtdisk-types.h"

G_BEGIN_DECLS

/**
 * virtdisk_disk_get_object_path:
 * @disk: a disk
 * Returns: (transfer none): its path on the bus.
 */
const char *virtdisk_disk_get_object_path(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_path:
 * @disk: a disk
 * Returns: (transfer none): the image for display; bytes that are not UTF-8 are escaped.
 */
const char *virtdisk_disk_get_path(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_file_name:
 * @disk: a disk
 * Returns: (transfer none) (type filename): the image, exactly as the file system has it.
 */
const char *virtdisk_disk_get_file_name(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_format:
 * @disk: a disk
 * Returns: (transfer none): "iso", "raw", "vhd" or "vhdx".
 */
const char *virtdisk_disk_get_format(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_device_id:
 * @disk: a disk
 * Returns: the format by number.
 */
VirtdiskDeviceId virtdisk_disk_get_device_id(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_vendor_id:
 * @disk: a disk
 * Returns: (transfer none): GUID, such as %VIRTDISK_VENDOR_MICROSOFT.
 */
const char *virtdisk_disk_get_vendor_id(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_subtype:
 * @disk: a disk
 * Returns: fixed, dynamic or differencing.
 */
VirtdiskSubtype virtdisk_disk_get_subtype(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_virtual_size:
 * @disk: a disk
 * Returns: size of the disk in bytes.
 */
guint64 virtdisk_disk_get_virtual_size(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_physical_size:
 * @disk: a disk
 * Returns: what the image takes on its file system, in bytes.
 */
guint64 virtdisk_disk_get_physical_size(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_block_size:
 * @disk: a disk
 * Returns: the format's allocation unit in bytes, 0 if it has none.
 */
guint virtdisk_disk_get_block_size(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_sector_size:
 * @disk: a disk
 * Returns: logical sector in bytes.
 */
guint virtdisk_disk_get_sector_size(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_physical_sector_size:
 * @disk: a disk
 * Returns: physical sector in bytes.
 */
guint virtdisk_disk_get_physical_sector_size(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_identifier:
 * @disk: a disk
 * Returns: (transfer none): GUID of the image, or "".
 */
const char *virtdisk_disk_get_identifier(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_depth:
 * @disk: a disk
 * Returns: images of its chain; 1 without a parent.
 */
guint virtdisk_disk_get_depth(VirtdiskDisk *disk);
/**
 * virtdisk_disk_dup_parents:
 * @disk: a disk
 * Returns: (transfer full) (array zero-terminated=1): its parents for display, nearest first. Free with
 * g_strfreev().
 */
char **virtdisk_disk_dup_parents(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_device:
 * @disk: a disk
 * Returns: (transfer none): the device node.
 */
const char *virtdisk_disk_get_device(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_device_number:
 * @disk: a disk
 * Returns: its dev_t.
 */
guint64 virtdisk_disk_get_device_number(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_disk_sequence:
 * @disk: a disk
 * Returns: the kernel's disk sequence number, never used twice until the machine starts again.
 */
guint64 virtdisk_disk_get_disk_sequence(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_read_only:
 * @disk: a disk
 * Returns: whether it was attached read-only.
 */
gboolean virtdisk_disk_get_read_only(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_lifetime:
 * @disk: a disk
 * Returns: (transfer none): "handle", "session", "permanent" or "boot".
 */
const char *virtdisk_disk_get_lifetime(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_detach_on_unmount:
 * @disk: a disk
 * Returns: whether it goes some seconds after its last mount.
 */
gboolean virtdisk_disk_get_detach_on_unmount(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_owner_uid:
 * @disk: a disk
 * Returns: the user who attached it.
 */
guint virtdisk_disk_get_owner_uid(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_session:
 * @disk: a disk
 * Returns: (transfer none): login session it ends with, or "".
 */
const char *virtdisk_disk_get_session(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_state:
 * @disk: a disk
 * Returns: (transfer none): "attach-pending", "attached", "attached-not-open", "detach-pending", or
 * "detached" when it has gone.
 */
const char *virtdisk_disk_get_state(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_file_systems:
 * @disk: a disk
 *
 * What was found on the disk: an array of dictionaries with the keys partition u (0: the whole disk), offset
 * t, size t, usage s, type s, label s, uuid s, part-type s, part-uuid s, part-name s, device s.
 *
 * Returns: (transfer full): a value of type aa{sv}.
 */
GVariant *virtdisk_disk_get_file_systems(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_route:
 * @disk: a disk
 * Returns: (transfer none): how its data travel, such as "loop".
 */
const char *virtdisk_disk_get_route(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_route_reason:
 * @disk: a disk
 * Returns: (transfer none): why that route was taken, for people.
 */
const char *virtdisk_disk_get_route_reason(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_direct_io:
 * @disk: a disk
 * Returns: whether the host's page cache is passed by.
 */
gboolean virtdisk_disk_get_direct_io(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_settled:
 * @disk: a disk
 * Returns: whether udev has processed the device and its partitions.
 */
gboolean virtdisk_disk_get_settled(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_origin_url:
 * @disk: a disk
 * Returns: (transfer none): where the image was downloaded from, or "".
 */
const char *virtdisk_disk_get_origin_url(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_attached_at:
 * @disk: a disk
 * Returns: seconds since 1970-01-01 00:00 UTC.
 */
guint64 virtdisk_disk_get_attached_at(VirtdiskDisk *disk);

G_END_DECLS
