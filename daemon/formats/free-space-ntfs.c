/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Free clusters of NTFS by its $Bitmap; not of a volume whose log is in use (Windows is hibernated, or was
 * not shut down), that is marked dirty, has a file to hibernate into, or has shadow copies: those live in
 * clusters that are called free. Nor of one whose map contradicts its files. */
#include "formats/free-space-private.h"

#include "util/checked.h"

enum { RECORD_TABLE = 0, RECORD_LOG = 2, RECORD_VOLUME = 3, RECORD_ROOT = 5, RECORD_BITMAP = 6 };
enum {
  ATTRIBUTE_LIST = 0x20,
  ATTRIBUTE_VOLUME_INFORMATION = 0x70,
  ATTRIBUTE_DATA = 0x80,
  ATTRIBUTE_INDEX_ROOT = 0x90,
  ATTRIBUTE_INDEX_ALLOCATION = 0xA0,
};
/* Of a volume's flags: chkdsk has been at it. Any other says that something is to be done to it. */
enum { VOLUME_WAS_CHECKED = 0x8000, VOLUME_IS_DIRTY = 0x1 };
enum { LOG_IS_CLEAN = 0x2, LOG_NO_CLIENT = 0xFFFF };
enum { INDEX_ENTRY_LAST = 2 };
enum { RECORD_IN_USE = 1 };

#define RECORD_MOST 4096
#define STRIDE 512
/* Of Windows' volume shadow copies: where their header is, and where in it their catalog's place. */
#define SHADOW_HEADER 0x1E00
#define SHADOW_CATALOG 48
/* Bytes of a folder that are looked through. */
#define ROOT_MOST (UINT64_C(16) << 20)
#define INDEX_MOST 65536
/* Of the log: where its second page is if the first was never written; and the largest there can be. */
#define LOG_PAGE 4096
#define LOG_PAGE_MOST 32768
/* Bytes of the table of files that are looked at: as many files as a quarter of all that there can be at 4
 * KiB each. */
#define TABLE_MOST (UINT64_C(64) << 30)
/* Of the map: so much of it is at hand, no more than a cluster; and the pieces that it may be in. */
#define MAP_PAGE 512
#define MAP_PIECES 64

static const uint8_t shadow_id[16] = {0x6B, 0x87, 0x08, 0x38, 0x76, 0xC1, 0x48, 0x4E,
                                      0xB7, 0xAE, 0x04, 0x04, 0x6E, 0x6C, 0xC7, 0x52};

typedef struct {
  VdFreeVolume *volume;
  uint64_t cluster_size, clusters, table;
  uint32_t record_size;
  uint8_t record[RECORD_MOST];
  unsigned n_map;
  VdFreeRange map[MAP_PIECES]; /* of the volume, bytes */
  bool has_page;
  uint64_t page_at; /* of the map */
  uint8_t page[MAP_PAGE];
} Ntfs;

/* Where a stream lies: pairs of a length and a step, each with its width. */
typedef struct {
  const uint8_t *at, *end;
  int64_t cluster;
} Runs;

static bool load(Ntfs *ntfs, const uint8_t *boot)
{
  uint32_t sector = vd_get_le16(boot + 11), per_cluster = boot[13];
  int8_t record = (int8_t)boot[64];

  /* Above 128 it is a power of two, negated. */
  if (per_cluster > 128)
    per_cluster = per_cluster >= 244 ? 1U << (256 - per_cluster) : 0;
  if (boot[510] != 0x55 || boot[511] != 0xAA)
    return vd_free_volume_refuse(ntfs->volume, "its boot sector is damaged");
  if (sector < MAP_PAGE || sector > 4096 || !vd_is_power_of_two(sector) || !vd_is_power_of_two(per_cluster))
    return vd_free_volume_refuse(ntfs->volume, "its numbers are out of range");
  ntfs->cluster_size = (uint64_t)sector * per_cluster;
  ntfs->clusters = vd_get_le64(boot + 40) / per_cluster;
  ntfs->record_size =
      record < 0 ? (record >= -12 ? 1U << -record : 0) : (uint32_t)record * (uint32_t)ntfs->cluster_size;
  if (ntfs->record_size < STRIDE || ntfs->record_size > RECORD_MOST ||
      !vd_is_power_of_two(ntfs->record_size) || ntfs->clusters > ntfs->volume->size / ntfs->cluster_size ||
      !vd_mul_u64(vd_get_le64(boot + 48), ntfs->cluster_size, &ntfs->table))
    return vd_free_volume_refuse(ntfs->volume, "its numbers contradict each other");
  return true;
}

/* The last two bytes of each 512 are kept elsewhere, so that a torn record is seen. */
static bool mend(Ntfs *ntfs, uint8_t *bytes, size_t length)
{
  uint32_t at = vd_get_le16(bytes + 4), n = vd_get_le16(bytes + 6);

  if (n != length / STRIDE + 1 || at % 2 != 0 || at + 2 * n > STRIDE - 2)
    return vd_free_volume_refuse(ntfs->volume, "one of its records is damaged");
  for (uint32_t i = 1; i < n; i++) {
    uint8_t *end = bytes + (size_t)i * STRIDE - 2;

    if (memcmp(end, bytes + at, 2) != 0)
      return vd_free_volume_refuse(ntfs->volume, "one of its records is damaged");
    memcpy(end, bytes + at + 2 * (size_t)i, 2);
  }
  return true;
}

/* The first records lie together at the beginning of the table. */
static bool read_record(Ntfs *ntfs, unsigned number)
{
  if (!vd_free_volume_read(ntfs->volume, ntfs->table + (uint64_t)number * ntfs->record_size, ntfs->record,
                           ntfs->record_size))
    return false;
  /* In use, and no other's continuation. */
  if (memcmp(ntfs->record, "FILE", 4) != 0 || (vd_get_le16(ntfs->record + 22) & 1) == 0 ||
      vd_get_le64(ntfs->record + 32) != 0)
    return vd_free_volume_refuse(ntfs->volume, "one of its records is damaged");
  return mend(ntfs, ntfs->record, ntfs->record_size);
}

static bool has_name(const uint8_t *attribute, uint32_t length, const char *name)
{
  size_t n = strlen(name), at = vd_get_le16(attribute + 10);

  if (attribute[9] != n || at + 2 * n > length)
    return false;
  for (size_t i = 0; i < n; i++)
    if (vd_get_le16(attribute + at + 2 * i) != (uint8_t)name[i])
      return false;
  return true;
}

/* One of that name, of the record that was read. NULL: none. *ret_length: bytes. */
static const uint8_t *find_attribute(const Ntfs *ntfs, uint32_t type, const char *name, uint32_t *ret_length)
{
  uint32_t at = vd_get_le16(ntfs->record + 20), end = vd_get_le32(ntfs->record + 24);

  if (end > ntfs->record_size)
    end = ntfs->record_size;
  while (at % 8 == 0 && at + 24 <= end) {
    const uint8_t *attribute = ntfs->record + at;
    uint32_t length = vd_get_le32(attribute + 4);

    if (vd_get_le32(attribute) == UINT32_MAX || length < 24 || length > end - at)
      return NULL;
    if (vd_get_le32(attribute) == type && has_name(attribute, length, name)) {
      *ret_length = length;
      return attribute;
    }
    at += length;
  }
  return NULL;
}

/* A stream of the record that was read, which is not in the record itself. *ret_size: bytes that were ever
 * written. */
static bool find_runs(Ntfs *ntfs, uint32_t type, const char *name, Runs *ret_runs, uint64_t *ret_size)
{
  uint32_t length;
  const uint8_t *data;

  if (find_attribute(ntfs, ATTRIBUTE_LIST, "", &length))
    return vd_free_volume_refuse(ntfs->volume, "its map is in more pieces than are followed");
  data = find_attribute(ntfs, type, name, &length);
  if (!data || data[8] == 0 || length < 64 || vd_get_le64(data + 16) != 0 ||
      vd_get_le16(data + 32) >= length || vd_get_le16(data + 12) != 0)
    return vd_free_volume_refuse(ntfs->volume, "one of its streams is not as expected");
  *ret_runs = (Runs){.at = data + vd_get_le16(data + 32), .end = data + length};
  *ret_size = vd_get_le64(data + 56);
  return vd_get_le64(data + 48) >= *ret_size ||
         vd_free_volume_refuse(ntfs->volume, "one of its streams is not as expected");
}

static int64_t load_signed(const uint8_t *at, unsigned width)
{
  uint64_t value = 0;

  for (unsigned i = width; i > 0; i--)
    value = value << 8 | at[i - 1];
  if (width > 0 && width < 8 && (at[width - 1] & 0x80) != 0)
    value |= UINT64_MAX << (8 * width);
  return (int64_t)value;
}

/* False: no more, or it is a hole, or wrong. */
static bool next_run(Ntfs *ntfs, Runs *runs, uint64_t *ret_offset, uint64_t *ret_length)
{
  unsigned length_width, step_width;
  int64_t clusters, step;

  if (runs->at >= runs->end || *runs->at == 0)
    return false;
  length_width = *runs->at & 0x0F;
  step_width = *runs->at >> 4;
  if (length_width == 0 || length_width > 8 || step_width == 0 || step_width > 8 ||
      (size_t)(runs->end - runs->at) < 1 + (size_t)length_width + step_width)
    return false;
  clusters = load_signed(runs->at + 1, length_width);
  step = load_signed(runs->at + 1 + length_width, step_width);
  runs->at += 1 + length_width + step_width;
  if (clusters <= 0 || __builtin_add_overflow(runs->cluster, step, &runs->cluster) || runs->cluster < 0 ||
      !vd_range_within((uint64_t)runs->cluster, (uint64_t)clusters, ntfs->clusters))
    return false;
  *ret_offset = (uint64_t)runs->cluster * ntfs->cluster_size;
  *ret_length = (uint64_t)clusters * ntfs->cluster_size;
  return true;
}

static bool is_marked_clean(Ntfs *ntfs)
{
  uint32_t length, flags;
  const uint8_t *information;

  if (!read_record(ntfs, RECORD_VOLUME))
    return false;
  information = find_attribute(ntfs, ATTRIBUTE_VOLUME_INFORMATION, "", &length);
  if (!information || information[8] != 0 || vd_get_le16(information + 20) + 12U > length)
    return vd_free_volume_refuse(ntfs->volume, "one of its records is damaged");
  information += vd_get_le16(information + 20);
  if (information[8] != 3)
    return vd_free_volume_refuse(ntfs->volume, "its version is not known here");
  flags = vd_get_le16(information + 10);
  if ((flags & VOLUME_IS_DIRTY) != 0)
    return vd_free_volume_refuse(ntfs->volume, "it is marked dirty");
  return (flags & ~VOLUME_WAS_CHECKED) == 0 ||
         vd_free_volume_refuse(ntfs->volume, "something is to be done to it");
}

/* Whether nobody has the log open, as this page has it. */
static bool is_page_closed(Ntfs *ntfs, uint64_t offset, uint32_t size)
{
  uint8_t *page = ntfs->volume->chunk;
  uint16_t area;

  if (!vd_free_volume_read(ntfs->volume, offset, page, size))
    return false;
  area = vd_get_le16(page + 24);
  if (memcmp(page, "RSTR", 4) != 0 || vd_get_le32(page + 16) != size || area > STRIDE - 18)
    return vd_free_volume_refuse(ntfs->volume, "its log is not as expected");
  if (!mend(ntfs, page, size))
    return false;
  return (vd_get_le16(page + area + 12) == LOG_NO_CLIENT ||
          (vd_get_le16(page + area + 14) & LOG_IS_CLEAN) != 0) ||
         vd_free_volume_refuse(ntfs->volume, "it was not closed cleanly, or hibernates");
}

static bool is_blank(Ntfs *ntfs, uint64_t offset, uint32_t size)
{
  if (!vd_free_volume_read(ntfs->volume, offset, ntfs->volume->chunk, size))
    return false;
  for (uint32_t i = 0; i < size; i++)
    if (ntfs->volume->chunk[i] != 0xFF)
      return false;
  return true;
}

/* Two pages that are written in turn: which is the newer one is not asked, both have to be closed. A log that
 * is filled with ones was never used, or was emptied. */
static bool is_log_closed(Ntfs *ntfs)
{
  uint8_t page[STRIDE];
  uint64_t offset, length, size;
  uint32_t page_size;
  Runs runs;

  if (!read_record(ntfs, RECORD_LOG) || !find_runs(ntfs, ATTRIBUTE_DATA, "", &runs, &size))
    return false;
  if (!next_run(ntfs, &runs, &offset, &length) ||
      !vd_free_volume_read(ntfs->volume, offset, page, sizeof page))
    return vd_free_volume_refuse(ntfs->volume, "its log cannot be read");
  page_size = memcmp(page, "RSTR", 4) == 0 ? vd_get_le32(page + 16) : LOG_PAGE;
  if (page_size < STRIDE || page_size > LOG_PAGE_MOST || !vd_is_power_of_two(page_size) ||
      length < (uint64_t)2 * page_size)
    return vd_free_volume_refuse(ntfs->volume, "its log is not as expected");
  for (unsigned i = 0; i < 2; i++)
    if (!is_blank(ntfs, offset + (uint64_t)i * page_size, page_size) &&
        !is_page_closed(ntfs, offset + (uint64_t)i * page_size, page_size))
      return false;
  return true;
}

/* What it keeps of clusters that were freed since cannot be told from what is free. */
static bool has_no_shadows(Ntfs *ntfs)
{
  uint8_t header[SHADOW_CATALOG + 8];

  if (!vd_free_volume_read(ntfs->volume, SHADOW_HEADER, header, sizeof header))
    return false;
  return memcmp(header, shadow_id, sizeof shadow_id) != 0 || vd_get_le64(header + SHADOW_CATALOG) == 0 ||
         vd_free_volume_refuse(ntfs->volume, "it has shadow copies");
}

static bool is_hibernation_file(const uint8_t *name, unsigned n)
{
  static const char wanted[] = "hiberfil.sys";

  if (n != sizeof wanted - 1)
    return false;
  for (unsigned i = 0; i < n; i++) {
    uint16_t letter = vd_get_le16(name + 2 * (size_t)i);

    if ((letter >= 'A' && letter <= 'Z' ? letter + ('a' - 'A') : letter) != (uint8_t)wanted[i])
      return false;
  }
  return true;
}

/* node: an index header, and what follows it. The file may be an old one: that is not looked at. */
static bool look_through(Ntfs *ntfs, const uint8_t *node, uint32_t length)
{
  uint32_t at = vd_get_le32(node), end = vd_get_le32(node + 4);

  if (end > length)
    return vd_free_volume_refuse(ntfs->volume, "its root folder is damaged");
  for (;;) {
    uint32_t n;

    if (at > end || end - at < 16 || at % 8 != 0)
      return vd_free_volume_refuse(ntfs->volume, "its root folder is damaged");
    n = vd_get_le16(node + at + 8);
    if ((vd_get_le16(node + at + 12) & INDEX_ENTRY_LAST) != 0)
      return true;
    /* A file's name stands 66 bytes behind the entry's head of 16, its length two in front of that. */
    if (n < 82 || n > end - at || 82 + 2 * (uint32_t)node[at + 80] > n)
      return vd_free_volume_refuse(ntfs->volume, "its root folder is damaged");
    if (is_hibernation_file(node + at + 82, node[at + 80]))
      return vd_free_volume_refuse(ntfs->volume, "it has a file to hibernate into (hiberfil.sys)");
    at += n;
  }
}

static bool look_through_block(Ntfs *ntfs, uint64_t offset, uint32_t size)
{
  uint8_t *block = ntfs->volume->chunk;

  if (!vd_free_volume_read(ntfs->volume, offset, block, size))
    return false;
  /* Not in use, and never was. */
  if (memcmp(block, "INDX", 4) != 0)
    return memcmp(block, "\0\0\0\0", 4) == 0 ||
           vd_free_volume_refuse(ntfs->volume, "its root folder is damaged");
  return mend(ntfs, block, size) && look_through(ntfs, block + 24, size - 24);
}

/* All blocks of the index, whatever their order: some that are no longer in use may say too much. */
static bool look_through_blocks(Ntfs *ntfs, uint32_t block_size)
{
  uint64_t offset, length, size, done = 0;
  Runs runs;

  if (!find_runs(ntfs, ATTRIBUTE_INDEX_ALLOCATION, "$I30", &runs, &size))
    return false;
  if (size > ROOT_MOST)
    return vd_free_volume_refuse(ntfs->volume, "its root folder is longer than is looked at");
  while (done < size) {
    if (!next_run(ntfs, &runs, &offset, &length) || length % block_size != 0)
      return vd_free_volume_refuse(ntfs->volume, "its root folder is not as expected");
    for (uint64_t at = 0; at < length && done < size; at += block_size, done += block_size)
      if (!look_through_block(ntfs, offset + at, block_size))
        return false;
  }
  return true;
}

static bool does_not_hibernate(Ntfs *ntfs)
{
  uint32_t length, value, block_size;
  const uint8_t *root;

  if (!read_record(ntfs, RECORD_ROOT))
    return false;
  if (find_attribute(ntfs, ATTRIBUTE_LIST, "", &length))
    return vd_free_volume_refuse(ntfs->volume, "its root folder is in more pieces than are followed");
  root = find_attribute(ntfs, ATTRIBUTE_INDEX_ROOT, "$I30", &length);
  value = root ? vd_get_le16(root + 20) : 0;
  if (!root || root[8] != 0 || value + 32 > length)
    return vd_free_volume_refuse(ntfs->volume, "its root folder is not as expected");
  block_size = vd_get_le32(root + value + 8);
  if (block_size < STRIDE || block_size > INDEX_MOST || !vd_is_power_of_two(block_size))
    return vd_free_volume_refuse(ntfs->volume, "its root folder is not as expected");
  if (!look_through(ntfs, root + value + 16, length - value - 16))
    return false;
  return !find_attribute(ntfs, ATTRIBUTE_INDEX_ALLOCATION, "$I30", &length) ||
         look_through_blocks(ntfs, block_size);
}

/* Who mounts it elsewhere than in Windows may leave neither mark nor log behind, and a map that is older than
 * the files: what any of them has must be used in the map. */

static bool find_map(Ntfs *ntfs)
{
  uint64_t offset, length, size, done = 0;
  Runs runs;

  if (!read_record(ntfs, RECORD_BITMAP) || !find_runs(ntfs, ATTRIBUTE_DATA, "", &runs, &size))
    return false;
  if (size < (ntfs->clusters + 7) / 8)
    return vd_free_volume_refuse(ntfs->volume, "its map is too short");
  for (; done < size; done += length) {
    if (!next_run(ntfs, &runs, &offset, &length))
      return vd_free_volume_refuse(ntfs->volume, "its map is not as expected");
    if (ntfs->n_map == MAP_PIECES)
      return vd_free_volume_refuse(ntfs->volume, "its map is in more pieces than are followed");
    ntfs->map[ntfs->n_map++] = (VdFreeRange){offset, offset + length};
  }
  return true;
}

/* at: of the map, a multiple of MAP_PAGE, which no piece's length contradicts: both are of clusters. */
static bool load_map_page(Ntfs *ntfs, uint64_t at)
{
  uint64_t left = at;
  unsigned i = 0;

  if (ntfs->has_page && ntfs->page_at == at)
    return true;
  for (; i < ntfs->n_map && left >= ntfs->map[i].end - ntfs->map[i].start; i++)
    left -= ntfs->map[i].end - ntfs->map[i].start;
  if (i == ntfs->n_map)
    return vd_free_volume_refuse(ntfs->volume, "its map is too short");
  ntfs->page_at = at;
  ntfs->has_page = vd_free_volume_read(ntfs->volume, ntfs->map[i].start + left, ntfs->page, MAP_PAGE);
  return ntfs->has_page;
}

static bool is_used(Ntfs *ntfs, uint64_t offset, uint64_t length)
{
  uint64_t first = offset / ntfs->cluster_size, end = (offset + length) / ntfs->cluster_size;

  for (uint64_t i = first; i < end; i++) {
    if (!load_map_page(ntfs, i / 8 / MAP_PAGE * MAP_PAGE))
      return false;
    if ((ntfs->page[i / 8 % MAP_PAGE] >> i % 8 & 1) == 0)
      return vd_free_volume_refuse(ntfs->volume, "its map calls free what a file has");
  }
  return true;
}

static bool is_hole(const Runs *runs)
{
  return runs->at < runs->end && *runs->at != 0 && *runs->at >> 4 == 0;
}

static bool are_runs_used(Ntfs *ntfs, Runs *runs)
{
  uint64_t offset, length;

  for (;;) {
    if (is_hole(runs))
      runs->at += 1 + (*runs->at & 0x0F);
    else if (!next_run(ntfs, runs, &offset, &length))
      return (runs->at < runs->end && *runs->at == 0) ||
             vd_free_volume_refuse(ntfs->volume, "one of its files is not as expected");
    else if (!is_used(ntfs, offset, length))
      return false;
  }
}

/* What lies outside of the record that was read. */
static bool are_attributes_used(Ntfs *ntfs)
{
  uint32_t at = vd_get_le16(ntfs->record + 20), length;

  for (; at % 8 == 0 && at + 8 <= ntfs->record_size; at += length) {
    const uint8_t *attribute = ntfs->record + at;
    Runs runs;

    if (vd_get_le32(attribute) == UINT32_MAX)
      return true;
    length = vd_get_le32(attribute + 4);
    if (length < 24 || length > ntfs->record_size - at)
      break;
    if (attribute[8] == 0)
      continue;
    if (length < 64 || vd_get_le16(attribute + 32) >= length)
      break;
    runs = (Runs){.at = attribute + vd_get_le16(attribute + 32), .end = attribute + length};
    if (!are_runs_used(ntfs, &runs))
      return false;
  }
  return vd_free_volume_refuse(ntfs->volume, "one of its records is damaged");
}

/* Of the table, also what continues another's. */
static bool is_record_used(Ntfs *ntfs, uint8_t *record)
{
  static const uint8_t never[4] = {0};

  if (memcmp(record, never, sizeof never) == 0)
    return true;
  if (memcmp(record, "FILE", 4) != 0)
    return vd_free_volume_refuse(ntfs->volume, "one of its records is damaged");
  if ((vd_get_le16(record + 22) & RECORD_IN_USE) == 0)
    return true;
  memcpy(ntfs->record, record, ntfs->record_size);
  return mend(ntfs, ntfs->record, ntfs->record_size) && are_attributes_used(ntfs);
}

static bool are_records_used(Ntfs *ntfs, uint64_t offset, uint64_t length)
{
  for (uint64_t at = 0; at < length; at += VD_FREE_SPACE_CHUNK) {
    uint64_t n = length - at < VD_FREE_SPACE_CHUNK ? length - at : VD_FREE_SPACE_CHUNK;

    if (!vd_free_volume_read(ntfs->volume, offset + at, ntfs->volume->chunk, n))
      return false;
    for (uint64_t i = 0; i + ntfs->record_size <= n; i += ntfs->record_size)
      if (!is_record_used(ntfs, ntfs->volume->chunk + i))
        return false;
  }
  return true;
}

static bool are_files_used(Ntfs *ntfs)
{
  uint8_t first[RECORD_MOST];
  uint64_t offset, length, size, done = 0;
  Runs runs;

  if (!read_record(ntfs, RECORD_TABLE) || !find_runs(ntfs, ATTRIBUTE_DATA, "", &runs, &size))
    return false;
  if (size > TABLE_MOST)
    return vd_free_volume_refuse(ntfs->volume, "it has more files than are looked at");
  /* The others are read in its place. */
  memcpy(first, ntfs->record, sizeof first);
  runs.at = first + (runs.at - ntfs->record);
  runs.end = first + (runs.end - ntfs->record);
  for (; done < size; done += length) {
    if (!next_run(ntfs, &runs, &offset, &length) || length % ntfs->record_size != 0)
      return vd_free_volume_refuse(ntfs->volume, "its table of files is not as expected");
    if (!are_records_used(ntfs, offset, size - done < length ? size - done : length))
      return false;
  }
  return true;
}

static bool add_piece(Ntfs *ntfs, const VdFreeRange *piece, uint64_t *done)
{
  for (uint64_t at = piece->start; at < piece->end && *done < ntfs->clusters; at += VD_FREE_SPACE_CHUNK) {
    uint64_t n = piece->end - at < VD_FREE_SPACE_CHUNK ? piece->end - at : VD_FREE_SPACE_CHUNK;
    uint64_t bits = ntfs->clusters - *done < n * 8 ? ntfs->clusters - *done : n * 8;

    if (!vd_free_volume_read(ntfs->volume, at, ntfs->volume->chunk, (bits + 7) / 8) ||
        !vd_free_volume_add_bits(ntfs->volume, ntfs->volume->chunk, bits, *done * ntfs->cluster_size,
                                 ntfs->cluster_size))
      return false;
    *done += bits;
  }
  return true;
}

static bool add_map(Ntfs *ntfs)
{
  uint64_t done = 0;

  for (unsigned i = 0; i < ntfs->n_map; i++)
    if (!add_piece(ntfs, &ntfs->map[i], &done))
      return false;
  return true;
}

bool vd_free_ntfs(VdFreeVolume *self)
{
  Ntfs ntfs = {.volume = self};
  uint8_t boot[STRIDE];

  return vd_free_volume_read(self, 0, boot, sizeof boot) && load(&ntfs, boot) && is_marked_clean(&ntfs) &&
         is_log_closed(&ntfs) && has_no_shadows(&ntfs) && does_not_hibernate(&ntfs) && find_map(&ntfs) &&
         are_files_used(&ntfs) && add_map(&ntfs);
}
