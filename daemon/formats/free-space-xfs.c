/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Free blocks of XFS, by the trees of its allocation groups that have them by their place. Version 5 only,
 * where all there is has a checksum, says whose it is and where; and only if the log's last record is that of
 * an unmount.
 */
#include "formats/crc32c.h"
#include "formats/free-space-private.h"
#include "util/checked.h"

enum { VERSION = 5, VERSION_MASK = 0xF };
enum {
  RO_COMPAT_KNOWN = 0x1 | 0x2 | 0x4 | 0x8, /* free inode tree, reverse map, reflink, inode counts */
  /* file types, sparse inodes, meta_uuid, bigtime, nrext64, exchange range, parent pointers. Not: needs
     repair, metadata folders, zones. */
  INCOMPAT_META_UUID = 0x4,
  INCOMPAT_KNOWN = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80,
};
enum { LOG_UNMOUNT = 0x20 };

#define SUPER_LENGTH 512
#define MAX_SECTOR 32768
#define BASIC 512 /* bytes; the log and places of trees are counted in these */
#define LOG_MAGIC UINT32_C(0xFEEDBABE)
/* Bytes of a record that one header block has the cycles of. */
#define LOG_PER_HEADER 32768
#define LOG_MOST (UINT64_C(2) << 30)
#define TREE_HEAD 56
#define MAX_LEVELS 12

typedef struct {
  VdFreeVolume *volume;
  uint8_t super[SUPER_LENGTH];
  const uint8_t *uuid; /* of what is inside */
  uint32_t block_size, sector_size, group_blocks, groups;
  unsigned group_shift; /* bits of a block's number within its group */
  uint64_t blocks;
} Xfs;

static bool is_sum_good(const uint8_t *bytes, size_t length, size_t at)
{
  static const uint8_t none[4];
  uint32_t sum = vd_crc32c(0, bytes, at);

  sum = vd_crc32c(sum, none, sizeof none);
  return vd_crc32c(sum, bytes + at + 4, length - at - 4) == vd_get_le32(bytes + at);
}

static bool is_super_good(Xfs *xfs)
{
  uint8_t *bytes = xfs->volume->chunk;

  if (xfs->sector_size < SUPER_LENGTH || xfs->sector_size > MAX_SECTOR ||
      !vd_is_power_of_two(xfs->sector_size))
    return vd_free_volume_refuse(xfs->volume, "its numbers are out of range");
  if (!vd_free_volume_read(xfs->volume, 0, bytes, xfs->sector_size))
    return false;
  return is_sum_good(bytes, xfs->sector_size, 224) ||
         vd_free_volume_refuse(xfs->volume, "its superblock is damaged");
}

static bool check_features(Xfs *xfs)
{
  const uint8_t *super = xfs->super;

  if ((vd_get_be16(super + 100) & VERSION_MASK) != VERSION)
    return vd_free_volume_refuse(xfs->volume, "it is older than version 5, and has no checksums");
  if ((vd_get_be32(super + 212) & ~(uint32_t)RO_COMPAT_KNOWN) != 0 ||
      (vd_get_be32(super + 216) & ~(uint32_t)INCOMPAT_KNOWN) != 0 || vd_get_be32(super + 208) != 0)
    return vd_free_volume_refuse(xfs->volume, "it has features that are not known here");
  if (super[126] != 0 || vd_get_be32(super + 220) != 0)
    return vd_free_volume_refuse(xfs->volume, "it was not closed cleanly");
  return true;
}

static bool load(Xfs *xfs)
{
  const uint8_t *super = xfs->super;
  uint64_t last;

  xfs->sector_size = vd_get_be16(super + 102);
  if (!check_features(xfs) || !is_super_good(xfs))
    return false;
  xfs->uuid = super + ((vd_get_be32(super + 216) & INCOMPAT_META_UUID) != 0 ? 248 : 32);
  xfs->block_size = vd_get_be32(super + 4);
  xfs->blocks = vd_get_be64(super + 8);
  xfs->group_blocks = vd_get_be32(super + 84);
  xfs->groups = vd_get_be32(super + 88);
  xfs->group_shift = super[124];
  if (xfs->block_size < 512 || xfs->block_size > VD_FREE_SPACE_CHUNK ||
      !vd_is_power_of_two(xfs->block_size) || xfs->block_size < xfs->sector_size || xfs->groups == 0 ||
      xfs->group_blocks < 64 || xfs->group_shift > 32 ||
      (uint64_t)xfs->group_blocks > UINT64_C(1) << xfs->group_shift ||
      xfs->blocks > xfs->volume->size / xfs->block_size)
    return vd_free_volume_refuse(xfs->volume, "its numbers contradict each other");
  last = (uint64_t)(xfs->groups - 1) * xfs->group_blocks;
  if (xfs->blocks <= last || xfs->blocks - last > xfs->group_blocks)
    return vd_free_volume_refuse(xfs->volume, "its numbers contradict each other");
  return true;
}

/* The log */

typedef struct {
  uint64_t start, blocks; /* bytes of the volume; basic blocks */
  uint64_t at;            /* basic block of the newest record; blocks: none was seen */
  uint32_t cycle;
} Log;

static bool find_log(Xfs *xfs, Log *log)
{
  uint64_t place = vd_get_be64(xfs->super + 48), blocks = vd_get_be32(xfs->super + 96);
  uint64_t group = place >> xfs->group_shift, within = place & ((UINT64_C(1) << xfs->group_shift) - 1);
  uint64_t start = group * xfs->group_blocks + within, length = blocks * xfs->block_size;

  if (place == 0)
    return vd_free_volume_refuse(xfs->volume, "its log is elsewhere");
  if (group >= xfs->groups || within >= xfs->group_blocks || length > LOG_MOST || length < 2 * BASIC ||
      !vd_range_within(start, blocks, xfs->blocks))
    return vd_free_volume_refuse(xfs->volume, "its log is not where it can be");
  *log = (Log){.start = start * xfs->block_size, .blocks = length / BASIC};
  log->at = log->blocks;
  return vd_free_volume_own(xfs->volume, log->start, length);
}

/* Any other block begins with a cycle, so that none can be taken for a header. */
static void look_at_block(const Xfs *xfs, Log *log, uint64_t number, const uint8_t *block)
{
  uint32_t cycle = vd_get_be32(block + 4);

  if (vd_get_be32(block) != LOG_MAGIC || memcmp(block + 304, xfs->super + 32, 16) != 0 ||
      vd_get_be64(block + 16) != ((uint64_t)cycle << 32 | number))
    return;
  if (log->at == log->blocks || cycle > log->cycle || (cycle == log->cycle && number > log->at)) {
    log->at = number;
    log->cycle = cycle;
  }
}

static bool find_newest_record(Xfs *xfs, Log *log)
{
  uint64_t per_chunk = VD_FREE_SPACE_CHUNK / BASIC;

  for (uint64_t first = 0; first < log->blocks; first += per_chunk) {
    uint64_t n = log->blocks - first < per_chunk ? log->blocks - first : per_chunk;

    if (!vd_free_volume_read(xfs->volume, log->start + first * BASIC, xfs->volume->chunk, n * BASIC))
      return false;
    for (uint64_t i = 0; i < n; i++)
      look_at_block(xfs, log, first + i, xfs->volume->chunk + i * BASIC);
  }
  return log->at < log->blocks || vd_free_volume_refuse(xfs->volume, "its log has no records");
}

static bool read_log(Xfs *xfs, const Log *log, uint64_t number, uint8_t *ret_block)
{
  return vd_free_volume_read(xfs->volume, log->start + number % log->blocks * BASIC, ret_block, BASIC);
}

/* The newest record is an unmount's, and nothing was begun behind it. */
static bool is_log_clean(Xfs *xfs)
{
  uint8_t header[BASIC], data[BASIC], behind[BASIC];
  uint32_t length, size, headers, cycle;
  Log log = {0};

  if (!find_log(xfs, &log) || !find_newest_record(xfs, &log) || !read_log(xfs, &log, log.at, header))
    return false;
  length = vd_get_be32(header + 12);
  size = vd_get_be32(header + 320);
  headers = size > LOG_PER_HEADER ? (size + LOG_PER_HEADER - 1) / LOG_PER_HEADER : 1;
  if ((vd_get_be32(header + 8) & ~UINT32_C(3)) != 0 || size > (1U << 18) || length == 0 ||
      length % BASIC != 0 || length > (1U << 18) || (vd_get_be32(header + 8) & 2) == 0)
    return vd_free_volume_refuse(xfs->volume, "its log is not as expected");
  if (!read_log(xfs, &log, log.at + headers, data) ||
      !read_log(xfs, &log, log.at + headers + length / BASIC, behind))
    return false;
  cycle = vd_get_be32(behind) == LOG_MAGIC ? vd_get_be32(behind + 4) : vd_get_be32(behind);
  /* Of the one operation in it: the flags. */
  if (vd_get_be32(header + 40) != 1 || (data[9] & LOG_UNMOUNT) == 0 || vd_get_be32(data) != log.cycle ||
      (cycle >= log.cycle && log.at + headers + length / BASIC < log.blocks) || cycle > log.cycle)
    return vd_free_volume_refuse(xfs->volume, "it was not closed cleanly");
  return true;
}

/* The groups */

typedef struct {
  uint32_t number, length; /* blocks */
  uint32_t free_blocks, root, levels;
  uint32_t end;  /* of the last run that was told */
  uint64_t told; /* blocks */
} Group;

static uint64_t group_start(const Xfs *xfs, const Group *group)
{
  return (uint64_t)group->number * xfs->group_blocks * xfs->block_size;
}

static bool load_group(Xfs *xfs, Group *group)
{
  uint8_t *agf = xfs->volume->chunk;
  uint64_t left = xfs->blocks - (uint64_t)group->number * xfs->group_blocks;

  if (!vd_free_volume_read(xfs->volume, group_start(xfs, group) + xfs->sector_size, agf, xfs->sector_size))
    return false;
  if (memcmp(agf, "XAGF", 4) != 0 || vd_get_be32(agf + 4) != 1 || vd_get_be32(agf + 8) != group->number ||
      memcmp(agf + 64, xfs->uuid, 16) != 0 || !is_sum_good(agf, xfs->sector_size, 216))
    return vd_free_volume_refuse(xfs->volume, "the header of a group is damaged");
  group->length = vd_get_be32(agf + 12);
  group->root = vd_get_be32(agf + 16);
  group->levels = vd_get_be32(agf + 28);
  group->free_blocks = vd_get_be32(agf + 52);
  if (group->length != (left < xfs->group_blocks ? left : xfs->group_blocks) || group->levels == 0 ||
      group->levels > MAX_LEVELS || group->free_blocks > group->length)
    return vd_free_volume_refuse(xfs->volume, "the numbers of a group contradict each other");
  return true;
}

/* Into the chunk. */
static bool read_node(Xfs *xfs, const Group *group, uint32_t block, uint32_t level)
{
  uint8_t *node = xfs->volume->chunk;
  uint64_t at = group_start(xfs, group) + (uint64_t)block * xfs->block_size;
  uint32_t per_record = level == 0 ? 8 : 12;

  if (block == 0 || block >= group->length)
    return vd_free_volume_refuse(xfs->volume, "it names places outside of itself");
  if (!vd_free_volume_read(xfs->volume, at, node, xfs->block_size))
    return false;
  if (memcmp(node, "AB3B", 4) != 0 || vd_get_be16(node + 4) != level ||
      vd_get_be16(node + 6) > (xfs->block_size - TREE_HEAD) / per_record ||
      vd_get_be64(node + 16) != at / BASIC || memcmp(node + 32, xfs->uuid, 16) != 0 ||
      vd_get_be32(node + 48) != group->number || !is_sum_good(node, xfs->block_size, 52))
    return vd_free_volume_refuse(xfs->volume, "a tree of free blocks is damaged");
  return true;
}

/* Where the first leaf is. */
static bool descend(Xfs *xfs, const Group *group, uint32_t *ret_leaf)
{
  uint32_t most = (xfs->block_size - TREE_HEAD) / 8;

  *ret_leaf = group->root;
  for (uint32_t level = group->levels - 1; level > 0; level--) {
    if (!read_node(xfs, group, *ret_leaf, level))
      return false;
    if (vd_get_be16(xfs->volume->chunk + 6) == 0)
      return vd_free_volume_refuse(xfs->volume, "a tree of free blocks is damaged");
    /* Keys first, as many as there is room for; then the places. */
    most = (xfs->block_size - TREE_HEAD) / 12;
    *ret_leaf = vd_get_be32(xfs->volume->chunk + TREE_HEAD + (size_t)most * 8);
  }
  return true;
}

static bool add_leaf(Xfs *xfs, Group *group)
{
  unsigned n = vd_get_be16(xfs->volume->chunk + 6);

  for (unsigned i = 0; i < n; i++) {
    const uint8_t *record = xfs->volume->chunk + TREE_HEAD + (size_t)i * 8;
    uint32_t start = vd_get_be32(record), count = vd_get_be32(record + 4);

    if (start < group->end || count == 0 || !vd_range_within(start, count, group->length))
      return vd_free_volume_refuse(xfs->volume, "a tree of free blocks is damaged");
    if (!vd_free_volume_add(xfs->volume, group_start(xfs, group) + (uint64_t)start * xfs->block_size,
                            (uint64_t)count * xfs->block_size))
      return false;
    group->end = start + count;
    group->told += count;
  }
  return true;
}

static bool add_group(Xfs *xfs, uint32_t number)
{
  Group group = {.number = number};
  uint32_t leaf, before;

  if (!load_group(xfs, &group) || !descend(xfs, &group, &leaf))
    return false;
  /* What the headers have was used before this group's runs were told. */
  group.end = (4 * xfs->sector_size + xfs->block_size - 1) / xfs->block_size;
  /* Ends: each leaf but the first and last has runs behind the last ones. */
  while (leaf != UINT32_MAX) {
    before = group.end;
    if (!read_node(xfs, &group, leaf, 0))
      return false;
    leaf = vd_get_be32(xfs->volume->chunk + 12);
    if (!add_leaf(xfs, &group))
      return false;
    if (leaf != UINT32_MAX && group.end == before)
      return vd_free_volume_refuse(xfs->volume, "a tree of free blocks is damaged");
  }
  return group.told == group.free_blocks ||
         vd_free_volume_refuse(xfs->volume, "a group has another number of free blocks than its tree");
}

bool vd_free_xfs(VdFreeVolume *self)
{
  Xfs xfs = {.volume = self};

  if (!vd_free_volume_read(self, 0, xfs.super, sizeof xfs.super) || !load(&xfs) || !is_log_clean(&xfs))
    return false;
  for (uint32_t number = 0; number < xfs.groups; number++)
    if (!add_group(&xfs, number))
      return false;
  return true;
}
