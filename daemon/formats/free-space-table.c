/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whose bytes are where. A table of which anything contradicts anything else is none that says so: two
 * partitions that share a sector, one that ends behind the disk, a GPT whose halves differ. Then nobody is
 * asked, in any of its partitions.
 */
#include "formats/free-space-private.h"
#include "formats/gpt.h"
#include "util/checked.h"

#define MBR_ENTRIES 4
#define MBR_LENGTH 512
#define FIRST_LOGICAL 5

enum { TYPE_PROTECTIVE = 0xEE };

static const char contradicts[] = "it contradicts itself";

static void refuse(VdFreeTable *table, const char *reason)
{
  if (!table->reason)
    table->reason = reason;
}

static bool is_extended(uint8_t type)
{
  return type == 0x05 || type == 0x0F || type == 0x85;
}

/* FAT, NTFS and exFAT, Linux, EFI, recovery, and those of them that are hidden. */
static bool may_hold_file_system(uint8_t type)
{
  static const uint8_t types[] = {0x01, 0x04, 0x06, 0x07, 0x0B, 0x0C, 0x0E, 0x11, 0x14,
                                  0x16, 0x17, 0x1B, 0x1C, 0x1E, 0x27, 0x83, 0xEF};

  return memchr(types, type, sizeof types) != NULL;
}

/* As they stand on the disk. */
static bool may_hold_file_system_gpt(const uint8_t *type)
{
  static const uint8_t types[][16] = {
      /* EBD0A0A2-B9E5-4433-87C0-68B6B72699C7: basic data */
      {0xA2, 0xA0, 0xD0, 0xEB, 0xE5, 0xB9, 0x33, 0x44, 0x87, 0xC0, 0x68, 0xB6, 0xB7, 0x26, 0x99, 0xC7},
      /* C12A7328-F81F-11D2-BA4B-00A0C93EC93B: EFI system */
      {0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B},
      /* DE94BBA4-06D1-4D40-A16A-BFD50179D6AC: Windows recovery */
      {0xA4, 0xBB, 0x94, 0xDE, 0xD1, 0x06, 0x40, 0x4D, 0xA1, 0x6A, 0xBF, 0xD5, 0x01, 0x79, 0xD6, 0xAC},
      /* 0FC63DAF-8483-4772-8E79-3D69D8477DE4: Linux */
      {0xAF, 0x3D, 0xC6, 0x0F, 0x83, 0x84, 0x72, 0x47, 0x8E, 0x79, 0x3D, 0x69, 0xD8, 0x47, 0x7D, 0xE4},
      /* 4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709: Linux root, x86-64 */
      {0xE3, 0xBC, 0x68, 0x4F, 0xCD, 0xE8, 0xB1, 0x4D, 0x96, 0xE7, 0xFB, 0xCA, 0xF9, 0x84, 0xB7, 0x09},
      /* 44479540-F297-41B2-9AF7-D131D5F0458A: Linux root, x86 */
      {0x40, 0x95, 0x47, 0x44, 0x97, 0xF2, 0xB2, 0x41, 0x9A, 0xF7, 0xD1, 0x31, 0xD5, 0xF0, 0x45, 0x8A},
      /* B921B045-1DF0-41C3-AF44-4C6F280D3FAE: Linux root, ARM64 */
      {0x45, 0xB0, 0x21, 0xB9, 0xF0, 0x1D, 0xC3, 0x41, 0xAF, 0x44, 0x4C, 0x6F, 0x28, 0x0D, 0x3F, 0xAE},
      /* 933AC7E1-2EB4-4F13-B844-0E14E2AEF915: Linux home */
      {0xE1, 0xC7, 0x3A, 0x93, 0xB4, 0x2E, 0x13, 0x4F, 0xB8, 0x44, 0x0E, 0x14, 0xE2, 0xAE, 0xF9, 0x15},
      /* 3B8F8425-20E0-4F3B-907F-1A25A76F98E8: Linux server data */
      {0x25, 0x84, 0x8F, 0x3B, 0xE0, 0x20, 0x3B, 0x4F, 0x90, 0x7F, 0x1A, 0x25, 0xA7, 0x6F, 0x98, 0xE8},
      /* 4D21B016-B534-45C2-A9FB-5C16E091FD2D: Linux variable data */
      {0x16, 0xB0, 0x21, 0x4D, 0x34, 0xB5, 0xC2, 0x45, 0xA9, 0xFB, 0x5C, 0x16, 0xE0, 0x91, 0xFD, 0x2D},
      /* BC13C2FF-59E6-4262-A352-B275FD6F7172: Linux extended boot */
      {0xFF, 0xC2, 0x13, 0xBC, 0xE6, 0x59, 0x62, 0x42, 0xA3, 0x52, 0xB2, 0x75, 0xFD, 0x6F, 0x71, 0x72},
  };

  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
    if (memcmp(types[i], type, sizeof types[i]) == 0)
      return true;
  return false;
}

/* Sectors. */
static void add(const VdFreeSpaceDisk *disk, VdFreeTable *table, unsigned number, uint64_t first,
                uint64_t count, bool may_hold)
{
  VdFreePartition *partition = &table->partitions[table->n];
  uint64_t start, length, end;

  if (table->n == VD_FREE_SPACE_PARTITIONS) {
    refuse(table, "it has more partitions than are looked at");
    return;
  }
  if (first == 0 || count == 0 || !vd_mul_u64(first, disk->sector_size, &start) ||
      !vd_mul_u64(count, disk->sector_size, &length) || !vd_add_u64(start, length, &end) ||
      end > disk->size) {
    refuse(table, "it names places outside of the disk");
    return;
  }
  *partition = (VdFreePartition){.number = number, .start = start, .end = end};
  if (!may_hold)
    partition->reason = "its type is not one that file systems have for themselves";
  table->n++;
}

/* A table, and not the code of a boot sector. */
static bool is_mbr(const uint8_t *mbr)
{
  bool any = false;

  if (mbr[510] != 0x55 || mbr[511] != 0xAA)
    return false;
  for (unsigned i = 0; i < MBR_ENTRIES; i++) {
    const uint8_t *entry = mbr + 446 + 16 * (size_t)i;

    if (entry[0] != 0 && entry[0] != 0x80)
      return false;
    any = any || (entry[4] != 0 && vd_get_le32(entry + 12) != 0);
  }
  return any;
}

/* The first sector of FAT and NTFS, or of exFAT. */
static bool is_boot_sector(const uint8_t *mbr)
{
  uint16_t sector = vd_get_le16(mbr + 11);

  return memcmp(mbr + 3, "EXFAT   ", 8) == 0 || ((mbr[0] == 0xEB || mbr[0] == 0xE9) && sector >= 512 &&
                                                 sector <= 4096 && vd_is_power_of_two(sector));
}

/* Marked as a table, with something in it, and not as tables are. */
static bool is_odd(const uint8_t *mbr)
{
  if (mbr[510] != 0x55 || mbr[511] != 0xAA || is_mbr(mbr) || is_boot_sector(mbr))
    return false;
  for (unsigned i = 446; i < 510; i++)
    if (mbr[i] != 0)
      return true;
  return false;
}

/* The sectors that are a chain's own: no partition may have them. */
typedef struct {
  VdFreeRange sectors[VD_FREE_SPACE_PARTITIONS + 1];
  unsigned n;
} Links;

/* The chain of logical drives; each link lies within the extended partition, and behind none that was. */
static void read_logical(const VdFreeSpaceDisk *disk, VdFreeTable *table, Links *links, uint64_t extended,
                         uint64_t extended_end)
{
  uint64_t unit = disk->sector_size, at = extended;
  unsigned number = FIRST_LOGICAL;
  uint8_t ebr[MBR_LENGTH];

  for (;;) {
    uint32_t next;
    uint64_t first, end;

    if (links->n == VD_FREE_SPACE_PARTITIONS || at >= extended_end ||
        !vd_range_within(at * unit, sizeof ebr, disk->size) ||
        !disk->read(disk->user, at * unit, ebr, sizeof ebr) || ebr[510] != 0x55 || ebr[511] != 0xAA) {
      refuse(table, "its chain of logical drives cannot be followed");
      return;
    }
    links->sectors[links->n++] = (VdFreeRange){at * unit, (at + 1) * unit};
    if (ebr[450] != 0) {
      first = at + vd_get_le32(ebr + 454);
      end = first + vd_get_le32(ebr + 458);
      if (first <= at || end > extended_end)
        refuse(table, contradicts);
      add(disk, table, number++, first, vd_get_le32(ebr + 458), may_hold_file_system(ebr[450]));
    }
    if (ebr[482] != 0 || ebr[498] != 0)
      refuse(table, contradicts);
    next = vd_get_le32(ebr + 470);
    if (ebr[466] == 0 || next == 0)
      return;
    if (!is_extended(ebr[466])) {
      refuse(table, contradicts);
      return;
    }
    at = extended + next;
  }
}

static bool share(uint64_t start, uint64_t end, uint64_t other, uint64_t other_end)
{
  return start < other_end && other < end;
}

static void read_mbr(const VdFreeSpaceDisk *disk, VdFreeTable *table, const uint8_t *mbr)
{
  VdFreeRange extended = {0};
  Links links;

  links.n = 0;
  for (unsigned i = 0; i < MBR_ENTRIES; i++) {
    const uint8_t *entry = mbr + 446 + 16 * (size_t)i;
    uint64_t first = vd_get_le32(entry + 8), count = vd_get_le32(entry + 12);

    if (entry[4] == 0)
      continue;
    if (!is_extended(entry[4])) {
      add(disk, table, i + 1, first, count, may_hold_file_system(entry[4]));
    } else if (extended.end != 0 || first == 0) {
      refuse(table, contradicts);
    } else {
      extended = (VdFreeRange){first, first + count};
    }
  }
  for (unsigned i = 0; i < table->n; i++)
    if (share(table->partitions[i].start, table->partitions[i].end, extended.start * disk->sector_size,
              extended.end * disk->sector_size))
      refuse(table, contradicts);
  if (extended.end != 0 && !table->reason)
    read_logical(disk, table, &links, extended.start, extended.end);
  for (unsigned i = 0; i < links.n; i++)
    for (unsigned k = 0; k < table->n; k++)
      if (share(table->partitions[k].start, table->partitions[k].end, links.sectors[i].start,
                links.sectors[i].end))
        refuse(table, contradicts);
}

static bool read_for_gpt(void *user, uint64_t offset, uint8_t *buffer, size_t length,
                         VdFormatError *ret_error)
{
  const VdFreeSpaceDisk *disk = user;

  return disk->read(disk->user, offset, buffer, length) ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, offset, "", "the disk cannot be read");
}

static bool read_gpt(const VdFreeSpaceDisk *disk, uint64_t lba, VdGpt *ret_gpt)
{
  VdFormatError error;

  return vd_gpt_read(read_for_gpt, (void *)disk, disk->size, disk->sector_size, lba, ret_gpt, &error) &&
         ret_gpt->good;
}

static void take_gpt(const VdFreeSpaceDisk *disk, VdFreeTable *table, const VdGpt *gpt)
{
  for (uint32_t i = 0; i < gpt->count; i++) {
    VdGptEntry entry = vd_gpt_entry(gpt, i);

    if (!entry.used)
      continue;
    if (entry.last < entry.first || entry.first < gpt->first_usable || entry.last > gpt->last_usable ||
        entry.last == UINT64_MAX)
      refuse(table, contradicts);
    else
      add(disk, table, i + 1, entry.first, entry.last - entry.first + 1,
          may_hold_file_system_gpt(entry.type));
  }
}

/* One protective entry and no other: a table of both kinds is two tables. */
static bool is_protective_alone(const uint8_t *mbr)
{
  unsigned n = 0, protective = 0;

  for (unsigned i = 0; i < MBR_ENTRIES; i++) {
    n += mbr[446 + 16 * i + 4] != 0;
    protective += mbr[446 + 16 * i + 4] == TYPE_PROTECTIVE;
  }
  return n == 1 && protective == 1;
}

static bool has_protective(const uint8_t *mbr)
{
  for (unsigned i = 0; i < MBR_ENTRIES; i++)
    if (mbr[446 + 16 * i + 4] == TYPE_PROTECTIVE)
      return true;
  return false;
}

static void read_both(const VdFreeSpaceDisk *disk, VdFreeTable *table)
{
  VdGpt gpt __attribute__((cleanup(vd_gpt_clear))) = {0};
  VdGpt other __attribute__((cleanup(vd_gpt_clear))) = {0};

  if (!read_gpt(disk, 1, &gpt) || gpt.alternate <= 1 || !read_gpt(disk, gpt.alternate, &other) ||
      other.alternate != 1)
    refuse(table, "one of the two halves of the GPT is damaged");
  else if (memcmp(gpt.id, other.id, sizeof gpt.id) != 0 || gpt.array_sum != other.array_sum ||
           gpt.first_usable != other.first_usable || gpt.last_usable != other.last_usable)
    refuse(table, "the two halves of the GPT differ");
  else
    take_gpt(disk, table, &gpt);
}

/* A table of this kind without the entry that announces it: a disk that was used in another way before. */
static bool has_stray_gpt(const VdFreeSpaceDisk *disk)
{
  uint64_t unit = disk->sector_size;
  uint8_t mark[8];

  if (disk->size / unit < 3)
    return false;
  if (!disk->read(disk->user, unit, mark, sizeof mark) || memcmp(mark, "EFI PART", sizeof mark) == 0)
    return true;
  return !disk->read(disk->user, (disk->size / unit - 1) * unit, mark, sizeof mark) ||
         memcmp(mark, "EFI PART", sizeof mark) == 0;
}

static bool has_overlap(const VdFreeTable *table)
{
  const VdFreePartition *p = table->partitions;

  for (unsigned i = 0; i < table->n; i++)
    for (unsigned k = 0; k < i; k++)
      if (share(p[i].start, p[i].end, p[k].start, p[k].end))
        return true;
  return false;
}

void vd_free_table_read(const VdFreeSpaceDisk *disk, VdFreeTable *ret_table)
{
  uint8_t mbr[MBR_LENGTH];

  ret_table->n = 0;
  ret_table->reason = NULL;
  if (disk->size < sizeof mbr || !disk->read(disk->user, 0, mbr, sizeof mbr)) {
    refuse(ret_table, "it cannot be read");
    return;
  }
  if (is_odd(mbr)) {
    refuse(ret_table, "it is not as expected");
  } else if (is_mbr(mbr) && has_protective(mbr)) {
    if (is_protective_alone(mbr))
      read_both(disk, ret_table);
    else
      refuse(ret_table, "it is an MBR and a GPT");
  } else if (has_stray_gpt(disk)) {
    refuse(ret_table, "there is part of a GPT, and nothing that announces it");
  } else if (is_mbr(mbr)) {
    read_mbr(disk, ret_table, mbr);
  }
  if (has_overlap(ret_table))
    refuse(ret_table, "two partitions share space");
}
