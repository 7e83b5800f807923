/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All formats in one array: a format is one const descriptor. The format is the one that the caller asked
 * for; no other is tried, and content that does not fit is an error. Otherwise a guest that writes another
 * format's head into its own disk would choose what its image is the next time.
 */
#pragma once

#include "formats/reader.h"
#include "worker/facts.h"

typedef enum {
  VD_SCAN_WHOLE,      /* one file system at most: a CD has no partitions in the eyes of its readers */
  VD_SCAN_PARTITIONS, /* a hard disk: a file system, or a partition table, or both */
} VdScan;

typedef struct {
  const char *name;
  uint32_t device_id; /* VirtdiskDeviceId */
  VdScan scan;
  /* Fills all of *facts but device_id, file_size, pt_type, smallest_safe_size and contents; *facts is zeroed.
   */
  bool (*probe)(const VdReader *reader, VdFacts *facts, VdFormatError *ret_error);
} VdFormat;

extern const VdFormat vd_format_iso;
extern const VdFormat vd_format_vhd;
extern const VdFormat vd_format_vhdx;
extern const VdFormat vd_format_raw;

typedef enum {
  VD_CONTENT_SKIP,
  VD_CONTENT_LOOK,
} VdContentWish;

/* NULL if this version does not serve the format. */
const VdFormat *vd_format_lookup(uint32_t device_id);

/*
 * What the image is and, with VD_CONTENT_LOOK, what is inside if it is linear. fd: borrowed, readable. Writes
 * *ret_facts whole. Errors: those of the formats, PROVIDER_NOT_FOUND, IO.
 */
bool vd_format_probe(int fd, uint32_t device_id, VdContentWish wish, VdFacts *ret_facts,
                     VdFormatError *ret_error);
