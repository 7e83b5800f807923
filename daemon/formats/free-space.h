/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the file systems inside a disk call free. Readers of their own, small and read-only: the bytes are
 * hostile, and run inside the worker's sandbox. A wrong answer would throw a user's data away, so that
 * silence is the rule: a file system is asked only if the whole table of partitions makes sense, its
 * partition has a type that file systems have, libblkid finds it and no other owner, it was closed cleanly,
 * all of its features are known here, and its maps agree with whatever else it says of itself; and nothing
 * that it said counts before it has said all of it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The most partitions; of a disk with more nobody is asked. */
#define VD_FREE_SPACE_PARTITIONS 128
#define VD_FREE_SPACE_NOTE 256

typedef enum { VD_FREE_SPACE_FORGET, VD_FREE_SPACE_KEEP } VdFreeSpaceVerdict;

typedef struct {
  /* Of the disk; any offset and length within size. False: it cannot be read, or all is to end. */
  bool (*read)(void *user, uint64_t offset, void *ret_bytes, size_t length);
  /* A file system calls these bytes of the disk free. Ascending. False: it is to end. */
  bool (*found)(void *user, uint64_t offset, uint64_t length);
  /* After each file system that found anything: nobody needs what was found since the last call, or nothing
   * of that is to be believed. */
  void (*settle)(void *user, VdFreeSpaceVerdict verdict);
  void *user;
  uint64_t size;        /* bytes */
  uint32_t sector_size; /* logical, bytes: of partition tables */
  int scratch;          /* a file of ours, for libblkid; its content goes. Borrowed */
} VdFreeSpaceDisk;

typedef struct {
  uint32_t asked;                /* file systems that told */
  uint32_t fell_back;            /* that were recognised, or are there, and told nothing */
  char note[VD_FREE_SPACE_NOTE]; /* which, and why; ASCII; may be cut */
} VdFreeSpaceReport;

/* Blocks; reads little but maps. False: found() said that it is to end. */
bool vd_free_space_find(const VdFreeSpaceDisk *disk, VdFreeSpaceReport *ret_report);
