/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VHDX, as the registry knows it: the whole structure is checked, every entry of the BAT with it. An image
 * all of whose blocks lie in one run needs no map; it is linear. One that lost its end can still be read; the
 * layer refuses to write it.
 */
#include "formats/registry.h"

#include <string.h>

#include "formats/vhdx.h"
#include "util/checked.h"
#include "virtdisk-enums.h"

/* The run that the blocks of the disk form, if they do. */
typedef struct {
  const VdVhdx *vhdx;
  uint64_t first; /* bytes; where block 0 lies */
  uint64_t n;     /* blocks found in their places; all of them: one run */
} Run;

static bool follow_run(void *user, uint64_t index, uint64_t entry, bool bitmap, VdFormatError *ret_error)
{
  Run *run = user;
  uint64_t offset = vd_vhdx_bat_offset(entry);

  if (bitmap || vd_vhdx_bat_state(entry) != VD_VHDX_FULLY_PRESENT ||
      index != vd_vhdx_bat_payload_index(&run->vhdx->shape, run->n))
    return true;
  if (run->n == 0)
    run->first = offset;
  if (offset == run->first + run->n * run->vhdx->block_size)
    run->n++;
  return true;
}

static void take_run(const VdReader *reader, const VdVhdx *vhdx, const Run *run, VdFacts *facts)
{
  if (vhdx->has_parent || vhdx->overlay != NULL || run->n != vhdx->shape.payload_blocks ||
      !vd_range_within(run->first, vhdx->virtual_size, reader->size))
    return;
  facts->linear = 1;
  facts->payload_offset = run->first;
}

static void add_place(VdFacts *facts, VdPlaceKind kind, const char *path)
{
  VdParentPlace *place = &facts->parent_places[facts->n_parent_places];

  _Static_assert(sizeof place->path == VD_LOCATOR_MAX_PATH, "a path fits");
  if (path[0] == '\0')
    return;
  place->kind = kind;
  strcpy(place->path, path);
  facts->n_parent_places++;
}

static void take_parent(const VdVhdxLocator *locator, VdFacts *facts)
{
  facts->has_parent = 1;
  vd_vhdx_guid_swap(locator->linkage, facts->parent_id);
  vd_vhdx_guid_swap(locator->linkage2, facts->parent_id2);
  add_place(facts, VD_PLACE_RELATIVE, locator->relative_path);
  add_place(facts, VD_PLACE_VOLUME, locator->volume_path);
  add_place(facts, VD_PLACE_ABSOLUTE, locator->absolute_path);
}

static void take_facts(const VdVhdx *vhdx, VdFacts *facts)
{
  facts->subtype = vhdx->has_parent               ? VIRTDISK_SUBTYPE_DIFFERENCING
                   : vhdx->leave_blocks_allocated ? VIRTDISK_SUBTYPE_FIXED
                                                  : VIRTDISK_SUBTYPE_DYNAMIC;
  facts->virtual_size = vhdx->virtual_size;
  facts->block_size = vhdx->block_size;
  facts->sector_size = vhdx->sector_size;
  facts->physical_sector_size = vhdx->physical_sector_size;
  facts->has_identifier = 1;
  vd_vhdx_guid_swap(vhdx->disk_id, facts->identifier);
  facts->is_4k_aligned = 1;
  facts->has_linkage = 1;
  vd_vhdx_guid_swap(vhdx->header.data_write_guid, facts->linkage);
  facts->needs_repair = vhdx->overlay != NULL;
  if (vhdx->has_parent)
    take_parent(&vhdx->locator, facts);
}

static bool probe(const VdReader *reader, VdFacts *facts, VdFormatError *ret_error)
{
  VdVhdx vhdx __attribute__((cleanup(vd_vhdx_clear))) = {0};
  Run run = {.vhdx = &vhdx};

  if (!vd_vhdx_read(reader, &vhdx, ret_error) ||
      !vd_vhdx_check_bat_to_read(reader, &vhdx, follow_run, &run, ret_error))
    return false;
  take_facts(&vhdx, facts);
  take_run(reader, &vhdx, &run, facts);
  return true;
}

const VdFormat vd_format_vhdx = {
    .name = "vhdx",
    .device_id = VIRTDISK_DEVICE_VHDX,
    .scan = VD_SCAN_PARTITIONS,
    .probe = probe,
};
