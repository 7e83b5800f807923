/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "exit.h"

#include "virtdisk-error.h"

static const VdExitRow rows[] = {
    {VD_EXIT_OK, "Success"},
    {VD_EXIT_FAILURE, "Failure of any other kind"},
    {VD_EXIT_USAGE, "Usage"},
    {VD_EXIT_NOT_AUTHORISED, "Not authorised"},
    {VD_EXIT_NOT_FOUND, "Not found"},
    {VD_EXIT_BUSY, "Busy"},
    {VD_EXIT_NOT_AVAILABLE, "Not available"},
    {VD_EXIT_UNUSABLE_IMAGE, "Unusable image"},
    {VD_EXIT_SIGINT, "Interrupted by SIGINT"},
    {VD_EXIT_SIGTERM, "Interrupted by SIGTERM"},
};

G_DEFINE_QUARK(vd - exit - error - quark, vd_exit_error)

const VdExitRow *vd_exit_get_table(gsize *ret_n)
{
  *ret_n = G_N_ELEMENTS(rows);
  return rows;
}

static VdExit exit_of_service_error(VirtdiskError code)
{
  switch (code) {
  case VIRTDISK_ERROR_ACCESS_DENIED:
  case VIRTDISK_ERROR_PRIVILEGE_NOT_HELD:
  case VIRTDISK_ERROR_AUTHORIZATION_REQUIRED:
  case VIRTDISK_ERROR_AUTHORIZATION_DISMISSED:
    return VD_EXIT_NOT_AUTHORISED;
  case VIRTDISK_ERROR_FILE_NOT_FOUND:
  case VIRTDISK_ERROR_PATH_NOT_FOUND:
  case VIRTDISK_ERROR_NOT_FOUND:
  case VIRTDISK_ERROR_DEVICE_NOT_EXIST:
  case VIRTDISK_ERROR_NOT_VIRTUAL_DISK:
    return VD_EXIT_NOT_FOUND;
  case VIRTDISK_ERROR_BUSY:
  case VIRTDISK_ERROR_SHARING_VIOLATION:
    return VD_EXIT_BUSY;
  case VIRTDISK_ERROR_UNSUPPORTED_COMPRESSION:
  case VIRTDISK_ERROR_FILE_ENCRYPTED:
  case VIRTDISK_ERROR_FILE_CORRUPT:
  case VIRTDISK_ERROR_NOT_A_REGULAR_FILE:
  case VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING:
  case VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CHECKSUM_MISMATCH:
  case VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT:
  case VIRTDISK_ERROR_VHD_FORMAT_UNKNOWN:
  case VIRTDISK_ERROR_VHD_FORMAT_UNSUPPORTED_VERSION:
  case VIRTDISK_ERROR_VHD_INVALID_SIZE:
  case VIRTDISK_ERROR_VHD_INVALID_FILE_SIZE:
  case VIRTDISK_ERROR_VHD_INVALID_TYPE:
  case VIRTDISK_ERROR_VHD_INVALID_STATE:
  case VIRTDISK_ERROR_PROVIDER_NOT_FOUND:
  case VIRTDISK_ERROR_VIRTUAL_DISK_LIMITATION:
  case VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE:
  case VIRTDISK_ERROR_WORKER_LOST:
    return VD_EXIT_UNUSABLE_IMAGE;
  default:
    return VD_EXIT_FAILURE;
  }
}

VdExit vd_exit_from_error(const GError *error)
{
  if (error->domain == VD_EXIT_ERROR)
    return (VdExit)error->code;
  if (error->domain == VIRTDISK_ERROR)
    return exit_of_service_error((VirtdiskError)error->code);
  if (error->domain == G_OPTION_ERROR)
    return VD_EXIT_USAGE;
  return VD_EXIT_FAILURE;
}
