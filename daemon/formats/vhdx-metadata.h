/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The metadata table of a VHDX (MS-VHDX 2.6): which items there are and where, and the values of the known
 * ones. Nothing but the log protects it. What holds after a parse: the items lie in the region and apart from
 * each other, none that is required is unknown, the known ones have their lengths and flags.
 */
#pragma once

#include "formats/vhdx.h"

#define VD_VHDX_METADATA_TABLE_LENGTH 65536

typedef enum {
  VD_VHDX_ITEM_FILE_PARAMETERS,
  VD_VHDX_ITEM_SIZE,
  VD_VHDX_ITEM_DISK_ID,
  VD_VHDX_ITEM_SECTOR_SIZE,
  VD_VHDX_ITEM_PHYSICAL_SECTOR_SIZE,
  VD_VHDX_ITEM_PARENT_LOCATOR,
  VD_VHDX_N_ITEMS
} VdVhdxItem;

typedef struct {
  VdVhdxRange items[VD_VHDX_N_ITEMS]; /* from the start of the region; length 0: not there */
} VdVhdxMetadata;

/* span: VD_VHDX_METADATA_TABLE_LENGTH bytes; region_length: bytes. */
bool vd_vhdx_metadata_parse(const VdSpan *span, uint64_t region_length, VdVhdxMetadata *ret_metadata,
                            VdFormatError *ret_error);

/* The values of the items; each span is one whole item. All but the locator. */
bool vd_vhdx_parameters_parse(const VdSpan *span, VdVhdx *vhdx, VdFormatError *ret_error);
bool vd_vhdx_sector_size_parse(const VdSpan *span, uint32_t *ret_size, VdFormatError *ret_error);
/* After the sector size. */
bool vd_vhdx_size_parse(const VdSpan *span, uint32_t sector_size, uint64_t *ret_size,
                        VdFormatError *ret_error);

/* What the items of a new image are: see vd_vhdx_metadata_build(). */
typedef struct {
  uint64_t size; /* bytes */
  uint32_t block_size, sector_size, physical_sector_size;
  bool leave_blocks_allocated;
  uint8_t disk_id[16];    /* as on disk */
  const uint8_t *locator; /* the item, or NULL: no parent */
  uint32_t locator_length;
} VdVhdxMetadataSpec;

/* Fills the first length bytes of the region, which must hold the table, 64 bytes and the locator. */
void vd_vhdx_metadata_build(const VdVhdxMetadataSpec *spec, uint8_t *ret_bytes, size_t length);
