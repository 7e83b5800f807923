/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VHD: what an image is. A fixed one is the disk's sectors followed by a footer; of dynamic and differencing
 * ones the footers, the sparse header and the parent locators are read, the table is the run-time layer's.
 * The trailer decides: what a guest wrote into its own sector 0 never does.
 */
#include "formats/registry.h"

#include <inttypes.h>
#include <string.h>

#include "formats/vhd-bat.h"
#include "util/checked.h"
#include "virtdisk-enums.h"

/* Data that begins at a multiple of this is aligned for every host. */
#define ALIGNMENT 4096
/* Entries of the table that are looked at to see how the blocks are aligned. */
#define ALIGNMENT_ENTRIES 1024

static bool probe_fixed(const VdVhdFooter *footer, VdFacts *facts, VdFormatError *ret_error)
{
  /* Less than the room there is: bytes between the disk and the footer belong to nobody, which is allowed. */
  if (!vd_range_within(0, footer->current_size, footer->offset))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_FILE_SIZE,
                               footer->offset + VD_VHD_AT_CURRENT_SIZE, "current_size",
                               "VHD footer at offset %" PRIu64 ": current_size is %" PRIu64
                               " bytes, the file has room for %" PRIu64,
                               footer->offset, footer->current_size, footer->offset);
  facts->subtype = VIRTDISK_SUBTYPE_FIXED;
  facts->linear = 1;
  facts->is_4k_aligned = 1;
  return true;
}

static bool is_aligned(uint64_t bitmap_offset, const VdVhdBatShape *shape)
{
  return (bitmap_offset + shape->bitmap_length) % ALIGNMENT == 0;
}

/* By the first block that is there, or else by the trailer, which lies where the first one will. */
static bool find_alignment(const VdReader *reader, const VdVhdBatShape *shape, VdFacts *facts,
                           VdFormatError *ret_error)
{
  uint8_t table[4 * ALIGNMENT_ENTRIES];
  VdVhdBatShape head = *shape;

  head.blocks = shape->blocks < ALIGNMENT_ENTRIES ? shape->blocks : ALIGNMENT_ENTRIES;
  if (!vd_vhd_bat_read(reader, &head, table, ret_error))
    return false;
  facts->is_4k_aligned = is_aligned(shape->space_end, shape);
  for (uint32_t block = 0; block < head.blocks; block++) {
    uint32_t sector = vd_vhd_bat_entry(table, block);

    if (sector != VD_VHD_BLOCK_NONE) {
      facts->is_4k_aligned = is_aligned((uint64_t)sector * VD_VHD_SECTOR_SIZE, shape);
      break;
    }
  }
  return true;
}

static bool probe_parent(const VdReader *reader, const VdVhdSparse *sparse, VdFacts *facts,
                         VdFormatError *ret_error)
{
  facts->has_parent = 1;
  facts->parent_timestamp = sparse->parent_timestamp;
  memcpy(facts->parent_id, sparse->parent_id, sizeof facts->parent_id);
  return vd_vhd_locators_read(reader, sparse->locators, sparse->parent_name, facts, ret_error);
}

static bool probe_sparse(const VdReader *reader, const VdVhdFooters *footers, VdFacts *facts,
                         VdFormatError *ret_error)
{
  bool differencing = footers->footer.type == VD_VHD_DIFFERENCING;
  VdVhdSparse sparse;
  VdVhdBatShape shape;

  if (!vd_vhd_sparse_read(reader, footers, &sparse, ret_error))
    return false;
  shape = vd_vhd_bat_shape(footers, &sparse);
  facts->subtype = differencing ? VIRTDISK_SUBTYPE_DIFFERENCING : VIRTDISK_SUBTYPE_DYNAMIC;
  facts->block_size = sparse.block_size;
  facts->needs_repair = footers->trailer == VD_VHD_TRAILER_MISSING || footers->front_stale;
  return find_alignment(reader, &shape, facts, ret_error) &&
         (!differencing || probe_parent(reader, &sparse, facts, ret_error));
}

static bool probe(const VdReader *reader, VdFacts *facts, VdFormatError *ret_error)
{
  const VdVhdFooter *footer;
  VdVhdFooters footers;

  if (!vd_vhd_footers_read(reader, &footers, ret_error))
    return false;
  footer = &footers.footer;
  facts->virtual_size = footer->current_size;
  facts->sector_size = VD_VHD_SECTOR_SIZE;
  facts->physical_sector_size = VD_VHD_SECTOR_SIZE;
  facts->has_identifier = 1;
  memcpy(facts->identifier, footer->unique_id, sizeof facts->identifier);
  facts->has_linkage = 1;
  memcpy(facts->linkage, footer->unique_id, sizeof facts->linkage);
  facts->timestamp = footer->timestamp;
  facts->saved_state = footer->saved_state;
  return footer->type == VD_VHD_FIXED ? probe_fixed(footer, facts, ret_error)
                                      : probe_sparse(reader, &footers, facts, ret_error);
}

const VdFormat vd_format_vhd = {
    .name = "vhd",
    .device_id = VIRTDISK_DEVICE_VHD,
    .scan = VD_SCAN_PARTITIONS,
    .probe = probe,
};
