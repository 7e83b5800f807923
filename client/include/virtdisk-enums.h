/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Numbers of the Windows Virtual Disk API (virtdisk.h), shared by library, command and service. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/**
 * VirtdiskAccessMask:
 * What a version 1 handle may do (VIRTUAL_DISK_ACCESS_MASK). Version 2 handles are opened with
 * %VIRTDISK_ACCESS_NONE.
 */
typedef enum { /*< flags >*/
               VIRTDISK_ACCESS_NONE = 0,
               VIRTDISK_ACCESS_ATTACH_RO = 0x00010000,
               VIRTDISK_ACCESS_ATTACH_RW = 0x00020000,
               VIRTDISK_ACCESS_DETACH = 0x00040000,
               VIRTDISK_ACCESS_GET_INFO = 0x00080000,
               VIRTDISK_ACCESS_CREATE = 0x00100000,
               VIRTDISK_ACCESS_METAOPS = 0x00200000,
               VIRTDISK_ACCESS_READ = 0x000d0000,
               VIRTDISK_ACCESS_WRITABLE = 0x00320000,
               VIRTDISK_ACCESS_ALL = 0x003f0000
} VirtdiskAccessMask;

/**
 * VirtdiskOpenFlags:
 * OPEN_VIRTUAL_DISK_FLAG.
 */
typedef enum { /*< flags >*/
               VIRTDISK_OPEN_NONE = 0,
               VIRTDISK_OPEN_NO_PARENTS = 0x1,
               VIRTDISK_OPEN_BLANK_FILE = 0x2,
               VIRTDISK_OPEN_BOOT_DRIVE = 0x4,
               VIRTDISK_OPEN_CACHED_IO = 0x8,
               VIRTDISK_OPEN_CUSTOM_DIFF_CHAIN = 0x10,
               VIRTDISK_OPEN_PARENT_CACHED_IO = 0x20,
               VIRTDISK_OPEN_VHDSET_FILE_ONLY = 0x40,
               VIRTDISK_OPEN_IGNORE_RELATIVE_PARENT_LOCATOR = 0x80,
               VIRTDISK_OPEN_NO_WRITE_HARDENING = 0x100,
               VIRTDISK_OPEN_SUPPORT_COMPRESSED_VOLUMES = 0x200,
               VIRTDISK_OPEN_SUPPORT_SPARSE_FILES_ANY_FS = 0x400,
               VIRTDISK_OPEN_SUPPORT_ENCRYPTED_FILES = 0x800,
               VIRTDISK_OPEN_ALL_FLAGS = 0xfff
} VirtdiskOpenFlags;

/**
 * VirtdiskCreateFlags:
 * CREATE_VIRTUAL_DISK_FLAG.
 */
typedef enum { /*< flags >*/
               VIRTDISK_CREATE_NONE = 0,
               VIRTDISK_CREATE_FULL_PHYSICAL_ALLOCATION = 0x1,
               VIRTDISK_CREATE_PREVENT_WRITES_TO_SOURCE_DISK = 0x2,
               VIRTDISK_CREATE_DO_NOT_COPY_METADATA_FROM_PARENT = 0x4,
               VIRTDISK_CREATE_CREATE_BACKING_STORAGE = 0x8,
               VIRTDISK_CREATE_USE_CHANGE_TRACKING_SOURCE_LIMIT = 0x10,
               VIRTDISK_CREATE_PRESERVE_PARENT_CHANGE_TRACKING_STATE = 0x20,
               VIRTDISK_CREATE_VHD_SET_USE_ORIGINAL_BACKING_STORAGE = 0x40,
               VIRTDISK_CREATE_SPARSE_FILE = 0x80,
               VIRTDISK_CREATE_PMEM_COMPATIBLE = 0x100,
               VIRTDISK_CREATE_SUPPORT_COMPRESSED_VOLUMES = 0x200,
               VIRTDISK_CREATE_SUPPORT_SPARSE_FILES_ANY_FS = 0x400,
               VIRTDISK_CREATE_ALL_FLAGS = 0x7ff
} VirtdiskCreateFlags;

/**
 * VirtdiskAttachFlags:
 * ATTACH_VIRTUAL_DISK_FLAG.
 */
typedef enum { /*< flags >*/
               VIRTDISK_ATTACH_NONE = 0,
               VIRTDISK_ATTACH_READ_ONLY = 0x1,
               VIRTDISK_ATTACH_NO_DRIVE_LETTER = 0x2,
               VIRTDISK_ATTACH_PERMANENT_LIFETIME = 0x4,
               VIRTDISK_ATTACH_NO_LOCAL_HOST = 0x8,
               VIRTDISK_ATTACH_NO_SECURITY_DESCRIPTOR = 0x10,
               VIRTDISK_ATTACH_BYPASS_DEFAULT_ENCRYPTION_POLICY = 0x20,
               VIRTDISK_ATTACH_NON_PNP = 0x40,
               VIRTDISK_ATTACH_RESTRICTED_RANGE = 0x80,
               VIRTDISK_ATTACH_SINGLE_PARTITION = 0x100,
               VIRTDISK_ATTACH_REGISTER_VOLUME = 0x200,
               VIRTDISK_ATTACH_AT_BOOT = 0x400,
               VIRTDISK_ATTACH_ALL_FLAGS = 0x7ff
} VirtdiskAttachFlags;

/**
 * VirtdiskDetachFlags:
 * DETACH_VIRTUAL_DISK_FLAG.
 */
typedef enum { /*< flags >*/
               VIRTDISK_DETACH_NONE = 0
} VirtdiskDetachFlags;

/**
 * VirtdiskCompactFlags:
 * COMPACT_VIRTUAL_DISK_FLAG.
 */
typedef enum { /*< flags >*/
               VIRTDISK_COMPACT_NONE = 0,
               VIRTDISK_COMPACT_NO_ZERO_SCAN = 0x1,
               VIRTDISK_COMPACT_NO_BLOCK_MOVES = 0x2,
               VIRTDISK_COMPACT_ALL_FLAGS = 0x3
} VirtdiskCompactFlags;

/**
 * VirtdiskExpandFlags:
 * @VIRTDISK_EXPAND_NONE: the disk is detached
 * @VIRTDISK_EXPAND_NOTIFY_CHANGE: or attached: its device grows with it
 *
 * EXPAND_VIRTUAL_DISK_FLAG.
 */
typedef enum { /*< flags >*/
               VIRTDISK_EXPAND_NONE = 0,
               VIRTDISK_EXPAND_NOTIFY_CHANGE = 1
} VirtdiskExpandFlags;

/**
 * VirtdiskResizeFlags:
 * RESIZE_VIRTUAL_DISK_FLAG.
 */
typedef enum { /*< flags >*/
               VIRTDISK_RESIZE_NONE = 0,
               VIRTDISK_RESIZE_ALLOW_UNSAFE_VIRTUAL_SIZE = 0x1,
               VIRTDISK_RESIZE_TO_SMALLEST_SAFE_VIRTUAL_SIZE = 0x2,
               VIRTDISK_RESIZE_ALL_FLAGS = 0x3
} VirtdiskResizeFlags;

/**
 * VirtdiskMergeFlags:
 * MERGE_VIRTUAL_DISK_FLAG.
 */
typedef enum { /*< flags >*/
               VIRTDISK_MERGE_NONE = 0
} VirtdiskMergeFlags;

/**
 * VirtdiskMirrorFlags:
 * MIRROR_VIRTUAL_DISK_FLAG.
 * @VIRTDISK_MIRROR_NONE: the file is made, and must not exist
 * @VIRTDISK_MIRROR_EXISTING_FILE: the file exists, is an image of the same kind, and is overwritten
 * @VIRTDISK_MIRROR_SKIP_MIRROR_ACTIVATION: not supported
 * @VIRTDISK_MIRROR_ENABLE_SMB_COMPRESSION: a hint
 * @VIRTDISK_MIRROR_IS_LIVE_MIGRATION: a hint
 */
typedef enum { /*< flags >*/
               VIRTDISK_MIRROR_NONE = 0,
               VIRTDISK_MIRROR_EXISTING_FILE = 0x1,
               VIRTDISK_MIRROR_SKIP_MIRROR_ACTIVATION = 0x2,
               VIRTDISK_MIRROR_ENABLE_SMB_COMPRESSION = 0x4,
               VIRTDISK_MIRROR_IS_LIVE_MIGRATION = 0x8,
               VIRTDISK_MIRROR_ALL_FLAGS = 0xf
} VirtdiskMirrorFlags;

/**
 * VirtdiskDependencyFlags:
 * GET_STORAGE_DEPENDENCY_FLAG.
 */
typedef enum { /*< flags >*/
               VIRTDISK_DEPENDENCY_NONE = 0,
               VIRTDISK_DEPENDENCY_HOST_VOLUMES = 0x1,
               VIRTDISK_DEPENDENCY_DISK_HANDLE = 0x2,
               VIRTDISK_DEPENDENCY_ALL_FLAGS = 0x3
} VirtdiskDependencyFlags;

/**
 * VirtdiskDependentDiskFlags:
 * DEPENDENT_DISK_FLAG, as found in the answer of GetStorageDependencyInformation.
 */
typedef enum { /*< flags >*/
               VIRTDISK_DEPENDENT_NONE = 0,
               VIRTDISK_DEPENDENT_MULT_BACKING_FILES = 0x1,
               VIRTDISK_DEPENDENT_FULLY_ALLOCATED = 0x2,
               VIRTDISK_DEPENDENT_READ_ONLY = 0x4,
               VIRTDISK_DEPENDENT_REMOTE = 0x8,
               VIRTDISK_DEPENDENT_SYSTEM_VOLUME = 0x10,
               VIRTDISK_DEPENDENT_SYSTEM_VOLUME_PARENT = 0x20,
               VIRTDISK_DEPENDENT_REMOVABLE = 0x40,
               VIRTDISK_DEPENDENT_NO_DRIVE_LETTER = 0x80,
               VIRTDISK_DEPENDENT_PARENT = 0x100,
               VIRTDISK_DEPENDENT_NO_HOST_DISK = 0x200,
               VIRTDISK_DEPENDENT_PERMANENT_LIFETIME = 0x400
} VirtdiskDependentDiskFlags;

/**
 * VirtdiskCheckFlags:
 * How to check an image.
 */
typedef enum { /*< flags >*/
               VIRTDISK_CHECK_NONE = 0,
               VIRTDISK_CHECK_REPAIR = 0x1
} VirtdiskCheckFlags;

/**
 * VirtdiskFaultKind:
 * @VIRTDISK_FAULT_NOTE: legal, but worth knowing
 * @VIRTDISK_FAULT_LEAK: space of the file that nothing refers to
 * @VIRTDISK_FAULT_MINOR: wrong, but nothing of the disk is lost
 * @VIRTDISK_FAULT_SERIOUS: data of the disk cannot be trusted, or the image cannot be opened
 *
 * How bad a fault of an image is.
 */
typedef enum {
  VIRTDISK_FAULT_NOTE = 0,
  VIRTDISK_FAULT_LEAK = 1,
  VIRTDISK_FAULT_MINOR = 2,
  VIRTDISK_FAULT_SERIOUS = 3
} VirtdiskFaultKind;

/**
 * VirtdiskInfoVersion:
 * GET_VIRTUAL_DISK_INFO_VERSION.
 */
typedef enum {
  VIRTDISK_INFO_SIZE = 1,
  VIRTDISK_INFO_IDENTIFIER = 2,
  VIRTDISK_INFO_PARENT_LOCATION = 3,
  VIRTDISK_INFO_PARENT_IDENTIFIER = 4,
  VIRTDISK_INFO_PARENT_TIMESTAMP = 5,
  VIRTDISK_INFO_VIRTUAL_STORAGE_TYPE = 6,
  VIRTDISK_INFO_PROVIDER_SUBTYPE = 7,
  VIRTDISK_INFO_IS_4K_ALIGNED = 8,
  VIRTDISK_INFO_PHYSICAL_DISK = 9,
  VIRTDISK_INFO_VHD_PHYSICAL_SECTOR_SIZE = 10,
  VIRTDISK_INFO_SMALLEST_SAFE_VIRTUAL_SIZE = 11,
  VIRTDISK_INFO_FRAGMENTATION = 12,
  VIRTDISK_INFO_IS_LOADED = 13,
  VIRTDISK_INFO_VIRTUAL_DISK_ID = 14,
  VIRTDISK_INFO_CHANGE_TRACKING_STATE = 15
} VirtdiskInfoVersion;

/**
 * VirtdiskSetInfoVersion:
 * SET_VIRTUAL_DISK_INFO_VERSION.
 */
typedef enum {
  VIRTDISK_SET_INFO_PARENT_PATH = 1,
  VIRTDISK_SET_INFO_IDENTIFIER = 2,
  VIRTDISK_SET_INFO_PARENT_PATH_WITH_DEPTH = 3,
  VIRTDISK_SET_INFO_PHYSICAL_SECTOR_SIZE = 4,
  VIRTDISK_SET_INFO_VIRTUAL_DISK_ID = 5,
  VIRTDISK_SET_INFO_CHANGE_TRACKING_STATE = 6,
  VIRTDISK_SET_INFO_PARENT_LOCATOR = 7
} VirtdiskSetInfoVersion;

/**
 * VirtdiskDeviceId:
 * VIRTUAL_STORAGE_TYPE.DeviceId. %VIRTDISK_DEVICE_UNKNOWN lets the file name's extension decide;
 * %VIRTDISK_DEVICE_RAW is an extension of virtdisk under its own vendor id.
 */
typedef enum {
  VIRTDISK_DEVICE_UNKNOWN = 0,
  VIRTDISK_DEVICE_ISO = 1,
  VIRTDISK_DEVICE_VHD = 2,
  VIRTDISK_DEVICE_VHDX = 3,
  VIRTDISK_DEVICE_VHDSET = 4,
  VIRTDISK_DEVICE_RAW = 100
} VirtdiskDeviceId;

/**
 * VirtdiskSubtype:
 * Answer of %VIRTDISK_INFO_PROVIDER_SUBTYPE; the VHD footer's disk types.
 */
typedef enum {
  VIRTDISK_SUBTYPE_NONE = 0,
  VIRTDISK_SUBTYPE_FIXED = 2,
  VIRTDISK_SUBTYPE_DYNAMIC = 3,
  VIRTDISK_SUBTYPE_DIFFERENCING = 4
} VirtdiskSubtype;

/**
 * VIRTDISK_VENDOR_UNKNOWN:
 * VIRTUAL_STORAGE_TYPE_VENDOR_UNKNOWN.
 */
#define VIRTDISK_VENDOR_UNKNOWN "00000000-0000-0000-0000-000000000000"
/**
 * VIRTDISK_VENDOR_MICROSOFT:
 * VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT; ISO, VHD, VHDX.
 */
#define VIRTDISK_VENDOR_MICROSOFT "ec984aec-a0f9-47e9-901f-71415a66345b"
/**
 * VIRTDISK_VENDOR_VIRTDISK:
 * vendor of the types that virtdisk adds (raw).
 */
#define VIRTDISK_VENDOR_VIRTDISK "7d3b1f5e-52c4-4d8a-9a63-0f7b8f1c2a90"

/**
 * VIRTDISK_OPEN_RW_DEPTH_DEFAULT:
 * OPEN_VIRTUAL_DISK_RW_DEPTH_DEFAULT.
 */
#define VIRTDISK_OPEN_RW_DEPTH_DEFAULT 1

G_END_DECLS
