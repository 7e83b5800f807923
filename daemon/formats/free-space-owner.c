/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who uses a volume. A place with two signatures has two owners for all that anybody knows: neither is asked.
 * libblkid knows far more of them than would be known here, also those that stand at a volume's end; it reads
 * files, and gets one of ours with the beginning and the end of the volume in it. What it passes over beside
 * another one is looked for here.
 */
#include <blkid/blkid.h>
#include <unistd.h>

#include "formats/free-space-private.h"
#include "util/checked.h"

/* What libblkid looks at: labels and superblocks are in the first MiBs, or in the last one. */
#define HEAD (UINT64_C(8) << 20)
#define TAIL (UINT64_C(4) << 20)
#define PAGE 4096

typedef struct {
  const char *name;
  uint64_t offset;
  const char *magic;
  size_t length;
} Kind;

/* Of those that leave another's signature alone, or whose own is left alone. */
static const Kind kinds[] = {
    {"ext", 0x438, "\x53\xEF", 2},
    {"FAT", 54, "FAT12   ", 8},
    {"FAT", 54, "FAT16   ", 8},
    {"FAT", 82, "FAT32   ", 8},
    {"exFAT", 3, "EXFAT   ", 8},
    {"NTFS", 3, "NTFS    ", 8},
    {"XFS", 0, "XFSB", 4},
    {"btrfs", 0x10040, "_BHRfS_M", 8},
    {"swap", 4086, "SWAPSPACE2", 10},
    {"LUKS", 0, "LUKS\xBA\xBE", 6},
    {"LVM", 0, "LABELONE", 8},
    {"LVM", 512, "LABELONE", 8},
    {"LVM", 1024, "LABELONE", 8},
    {"LVM", 1536, "LABELONE", 8},
    {"RAID", 4096, "\xFC\x4E\x2B\xA9", 4},
    {"RAID", 0, "\xFC\x4E\x2B\xA9", 4},
    {"F2FS", 1024, "\x10\x20\xF5\xF2", 4},
    {"HFS+", 1024, "H+", 2},
    {"HFSX", 1024, "HX", 2},
    {"APFS", 32, "NXSB", 4},
    {"ReFS", 3, "ReFS\0\0\0\0", 8},
    {"BitLocker", 3, "-FVE-FS-", 8},
    {"ISO 9660", 32769, "CD001", 5},
    {"bcache", 4120, "\xC6\x85\x73\xF6\x4E\x1A\x45\xCA", 8},
    {"bcachefs", 4120, "\xC6\x85\x73\xF6\x66\xCE\x90\xA9", 8},
};

static const struct {
  const char *type; /* libblkid's */
  const char *name; /* in kinds */
  bool (*ask)(VdFreeVolume *self);
} readers[] = {
    {"ext2", "ext", vd_free_ext}, {"ext3", "ext", vd_free_ext},      {"ext4", "ext", vd_free_ext},
    {"vfat", "FAT", vd_free_fat}, {"exfat", "exFAT", vd_free_exfat}, {"ntfs", "NTFS", vd_free_ntfs},
    {"xfs", "XFS", vd_free_xfs},
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

/* What is zero is zero in the file already. */
static bool copy_chunk(VdFreeVolume *volume, uint64_t offset, size_t length)
{
  static const uint8_t zeros[PAGE];

  if (!volume->disk->read(volume->disk->user, volume->start + offset, volume->chunk, length))
    return false;
  for (size_t at = 0; at < length; at += PAGE) {
    size_t n = length - at < PAGE ? length - at : PAGE;

    if (memcmp(volume->chunk + at, zeros, n) != 0 &&
        pwrite(volume->disk->scratch, volume->chunk + at, n, (off_t)(offset + at)) != (ssize_t)n)
      return false;
  }
  return true;
}

static bool copy(VdFreeVolume *volume, uint64_t start, uint64_t end)
{
  while (start < end) {
    uint64_t length = end - start < VD_FREE_SPACE_CHUNK ? end - start : VD_FREE_SPACE_CHUNK;

    if (!copy_chunk(volume, start, (size_t)length))
      return false;
    start += length;
  }
  return true;
}

static bool fill_scratch(VdFreeVolume *volume)
{
  uint64_t head = volume->size < HEAD ? volume->size : HEAD;
  uint64_t tail = volume->size - head < TAIL ? head : (volume->size - TAIL) / PAGE * PAGE;

  return ftruncate(volume->disk->scratch, 0) == 0 &&
         ftruncate(volume->disk->scratch, (off_t)volume->size) == 0 && copy(volume, 0, head) &&
         copy(volume, tail, volume->size);
}

static void probe_free(blkid_probe *probe)
{
  blkid_free_probe(*probe);
}

static blkid_probe new_probe(VdFreeVolume *volume)
{
  blkid_probe probe = blkid_new_probe();

  if (probe && blkid_probe_set_device(probe, volume->disk->scratch, 0, (blkid_loff_t)volume->size) == 0) {
    blkid_probe_set_sectorsize(probe, volume->disk->sector_size);
    return probe;
  }
  blkid_free_probe(probe);
  return NULL;
}

/* The mark of an MBR alone stands on many a boot sector. */
static bool has_table(VdFreeVolume *volume)
{
  blkid_probe probe __attribute__((cleanup(probe_free))) = new_probe(volume);
  blkid_partlist list = probe ? blkid_probe_get_partitions(probe) : NULL;
  blkid_parttable table = list ? blkid_partlist_get_table(list) : NULL;
  const char *type = table ? blkid_parttable_get_type(table) : NULL;

  return type && (strcmp(type, "dos") != 0 || blkid_partlist_numof_partitions(list) > 0);
}

/* A table of partitions that shows inside of a volume makes a second owner of what else is there. */
static VdFreeOwner judge(blkid_probe probe, VdFreeVolume *volume)
{
  const char *type = NULL;
  const Kind *kind = NULL;
  unsigned n = recognise(volume, &kind);
  VdFreeOwner owner = {0};
  int found = blkid_do_safeprobe(probe);

  if (found == 0 && blkid_probe_lookup_value(probe, "TYPE", &type, NULL) != 0)
    type = NULL;
  if (n == 0 && !type && found != -2 && found >= 0)
    return owner;
  owner.name = kind ? kind->name : "what is there";
  owner.reason = "another use of the same place shows too";
  if (found < 0 || n > 1 || has_table(volume))
    return owner;
  owner.reason = "its free space is not known here";
  for (size_t i = 0; type && kind && i < sizeof readers / sizeof readers[0]; i++)
    if (strcmp(readers[i].type, type) == 0 && strcmp(readers[i].name, kind->name) == 0)
      owner.ask = readers[i].ask;
  return owner;
}

VdFreeOwner vd_free_owner(VdFreeVolume *volume)
{
  static const VdFreeOwner unknown = {.name = "what is there",
                                      .reason = "it cannot be found out who uses the place"};
  blkid_probe probe __attribute__((cleanup(probe_free))) = fill_scratch(volume) ? new_probe(volume) : NULL;
  VdFreeOwner owner;

  if (!probe)
    return unknown;
  blkid_probe_enable_superblocks(probe, 1);
  blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE);
  owner = judge(probe, volume);
  /* Nothing of it stays in memory. */
  return ftruncate(volume->disk->scratch, 0) == 0 ? owner : unknown;
}
