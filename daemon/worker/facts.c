/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's side of the facts: believes no number and no string of them. */
#include "worker/facts.h"

#include <glib.h>
#include <string.h>

#include "util/checked.h"
#include "virtdisk-enums.h"
#include "virtdisk-error.h"

/* Ceiling of a block, bytes: VHDX's 256 MiB, the largest of all formats. */
#define MAX_BLOCK_SIZE (256U << 20)
/* Highest partition number the kernel gives out. */
#define MAX_PARTITION_NUMBER 256
#define SECTOR 512

/* What each format can say of itself. */
typedef struct {
  guint32 device_id;
  guint32 subtype;
  guint32 sector_size;
  guint64 max_size; /* bytes */
  guint64 trailer;  /* bytes of the file that belong to the format and not to the disk, at least */
  gboolean identifier;
} Kind;

static const Kind kinds[] = {
    {VIRTDISK_DEVICE_ISO, VIRTDISK_SUBTYPE_NONE, 2048, VD_MAX_VIRTUAL_SIZE, 0, FALSE},
    {VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_FIXED, 512, G_GUINT64_CONSTANT(2040) << 30, 511, TRUE},
    {VIRTDISK_DEVICE_RAW, VIRTDISK_SUBTYPE_NONE, 512, VD_MAX_RAW_SIZE, 0, FALSE},
};

G_GNUC_PRINTF(2, 3) static bool fail(GError **error, const char *format, ...)
{
  va_list args;
  g_autofree char *text = NULL;

  va_start(args, format);
  text = g_strdup_vprintf(format, args);
  va_end(args);
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_WORKER_LOST, "the worker's answer: %s", text);
  return false;
}

static const Kind *kind_of(guint32 device_id)
{
  for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++)
    if (kinds[i].device_id == device_id)
      return &kinds[i];
  return NULL;
}

static bool check_kind(const VdFacts *facts, const Kind *kind, GError **error)
{
  if (facts->device_id != kind->device_id)
    return fail(error, "device_id is %u, asked was %u", facts->device_id, kind->device_id);
  if (facts->subtype != kind->subtype)
    return fail(error, "subtype is %u, not %u", facts->subtype, kind->subtype);
  if (facts->sector_size != kind->sector_size)
    return fail(error, "sector_size is %u, not %u", facts->sector_size, kind->sector_size);
  if (facts->virtual_size == 0 || facts->virtual_size > kind->max_size)
    return fail(error, "virtual_size %" G_GUINT64_FORMAT " is not within 1 to %" G_GUINT64_FORMAT,
                facts->virtual_size, kind->max_size);
  if (facts->has_identifier != (guint32)kind->identifier)
    return fail(error, "has_identifier is %u", facts->has_identifier);
  return true;
}

static bool check_units(const VdFacts *facts, GError **error)
{
  if (facts->virtual_size % facts->sector_size != 0)
    return fail(error, "virtual_size %" G_GUINT64_FORMAT " is not a multiple of sector_size %u",
                facts->virtual_size, facts->sector_size);
  if (!vd_is_power_of_two(facts->physical_sector_size) || facts->physical_sector_size < facts->sector_size ||
      facts->physical_sector_size > 4096)
    return fail(error, "physical_sector_size is %u", facts->physical_sector_size);
  if (facts->block_size != 0 && (!vd_is_power_of_two(facts->block_size) || facts->block_size < SECTOR ||
                                 facts->block_size > MAX_BLOCK_SIZE))
    return fail(error, "block_size is %u", facts->block_size);
  return true;
}

static bool check_flags(const VdFacts *facts, GError **error)
{
  if (facts->linear > 1 || facts->is_4k_aligned > 1 || facts->saved_state > 1)
    return fail(error, "linear %u, is_4k_aligned %u, saved_state %u: each is 0 or 1", facts->linear,
                facts->is_4k_aligned, facts->saved_state);
  if (facts->is_4k_aligned != (facts->payload_offset % 4096 == 0))
    return fail(error, "is_4k_aligned is %u with payload_offset %" G_GUINT64_FORMAT, facts->is_4k_aligned,
                facts->payload_offset);
  return true;
}

/* What the kernel will be told: it must lie in the file, and loop counts in sectors. */
static bool check_payload(const VdFacts *facts, const Kind *kind, guint64 file_size, GError **error)
{
  if (facts->file_size != file_size)
    return fail(error, "file_size is %" G_GUINT64_FORMAT ", the file has %" G_GUINT64_FORMAT,
                facts->file_size, file_size);
  if (facts->linear != 1)
    return fail(error, "linear is %u; every format of this version is", facts->linear);
  if (facts->payload_offset % SECTOR != 0 ||
      !vd_range_within(kind->trailer, facts->virtual_size, file_size) ||
      !vd_range_within(facts->payload_offset, facts->virtual_size, file_size - kind->trailer))
    return fail(error,
                "payload_offset %" G_GUINT64_FORMAT " and virtual_size %" G_GUINT64_FORMAT
                " do not fit the file's %" G_GUINT64_FORMAT,
                facts->payload_offset, facts->virtual_size, file_size);
  return true;
}

static bool check_text(const char *text, gsize size, const char *name, guint32 index, GError **error)
{
  gsize length = strnlen(text, size);

  if (length == size)
    return fail(error, "contents[%u].%s has no end", index, name);
  if (!g_utf8_validate(text, (gssize)length, NULL))
    return fail(error, "contents[%u].%s is not UTF-8", index, name);
  for (const char *at = text; *at != '\0'; at = g_utf8_next_char(at))
    if (g_unichar_iscntrl(g_utf8_get_char(at)))
      return fail(error, "contents[%u].%s has a control character", index, name);
  return true;
}

#define CHECK_TEXT(content, name) check_text((content)->name, sizeof(content)->name, #name, index, error)

static bool check_content(const VdFacts *facts, guint32 index, GError **error)
{
  const VdContent *content = &facts->contents[index];

  if (content->partition > MAX_PARTITION_NUMBER)
    return fail(error, "contents[%u].partition is %u", index, content->partition);
  for (guint32 i = 0; i < index; i++)
    if (facts->contents[i].partition == content->partition)
      return fail(error, "contents[%u].partition %u stands twice", index, content->partition);
  if ((content->flags & ~VD_CONTENT_ALL_FLAGS) != 0)
    return fail(error, "contents[%u].flags is 0x%x", index, content->flags);
  if (content->size == 0 || content->offset % SECTOR != 0 || content->size % SECTOR != 0 ||
      !vd_range_within(content->offset, content->size, facts->virtual_size))
    return fail(error,
                "contents[%u].offset %" G_GUINT64_FORMAT " and size %" G_GUINT64_FORMAT
                " do not fit the disk's %" G_GUINT64_FORMAT,
                index, content->offset, content->size, facts->virtual_size);
  if (content->partition == 0 && (content->offset != 0 || content->size != facts->virtual_size))
    return fail(error, "contents[%u].size is %" G_GUINT64_FORMAT ", not the whole disk", index,
                content->size);
  if (content->partition != 0 && facts->pt_type[0] == '\0')
    return fail(error, "contents[%u].partition is %u without a partition table", index, content->partition);
  return CHECK_TEXT(content, usage) && CHECK_TEXT(content, type) && CHECK_TEXT(content, label) &&
         CHECK_TEXT(content, uuid) && CHECK_TEXT(content, part_type) && CHECK_TEXT(content, part_uuid) &&
         CHECK_TEXT(content, part_name);
}

static bool check_table(const VdFacts *facts, GError **error)
{
  if (strnlen(facts->pt_type, sizeof facts->pt_type) == sizeof facts->pt_type)
    return fail(error, "pt_type has no end");
  if (facts->pt_type[0] != '\0' && !g_str_equal(facts->pt_type, "gpt") && !g_str_equal(facts->pt_type, "dos"))
    return fail(error, "pt_type is neither gpt nor dos");
  if (facts->smallest_safe_size > facts->virtual_size ||
      (facts->smallest_safe_size != 0) != (facts->pt_type[0] != '\0'))
    return fail(error, "smallest_safe_size is %" G_GUINT64_FORMAT, facts->smallest_safe_size);
  if (facts->n_contents > G_N_ELEMENTS(facts->contents))
    return fail(error, "n_contents is %u, the ceiling %u", facts->n_contents,
                (guint)G_N_ELEMENTS(facts->contents));
  return true;
}

bool vd_facts_check(const VdFacts *facts, uint32_t required_device, uint64_t file_size, GError **error)
{
  const Kind *kind = kind_of(required_device);

  if (kind == NULL)
    return fail(error, "device_id %u is no format of this version", required_device);
  if (!check_kind(facts, kind, error) || !check_units(facts, error) || !check_flags(facts, error) ||
      !check_payload(facts, kind, file_size, error) || !check_table(facts, error))
    return false;
  for (guint32 i = 0; i < facts->n_contents; i++)
    if (!check_content(facts, i, error))
      return false;
  return true;
}
