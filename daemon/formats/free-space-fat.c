/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Free clusters of FAT12, FAT16 and FAT32 by their table; not of one that was written to and not closed, nor
 * of one whose tables differ. */
#include "formats/free-space-private.h"

#include "util/checked.h"

#define BOOT_LENGTH 512
#define DIRECTORY_ENTRY 32
/* Of a table what a 12-bit one can have: 4084 clusters; read as a whole. */
#define FAT12_MOST 6144
/* With so many it is the next kind (Microsoft's specification). */
#define FAT12_CLUSTERS 4085
#define FAT16_CLUSTERS 65525
#define FAT32_CLUSTERS 0x0FFFFFF5

typedef struct {
  VdFreeVolume *volume;
  unsigned bits; /* of an entry */
  unsigned tables;
  uint64_t table, table_length, data;
  uint64_t cluster_size, clusters;
} Fat;

/* By what Windows and Linux go by: one of 32 bits has no length where the others have theirs. */
static unsigned find_bits(const Fat *fat, const uint8_t *boot)
{
  if (vd_get_le16(boot + 22) == 0)
    return memcmp(boot + 82, "FAT32   ", 8) == 0 && vd_get_le16(boot + 42) == 0 ? 32 : 0;
  if (fat->clusters < FAT12_CLUSTERS)
    return memcmp(boot + 54, "FAT12   ", 8) == 0 ? 12 : 0;
  return fat->clusters < FAT16_CLUSTERS && memcmp(boot + 54, "FAT16   ", 8) == 0 ? 16 : 0;
}

static bool load_fat(Fat *fat, const uint8_t *boot)
{
  uint32_t sector = vd_get_le16(boot + 11), cluster = boot[13], roots = vd_get_le16(boot + 17);
  uint64_t total = vd_get_le16(boot + 19) ? vd_get_le16(boot + 19) : vd_get_le32(boot + 32);
  uint64_t length = vd_get_le16(boot + 22) ? vd_get_le16(boot + 22) : vd_get_le32(boot + 36);
  uint64_t reserved = vd_get_le16(boot + 14), head;

  if (sector < 512 || sector > 4096 || !vd_is_power_of_two(sector) || !vd_is_power_of_two(cluster) ||
      boot[16] == 0 || boot[510] != 0x55 || boot[511] != 0xAA || reserved == 0 || length == 0 || total == 0)
    return vd_free_volume_refuse(fat->volume, "its numbers are out of range");
  head = reserved + boot[16] * length + ((uint64_t)roots * DIRECTORY_ENTRY + sector - 1) / sector;
  if (head >= total || total > fat->volume->size / sector)
    return vd_free_volume_refuse(fat->volume, "its numbers contradict each other");
  fat->cluster_size = (uint64_t)cluster * sector;
  fat->clusters = (total - head) / cluster;
  fat->bits = find_bits(fat, boot);
  if (fat->bits == 0 || fat->clusters >= FAT32_CLUSTERS || (fat->bits == 32 && roots != 0))
    return vd_free_volume_refuse(fat->volume, "what it calls itself is not what it is");
  fat->tables = boot[16];
  fat->table = reserved * sector;
  fat->table_length = length * sector;
  fat->data = head * sector;
  if (fat->bits == 32 && (boot[40] & 0x80) != 0)
    return vd_free_volume_refuse(fat->volume, "only one of its tables is kept");
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

/* The first entry begins with what the boot sector says of the medium, and is ones else. */
static bool is_first_entry_good(Fat *fat, const uint8_t *boot)
{
  uint8_t entry[4] = {0};

  if (!vd_free_volume_read(fat->volume, fat->table, entry, fat->bits == 32 ? 4 : 2))
    return false;
  if (entry[0] != boot[21] || (entry[1] | (fat->bits == 12 ? 0xF0 : 0)) != 0xFF ||
      (fat->bits == 32 && (entry[2] != 0xFF || (entry[3] & 0x0F) != 0x0F)))
    return vd_free_volume_refuse(fat->volume, "its table does not begin as it should");
  return true;
}

static bool are_tables_alike(Fat *fat)
{
  uint8_t *other = fat->volume->chunk + VD_FREE_SPACE_CHUNK / 2;
  uint64_t used = ((fat->clusters + 2) * fat->bits + 7) / 8, most = VD_FREE_SPACE_CHUNK / 2;

  for (unsigned i = 1; i < fat->tables; i++)
    for (uint64_t at = 0; at < used; at += most) {
      size_t n = (size_t)(used - at < most ? used - at : most);

      if (!vd_free_volume_read(fat->volume, fat->table + at, fat->volume->chunk, n) ||
          !vd_free_volume_read(fat->volume, fat->table + i * fat->table_length + at, other, n))
        return false;
      if (memcmp(fat->volume->chunk, other, n) != 0)
        return vd_free_volume_refuse(fat->volume, "its tables differ");
    }
  return true;
}

/* The root folder of the others has a place of its own. */
static bool keep_root(Fat *fat, const uint8_t *boot)
{
  uint32_t root = vd_get_le32(boot + 44);

  if (fat->bits != 32)
    return true;
  if (root < 2 || root - 2 >= fat->clusters)
    return vd_free_volume_refuse(fat->volume, "its table names clusters that are not there");
  return vd_free_volume_own(fat->volume, fat->data + (root - 2) * fat->cluster_size, fat->cluster_size);
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

  if (!vd_free_volume_read(self, 0, boot, sizeof boot) || !load_fat(&fat, boot) || !is_clean(&fat, boot) ||
      !is_first_entry_good(&fat, boot) || !are_tables_alike(&fat) || !keep_root(&fat, boot))
    return false;
  return fat.bits == 12 ? walk_fat12(&fat) : walk_fat(&fat);
}
