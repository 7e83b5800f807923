/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "create.h"

#include <string.h>

#include "util/checked.h"

#define KIB 1024u
#define MIB (1024u * 1024u)
#define SECTOR 512u
#define SECTOR_4K 4096u
#define VHD_SMALL_BLOCK (512u * KIB)
#define VHD_BLOCK (2u * MIB)
#define VHDX_MAX_BLOCK (256u * MIB)
/* "VHDX differencing 2 MiB", whatever the parent has. */
#define VHDX_CHILD_BLOCK (2u * MIB)

/* Sets, persistent memory and change tracking of the parent: nothing here has them. */
#define CREATE_FLAGS_UNSUPPORTED                                                                             \
  (VIRTDISK_CREATE_CREATE_BACKING_STORAGE | VIRTDISK_CREATE_USE_CHANGE_TRACKING_SOURCE_LIMIT |               \
   VIRTDISK_CREATE_PRESERVE_PARENT_CHANGE_TRACKING_STATE |                                                   \
   VIRTDISK_CREATE_VHD_SET_USE_ORIGINAL_BACKING_STORAGE | VIRTDISK_CREATE_PMEM_COMPATIBLE)

static gboolean invalid(GError **error, const char *text)
{
  g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, text);
  return FALSE;
}

static gboolean is_fixed(const VdCreateParams *p)
{
  return (p->flags & VIRTDISK_CREATE_FULL_PHYSICAL_ALLOCATION) != 0;
}

static gboolean check_flags(const VdCreateParams *p, GError **error)
{
  if ((p->flags & ~(guint32)VIRTDISK_CREATE_ALL_FLAGS) != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "unknown create flags 0x%08x",
                p->flags & ~(guint32)VIRTDISK_CREATE_ALL_FLAGS);
    return FALSE;
  }
  if ((p->flags & CREATE_FLAGS_UNSUPPORTED) != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED, "create flags 0x%08x are not supported",
                p->flags & CREATE_FLAGS_UNSUPPORTED);
    return FALSE;
  }
  if (p->provider_flags != 0)
    return invalid(error, "provider-specific-flags must be 0");
  if ((p->flags & VIRTDISK_CREATE_SPARSE_FILE) != 0 && !is_fixed(p))
    return invalid(error, "SPARSE_FILE belongs to FULL_PHYSICAL_ALLOCATION");
  return TRUE;
}

static gboolean check_version(const VdCreateParams *p, GError **error)
{
  if (p->version != 1 && p->version != 2)
    return invalid(error, "version is not 1 or 2");
  if (p->version == 1 && (p->has_physical_sector_size || p->has_open_flags || p->has_parent_type ||
                          p->has_source_type || p->has_resiliency_guid))
    return invalid(error, "physical-sector-size, open-flags, parent-device-id, parent-vendor-id, "
                          "source-device-id, source-vendor-id and resiliency-guid belong to version 2");
  if (p->version == 2 && p->mask != VIRTDISK_ACCESS_NONE)
    return invalid(error, "the access mask must be 0 with version 2");
  if (p->version == 1 && p->sector_size != 0 && p->sector_size != SECTOR)
    return invalid(error, "sector-size must be 512 with version 1");
  if (p->unique_id != NULL && !g_uuid_string_is_valid(p->unique_id))
    return invalid(error, "unique-id is not a GUID");
  return TRUE;
}

static gboolean check_format(guint32 device_id, GError **error)
{
  if (device_id == VIRTDISK_DEVICE_VHD || device_id == VIRTDISK_DEVICE_VHDX ||
      device_id == VIRTDISK_DEVICE_RAW)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED, "images of format %s are not created",
              vd_device_id_to_format(device_id));
  return FALSE;
}

static gboolean check_sectors(const VdCreateParams *p, gboolean vhdx, GError **error)
{
  if (p->sector_size != 0 && p->sector_size != SECTOR && !(vhdx && p->sector_size == SECTOR_4K))
    return invalid(error,
                   vhdx ? "sector-size is not 512 or 4096" : "sector-size of a VHD or raw image is 512");
  if (p->physical_sector_size != 0 && p->physical_sector_size != SECTOR &&
      !(vhdx && p->physical_sector_size == SECTOR_4K))
    return invalid(error, vhdx ? "physical-sector-size is not 512 or 4096"
                               : "physical-sector-size of a VHD or raw image is 512");
  if (p->physical_sector_size != 0 && p->physical_sector_size < p->sector_size)
    return invalid(error, "physical-sector-size is less than sector-size");
  return TRUE;
}

static gboolean check_block(const VdCreateParams *p, guint32 device_id, GError **error)
{
  gboolean vhdx = device_id == VIRTDISK_DEVICE_VHDX;
  guint32 size = p->block_size;

  if (size == 0)
    return TRUE;
  if (device_id == VIRTDISK_DEVICE_RAW)
    return invalid(error, "block-size of a raw image is 0");
  if (!vhdx && is_fixed(p))
    return invalid(error, "block-size of a fixed VHD is 0");
  if (!vhdx && size != VHD_SMALL_BLOCK && size != VHD_BLOCK)
    return invalid(error, "block-size of a VHD is 524288 or 2097152");
  if (vhdx && (size < MIB || size > VHDX_MAX_BLOCK || !vd_is_power_of_two(size)))
    return invalid(error, "block-size of a VHDX is a power of two from 1048576 to 268435456");
  return TRUE;
}

guint64 vd_create_smallest_size(guint32 device_id)
{
  return device_id == VIRTDISK_DEVICE_RAW ? SECTOR : VD_CREATE_MIN_SIZE;
}

guint64 vd_create_largest_size(guint32 device_id)
{
  return device_id == VIRTDISK_DEVICE_VHDX  ? VD_MAX_VIRTUAL_SIZE
         : device_id == VIRTDISK_DEVICE_VHD ? VD_CREATE_MAX_VHD_SIZE
                                            : VD_MAX_RAW_SIZE;
}

static gboolean is_possible_size(guint64 size, guint32 device_id, GError **error)
{
  guint64 largest = vd_create_largest_size(device_id);

  if (size <= largest)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_SIZE,
              "%" G_GUINT64_FORMAT " bytes are more than an image of format %s can have (%" G_GUINT64_FORMAT
              ")",
              size, vd_device_id_to_format(device_id), largest);
  return FALSE;
}

static gboolean check_size(const VdCreateParams *p, guint32 device_id, GError **error)
{
  if (p->parent_path != NULL && p->maximum_size != 0)
    return invalid(error, "maximum_size must be 0 with a parent: the child has its size");
  if (p->parent_path != NULL || (p->source_path != NULL && p->maximum_size == 0))
    return TRUE;
  if (p->maximum_size < vd_create_smallest_size(device_id))
    return invalid(error, device_id == VIRTDISK_DEVICE_RAW
                              ? "maximum_size is less than 512 bytes"
                              : "maximum_size is less than 3145728 bytes (3 MiB)");
  if (p->maximum_size % (p->sector_size != 0 ? p->sector_size : SECTOR) != 0)
    return invalid(error, "maximum_size is not a multiple of sector-size");
  return is_possible_size(p->maximum_size, device_id, error);
}

static gboolean check_source(const VdCreateParams *p, GError **error)
{
  if (p->source_path == NULL && p->has_source_type)
    return invalid(error, "source-device-id and source-vendor-id need source-path");
  if (p->source_path == NULL && p->verify)
    return invalid(error, "verify needs source-path");
  if (p->source_path == NULL)
    return TRUE;
  if (p->parent_path != NULL)
    return invalid(error, "parent-path and source-path exclude each other");
  return p->source_path[0] == '/' ? TRUE : invalid(error, "source-path is not absolute");
}

static gboolean check_owner(const VdCreateParams *p, GError **error)
{
  if ((p->has_owner_uid && p->owner_uid == G_MAXUINT32) || (p->has_owner_gid && p->owner_gid == G_MAXUINT32))
    return invalid(error, "owner-uid or owner-gid is nobody's number");
  return !p->has_mode || (p->mode & ~0777u) == 0 ? TRUE
                                                 : invalid(error, "mode has other bits than permissions");
}

static gboolean check_parent(const VdCreateParams *p, guint32 device_id, GError **error)
{
  guint32 parent_id = p->parent_device_id;

  if (p->parent_path == NULL)
    return p->has_parent_type ? invalid(error, "parent-device-id and parent-vendor-id need parent-path")
                              : TRUE;
  if (device_id == VIRTDISK_DEVICE_RAW)
    return invalid(error, "raw images have no parents");
  if (is_fixed(p))
    return invalid(error, "FULL_PHYSICAL_ALLOCATION and parent-path exclude each other");
  if (p->parent_path[0] != '/')
    return invalid(error, "parent-path is not absolute");
  if (!vd_image_resolve_type(parent_id, p->parent_vendor, p->parent_path, &parent_id, error))
    return FALSE;
  return parent_id == device_id ? TRUE : invalid(error, "child and parent are of different formats");
}

static void random_id(uint8_t id[16])
{
  for (gsize i = 0; i < 4; i++) {
    guint32 word = g_random_int();

    memcpy(id + 4 * i, &word, sizeof word);
  }
  id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
  id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

/* 36 characters, checked. FALSE: all zeros, which means none. */
static gboolean parse_id(const char *text, uint8_t id[16])
{
  gboolean any = FALSE;

  for (gsize i = 0; i < 16; i++, text += 2) {
    text += *text == '-';
    id[i] = (uint8_t)(g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]));
    any |= id[i] != 0;
  }
  return any;
}

/* A GUID as VHDX stores it: its first three numbers have their low byte first. */
static void store_guid(const uint8_t printed[16], uint8_t stored[16])
{
  static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

  for (gsize i = 0; i < 16; i++)
    stored[i] = printed[order[i]];
}

static void fill_ids(const VdCreateParams *p, VdCreateSpec *spec)
{
  gboolean given = p->unique_id != NULL && parse_id(p->unique_id, spec->identifier);

  if (!given)
    random_id(spec->identifier);
  random_id(spec->guids[0]);
  /* What a child of a VHDX knows it by, and GET_VIRTUAL_DISK_INFO calls its identifier. */
  if (given)
    store_guid(spec->identifier, spec->guids[1]);
  else
    random_id(spec->guids[1]);
}

static void fill_open(const VdCreateParams *p, guint32 device_id, VdOpenParams *open)
{
  *open = (VdOpenParams){.device_id = device_id,
                         .mask = p->mask,
                         .flags = p->open_flags,
                         .version = p->version,
                         .resiliency_guid = p->resiliency_guid,
                         .has_resiliency_guid = p->has_resiliency_guid};
}

gboolean vd_create_check(const VdCreateParams *p, const char *path, VdCreateSpec *ret_spec,
                         VdOpenParams *ret_open, VdRights *ret_rights, GError **error)
{
  guint32 device_id;
  gboolean vhdx;

  if (!check_flags(p, error) || !check_version(p, error) ||
      !vd_image_resolve_type(p->device_id, p->vendor, path, &device_id, error) ||
      !check_format(device_id, error))
    return FALSE;
  vhdx = device_id == VIRTDISK_DEVICE_VHDX;
  fill_open(p, device_id, ret_open);
  if (!vd_access_open(ret_open, path, &device_id, ret_rights, error) || !check_sectors(p, vhdx, error) ||
      !check_block(p, device_id, error) || !check_parent(p, device_id, error) || !check_source(p, error) ||
      !check_owner(p, error) || !check_size(p, device_id, error))
    return FALSE;
  *ret_spec = (VdCreateSpec){
      .device_id = device_id,
      .subtype = p->parent_path != NULL ? VIRTDISK_SUBTYPE_DIFFERENCING
                 : is_fixed(p)          ? VIRTDISK_SUBTYPE_FIXED
                                        : VIRTDISK_SUBTYPE_DYNAMIC,
      .size = p->maximum_size,
      .block_size = p->block_size,
      .sector_size = p->sector_size,
      .physical_sector_size = p->physical_sector_size,
      .unix_time = (guint64)(g_get_real_time() / G_USEC_PER_SEC),
      .whole = is_fixed(p) && (p->flags & VIRTDISK_CREATE_SPARSE_FILE) == 0,
  };
  fill_ids(p, ret_spec);
  return TRUE;
}

char *vd_relative_path(const char *folder, const char *path)
{
  g_auto(GStrv) from = g_strsplit(folder, "/", -1);
  g_auto(GStrv) to = g_strsplit(path, "/", -1);
  GString *text = g_string_new(NULL);
  gsize common = 0;

  while (from[common] != NULL && to[common] != NULL && to[common + 1] != NULL &&
         g_str_equal(from[common], to[common]))
    common++;
  for (gsize i = common; from[i] != NULL; i++)
    if (from[i][0] != '\0')
      g_string_append(text, "../");
  for (gsize i = common; to[i] != NULL; i++)
    g_string_append_printf(text, "%s%s", to[i], to[i + 1] != NULL ? "/" : "");
  return g_string_free(text, FALSE);
}

static gboolean is_holdable(const char *path, gsize size)
{
  return strlen(path) < size && g_utf8_validate(path, -1, NULL);
}

gboolean vd_create_place(const char *folder, const char *parent_path, const VdPathMap *map, char *relative,
                         char *absolute, GError **error)
{
  g_autofree char *near = vd_relative_path(folder, parent_path);
  g_autofree char *windows = vd_path_map_to_windows(map, parent_path);

  if (!is_holdable(near, VD_MAX_PARENT_PATH) || strchr(near, '\\') != NULL)
    return invalid(error, "the path to the parent is longer than an image can hold, not UTF-8, or has a "
                          "backslash in it");
  g_strlcpy(relative, near, VD_MAX_PARENT_PATH);
  g_strlcpy(absolute, windows != NULL && is_holdable(windows, VD_MAX_PARENT_PATH) ? windows : "",
            VD_MAX_PARENT_PATH);
  return TRUE;
}

gboolean vd_create_from_parent(const VdCreateParams *p, const VdFacts *parent, const char *folder,
                               const char *parent_path, const VdPathMap *map, VdCreateSpec *spec,
                               GError **error)
{
  gboolean vhdx = spec->device_id == VIRTDISK_DEVICE_VHDX;

  if (p->sector_size != 0 && p->sector_size != parent->sector_size)
    return invalid(error, "sector-size is not the parent's");
  spec->size = parent->virtual_size;
  spec->sector_size = parent->sector_size;
  if (spec->physical_sector_size == 0)
    spec->physical_sector_size = parent->physical_sector_size;
  if (spec->block_size == 0)
    spec->block_size = vhdx ? VHDX_CHILD_BLOCK : parent->block_size != 0 ? parent->block_size : VHD_BLOCK;
  /* The identity that a guest sees is one for the whole chain; unless the parent but stands in for another.
   */
  if (vhdx && p->unique_id == NULL && parent->has_identifier &&
      (p->flags & VIRTDISK_CREATE_DO_NOT_COPY_METADATA_FROM_PARENT) == 0)
    memcpy(spec->identifier, parent->identifier, sizeof spec->identifier);
  memcpy(spec->parent_linkage, parent->linkage, sizeof spec->parent_linkage);
  spec->parent_timestamp = parent->timestamp;
  return vd_create_place(folder, parent_path, map, spec->parent_relative, spec->parent_absolute, error);
}

static guint64 round_up(guint64 size, guint32 unit)
{
  return (size + unit - 1) / unit * unit;
}

/* Of a VHDX: what its source has, where it is something a VHDX can have. */
static void take_sectors(const VdFacts *source, VdCreateSpec *spec)
{
  if (spec->sector_size == 0 && source->sector_size == SECTOR_4K)
    spec->sector_size = SECTOR_4K;
  if (spec->physical_sector_size == 0 && source->device_id == VIRTDISK_DEVICE_VHDX)
    spec->physical_sector_size = MAX(source->physical_sector_size, spec->sector_size);
}

gboolean vd_create_from_source(const VdCreateParams *p, const VdFacts *source, VdCreateSpec *spec,
                               GError **error)
{
  guint64 least = vd_create_smallest_size(spec->device_id);

  if (spec->device_id == VIRTDISK_DEVICE_VHDX)
    take_sectors(source, spec);
  /* What is on it (a partition table) counts in its sectors. Who asks for others knows. */
  if (spec->device_id == VIRTDISK_DEVICE_VHD && source->sector_size == SECTOR_4K && p->sector_size == 0) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE,
                        "the source has sectors of 4096 bytes, a VHD has 512 only");
    return FALSE;
  }
  if (p->maximum_size == 0)
    spec->size =
        MAX(round_up(source->virtual_size, spec->sector_size != 0 ? spec->sector_size : SECTOR), least);
  else if (p->maximum_size < source->virtual_size)
    return invalid(error, "maximum_size is less than the source's size");
  if (spec->sector_size != 0 && spec->size % spec->sector_size != 0)
    return invalid(error, "maximum_size is not a multiple of the source's sectors");
  return is_possible_size(spec->size, spec->device_id, error);
}

gboolean vd_create_from_original(const VdFacts *original, const char *folder, const char *parent_path,
                                 const VdPathMap *map, VdCreateSpec *ret_spec, GError **error)
{
  *ret_spec = (VdCreateSpec){
      .device_id = original->device_id,
      .subtype = original->subtype != 0 ? original->subtype : VIRTDISK_SUBTYPE_DYNAMIC,
      .size = original->virtual_size,
      .block_size = original->block_size,
      .sector_size = original->sector_size,
      .physical_sector_size = original->physical_sector_size,
      .unix_time = (guint64)(g_get_real_time() / G_USEC_PER_SEC),
      .whole = original->subtype == VIRTDISK_SUBTYPE_FIXED && original->device_id != VIRTDISK_DEVICE_RAW,
      .parent_timestamp = original->parent_timestamp,
  };
  random_id(ret_spec->identifier);
  if (original->has_identifier)
    memcpy(ret_spec->identifier, original->identifier, sizeof ret_spec->identifier);
  random_id(ret_spec->guids[0]);
  random_id(ret_spec->guids[1]);
  if (parent_path == NULL)
    return TRUE;
  memcpy(ret_spec->parent_linkage, original->parent_id, sizeof ret_spec->parent_linkage);
  return vd_create_place(folder, parent_path, map, ret_spec->parent_relative, ret_spec->parent_absolute,
                         error);
}
