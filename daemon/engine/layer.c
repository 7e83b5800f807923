/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all layers have in common: being freed, and belonging together. */
#include "engine/layer.h"

#include <inttypes.h>
#include <string.h>

void vd_layer_free(VdLayer *self)
{
  if (self)
    self->ops->free(self);
}

/* A linkage of zeros matches nothing. */
static bool is_parent(const VdLayer *child, const VdLayer *parent)
{
  static const uint8_t none[16];

  if (memcmp(parent->identity, none, sizeof none) == 0)
    return false;
  return memcmp(child->parent_id, parent->identity, sizeof none) == 0 ||
         memcmp(child->parent_id2, parent->identity, sizeof none) == 0;
}

static bool check_pair(const VdLayer *child, const VdLayer *parent, unsigned depth, VdFormatError *ret_error)
{
  if (!child->has_parent)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "parent",
                               "the image at depth %u is no differencing one, but a parent was given", depth);
  if (!is_parent(child, parent))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_CHILD_PARENT_ID_MISMATCH, 0, "parent identifier",
                               "the image at depth %u was made for another parent, or its parent was changed "
                               "since",
                               depth);
  if (child->sector_size != parent->sector_size)
    return vd_format_error_set(
        ret_error, VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE, 0, "logical sector size",
        "the image at depth %u has sectors of %" PRIu32 " bytes, its parent of %" PRIu32, depth,
        child->sector_size, parent->sector_size);
  if (child->size != parent->size)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_CHILD_PARENT_SIZE_MISMATCH, 0, "virtual size",
                               "the image at depth %u has %" PRIu64 " bytes, its parent %" PRIu64, depth,
                               child->size, parent->size);
  return true;
}

bool vd_layers_check_chain(VdLayer *const *layers, unsigned n_layers, VdFormatError *ret_error)
{
  for (unsigned i = 0; i + 1 < n_layers; i++)
    if (!check_pair(layers[i], layers[i + 1], i + 1, ret_error))
      return false;
  if (n_layers == 0 || layers[n_layers - 1]->has_parent)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_PARENT_VHD_NOT_FOUND, 0, "parent",
                               "the image at depth %u is a differencing one, and its parent is missing",
                               n_layers);
  return true;
}
