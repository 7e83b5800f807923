/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of free-space.h:
 *   free-space.c        whose bytes are where: partition tables, signatures
 *   free-space-ext.c    ext2, ext3, ext4
 *   free-space-fat.c    FAT12, FAT16, FAT32, exFAT
 *   free-space-ntfs.c   NTFS
 */
#pragma once

#include <endian.h>
#include <string.h>

#include "formats/free-space.h"

/* So much of a map is read at a time, bytes. */
#define VD_FREE_SPACE_CHUNK ((size_t)64 << 10)

/* One file system in its partition. */
typedef struct {
  const VdFreeSpaceDisk *disk;
  uint64_t start, size;  /* bytes of the disk */
  bool ended;            /* found() said so */
  bool told;             /* something was found already */
  uint64_t run, run_end; /* bytes of the partition: free, and not yet told of */
  uint8_t *chunk;        /* VD_FREE_SPACE_CHUNK */
  const char *reason;    /* why it was not asked; a constant text */
} VdFreeVolume;

/* Within the volume; false: it cannot be read, or lies outside (reason). */
bool vd_free_volume_read(VdFreeVolume *self, uint64_t offset, void *ret_bytes, size_t length);
/* Nobody needs that, bytes of the volume; what lies outside of it is left out. False: it is to end. */
bool vd_free_volume_add(VdFreeVolume *self, uint64_t offset, uint64_t length);
/* The bits that are 0 of a map, least significant first: each tells of unit bytes, the first of those at
 * offset. */
bool vd_free_volume_add_bits(VdFreeVolume *self, const uint8_t *bits, uint64_t n_bits, uint64_t offset,
                             uint64_t unit);
/* False, with the reason. */
bool vd_free_volume_refuse(VdFreeVolume *self, const char *reason);

/* Each: false, and self->reason, if it told nothing or not all. */
bool vd_free_ext(VdFreeVolume *self);
bool vd_free_fat(VdFreeVolume *self);
bool vd_free_exfat(VdFreeVolume *self);
bool vd_free_ntfs(VdFreeVolume *self);

static inline uint16_t vd_get_le16(const uint8_t *at)
{
  uint16_t value;

  memcpy(&value, at, sizeof value);
  return le16toh(value);
}

static inline uint32_t vd_get_le32(const uint8_t *at)
{
  uint32_t value;

  memcpy(&value, at, sizeof value);
  return le32toh(value);
}

static inline uint64_t vd_get_le64(const uint8_t *at)
{
  uint64_t value;

  memcpy(&value, at, sizeof value);
  return le64toh(value);
}
