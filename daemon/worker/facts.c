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

#define SUBTYPE(name) (1U << VIRTDISK_SUBTYPE_##name)

/* What each format can say of itself. */
typedef struct {
  guint32 device_id;
  guint32 subtypes;     /* bits: 1 << VirtdiskSubtype */
  guint32 sector_sizes; /* the sizes, as bits of one number */
  guint64 max_size;     /* bytes */
  guint64 trailer;      /* bytes of the file that belong to the format and not to the disk, at least */
  gboolean identifier;
  guint32 may_be_linear;  /* subtypes */
  guint32 must_be_linear; /* subtypes */
  guint32 min_block;      /* bytes; 0: the format has no blocks */
  guint32 entry;          /* bytes in the file for each block */
  guint32 places;         /* bits: 1 << VdPlaceKind */
} Kind;

static const Kind kinds[] = {
    {.device_id = VIRTDISK_DEVICE_ISO,
     .subtypes = SUBTYPE(NONE),
     .sector_sizes = 2048,
     .max_size = VD_MAX_VIRTUAL_SIZE,
     .may_be_linear = SUBTYPE(NONE),
     .must_be_linear = SUBTYPE(NONE)},
    {.device_id = VIRTDISK_DEVICE_VHD,
     .subtypes = SUBTYPE(FIXED) | SUBTYPE(DYNAMIC) | SUBTYPE(DIFFERENCING),
     .sector_sizes = 512,
     .max_size = G_GUINT64_CONSTANT(2040) << 30,
     .trailer = 511,
     .identifier = TRUE,
     .may_be_linear = SUBTYPE(FIXED),
     .must_be_linear = SUBTYPE(FIXED),
     .min_block = SECTOR,
     .entry = 4,
     .places = 1U << VD_PLACE_RELATIVE | 1U << VD_PLACE_ABSOLUTE | 1U << VD_PLACE_UNIX},
    {.device_id = VIRTDISK_DEVICE_VHDX,
     .subtypes = SUBTYPE(FIXED) | SUBTYPE(DYNAMIC) | SUBTYPE(DIFFERENCING),
     .sector_sizes = 512 | 4096,
     .max_size = VD_MAX_VIRTUAL_SIZE,
     .identifier = TRUE,
     .may_be_linear = SUBTYPE(FIXED) | SUBTYPE(DYNAMIC),
     .min_block = 1U << 20,
     .entry = 8,
     .places = 1U << VD_PLACE_RELATIVE | 1U << VD_PLACE_ABSOLUTE | 1U << VD_PLACE_VOLUME},
    {.device_id = VIRTDISK_DEVICE_RAW,
     .subtypes = SUBTYPE(NONE),
     .sector_sizes = 512,
     .max_size = VD_MAX_RAW_SIZE,
     .may_be_linear = SUBTYPE(NONE),
     .must_be_linear = SUBTYPE(NONE)},
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
  if (facts->subtype > VIRTDISK_SUBTYPE_DIFFERENCING || (kind->subtypes & 1U << facts->subtype) == 0)
    return fail(error, "subtype is %u", facts->subtype);
  if (!vd_is_power_of_two(facts->sector_size) || (kind->sector_sizes & facts->sector_size) == 0)
    return fail(error, "sector_size is %u", facts->sector_size);
  if (facts->virtual_size == 0 || facts->virtual_size > kind->max_size)
    return fail(error, "virtual_size %" G_GUINT64_FORMAT " is not within 1 to %" G_GUINT64_FORMAT,
                facts->virtual_size, kind->max_size);
  if (facts->has_identifier != (guint32)kind->identifier)
    return fail(error, "has_identifier is %u", facts->has_identifier);
  return true;
}

/* Each block has its entry in the file. */
static bool check_blocks(const VdFacts *facts, const Kind *kind, GError **error)
{
  guint64 blocks;

  if (facts->block_size == 0 && facts->linear == 1)
    return true;
  if (!vd_is_power_of_two(facts->block_size) || kind->min_block == 0 || facts->block_size < kind->min_block ||
      facts->block_size > MAX_BLOCK_SIZE)
    return fail(error, "block_size is %u", facts->block_size);
  blocks = (facts->virtual_size - 1) / facts->block_size + 1;
  if (blocks > facts->file_size / kind->entry)
    return fail(error,
                "virtual_size %" G_GUINT64_FORMAT
                " has more blocks of block_size %u than the file has entries",
                facts->virtual_size, facts->block_size);
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
  return true;
}

static bool check_flags(const VdFacts *facts, GError **error)
{
  if (facts->linear > 1 || facts->is_4k_aligned > 1 || facts->saved_state > 1 || facts->needs_repair > 1)
    return fail(error, "linear %u, is_4k_aligned %u, saved_state %u, needs_repair %u: each is 0 or 1",
                facts->linear, facts->is_4k_aligned, facts->saved_state, facts->needs_repair);
  if (facts->linear == 1 && facts->needs_repair == 1)
    return fail(error, "needs_repair is 1, and the image is linear");
  if (facts->linear == 1 && facts->is_4k_aligned != (facts->payload_offset % 4096 == 0))
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
  if (facts->linear == 1 ? (kind->may_be_linear & 1U << facts->subtype) == 0
                         : (kind->must_be_linear & 1U << facts->subtype) != 0)
    return fail(error, "linear is %u with subtype %u", facts->linear, facts->subtype);
  if (facts->linear == 0 && facts->payload_offset != 0)
    return fail(error, "payload_offset is %" G_GUINT64_FORMAT " of an image that is not linear",
                facts->payload_offset);
  if (facts->linear == 0)
    return true;
  if (facts->payload_offset % SECTOR != 0 ||
      !vd_range_within(kind->trailer, facts->virtual_size, file_size) ||
      !vd_range_within(facts->payload_offset, facts->virtual_size, file_size - kind->trailer))
    return fail(error,
                "payload_offset %" G_GUINT64_FORMAT " and virtual_size %" G_GUINT64_FORMAT
                " do not fit the file's %" G_GUINT64_FORMAT,
                facts->payload_offset, facts->virtual_size, file_size);
  return true;
}

/* name: for messages; with an index in the middle. */
static bool check_text(const char *text, gsize size, const char *list, guint32 index, const char *name,
                       GError **error)
{
  gsize length = strnlen(text, size);

  if (length == size)
    return fail(error, "%s[%u].%s has no end", list, index, name);
  if (!g_utf8_validate(text, (gssize)length, NULL))
    return fail(error, "%s[%u].%s is not UTF-8", list, index, name);
  for (const char *at = text; *at != '\0'; at = g_utf8_next_char(at))
    if (g_unichar_iscntrl(g_utf8_get_char(at)))
      return fail(error, "%s[%u].%s has a control character", list, index, name);
  return true;
}

static gboolean is_zero(const guint8 *bytes, gsize length)
{
  for (gsize i = 0; i < length; i++)
    if (bytes[i] != 0)
      return FALSE;
  return TRUE;
}

static bool check_place(const VdFacts *facts, const Kind *kind, guint32 index, GError **error)
{
  const VdParentPlace *place = &facts->parent_places[index];

  if (place->kind > VD_PLACE_UNIX || (kind->places & 1U << place->kind) == 0)
    return fail(error, "parent_places[%u].kind is %u", index, place->kind);
  if (!check_text(place->path, sizeof place->path, "parent_places", index, "path", error))
    return false;
  if (place->path[0] == '\0' || (place->kind == VD_PLACE_UNIX && place->path[0] != '/'))
    return fail(error, "parent_places[%u].path is no path", index);
  return true;
}

static bool check_parent(const VdFacts *facts, const Kind *kind, GError **error)
{
  gboolean is_vhd = kind->device_id == VIRTDISK_DEVICE_VHD;

  if (facts->has_parent != (facts->subtype == VIRTDISK_SUBTYPE_DIFFERENCING))
    return fail(error, "has_parent is %u with subtype %u", facts->has_parent, facts->subtype);
  if (facts->n_parent_places > (facts->has_parent ? G_N_ELEMENTS(facts->parent_places) : 0))
    return fail(error, "n_parent_places is %u", facts->n_parent_places);
  if (!facts->has_parent && (!is_zero(facts->parent_id, sizeof facts->parent_id) ||
                             !is_zero(facts->parent_id2, sizeof facts->parent_id2)))
    return fail(error, "parent_id is given without a parent");
  if (facts->parent_timestamp != 0 && (!facts->has_parent || !is_vhd))
    return fail(error, "parent_timestamp is %u", facts->parent_timestamp);
  for (guint32 i = 0; i < facts->n_parent_places; i++)
    if (!check_place(facts, kind, i, error))
      return false;
  return true;
}

/* What a child would store. */
static bool check_linkage(const VdFacts *facts, const Kind *kind, GError **error)
{
  if (facts->has_linkage != (guint32)kind->identifier)
    return fail(error, "has_linkage is %u", facts->has_linkage);
  if (!facts->has_linkage && !is_zero(facts->linkage, sizeof facts->linkage))
    return fail(error, "linkage is given though has_linkage is 0");
  if (facts->timestamp != 0 && kind->device_id != VIRTDISK_DEVICE_VHD)
    return fail(error, "timestamp is %u", facts->timestamp);
  if (facts->saved_state != 0 && kind->device_id != VIRTDISK_DEVICE_VHD)
    return fail(error, "saved_state is %u", facts->saved_state);
  return true;
}

#define CHECK_TEXT(content, name)                                                                            \
  check_text((content)->name, sizeof(content)->name, "contents", index, #name, error)

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

static bool check_contents(const VdFacts *facts, GError **error)
{
  if (!check_table(facts, error))
    return false;
  for (guint32 i = 0; i < facts->n_contents; i++)
    if (!check_content(facts, i, error))
      return false;
  return true;
}

bool vd_facts_check_contents(const VdFacts *facts, uint64_t device_size, GError **error)
{
  if (facts->virtual_size != device_size)
    return fail(error, "virtual_size is %" G_GUINT64_FORMAT ", the device has %" G_GUINT64_FORMAT,
                (guint64)facts->virtual_size, (guint64)device_size);
  return check_contents(facts, error);
}

bool vd_facts_check_attached(const VdFacts *facts, uint32_t required_device, uint64_t file_size,
                             GError **error)
{
  const Kind *kind = kind_of(required_device);

  if (kind == NULL)
    return fail(error, "device_id %u is no format of this version", required_device);
  return check_kind(facts, kind, error) && check_units(facts, error) && check_flags(facts, error) &&
         check_payload(facts, kind, file_size, error) && check_blocks(facts, kind, error) &&
         check_parent(facts, kind, error) && check_linkage(facts, kind, error) &&
         check_contents(facts, error);
}

bool vd_facts_check(const VdFacts *facts, uint32_t required_device, uint64_t file_size, GError **error)
{
  if (facts->linear == 0 && (facts->pt_type[0] != '\0' || facts->n_contents != 0))
    return fail(error, "n_contents is %u of an image that is not linear", facts->n_contents);
  return vd_facts_check_attached(facts, required_device, file_size, error);
}
