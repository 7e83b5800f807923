/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which format makes it. */
#include "formats/create.h"

#include "virtdisk-enums.h"

bool vd_create(int fd, const VdCreateSpec *spec, VdFormatError *ret_error)
{
  switch (spec->device_id) {
  case VIRTDISK_DEVICE_VHD:
    return vd_vhd_create(fd, spec, ret_error);
  case VIRTDISK_DEVICE_VHDX:
    return vd_vhdx_create(fd, spec, ret_error);
  default:
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NOT_SUPPORTED, 0, "device_id",
                               "images of device id %u cannot be created", spec->device_id);
  }
}
