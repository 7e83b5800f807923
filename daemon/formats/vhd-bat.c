/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The block allocation table of a VHD: reading, entries, checks. */
#include "formats/vhd-bat.h"

#include <inttypes.h>

#include "formats/vhd-bytes.h"
#include "util/checked.h"

#define FIELD "block_allocation_table"
#define SECTOR_SIZE VD_VHD_SECTOR_SIZE
#define HIGHEST_BIT (UINT32_C(1) << 31)

VdVhdBatShape vd_vhd_bat_shape(const VdVhdFooters *footers, const VdVhdSparse *sparse)
{
  VdVhdBatShape shape = {
      .table_offset = sparse->table_offset,
      .blocks = (uint32_t)vd_vhd_block_count(footers->footer.current_size, sparse->block_size),
      .block_size = sparse->block_size,
      .bitmap_length = vd_vhd_bitmap_length(sparse->block_size),
      .space_end = footers->space_end,
      .may_be_short = footers->trailer == VD_VHD_TRAILER_MISSING,
  };

  shape.n_ranges = vd_vhd_sparse_ranges(sparse, footers->footer.type, shape.ranges);
  return shape;
}

bool vd_vhd_bat_read(const VdReader *reader, const VdVhdBatShape *shape, uint8_t *ret_table,
                     VdFormatError *ret_error)
{
  uint64_t length = vd_vhd_table_length(shape->blocks);
  VdSpan unused;

  for (uint64_t at = 0; at < length; at += VD_READER_MAX_LENGTH) {
    size_t part = (size_t)(length - at < VD_READER_MAX_LENGTH ? length - at : VD_READER_MAX_LENGTH);

    if (!vd_reader_read(reader, "VHD block allocation table", shape->table_offset + at, &ret_table[at], part,
                        &unused, ret_error))
      return false;
  }
  return true;
}

uint32_t vd_vhd_bat_entry(const uint8_t *table, uint32_t block)
{
  return vd_get_be32(&table[(size_t)block * 4]);
}

void vd_vhd_bat_set_entry(uint8_t *table, uint32_t block, uint32_t sector)
{
  vd_put_be32(&table[(size_t)block * 4], sector);
}

static bool fail(const VdVhdBatShape *shape, uint32_t block, uint32_t sector, VdFormatError *ret_error,
                 const char *what)
{
  uint64_t offset = shape->table_offset + (uint64_t)block * 4;

  return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT, offset, FIELD,
                             "VHD block allocation table at offset %" PRIu64 ": entry %" PRIu32
                             " at offset %" PRIu64 " is sector %" PRIu32 ", %s",
                             shape->table_offset, block, offset, sector, what);
}

static uint64_t whole_length(const VdVhdBatShape *shape)
{
  return (uint64_t)shape->bitmap_length + shape->block_size;
}

bool vd_vhd_bat_check_entry(const VdVhdBatShape *shape, uint32_t block, uint32_t sector,
                            VdFormatError *ret_error)
{
  /* 32 bits of sectors and 256 MiB: no sum here can overflow. */
  uint64_t begin = (uint64_t)sector * SECTOR_SIZE;
  uint64_t end = begin + whole_length(shape);

  if (!vd_range_within(begin, shape->may_be_short ? shape->bitmap_length : whole_length(shape),
                       shape->space_end))
    return fail(shape, block, sector, ret_error, "where no whole block is within the file");
  for (unsigned i = 0; i < shape->n_ranges; i++)
    if (begin < shape->ranges[i].offset + shape->ranges[i].length && shape->ranges[i].offset < end)
      return fail(shape, block, sector, ret_error, "over a structure of the image");
  return true;
}

/* Radix exchange: by one bit, then each part by the next lower one. */
static void sort_by_bit(uint32_t *sectors, size_t count, uint32_t bit)
{
  size_t low = 0, high = count;

  if (count < 2 || bit == 0)
    return;
  while (low < high)
    if ((sectors[low] & bit) == 0) {
      low++;
    } else {
      uint32_t other = sectors[--high];

      sectors[high] = sectors[low];
      sectors[low] = other;
    }
  sort_by_bit(sectors, low, bit >> 1);
  sort_by_bit(&sectors[low], count - low, bit >> 1);
}

void vd_vhd_sort_sectors(uint32_t *sectors, size_t count)
{
  sort_by_bit(sectors, count, HIGHEST_BIT);
}

/* The last entry that has this sector: of two equal ones the later, which is the one to blame. */
static uint32_t block_of(const uint8_t *table, const VdVhdBatShape *shape, uint32_t sector)
{
  uint32_t block = shape->blocks - 1;

  while (block > 0 && vd_vhd_bat_entry(table, block) != sector)
    block--;
  return block;
}

static bool check_overlap(const uint8_t *table, const VdVhdBatShape *shape, uint32_t *sorted, uint32_t count,
                          VdFormatError *ret_error)
{
  uint32_t distance = (uint32_t)(whole_length(shape) / SECTOR_SIZE);

  vd_vhd_sort_sectors(sorted, count);
  for (uint32_t i = 1; i < count; i++)
    if (sorted[i] - sorted[i - 1] < distance)
      return fail(shape, block_of(table, shape, sorted[i]), sorted[i], ret_error, "within another block");
  return true;
}

bool vd_vhd_bat_check(const uint8_t *table, const VdVhdBatShape *shape, uint32_t *scratch,
                      VdVhdBatUse *ret_use, VdFormatError *ret_error)
{
  VdVhdBatUse use = {0};

  for (uint32_t block = 0; block < shape->blocks; block++) {
    uint32_t sector = vd_vhd_bat_entry(table, block);

    if (sector == VD_VHD_BLOCK_NONE)
      continue;
    if (!vd_vhd_bat_check_entry(shape, block, sector, ret_error))
      return false;
    scratch[use.allocated++] = sector;
  }
  if (!check_overlap(table, shape, scratch, use.allocated, ret_error))
    return false;
  if (use.allocated > 0) {
    use.lowest = (uint64_t)scratch[0] * SECTOR_SIZE;
    use.highest = (uint64_t)scratch[use.allocated - 1] * SECTOR_SIZE + whole_length(shape);
  }
  *ret_use = use;
  return true;
}
