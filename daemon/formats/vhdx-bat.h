/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The block allocation table of a VHDX (MS-VHDX 2.5): the arithmetic of its indices and one entry. 8 bytes
 * little-endian per entry; bits 0-2 state, 20-63 offset in MiB.
 */
#pragma once

#include "formats/reader.h"

#define VD_VHDX_BITMAP_BLOCK (UINT64_C(1) << 20)
/* Ceiling of the region, bytes: 64 TiB in blocks of 1 MiB. */
#define VD_VHDX_MAX_BAT (UINT64_C(513) << 20)

typedef enum {
  VD_VHDX_NOT_PRESENT = 0,
  VD_VHDX_UNDEFINED = 1,
  VD_VHDX_ZERO = 2,
  VD_VHDX_UNMAPPED = 3,
  VD_VHDX_FULLY_PRESENT = 6,
  VD_VHDX_PARTIALLY_PRESENT = 7,
} VdVhdxBlockState;

typedef struct {
  uint64_t payload_blocks, bitmap_blocks, entries;
  uint64_t chunk_ratio; /* payload blocks per bitmap block */
} VdVhdxBatShape;

/* size: bytes; block_size, sector_size already checked. */
VdVhdxBatShape vd_vhdx_bat_shape(uint64_t size, uint32_t block_size, uint32_t sector_size, bool differencing);
uint64_t vd_vhdx_bat_payload_index(const VdVhdxBatShape *shape, uint64_t block);
uint64_t vd_vhdx_bat_bitmap_index(const VdVhdxBatShape *shape, uint64_t block);
/* Bytes from the start of a bitmap block to the bits of this payload block, and how many bytes they are. */
uint64_t vd_vhdx_bitmap_offset(const VdVhdxBatShape *shape, uint64_t block);
uint64_t vd_vhdx_bitmap_length(const VdVhdxBatShape *shape);

static inline unsigned vd_vhdx_bat_state(uint64_t entry)
{
  return entry & 7;
}

/* Bytes in the file. */
static inline uint64_t vd_vhdx_bat_offset(uint64_t entry)
{
  return entry & ~UINT64_C(0xFFFFF);
}

static inline bool vd_vhdx_bat_reserved(uint64_t entry)
{
  return (entry & UINT64_C(0xFFFF8)) != 0;
}
