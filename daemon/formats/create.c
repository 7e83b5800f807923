/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which format makes it; and images without content. */
#include "formats/builder.h"
#include "virtdisk-enums.h"

VdBuilder *vd_builder_new(int fd, const VdCreateSpec *spec, VdFormatError *ret_error)
{
  switch (spec->device_id) {
  case VIRTDISK_DEVICE_VHD:
    return vd_vhd_builder_new(fd, spec, ret_error);
  case VIRTDISK_DEVICE_VHDX:
    return vd_vhdx_builder_new(fd, spec, ret_error);
  case VIRTDISK_DEVICE_RAW:
    return vd_raw_builder_new(fd, spec, ret_error);
  default:
    vd_format_error_set(ret_error, VIRTDISK_ERROR_NOT_SUPPORTED, 0, "device_id",
                        "images of device id %u cannot be created", spec->device_id);
    return NULL;
  }
}

/* Takes builder. */
static bool finish_empty(VdBuilder *builder, VdFormatError *ret_error)
{
  bool good = builder != NULL && vd_builder_finish(builder, ret_error);

  vd_builder_free(builder);
  return good;
}

bool vd_create(int fd, const VdCreateSpec *spec, VdFormatError *ret_error)
{
  return finish_empty(vd_builder_new(fd, spec, ret_error), ret_error);
}

bool vd_vhd_create(int fd, const VdCreateSpec *spec, VdFormatError *ret_error)
{
  return finish_empty(vd_vhd_builder_new(fd, spec, ret_error), ret_error);
}

bool vd_vhdx_create(int fd, const VdCreateSpec *spec, VdFormatError *ret_error)
{
  return finish_empty(vd_vhdx_builder_new(fd, spec, ret_error), ret_error);
}
