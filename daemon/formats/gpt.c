/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hostile numbers throughout: each is compared with the disk before it counts. */
#include "formats/gpt.h"

#include <stdlib.h>
#include <string.h>

#include "util/checked.h"

/* Of the header, and of its entries. */
enum {
  AT_SIGNATURE = 0,
  AT_HEADER_LENGTH = 12,
  AT_HEADER_SUM = 16,
  AT_OWN_LBA = 24,
  AT_ALTERNATE_LBA = 32,
  AT_FIRST_USABLE = 40,
  AT_LAST_USABLE = 48,
  AT_DISK_ID = 56,
  AT_ARRAY_LBA = 72,
  AT_ARRAY_COUNT = 80,
  AT_ARRAY_STRIDE = 84,
  AT_ARRAY_SUM = 88,
  MIN_LENGTH = 92,
  AT_TYPE = 0,
  AT_FIRST = 32,
  AT_LAST = 40,
  ENTRY_LENGTH = 128,
};

#define MAX_SECTOR 4096

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

static bool read_array(VdDiskRead read, void *user, uint64_t size, uint32_t sector_size,
                       const uint8_t *header, VdGpt *gpt, VdFormatError *ret_error)
{
  uint64_t offset, length;

  gpt->count = (uint32_t)load(&header[AT_ARRAY_COUNT], 4);
  gpt->stride = (uint32_t)load(&header[AT_ARRAY_STRIDE], 4);
  gpt->array_sum = (uint32_t)load(&header[AT_ARRAY_SUM], 4);
  if (gpt->stride < ENTRY_LENGTH || gpt->count == 0 || !vd_mul_u64(gpt->count, gpt->stride, &length) ||
      length > VD_GPT_MAX_ARRAY || !vd_mul_u64(load(&header[AT_ARRAY_LBA], 8), sector_size, &offset) ||
      !vd_range_within(offset, length, size))
    return true;
  gpt->array = malloc(length);
  if (!gpt->array)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "",
                               "no memory for a table of partitions");
  if (!read(user, offset, gpt->array, length, ret_error))
    return false;
  gpt->array_sectors = (length + sector_size - 1) / sector_size;
  gpt->good = crc32(gpt->array, length) == gpt->array_sum;
  return true;
}

bool vd_gpt_read(VdDiskRead read, void *user, uint64_t size, uint32_t sector_size, uint64_t lba,
                 VdGpt *ret_gpt, VdFormatError *ret_error)
{
  uint8_t header[MAX_SECTOR];
  uint64_t length, offset;
  uint32_t sum;

  *ret_gpt = (VdGpt){0};
  if (sector_size < 512 || sector_size > MAX_SECTOR || !vd_mul_u64(lba, sector_size, &offset) ||
      !vd_range_within(offset, sector_size, size))
    return true;
  if (!read(user, offset, header, sector_size, ret_error))
    return false;
  length = load(&header[AT_HEADER_LENGTH], 4);
  if (memcmp(&header[AT_SIGNATURE], "EFI PART", 8) != 0 || length < MIN_LENGTH || length > sector_size ||
      load(&header[AT_OWN_LBA], 8) != lba)
    return true;
  sum = (uint32_t)load(&header[AT_HEADER_SUM], 4);
  memset(&header[AT_HEADER_SUM], 0, 4);
  if (sum != crc32(header, length))
    return true;
  ret_gpt->alternate = load(&header[AT_ALTERNATE_LBA], 8);
  ret_gpt->first_usable = load(&header[AT_FIRST_USABLE], 8);
  ret_gpt->last_usable = load(&header[AT_LAST_USABLE], 8);
  memcpy(ret_gpt->id, &header[AT_DISK_ID], sizeof ret_gpt->id);
  return read_array(read, user, size, sector_size, header, ret_gpt, ret_error);
}

VdGptEntry vd_gpt_entry(const VdGpt *self, uint32_t index)
{
  static const uint8_t unused[16];
  const uint8_t *entry = self->array + (size_t)index * self->stride;

  return (VdGptEntry){.used = memcmp(entry + AT_TYPE, unused, sizeof unused) != 0,
                      .first = load(&entry[AT_FIRST], 8),
                      .last = load(&entry[AT_LAST], 8),
                      .type = entry + AT_TYPE};
}

void vd_gpt_clear(VdGpt *self)
{
  free(self->array);
  *self = (VdGpt){0};
}
