/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Free blocks of ext2, ext3 and ext4, by their groups' bitmaps. A file system that was not closed cleanly, or
 * has features that are not known here, is not asked; nor are bitmaps whose checksum is wrong believed. */
#include "formats/crc32c.h"
#include "formats/free-space-private.h"

enum { STATE_CLEAN = 1, STATE_ERRORS = 2 };
enum { COMPAT_SPARSE_SUPER2 = 0x200 };
enum {
  INCOMPAT_RECOVER = 0x4,
  INCOMPAT_META_BG = 0x10,
  INCOMPAT_64BIT = 0x80,
  INCOMPAT_CSUM_SEED = 0x2000,
  /* file types, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, largedir, inline data, encrypt,
     casefold */
  INCOMPAT_KNOWN =
      0x2 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000,
};
enum {
  RO_SPARSE_SUPER = 0x1,
  RO_BIGALLOC = 0x200,
  RO_GDT_CSUM = 0x10,
  RO_METADATA_CSUM = 0x400,
  RO_SHARED_BLOCKS = 0x4000
};
enum { GROUP_BLOCK_UNINIT = 2 };

#define SUPER_OFFSET 1024
#define SUPER_LENGTH 1024
#define MAX_LOG_BLOCK 6

typedef struct {
  VdFreeVolume *volume;
  uint8_t super[SUPER_LENGTH];
  uint32_t compat, incompat, ro_compat;
  uint32_t block_size, clusters_per_group, blocks_per_group, cluster_blocks;
  uint32_t first_block, first_meta_group, descriptor_size, seed;
  uint64_t blocks, groups;
} Ext;

/* Without the inversions at both ends. */
static uint32_t checksum(uint32_t seed, const void *data, size_t length)
{
  return ~vd_crc32c(~seed, data, length);
}

/* Blocks of a group's beginning that it may have for copies of the superblock and the descriptors. */
static uint64_t reserved_blocks(const Ext *ext)
{
  uint64_t per_block = ext->block_size / ext->descriptor_size;

  return 1 + (ext->groups + per_block - 1) / per_block + vd_get_le16(ext->super + 0xCE) + ext->first_block;
}

static bool check_super(Ext *ext)
{
  VdFreeVolume *volume = ext->volume;
  uint16_t state = vd_get_le16(ext->super + 0x3A);

  if ((state & STATE_CLEAN) == 0 || (ext->incompat & INCOMPAT_RECOVER) != 0)
    return vd_free_volume_refuse(volume, "it was not closed cleanly");
  if ((state & STATE_ERRORS) != 0)
    return vd_free_volume_refuse(volume, "it has errors");
  if (vd_get_le32(ext->super + 0x4C) > 1 || (ext->incompat & ~(uint32_t)INCOMPAT_KNOWN) != 0 ||
      (ext->ro_compat & RO_SHARED_BLOCKS) != 0)
    return vd_free_volume_refuse(volume, "it has features that are not known here");
  if ((ext->ro_compat & RO_METADATA_CSUM) != 0 &&
      checksum(UINT32_MAX, ext->super, 0x3FC) != vd_get_le32(ext->super + 0x3FC))
    return vd_free_volume_refuse(volume, "its superblock is damaged");
  return true;
}

static bool load_geometry(Ext *ext)
{
  const uint8_t *super = ext->super;
  uint32_t log_block = vd_get_le32(super + 0x18), log_cluster = vd_get_le32(super + 0x1C);
  bool is_64bit = (ext->incompat & INCOMPAT_64BIT) != 0;

  if (log_block > MAX_LOG_BLOCK || log_cluster < log_block || log_cluster - log_block > 20)
    return vd_free_volume_refuse(ext->volume, "its block size is out of range");
  ext->block_size = 1024U << log_block;
  ext->cluster_blocks = (ext->ro_compat & RO_BIGALLOC) != 0 ? 1U << (log_cluster - log_block) : 1;
  ext->blocks_per_group = vd_get_le32(super + 0x20);
  ext->clusters_per_group =
      (ext->ro_compat & RO_BIGALLOC) != 0 ? vd_get_le32(super + 0x24) : ext->blocks_per_group;
  ext->first_block = vd_get_le32(super + 0x14);
  ext->first_meta_group = (ext->incompat & INCOMPAT_META_BG) != 0 ? vd_get_le32(super + 0x104) : UINT32_MAX;
  ext->descriptor_size = is_64bit ? vd_get_le16(super + 0xFE) : 32;
  ext->blocks = vd_get_le32(super + 4) | (is_64bit ? (uint64_t)vd_get_le32(super + 0x150) << 32 : 0);
  ext->seed = (ext->incompat & INCOMPAT_CSUM_SEED) != 0 ? vd_get_le32(super + 0x270)
                                                        : checksum(UINT32_MAX, super + 0x68, 16);
  if (ext->clusters_per_group == 0 || ext->clusters_per_group > 8 * ext->block_size ||
      ext->clusters_per_group % 8 != 0 ||
      (uint64_t)ext->clusters_per_group * ext->cluster_blocks != ext->blocks_per_group ||
      ext->descriptor_size < (is_64bit ? 64U : 32U) || ext->descriptor_size > 1024 ||
      ext->block_size % ext->descriptor_size != 0 || ext->first_block > 1 ||
      ext->blocks <= ext->first_block || ext->blocks > ext->volume->size / ext->block_size)
    return vd_free_volume_refuse(ext->volume, "its numbers contradict each other");
  ext->groups = (ext->blocks - ext->first_block + ext->blocks_per_group - 1) / ext->blocks_per_group;
  return true;
}

static bool is_power_of(uint64_t number, uint64_t base)
{
  while (number % base == 0)
    number /= base;
  return number == 1;
}

static bool has_super(const Ext *ext, uint64_t group)
{
  if ((ext->compat & COMPAT_SPARSE_SUPER2) != 0)
    return group == 0 || group == vd_get_le32(ext->super + 0x24C) || group == vd_get_le32(ext->super + 0x250);
  return group <= 1 || (ext->ro_compat & RO_SPARSE_SUPER) == 0 || is_power_of(group, 3) ||
         is_power_of(group, 5) || is_power_of(group, 7);
}

/* The block in which a group's descriptor stands. */
static uint64_t descriptor_block(const Ext *ext, uint64_t group)
{
  uint64_t per_block = ext->block_size / ext->descriptor_size, index = group / per_block;
  uint64_t first = index * per_block;

  if (index < ext->first_meta_group)
    return ext->first_block + 1 + index;
  return ext->first_block + first * ext->blocks_per_group + has_super(ext, first);
}

static bool read_descriptor(Ext *ext, uint64_t group, uint8_t *ret_descriptor)
{
  uint64_t per_block = ext->block_size / ext->descriptor_size;
  uint64_t at = descriptor_block(ext, group) * ext->block_size + group % per_block * ext->descriptor_size;

  memset(ret_descriptor, 0, 64);
  return vd_free_volume_read(ext->volume, at, ret_descriptor, ext->descriptor_size < 64 ? 32 : 64);
}

static uint64_t join(const uint8_t *descriptor, size_t low, size_t high)
{
  return vd_get_le32(descriptor + low) | (uint64_t)vd_get_le32(descriptor + high) << 32;
}

/* Blocks of a group that has no map yet: none but those that stand for the file system's own sake. */
static bool add_unused_group(Ext *ext, uint64_t group, const uint8_t *descriptor, uint64_t first,
                             uint64_t end)
{
  uint32_t inode_size = vd_get_le32(ext->super + 0x4C) == 0 ? 128 : vd_get_le16(ext->super + 0x58);
  uint64_t table =
      ((uint64_t)vd_get_le32(ext->super + 0x28) * inode_size + ext->block_size - 1) / ext->block_size;
  const struct {
    uint64_t at, length;
  } own[] = {
      {join(descriptor, 0, 0x20), 1}, {join(descriptor, 4, 0x24), 1}, {join(descriptor, 8, 0x28), table}};

  first += reserved_blocks(ext);
  for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
    if (own[i].at < end && own[i].length > 0 && own[i].at + own[i].length > first)
      first = own[i].at + own[i].length;
  /* Clusters are free as a whole. */
  first = (first + ext->cluster_blocks - 1) / ext->cluster_blocks * ext->cluster_blocks;
  return first >= end ||
         vd_free_volume_add(ext->volume, first * ext->block_size, (end - first) * ext->block_size);
}

static bool is_good(const Ext *ext, const uint8_t *descriptor)
{
  uint32_t sum = checksum(ext->seed, ext->volume->chunk, ext->clusters_per_group / 8);

  if ((ext->ro_compat & RO_METADATA_CSUM) == 0)
    return true;
  return (sum & 0xFFFF) == vd_get_le16(descriptor + 0x18) &&
         (ext->descriptor_size < 64 || sum >> 16 == vd_get_le16(descriptor + 0x38));
}

static bool add_group(Ext *ext, uint64_t group)
{
  uint64_t first = ext->first_block + group * ext->blocks_per_group;
  uint64_t end = ext->blocks - first < ext->blocks_per_group ? ext->blocks : first + ext->blocks_per_group;
  uint8_t descriptor[64];
  uint64_t bitmap;

  if (!read_descriptor(ext, group, descriptor))
    return false;
  if ((ext->ro_compat & (RO_GDT_CSUM | RO_METADATA_CSUM)) != 0 &&
      (vd_get_le16(descriptor + 0x12) & GROUP_BLOCK_UNINIT) != 0)
    return add_unused_group(ext, group, descriptor, first, end);
  bitmap = join(descriptor, 0, 0x20);
  if (bitmap >= ext->blocks)
    return vd_free_volume_refuse(ext->volume, "it names places outside of itself");
  if (!vd_free_volume_read(ext->volume, bitmap * ext->block_size, ext->volume->chunk, ext->block_size))
    return false;
  if (!is_good(ext, descriptor))
    return vd_free_volume_refuse(ext->volume, "a bitmap is damaged");
  return vd_free_volume_add_bits(ext->volume, ext->volume->chunk, (end - first) / ext->cluster_blocks,
                                 first * ext->block_size, (uint64_t)ext->cluster_blocks * ext->block_size);
}

bool vd_free_ext(VdFreeVolume *self)
{
  Ext ext = {.volume = self};

  if (!vd_free_volume_read(self, SUPER_OFFSET, ext.super, sizeof ext.super))
    return false;
  ext.compat = vd_get_le32(ext.super + 0x5C);
  ext.incompat = vd_get_le32(ext.super + 0x60);
  ext.ro_compat = vd_get_le32(ext.super + 0x64);
  if (!check_super(&ext) || !load_geometry(&ext))
    return false;
  for (uint64_t group = 0; group < ext.groups; group++)
    if (!add_group(&ext, group))
      return false;
  return true;
}
