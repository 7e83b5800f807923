/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The geometry in a VHD footer, as its specification has it ("CHS Calculation"): nearly always less than the
 * disk, never used for the disk's size.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  uint16_t cylinders;
  uint8_t heads;
  uint8_t sectors; /* per track */
} VdVhdGeometry;

/* The largest there is: "the disk is larger than a geometry can say". */
#define VD_VHD_GEOMETRY_FULL ((VdVhdGeometry){.cylinders = 65535, .heads = 16, .sectors = 255})

/* size: bytes; a rest of less than a sector does not count. */
VdVhdGeometry vd_vhd_geometry(uint64_t size);
/* Bytes that the geometry covers. */
uint64_t vd_vhd_geometry_size(VdVhdGeometry geometry);
/*
 * What a new image says: the geometry if it covers the disk to the last byte, else the full one. Readers that
 * believe the geometry take the full one for "see the size field" (QEMU up to 9); with any other they would
 * cut off the disk's end and the backup partition table there. Readers that do not (Windows, VirtualBox,
 * libvhdi) lose nothing by it; disk2vhd has always written it so.
 */
VdVhdGeometry vd_vhd_geometry_for_new(uint64_t size);
