/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One of the two tables of a GPT (UEFI 2.10, chapter 5), read through a function. Nothing of it is believed
 * whose sums do not hold; what its entries name may lie anywhere. */
#pragma once

#include "formats/partitions.h"

/* Ceiling of the array, bytes; what one makes has 16 KiB. */
#define VD_GPT_MAX_ARRAY (UINT64_C(1) << 20)

typedef struct {
  bool good;                          /* the sums hold, and it stands where it says; else all is 0 */
  uint64_t alternate;                 /* sector of the other one */
  uint64_t first_usable, last_usable; /* sectors */
  uint64_t array_sectors;             /* of the array, rounded up */
  uint32_t count, stride, array_sum;
  uint8_t id[16]; /* of the disk, as it stands there */
  uint8_t *array; /* owned */
} VdGpt;

typedef struct {
  bool used;
  uint64_t first, last; /* sectors; any */
  const uint8_t *type;  /* 16 bytes, as they stand there */
} VdGptEntry;

/* lba: within the disk. False with *ret_error: it cannot be read. *ret_gpt is to be cleared in any case. */
bool vd_gpt_read(VdDiskRead read, void *user, uint64_t size, uint32_t sector_size, uint64_t lba,
                 VdGpt *ret_gpt, VdFormatError *ret_error);
/* index: below count. */
VdGptEntry vd_gpt_entry(const VdGpt *self, uint32_t index);
void vd_gpt_clear(VdGpt *self);
