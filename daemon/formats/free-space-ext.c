/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Free blocks of ext2, ext3 and ext4, by their groups' bitmaps. A file system that was not closed cleanly, or
 * has features that are not known here, is not asked; nor is any of it believed if a checksum is wrong, if a
 * bitmap has another number of free blocks than its group, or calls free what stands for the file system's
 * own sake. */
#include "formats/crc32c.h"
#include "formats/free-space-private.h"

enum { STATE_CLEAN = 1, STATE_ERRORS = 2 };
enum {
  COMPAT_SPARSE_SUPER2 = 0x200,
  /* preallocation, imagic inodes, journal, extended attributes, room for more descriptors, hashed folders,
     sparse_super2, fast commits, stable inodes, orphan file. Not those of snapshots. */
  COMPAT_KNOWN = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x200 | 0x400 | 0x800 | 0x1000,
};
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
  RO_GDT_CSUM = 0x10,
  RO_BIGALLOC = 0x200,
  RO_METADATA_CSUM = 0x400,
  RO_ORPHANS = 0x10000,
  /* sparse_super, large files, hashed folders, huge files, gdt_csum, many links, large inodes, quota,
     bigalloc, metadata_csum, read-only, project quota, verity. Not snapshots, replicas or shared blocks. */
  RO_KNOWN = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x200 | 0x400 | 0x1000 | 0x2000 | 0x8000,
};
enum { GROUP_BLOCK_UNINIT = 2 };

#define SUPER_OFFSET 1024
#define SUPER_LENGTH 1024
#define MAX_LOG_BLOCK 6
#define MAX_DESCRIPTOR 1024
/* What mke2fs makes at least; with less, a small image could have groups without end. */
#define LEAST_BLOCKS_PER_GROUP 256

typedef struct {
  VdFreeVolume *volume;
  uint8_t super[SUPER_LENGTH];
  uint32_t compat, incompat, ro_compat;
  uint32_t block_size, clusters_per_group, blocks_per_group, cluster_blocks;
  uint32_t first_block, first_meta_group, descriptor_size, seed;
  uint64_t blocks, groups;
  uint64_t bitmap_group; /* whose bitmap is in the chunk; UINT64_MAX: none's */
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

  /* Of 1 KiB blocks the first is in front of the superblock, in group 0 or in none. */
  return 1 + (ext->block_size == 1024) + (ext->groups + per_block - 1) / per_block +
         vd_get_le16(ext->super + 0xCE);
}

static bool check_super(Ext *ext)
{
  VdFreeVolume *volume = ext->volume;
  uint16_t state = vd_get_le16(ext->super + 0x3A);

  if ((state & STATE_CLEAN) == 0 || (ext->incompat & INCOMPAT_RECOVER) != 0 ||
      (ext->ro_compat & RO_ORPHANS) != 0 || vd_get_le32(ext->super + 0xE8) != 0)
    return vd_free_volume_refuse(volume, "it was not closed cleanly");
  if ((state & STATE_ERRORS) != 0)
    return vd_free_volume_refuse(volume, "it has errors");
  if (vd_get_le32(ext->super + 0x4C) > 1 || (ext->compat & ~(uint32_t)COMPAT_KNOWN) != 0 ||
      (ext->incompat & ~(uint32_t)INCOMPAT_KNOWN) != 0 || (ext->ro_compat & ~(uint32_t)RO_KNOWN) != 0)
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
      ext->clusters_per_group % 8 != 0 || ext->blocks_per_group < LEAST_BLOCKS_PER_GROUP ||
      (uint64_t)ext->clusters_per_group * ext->cluster_blocks != ext->blocks_per_group ||
      ext->descriptor_size < (is_64bit ? 64U : 32U) || ext->descriptor_size > MAX_DESCRIPTOR ||
      ext->block_size % ext->descriptor_size != 0 || ext->first_block > (ext->block_size == 1024) ||
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

  /* Behind the superblock, which has block 1 if blocks are of 1 KiB, also with bigalloc, where block 0
   * counts. */
  if (index < ext->first_meta_group)
    return 1 + (ext->block_size == 1024) + index;
  return ext->first_block + first * ext->blocks_per_group + has_super(ext, first) +
         (index == 0 && ext->block_size == 1024 && ext->first_block == 0);
}

static uint16_t crc16(uint16_t sum, const uint8_t *bytes, size_t length)
{
  for (size_t i = 0; i < length; i++) {
    sum ^= bytes[i];
    for (unsigned bit = 0; bit < 8; bit++)
      sum = (uint16_t)(sum >> 1 ^ (0xA001 & -(sum & 1)));
  }
  return sum;
}

/* The sum stands at 0x1E. */
static bool is_good_descriptor(const Ext *ext, uint64_t group, const uint8_t *descriptor)
{
  static const uint8_t none[2];
  uint32_t number = htole32((uint32_t)group);
  const uint8_t *rest = descriptor + 0x20;
  size_t n_rest = ext->descriptor_size - 0x20;
  uint32_t sum;

  if ((ext->ro_compat & RO_METADATA_CSUM) != 0) {
    sum = checksum(ext->seed, &number, sizeof number);
    sum = checksum(sum, descriptor, 0x1E);
    sum = checksum(sum, none, sizeof none);
    sum = checksum(sum, rest, n_rest);
  } else if ((ext->ro_compat & RO_GDT_CSUM) != 0) {
    sum = crc16(UINT16_MAX, ext->super + 0x68, 16);
    sum = crc16((uint16_t)sum, (const uint8_t *)&number, sizeof number);
    sum = crc16((uint16_t)sum, descriptor, 0x1E);
    sum = crc16((uint16_t)sum, rest, (ext->incompat & INCOMPAT_64BIT) != 0 ? n_rest : 0);
  } else {
    return true;
  }
  return (sum & UINT16_MAX) == vd_get_le16(descriptor + 0x1E);
}

/* ret_descriptor: MAX_DESCRIPTOR bytes. */
static bool read_descriptor(Ext *ext, uint64_t group, uint8_t *ret_descriptor)
{
  uint64_t per_block = ext->block_size / ext->descriptor_size;
  uint64_t at = descriptor_block(ext, group) * ext->block_size + group % per_block * ext->descriptor_size;

  memset(ret_descriptor, 0, 64);
  if (!vd_free_volume_read(ext->volume, at, ret_descriptor, ext->descriptor_size))
    return false;
  return is_good_descriptor(ext, group, ret_descriptor) ||
         vd_free_volume_refuse(ext->volume, "the descriptor of a group is damaged");
}

static uint64_t join(const uint8_t *descriptor, size_t low, size_t high)
{
  return vd_get_le32(descriptor + low) | (uint64_t)vd_get_le32(descriptor + high) << 32;
}

static bool is_unused(const Ext *ext, const uint8_t *descriptor)
{
  return (ext->ro_compat & (RO_GDT_CSUM | RO_METADATA_CSUM)) != 0 &&
         (vd_get_le16(descriptor + 0x12) & GROUP_BLOCK_UNINIT) != 0;
}

static uint64_t table_blocks(const Ext *ext)
{
  uint32_t inode_size = vd_get_le32(ext->super + 0x4C) == 0 ? 128 : vd_get_le16(ext->super + 0x58);

  return ((uint64_t)vd_get_le32(ext->super + 0x28) * inode_size + ext->block_size - 1) / ext->block_size;
}

typedef struct {
  struct {
    uint64_t at, length; /* blocks */
  } part[3];             /* bitmap of blocks, bitmap of inodes, inodes */
} Own;

static Own own_of(const Ext *ext, const uint8_t *descriptor)
{
  return (Own){{{join(descriptor, 0, 0x20), 1},
                {join(descriptor, 4, 0x24), 1},
                {join(descriptor, 8, 0x28), table_blocks(ext)}}};
}

/* Blocks of a group that has no map yet: none but those that stand for the file system's own sake. Less than
 * is free may be told. */
static bool add_unused_group(Ext *ext, const uint8_t *descriptor, uint64_t first, uint64_t end)
{
  Own own = own_of(ext, descriptor);

  first += reserved_blocks(ext);
  for (size_t i = 0; i < 3; i++)
    if (own.part[i].at < end && own.part[i].length > 0 && own.part[i].at + own.part[i].length > first)
      first = own.part[i].at + own.part[i].length;
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

static uint64_t group_start(const Ext *ext, uint64_t group)
{
  return ext->first_block + group * ext->blocks_per_group;
}

static uint64_t group_end(const Ext *ext, uint64_t group)
{
  uint64_t start = group_start(ext, group);

  return ext->blocks - start < ext->blocks_per_group ? ext->blocks : start + ext->blocks_per_group;
}

/* Of a group, the last one may be shorter. */
static uint64_t group_clusters(const Ext *ext, uint64_t group)
{
  return (group_end(ext, group) - group_start(ext, group) + ext->cluster_blocks - 1) / ext->cluster_blocks;
}

static uint64_t count_free(const Ext *ext, uint64_t clusters)
{
  uint64_t n = 0;

  for (uint64_t i = 0; i < clusters; i++)
    n += (ext->volume->chunk[i / 8] >> (i % 8) & 1) == 0;
  return n;
}

static bool load_bitmap(Ext *ext, uint64_t group, const uint8_t *descriptor)
{
  uint64_t bitmap = join(descriptor, 0, 0x20);

  if (ext->bitmap_group == group)
    return true;
  ext->bitmap_group = UINT64_MAX;
  if (bitmap >= ext->blocks)
    return vd_free_volume_refuse(ext->volume, "it names places outside of itself");
  if (!vd_free_volume_read(ext->volume, bitmap * ext->block_size, ext->volume->chunk, ext->block_size))
    return false;
  if (!is_good(ext, descriptor))
    return vd_free_volume_refuse(ext->volume, "a bitmap is damaged");
  ext->bitmap_group = group;
  return true;
}

static bool add_group(Ext *ext, uint64_t group)
{
  uint64_t first = group_start(ext, group), end = group_end(ext, group);
  uint64_t whole = (end - first) / ext->cluster_blocks,
           unit = (uint64_t)ext->cluster_blocks * ext->block_size;
  uint32_t free_clusters;
  uint8_t descriptor[MAX_DESCRIPTOR];

  if (!read_descriptor(ext, group, descriptor))
    return false;
  if (is_unused(ext, descriptor))
    return add_unused_group(ext, descriptor, first, end);
  free_clusters = vd_get_le16(descriptor + 0xC) |
                  (ext->descriptor_size < 64 ? 0 : (uint32_t)vd_get_le16(descriptor + 0x2C) << 16);
  if (!load_bitmap(ext, group, descriptor))
    return false;
  if (count_free(ext, group_clusters(ext, group)) != free_clusters)
    return vd_free_volume_refuse(ext->volume, "a bitmap has another number of free blocks than its group");
  return vd_free_volume_add_bits(ext->volume, ext->volume->chunk, whole, first * ext->block_size, unit);
}

/* [at, at + length), blocks within one group: each is used. */
static bool check_used(Ext *ext, uint64_t group, uint64_t owner, uint64_t at, uint64_t length)
{
  uint64_t start = group_start(ext, group);
  uint8_t descriptor[MAX_DESCRIPTOR];

  if (!read_descriptor(ext, group, descriptor))
    return false;
  /* What is free of it was told without a map, behind what is its own. */
  if (is_unused(ext, descriptor))
    return group == owner || vd_free_volume_refuse(ext->volume, "a group that is used has no bitmap");
  if (!load_bitmap(ext, group, descriptor))
    return false;
  for (uint64_t i = at - start; i < at - start + length; i++) {
    uint64_t cluster = i / ext->cluster_blocks;

    if ((ext->volume->chunk[cluster / 8] >> (cluster % 8) & 1) == 0)
      return vd_free_volume_refuse(ext->volume, "it calls free what it needs itself");
  }
  return true;
}

/* Blocks that may reach over several groups. */
static bool check_range(Ext *ext, uint64_t owner, uint64_t at, uint64_t length)
{
  if (at < ext->first_block || at >= ext->blocks || length > ext->blocks - at)
    return vd_free_volume_refuse(ext->volume, "it names places outside of itself");
  while (length > 0) {
    uint64_t group = (at - ext->first_block) / ext->blocks_per_group, left = group_end(ext, group) - at;
    uint64_t n = length < left ? length : left;

    if (!check_used(ext, group, owner, at, n))
      return false;
    at += n;
    length -= n;
  }
  return true;
}

static bool check_own(Ext *ext, uint64_t group)
{
  uint8_t descriptor[MAX_DESCRIPTOR];
  Own own;

  if (!read_descriptor(ext, group, descriptor))
    return false;
  own = own_of(ext, descriptor);
  for (size_t i = 0; i < 3; i++)
    if (!check_range(ext, group, own.part[i].at, own.part[i].length))
      return false;
  return !has_super(ext, group) || check_range(ext, group, group_start(ext, group), 1);
}

bool vd_free_ext(VdFreeVolume *self)
{
  Ext ext = {.volume = self, .bitmap_group = UINT64_MAX};

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
  for (uint64_t group = 0; group < ext.groups; group++)
    if (!check_own(&ext, group))
      return false;
  return true;
}
