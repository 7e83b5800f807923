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

/* "win " of Windows, "vdsk" of virtdisk; host systems: Windows and Macintosh are all there are. */
#define VD_VHD_CREATOR "vdsk"
#define VD_VHD_CREATOR_OS "Wi2k"
/* Time stamps count seconds from 2000-01-01 00:00:00 UTC, which is this since 1970. */
#define VD_VHD_EPOCH UINT64_C(946684800)

typedef struct {
  uint64_t offset; /* bytes; where the footer lies in the file: the payload of a fixed disk ends before it */
  uint32_t features;
  uint32_t version;
  uint64_t data_offset;  /* bytes; the sparse header, or all ones (64 or 32) */
  uint64_t current_size; /* bytes; the disk's size. The geometry is never used for it. */
  VdVhdType type;
  uint32_t timestamp; /* seconds since 2000 */
  uint8_t unique_id[16];
  bool saved_state;
  /* As it is stored: whoever writes the footer of an existing image writes these, foreign fields and all. */
  uint8_t bytes[VD_VHD_FOOTER_LENGTH];
} VdVhdFooter;

/* What is wrong with the footers of an image that can be read all the same. */
typedef enum {
  VD_VHD_TRAILER_GOOD,
  VD_VHD_TRAILER_SHORT,   /* 511 bytes */
  VD_VHD_TRAILER_MISSING, /* lost while the image grew: the copy in front stands in */
} VdVhdTrailer;

typedef struct {
  VdVhdFooter footer; /* its offset is 0 if the trailer is missing */
  VdVhdTrailer trailer;
  bool front_stale;   /* the copy in front is bad, or differs from the trailer; never of fixed disks */
  uint64_t space_end; /* bytes; where the trailer begins, or the file ends if there is none */
} VdVhdFooters;

/* span: VD_VHD_FOOTER_LENGTH bytes. Errors: VHD_DRIVE_FOOTER_MISSING (no cookie), _CHECKSUM_MISMATCH,
 * _CORRUPT, VHD_FORMAT_UNSUPPORTED_VERSION, VHD_INVALID_SIZE. */
bool vd_vhd_footer_parse(const VdSpan *span, VdVhdFooter *ret_footer, VdFormatError *ret_error);

/* Reads and parses the trailer; also VHD_DRIVE_FOOTER_MISSING for a file too short for one, and IO. */
bool vd_vhd_footer_read_trailer(const VdReader *reader, VdVhdFooter *ret_footer, VdFormatError *ret_error);

/* The same for the copy at the start of the file. */
bool vd_vhd_footer_read_front(const VdReader *reader, VdVhdFooter *ret_footer, VdFormatError *ret_error);

/*
 * The footer that counts: the trailer, or if that is bad the copy in front, which only dynamic and
 * differencing images have. Of two good ones the trailer counts; they must agree on type, unique id and data
 * offset. Errors: those of the trailer; VHD_DRIVE_FOOTER_CORRUPT if the two disagree.
 */
bool vd_vhd_footers_read(const VdReader *reader, VdVhdFooters *ret_footers, VdFormatError *ret_error);

/* A new footer. timestamp: seconds since 2000. All of footer's other fields but version, offset and bytes
 * count. */
void vd_vhd_footer_build(const VdVhdFooter *footer, uint8_t ret_bytes[VD_VHD_FOOTER_LENGTH]);

/* What footer's data_offset, current_size and unique_id are now, in its bytes; the geometry with the size.
 * All else stays as it was stored. */
void vd_vhd_footer_change(VdVhdFooter *footer);

/* Seconds since 2000; 0 for a time before that or after 2136. */
uint32_t vd_vhd_timestamp(uint64_t unix_time);
