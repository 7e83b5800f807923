/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A VHDX as a whole: reads header, log (into memory, or not where it was replayed), region table, metadata
 * and parent locator in the order that MS-VHDX demands, and compares each number with the file. The BAT is
 * checked apart, since it may be large.
 */
#pragma once

#include "formats/vhdx-bat.h"
#include "formats/vhdx-header.h"
#include "formats/vhdx-locator.h"
#include "formats/vhdx-log.h"

#define VD_VHDX_MIN_BLOCK (UINT32_C(1) << 20)
#define VD_VHDX_MAX_BLOCK (UINT32_C(256) << 20)

typedef struct {
  uint64_t offset, length; /* bytes */
} VdVhdxRange;

/* Regions, the log and the headers: where no block may lie. Ceiling of optional regions that are kept. */
#define VD_VHDX_MAX_REGIONS 64

typedef struct {
  VdVhdxHeader header;
  VdVhdxOverlay *overlay; /* NULL: the log is empty or was replayed */
  uint64_t file_size;     /* bytes, as if the log had been replayed */
  VdVhdxRange bat, metadata;
  VdVhdxRange reserved[VD_VHDX_MAX_REGIONS + 2]; /* all regions and the log, by offset */
  unsigned n_reserved;
  uint64_t virtual_size; /* bytes */
  uint32_t block_size, sector_size, physical_sector_size;
  bool leave_blocks_allocated; /* "fixed" */
  bool has_parent;
  uint8_t disk_id[16]; /* as on disk */
  VdVhdxLocator locator;
  VdVhdxBatShape shape;
} VdVhdx;

/* Errors: FILE_CORRUPT, VHD_FORMAT_UNSUPPORTED_VERSION, NOT_SUPPORTED, VHD_INVALID_SIZE, IO; each text names
 * structure, field and offset. On success vd_vhdx_clear() is due. */
bool vd_vhdx_read(const VdReader *reader, VdVhdx *ret_vhdx, VdFormatError *ret_error);
void vd_vhdx_clear(VdVhdx *vhdx);

/* Says of each entry with a place, and of some without, what it is; bitmap: a sector bitmap block's. Returns
 * false to stop (with *ret_error filled). */
typedef bool (*VdVhdxBatVisit)(void *user, uint64_t index, uint64_t entry, bool bitmap,
                               VdFormatError *ret_error);

/* Which offset of the file belongs to a block: one bit per MiB, lowest first. */
typedef struct {
  uint8_t *bits;
  uint64_t length; /* MiB; of the file, or more where its last block is cut off by the file's end */
} VdVhdxOccupancy;

/*
 * Reads the whole BAT (holes of the file are skipped), checks state, reserved bits, range, overlap (also of
 * space that an unmapped block keeps), that a partially present block has a bitmap. The disk's last block may
 * be cut off by the file's end behind the disk's own. ret_occupancy may be NULL
 * (the check is done all the same); else it has bits set for headers, regions, log and blocks, to be released
 * with vd_vhdx_occupancy_clear(). visit may be NULL.
 */
bool vd_vhdx_check_bat(const VdReader *reader, const VdVhdx *vhdx, VdVhdxBatVisit visit, void *user,
                       VdVhdxOccupancy *ret_occupancy, VdFormatError *ret_error);
/* For who only reads: that the file ends before a block is no fault, as of an image whose host was full. Who
 * reads that block must get an error. */
bool vd_vhdx_check_bat_to_read(const VdReader *reader, const VdVhdx *vhdx, VdVhdxBatVisit visit, void *user,
                               VdFormatError *ret_error);
void vd_vhdx_occupancy_clear(VdVhdxOccupancy *occupancy);

/* The same for a checker: tells of every entry that is at fault instead of ending at the first. */
typedef void (*VdVhdxBatFault)(void *user, const VdFormatError *error);
bool vd_vhdx_survey_bat(const VdReader *reader, const VdVhdx *vhdx, VdVhdxBatVisit visit,
                        VdVhdxBatFault fault, void *user, VdVhdxOccupancy *ret_occupancy,
                        VdFormatError *ret_error);
