/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sparse header of a dynamic or differencing VHD: 1024 bytes, big-endian, where the footer's data offset
 * says; how large blocks are, where their table lies, and who the parent is. It has no second copy.
 *
 * After a successful parse: cookie and checksum hold, the major version is 1, the block size is a power of
 * two within its ceilings, and the table has at most VD_VHD_MAX_TABLE_ENTRIES. After a successful read, in
 * addition: the table has an entry for each block of the disk, and front footer, header, table and the texts
 * of locators lie within the file, before the trailer, and apart from each other. No entry has been looked
 * at.
 */
#pragma once

#include "formats/vhd-footer.h"
#include "formats/vhd-locator.h"

#define VD_VHD_SPARSE_LENGTH 1024
/* Where the parent's name lies in it, and its bytes. */
#define VD_VHD_PARENT_NAME_LENGTH 512
/* Ceilings: bytes of data in a block; entries of the table (16 MiB of it: 2040 GiB in blocks of 512 KiB). */
#define VD_VHD_MIN_BLOCK (UINT32_C(4) << 10)
#define VD_VHD_MAX_BLOCK (UINT32_C(256) << 20)
#define VD_VHD_MAX_TABLE_ENTRIES (UINT32_C(4) << 20)

typedef struct {
  uint64_t offset;       /* bytes; where the header lies */
  uint64_t table_offset; /* bytes; a multiple of 512 */
  uint32_t version;
  uint32_t max_entries;
  uint32_t block_size; /* bytes */
  uint32_t parent_timestamp;
  uint8_t parent_id[16];
  char parent_name[VD_MAX_PARENT_PATH]; /* UTF-8; what is no text is left out: empty */
  VdVhdLocator locators[VD_VHD_LOCATORS];
} VdVhdSparse;

/* A stretch of the file that belongs to a structure. */
typedef struct {
  uint64_t offset, length; /* bytes */
} VdVhdRange;

/* Front footer, header, table, texts of locators. */
#define VD_VHD_MAX_RANGES (3 + VD_VHD_LOCATORS)

/* span: VD_VHD_SPARSE_LENGTH bytes. Errors: VHD_SPARSE_HEADER_CORRUPT, _CHECKSUM_MISMATCH,
 * _UNSUPPORTED_VERSION, VHD_INVALID_BLOCK_SIZE. */
bool vd_vhd_sparse_parse(const VdSpan *span, VdVhdSparse *ret_sparse, VdFormatError *ret_error);

/* Reads the header of an image that is not fixed, parses it and compares it with the file; also
 * VHD_DRIVE_FOOTER_CORRUPT (data offset), VHD_INVALID_FILE_SIZE, IO. */
bool vd_vhd_sparse_read(const VdReader *reader, const VdVhdFooters *footers, VdVhdSparse *ret_sparse,
                        VdFormatError *ret_error);

/* A new header: all fields but offset and version count. False: the parent's name is no UTF-8 or too long. */
bool vd_vhd_sparse_build(const VdVhdSparse *sparse, uint8_t ret_bytes[VD_VHD_SPARSE_LENGTH]);

/* In the bytes of one that is stored: how many entries the table has. Changes the first sector alone. */
void vd_vhd_sparse_set_entries(uint8_t bytes[VD_VHD_SPARSE_LENGTH], uint32_t max_entries);

/* Where no block may lie. Returns how many. Locators count in differencing images only. */
unsigned vd_vhd_sparse_ranges(const VdVhdSparse *sparse, VdVhdType type, VdVhdRange ret[VD_VHD_MAX_RANGES]);

/* Blocks that a disk of that size has, bytes of the table with the rest of its last sector, and bytes of the
 * sector bitmap in front of each block. */
uint64_t vd_vhd_block_count(uint64_t size, uint32_t block_size);
uint64_t vd_vhd_table_length(uint32_t entries);
uint32_t vd_vhd_bitmap_length(uint32_t block_size);
