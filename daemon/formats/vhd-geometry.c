/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cylinders, heads and sectors of a VHD. */
#include "formats/vhd-geometry.h"

#define SECTOR_SIZE 512
#define MAX_CYLINDERS 65535
#define MAX_HEADS 16
#define MIN_HEADS 4
/* Cylinders that old BIOSes can address; more of them call for more heads first. */
#define FEW_CYLINDERS 1024

static VdVhdGeometry make(uint64_t cylinders_times_heads, uint64_t heads, uint64_t sectors)
{
  return (VdVhdGeometry){.cylinders = (uint16_t)(cylinders_times_heads / heads),
                         .heads = (uint8_t)heads,
                         .sectors = (uint8_t)sectors};
}

VdVhdGeometry vd_vhd_geometry(uint64_t size)
{
  const uint64_t most = (uint64_t)MAX_CYLINDERS * MAX_HEADS * 255;
  uint64_t total = size / SECTOR_SIZE < most ? size / SECTOR_SIZE : most;
  uint64_t heads;

  if (total >= (uint64_t)MAX_CYLINDERS * MAX_HEADS * 63)
    return make(total / 255, MAX_HEADS, 255);
  heads = (total / 17 + FEW_CYLINDERS - 1) / FEW_CYLINDERS;
  heads = heads < MIN_HEADS ? MIN_HEADS : heads;
  if (heads <= MAX_HEADS && total / 17 < heads * FEW_CYLINDERS)
    return make(total / 17, heads, 17);
  if (total / 31 < MAX_HEADS * FEW_CYLINDERS)
    return make(total / 31, MAX_HEADS, 31);
  return make(total / 63, MAX_HEADS, 63);
}

uint64_t vd_vhd_geometry_size(VdVhdGeometry geometry)
{
  return (uint64_t)geometry.cylinders * geometry.heads * geometry.sectors * SECTOR_SIZE;
}

VdVhdGeometry vd_vhd_geometry_for_new(uint64_t size)
{
  VdVhdGeometry geometry = vd_vhd_geometry(size);

  return vd_vhd_geometry_size(geometry) == size ? geometry : VD_VHD_GEOMETRY_FULL;
}
