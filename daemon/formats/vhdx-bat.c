/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A bitmap's entry follows those of each chunk of payload blocks. */
#include "formats/vhdx-bat.h"

/* Bits of a sector bitmap block, each for one logical sector. */
#define BITMAP_BITS (VD_VHDX_BITMAP_BLOCK * 8)

VdVhdxBatShape vd_vhdx_bat_shape(uint64_t size, uint32_t block_size, uint32_t sector_size, bool differencing)
{
  VdVhdxBatShape shape = {0};

  shape.chunk_ratio = BITMAP_BITS * sector_size / block_size;
  shape.payload_blocks = size / block_size + (size % block_size != 0);
  shape.bitmap_blocks =
      shape.payload_blocks / shape.chunk_ratio + (shape.payload_blocks % shape.chunk_ratio != 0);
  if (differencing)
    shape.entries = shape.bitmap_blocks * (shape.chunk_ratio + 1);
  else if (shape.payload_blocks > 0)
    shape.entries = shape.payload_blocks + (shape.payload_blocks - 1) / shape.chunk_ratio;
  return shape;
}

uint64_t vd_vhdx_bat_payload_index(const VdVhdxBatShape *shape, uint64_t block)
{
  return block + block / shape->chunk_ratio;
}

uint64_t vd_vhdx_bat_bitmap_index(const VdVhdxBatShape *shape, uint64_t block)
{
  uint64_t chunk = block / shape->chunk_ratio;

  return (chunk + 1) * shape->chunk_ratio + chunk;
}

uint64_t vd_vhdx_bitmap_offset(const VdVhdxBatShape *shape, uint64_t block)
{
  return block % shape->chunk_ratio * vd_vhdx_bitmap_length(shape);
}

uint64_t vd_vhdx_bitmap_length(const VdVhdxBatShape *shape)
{
  return VD_VHDX_BITMAP_BLOCK / shape->chunk_ratio;
}
