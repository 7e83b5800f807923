/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors of virtdisk: one domain; the code says what the caller can do, the message what happened. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/**
 * VIRTDISK_ERROR:
 * error domain of every failure of the service; codes are #VirtdiskError.
 */
#define VIRTDISK_ERROR (virtdisk_error_quark())

/**
 * VirtdiskError:
 * Each has a D-Bus name, a Win32 code and an errno value; see virtdisk_error_to_win32().
 */
typedef enum {
  /* The call itself */
  VIRTDISK_ERROR_INVALID_PARAMETER,
  VIRTDISK_ERROR_NOT_SUPPORTED,
  VIRTDISK_ERROR_INVALID_HANDLE,
  VIRTDISK_ERROR_NAME_TOO_LONG,
  VIRTDISK_ERROR_INSUFFICIENT_BUFFER,
  /* Who may */
  VIRTDISK_ERROR_ACCESS_DENIED,
  VIRTDISK_ERROR_PRIVILEGE_NOT_HELD,
  VIRTDISK_ERROR_AUTHORIZATION_REQUIRED,
  VIRTDISK_ERROR_AUTHORIZATION_DISMISSED,
  VIRTDISK_ERROR_LIMIT_EXCEEDED,
  /* The file */
  VIRTDISK_ERROR_FILE_NOT_FOUND,
  VIRTDISK_ERROR_PATH_NOT_FOUND,
  VIRTDISK_ERROR_FILE_EXISTS,
  VIRTDISK_ERROR_SHARING_VIOLATION,
  VIRTDISK_ERROR_WRITE_PROTECT,
  VIRTDISK_ERROR_UNSUPPORTED_COMPRESSION,
  VIRTDISK_ERROR_FILE_ENCRYPTED,
  VIRTDISK_ERROR_FILE_SYSTEM_LIMITATION,
  VIRTDISK_ERROR_FILE_CORRUPT,
  VIRTDISK_ERROR_NOT_A_REGULAR_FILE,
  VIRTDISK_ERROR_FILE_CHANGED,
  VIRTDISK_ERROR_DISK_FULL,
  /* State */
  VIRTDISK_ERROR_BAD_COMMAND,
  VIRTDISK_ERROR_NOT_FOUND,
  VIRTDISK_ERROR_DEVICE_NOT_EXIST,
  VIRTDISK_ERROR_BUSY,
  /* The format */
  VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING,
  VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CHECKSUM_MISMATCH,
  VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT,
  VIRTDISK_ERROR_VHD_FORMAT_UNKNOWN,
  VIRTDISK_ERROR_VHD_FORMAT_UNSUPPORTED_VERSION,
  VIRTDISK_ERROR_VHD_INVALID_SIZE,
  VIRTDISK_ERROR_VHD_INVALID_FILE_SIZE,
  VIRTDISK_ERROR_VHD_INVALID_TYPE,
  VIRTDISK_ERROR_VHD_INVALID_STATE,
  VIRTDISK_ERROR_VHD_COULD_NOT_COMPUTE_MINIMUM_VIRTUAL_SIZE,
  VIRTDISK_ERROR_PROVIDER_NOT_FOUND,
  VIRTDISK_ERROR_NOT_VIRTUAL_DISK,
  VIRTDISK_ERROR_VIRTUAL_DISK_LIMITATION,
  VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE,
  /* The service */
  VIRTDISK_ERROR_OPERATION_ABORTED,
  VIRTDISK_ERROR_TIMED_OUT,
  VIRTDISK_ERROR_IO,
  VIRTDISK_ERROR_WORKER_LOST,
  VIRTDISK_ERROR_NO_RESOURCES,
  VIRTDISK_ERROR_INTERNAL,
  VIRTDISK_N_ERRORS /*< skip >*/
} VirtdiskError;

GQuark virtdisk_error_quark(void);

/**
 * virtdisk_error_to_win32:
 * @code: an error of the domain %VIRTDISK_ERROR
 * Returns: the Win32 code that Windows' function returns in this case (for example 32,
 * ERROR_SHARING_VIOLATION). Any thread.
 */
guint32 virtdisk_error_to_win32(VirtdiskError code);

/**
 * virtdisk_error_to_errno:
 * @code: an error of the domain %VIRTDISK_ERROR
 * Returns: the positive errno value closest in meaning. Any thread.
 */
int virtdisk_error_to_errno(VirtdiskError code);

/**
 * virtdisk_error_to_dbus_name:
 * @code: an error of the domain %VIRTDISK_ERROR
 * Returns: (transfer none): the D-Bus error name, such as `org.virtdisk1.Error.SharingViolation`. Any thread.
 */
const char *virtdisk_error_to_dbus_name(VirtdiskError code);

/**
 * virtdisk_error_win32_name:
 * @code: an error of the domain %VIRTDISK_ERROR
 * Returns: (transfer none): the name in winerror.h, such as `ERROR_SHARING_VIOLATION`. Any thread.
 */
const char *virtdisk_error_win32_name(VirtdiskError code);

G_END_DECLS
