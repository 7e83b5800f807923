/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libblkid's verdict as plain, bounded text and numbers. */
#include "formats/content.h"

#include <blkid/blkid.h>
#include <stdio.h>
#include <string.h>

#include "util/checked.h"

/* libblkid counts in these, whatever the disk's own sector is. */
#define BLKID_SECTOR 512
/* GPT's backup behind the last partition: 32 sectors of entries and the header. */
#define GPT_BACKUP_SECTORS 33
/* What a table without partitions needs: the MBR; GPT's MBR, header and entries in front. */
#define MBR_SECTORS 1
#define GPT_HEAD_SECTORS 34
/* Highest partition number the kernel gives out (DISK_MAX_PARTS). */
#define MAX_PARTITION_NUMBER 256
/* First number of a logical drive in an MBR. */
#define FIRST_LOGICAL 5

/* Length of the UTF-8 character that begins with these bytes (NUL-terminated); 0 if it is none, is overlong,
 * a surrogate, or a control character. */
static size_t character_length(const unsigned char *bytes)
{
  static const struct {
    unsigned char mask, lead;
    uint32_t least;
  } forms[] = {{0x80, 0x00, 0x20}, {0xe0, 0xc0, 0xa0}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};

  for (size_t form = 0; form < sizeof forms / sizeof forms[0]; form++) {
    uint32_t value = bytes[0] & (unsigned char)~forms[form].mask;

    if ((bytes[0] & forms[form].mask) != forms[form].lead)
      continue;
    for (size_t i = 1; i <= form; i++) {
      if ((bytes[i] & 0xc0) != 0x80)
        return 0;
      value = value << 6 | (bytes[i] & 0x3f);
    }
    if (value < forms[form].least || value == 0x7f || value > 0x10ffff ||
        (value >= 0xd800 && value <= 0xdfff))
      return 0;
    return form + 1;
  }
  return 0;
}

void vd_content_copy_text(char *ret, size_t size, const char *text)
{
  size_t used = 0, at = 0;

  while (text != NULL && text[at] != '\0') {
    size_t length = character_length((const unsigned char *)&text[at]);

    if (length > 0 && used + length + 1 > size)
      break;
    if (length > 0)
      memcpy(&ret[used], &text[at], length);
    used += length;
    at += length > 0 ? length : 1;
  }
  memset(&ret[used], 0, size - used);
}

static void probe_free(blkid_probe *probe)
{
  blkid_free_probe(*probe);
}

/* NULL if libblkid does not want that range. */
static blkid_probe probe_new(int fd, uint64_t offset, uint64_t size, uint32_t sector_size)
{
  blkid_probe probe = blkid_new_probe();

  if (probe != NULL && blkid_probe_set_device(probe, fd, (blkid_loff_t)offset, (blkid_loff_t)size) != 0) {
    blkid_free_probe(probe);
    return NULL;
  }
  if (probe != NULL)
    blkid_probe_set_sectorsize(probe, sector_size);
  return probe;
}

static void copy_value(blkid_probe probe, const char *name, char *ret, size_t size)
{
  const char *value = NULL;

  if (blkid_probe_lookup_value(probe, name, &value, NULL) == 0)
    vd_content_copy_text(ret, size, value);
}

/* Says what file system lies in the range that content names; leaves its strings empty if none does. */
static void recognise(int fd, const VdFacts *facts, VdContent *content)
{
  blkid_probe probe __attribute__((cleanup(probe_free))) =
      probe_new(fd, facts->payload_offset + content->offset, content->size, facts->sector_size);
  int found;

  if (probe == NULL)
    return;
  blkid_probe_enable_superblocks(probe, 1);
  blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_LABEL |
                                               BLKID_SUBLKS_UUID);
  found = blkid_do_safeprobe(probe);
  if (found == -2)
    content->flags |= VD_CONTENT_AMBIGUOUS;
  if (found != 0)
    return;
  copy_value(probe, "USAGE", content->usage, sizeof content->usage);
  copy_value(probe, "TYPE", content->type, sizeof content->type);
  copy_value(probe, "LABEL", content->label, sizeof content->label);
  copy_value(probe, "UUID", content->uuid, sizeof content->uuid);
}

/* False: a partition that the kernel would not make either. */
static bool describe_partition(blkid_partition partition, const VdFacts *facts, VdContent *ret_content)
{
  blkid_loff_t start = blkid_partition_get_start(partition), sectors = blkid_partition_get_size(partition);
  int number = blkid_partition_get_partno(partition);
  const char *type = blkid_partition_get_type_string(partition);

  memset(ret_content, 0, sizeof *ret_content);
  if (number < 1 || number > MAX_PARTITION_NUMBER || start < 0 || sectors <= 0 ||
      !vd_mul_u64((uint64_t)start, BLKID_SECTOR, &ret_content->offset) ||
      !vd_mul_u64((uint64_t)sectors, BLKID_SECTOR, &ret_content->size) ||
      ret_content->offset >= facts->virtual_size)
    return false;
  if (!vd_range_within(ret_content->offset, ret_content->size, facts->virtual_size)) {
    ret_content->size = facts->virtual_size - ret_content->offset;
    ret_content->flags |= VD_CONTENT_CUT;
  }
  ret_content->partition = (uint32_t)number;
  if (type != NULL)
    vd_content_copy_text(ret_content->part_type, sizeof ret_content->part_type, type);
  else
    snprintf(ret_content->part_type, sizeof ret_content->part_type, "0x%x",
             (unsigned)blkid_partition_get_type(partition));
  vd_content_copy_text(ret_content->part_uuid, sizeof ret_content->part_uuid,
                       blkid_partition_get_uuid(partition));
  vd_content_copy_text(ret_content->part_name, sizeof ret_content->part_name,
                       blkid_partition_get_name(partition));
  return true;
}

static bool is_extended(const VdFacts *facts, const VdContent *content)
{
  return strcmp(facts->pt_type, "dos") == 0 && content->partition < FIRST_LOGICAL &&
         (strcmp(content->part_type, "0x5") == 0 || strcmp(content->part_type, "0xf") == 0 ||
          strcmp(content->part_type, "0x85") == 0);
}

static bool number_taken(const VdFacts *facts, uint32_t number)
{
  for (uint32_t i = 0; i < facts->n_contents; i++)
    if (facts->contents[i].partition == number)
      return true;
  return false;
}

/* end: bytes; of the last partition, 0 if there is none. */
static uint64_t smallest_size(const VdFacts *facts, uint64_t end)
{
  bool gpt = strcmp(facts->pt_type, "gpt") == 0;
  uint64_t head = (uint64_t)(gpt ? GPT_HEAD_SECTORS : MBR_SECTORS) * facts->sector_size;
  uint64_t tail = gpt ? (uint64_t)GPT_BACKUP_SECTORS * facts->sector_size : 0;
  uint64_t size;

  if (!vd_add_u64(end > head ? end : head, tail, &size) || size > facts->virtual_size)
    return facts->virtual_size;
  return size;
}

static void list_partitions(int fd, blkid_partlist list, VdFacts *facts)
{
  int count = blkid_partlist_numof_partitions(list);
  uint64_t end = 0;

  for (int i = 0; i < count && facts->n_contents <= VD_MAX_PARTITIONS; i++) {
    VdContent *content = &facts->contents[facts->n_contents];
    blkid_partition partition = blkid_partlist_get_partition(list, i);

    if (partition == NULL || !describe_partition(partition, facts, content) ||
        number_taken(facts, content->partition)) {
      memset(content, 0, sizeof *content);
      continue;
    }
    /* An extended partition holds logical ones, never a file system. */
    if (!is_extended(facts, content))
      recognise(fd, facts, content);
    if (content->offset + content->size > end)
      end = content->offset + content->size;
    facts->n_contents++;
  }
  facts->smallest_safe_size = smallest_size(facts, end);
}

static void scan_table(int fd, VdFacts *facts)
{
  blkid_probe probe __attribute__((cleanup(probe_free))) =
      probe_new(fd, facts->payload_offset, facts->virtual_size, facts->sector_size);
  blkid_partlist list = probe != NULL ? blkid_probe_get_partitions(probe) : NULL;
  blkid_parttable table = list != NULL ? blkid_partlist_get_table(list) : NULL;
  const char *type = table != NULL ? blkid_parttable_get_type(table) : NULL;

  /* Other tables (Apple's, BSD's) are taken for none: nobody here knows what needs what behind their end. */
  if (type == NULL || (strcmp(type, "gpt") != 0 && strcmp(type, "dos") != 0))
    return;
  vd_content_copy_text(facts->pt_type, sizeof facts->pt_type, type);
  list_partitions(fd, list, facts);
}

void vd_content_scan(int fd, VdScan scan, VdFacts *facts)
{
  VdContent *whole = &facts->contents[0];

  if (!facts->linear)
    return;
  memset(whole, 0, sizeof *whole);
  whole->size = facts->virtual_size;
  recognise(fd, facts, whole);
  if (whole->type[0] != '\0' || whole->flags != 0)
    facts->n_contents = 1;
  else
    memset(whole, 0, sizeof *whole);
  if (scan == VD_SCAN_PARTITIONS)
    scan_table(fd, facts);
}
