/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of free-space.h:
 *   free-space.c        one volume after the other: what it tells, and what becomes of that
 *   free-space-table.c  partition tables
 *   free-space-owner.c  who uses a volume: libblkid, and what it passes over
 *   free-space-ext.c    ext2, ext3, ext4
 *   free-space-fat.c    FAT12, FAT16, FAT32
 *   free-space-exfat.c  exFAT
 *   free-space-ntfs.c   NTFS
 *   free-space-xfs.c    XFS
 */
#pragma once

#include <endian.h>
#include <string.h>

#include "formats/free-space.h"

/* So much of a map is read at a time, bytes. */
#define VD_FREE_SPACE_CHUNK ((size_t)64 << 10)
/* Places that a file system needs itself, and that are compared with what it calls free. */
#define VD_FREE_SPACE_OWN 256

typedef struct {
  uint64_t start, end; /* bytes */
} VdFreeRange;

/* One file system in its partition. */
typedef struct {
  const VdFreeSpaceDisk *disk;
  uint64_t start, size;  /* bytes of the disk */
  bool ended;            /* found() said so */
  bool told;             /* something was found already */
  uint64_t run, run_end; /* bytes of the partition: free, and not yet told of */
  uint8_t *chunk;        /* VD_FREE_SPACE_CHUNK */
  const char *reason;    /* why it was not asked; a constant text */
  unsigned n_own;
  VdFreeRange own[VD_FREE_SPACE_OWN]; /* bytes of the partition */
} VdFreeVolume;

/* Within the volume; false: it cannot be read, or lies outside (reason). */
bool vd_free_volume_read(VdFreeVolume *self, uint64_t offset, void *ret_bytes, size_t length);
/* The file system needs that itself, bytes of the volume: what comes later must not call it free. */
bool vd_free_volume_own(VdFreeVolume *self, uint64_t offset, uint64_t length);
/* Nobody needs that, bytes of the volume. False: it is to end, or cannot be (reason). */
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
bool vd_free_xfs(VdFreeVolume *self);

/* free-space-owner.c */
typedef struct {
  const char *name;                /* for people; NULL: nobody uses it, as far as can be told */
  bool (*ask)(VdFreeVolume *self); /* NULL: not to be asked, for reason */
  const char *reason;
} VdFreeOwner;

/* Who uses the volume as a whole. */
VdFreeOwner vd_free_owner(VdFreeVolume *volume);

/* free-space-table.c */
typedef struct {
  unsigned number;     /* as the kernel counts; 0: the whole disk */
  uint64_t start, end; /* bytes of the disk */
  const char *reason;  /* NULL: a file system may be in it; else why nobody is asked */
} VdFreePartition;

typedef struct {
  unsigned n; /* 0 without a reason: no table, the disk may be used as a whole */
  VdFreePartition partitions[VD_FREE_SPACE_PARTITIONS];
  const char *reason; /* the table does not make sense: nobody is asked */
} VdFreeTable;

void vd_free_table_read(const VdFreeSpaceDisk *disk, VdFreeTable *ret_table);

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

static inline uint16_t vd_get_be16(const uint8_t *at)
{
  uint16_t value;

  memcpy(&value, at, sizeof value);
  return be16toh(value);
}

static inline uint32_t vd_get_be32(const uint8_t *at)
{
  uint32_t value;

  memcpy(&value, at, sizeof value);
  return be32toh(value);
}

static inline uint64_t vd_get_be64(const uint8_t *at)
{
  uint64_t value;

  memcpy(&value, at, sizeof value);
  return be64toh(value);
}
