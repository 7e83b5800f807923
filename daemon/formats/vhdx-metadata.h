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

/* Ceilings: entries of the table, those of users, bytes of all items of users (or of all others). */
#define VD_VHDX_METADATA_MAX_ENTRIES 2047
#define VD_VHDX_METADATA_MAX_USER_ENTRIES 1024
#define VD_VHDX_METADATA_MAX_TOTAL (UINT64_C(40) << 20)

#define VD_VHDX_METADATA_USER 1
#define VD_VHDX_METADATA_DISK 2
#define VD_VHDX_METADATA_REQUIRED 4

typedef struct {
  uint8_t guid[16]; /* as on disk */
  uint32_t offset;  /* bytes from the start of the region; 0 with length 0 */
  uint32_t length;  /* bytes */
  uint32_t flags;   /* VD_VHDX_METADATA_* */
} VdVhdxMetadataEntry;

/* Of a table that was parsed: all of it, in its order. ret_entries: VD_VHDX_METADATA_MAX_ENTRIES. */
unsigned vd_vhdx_metadata_entries(const VdSpan *span, VdVhdxMetadataEntry *ret_entries);
/* Back into the bytes of a table; what was behind the last is zeros. */
void vd_vhdx_metadata_put_entries(const VdVhdxMetadataEntry *entries, unsigned n, uint8_t *table);
/* As on disk. */
const uint8_t *vd_vhdx_metadata_guid(VdVhdxItem item);

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
