/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The region table of a VHDX (MS-VHDX 2.2.3), of which there are two copies: where BAT and metadata lie. What
 * holds after a parse: aligned to 1 MiB, inside the file, none overlaps another or the log, no required
 * region is unknown.
 */
#pragma once

#include "formats/vhdx.h"

#define VD_VHDX_REGIONS_LENGTH 65536
#define VD_VHDX_REGIONS_1 (UINT64_C(192) << 10)
#define VD_VHDX_REGIONS_2 (UINT64_C(256) << 10)
/* Ceiling of the metadata region, bytes. */
#define VD_VHDX_MAX_METADATA (UINT64_C(128) << 20)

typedef struct {
  VdVhdxRange bat, metadata;
  VdVhdxRange all[VD_VHDX_MAX_REGIONS + 2]; /* those two, optional ones, the log; by offset */
  unsigned n_all;
} VdVhdxRegions;

/* span: VD_VHDX_REGIONS_LENGTH bytes. Signature and CRC only: whether it is this copy that counts. */
bool vd_vhdx_regions_check_sum(const VdSpan *span, VdFormatError *ret_error);
/* file_size: bytes, as if the log had been replayed. */
bool vd_vhdx_regions_parse(const VdSpan *span, const VdVhdxHeader *header, uint64_t file_size,
                           VdVhdxRegions *ret_regions, VdFormatError *ret_error);
/* Fills VD_VHDX_REGIONS_LENGTH bytes with a table of these two. */
void vd_vhdx_regions_build(const VdVhdxRange *bat, const VdVhdxRange *metadata, uint8_t *ret_bytes);
/* Another place for one of them, or both, in a good table, whose sum is made anew. NULL: stays. */
void vd_vhdx_regions_move(const VdVhdxRange *bat, const VdVhdxRange *metadata, uint8_t *bytes);
