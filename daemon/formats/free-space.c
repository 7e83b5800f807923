/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whose bytes are where: partition tables and signatures. A place with two signatures has two owners for all
 * that anybody knows: neither is asked. */
#include "formats/free-space-private.h"

#include <stdio.h>
#include <stdlib.h>

#include "util/checked.h"

#define MBR_ENTRIES 4
#define GPT_ENTRY_LEAST 128
#define GPT_ENTRY_MOST 4096

bool vd_free_volume_refuse(VdFreeVolume *self, const char *reason)
{
  if (!self->reason)
    self->reason = reason;
  return false;
}

bool vd_free_volume_read(VdFreeVolume *self, uint64_t offset, void *ret_bytes, size_t length)
{
  if (!vd_range_within(offset, length, self->size))
    return vd_free_volume_refuse(self, "it names places outside of itself");
  return self->disk->read(self->disk->user, self->start + offset, ret_bytes, length) ||
         vd_free_volume_refuse(self, "it cannot be read");
}

static bool tell(VdFreeVolume *self)
{
  uint64_t length = self->run_end - self->run;

  if (length > 0 && !self->ended) {
    self->told = true;
    self->ended = !self->disk->found(self->disk->user, self->start + self->run, length);
  }
  self->run = self->run_end = 0;
  return !self->ended;
}

bool vd_free_volume_add(VdFreeVolume *self, uint64_t offset, uint64_t length)
{
  if (offset >= self->size)
    return !self->ended;
  if (length > self->size - offset)
    length = self->size - offset;
  if (self->run_end > self->run && self->run_end == offset) {
    self->run_end += length;
    return !self->ended;
  }
  if (!tell(self))
    return false;
  self->run = offset;
  self->run_end = offset + length;
  return true;
}

bool vd_free_volume_add_bits(VdFreeVolume *self, const uint8_t *bits, uint64_t n_bits, uint64_t offset,
                             uint64_t unit)
{
  for (uint64_t bit = 0; bit < n_bits;) {
    bool is_used = (bits[bit / 8] >> (bit % 8) & 1) != 0;
    uint8_t same = is_used ? 0xFF : 0;
    uint64_t first = bit++;

    while (bit < n_bits && (bits[bit / 8] >> (bit % 8) & 1) == is_used)
      bit += bit % 8 == 0 && n_bits - bit >= 8 && bits[bit / 8] == same ? 8 : 1;
    if (!is_used && !vd_free_volume_add(self, offset + first * unit, (bit - first) * unit))
      return false;
  }
  return true;
}

typedef struct {
  const char *name;
  uint64_t offset;
  const char *magic;
  size_t length;
  bool (*ask)(VdFreeVolume *self); /* NULL: nobody here knows it */
} Kind;

/* What uses a partition as a whole. Not all there are: those that are found beside others. */
static const Kind kinds[] = {
    {"ext", 0x438, "\x53\xEF", 2, vd_free_ext},
    {"FAT", 54, "FAT12   ", 8, vd_free_fat},
    {"FAT", 54, "FAT16   ", 8, vd_free_fat},
    {"FAT", 82, "FAT32   ", 8, vd_free_fat},
    {"exFAT", 3, "EXFAT   ", 8, vd_free_exfat},
    {"NTFS", 3, "NTFS    ", 8, vd_free_ntfs},
    {"XFS", 0, "XFSB", 4, NULL},
    {"btrfs", 0x10040, "_BHRfS_M", 8, NULL},
    {"swap", 4086, "SWAPSPACE2", 10, NULL},
    {"LUKS", 0, "LUKS\xBA\xBE", 6, NULL},
    {"LVM", 512, "LABELONE", 8, NULL},
    {"LVM", 0, "LABELONE", 8, NULL},
    {"RAID", 4096, "\xFC\x4E\x2B\xA9", 4, NULL},
    {"RAID", 0, "\xFC\x4E\x2B\xA9", 4, NULL},
    {"F2FS", 1024, "\x10\x20\xF5\xF2", 4, NULL},
    {"ReFS", 3, "ReFS\0\0\0\0", 8, NULL},
    {"BitLocker", 3, "-FVE-FS-", 8, NULL},
    {"ISO 9660", 32769, "CD001", 5, NULL},
    {"bcache", 4120, "\xC6\x85\x73\xF6\x4E\x1A\x45\xCA", 8, NULL},
};

static bool has(VdFreeVolume *volume, const Kind *kind)
{
  uint8_t bytes[16];

  return vd_range_within(kind->offset, kind->length, volume->size) &&
         volume->disk->read(volume->disk->user, volume->start + kind->offset, bytes, kind->length) &&
         memcmp(bytes, kind->magic, kind->length) == 0;
}

/* How many there are; *ret_kind: one of them. */
static unsigned recognise(VdFreeVolume *volume, const Kind **ret_kind)
{
  unsigned n = 0;

  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
    if (has(volume, &kinds[i])) {
      *ret_kind = &kinds[i];
      n++;
    }
  return n;
}

static void note(VdFreeSpaceReport *report, unsigned partition, const char *name, const char *reason)
{
  size_t used = strlen(report->note);
  char where[32] = "";

  report->fell_back++;
  if (partition != 0)
    snprintf(where, sizeof where, " in partition %u", partition);
  snprintf(report->note + used, sizeof report->note - used, "%s%s%s: %s", used > 0 ? "; " : "", name, where,
           reason);
}

/* False: it is to end. partition 0: the whole disk. */
static bool ask(VdFreeVolume *volume, unsigned partition, VdFreeSpaceReport *report)
{
  const Kind *kind = NULL;
  unsigned n = recognise(volume, &kind);

  if (n == 0)
    return true;
  if (n > 1) {
    note(report, partition, kind->name, "another use of the same place shows too");
    return true;
  }
  if (!kind->ask) {
    note(report, partition, kind->name, "its free space is not known here");
    return true;
  }
  if (kind->ask(volume) && tell(volume))
    report->asked++;
  else if (!volume->ended)
    note(report, partition, kind->name, volume->reason ? volume->reason : "it cannot be read");
  /* What was told before something looked wrong stays told: each of its maps says so by itself. */
  return !volume->ended && tell(volume);
}

typedef struct {
  const VdFreeSpaceDisk *disk;
  VdFreeSpaceReport *report;
  uint8_t *chunk;
  unsigned n; /* partitions so far */
  bool ended;
  struct {
    uint64_t start, end;
  } seen[VD_FREE_SPACE_PARTITIONS];
} Search;

static bool ask_range(Search *search, unsigned partition, uint64_t start, uint64_t size)
{
  VdFreeVolume volume = {.disk = search->disk, .start = start, .size = size, .chunk = search->chunk};

  search->ended = search->ended || !ask(&volume, partition, search->report);
  return !search->ended;
}

/* Two partitions that share bytes: nobody knows whose they are. */
static bool overlaps(const Search *search, uint64_t start, uint64_t end)
{
  for (unsigned i = 0; i < search->n; i++)
    if (start < search->seen[i].end && search->seen[i].start < end)
      return true;
  return false;
}

static void add_partition(Search *search, uint64_t start, uint64_t size)
{
  uint64_t end;

  if (search->n == VD_FREE_SPACE_PARTITIONS || size == 0 || !vd_add_u64(start, size, &end) ||
      end > search->disk->size)
    return;
  search->seen[search->n].start = start;
  search->seen[search->n++].end = end;
}

static bool is_gpt_protective(const uint8_t *mbr)
{
  for (unsigned i = 0; i < MBR_ENTRIES; i++)
    if (mbr[446 + 16 * i + 4] == 0xEE)
      return true;
  return false;
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
    if (entry[4] != 0 && vd_get_le32(entry + 12) != 0)
      any = any || vd_get_le32(entry + 8) != 0;
  }
  return any;
}

static bool is_extended(uint8_t type)
{
  return type == 0x05 || type == 0x0F || type == 0x85;
}

/* The chain of logical drives; each link lies within the extended partition, and so often. */
static void find_logical(Search *search, uint64_t extended)
{
  uint64_t unit = search->disk->sector_size, at = extended;
  uint8_t table[512];

  for (unsigned links = 0; links < VD_FREE_SPACE_PARTITIONS; links++) {
    uint32_t next;

    if (!vd_range_within(at, sizeof table, search->disk->size) ||
        !search->disk->read(search->disk->user, at, table, sizeof table) || table[510] != 0x55 ||
        table[511] != 0xAA)
      return;
    add_partition(search, at + vd_get_le32(table + 454) * unit, vd_get_le32(table + 458) * unit);
    next = vd_get_le32(table + 470);
    if (!is_extended(table[466]) || next == 0)
      return;
    at = extended + next * unit;
  }
}

static void find_mbr(Search *search, const uint8_t *mbr)
{
  uint64_t unit = search->disk->sector_size;

  for (unsigned i = 0; i < MBR_ENTRIES; i++) {
    const uint8_t *entry = mbr + 446 + 16 * (size_t)i;
    uint64_t start = vd_get_le32(entry + 8) * unit;

    if (entry[4] == 0)
      continue;
    if (is_extended(entry[4]))
      find_logical(search, start);
    else
      add_partition(search, start, vd_get_le32(entry + 12) * unit);
  }
}

static bool find_gpt(Search *search)
{
  const VdFreeSpaceDisk *disk = search->disk;
  uint64_t unit = disk->sector_size, table;
  uint8_t header[92], entry[GPT_ENTRY_LEAST];
  static const uint8_t none[16];
  uint32_t count, length;

  if (!vd_range_within(unit, sizeof header, disk->size) ||
      !disk->read(disk->user, unit, header, sizeof header) || memcmp(header, "EFI PART", 8) != 0)
    return false;
  count = vd_get_le32(header + 80);
  length = vd_get_le32(header + 84);
  if (length < GPT_ENTRY_LEAST || length > GPT_ENTRY_MOST ||
      !vd_mul_u64(vd_get_le64(header + 72), unit, &table))
    return false;
  for (uint32_t i = 0; i < count && i < VD_FREE_SPACE_PARTITIONS; i++) {
    uint64_t at = table + (uint64_t)i * length, start, end;

    if (!vd_range_within(at, sizeof entry, disk->size) || !disk->read(disk->user, at, entry, sizeof entry))
      return false;
    if (memcmp(entry, none, sizeof none) == 0 || vd_get_le64(entry + 40) < vd_get_le64(entry + 32))
      continue;
    if (vd_mul_u64(vd_get_le64(entry + 32), unit, &start) &&
        vd_mul_u64(vd_get_le64(entry + 40) + 1, unit, &end) && end > start)
      add_partition(search, start, end - start);
  }
  return true;
}

static void ask_partitions(Search *search)
{
  unsigned n = search->n;

  for (search->n = 0; search->n < n && !search->ended; search->n++) {
    uint64_t start = search->seen[search->n].start, end = search->seen[search->n].end;

    if (overlaps(search, start, end))
      note(search->report, search->n + 1, "what is", "it shares space with another partition");
    else
      ask_range(search, search->n + 1, start, end - start);
  }
}

/* A table and a file system over it: an old one of the two is still there. */
static void ask_disk(Search *search, const uint8_t *mbr)
{
  VdFreeVolume whole = {.disk = search->disk, .size = search->disk->size};
  const Kind *kind = NULL;
  bool used_whole = recognise(&whole, &kind) > 0;

  if (!is_mbr(mbr)) {
    ask_range(search, 0, 0, search->disk->size);
    return;
  }
  if (used_whole) {
    note(search->report, 0, kind->name, "there is a table of partitions too");
    return;
  }
  if (!is_gpt_protective(mbr))
    find_mbr(search, mbr);
  else if (!find_gpt(search))
    note(search->report, 0, "GPT", "it cannot be read");
  ask_partitions(search);
}

static void search_free(Search **self)
{
  if (*self)
    free((*self)->chunk);
  free(*self);
}

bool vd_free_space_find(const VdFreeSpaceDisk *disk, VdFreeSpaceReport *ret_report)
{
  Search *search __attribute__((cleanup(search_free))) = calloc(1, sizeof *search);
  uint8_t mbr[512];

  *ret_report = (VdFreeSpaceReport){0};
  if (search)
    search->chunk = malloc(VD_FREE_SPACE_CHUNK);
  if (!search || !search->chunk || disk->size < sizeof mbr || !disk->read(disk->user, 0, mbr, sizeof mbr)) {
    note(ret_report, 0, "the disk", "it cannot be read");
    return true;
  }
  search->disk = disk;
  search->report = ret_report;
  ask_disk(search, mbr);
  return !search->ended;
}
