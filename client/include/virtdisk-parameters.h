/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What open, create, attach and detach can be told. */
#pragma once

#include "virtdisk-types.h"

G_BEGIN_DECLS

/* ---- VirtdiskOpenParameters ---- */

/**
 * virtdisk_open_parameters_new:
 * Returns: (transfer full): parameters with nothing set.
 */
VirtdiskOpenParameters *virtdisk_open_parameters_new(void);
/**
 * virtdisk_open_parameters_set_version:
 * @parameters: the parameters
 * @version: 1 (the service's default), 2 or 3
 */
void virtdisk_open_parameters_set_version(VirtdiskOpenParameters *parameters, guint version);
/**
 * virtdisk_open_parameters_set_rw_depth:
 * @parameters: the parameters
 * @rw_depth: how many files of the chain, counted from the leaf, are opened for writing; version 1
 */
void virtdisk_open_parameters_set_rw_depth(VirtdiskOpenParameters *parameters, guint rw_depth);
/**
 * virtdisk_open_parameters_set_get_info_only:
 * @parameters: the parameters
 * @get_info_only: the handle may only ask; versions 2 and 3
 */
void virtdisk_open_parameters_set_get_info_only(VirtdiskOpenParameters *parameters, gboolean get_info_only);
/**
 * virtdisk_open_parameters_set_read_only:
 * @parameters: the parameters
 * @read_only: the files are opened for reading; versions 2 and 3
 */
void virtdisk_open_parameters_set_read_only(VirtdiskOpenParameters *parameters, gboolean read_only);
/**
 * virtdisk_open_parameters_set_device_id:
 * @parameters: the parameters
 * @device_id: the format; %VIRTDISK_DEVICE_UNKNOWN lets the file name's extension decide
 */
void virtdisk_open_parameters_set_device_id(VirtdiskOpenParameters *parameters, VirtdiskDeviceId device_id);
/**
 * virtdisk_open_parameters_set_vendor_id:
 * @parameters: the parameters
 * @vendor_id: GUID, such as %VIRTDISK_VENDOR_MICROSOFT
 */
void virtdisk_open_parameters_set_vendor_id(VirtdiskOpenParameters *parameters, const char *vendor_id);
/**
 * virtdisk_open_parameters_set_resiliency_guid:
 * @parameters: the parameters
 * @guid: ResiliencyGuid; versions 2 and 3
 */
void virtdisk_open_parameters_set_resiliency_guid(VirtdiskOpenParameters *parameters, const char *guid);
/**
 * virtdisk_open_parameters_set_snapshot_id:
 * @parameters: the parameters
 * @guid: SnapshotId; version 3
 */
void virtdisk_open_parameters_set_snapshot_id(VirtdiskOpenParameters *parameters, const char *guid);
/**
 * virtdisk_open_parameters_set_ignore_parent_timestamp:
 * @parameters: the parameters
 * @ignore_parent_timestamp: take a parent with the right id also if its time is another than the child
 * remembers, as after copying it
 */
void virtdisk_open_parameters_set_ignore_parent_timestamp(VirtdiskOpenParameters *parameters,
                                                          gboolean ignore_parent_timestamp);
/**
 * virtdisk_open_parameters_to_variant:
 * @parameters: the parameters
 * Returns: (transfer full): what goes over the bus, a value of type a{sv}.
 */
GVariant *virtdisk_open_parameters_to_variant(VirtdiskOpenParameters *parameters);

/* ---- VirtdiskCreateParameters ---- */

/**
 * virtdisk_create_parameters_new:
 * Returns: (transfer full): parameters with nothing set.
 */
VirtdiskCreateParameters *virtdisk_create_parameters_new(void);
/**
 * virtdisk_create_parameters_set_version:
 * @parameters: the parameters
 * @version: 1 (the service's default) or 2
 */
void virtdisk_create_parameters_set_version(VirtdiskCreateParameters *parameters, guint version);
/**
 * virtdisk_create_parameters_set_device_id:
 * @parameters: the parameters
 * @device_id: the format, %VIRTDISK_DEVICE_VHD or %VIRTDISK_DEVICE_VHDX; by default the extension says it
 */
void virtdisk_create_parameters_set_device_id(VirtdiskCreateParameters *parameters,
                                              VirtdiskDeviceId device_id);
/**
 * virtdisk_create_parameters_set_vendor_id:
 * @parameters: the parameters
 * @vendor_id: (nullable): GUID
 */
void virtdisk_create_parameters_set_vendor_id(VirtdiskCreateParameters *parameters, const char *vendor_id);
/**
 * virtdisk_create_parameters_set_provider_specific_flags:
 * @parameters: the parameters
 * @flags: 0
 */
void virtdisk_create_parameters_set_provider_specific_flags(VirtdiskCreateParameters *parameters,
                                                            guint flags);
/**
 * virtdisk_create_parameters_set_unique_id:
 * @parameters: the parameters
 * @guid: (nullable): identifier of the image; by default a random one
 */
void virtdisk_create_parameters_set_unique_id(VirtdiskCreateParameters *parameters, const char *guid);
/**
 * virtdisk_create_parameters_set_block_size:
 * @parameters: the parameters
 * @block_size: bytes, 0 for the format's default
 */
void virtdisk_create_parameters_set_block_size(VirtdiskCreateParameters *parameters, guint block_size);
/**
 * virtdisk_create_parameters_set_sector_size:
 * @parameters: the parameters
 * @sector_size: logical sector in bytes, 512 or 4096
 */
void virtdisk_create_parameters_set_sector_size(VirtdiskCreateParameters *parameters, guint sector_size);
/**
 * virtdisk_create_parameters_set_physical_sector_size:
 * @parameters: the parameters
 * @sector_size: physical sector in bytes; version 2
 */
void virtdisk_create_parameters_set_physical_sector_size(VirtdiskCreateParameters *parameters,
                                                         guint sector_size);
/**
 * virtdisk_create_parameters_set_open_flags:
 * @parameters: the parameters
 * @flags: OPEN_VIRTUAL_DISK_FLAG of the handle; version 2
 */
void virtdisk_create_parameters_set_open_flags(VirtdiskCreateParameters *parameters, VirtdiskOpenFlags flags);
/**
 * virtdisk_create_parameters_set_parent_device_id:
 * @parameters: the parameters
 * @device_id: the format of the parent; version 2
 */
void virtdisk_create_parameters_set_parent_device_id(VirtdiskCreateParameters *parameters,
                                                     VirtdiskDeviceId device_id);
/**
 * virtdisk_create_parameters_set_parent_vendor_id:
 * @parameters: the parameters
 * @vendor_id: (nullable): GUID; version 2
 */
void virtdisk_create_parameters_set_parent_vendor_id(VirtdiskCreateParameters *parameters,
                                                     const char *vendor_id);
/**
 * virtdisk_create_parameters_set_resiliency_guid:
 * @parameters: the parameters
 * @guid: (nullable): resiliency GUID; version 2
 */
void virtdisk_create_parameters_set_resiliency_guid(VirtdiskCreateParameters *parameters, const char *guid);
/**
 * virtdisk_create_parameters_set_parent_path:
 * @parameters: the parameters
 * @path: (nullable) (type filename): the parent, which makes a differencing image
 */
void virtdisk_create_parameters_set_parent_path(VirtdiskCreateParameters *parameters, const char *path);
/**
 * virtdisk_create_parameters_set_source_path:
 * @parameters: the parameters
 * @path: (nullable) (type filename): an image of any format, or a block device, whose content the new image
 * gets; a chain is copied as the one disk it shows
 */
void virtdisk_create_parameters_set_source_path(VirtdiskCreateParameters *parameters, const char *path);
/**
 * virtdisk_create_parameters_set_source_device_id:
 * @parameters: the parameters
 * @device_id: the format of the source; version 2
 */
void virtdisk_create_parameters_set_source_device_id(VirtdiskCreateParameters *parameters,
                                                     VirtdiskDeviceId device_id);
/**
 * virtdisk_create_parameters_set_source_vendor_id:
 * @parameters: the parameters
 * @vendor_id: (nullable): GUID; version 2
 */
void virtdisk_create_parameters_set_source_vendor_id(VirtdiskCreateParameters *parameters,
                                                     const char *vendor_id);
/**
 * virtdisk_create_parameters_set_verify:
 * @parameters: the parameters
 * @verify: read back what was copied, and compare
 */
void virtdisk_create_parameters_set_verify(VirtdiskCreateParameters *parameters, gboolean verify);
/**
 * virtdisk_create_parameters_set_owner_uid:
 * @parameters: the parameters
 * @uid: owner of the new file
 */
void virtdisk_create_parameters_set_owner_uid(VirtdiskCreateParameters *parameters, guint uid);
/**
 * virtdisk_create_parameters_set_owner_gid:
 * @parameters: the parameters
 * @gid: group of the new file
 */
void virtdisk_create_parameters_set_owner_gid(VirtdiskCreateParameters *parameters, guint gid);
/**
 * virtdisk_create_parameters_set_mode:
 * @parameters: the parameters
 * @mode: permission bits of the new file, such as 0600
 */
void virtdisk_create_parameters_set_mode(VirtdiskCreateParameters *parameters, guint mode);
/**
 * virtdisk_create_parameters_set_job:
 * @parameters: the parameters
 * @word: (nullable): part of the job's object path: letters a to z, digits and underscores
 */
void virtdisk_create_parameters_set_job(VirtdiskCreateParameters *parameters, const char *word);
/**
 * virtdisk_create_parameters_set_detach_job:
 * @parameters: the parameters
 * @detach_job: the job goes on when this process ends
 */
void virtdisk_create_parameters_set_detach_job(VirtdiskCreateParameters *parameters, gboolean detach_job);
/**
 * virtdisk_create_parameters_set_progress:
 * @parameters: the parameters
 * @progress: (nullable) (scope notified) (closure data) (destroy destroy): told how far it is
 * @data: for @progress
 * @destroy: (nullable): frees @data
 *
 * As virtdisk_operation_parameters_set_progress().
 */
void virtdisk_create_parameters_set_progress(VirtdiskCreateParameters *parameters,
                                             VirtdiskProgressFunc progress, gpointer data,
                                             GDestroyNotify destroy);
/**
 * virtdisk_create_parameters_to_variant:
 * @parameters: the parameters
 * Returns: (transfer full): the options as they go over the bus, of type a{sv}.
 */
GVariant *virtdisk_create_parameters_to_variant(VirtdiskCreateParameters *parameters);

/* ---- VirtdiskAttachParameters ---- */

/**
 * virtdisk_attach_parameters_new:
 * Returns: (transfer full): parameters with nothing set.
 */
VirtdiskAttachParameters *virtdisk_attach_parameters_new(void);
/**
 * virtdisk_attach_parameters_set_read_only:
 * @parameters: the parameters
 * @read_only: attach read-only. virtdisk_client_attach_image() only; with a handle use
 * %VIRTDISK_ATTACH_READ_ONLY
 */
void virtdisk_attach_parameters_set_read_only(VirtdiskAttachParameters *parameters, gboolean read_only);
/**
 * virtdisk_attach_parameters_set_flags:
 * @parameters: the parameters
 * @flags: ATTACH_VIRTUAL_DISK_FLAG. virtdisk_client_attach_image() only
 */
void virtdisk_attach_parameters_set_flags(VirtdiskAttachParameters *parameters, VirtdiskAttachFlags flags);
/**
 * virtdisk_attach_parameters_set_open_flags:
 * @parameters: the parameters
 * @flags: OPEN_VIRTUAL_DISK_FLAG. virtdisk_client_attach_image() only
 */
void virtdisk_attach_parameters_set_open_flags(VirtdiskAttachParameters *parameters, VirtdiskOpenFlags flags);
/**
 * virtdisk_attach_parameters_set_device_id:
 * @parameters: the parameters
 * @device_id: the format. virtdisk_client_attach_image() only
 */
void virtdisk_attach_parameters_set_device_id(VirtdiskAttachParameters *parameters,
                                              VirtdiskDeviceId device_id);
/**
 * virtdisk_attach_parameters_set_vendor_id:
 * @parameters: the parameters
 * @vendor_id: GUID. virtdisk_client_attach_image() only
 */
void virtdisk_attach_parameters_set_vendor_id(VirtdiskAttachParameters *parameters, const char *vendor_id);
/**
 * virtdisk_attach_parameters_set_version:
 * @parameters: the parameters
 * @version: 1 (the service's default) or 2. virtdisk_handle_attach_virtual_disk() only
 */
void virtdisk_attach_parameters_set_version(VirtdiskAttachParameters *parameters, guint version);
/**
 * virtdisk_attach_parameters_set_provider_specific_flags:
 * @parameters: the parameters
 * @flags: 0. virtdisk_handle_attach_virtual_disk() only
 */
void virtdisk_attach_parameters_set_provider_specific_flags(VirtdiskAttachParameters *parameters,
                                                            guint flags);
/**
 * virtdisk_attach_parameters_set_lifetime:
 * @parameters: the parameters
 * @lifetime: "handle" (with a handle only), "session", "permanent" or "boot"
 */
void virtdisk_attach_parameters_set_lifetime(VirtdiskAttachParameters *parameters, const char *lifetime);
/**
 * virtdisk_attach_parameters_set_detach_on_unmount:
 * @parameters: the parameters
 * @detach_on_unmount: detach some seconds after the last mount has gone
 */
void virtdisk_attach_parameters_set_detach_on_unmount(VirtdiskAttachParameters *parameters,
                                                      gboolean detach_on_unmount);
/**
 * virtdisk_attach_parameters_set_sector_size:
 * @parameters: the parameters
 * @sector_size: logical sector of the device in bytes, for formats that do not say
 */
void virtdisk_attach_parameters_set_sector_size(VirtdiskAttachParameters *parameters, guint sector_size);
/**
 * virtdisk_attach_parameters_set_partition_scan:
 * @parameters: the parameters
 * @partition_scan: whether partitions become devices
 */
void virtdisk_attach_parameters_set_partition_scan(VirtdiskAttachParameters *parameters,
                                                   gboolean partition_scan);
/**
 * virtdisk_attach_parameters_set_owner_uid:
 * @parameters: the parameters
 * @uid: owner of the device node
 */
void virtdisk_attach_parameters_set_owner_uid(VirtdiskAttachParameters *parameters, guint uid);
/**
 * virtdisk_attach_parameters_set_owner_gid:
 * @parameters: the parameters
 * @gid: group of the device node
 */
void virtdisk_attach_parameters_set_owner_gid(VirtdiskAttachParameters *parameters, guint gid);
/**
 * virtdisk_attach_parameters_set_mode:
 * @parameters: the parameters
 * @mode: permission bits of the device node, such as 0600
 */
void virtdisk_attach_parameters_set_mode(VirtdiskAttachParameters *parameters, guint mode);
/**
 * virtdisk_attach_parameters_set_restricted_range:
 * @parameters: the parameters
 * @offset: first byte of the disk that the device shows
 * @length: how many bytes it shows
 *
 * Goes with %VIRTDISK_ATTACH_RESTRICTED_RANGE.
 */
void virtdisk_attach_parameters_set_restricted_range(VirtdiskAttachParameters *parameters, guint64 offset,
                                                     guint64 length);
/**
 * virtdisk_attach_parameters_set_route:
 * @parameters: the parameters
 * @route: (nullable): "loop", "ublk" or "fuse", and no other way; by default the best there is
 */
void virtdisk_attach_parameters_set_route(VirtdiskAttachParameters *parameters, const char *route);
/**
 * virtdisk_attach_parameters_set_zero_copy:
 * @parameters: the parameters
 * @zero_copy: with ublk: data do not pass through the worker's memory, or the attach fails
 */
void virtdisk_attach_parameters_set_zero_copy(VirtdiskAttachParameters *parameters, gboolean zero_copy);
/**
 * virtdisk_attach_parameters_to_variant:
 * @parameters: the parameters
 * Returns: (transfer full): what goes over the bus, a value of type a{sv}.
 */
GVariant *virtdisk_attach_parameters_to_variant(VirtdiskAttachParameters *parameters);

/* ---- VirtdiskDetachParameters ---- */

/**
 * virtdisk_detach_parameters_new:
 * Returns: (transfer full): parameters with nothing set.
 */
VirtdiskDetachParameters *virtdisk_detach_parameters_new(void);
/**
 * virtdisk_detach_parameters_set_force:
 * @parameters: the parameters
 * @force: unmount what is mounted, then detach
 */
void virtdisk_detach_parameters_set_force(VirtdiskDetachParameters *parameters, gboolean force);
/**
 * virtdisk_detach_parameters_set_when_idle:
 * @parameters: the parameters
 * @when_idle: if the disk is in use, detach it when its last user goes
 */
void virtdisk_detach_parameters_set_when_idle(VirtdiskDetachParameters *parameters, gboolean when_idle);
/**
 * virtdisk_detach_parameters_set_provider_specific_flags:
 * @parameters: the parameters
 * @flags: 0. virtdisk_handle_detach_virtual_disk() only
 */
void virtdisk_detach_parameters_set_provider_specific_flags(VirtdiskDetachParameters *parameters,
                                                            guint flags);
/**
 * virtdisk_detach_parameters_to_variant:
 * @parameters: the parameters
 * Returns: (transfer full): what goes over the bus, a value of type a{sv}.
 */
GVariant *virtdisk_detach_parameters_to_variant(VirtdiskDetachParameters *parameters);

G_END_DECLS
