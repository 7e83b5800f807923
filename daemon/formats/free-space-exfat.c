/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Free clusters of exFAT by its bitmap; not of one that was written to and not closed, nor of one whose boot
 * sectors have another sum than they say. */
#include "formats/free-space-private.h"

#define BOOT_LENGTH 512
#define BOOT_SECTORS 11
#define ENTRY 32

enum { ENTRY_END = 0, ENTRY_BITMAP = 0x81, ENTRY_UPCASE = 0x82 };

typedef struct {
  VdFreeVolume *volume;
  uint32_t sector_size;
  uint64_t table, heap, cluster_size, clusters;
  /* Of the root folder's first cluster. */
  uint32_t bitmap, upcase;
  uint64_t bitmap_length, upcase_length;
} ExFat;

/* Twelve sectors: the last holds the sum of the others again and again. Three bytes change while it is used.
 */
static bool is_boot_good(ExFat *fat)
{
  uint8_t *bytes = fat->volume->chunk;
  size_t length = (size_t)BOOT_SECTORS * fat->sector_size;
  uint32_t sum = 0;

  if (!vd_free_volume_read(fat->volume, 0, bytes, length + fat->sector_size))
    return false;
  for (size_t i = 0; i < length; i++)
    if (i != 106 && i != 107 && i != 112)
      sum = (sum << 31 | sum >> 1) + bytes[i];
  for (size_t i = length; i < length + fat->sector_size; i += 4)
    if (vd_get_le32(bytes + i) != sum)
      return vd_free_volume_refuse(fat->volume, "its boot sectors are damaged");
  return true;
}

static bool load(ExFat *fat, const uint8_t *boot)
{
  unsigned sector_shift = boot[108], cluster_shift = boot[109];
  uint64_t length, table_length;

  if (sector_shift < 9 || sector_shift > 12 || cluster_shift > 25 - sector_shift)
    return vd_free_volume_refuse(fat->volume, "its numbers are out of range");
  /* One table, version 1. */
  if (boot[510] != 0x55 || boot[511] != 0xAA || boot[110] != 1 || boot[105] != 1)
    return vd_free_volume_refuse(fat->volume, "it has features that are not known here");
  if ((vd_get_le16(boot + 106) & 0x7) != 0)
    return vd_free_volume_refuse(fat->volume, "it was not closed cleanly, or has errors");
  fat->sector_size = 1U << sector_shift;
  fat->table = (uint64_t)vd_get_le32(boot + 80) << sector_shift;
  table_length = (uint64_t)vd_get_le32(boot + 84) << sector_shift;
  fat->heap = (uint64_t)vd_get_le32(boot + 88) << sector_shift;
  fat->clusters = vd_get_le32(boot + 92);
  fat->cluster_size = UINT64_C(1) << (sector_shift + cluster_shift);
  length = vd_get_le64(boot + 72);
  if (length > fat->volume->size >> sector_shift || fat->heap >= length << sector_shift ||
      fat->clusters > ((length << sector_shift) - fat->heap) / fat->cluster_size ||
      fat->table < (uint64_t)2 * (BOOT_SECTORS + 1) << sector_shift || table_length / 4 < fat->clusters + 2 ||
      fat->heap < fat->table + table_length)
    return vd_free_volume_refuse(fat->volume, "its numbers contradict each other");
  return true;
}

static bool cluster_at(ExFat *fat, uint32_t cluster, uint64_t *ret_offset)
{
  if (cluster < 2 || cluster - 2 >= fat->clusters)
    return vd_free_volume_refuse(fat->volume, "its table names clusters that are not there");
  *ret_offset = fat->heap + (uint64_t)(cluster - 2) * fat->cluster_size;
  return true;
}

static bool own_cluster(ExFat *fat, uint32_t cluster, uint64_t *ret_offset)
{
  return cluster_at(fat, cluster, ret_offset) &&
         vd_free_volume_own(fat->volume, *ret_offset, fat->cluster_size);
}

static void take_entry(ExFat *fat, const uint8_t *entry)
{
  if (entry[0] == ENTRY_BITMAP && (entry[1] & 1) == 0) {
    fat->bitmap = vd_get_le32(entry + 20);
    fat->bitmap_length = vd_get_le64(entry + 24);
  } else if (entry[0] == ENTRY_UPCASE) {
    fat->upcase = vd_get_le32(entry + 20);
    fat->upcase_length = vd_get_le64(entry + 24);
  }
}

/* The entries of both stand in the first cluster of the root folder. */
static bool find_bitmap(ExFat *fat, uint32_t root)
{
  uint64_t at = 0, step = fat->cluster_size < VD_FREE_SPACE_CHUNK ? fat->cluster_size : VD_FREE_SPACE_CHUNK;
  bool more = true;

  if (!own_cluster(fat, root, &at))
    return false;
  for (uint64_t i = 0; i < fat->cluster_size && more && (fat->bitmap == 0 || fat->upcase == 0); i += step) {
    if (!vd_free_volume_read(fat->volume, at + i, fat->volume->chunk, step))
      return false;
    for (uint64_t k = 0; k < step && more; k += ENTRY) {
      more = fat->volume->chunk[k] != ENTRY_END;
      take_entry(fat, fat->volume->chunk + k);
    }
  }
  if (fat->bitmap == 0 || fat->upcase == 0)
    return vd_free_volume_refuse(fat->volume, "its bitmap was not found");
  if (fat->bitmap_length < (fat->clusters + 7) / 8)
    return vd_free_volume_refuse(fat->volume, "its bitmap is too short");
  return true;
}

static bool next_cluster(ExFat *fat, uint32_t *cluster)
{
  uint8_t next[4];

  if (!vd_free_volume_read(fat->volume, fat->table + (uint64_t)*cluster * 4, next, sizeof next))
    return false;
  *cluster = vd_get_le32(next);
  return true;
}

/* What a chain of so many bytes has. */
static bool own_chain(ExFat *fat, uint32_t cluster, uint64_t length)
{
  uint64_t at = 0;

  for (uint64_t done = 0; done < length; done += fat->cluster_size)
    if (!own_cluster(fat, cluster, &at) ||
        (length - done > fat->cluster_size && !next_cluster(fat, &cluster)))
      return false;
  return true;
}

/* One cluster's worth of the bitmap, or what is left of it. done: clusters told of before. */
static bool add_bitmap(ExFat *fat, uint64_t at, uint64_t *done)
{
  for (uint64_t i = 0; i < fat->cluster_size && *done < fat->clusters; i += VD_FREE_SPACE_CHUNK) {
    uint64_t left = (fat->clusters - *done + 7) / 8, n = fat->cluster_size - i;
    uint64_t bits = fat->clusters - *done;

    n = n < VD_FREE_SPACE_CHUNK ? n : VD_FREE_SPACE_CHUNK;
    n = n < left ? n : left;
    bits = bits < n * 8 ? bits : n * 8;
    if (!vd_free_volume_read(fat->volume, at + i, fat->volume->chunk, n) ||
        !vd_free_volume_add_bits(fat->volume, fat->volume->chunk, bits, fat->heap + *done * fat->cluster_size,
                                 fat->cluster_size))
      return false;
    *done += bits;
  }
  return true;
}

bool vd_free_exfat(VdFreeVolume *self)
{
  ExFat fat = {.volume = self};
  uint8_t boot[BOOT_LENGTH];
  uint64_t at = 0, done = 0;
  uint32_t cluster;

  if (!vd_free_volume_read(self, 0, boot, sizeof boot) || !load(&fat, boot) || !is_boot_good(&fat) ||
      !find_bitmap(&fat, vd_get_le32(boot + 96)) || !own_chain(&fat, fat.upcase, fat.upcase_length) ||
      !own_chain(&fat, fat.bitmap, fat.bitmap_length))
    return false;
  /* Ends: each round tells of some clusters. */
  cluster = fat.bitmap;
  while (done < fat.clusters)
    if (!cluster_at(&fat, cluster, &at) || !add_bitmap(&fat, at, &done) || !next_cluster(&fat, &cluster))
      return false;
  return true;
}
