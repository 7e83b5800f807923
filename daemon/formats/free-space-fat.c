/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Free clusters of FAT12, FAT16 and FAT32 by their table, and of exFAT by its bitmap; not of one that was
 * written to and not closed. */
#include "formats/free-space-private.h"

#include "util/checked.h"

#define BOOT_LENGTH 512
#define DIRECTORY_ENTRY 32
/* Of a table what a 12-bit one can have: 4084 clusters; read as a whole. */
#define FAT12_MOST 6144

typedef struct {
  VdFreeVolume *volume;
  unsigned bits; /* of an entry */
  uint64_t table, table_length, data;
  uint64_t cluster_size, clusters;
} Fat;

static bool load_fat(Fat *fat, const uint8_t *boot)
{
  uint32_t sector = vd_get_le16(boot + 11), cluster = boot[13], roots = vd_get_le16(boot + 17);
  uint64_t total = vd_get_le16(boot + 19) ? vd_get_le16(boot + 19) : vd_get_le32(boot + 32);
  uint64_t length = vd_get_le16(boot + 22) ? vd_get_le16(boot + 22) : vd_get_le32(boot + 36);
  uint64_t reserved = vd_get_le16(boot + 14), head;

  if (sector < 512 || sector > 4096 || !vd_is_power_of_two(sector) || !vd_is_power_of_two(cluster) ||
      boot[16] == 0 || reserved == 0 || length == 0 || total == 0)
    return vd_free_volume_refuse(fat->volume, "its numbers are out of range");
  head = reserved + boot[16] * length + ((uint64_t)roots * DIRECTORY_ENTRY + sector - 1) / sector;
  if (head >= total || total > fat->volume->size / sector)
    return vd_free_volume_refuse(fat->volume, "its numbers contradict each other");
  fat->cluster_size = (uint64_t)cluster * sector;
  fat->clusters = (total - head) / cluster;
  fat->bits = fat->clusters < 4085 ? 12 : fat->clusters < 65525 ? 16 : 32;
  fat->table = reserved * sector;
  fat->table_length = length * sector;
  fat->data = head * sector;
  /* Which of the tables is the one, if only one is kept. */
  if (fat->bits == 32 && (boot[40] & 0x80) != 0)
    fat->table += (boot[40] & 0x0F) % boot[16] * fat->table_length;
  if ((fat->clusters + 2) * fat->bits > fat->table_length * 8)
    return vd_free_volume_refuse(fat->volume, "its table is too short");
  return true;
}

/* Linux has a mark of its own in the boot sector; Windows' are in the table's second entry. */
static bool is_clean(Fat *fat, const uint8_t *boot)
{
  uint8_t entry[4];

  if ((boot[fat->bits == 32 ? 65 : 37] & 1) != 0)
    return vd_free_volume_refuse(fat->volume, "it was not closed cleanly");
  if (fat->bits == 12)
    return true;
  if (!vd_free_volume_read(fat->volume, fat->table + fat->bits / 8, entry, fat->bits / 8))
    return false;
  if (fat->bits == 32 ? (entry[3] & 0x0C) != 0x0C : (entry[1] & 0xC0) != 0xC0)
    return vd_free_volume_refuse(fat->volume, "it was not closed cleanly, or has errors");
  return true;
}

static bool add_cluster(Fat *fat, uint64_t number)
{
  return vd_free_volume_add(fat->volume, fat->data + (number - 2) * fat->cluster_size, fat->cluster_size);
}

static bool walk_fat12(Fat *fat)
{
  uint8_t *table = fat->volume->chunk;
  uint64_t length = fat->table_length < FAT12_MOST + 2 ? fat->table_length : FAT12_MOST + 2;

  if (!vd_free_volume_read(fat->volume, fat->table, table, length))
    return false;
  for (uint64_t number = 2; number < fat->clusters + 2; number++) {
    uint16_t pair = vd_get_le16(table + number * 3 / 2);

    if ((number % 2 == 0 ? pair & 0xFFF : pair >> 4) == 0 && !add_cluster(fat, number))
      return false;
  }
  return true;
}

static bool is_free(const Fat *fat, const uint8_t *entry)
{
  return fat->bits == 16 ? vd_get_le16(entry) == 0 : (vd_get_le32(entry) & 0x0FFFFFFF) == 0;
}

static bool walk_fat(Fat *fat)
{
  uint64_t width = fat->bits / 8, per_chunk = VD_FREE_SPACE_CHUNK / width;

  for (uint64_t first = 0; first < fat->clusters + 2; first += per_chunk) {
    uint64_t left = fat->clusters + 2 - first, n = left < per_chunk ? left : per_chunk;

    if (!vd_free_volume_read(fat->volume, fat->table + first * width, fat->volume->chunk, n * width))
      return false;
    for (uint64_t i = first < 2 ? 2 : 0; i < n; i++)
      if (is_free(fat, fat->volume->chunk + i * width) && !add_cluster(fat, first + i))
        return false;
  }
  return true;
}

bool vd_free_fat(VdFreeVolume *self)
{
  Fat fat = {.volume = self};
  uint8_t boot[BOOT_LENGTH];

  if (!vd_free_volume_read(self, 0, boot, sizeof boot) || !load_fat(&fat, boot) || !is_clean(&fat, boot))
    return false;
  return fat.bits == 12 ? walk_fat12(&fat) : walk_fat(&fat);
}

typedef struct {
  VdFreeVolume *volume;
  uint64_t table, heap, cluster_size, clusters;
} ExFat;

static bool load_exfat(ExFat *fat, const uint8_t *boot)
{
  unsigned sector_shift = boot[108], cluster_shift = boot[109];

  if (sector_shift < 9 || sector_shift > 12 || cluster_shift > 25 - sector_shift)
    return vd_free_volume_refuse(fat->volume, "its numbers are out of range");
  if ((vd_get_le16(boot + 106) & 0x7) != 0)
    return vd_free_volume_refuse(fat->volume, "it was not closed cleanly, or has errors");
  fat->table = (uint64_t)vd_get_le32(boot + 80) << sector_shift;
  fat->heap = (uint64_t)vd_get_le32(boot + 88) << sector_shift;
  fat->clusters = vd_get_le32(boot + 92);
  fat->cluster_size = UINT64_C(1) << (sector_shift + cluster_shift);
  if (fat->heap >= fat->volume->size || fat->clusters > (fat->volume->size - fat->heap) / fat->cluster_size)
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

/* The bitmap's entry stands in the first cluster of the root directory. */
static bool find_bitmap(ExFat *fat, uint32_t root, uint32_t *ret_cluster, uint64_t *ret_length)
{
  uint64_t at = 0;

  if (!cluster_at(fat, root, &at))
    return false;
  for (uint64_t i = 0; i < fat->cluster_size; i += DIRECTORY_ENTRY) {
    uint8_t entry[DIRECTORY_ENTRY];

    if (!vd_free_volume_read(fat->volume, at + i, entry, sizeof entry))
      return false;
    if (entry[0] == 0)
      break;
    if (entry[0] != 0x81 || (entry[1] & 1) != 0)
      continue;
    *ret_cluster = vd_get_le32(entry + 20);
    *ret_length = vd_get_le64(entry + 24);
    return true;
  }
  return vd_free_volume_refuse(fat->volume, "its bitmap was not found");
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
  uint8_t boot[BOOT_LENGTH], next[4];
  uint64_t length = 0, at = 0, done = 0;
  uint32_t cluster = 0;

  if (!vd_free_volume_read(self, 0, boot, sizeof boot) || !load_exfat(&fat, boot) ||
      !find_bitmap(&fat, vd_get_le32(boot + 96), &cluster, &length))
    return false;
  if (length < (fat.clusters + 7) / 8)
    return vd_free_volume_refuse(self, "its bitmap is too short");
  /* Ends: each round tells of some clusters. */
  while (done < fat.clusters) {
    if (!cluster_at(&fat, cluster, &at) || !add_bitmap(&fat, at, &done) ||
        !vd_free_volume_read(self, fat.table + (uint64_t)cluster * 4, next, sizeof next))
      return false;
    cluster = vd_get_le32(next);
  }
  return true;
}
