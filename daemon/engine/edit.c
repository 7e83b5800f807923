/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The changes by the formats' device ids. */
#include "engine/edit.h"

#include <string.h>

#include "engine/edit-ops.h"
#include "virtdisk-enums.h"

/* For formats that are changed in no way. */
static const VdEditOps no_ops = {NULL};

static const VdEditOps *ops_of(uint32_t device_id)
{
  switch (device_id) {
  case VIRTDISK_DEVICE_VHD:
    return &vd_vhd_edit_ops;
  case VIRTDISK_DEVICE_VHDX:
    return &vd_vhdx_edit_ops;
  case VIRTDISK_DEVICE_RAW:
    return &vd_raw_edit_ops;
  default:
    return &no_ops;
  }
}

static bool has_none(uint32_t device_id, const char *what, VdFormatError *ret_error)
{
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_TYPE, 0, "",
                             "images of this format (device id %u) have no %s that could be changed",
                             device_id, what);
}

bool vd_edit_parent(const VdLayerSource *source, uint32_t device_id, const VdEditParent *parent,
                    VdFormatError *ret_error)
{
  const VdEditOps *ops = ops_of(device_id);

  return ops->parent ? ops->parent(source, parent, ret_error) : has_none(device_id, "parent", ret_error);
}

bool vd_edit_linkage(const VdLayerSource *source, uint32_t device_id, const uint8_t linkage[16],
                     const uint8_t *linkage2, VdFormatError *ret_error)
{
  const VdEditOps *ops = ops_of(device_id);

  if (device_id == VIRTDISK_DEVICE_VHD)
    return true;
  return ops->linkage ? ops->linkage(source, linkage, linkage2, ret_error)
                      : has_none(device_id, "parent", ret_error);
}

bool vd_edit_identifier(const VdLayerSource *source, uint32_t device_id, const uint8_t id[16],
                        VdFormatError *ret_error)
{
  const VdEditOps *ops = ops_of(device_id);

  return ops->identifier ? ops->identifier(source, id, ret_error)
                         : has_none(device_id, "unique id", ret_error);
}

bool vd_edit_physical_sector_size(const VdLayerSource *source, uint32_t device_id, uint32_t size,
                                  VdFormatError *ret_error)
{
  const VdEditOps *ops = ops_of(device_id);

  return ops->physical_sector_size ? ops->physical_sector_size(source, size, ret_error)
                                   : has_none(device_id, "physical sector size", ret_error);
}

bool vd_edit_virtual_disk_id(const VdLayerSource *source, uint32_t device_id, const uint8_t id[16],
                             VdFormatError *ret_error)
{
  const VdEditOps *ops = ops_of(device_id);

  return ops->virtual_disk_id ? ops->virtual_disk_id(source, id, ret_error)
                              : has_none(device_id, "virtual disk id", ret_error);
}

bool vd_edit_size(const VdLayerSource *source, uint32_t device_id, uint64_t size, VdFormatError *ret_error)
{
  const VdEditOps *ops = ops_of(device_id);

  return ops->size ? ops->size(source, size, ret_error) : has_none(device_id, "size", ret_error);
}

bool vd_metadata_enumerate(const VdLayerSource *source, uint32_t device_id, uint8_t (*ret_items)[16],
                           unsigned *ret_n, VdFormatError *ret_error)
{
  const VdEditOps *ops = ops_of(device_id);

  return ops->enumerate ? ops->enumerate(source, ret_items, ret_n, ret_error)
                        : has_none(device_id, "user metadata", ret_error);
}

/* The null id names nothing, in no format. */
static bool has_items(const VdEditOps *ops, uint32_t device_id, const uint8_t item[16],
                      VdFormatError *ret_error)
{
  static const uint8_t null_id[16];

  if (!ops->enumerate)
    return has_none(device_id, "user metadata", ret_error);
  return memcmp(item, null_id, sizeof null_id) != 0 ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "item",
                             "the null id is no name of an item of metadata");
}

bool vd_metadata_get(const VdLayerSource *source, uint32_t device_id, const uint8_t item[16],
                     uint8_t *ret_data, uint32_t *ret_length, VdFormatError *ret_error)
{
  const VdEditOps *ops = ops_of(device_id);

  return has_items(ops, device_id, item, ret_error) &&
         ops->get(source, item, ret_data, ret_length, ret_error);
}

bool vd_metadata_set(const VdLayerSource *source, uint32_t device_id, const uint8_t item[16],
                     const uint8_t *data, uint32_t length, VdFormatError *ret_error)
{
  const VdEditOps *ops = ops_of(device_id);

  if (!has_items(ops, device_id, item, ret_error))
    return false;
  if (length > VD_METADATA_MAX_ITEM)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "length",
                               "an item of metadata has at most %u bytes, not %u", VD_METADATA_MAX_ITEM,
                               length);
  return ops->set(source, item, data, length, ret_error);
}

bool vd_metadata_delete(const VdLayerSource *source, uint32_t device_id, const uint8_t item[16],
                        VdFormatError *ret_error)
{
  const VdEditOps *ops = ops_of(device_id);

  return has_items(ops, device_id, item, ret_error) && ops->remove(source, item, ret_error);
}
