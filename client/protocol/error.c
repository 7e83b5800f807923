/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one table of errors: enum, D-Bus name, Win32 code, errno. Shared by the service and the library. */
#include "virtdisk-error.h"

#include <errno.h>
#include <gio/gio.h>

#include "names.h"

typedef struct {
  VirtdiskError code;
  const char *dbus_name;
  guint32 win32;
  const char *win32_name;
  int error_number;
} ErrorRow;

#define ROW(code, name, win32, win32_name, number)                                                           \
  [VIRTDISK_ERROR_##code] = {VIRTDISK_ERROR_##code, VD_ERROR_PREFIX name, win32, win32_name, number}

static const ErrorRow rows[] = {
    ROW(INVALID_PARAMETER, "InvalidParameter", 87, "ERROR_INVALID_PARAMETER", EINVAL),
    ROW(NOT_SUPPORTED, "NotSupported", 50, "ERROR_NOT_SUPPORTED", EOPNOTSUPP),
    ROW(INVALID_HANDLE, "InvalidHandle", 6, "ERROR_INVALID_HANDLE", EBADF),
    ROW(NAME_TOO_LONG, "NameTooLong", 206, "ERROR_FILENAME_EXCED_RANGE", ENAMETOOLONG),
    ROW(INSUFFICIENT_BUFFER, "InsufficientBuffer", 122, "ERROR_INSUFFICIENT_BUFFER", ERANGE),
    ROW(ACCESS_DENIED, "AccessDenied", 5, "ERROR_ACCESS_DENIED", EACCES),
    ROW(PRIVILEGE_NOT_HELD, "PrivilegeNotHeld", 1314, "ERROR_PRIVILEGE_NOT_HELD", EPERM),
    ROW(AUTHORIZATION_REQUIRED, "AuthorizationRequired", 1314, "ERROR_PRIVILEGE_NOT_HELD", EPERM),
    ROW(AUTHORIZATION_DISMISSED, "AuthorizationDismissed", 1314, "ERROR_PRIVILEGE_NOT_HELD", EPERM),
    ROW(LIMIT_EXCEEDED, "LimitExceeded", 1816, "ERROR_NOT_ENOUGH_QUOTA", EDQUOT),
    ROW(FILE_NOT_FOUND, "FileNotFound", 2, "ERROR_FILE_NOT_FOUND", ENOENT),
    ROW(PATH_NOT_FOUND, "PathNotFound", 3, "ERROR_PATH_NOT_FOUND", ENOENT),
    ROW(FILE_EXISTS, "FileExists", 80, "ERROR_FILE_EXISTS", EEXIST),
    ROW(SHARING_VIOLATION, "SharingViolation", 32, "ERROR_SHARING_VIOLATION", EBUSY),
    ROW(WRITE_PROTECT, "WriteProtect", 19, "ERROR_WRITE_PROTECT", EROFS),
    ROW(UNSUPPORTED_COMPRESSION, "UnsupportedCompression", 618, "ERROR_UNSUPPORTED_COMPRESSION", EOPNOTSUPP),
    ROW(FILE_ENCRYPTED, "FileEncrypted", 6002, "ERROR_FILE_ENCRYPTED", EOPNOTSUPP),
    ROW(FILE_SYSTEM_LIMITATION, "FileSystemLimitation", 665, "ERROR_FILE_SYSTEM_LIMITATION", EOPNOTSUPP),
    ROW(FILE_CORRUPT, "FileCorrupt", 1392, "ERROR_FILE_CORRUPT", EUCLEAN),
    ROW(NOT_A_REGULAR_FILE, "NotARegularFile", 87, "ERROR_INVALID_PARAMETER", EINVAL),
    ROW(FILE_CHANGED, "FileChanged", 1006, "ERROR_FILE_INVALID", ESTALE),
    ROW(DISK_FULL, "DiskFull", 112, "ERROR_DISK_FULL", ENOSPC),
    ROW(BAD_COMMAND, "BadCommand", 22, "ERROR_BAD_COMMAND", EBUSY),
    ROW(NOT_FOUND, "NotFound", 1168, "ERROR_NOT_FOUND", ENOENT),
    ROW(DEVICE_NOT_EXIST, "DeviceNotExist", 55, "ERROR_DEV_NOT_EXIST", ENODEV),
    ROW(BUSY, "Busy", 170, "ERROR_BUSY", EBUSY),
    ROW(VHD_DRIVE_FOOTER_MISSING, "VhdDriveFooterMissing", 0xC03A0001, "ERROR_VHD_DRIVE_FOOTER_MISSING",
        EUCLEAN),
    ROW(VHD_DRIVE_FOOTER_CHECKSUM_MISMATCH, "VhdDriveFooterChecksumMismatch", 0xC03A0002,
        "ERROR_VHD_DRIVE_FOOTER_CHECKSUM_MISMATCH", EUCLEAN),
    ROW(VHD_DRIVE_FOOTER_CORRUPT, "VhdDriveFooterCorrupt", 0xC03A0003, "ERROR_VHD_DRIVE_FOOTER_CORRUPT",
        EUCLEAN),
    ROW(VHD_FORMAT_UNKNOWN, "VhdFormatUnknown", 0xC03A0004, "ERROR_VHD_FORMAT_UNKNOWN", EUCLEAN),
    ROW(VHD_FORMAT_UNSUPPORTED_VERSION, "VhdFormatUnsupportedVersion", 0xC03A0005,
        "ERROR_VHD_FORMAT_UNSUPPORTED_VERSION", EUCLEAN),
    ROW(VHD_SPARSE_HEADER_CHECKSUM_MISMATCH, "VhdSparseHeaderChecksumMismatch", 0xC03A0006,
        "ERROR_VHD_SPARSE_HEADER_CHECKSUM_MISMATCH", EUCLEAN),
    ROW(VHD_SPARSE_HEADER_UNSUPPORTED_VERSION, "VhdSparseHeaderUnsupportedVersion", 0xC03A0007,
        "ERROR_VHD_SPARSE_HEADER_UNSUPPORTED_VERSION", EUCLEAN),
    ROW(VHD_SPARSE_HEADER_CORRUPT, "VhdSparseHeaderCorrupt", 0xC03A0008, "ERROR_VHD_SPARSE_HEADER_CORRUPT",
        EUCLEAN),
    ROW(VHD_BLOCK_ALLOCATION_FAILURE, "VhdBlockAllocationFailure", 0xC03A0009,
        "ERROR_VHD_BLOCK_ALLOCATION_FAILURE", ENOSPC),
    ROW(VHD_BLOCK_ALLOCATION_TABLE_CORRUPT, "VhdBlockAllocationTableCorrupt", 0xC03A000A,
        "ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT", EUCLEAN),
    ROW(VHD_INVALID_BLOCK_SIZE, "VhdInvalidBlockSize", 0xC03A000B, "ERROR_VHD_INVALID_BLOCK_SIZE", EUCLEAN),
    ROW(VHD_BITMAP_MISMATCH, "VhdBitmapMismatch", 0xC03A000C, "ERROR_VHD_BITMAP_MISMATCH", EUCLEAN),
    ROW(VHD_PARENT_VHD_NOT_FOUND, "VhdParentVhdNotFound", 0xC03A000D, "ERROR_VHD_PARENT_VHD_NOT_FOUND",
        ENOENT),
    ROW(VHD_CHILD_PARENT_ID_MISMATCH, "VhdChildParentIdMismatch", 0xC03A000E,
        "ERROR_VHD_CHILD_PARENT_ID_MISMATCH", ESTALE),
    ROW(VHD_CHILD_PARENT_TIMESTAMP_MISMATCH, "VhdChildParentTimestampMismatch", 0xC03A000F,
        "ERROR_VHD_CHILD_PARENT_TIMESTAMP_MISMATCH", ESTALE),
    ROW(VHD_METADATA_READ_FAILURE, "VhdMetadataReadFailure", 0xC03A0010, "ERROR_VHD_METADATA_READ_FAILURE",
        EUCLEAN),
    ROW(VHD_METADATA_WRITE_FAILURE, "VhdMetadataWriteFailure", 0xC03A0011, "ERROR_VHD_METADATA_WRITE_FAILURE",
        EIO),
    ROW(VHD_INVALID_SIZE, "VhdInvalidSize", 0xC03A0012, "ERROR_VHD_INVALID_SIZE", EUCLEAN),
    ROW(VHD_INVALID_FILE_SIZE, "VhdInvalidFileSize", 0xC03A0013, "ERROR_VHD_INVALID_FILE_SIZE", EUCLEAN),
    ROW(VHD_PARENT_VHD_ACCESS_DENIED, "VhdParentVhdAccessDenied", 0xC03A0016,
        "ERROR_VHD_PARENT_VHD_ACCESS_DENIED", EACCES),
    ROW(VHD_CHILD_PARENT_SIZE_MISMATCH, "VhdChildParentSizeMismatch", 0xC03A0017,
        "ERROR_VHD_CHILD_PARENT_SIZE_MISMATCH", ESTALE),
    ROW(VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED, "VhdDifferencingChainCycleDetected", 0xC03A0018,
        "ERROR_VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED", ELOOP),
    ROW(VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT, "VhdDifferencingChainErrorInParent", 0xC03A0019,
        "ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT", EUCLEAN),
    ROW(VHD_INVALID_TYPE, "VhdInvalidType", 0xC03A001B, "ERROR_VHD_INVALID_TYPE", ENOTSUP),
    ROW(VHD_INVALID_STATE, "VhdInvalidState", 0xC03A001C, "ERROR_VHD_INVALID_STATE", EBUSY),
    ROW(VHD_COULD_NOT_COMPUTE_MINIMUM_VIRTUAL_SIZE, "VhdCouldNotComputeMinimumVirtualSize", 0xC03A0026,
        "ERROR_VHD_COULD_NOT_COMPUTE_MINIMUM_VIRTUAL_SIZE", ENODATA),
    ROW(VHD_RESIZE_WOULD_TRUNCATE_DATA, "VhdResizeWouldTruncateData", 0xC03A0025,
        "ERROR_VHD_RESIZE_WOULD_TRUNCATE_DATA", EINVAL),
    ROW(VHD_ALREADY_AT_OR_BELOW_MINIMUM_VIRTUAL_SIZE, "VhdAlreadyAtOrBelowMinimumVirtualSize", 0xC03A0027,
        "ERROR_VHD_ALREADY_AT_OR_BELOW_MINIMUM_VIRTUAL_SIZE", EINVAL),
    ROW(VHD_METADATA_FULL, "VhdMetadataFull", 0xC03A0028, "ERROR_VHD_METADATA_FULL", ENOSPC),
    ROW(DISK_ALREADY_OWNED, "DiskAlreadyOwned", 0xC03A001E, "ERROR_VIRTDISK_DISK_ALREADY_OWNED", EBUSY),
    ROW(DISK_ONLINE_AND_WRITABLE, "DiskOnlineAndWritable", 0xC03A001F,
        "ERROR_VIRTDISK_DISK_ONLINE_AND_WRITABLE", EBUSY),
    ROW(PROVIDER_NOT_FOUND, "ProviderNotFound", 0xC03A0014, "ERROR_VIRTDISK_PROVIDER_NOT_FOUND", EOPNOTSUPP),
    ROW(NOT_VIRTUAL_DISK, "NotVirtualDisk", 0xC03A0015, "ERROR_VIRTDISK_NOT_VIRTUAL_DISK", ENODEV),
    ROW(VIRTUAL_DISK_LIMITATION, "VirtualDiskLimitation", 0xC03A001A, "ERROR_VIRTUAL_DISK_LIMITATION",
        EOPNOTSUPP),
    ROW(UNSUPPORTED_DISK_SECTOR_SIZE, "UnsupportedDiskSectorSize", 0xC03A001D,
        "ERROR_VIRTDISK_UNSUPPORTED_DISK_SECTOR_SIZE", EOPNOTSUPP),
    ROW(OPERATION_ABORTED, "OperationAborted", 995, "ERROR_OPERATION_ABORTED", ECANCELED),
    ROW(TIMED_OUT, "TimedOut", 1460, "ERROR_TIMEOUT", ETIMEDOUT),
    ROW(IO, "IO", 1117, "ERROR_IO_DEVICE", EIO),
    ROW(WORKER_LOST, "WorkerLost", 1359, "ERROR_INTERNAL_ERROR", EIO),
    ROW(NO_RESOURCES, "NoResources", 1450, "ERROR_NO_SYSTEM_RESOURCES", EAGAIN),
    ROW(INTERNAL, "Internal", 1359, "ERROR_INTERNAL_ERROR", EIO),
};
G_STATIC_ASSERT(G_N_ELEMENTS(rows) == VIRTDISK_N_ERRORS);

static const ErrorRow *row_of(VirtdiskError code)
{
  return (unsigned)code < G_N_ELEMENTS(rows) ? &rows[code] : &rows[VIRTDISK_ERROR_INTERNAL];
}

GQuark virtdisk_error_quark(void)
{
  static gsize quark = 0;

  if (g_once_init_enter(&quark)) {
    GQuark domain = g_quark_from_static_string("virtdisk-error-quark");

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
      g_dbus_error_register_error(domain, (gint)rows[i].code, rows[i].dbus_name);
    g_once_init_leave(&quark, domain);
  }
  return (GQuark)quark;
}

guint32 virtdisk_error_to_win32(VirtdiskError code)
{
  return row_of(code)->win32;
}

int virtdisk_error_to_errno(VirtdiskError code)
{
  return row_of(code)->error_number;
}

const char *virtdisk_error_to_dbus_name(VirtdiskError code)
{
  return row_of(code)->dbus_name;
}

const char *virtdisk_error_win32_name(VirtdiskError code)
{
  return row_of(code)->win32_name;
}
