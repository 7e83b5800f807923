/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changes of a VHDX that are one number: ids, and the size of a physical sector. */
#include "engine/vhdx-edit.h"

#include <inttypes.h>

#include "formats/bytes.h"

bool vd_vhdx_edit_identifier(const VdLayerSource *source, const uint8_t id[16], VdFormatError *ret_error)
{
  VdVhdxEdit edit __attribute__((cleanup(vd_vhdx_edit_clear))) = {0};
  uint8_t guid[16];

  vd_vhdx_guid_swap(id, guid);
  return vd_vhdx_edit_open(&edit, source, ret_error) && vd_vhdx_edit_commit(&edit, guid, ret_error);
}

bool vd_vhdx_edit_physical_sector_size(const VdLayerSource *source, uint32_t size, VdFormatError *ret_error)
{
  VdVhdxEdit edit __attribute__((cleanup(vd_vhdx_edit_clear))) = {0};
  uint8_t bytes[4];

  if (!vd_vhdx_edit_open(&edit, source, ret_error))
    return false;
  if ((size != 512 && size != 4096) || size < edit.vhdx.sector_size)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE, 0,
                               "physical_sector_size",
                               "the physical sector size %" PRIu32 " is neither 512 nor 4096, or less than "
                               "the logical %" PRIu32,
                               size, edit.vhdx.sector_size);
  vd_put_le32(bytes, size);
  return size == edit.vhdx.physical_sector_size ||
         (vd_vhdx_edit_put_item(&edit, VD_VHDX_ITEM_PHYSICAL_SECTOR_SIZE, bytes, sizeof bytes, ret_error) &&
          vd_vhdx_edit_commit_changed(&edit, ret_error));
}

bool vd_vhdx_edit_virtual_disk_id(const VdLayerSource *source, const uint8_t id[16], VdFormatError *ret_error)
{
  VdVhdxEdit edit __attribute__((cleanup(vd_vhdx_edit_clear))) = {0};
  uint8_t guid[16];

  vd_vhdx_guid_swap(id, guid);
  return vd_vhdx_edit_open(&edit, source, ret_error) &&
         vd_vhdx_edit_put_item(&edit, VD_VHDX_ITEM_DISK_ID, guid, sizeof guid, ret_error) &&
         vd_vhdx_edit_commit_changed(&edit, ret_error);
}

const VdEditOps vd_vhdx_edit_ops = {.parent = vd_vhdx_edit_parent,
                                    .linkage = vd_vhdx_edit_linkage,
                                    .identifier = vd_vhdx_edit_identifier,
                                    .physical_sector_size = vd_vhdx_edit_physical_sector_size,
                                    .virtual_disk_id = vd_vhdx_edit_virtual_disk_id,
                                    .size = vd_vhdx_edit_size,
                                    .enumerate = vd_vhdx_edit_enumerate,
                                    .get = vd_vhdx_edit_get,
                                    .set = vd_vhdx_edit_set,
                                    .remove = vd_vhdx_edit_delete};
