/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Free clusters of NTFS by its $Bitmap; not of a volume whose log is in use (Windows is hibernated, or was
 * not shut down) or that is marked dirty. */
#include "formats/free-space-private.h"

#include "util/checked.h"

enum { RECORD_LOG = 2, RECORD_VOLUME = 3, RECORD_BITMAP = 6 };
enum { ATTRIBUTE_LIST = 0x20, ATTRIBUTE_VOLUME_INFORMATION = 0x70, ATTRIBUTE_DATA = 0x80 };
enum { VOLUME_IS_DIRTY = 0x1, LOG_IS_CLEAN = 0x2, LOG_NO_CLIENT = 0xFFFF };

#define RECORD_MOST 4096
#define STRIDE 512

typedef struct {
  VdFreeVolume *volume;
  uint64_t cluster_size, clusters, table;
  uint32_t record_size;
  uint8_t record[RECORD_MOST];
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
  if (sector < 256 || sector > 4096 || !vd_is_power_of_two(sector) || !vd_is_power_of_two(per_cluster))
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
static bool mend(Ntfs *ntfs)
{
  uint8_t *record = ntfs->record;
  uint32_t at = vd_get_le16(record + 4), n = vd_get_le16(record + 6);

  if (n != ntfs->record_size / STRIDE + 1 || at % 2 != 0 || at + 2 * n > STRIDE - 2)
    return vd_free_volume_refuse(ntfs->volume, "one of its records is damaged");
  for (uint32_t i = 1; i < n; i++) {
    uint8_t *end = record + (size_t)i * STRIDE - 2;

    if (memcmp(end, record + at, 2) != 0)
      return vd_free_volume_refuse(ntfs->volume, "one of its records is damaged");
    memcpy(end, record + at + 2 * (size_t)i, 2);
  }
  return true;
}

/* The first records lie together at the beginning of the table. */
static bool read_record(Ntfs *ntfs, unsigned number)
{
  if (!vd_free_volume_read(ntfs->volume, ntfs->table + (uint64_t)number * ntfs->record_size, ntfs->record,
                           ntfs->record_size))
    return false;
  if (memcmp(ntfs->record, "FILE", 4) != 0 || (vd_get_le16(ntfs->record + 22) & 1) == 0)
    return vd_free_volume_refuse(ntfs->volume, "one of its records is damaged");
  return mend(ntfs);
}

/* One without a name, of the record that was read. NULL: none. *ret_length: bytes. */
static const uint8_t *find_attribute(const Ntfs *ntfs, uint32_t type, uint32_t *ret_length)
{
  uint32_t at = vd_get_le16(ntfs->record + 20), end = vd_get_le32(ntfs->record + 24);

  if (end > ntfs->record_size)
    end = ntfs->record_size;
  while (at % 8 == 0 && at + 24 <= end) {
    const uint8_t *attribute = ntfs->record + at;
    uint32_t length = vd_get_le32(attribute + 4);

    if (vd_get_le32(attribute) == UINT32_MAX || length < 24 || length > end - at)
      return NULL;
    if (vd_get_le32(attribute) == type && attribute[9] == 0) {
      *ret_length = length;
      return attribute;
    }
    at += length;
  }
  return NULL;
}

/* The data of the record that was read, as far as it is not in the record itself. */
static bool find_runs(Ntfs *ntfs, Runs *ret_runs, uint64_t *ret_size)
{
  uint32_t length;
  const uint8_t *data;

  if (find_attribute(ntfs, ATTRIBUTE_LIST, &length))
    return vd_free_volume_refuse(ntfs->volume, "its map is in more pieces than are followed");
  data = find_attribute(ntfs, ATTRIBUTE_DATA, &length);
  if (!data || data[8] == 0 || length < 64 || vd_get_le64(data + 16) != 0 ||
      vd_get_le16(data + 32) >= length || vd_get_le16(data + 12) != 0)
    return vd_free_volume_refuse(ntfs->volume, "one of its streams is not as expected");
  *ret_runs = (Runs){.at = data + vd_get_le16(data + 32), .end = data + length};
  *ret_size = vd_get_le64(data + 48);
  return true;
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
  uint32_t length;
  const uint8_t *information;

  if (!read_record(ntfs, RECORD_VOLUME))
    return false;
  information = find_attribute(ntfs, ATTRIBUTE_VOLUME_INFORMATION, &length);
  if (!information || information[8] != 0 || vd_get_le16(information + 20) + 12U > length)
    return vd_free_volume_refuse(ntfs->volume, "one of its records is damaged");
  if ((vd_get_le16(information + vd_get_le16(information + 20) + 10) & VOLUME_IS_DIRTY) != 0)
    return vd_free_volume_refuse(ntfs->volume, "it is marked dirty");
  return true;
}

/* Nobody has the log open; one that is filled with ones was never used. */
static bool is_log_closed(Ntfs *ntfs)
{
  uint8_t page[STRIDE];
  uint64_t offset, length, size;
  uint16_t area;
  Runs runs;

  if (!read_record(ntfs, RECORD_LOG) || !find_runs(ntfs, &runs, &size))
    return false;
  if (!next_run(ntfs, &runs, &offset, &length) ||
      !vd_free_volume_read(ntfs->volume, offset, page, sizeof page))
    return vd_free_volume_refuse(ntfs->volume, "its log cannot be read");
  if (memcmp(page, "\xFF\xFF\xFF\xFF", 4) == 0)
    return true;
  area = vd_get_le16(page + 24);
  if (memcmp(page, "RSTR", 4) != 0 || area > sizeof page - 18)
    return vd_free_volume_refuse(ntfs->volume, "its log is not as expected");
  if (vd_get_le16(page + area + 12) != LOG_NO_CLIENT && (vd_get_le16(page + area + 14) & LOG_IS_CLEAN) == 0)
    return vd_free_volume_refuse(ntfs->volume, "it was not closed cleanly, or hibernates");
  return true;
}

static bool add_bitmap(Ntfs *ntfs)
{
  uint64_t offset, length, size, done = 0;
  Runs runs;

  if (!read_record(ntfs, RECORD_BITMAP) || !find_runs(ntfs, &runs, &size))
    return false;
  if (size < (ntfs->clusters + 7) / 8)
    return vd_free_volume_refuse(ntfs->volume, "its map is too short");
  while (done < ntfs->clusters) {
    if (!next_run(ntfs, &runs, &offset, &length))
      return vd_free_volume_refuse(ntfs->volume, "its map is not as expected");
    for (uint64_t at = 0; at < length && done < ntfs->clusters; at += VD_FREE_SPACE_CHUNK) {
      uint64_t n = length - at < VD_FREE_SPACE_CHUNK ? length - at : VD_FREE_SPACE_CHUNK;
      uint64_t bits = ntfs->clusters - done < n * 8 ? ntfs->clusters - done : n * 8;

      if (!vd_free_volume_read(ntfs->volume, offset + at, ntfs->volume->chunk, (bits + 7) / 8) ||
          !vd_free_volume_add_bits(ntfs->volume, ntfs->volume->chunk, bits, done * ntfs->cluster_size,
                                   ntfs->cluster_size))
        return false;
      done += bits;
    }
  }
  return true;
}

bool vd_free_ntfs(VdFreeVolume *self)
{
  Ntfs ntfs = {.volume = self};
  uint8_t boot[STRIDE];

  return vd_free_volume_read(self, 0, boot, sizeof boot) && load(&ntfs, boot) && is_marked_clean(&ntfs) &&
         is_log_closed(&ntfs) && add_bitmap(&ntfs);
}
