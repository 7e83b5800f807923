/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hostile numbers throughout: each is compared with the disk before it counts. */
#include "formats/partitions.h"

#include "formats/gpt.h"
#include "util/checked.h"

/* Of the MBR. */
enum {
  AT_BYTES_PER_SECTOR = 11, /* of a file system's boot sector, which looks alike */
  AT_ENTRIES = 446,
  AT_MARK = 510,
  MBR_LENGTH = 512,
  N_ENTRIES = 4,
  ENTRY_LENGTH = 16,
  /* of an entry */
  AT_BOOT = 0,
  AT_TYPE = 4,
  AT_START = 8,
  AT_COUNT = 12,
};

#define PROTECTIVE 0xEE
/* A dynamic disk of Windows: what its volumes are is in the last MiB of the disk, behind its partitions. */
#define LOGICAL_DISK_MANAGER 0x42
/* As content.c has them: sectors in front of the first partition, and behind the last one. */
#define MBR_SECTORS 1
#define GPT_HEAD_SECTORS 34
#define GPT_TAIL_SECTORS 33
#define MAX_SECTOR 4096

typedef struct {
  VdDiskRead read;
  void *user;
  uint64_t size; /* bytes */
  uint32_t sector_size;
  uint64_t end; /* bytes; of the last partition */
} Disk;

static uint64_t load(const uint8_t *bytes, unsigned length)
{
  uint64_t value = 0;

  for (unsigned i = length; i-- > 0;)
    value = value << 8 | bytes[i];
  return value;
}

/* Sectors. What begins behind the disk's end is none, what ends there is cut, as the kernel does it. */
static void take_partition(Disk *self, uint64_t first, uint64_t count)
{
  uint64_t start, length, end;

  if (count == 0 || !vd_mul_u64(first, self->sector_size, &start) || start >= self->size)
    return;
  if (!vd_mul_u64(count, self->sector_size, &length) || !vd_add_u64(start, length, &end) || end > self->size)
    end = self->size;
  if (end > self->end)
    self->end = end;
}

static uint64_t smallest(const Disk *self, uint64_t head_sectors, uint64_t tail_sectors)
{
  uint64_t head = head_sectors * self->sector_size, end;

  if (!vd_add_u64(self->end > head ? self->end : head, tail_sectors * self->sector_size, &end) ||
      end > self->size)
    return self->size;
  return end;
}

/* Of one of the two tables, if it is good. *ret_tail: sectors that its like takes behind the partitions. */
static bool take_gpt(Disk *self, uint64_t lba, bool *ret_good, uint64_t *ret_tail, VdFormatError *ret_error)
{
  VdGpt gpt __attribute__((cleanup(vd_gpt_clear)));
  bool read = vd_gpt_read(self->read, self->user, self->size, self->sector_size, lba, &gpt, ret_error);

  *ret_good = read && gpt.good;
  for (uint32_t i = 0; *ret_good && i < gpt.count; i++) {
    VdGptEntry entry = vd_gpt_entry(&gpt, i);

    if (entry.used && entry.last >= entry.first)
      take_partition(self, entry.first,
                     entry.last - entry.first == UINT64_MAX ? UINT64_MAX : entry.last - entry.first + 1);
  }
  if (*ret_good && 1 + gpt.array_sectors > *ret_tail)
    *ret_tail = 1 + gpt.array_sectors;
  return read;
}

/* A disk that is one file system begins with the same mark. */
static bool is_boot_sector(const uint8_t *mbr)
{
  uint64_t bytes = load(&mbr[AT_BYTES_PER_SECTOR], 2);

  return (mbr[0] == 0xEB || mbr[0] == 0xE9) && bytes >= 512 && bytes <= 4096 && vd_is_power_of_two(bytes);
}

static bool is_table(const uint8_t *mbr)
{
  if (mbr[AT_MARK] != 0x55 || mbr[AT_MARK + 1] != 0xAA || is_boot_sector(mbr))
    return false;
  for (unsigned i = 0; i < N_ENTRIES; i++)
    if ((mbr[AT_ENTRIES + i * ENTRY_LENGTH + AT_BOOT] & 0x7F) != 0)
      return false;
  return true;
}

/* Logical partitions lie within the extended one, which counts as a whole. */
static bool take_primaries(Disk *self, const uint8_t *mbr)
{
  for (unsigned i = 0; i < N_ENTRIES; i++) {
    const uint8_t *entry = &mbr[AT_ENTRIES + i * ENTRY_LENGTH];

    if (entry[AT_TYPE] == PROTECTIVE)
      return false;
    if (entry[AT_TYPE] == LOGICAL_DISK_MANAGER)
      self->end = self->size;
    else if (entry[AT_TYPE] != 0)
      take_partition(self, load(&entry[AT_START], 4), load(&entry[AT_COUNT], 4));
  }
  return true;
}

bool vd_partitions_smallest_size(VdDiskRead read, void *user, uint64_t size, uint32_t sector_size,
                                 uint64_t *ret_smallest, VdFormatError *ret_error)
{
  Disk disk = {.read = read, .user = user, .size = size, .sector_size = sector_size};
  uint64_t tail = GPT_TAIL_SECTORS;
  uint8_t mbr[MBR_LENGTH];
  bool first, second;

  *ret_smallest = 0;
  if (sector_size < MBR_LENGTH || sector_size > MAX_SECTOR || size / sector_size < 2 * GPT_HEAD_SECTORS)
    return true;
  if (!read(user, 0, mbr, sizeof mbr, ret_error))
    return false;
  if (!is_table(mbr))
    return true;
  if (take_primaries(&disk, mbr)) {
    /* The mark alone is on many a disk that is used as a whole. */
    *ret_smallest = disk.end == 0 ? 0 : smallest(&disk, MBR_SECTORS, 0);
    return true;
  }
  disk.end = 0;
  /* Either may be an old one: what any of them names is kept. */
  if (!take_gpt(&disk, 1, &first, &tail, ret_error) ||
      !take_gpt(&disk, size / sector_size - 1, &second, &tail, ret_error))
    return false;
  if (first || second)
    *ret_smallest = smallest(&disk, GPT_HEAD_SECTORS, tail);
  return true;
}
