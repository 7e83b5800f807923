/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The VHD footer: 512 bytes, big-endian, at the end of every VHD and, of dynamic and differencing ones, once
 * more at the start ("Virtual Hard Disk Image Format Specification" 1.0, Hard Disk Footer Format). Writers
 * before 2004 stored its first 511 bytes only; the missing one counts as zero.
 *
 * After a successful parse: cookie and checksum hold, the major version is 1, the disk type is fixed, dynamic
 * or differencing, and current_size is a positive multiple of 512 of at most VD_VHD_MAX_SIZE. The checksum is
 * a plain sum: it makes no field trustworthy, and none of the offsets has been compared with the file.
 */
#pragma once

#include "formats/reader.h"

#define VD_VHD_FOOTER_LENGTH 512
#define VD_VHD_SHORT_FOOTER_LENGTH 511
#define VD_VHD_SECTOR_SIZE 512
/* Where current_size lies in the footer, bytes; for messages of those who compare it with the file. */
#define VD_VHD_AT_CURRENT_SIZE 48
/* Ceiling of the disk, bytes: 2040 GiB, 0xFF000000 sectors. */
#define VD_VHD_MAX_SIZE (UINT64_C(2040) << 30)

typedef enum {
  VD_VHD_FIXED = 2,
  VD_VHD_DYNAMIC = 3,
  VD_VHD_DIFFERENCING = 4,
} VdVhdType;

typedef struct {
  uint64_t offset; /* bytes; where the footer lies in the file: the payload of a fixed disk ends before it */
  uint32_t features;
  uint32_t version;
  uint64_t data_offset;  /* bytes; the sparse header, or all ones (64 or 32) */
  uint64_t current_size; /* bytes; the disk's size. The geometry is never used for it. */
  VdVhdType type;
  uint8_t unique_id[16];
  bool saved_state;
} VdVhdFooter;

/* span: VD_VHD_FOOTER_LENGTH bytes. Errors: VHD_DRIVE_FOOTER_MISSING (no cookie), _CHECKSUM_MISMATCH,
 * _CORRUPT, VHD_FORMAT_UNSUPPORTED_VERSION, VHD_INVALID_SIZE. */
bool vd_vhd_footer_parse(const VdSpan *span, VdVhdFooter *ret_footer, VdFormatError *ret_error);

/* Reads and parses the trailer; also VHD_DRIVE_FOOTER_MISSING for a file too short for one, and IO. */
bool vd_vhd_footer_read_trailer(const VdReader *reader, VdVhdFooter *ret_footer, VdFormatError *ret_error);

/* The same for the copy at the start of the file. */
bool vd_vhd_footer_read_front(const VdReader *reader, VdVhdFooter *ret_footer, VdFormatError *ret_error);
