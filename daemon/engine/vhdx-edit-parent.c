/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who the parent of a VHDX is. The DataWriteGuid stays: what is told of the parent is no part of the disk,
 * and with another one the children of this image would lose it.
 */
#include "engine/vhdx-edit.h"

#include <stdlib.h>

static void free_table(VdVhdxTable **table)
{
  free(*table);
}

static bool check_child(const VdVhdx *vhdx, VdFormatError *ret_error)
{
  return vhdx->has_parent ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_TYPE, vhdx->metadata.offset, "has_parent",
                             "the VHDX is no differencing image: it has no parent");
}

static bool commit_locator(VdVhdxEdit *edit, const VdVhdxLocator *locator, VdFormatError *ret_error)
{
  static uint8_t item[VD_VHDX_MAX_LOCATOR];
  VdVhdxTable *table __attribute__((cleanup(free_table))) = NULL;
  size_t length = vd_vhdx_locator_build(locator, item, sizeof item);

  if (length == 0)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "parent_absolute",
                               "changing the VHDX: a path of the parent is not UTF-8");
  table = vd_vhdx_table_read(&edit->reader, &edit->vhdx, ret_error);
  return table &&
         vd_vhdx_edit_set_item(edit, table, vd_vhdx_metadata_guid(VD_VHDX_ITEM_PARENT_LOCATOR),
                               VD_VHDX_METADATA_REQUIRED, item, (uint32_t)length, ret_error) &&
         vd_vhdx_edit_commit(edit, NULL, ret_error);
}

bool vd_vhdx_edit_parent(const VdLayerSource *source, const VdEditParent *parent, VdFormatError *ret_error)
{
  VdVhdxEdit edit __attribute__((cleanup(vd_vhdx_edit_clear))) = {0};
  VdVhdxLocator locator = {0};

  vd_vhdx_guid_swap(parent->linkage, locator.linkage);
  return vd_vhdx_locator_set_paths(&locator, parent->relative, parent->absolute, ret_error) &&
         vd_vhdx_edit_open(&edit, source, ret_error) && check_child(&edit.vhdx, ret_error) &&
         commit_locator(&edit, &locator, ret_error);
}

bool vd_vhdx_edit_linkage(const VdLayerSource *source, const uint8_t linkage[16], const uint8_t *linkage2,
                          VdFormatError *ret_error)
{
  VdVhdxEdit edit __attribute__((cleanup(vd_vhdx_edit_clear))) = {0};
  VdVhdxLocator locator;

  if (!vd_vhdx_edit_open(&edit, source, ret_error) || !check_child(&edit.vhdx, ret_error))
    return false;
  locator = edit.vhdx.locator;
  vd_vhdx_guid_swap(linkage, locator.linkage);
  memset(locator.linkage2, 0, sizeof locator.linkage2);
  if (linkage2)
    vd_vhdx_guid_swap(linkage2, locator.linkage2);
  return commit_locator(&edit, &locator, ret_error);
}
