/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hostile numbers throughout: each is compared with the disk before it counts. */
#include "formats/partitions.h"

#include <stdlib.h>
#include <string.h>

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

/* Of a GPT header, and of its entries. */
enum {
  AT_SIGNATURE = 0,
  AT_HEADER_LENGTH = 12,
  AT_HEADER_SUM = 16,
  AT_OWN_LBA = 24,
  AT_ARRAY_LBA = 72,
  AT_ARRAY_COUNT = 80,
  AT_ARRAY_STRIDE = 84,
  AT_ARRAY_SUM = 88,
  GPT_MIN_LENGTH = 92,
  AT_FIRST = 32,
  AT_LAST = 40,
  GPT_ENTRY_LENGTH = 128,
};

#define PROTECTIVE 0xEE
/* As content.c has them: sectors in front of the first partition, and behind the last one. */
#define MBR_SECTORS 1
#define GPT_HEAD_SECTORS 34
#define GPT_TAIL_SECTORS 33
/* Ceiling of GPT's array, bytes; what one makes has 16 KiB. */
#define MAX_ARRAY (UINT64_C(1) << 20)
#define MAX_SECTOR 4096

typedef struct {
  VdDiskRead read;
  void *user;
  uint64_t size; /* bytes */
  uint32_t sector_size;
  uint64_t end; /* bytes; of the last partition */
} Disk;

/* As ISO 3309 has it, bit by bit: a table is read once. */
static uint32_t crc32(const uint8_t *bytes, size_t length)
{
  uint32_t sum = UINT32_MAX;

  for (size_t i = 0; i < length; i++) {
    sum ^= bytes[i];
    for (unsigned bit = 0; bit < 8; bit++)
      sum = sum >> 1 ^ (UINT32_C(0xEDB88320) & -(sum & 1));
  }
  return ~sum;
}

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

static void free_bytes(uint8_t **bytes)
{
  free(*bytes);
}

/* *ret_good: the array is what its header says, and its partitions are taken. */
static bool read_array(Disk *self, const uint8_t *header, bool *ret_good, VdFormatError *ret_error)
{
  uint64_t count = load(&header[AT_ARRAY_COUNT], 4), stride = load(&header[AT_ARRAY_STRIDE], 4);
  uint8_t *array __attribute__((cleanup(free_bytes))) = NULL;
  static const uint8_t unused[16];
  uint64_t offset, length;

  if (stride < GPT_ENTRY_LENGTH || count == 0 || !vd_mul_u64(count, stride, &length) || length > MAX_ARRAY ||
      !vd_mul_u64(load(&header[AT_ARRAY_LBA], 8), self->sector_size, &offset) ||
      !vd_range_within(offset, length, self->size))
    return true;
  array = malloc(length);
  if (!array)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "",
                               "no memory for a table of partitions");
  if (!self->read(self->user, offset, array, length, ret_error))
    return false;
  if (crc32(array, length) != load(&header[AT_ARRAY_SUM], 4))
    return true;
  for (uint64_t i = 0; i < count; i++) {
    const uint8_t *entry = &array[i * stride];
    uint64_t first = load(&entry[AT_FIRST], 8), last = load(&entry[AT_LAST], 8);

    if (memcmp(entry, unused, sizeof unused) != 0 && last >= first)
      take_partition(self, first, last - first == UINT64_MAX ? UINT64_MAX : last - first + 1);
  }
  *ret_good = true;
  return true;
}

static bool read_gpt(Disk *self, uint64_t lba, bool *ret_good, VdFormatError *ret_error)
{
  uint8_t header[MAX_SECTOR];
  uint64_t length;
  uint32_t sum;

  *ret_good = false;
  if (!self->read(self->user, lba * self->sector_size, header, self->sector_size, ret_error))
    return false;
  length = load(&header[AT_HEADER_LENGTH], 4);
  if (memcmp(&header[AT_SIGNATURE], "EFI PART", 8) != 0 || length < GPT_MIN_LENGTH ||
      length > self->sector_size || load(&header[AT_OWN_LBA], 8) != lba)
    return true;
  sum = (uint32_t)load(&header[AT_HEADER_SUM], 4);
  memset(&header[AT_HEADER_SUM], 0, 4);
  return sum != crc32(header, length) || read_array(self, header, ret_good, ret_error);
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
    if (entry[AT_TYPE] != 0)
      take_partition(self, load(&entry[AT_START], 4), load(&entry[AT_COUNT], 4));
  }
  return true;
}

bool vd_partitions_smallest_size(VdDiskRead read, void *user, uint64_t size, uint32_t sector_size,
                                 uint64_t *ret_smallest, VdFormatError *ret_error)
{
  Disk disk = {.read = read, .user = user, .size = size, .sector_size = sector_size};
  uint8_t mbr[MBR_LENGTH];
  bool good;

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
  if (!read_gpt(&disk, 1, &good, ret_error) ||
      (!good && !read_gpt(&disk, size / sector_size - 1, &good, ret_error)))
    return false;
  if (good)
    *ret_smallest = smallest(&disk, GPT_HEAD_SECTORS, GPT_TAIL_SECTORS);
  return true;
}
