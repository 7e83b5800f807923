/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VHD. A fixed one is the disk's sectors followed by a footer; dynamic and differencing ones are recognised
 * by name only. The trailer decides: what a guest wrote into its own sector 0 never does.
 */
#include "formats/registry.h"

#include <inttypes.h>
#include <string.h>

#include "formats/vhd-footer.h"
#include "util/checked.h"
#include "virtdisk-enums.h"

static bool refuse_sparse(const VdVhdFooter *footer, VdFormatError *ret_error)
{
  const char *word = footer->type == VD_VHD_DYNAMIC ? "dynamic" : "differencing";

  return vd_format_error_set(ret_error, VIRTDISK_ERROR_NOT_SUPPORTED, footer->offset, "disk_type",
                             "%s VHD is not served by this version (footer at offset %" PRIu64 ")", word,
                             footer->offset);
}

/* The trailer is bad; a good copy in front tells of a dynamic disk that was torn while it grew. A fixed disk
 * has no such copy. */
static bool blame_trailer(const VdReader *reader, const VdFormatError *trailer_error,
                          VdFormatError *ret_error)
{
  VdVhdFooter front;

  if (vd_vhd_footer_read_front(reader, &front, ret_error) && front.type != VD_VHD_FIXED)
    return refuse_sparse(&front, ret_error);
  *ret_error = *trailer_error;
  return false;
}

static bool probe(const VdReader *reader, VdFacts *facts, VdFormatError *ret_error)
{
  VdVhdFooter footer;
  VdFormatError error;

  if (!vd_vhd_footer_read_trailer(reader, &footer, &error))
    return blame_trailer(reader, &error, ret_error);
  if (footer.type != VD_VHD_FIXED)
    return refuse_sparse(&footer, ret_error);
  /* Less than the room there is: bytes between the disk and the footer belong to nobody, which is allowed. */
  if (!vd_range_within(0, footer.current_size, footer.offset))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_FILE_SIZE,
                               footer.offset + VD_VHD_AT_CURRENT_SIZE, "current_size",
                               "VHD footer at offset %" PRIu64 ": current_size is %" PRIu64
                               " bytes, the file has room for %" PRIu64,
                               footer.offset, footer.current_size, footer.offset);
  facts->subtype = VIRTDISK_SUBTYPE_FIXED;
  facts->virtual_size = footer.current_size;
  facts->linear = 1;
  facts->sector_size = VD_VHD_SECTOR_SIZE;
  facts->physical_sector_size = VD_VHD_SECTOR_SIZE;
  facts->has_identifier = 1;
  memcpy(facts->identifier, footer.unique_id, sizeof facts->identifier);
  facts->is_4k_aligned = 1;
  facts->saved_state = footer.saved_state;
  return true;
}

const VdFormat vd_format_vhd = {
    .name = "vhd",
    .device_id = VIRTDISK_DEVICE_VHD,
    .scan = VD_SCAN_PARTITIONS,
    .probe = probe,
};
