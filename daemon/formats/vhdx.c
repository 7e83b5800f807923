/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The order of reading: what comes later may only be believed as the log has left it. */
#include "formats/vhdx.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vhdx-metadata.h"
#include "formats/vhdx-region.h"
#include "util/checked.h"

void vd_vhdx_clear(VdVhdx *vhdx)
{
  vd_vhdx_overlay_free(vhdx->overlay);
  vhdx->overlay = NULL;
}

static void free_buffer(uint8_t **buffer)
{
  free(*buffer);
}

/* The copy of the region table that counts. */
static bool read_regions(const VdReader *reader, const VdVhdx *vhdx, VdVhdxRegions *ret_regions,
                         VdFormatError *ret_error)
{
  uint8_t *buffer __attribute__((cleanup(free_buffer))) = malloc(VD_VHDX_REGIONS_LENGTH);
  VdFormatError second;
  VdSpan span;

  if (buffer == NULL)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, VD_VHDX_REGIONS_1, "",
                               "no memory for the VHDX region table");
  if (!vd_vhdx_overlay_read(vhdx->overlay, reader, "VHDX region table 1", VD_VHDX_REGIONS_1, buffer,
                            VD_VHDX_REGIONS_LENGTH, &span, ret_error))
    return false;
  if (!vd_vhdx_regions_check_sum(&span, ret_error)) {
    if (!vd_vhdx_overlay_read(vhdx->overlay, reader, "VHDX region table 2", VD_VHDX_REGIONS_2, buffer,
                              VD_VHDX_REGIONS_LENGTH, &span, &second) ||
        !vd_vhdx_regions_check_sum(&span, &second))
      return false;
  }
  return vd_vhdx_regions_parse(&span, &vhdx->header, vhdx->file_size, ret_regions, ret_error);
}

static bool read_table(const VdReader *reader, const VdVhdx *vhdx, VdVhdxMetadata *ret_metadata,
                       VdFormatError *ret_error)
{
  uint8_t *buffer __attribute__((cleanup(free_buffer))) = malloc(VD_VHDX_METADATA_TABLE_LENGTH);
  VdSpan span;

  if (buffer == NULL)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, vhdx->metadata.offset, "",
                               "no memory for the VHDX metadata table");
  return vd_vhdx_overlay_read(vhdx->overlay, reader, "VHDX metadata table", vhdx->metadata.offset, buffer,
                              VD_VHDX_METADATA_TABLE_LENGTH, &span, ret_error) &&
         vd_vhdx_metadata_parse(&span, vhdx->metadata.length, ret_metadata, ret_error);
}

static bool read_item(const VdReader *reader, const VdVhdx *vhdx, const VdVhdxMetadata *metadata,
                      VdVhdxItem item, const char *structure, uint8_t *buffer, VdSpan *ret_span,
                      VdFormatError *ret_error)
{
  return vd_vhdx_overlay_read(vhdx->overlay, reader, structure,
                              vhdx->metadata.offset + metadata->items[item].offset, buffer,
                              metadata->items[item].length, ret_span, ret_error);
}

/* Sector sizes first: the others are measured by them. */
static bool read_items(const VdReader *reader, VdVhdx *vhdx, const VdVhdxMetadata *metadata,
                       VdFormatError *ret_error)
{
  uint8_t buffer[16];
  VdSpan span;

  if (!read_item(reader, vhdx, metadata, VD_VHDX_ITEM_SECTOR_SIZE, "VHDX logical sector size", buffer, &span,
                 ret_error) ||
      !vd_vhdx_sector_size_parse(&span, &vhdx->sector_size, ret_error) ||
      !read_item(reader, vhdx, metadata, VD_VHDX_ITEM_PHYSICAL_SECTOR_SIZE, "VHDX physical sector size",
                 buffer, &span, ret_error) ||
      !vd_vhdx_sector_size_parse(&span, &vhdx->physical_sector_size, ret_error))
    return false;
  if (vhdx->physical_sector_size < vhdx->sector_size)
    return vd_span_fail(&span, 0, "sector_size", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %" PRIu32 ", less than the logical %" PRIu32, vhdx->physical_sector_size,
                        vhdx->sector_size);
  return read_item(reader, vhdx, metadata, VD_VHDX_ITEM_FILE_PARAMETERS, "VHDX file parameters", buffer,
                   &span, ret_error) &&
         vd_vhdx_parameters_parse(&span, vhdx, ret_error) &&
         read_item(reader, vhdx, metadata, VD_VHDX_ITEM_SIZE, "VHDX virtual disk size", buffer, &span,
                   ret_error) &&
         vd_vhdx_size_parse(&span, vhdx->sector_size, &vhdx->virtual_size, ret_error) &&
         read_item(reader, vhdx, metadata, VD_VHDX_ITEM_DISK_ID, "VHDX virtual disk id", buffer, &span,
                   ret_error) &&
         vd_span_load_bytes(&span, 0, "virtual_disk_id", vhdx->disk_id, sizeof vhdx->disk_id, ret_error);
}

static bool read_locator(const VdReader *reader, VdVhdx *vhdx, const VdVhdxMetadata *metadata,
                         VdFormatError *ret_error)
{
  const VdVhdxRange *item = &metadata->items[VD_VHDX_ITEM_PARENT_LOCATOR];
  uint8_t *buffer __attribute__((cleanup(free_buffer))) = NULL;
  uint64_t at = vhdx->metadata.offset + item->offset;
  VdSpan span;

  if (vhdx->has_parent != (item->length != 0))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_CORRUPT, at, "parent_locator",
                               "VHDX metadata at offset %" PRIu64 ": has_parent is %d, and there is %s",
                               vhdx->metadata.offset, vhdx->has_parent,
                               item->length != 0 ? "a parent_locator" : "no parent_locator");
  if (!vhdx->has_parent)
    return true;
  if (item->length > VD_VHDX_MAX_LOCATOR)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_CORRUPT, at, "parent_locator",
                               "VHDX parent locator at offset %" PRIu64 ": has %" PRIu64
                               " bytes, more than %d",
                               at, item->length, VD_VHDX_MAX_LOCATOR);
  buffer = malloc(item->length);
  if (buffer == NULL)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, at, "",
                               "no memory for the VHDX parent locator");
  return read_item(reader, vhdx, metadata, VD_VHDX_ITEM_PARENT_LOCATOR, "VHDX parent locator", buffer, &span,
                   ret_error) &&
         vd_vhdx_locator_parse(&span, &vhdx->locator, ret_error);
}

static bool take_shape(VdVhdx *vhdx, VdFormatError *ret_error)
{
  vhdx->shape = vd_vhdx_bat_shape(vhdx->virtual_size, vhdx->block_size, vhdx->sector_size, vhdx->has_parent);
  if (vhdx->shape.entries * sizeof(uint64_t) <= vhdx->bat.length)
    return true;
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_CORRUPT, vhdx->bat.offset, "length",
                             "VHDX BAT at offset %" PRIu64 ": length is %" PRIu64 " bytes, %" PRIu64
                             " entries need more",
                             vhdx->bat.offset, vhdx->bat.length, vhdx->shape.entries);
}

static bool read_whole(const VdReader *reader, VdVhdx *vhdx, VdFormatError *ret_error)
{
  VdVhdxRegions regions;
  VdVhdxMetadata metadata;

  if (!vd_vhdx_header_choose(reader, &vhdx->header, ret_error))
    return false;
  if (!vd_vhdx_guid_is_zero(vhdx->header.log_guid)) {
    vhdx->overlay = vd_vhdx_overlay_new(reader, &vhdx->header, ret_error);
    if (vhdx->overlay == NULL)
      return false;
  }
  vhdx->file_size = vd_vhdx_overlay_file_size(vhdx->overlay, reader->size);
  if (!read_regions(reader, vhdx, &regions, ret_error))
    return false;
  vhdx->bat = regions.bat;
  vhdx->metadata = regions.metadata;
  vhdx->n_reserved = regions.n_all;
  memcpy(vhdx->reserved, regions.all, sizeof regions.all);
  return read_table(reader, vhdx, &metadata, ret_error) && read_items(reader, vhdx, &metadata, ret_error) &&
         read_locator(reader, vhdx, &metadata, ret_error) && take_shape(vhdx, ret_error);
}

bool vd_vhdx_read(const VdReader *reader, VdVhdx *ret_vhdx, VdFormatError *ret_error)
{
  memset(ret_vhdx, 0, sizeof *ret_vhdx);
  if (read_whole(reader, ret_vhdx, ret_error))
    return true;
  vd_vhdx_clear(ret_vhdx);
  return false;
}
