/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The Windows Virtual Disk API by its own names, over libvirtdisk: code written against virtdisk.h is built
 * by including this instead, and linking libvirtdisk-win32. Numbers and layouts are those of Windows, field
 * for field. Functions return a Win32 code; what Windows would do, they do, and what means nothing on Linux
 * returns ERROR_NOT_SUPPORTED.
 *
 * Strings are UTF-16; each function that takes one has a sister with the suffix U8 for UTF-8. A PCWSTR inside
 * a structure is UTF-16 always. Paths are those of Linux, also the devices that GetVirtualDiskPhysicalPath
 * returns (/dev/ublkb0).
 *
 * A HANDLE is a virtual disk, an event, or a file that was opened to ask about (CreateFile). Of events there
 * is what an OVERLAPPED needs: CreateEvent, SetEvent, ResetEvent, WaitForSingleObject. An operation with an
 * OVERLAPPED runs in a thread; Internal holds its code when it has ended. Security descriptors are not taken:
 * they have to be NULL. Any thread may call anything.
 */
#ifndef VIRTDISK_WIN32_H
#define VIRTDISK_WIN32_H

#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
typedef char16_t WCHAR;
#else
#include <uchar.h>
typedef char16_t WCHAR;
#endif

/* ---- types ---- */

typedef uint32_t DWORD;
typedef uint32_t ULONG;
typedef uint64_t ULONGLONG;
typedef uint64_t ULONG64;
typedef int32_t BOOL;
typedef uint8_t UCHAR;
typedef uintptr_t ULONG_PTR;
typedef void VOID;
typedef void *PVOID;
typedef void *HANDLE;
typedef HANDLE *PHANDLE;
typedef ULONG *PULONG;
typedef ULONG64 *PULONG64;
typedef WCHAR *PWSTR;
typedef const WCHAR *PCWSTR;
typedef PVOID PSECURITY_DESCRIPTOR;

typedef struct {
  uint32_t Data1;
  uint16_t Data2;
  uint16_t Data3;
  uint8_t Data4[8];
} GUID;

typedef struct {
  ULONG_PTR Internal;
  ULONG_PTR InternalHigh;
  union {
    struct {
      DWORD Offset;
      DWORD OffsetHigh;
    };
    PVOID Pointer;
  };
  HANDLE hEvent;
} OVERLAPPED, *LPOVERLAPPED;

#ifndef TRUE
#define TRUE 1
#define FALSE 0
#endif
#define INVALID_HANDLE_VALUE ((HANDLE)(intptr_t)-1)
#define INFINITE 0xFFFFFFFFU
#define WAIT_OBJECT_0 0U
#define WAIT_TIMEOUT 258U
#define WAIT_FAILED 0xFFFFFFFFU

/* ---- codes ---- */

#define ERROR_SUCCESS 0U
#define ERROR_FILE_NOT_FOUND 2U
#define ERROR_PATH_NOT_FOUND 3U
#define ERROR_ACCESS_DENIED 5U
#define ERROR_INVALID_HANDLE 6U
#define ERROR_NOT_ENOUGH_MEMORY 8U
#define ERROR_WRITE_PROTECT 19U
#define ERROR_BAD_COMMAND 22U
#define ERROR_SHARING_VIOLATION 32U
#define ERROR_NOT_SUPPORTED 50U
#define ERROR_DEV_NOT_EXIST 55U
#define ERROR_FILE_EXISTS 80U
#define ERROR_INVALID_PARAMETER 87U
#define ERROR_DISK_FULL 112U
#define ERROR_INSUFFICIENT_BUFFER 122U
#define ERROR_OPERATION_ABORTED 995U
#define ERROR_IO_PENDING 997U
#define ERROR_NOT_FOUND 1168U
#define ERROR_PRIVILEGE_NOT_HELD 1314U
#define ERROR_INTERNAL_ERROR 1359U
#define ERROR_FILE_CORRUPT 1392U

#define ERROR_VHD_DRIVE_FOOTER_MISSING 0xC03A0001U
#define ERROR_VHD_DRIVE_FOOTER_CHECKSUM_MISMATCH 0xC03A0002U
#define ERROR_VHD_DRIVE_FOOTER_CORRUPT 0xC03A0003U
#define ERROR_VHD_FORMAT_UNKNOWN 0xC03A0004U
#define ERROR_VHD_FORMAT_UNSUPPORTED_VERSION 0xC03A0005U
#define ERROR_VHD_SPARSE_HEADER_CHECKSUM_MISMATCH 0xC03A0006U
#define ERROR_VHD_SPARSE_HEADER_UNSUPPORTED_VERSION 0xC03A0007U
#define ERROR_VHD_SPARSE_HEADER_CORRUPT 0xC03A0008U
#define ERROR_VHD_BLOCK_ALLOCATION_FAILURE 0xC03A0009U
#define ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT 0xC03A000AU
#define ERROR_VHD_INVALID_BLOCK_SIZE 0xC03A000BU
#define ERROR_VHD_BITMAP_MISMATCH 0xC03A000CU
#define ERROR_VHD_PARENT_VHD_NOT_FOUND 0xC03A000DU
#define ERROR_VHD_CHILD_PARENT_ID_MISMATCH 0xC03A000EU
#define ERROR_VHD_CHILD_PARENT_TIMESTAMP_MISMATCH 0xC03A000FU
#define ERROR_VHD_METADATA_READ_FAILURE 0xC03A0010U
#define ERROR_VHD_METADATA_WRITE_FAILURE 0xC03A0011U
#define ERROR_VHD_INVALID_SIZE 0xC03A0012U
#define ERROR_VHD_INVALID_FILE_SIZE 0xC03A0013U
#define ERROR_VIRTDISK_PROVIDER_NOT_FOUND 0xC03A0014U
#define ERROR_VIRTDISK_NOT_VIRTUAL_DISK 0xC03A0015U
#define ERROR_VHD_PARENT_VHD_ACCESS_DENIED 0xC03A0016U
#define ERROR_VHD_CHILD_PARENT_SIZE_MISMATCH 0xC03A0017U
#define ERROR_VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED 0xC03A0018U
#define ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT 0xC03A0019U
#define ERROR_VIRTUAL_DISK_LIMITATION 0xC03A001AU
#define ERROR_VHD_INVALID_TYPE 0xC03A001BU
#define ERROR_VHD_INVALID_STATE 0xC03A001CU
#define ERROR_VIRTDISK_UNSUPPORTED_DISK_SECTOR_SIZE 0xC03A001DU
#define ERROR_VIRTDISK_DISK_ALREADY_OWNED 0xC03A001EU
#define ERROR_VIRTDISK_DISK_ONLINE_AND_WRITABLE 0xC03A001FU
#define ERROR_VHD_RESIZE_WOULD_TRUNCATE_DATA 0xC03A0025U
#define ERROR_VHD_COULD_NOT_COMPUTE_MINIMUM_VIRTUAL_SIZE 0xC03A0026U
#define ERROR_VHD_ALREADY_AT_OR_BELOW_MINIMUM_VIRTUAL_SIZE 0xC03A0027U
#define ERROR_VHD_METADATA_FULL 0xC03A0028U

/* ---- storage types ---- */

#define VIRTUAL_STORAGE_TYPE_DEVICE_UNKNOWN 0U
#define VIRTUAL_STORAGE_TYPE_DEVICE_ISO 1U
#define VIRTUAL_STORAGE_TYPE_DEVICE_VHD 2U
#define VIRTUAL_STORAGE_TYPE_DEVICE_VHDX 3U
#define VIRTUAL_STORAGE_TYPE_DEVICE_VHDSET 4U

static const GUID VIRTUAL_STORAGE_TYPE_VENDOR_UNKNOWN = {0, 0, 0, {0, 0, 0, 0, 0, 0, 0, 0}};
static const GUID VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT = {
    0xEC984AEC, 0xA0F9, 0x47E9, {0x90, 0x1F, 0x71, 0x41, 0x5A, 0x66, 0x34, 0x5B}};

typedef struct {
  ULONG DeviceId;
  GUID VendorId;
} VIRTUAL_STORAGE_TYPE, *PVIRTUAL_STORAGE_TYPE;

/* ---- numbers ---- */

typedef enum {
  VIRTUAL_DISK_ACCESS_NONE = 0,
  VIRTUAL_DISK_ACCESS_ATTACH_RO = 0x00010000,
  VIRTUAL_DISK_ACCESS_ATTACH_RW = 0x00020000,
  VIRTUAL_DISK_ACCESS_DETACH = 0x00040000,
  VIRTUAL_DISK_ACCESS_GET_INFO = 0x00080000,
  VIRTUAL_DISK_ACCESS_CREATE = 0x00100000,
  VIRTUAL_DISK_ACCESS_METAOPS = 0x00200000,
  VIRTUAL_DISK_ACCESS_READ = 0x000d0000,
  VIRTUAL_DISK_ACCESS_ALL = 0x003f0000,
  VIRTUAL_DISK_ACCESS_WRITABLE = 0x00320000
} VIRTUAL_DISK_ACCESS_MASK;

typedef enum {
  OPEN_VIRTUAL_DISK_FLAG_NONE = 0x0,
  OPEN_VIRTUAL_DISK_FLAG_NO_PARENTS = 0x1,
  OPEN_VIRTUAL_DISK_FLAG_BLANK_FILE = 0x2,
  OPEN_VIRTUAL_DISK_FLAG_BOOT_DRIVE = 0x4,
  OPEN_VIRTUAL_DISK_FLAG_CACHED_IO = 0x8,
  OPEN_VIRTUAL_DISK_FLAG_CUSTOM_DIFF_CHAIN = 0x10,
  OPEN_VIRTUAL_DISK_FLAG_PARENT_CACHED_IO = 0x20,
  OPEN_VIRTUAL_DISK_FLAG_VHDSET_FILE_ONLY = 0x40,
  OPEN_VIRTUAL_DISK_FLAG_IGNORE_RELATIVE_PARENT_LOCATOR = 0x80,
  OPEN_VIRTUAL_DISK_FLAG_NO_WRITE_HARDENING = 0x100,
  OPEN_VIRTUAL_DISK_FLAG_SUPPORT_COMPRESSED_VOLUMES = 0x200,
  OPEN_VIRTUAL_DISK_FLAG_SUPPORT_SPARSE_FILES_ANY_FS = 0x400,
  OPEN_VIRTUAL_DISK_FLAG_SUPPORT_ENCRYPTED_FILES = 0x800
} OPEN_VIRTUAL_DISK_FLAG;

typedef enum {
  CREATE_VIRTUAL_DISK_FLAG_NONE = 0x0,
  CREATE_VIRTUAL_DISK_FLAG_FULL_PHYSICAL_ALLOCATION = 0x1,
  CREATE_VIRTUAL_DISK_FLAG_PREVENT_WRITES_TO_SOURCE_DISK = 0x2,
  CREATE_VIRTUAL_DISK_FLAG_DO_NOT_COPY_METADATA_FROM_PARENT = 0x4,
  CREATE_VIRTUAL_DISK_FLAG_CREATE_BACKING_STORAGE = 0x8,
  CREATE_VIRTUAL_DISK_FLAG_USE_CHANGE_TRACKING_SOURCE_LIMIT = 0x10,
  CREATE_VIRTUAL_DISK_FLAG_PRESERVE_PARENT_CHANGE_TRACKING_STATE = 0x20,
  CREATE_VIRTUAL_DISK_FLAG_VHD_SET_USE_ORIGINAL_BACKING_STORAGE = 0x40,
  CREATE_VIRTUAL_DISK_FLAG_SPARSE_FILE = 0x80,
  CREATE_VIRTUAL_DISK_FLAG_PMEM_COMPATIBLE = 0x100,
  CREATE_VIRTUAL_DISK_FLAG_SUPPORT_COMPRESSED_VOLUMES = 0x200,
  CREATE_VIRTUAL_DISK_FLAG_SUPPORT_SPARSE_FILES_ANY_FS = 0x400
} CREATE_VIRTUAL_DISK_FLAG;

typedef enum {
  ATTACH_VIRTUAL_DISK_FLAG_NONE = 0x0,
  ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY = 0x1,
  ATTACH_VIRTUAL_DISK_FLAG_NO_DRIVE_LETTER = 0x2,
  ATTACH_VIRTUAL_DISK_FLAG_PERMANENT_LIFETIME = 0x4,
  ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST = 0x8,
  ATTACH_VIRTUAL_DISK_FLAG_NO_SECURITY_DESCRIPTOR = 0x10,
  ATTACH_VIRTUAL_DISK_FLAG_BYPASS_DEFAULT_ENCRYPTION_POLICY = 0x20,
  ATTACH_VIRTUAL_DISK_FLAG_NON_PNP = 0x40,
  ATTACH_VIRTUAL_DISK_FLAG_RESTRICTED_RANGE = 0x80,
  ATTACH_VIRTUAL_DISK_FLAG_SINGLE_PARTITION = 0x100,
  ATTACH_VIRTUAL_DISK_FLAG_REGISTER_VOLUME = 0x200,
  ATTACH_VIRTUAL_DISK_FLAG_AT_BOOT = 0x400
} ATTACH_VIRTUAL_DISK_FLAG;

typedef enum { DETACH_VIRTUAL_DISK_FLAG_NONE = 0 } DETACH_VIRTUAL_DISK_FLAG;

typedef enum {
  COMPACT_VIRTUAL_DISK_FLAG_NONE = 0x0,
  COMPACT_VIRTUAL_DISK_FLAG_NO_ZERO_SCAN = 0x1,
  COMPACT_VIRTUAL_DISK_FLAG_NO_BLOCK_MOVES = 0x2
} COMPACT_VIRTUAL_DISK_FLAG;

typedef enum {
  EXPAND_VIRTUAL_DISK_FLAG_NONE = 0,
  EXPAND_VIRTUAL_DISK_FLAG_NOTIFY_CHANGE = 1
} EXPAND_VIRTUAL_DISK_FLAG;

typedef enum {
  RESIZE_VIRTUAL_DISK_FLAG_NONE = 0x0,
  RESIZE_VIRTUAL_DISK_FLAG_ALLOW_UNSAFE_VIRTUAL_SIZE = 0x1,
  RESIZE_VIRTUAL_DISK_FLAG_RESIZE_TO_SMALLEST_SAFE_VIRTUAL_SIZE = 0x2
} RESIZE_VIRTUAL_DISK_FLAG;

typedef enum { MERGE_VIRTUAL_DISK_FLAG_NONE = 0 } MERGE_VIRTUAL_DISK_FLAG;

typedef enum {
  MIRROR_VIRTUAL_DISK_FLAG_NONE = 0x0,
  MIRROR_VIRTUAL_DISK_FLAG_EXISTING_FILE = 0x1,
  MIRROR_VIRTUAL_DISK_FLAG_SKIP_MIRROR_ACTIVATION = 0x2,
  MIRROR_VIRTUAL_DISK_FLAG_ENABLE_SMB_COMPRESSION = 0x4,
  MIRROR_VIRTUAL_DISK_FLAG_IS_LIVE_MIGRATION = 0x8
} MIRROR_VIRTUAL_DISK_FLAG;

typedef enum { QUERY_CHANGES_VIRTUAL_DISK_FLAG_NONE = 0 } QUERY_CHANGES_VIRTUAL_DISK_FLAG;

typedef enum {
  GET_STORAGE_DEPENDENCY_FLAG_NONE = 0,
  GET_STORAGE_DEPENDENCY_FLAG_HOST_VOLUMES = 1,
  GET_STORAGE_DEPENDENCY_FLAG_PARENTS = 1,
  GET_STORAGE_DEPENDENCY_FLAG_DISK_HANDLE = 2
} GET_STORAGE_DEPENDENCY_FLAG;

typedef enum {
  DEPENDENT_DISK_FLAG_NONE = 0x0,
  DEPENDENT_DISK_FLAG_MULT_BACKING_FILES = 0x1,
  DEPENDENT_DISK_FLAG_FULLY_ALLOCATED = 0x2,
  DEPENDENT_DISK_FLAG_READ_ONLY = 0x4,
  DEPENDENT_DISK_FLAG_REMOTE = 0x8,
  DEPENDENT_DISK_FLAG_SYSTEM_VOLUME = 0x10,
  DEPENDENT_DISK_FLAG_SYSTEM_VOLUME_PARENT = 0x20,
  DEPENDENT_DISK_FLAG_REMOVABLE = 0x40,
  DEPENDENT_DISK_FLAG_NO_DRIVE_LETTER = 0x80,
  DEPENDENT_DISK_FLAG_PARENT = 0x100,
  DEPENDENT_DISK_FLAG_NO_HOST_DISK = 0x200,
  DEPENDENT_DISK_FLAG_PERMANENT_LIFETIME = 0x400,
  DEPENDENT_DISK_FLAG_SUPPORT_COMPRESSED_VOLUMES = 0x800,
  DEPENDENT_DISK_FLAG_ALWAYS_ALLOW_SPARSE = 0x1000,
  DEPENDENT_DISK_FLAG_SUPPORT_ENCRYPTED_FILES = 0x2000
} DEPENDENT_DISK_FLAG;

typedef enum {
  OPEN_VIRTUAL_DISK_VERSION_UNSPECIFIED = 0,
  OPEN_VIRTUAL_DISK_VERSION_1 = 1,
  OPEN_VIRTUAL_DISK_VERSION_2 = 2,
  OPEN_VIRTUAL_DISK_VERSION_3 = 3
} OPEN_VIRTUAL_DISK_VERSION;

typedef enum {
  CREATE_VIRTUAL_DISK_VERSION_UNSPECIFIED = 0,
  CREATE_VIRTUAL_DISK_VERSION_1 = 1,
  CREATE_VIRTUAL_DISK_VERSION_2 = 2,
  CREATE_VIRTUAL_DISK_VERSION_3 = 3,
  CREATE_VIRTUAL_DISK_VERSION_4 = 4
} CREATE_VIRTUAL_DISK_VERSION;

typedef enum {
  ATTACH_VIRTUAL_DISK_VERSION_UNSPECIFIED = 0,
  ATTACH_VIRTUAL_DISK_VERSION_1 = 1,
  ATTACH_VIRTUAL_DISK_VERSION_2 = 2
} ATTACH_VIRTUAL_DISK_VERSION;

typedef enum {
  COMPACT_VIRTUAL_DISK_VERSION_UNSPECIFIED = 0,
  COMPACT_VIRTUAL_DISK_VERSION_1 = 1
} COMPACT_VIRTUAL_DISK_VERSION;

typedef enum {
  EXPAND_VIRTUAL_DISK_VERSION_UNSPECIFIED = 0,
  EXPAND_VIRTUAL_DISK_VERSION_1 = 1
} EXPAND_VIRTUAL_DISK_VERSION;

typedef enum {
  RESIZE_VIRTUAL_DISK_VERSION_UNSPECIFIED = 0,
  RESIZE_VIRTUAL_DISK_VERSION_1 = 1
} RESIZE_VIRTUAL_DISK_VERSION;

typedef enum {
  MERGE_VIRTUAL_DISK_VERSION_UNSPECIFIED = 0,
  MERGE_VIRTUAL_DISK_VERSION_1 = 1,
  MERGE_VIRTUAL_DISK_VERSION_2 = 2
} MERGE_VIRTUAL_DISK_VERSION;

typedef enum {
  MIRROR_VIRTUAL_DISK_VERSION_UNSPECIFIED = 0,
  MIRROR_VIRTUAL_DISK_VERSION_1 = 1
} MIRROR_VIRTUAL_DISK_VERSION;

typedef enum {
  STORAGE_DEPENDENCY_INFO_VERSION_UNSPECIFIED = 0,
  STORAGE_DEPENDENCY_INFO_VERSION_1 = 1,
  STORAGE_DEPENDENCY_INFO_VERSION_2 = 2
} STORAGE_DEPENDENCY_INFO_VERSION;

typedef enum {
  GET_VIRTUAL_DISK_INFO_UNSPECIFIED = 0,
  GET_VIRTUAL_DISK_INFO_SIZE = 1,
  GET_VIRTUAL_DISK_INFO_IDENTIFIER = 2,
  GET_VIRTUAL_DISK_INFO_PARENT_LOCATION = 3,
  GET_VIRTUAL_DISK_INFO_PARENT_IDENTIFIER = 4,
  GET_VIRTUAL_DISK_INFO_PARENT_TIMESTAMP = 5,
  GET_VIRTUAL_DISK_INFO_VIRTUAL_STORAGE_TYPE = 6,
  GET_VIRTUAL_DISK_INFO_PROVIDER_SUBTYPE = 7,
  GET_VIRTUAL_DISK_INFO_IS_4K_ALIGNED = 8,
  GET_VIRTUAL_DISK_INFO_PHYSICAL_DISK = 9,
  GET_VIRTUAL_DISK_INFO_VHD_PHYSICAL_SECTOR_SIZE = 10,
  GET_VIRTUAL_DISK_INFO_SMALLEST_SAFE_VIRTUAL_SIZE = 11,
  GET_VIRTUAL_DISK_INFO_FRAGMENTATION = 12,
  GET_VIRTUAL_DISK_INFO_IS_LOADED = 13,
  GET_VIRTUAL_DISK_INFO_VIRTUAL_DISK_ID = 14,
  GET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE = 15
} GET_VIRTUAL_DISK_INFO_VERSION;

typedef enum {
  SET_VIRTUAL_DISK_INFO_UNSPECIFIED = 0,
  SET_VIRTUAL_DISK_INFO_PARENT_PATH = 1,
  SET_VIRTUAL_DISK_INFO_IDENTIFIER = 2,
  SET_VIRTUAL_DISK_INFO_PARENT_PATH_WITH_DEPTH = 3,
  SET_VIRTUAL_DISK_INFO_PHYSICAL_SECTOR_SIZE = 4,
  SET_VIRTUAL_DISK_INFO_VIRTUAL_DISK_ID = 5,
  SET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE = 6,
  SET_VIRTUAL_DISK_INFO_PARENT_LOCATOR = 7
} SET_VIRTUAL_DISK_INFO_VERSION;

#define OPEN_VIRTUAL_DISK_RW_DEPTH_DEFAULT 1U
#define CREATE_VIRTUAL_DISK_PARAMETERS_DEFAULT_BLOCK_SIZE 0U
#define CREATE_VIRTUAL_DISK_PARAMETERS_DEFAULT_SECTOR_SIZE 0U
#define MERGE_VIRTUAL_DISK_DEFAULT_MERGE_DEPTH 1U
#define VIRTUAL_DISK_MAXIMUM_CHANGE_TRACKING_ID_LENGTH 256U

/* ---- structures ---- */

typedef struct {
  OPEN_VIRTUAL_DISK_VERSION Version;
  union {
    struct {
      ULONG RWDepth;
    } Version1;
    struct {
      BOOL GetInfoOnly;
      BOOL ReadOnly;
      GUID ResiliencyGuid;
    } Version2;
    struct {
      BOOL GetInfoOnly;
      BOOL ReadOnly;
      GUID ResiliencyGuid;
      GUID SnapshotId;
    } Version3;
  };
} OPEN_VIRTUAL_DISK_PARAMETERS, *POPEN_VIRTUAL_DISK_PARAMETERS;

typedef struct {
  CREATE_VIRTUAL_DISK_VERSION Version;
  union {
    struct {
      GUID UniqueId;
      ULONGLONG MaximumSize;
      ULONG BlockSizeInBytes;
      ULONG SectorSizeInBytes;
      PCWSTR ParentPath;
      PCWSTR SourcePath;
    } Version1;
    struct {
      GUID UniqueId;
      ULONGLONG MaximumSize;
      ULONG BlockSizeInBytes;
      ULONG SectorSizeInBytes;
      ULONG PhysicalSectorSizeInBytes;
      PCWSTR ParentPath;
      PCWSTR SourcePath;
      OPEN_VIRTUAL_DISK_FLAG OpenFlags;
      VIRTUAL_STORAGE_TYPE ParentVirtualStorageType;
      VIRTUAL_STORAGE_TYPE SourceVirtualStorageType;
      GUID ResiliencyGuid;
    } Version2;
    struct {
      GUID UniqueId;
      ULONGLONG MaximumSize;
      ULONG BlockSizeInBytes;
      ULONG SectorSizeInBytes;
      ULONG PhysicalSectorSizeInBytes;
      PCWSTR ParentPath;
      PCWSTR SourcePath;
      OPEN_VIRTUAL_DISK_FLAG OpenFlags;
      VIRTUAL_STORAGE_TYPE ParentVirtualStorageType;
      VIRTUAL_STORAGE_TYPE SourceVirtualStorageType;
      GUID ResiliencyGuid;
      PCWSTR SourceLimitPath;
      VIRTUAL_STORAGE_TYPE BackingStorageType;
    } Version3;
    struct {
      GUID UniqueId;
      ULONGLONG MaximumSize;
      ULONG BlockSizeInBytes;
      ULONG SectorSizeInBytes;
      ULONG PhysicalSectorSizeInBytes;
      PCWSTR ParentPath;
      PCWSTR SourcePath;
      OPEN_VIRTUAL_DISK_FLAG OpenFlags;
      VIRTUAL_STORAGE_TYPE ParentVirtualStorageType;
      VIRTUAL_STORAGE_TYPE SourceVirtualStorageType;
      GUID ResiliencyGuid;
      PCWSTR SourceLimitPath;
      VIRTUAL_STORAGE_TYPE BackingStorageType;
      GUID PmemAddressAbstractionType;
      ULONGLONG DataAlignment;
    } Version4;
  };
} CREATE_VIRTUAL_DISK_PARAMETERS, *PCREATE_VIRTUAL_DISK_PARAMETERS;

typedef struct {
  ATTACH_VIRTUAL_DISK_VERSION Version;
  union {
    struct {
      ULONG Reserved;
    } Version1;
    struct {
      ULONGLONG RestrictedOffset;
      ULONGLONG RestrictedLength;
    } Version2;
  };
} ATTACH_VIRTUAL_DISK_PARAMETERS, *PATTACH_VIRTUAL_DISK_PARAMETERS;

typedef struct {
  COMPACT_VIRTUAL_DISK_VERSION Version;
  union {
    struct {
      ULONG Reserved;
    } Version1;
  };
} COMPACT_VIRTUAL_DISK_PARAMETERS, *PCOMPACT_VIRTUAL_DISK_PARAMETERS;

typedef struct {
  EXPAND_VIRTUAL_DISK_VERSION Version;
  union {
    struct {
      ULONGLONG NewSize;
    } Version1;
  };
} EXPAND_VIRTUAL_DISK_PARAMETERS, *PEXPAND_VIRTUAL_DISK_PARAMETERS;

typedef struct {
  RESIZE_VIRTUAL_DISK_VERSION Version;
  union {
    struct {
      ULONGLONG NewSize;
    } Version1;
  };
} RESIZE_VIRTUAL_DISK_PARAMETERS, *PRESIZE_VIRTUAL_DISK_PARAMETERS;

typedef struct {
  MERGE_VIRTUAL_DISK_VERSION Version;
  union {
    struct {
      ULONG MergeDepth;
    } Version1;
    struct {
      ULONG MergeSourceDepth;
      ULONG MergeTargetDepth;
    } Version2;
  };
} MERGE_VIRTUAL_DISK_PARAMETERS, *PMERGE_VIRTUAL_DISK_PARAMETERS;

typedef struct {
  MIRROR_VIRTUAL_DISK_VERSION Version;
  union {
    struct {
      PCWSTR MirrorVirtualDiskPath;
    } Version1;
  };
} MIRROR_VIRTUAL_DISK_PARAMETERS, *PMIRROR_VIRTUAL_DISK_PARAMETERS;

typedef struct {
  GET_VIRTUAL_DISK_INFO_VERSION Version;
  union {
    struct {
      ULONGLONG VirtualSize;
      ULONGLONG PhysicalSize;
      ULONG BlockSize;
      ULONG SectorSize;
    } Size;
    GUID Identifier;
    struct {
      BOOL ParentResolved;
      WCHAR ParentLocationBuffer[1];
    } ParentLocation;
    GUID ParentIdentifier;
    ULONG ParentTimestamp;
    VIRTUAL_STORAGE_TYPE VirtualStorageType;
    ULONG ProviderSubtype;
    BOOL Is4kAligned;
    BOOL IsLoaded;
    struct {
      ULONG LogicalSectorSize;
      ULONG PhysicalSectorSize;
      BOOL IsRemote;
    } PhysicalDisk;
    ULONG VhdPhysicalSectorSize;
    ULONGLONG SmallestSafeVirtualSize;
    ULONG FragmentationPercentage;
    GUID VirtualDiskId;
    struct {
      BOOL Enabled;
      BOOL NewerChanges;
      WCHAR MostRecentId[1];
    } ChangeTrackingState;
  };
} GET_VIRTUAL_DISK_INFO, *PGET_VIRTUAL_DISK_INFO;

typedef struct {
  SET_VIRTUAL_DISK_INFO_VERSION Version;
  union {
    PCWSTR ParentFilePath;
    GUID UniqueIdentifier;
    struct {
      ULONG ChildDepth;
      PCWSTR ParentFilePath;
    } ParentPathWithDepthInfo;
    ULONG VhdPhysicalSectorSize;
    GUID VirtualDiskId;
    BOOL ChangeTrackingEnabled;
    struct {
      GUID LinkageId;
      PCWSTR ParentFilePath;
    } ParentLocator;
  };
} SET_VIRTUAL_DISK_INFO, *PSET_VIRTUAL_DISK_INFO;

typedef struct {
  DWORD OperationStatus;
  ULONGLONG CurrentValue;
  ULONGLONG CompletionValue;
} VIRTUAL_DISK_PROGRESS, *PVIRTUAL_DISK_PROGRESS;

typedef struct {
  ULONG64 ByteOffset;
  ULONG64 ByteLength;
  ULONG64 Reserved;
} QUERY_CHANGES_VIRTUAL_DISK_RANGE, *PQUERY_CHANGES_VIRTUAL_DISK_RANGE;

typedef struct {
  DEPENDENT_DISK_FLAG DependencyTypeFlags;
  ULONG ProviderSpecificFlags;
  VIRTUAL_STORAGE_TYPE VirtualStorageType;
} STORAGE_DEPENDENCY_INFO_TYPE_1, *PSTORAGE_DEPENDENCY_INFO_TYPE_1;

typedef struct {
  DEPENDENT_DISK_FLAG DependencyTypeFlags;
  ULONG ProviderSpecificFlags;
  VIRTUAL_STORAGE_TYPE VirtualStorageType;
  ULONG AncestorLevel;
  PWSTR DependencyDeviceName;
  PWSTR HostVolumeName;
  PWSTR DependentVolumeName;
  PWSTR DependentVolumeRelativePath;
} STORAGE_DEPENDENCY_INFO_TYPE_2, *PSTORAGE_DEPENDENCY_INFO_TYPE_2;

typedef struct {
  STORAGE_DEPENDENCY_INFO_VERSION Version;
  ULONG NumberEntries;
  union {
    STORAGE_DEPENDENCY_INFO_TYPE_1 Version1Entries[1];
    STORAGE_DEPENDENCY_INFO_TYPE_2 Version2Entries[1];
  };
} STORAGE_DEPENDENCY_INFO, *PSTORAGE_DEPENDENCY_INFO;

/* ---- functions ---- */

DWORD OpenVirtualDisk(PVIRTUAL_STORAGE_TYPE VirtualStorageType, PCWSTR Path,
                      VIRTUAL_DISK_ACCESS_MASK VirtualDiskAccessMask, OPEN_VIRTUAL_DISK_FLAG Flags,
                      POPEN_VIRTUAL_DISK_PARAMETERS Parameters, PHANDLE Handle);
DWORD OpenVirtualDiskU8(PVIRTUAL_STORAGE_TYPE VirtualStorageType, const char *Path,
                        VIRTUAL_DISK_ACCESS_MASK VirtualDiskAccessMask, OPEN_VIRTUAL_DISK_FLAG Flags,
                        POPEN_VIRTUAL_DISK_PARAMETERS Parameters, PHANDLE Handle);
/* With an OVERLAPPED the handle comes at once, and carries the operation. */
DWORD CreateVirtualDisk(PVIRTUAL_STORAGE_TYPE VirtualStorageType, PCWSTR Path,
                        VIRTUAL_DISK_ACCESS_MASK VirtualDiskAccessMask,
                        PSECURITY_DESCRIPTOR SecurityDescriptor, CREATE_VIRTUAL_DISK_FLAG Flags,
                        ULONG ProviderSpecificFlags, PCREATE_VIRTUAL_DISK_PARAMETERS Parameters,
                        LPOVERLAPPED Overlapped, PHANDLE Handle);
DWORD CreateVirtualDiskU8(PVIRTUAL_STORAGE_TYPE VirtualStorageType, const char *Path,
                          VIRTUAL_DISK_ACCESS_MASK VirtualDiskAccessMask,
                          PSECURITY_DESCRIPTOR SecurityDescriptor, CREATE_VIRTUAL_DISK_FLAG Flags,
                          ULONG ProviderSpecificFlags, PCREATE_VIRTUAL_DISK_PARAMETERS Parameters,
                          LPOVERLAPPED Overlapped, PHANDLE Handle);
DWORD AttachVirtualDisk(HANDLE VirtualDiskHandle, PSECURITY_DESCRIPTOR SecurityDescriptor,
                        ATTACH_VIRTUAL_DISK_FLAG Flags, ULONG ProviderSpecificFlags,
                        PATTACH_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped);
DWORD DetachVirtualDisk(HANDLE VirtualDiskHandle, DETACH_VIRTUAL_DISK_FLAG Flags,
                        ULONG ProviderSpecificFlags);
DWORD GetVirtualDiskPhysicalPath(HANDLE VirtualDiskHandle, PULONG DiskPathSizeInBytes, PWSTR DiskPath);
DWORD GetVirtualDiskPhysicalPathU8(HANDLE VirtualDiskHandle, PULONG DiskPathSizeInBytes, char *DiskPath);
DWORD GetAllAttachedVirtualDiskPhysicalPaths(PULONG PathsBufferSizeInBytes, PWSTR PathsBuffer);
DWORD GetAllAttachedVirtualDiskPhysicalPathsU8(PULONG PathsBufferSizeInBytes, char *PathsBuffer);
/* ObjectHandle: of CreateFile. */
DWORD GetStorageDependencyInformation(HANDLE ObjectHandle, GET_STORAGE_DEPENDENCY_FLAG Flags,
                                      ULONG StorageDependencyInfoSize,
                                      PSTORAGE_DEPENDENCY_INFO StorageDependencyInfo, PULONG SizeUsed);
DWORD GetVirtualDiskInformation(HANDLE VirtualDiskHandle, PULONG VirtualDiskInfoSize,
                                PGET_VIRTUAL_DISK_INFO VirtualDiskInfo, PULONG SizeUsed);
DWORD SetVirtualDiskInformation(HANDLE VirtualDiskHandle, PSET_VIRTUAL_DISK_INFO VirtualDiskInfo);
DWORD CompactVirtualDisk(HANDLE VirtualDiskHandle, COMPACT_VIRTUAL_DISK_FLAG Flags,
                         PCOMPACT_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped);
DWORD ExpandVirtualDisk(HANDLE VirtualDiskHandle, EXPAND_VIRTUAL_DISK_FLAG Flags,
                        PEXPAND_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped);
DWORD ResizeVirtualDisk(HANDLE VirtualDiskHandle, RESIZE_VIRTUAL_DISK_FLAG Flags,
                        PRESIZE_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped);
DWORD MergeVirtualDisk(HANDLE VirtualDiskHandle, MERGE_VIRTUAL_DISK_FLAG Flags,
                       PMERGE_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped);
DWORD AddVirtualDiskParent(HANDLE VirtualDiskHandle, PCWSTR ParentPath);
DWORD AddVirtualDiskParentU8(HANDLE VirtualDiskHandle, const char *ParentPath);
DWORD EnumerateVirtualDiskMetadata(HANDLE VirtualDiskHandle, PULONG NumberOfItems, GUID *Items);
DWORD GetVirtualDiskMetadata(HANDLE VirtualDiskHandle, const GUID *Item, PULONG MetaDataSize, PVOID MetaData);
DWORD SetVirtualDiskMetadata(HANDLE VirtualDiskHandle, const GUID *Item, ULONG MetaDataSize,
                             const VOID *MetaData);
DWORD DeleteVirtualDiskMetadata(HANDLE VirtualDiskHandle, const GUID *Item);
DWORD GetVirtualDiskOperationProgress(HANDLE VirtualDiskHandle, LPOVERLAPPED Overlapped,
                                      PVIRTUAL_DISK_PROGRESS Progress);

/* Overlapped must not be NULL: the mirror is complete when CurrentValue is CompletionValue, and its status
 * ERROR_IO_PENDING still; CancelIo() ends it then, or BreakMirrorVirtualDisk(). */
DWORD MirrorVirtualDisk(HANDLE VirtualDiskHandle, MIRROR_VIRTUAL_DISK_FLAG Flags,
                        PMIRROR_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped);
/* MirrorVirtualDiskPath is Path; that of Parameters is not looked at. */
DWORD MirrorVirtualDiskU8(HANDLE VirtualDiskHandle, MIRROR_VIRTUAL_DISK_FLAG Flags,
                          PMIRROR_VIRTUAL_DISK_PARAMETERS Parameters, const char *Path,
                          LPOVERLAPPED Overlapped);
DWORD BreakMirrorVirtualDisk(HANDLE VirtualDiskHandle);

/* ERROR_NOT_SUPPORTED. */
DWORD QueryChangesVirtualDisk(HANDLE VirtualDiskHandle, PCWSTR ChangeTrackingId, ULONG64 ByteOffset,
                              ULONG64 ByteLength, QUERY_CHANGES_VIRTUAL_DISK_FLAG Flags,
                              PQUERY_CHANGES_VIRTUAL_DISK_RANGE Ranges, PULONG RangeCount,
                              PULONG64 ProcessedLength);
DWORD RawSCSIVirtualDisk(HANDLE VirtualDiskHandle, const void *Parameters, ULONG Flags, void *Response);
DWORD ForkVirtualDisk(HANDLE VirtualDiskHandle, ULONG Flags, const void *Parameters, LPOVERLAPPED Overlapped);
DWORD CompleteForkVirtualDisk(HANDLE VirtualDiskHandle);
DWORD TakeSnapshotVhdSet(HANDLE VirtualDiskHandle, const void *Parameters, ULONG Flags);
DWORD DeleteSnapshotVhdSet(HANDLE VirtualDiskHandle, const void *Parameters, ULONG Flags);
DWORD ApplySnapshotVhdSet(HANDLE VirtualDiskHandle, const void *Parameters, ULONG Flags);
DWORD ModifyVhdSet(HANDLE VirtualDiskHandle, const void *Parameters, ULONG Flags);

/* ---- handles, events ---- */

/* Of a virtual disk: what it has under way is cancelled. */
BOOL CloseHandle(HANDLE Object);
BOOL CancelIo(HANDLE File);
/* Overlapped: NULL for all. FALSE: there was nothing. */
BOOL CancelIoEx(HANDLE File, LPOVERLAPPED Overlapped);
BOOL GetOverlappedResult(HANDLE File, LPOVERLAPPED Overlapped, DWORD *BytesTransferred, BOOL Wait);
/* Security and name have to be NULL. */
HANDLE CreateEventW(void *Security, BOOL ManualReset, BOOL InitialState, PCWSTR Name);
#define CreateEvent CreateEventW
BOOL SetEvent(HANDLE Event);
BOOL ResetEvent(HANDLE Event);
/* Of an event. Milliseconds: INFINITE for ever. */
DWORD WaitForSingleObject(HANDLE Event, DWORD Milliseconds);
/* Only to ask about: the rights and flags do not matter. INVALID_HANDLE_VALUE: there is nothing at this path.
 */
HANDLE CreateFileW(PCWSTR FileName, DWORD DesiredAccess, DWORD ShareMode, void *Security, DWORD Disposition,
                   DWORD FlagsAndAttributes, HANDLE Template);
HANDLE CreateFileU8(const char *FileName, DWORD DesiredAccess, DWORD ShareMode, void *Security,
                    DWORD Disposition, DWORD FlagsAndAttributes, HANDLE Template);
#define CreateFile CreateFileW
/* Of this thread's last function that returned BOOL or HANDLE. */
DWORD GetLastError(void);

/* ---- layout ---- */

#ifdef __cplusplus
#define VIRTDISK_WIN32_LAYOUT(condition) static_assert(condition, #condition)
#else
#define VIRTDISK_WIN32_LAYOUT(condition) _Static_assert(condition, #condition)
#endif
VIRTDISK_WIN32_LAYOUT(sizeof(GUID) == 16);
VIRTDISK_WIN32_LAYOUT(sizeof(WCHAR) == 2);
VIRTDISK_WIN32_LAYOUT(sizeof(VIRTUAL_STORAGE_TYPE) == 20);
VIRTDISK_WIN32_LAYOUT(sizeof(OPEN_VIRTUAL_DISK_PARAMETERS) == 44);
#if UINTPTR_MAX == UINT64_MAX
VIRTDISK_WIN32_LAYOUT(sizeof(OVERLAPPED) == 32);
VIRTDISK_WIN32_LAYOUT(offsetof(OPEN_VIRTUAL_DISK_PARAMETERS, Version1) == 4);
VIRTDISK_WIN32_LAYOUT(sizeof(CREATE_VIRTUAL_DISK_PARAMETERS) == 184);
VIRTDISK_WIN32_LAYOUT(offsetof(CREATE_VIRTUAL_DISK_PARAMETERS, Version1) == 8);
VIRTDISK_WIN32_LAYOUT(offsetof(CREATE_VIRTUAL_DISK_PARAMETERS, Version1.ParentPath) == 40);
VIRTDISK_WIN32_LAYOUT(offsetof(CREATE_VIRTUAL_DISK_PARAMETERS, Version1.SourcePath) == 48);
VIRTDISK_WIN32_LAYOUT(offsetof(CREATE_VIRTUAL_DISK_PARAMETERS, Version2.ParentPath) == 48);
VIRTDISK_WIN32_LAYOUT(offsetof(CREATE_VIRTUAL_DISK_PARAMETERS, Version2.SourcePath) == 56);
VIRTDISK_WIN32_LAYOUT(offsetof(CREATE_VIRTUAL_DISK_PARAMETERS, Version2.OpenFlags) == 64);
VIRTDISK_WIN32_LAYOUT(offsetof(CREATE_VIRTUAL_DISK_PARAMETERS, Version2.ParentVirtualStorageType) == 68);
VIRTDISK_WIN32_LAYOUT(offsetof(CREATE_VIRTUAL_DISK_PARAMETERS, Version2.SourceVirtualStorageType) == 88);
VIRTDISK_WIN32_LAYOUT(offsetof(CREATE_VIRTUAL_DISK_PARAMETERS, Version2.ResiliencyGuid) == 108);
VIRTDISK_WIN32_LAYOUT(offsetof(CREATE_VIRTUAL_DISK_PARAMETERS, Version3.SourceLimitPath) == 128);
VIRTDISK_WIN32_LAYOUT(offsetof(CREATE_VIRTUAL_DISK_PARAMETERS, Version3.BackingStorageType) == 136);
VIRTDISK_WIN32_LAYOUT(offsetof(CREATE_VIRTUAL_DISK_PARAMETERS, Version4.PmemAddressAbstractionType) == 156);
VIRTDISK_WIN32_LAYOUT(offsetof(CREATE_VIRTUAL_DISK_PARAMETERS, Version4.DataAlignment) == 176);
VIRTDISK_WIN32_LAYOUT(sizeof(ATTACH_VIRTUAL_DISK_PARAMETERS) == 24);
VIRTDISK_WIN32_LAYOUT(offsetof(ATTACH_VIRTUAL_DISK_PARAMETERS, Version2) == 8);
VIRTDISK_WIN32_LAYOUT(sizeof(MERGE_VIRTUAL_DISK_PARAMETERS) == 12);
VIRTDISK_WIN32_LAYOUT(sizeof(GET_VIRTUAL_DISK_INFO) == 32);
VIRTDISK_WIN32_LAYOUT(offsetof(GET_VIRTUAL_DISK_INFO, ParentLocation.ParentLocationBuffer) == 12);
VIRTDISK_WIN32_LAYOUT(offsetof(GET_VIRTUAL_DISK_INFO, ChangeTrackingState.MostRecentId) == 16);
VIRTDISK_WIN32_LAYOUT(sizeof(SET_VIRTUAL_DISK_INFO) == 32);
VIRTDISK_WIN32_LAYOUT(offsetof(SET_VIRTUAL_DISK_INFO, ParentFilePath) == 8);
VIRTDISK_WIN32_LAYOUT(sizeof(VIRTUAL_DISK_PROGRESS) == 24);
VIRTDISK_WIN32_LAYOUT(sizeof(QUERY_CHANGES_VIRTUAL_DISK_RANGE) == 24);
VIRTDISK_WIN32_LAYOUT(sizeof(STORAGE_DEPENDENCY_INFO_TYPE_1) == 28);
VIRTDISK_WIN32_LAYOUT(sizeof(STORAGE_DEPENDENCY_INFO_TYPE_2) == 64);
VIRTDISK_WIN32_LAYOUT(offsetof(STORAGE_DEPENDENCY_INFO, Version1Entries) == 8);
#endif

#ifdef __cplusplus
}
#endif
#endif
