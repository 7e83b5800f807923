/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The formats by their device ids. Linear ones are served as they are, without a map. */
#include "engine/layer.h"
#include "virtdisk-enums.h"

VdLayer *vd_layer_open(const VdLayerSource *source, uint32_t device_id, VdFormatError *ret_error)
{
  switch (device_id) {
  case VIRTDISK_DEVICE_VHD:
    return vd_vhd_layer_open(source, ret_error);
  case VIRTDISK_DEVICE_VHDX:
    return vd_vhdx_layer_open(source, ret_error);
  case VIRTDISK_DEVICE_ISO:
  case VIRTDISK_DEVICE_RAW:
    return vd_raw_layer_open(source, ret_error);
  default:
    vd_format_error_set(ret_error, VIRTDISK_ERROR_PROVIDER_NOT_FOUND, 0, "",
                        "device id %u is not served by this version", device_id);
    return NULL;
  }
}
