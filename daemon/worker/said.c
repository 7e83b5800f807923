/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/said.h"

#include <string.h>

#include "virtdisk-error.h"

GError *vd_worker_lost(const char *what)
{
  return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_WORKER_LOST, "virtdisk-worker %s", what);
}

static gboolean is_workers_error(gint32 code)
{
  static const VirtdiskError codes[] = {
      VIRTDISK_ERROR_INVALID_PARAMETER,
      VIRTDISK_ERROR_NOT_SUPPORTED,
      VIRTDISK_ERROR_FILE_CORRUPT,
      VIRTDISK_ERROR_FILE_CHANGED,
      VIRTDISK_ERROR_FILE_SYSTEM_LIMITATION,
      VIRTDISK_ERROR_NOT_A_REGULAR_FILE,
      VIRTDISK_ERROR_DISK_FULL,
      VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING,
      VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CHECKSUM_MISMATCH,
      VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT,
      VIRTDISK_ERROR_VHD_FORMAT_UNKNOWN,
      VIRTDISK_ERROR_VHD_FORMAT_UNSUPPORTED_VERSION,
      VIRTDISK_ERROR_VHD_SPARSE_HEADER_CHECKSUM_MISMATCH,
      VIRTDISK_ERROR_VHD_SPARSE_HEADER_UNSUPPORTED_VERSION,
      VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT,
      VIRTDISK_ERROR_VHD_BLOCK_ALLOCATION_FAILURE,
      VIRTDISK_ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT,
      VIRTDISK_ERROR_VHD_INVALID_BLOCK_SIZE,
      VIRTDISK_ERROR_VHD_BITMAP_MISMATCH,
      VIRTDISK_ERROR_VHD_CHILD_PARENT_ID_MISMATCH,
      VIRTDISK_ERROR_VHD_CHILD_PARENT_TIMESTAMP_MISMATCH,
      VIRTDISK_ERROR_VHD_CHILD_PARENT_SIZE_MISMATCH,
      VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT,
      VIRTDISK_ERROR_VHD_METADATA_READ_FAILURE,
      VIRTDISK_ERROR_VHD_METADATA_WRITE_FAILURE,
      VIRTDISK_ERROR_VHD_INVALID_SIZE,
      VIRTDISK_ERROR_VHD_INVALID_FILE_SIZE,
      VIRTDISK_ERROR_VHD_INVALID_TYPE,
      VIRTDISK_ERROR_VIRTUAL_DISK_LIMITATION,
      VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE,
      VIRTDISK_ERROR_PROVIDER_NOT_FOUND,
      VIRTDISK_ERROR_IO,
      VIRTDISK_ERROR_NO_RESOURCES,
      VIRTDISK_ERROR_INTERNAL,
      VIRTDISK_ERROR_NOT_FOUND,
      VIRTDISK_ERROR_OPERATION_ABORTED,
      VIRTDISK_ERROR_VHD_METADATA_FULL,
      VIRTDISK_ERROR_VHD_INVALID_CHANGE_TRACKING_ID,
      VIRTDISK_ERROR_VHD_MISSING_CHANGE_TRACKING_INFORMATION,
      VIRTDISK_ERROR_CTLOG_LOGFILE_SIZE_EXCEEDED_MAXSIZE,
      VIRTDISK_ERROR_CTLOG_VHD_CHANGED_OFFLINE,
      VIRTDISK_ERROR_CTLOG_INVALID_TRACKING_STATE,
      VIRTDISK_ERROR_CTLOG_INCONSISTENT_TRACKING_FILE,
      VIRTDISK_ERROR_VHD_RESIZE_WOULD_TRUNCATE_DATA,
      VIRTDISK_ERROR_VHD_ALREADY_AT_OR_BELOW_MINIMUM_VIRTUAL_SIZE,
      VIRTDISK_ERROR_VHD_COULD_NOT_COMPUTE_MINIMUM_VIRTUAL_SIZE,
  };

  for (gsize i = 0; i < G_N_ELEMENTS(codes); i++)
    if (code == (gint32)codes[i])
      return TRUE;
  return FALSE;
}

gboolean vd_worker_said_text(const char *text, gsize size)
{
  gsize length = strnlen(text, size);

  for (gsize i = 0; i < length; i++)
    if (!g_ascii_isprint(text[i]))
      return FALSE;
  return length < size;
}

GError *vd_worker_said_error(const VdFormatError *said)
{
  gsize length = strnlen(said->text, sizeof said->text);

  if (!is_workers_error(said->code) || length == 0 || length == sizeof said->text)
    return vd_worker_lost("answered with an error that it cannot have");
  if (!vd_worker_said_text(said->text, sizeof said->text))
    return vd_worker_lost("answered with an error whose text is not plain");
  return g_error_new_literal(VIRTDISK_ERROR, said->code, said->text);
}

gboolean vd_worker_said_fault(const VdFault *said)
{
  return said->kind <= VD_FAULT_SERIOUS && said->repairable <= 1 && is_workers_error(said->error.code) &&
         said->error.text[0] != '\0' && vd_worker_said_text(said->error.text, sizeof said->error.text) &&
         vd_worker_said_text(said->error.field, sizeof said->error.field);
}
