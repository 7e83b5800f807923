/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The block allocation table of a VHD: for each block of the disk the sector of the file at which its sector
 * bitmap begins, the data behind it; all ones for a block that is not there. Entries past those that the disk
 * needs mean nothing and are never looked at.
 */
#pragma once

#include "formats/vhd-sparse.h"

#define VD_VHD_BLOCK_NONE UINT32_MAX

/* Where blocks may lie. */
typedef struct {
  uint64_t table_offset; /* bytes, for messages */
  uint32_t blocks;       /* entries that the disk needs */
  uint32_t block_size;   /* bytes of data */
  uint32_t bitmap_length;
  uint64_t space_end; /* bytes; the trailer, or the end of the file if that is missing */
  bool may_be_short;  /* without a trailer: the last block's data may end early, as a power cut left it */
  VdVhdRange ranges[VD_VHD_MAX_RANGES];
  unsigned n_ranges;
} VdVhdBatShape;

/* What the blocks take of the file. */
typedef struct {
  uint32_t allocated;
  uint64_t lowest;  /* bytes; where the first of them in the file begins; 0 if there is none */
  uint64_t highest; /* bytes; where the last one would end if it were whole; 0 if there is none */
} VdVhdBatUse;

VdVhdBatShape vd_vhd_bat_shape(const VdVhdFooters *footers, const VdVhdSparse *sparse);

/* Reads the table into ret_table: vd_vhd_table_length(shape->blocks) bytes, as stored. Errors: IO. */
bool vd_vhd_bat_read(const VdReader *reader, const VdVhdBatShape *shape, uint8_t *ret_table,
                     VdFormatError *ret_error);

/* The entry of a block, sectors. */
uint32_t vd_vhd_bat_entry(const uint8_t *table, uint32_t block);
void vd_vhd_bat_set_entry(uint8_t *table, uint32_t block, uint32_t sector);

/*
 * Checks each entry by itself: within the file, before the trailer, over no structure. Then that no two
 * blocks overlap: with such a pair one part of the disk would write into another, or into its bitmap.
 * O(n log n). scratch: room for shape->blocks numbers. Errors: VHD_BLOCK_ALLOCATION_TABLE_CORRUPT.
 */
bool vd_vhd_bat_check(const uint8_t *table, const VdVhdBatShape *shape, uint32_t *scratch,
                      VdVhdBatUse *ret_use, VdFormatError *ret_error);
/* One entry only. */
bool vd_vhd_bat_check_entry(const VdVhdBatShape *shape, uint32_t block, uint32_t sector,
                            VdFormatError *ret_error);

/* Ascending, in place, in a time that the numbers cannot choose: at most 32 passes. */
void vd_vhd_sort_sectors(uint32_t *sectors, size_t count);
