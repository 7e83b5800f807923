/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the file systems inside a disk call free. Readers of their own, small and read-only: the bytes are
 * hostile, and run inside the worker's sandbox. A wrong answer would throw a user's data away: what is not
 * closed cleanly, is not known in every feature, or has a second owner is not asked at all.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The most partitions that are looked at; a table with more is looked at no further. */
#define VD_FREE_SPACE_PARTITIONS 128
#define VD_FREE_SPACE_NOTE 256

typedef struct {
  /* Of the disk; any offset and length within size. False: it cannot be read. */
  bool (*read)(void *user, uint64_t offset, void *ret_bytes, size_t length);
  /* Nobody needs these bytes of the disk. Within a file system ascending. False: it is to end. */
  bool (*found)(void *user, uint64_t offset, uint64_t length);
  void *user;
  uint64_t size;        /* bytes */
  uint32_t sector_size; /* logical, bytes: of partition tables */
} VdFreeSpaceDisk;

typedef struct {
  uint32_t asked;                /* file systems that told */
  uint32_t fell_back;            /* that were recognised, or are there, and told nothing */
  char note[VD_FREE_SPACE_NOTE]; /* which, and why; ASCII; may be cut */
} VdFreeSpaceReport;

/* Blocks; reads little but maps. False: found() said that it is to end. */
bool vd_free_space_find(const VdFreeSpaceDisk *disk, VdFreeSpaceReport *ret_report);
