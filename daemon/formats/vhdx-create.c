/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A new VHDX as Windows lays it out: log, metadata, BAT, blocks. The headers come last, when all else is
 * durable: before that the file is no VHDX.
 */
#include "formats/builder.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/bytes.h"
#include "formats/create-file.h"
#include "formats/utf16.h"
#include "formats/vhdx-metadata.h"
#include "formats/vhdx-region.h"
#include "util/checked.h"
#include "virtdisk-enums.h"
#include "worker/facts.h"

#define CREATOR "virtdisk"
#define LOG_OFFSET VD_VHDX_MIB
#define LOG_LENGTH VD_VHDX_MIB
#define METADATA_OFFSET (2 * VD_VHDX_MIB)
#define METADATA_LENGTH VD_VHDX_MIB
#define BAT_OFFSET (3 * VD_VHDX_MIB)
/* Windows' defaults, bytes. */
#define DYNAMIC_BLOCK (UINT32_C(32) << 20)
#define OTHER_BLOCK (UINT32_C(2) << 20)
#define SECTOR 512
#define PHYSICAL_SECTOR 4096
/* Windows makes no smaller ones, bytes. */
#define MIN_SIZE (UINT64_C(3) << 20)

/* Bytes of the BAT that are in memory at a time. */
#define BAT_PIECE (UINT64_C(64) << 10)
#define NO_PIECE UINT64_MAX

/* The specification with all defaults filled in, and what follows from it. */
typedef struct {
  VdBuilder base; /* first member */
  int fd;
  uint8_t guids[2][16];
  VdVhdxMetadataSpec metadata;
  bool fixed, differencing;
  VdVhdxBatShape shape;
  VdVhdxRange bat;
  uint64_t blocks;    /* bytes; where the first block goes */
  uint64_t file_size; /* bytes, as far as it is laid out */
  uint64_t last;      /* the block that was placed last, and where; NO_PIECE: none */
  uint64_t last_place;
  uint64_t piece; /* which of the BAT is in memory; NO_PIECE: none */
  uint8_t bat_piece[BAT_PIECE];
  uint8_t locator[VD_VHDX_MAX_LOCATOR];
  uint8_t buffer[VD_VHDX_MIB];
} Plan;

static bool refuse(VirtdiskError code, const char *field, uint64_t value, const char *why,
                   VdFormatError *ret_error)
{
  return vd_format_error_set(ret_error, code, 0, field, "the new VHDX: %s %" PRIu64 " %s", field, value, why);
}

static bool take_sizes(const VdCreateSpec *spec, Plan *plan, VdFormatError *ret_error)
{
  VdVhdxMetadataSpec *m = &plan->metadata;

  plan->fixed = spec->subtype == VIRTDISK_SUBTYPE_FIXED;
  plan->differencing = spec->subtype == VIRTDISK_SUBTYPE_DIFFERENCING;
  if (!plan->fixed && !plan->differencing && spec->subtype != VIRTDISK_SUBTYPE_DYNAMIC)
    return refuse(VIRTDISK_ERROR_INVALID_PARAMETER, "subtype", spec->subtype, "is none", ret_error);
  m->sector_size = spec->sector_size != 0 ? spec->sector_size : SECTOR;
  m->physical_sector_size = spec->physical_sector_size != 0 ? spec->physical_sector_size : PHYSICAL_SECTOR;
  m->block_size = spec->block_size != 0                       ? spec->block_size
                  : spec->subtype == VIRTDISK_SUBTYPE_DYNAMIC ? DYNAMIC_BLOCK
                                                              : OTHER_BLOCK;
  m->size = spec->size;
  m->leave_blocks_allocated = plan->fixed;
  if (m->sector_size != 512 && m->sector_size != 4096)
    return refuse(VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE, "sector_size", m->sector_size,
                  "is neither 512 nor 4096", ret_error);
  if ((m->physical_sector_size != 512 && m->physical_sector_size != 4096) ||
      m->physical_sector_size < m->sector_size)
    return refuse(VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE, "physical_sector_size",
                  m->physical_sector_size, "is neither 512 nor 4096, or less than the logical one",
                  ret_error);
  if (!vd_is_power_of_two(m->block_size) || m->block_size < VD_VHDX_MIN_BLOCK ||
      m->block_size > VD_VHDX_MAX_BLOCK)
    return refuse(VIRTDISK_ERROR_INVALID_PARAMETER, "block_size", m->block_size,
                  "is not a power of two from 1 MiB to 256 MiB", ret_error);
  if (m->size < MIN_SIZE || m->size % m->sector_size != 0 || m->size > VD_MAX_VIRTUAL_SIZE)
    return refuse(VIRTDISK_ERROR_VHD_INVALID_SIZE, "size", m->size,
                  "is not a multiple of the sector from 3 MiB to 64 TiB", ret_error);
  return true;
}

/* A path of UNIX as Windows writes it. False: it has a back slash of its own, is absolute, or too long. */
static bool to_windows(const char *path, char *ret, size_t capacity)
{
  bool dotted = strncmp(path, "../", 3) == 0 || strncmp(path, "./", 2) == 0;
  size_t length = strnlen(path, capacity), prefix = dotted ? 0 : 2;

  if (length + prefix >= capacity || path[0] == '/' || memchr(path, '\\', length) != NULL)
    return false;
  memcpy(ret, ".\\", prefix);
  for (size_t i = 0; i <= length; i++)
    ret[prefix + i] = path[i] == '/' ? '\\' : path[i];
  return true;
}

static bool take_parent(const VdCreateSpec *spec, Plan *plan, VdFormatError *ret_error)
{
  VdVhdxLocator locator = {0};
  size_t length = strnlen(spec->parent_absolute, sizeof spec->parent_absolute);

  vd_vhdx_guid_swap(spec->parent_linkage, locator.linkage);
  if (spec->parent_relative[0] != '\0' &&
      !to_windows(spec->parent_relative, locator.relative_path, sizeof locator.relative_path))
    return vd_format_error_set(
        ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "parent_relative",
        "the new VHDX: the parent's relative path cannot be written the way of Windows");
  if (length >= sizeof locator.absolute_path)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "parent_absolute",
                               "the new VHDX: the parent's absolute path has no end");
  memcpy(locator.absolute_path, spec->parent_absolute, length);
  plan->metadata.locator_length =
      (uint32_t)vd_vhdx_locator_build(&locator, plan->locator, sizeof plan->locator);
  plan->metadata.locator = plan->locator;
  return plan->metadata.locator_length != 0 ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "parent_absolute",
                             "the new VHDX: a path of the parent is not UTF-8");
}

/* The BAT has room for the entries of a differencing image in any case: what it may become one day. */
static void take_layout(Plan *plan)
{
  const VdVhdxMetadataSpec *m = &plan->metadata;
  uint64_t bytes;

  plan->shape = vd_vhdx_bat_shape(m->size, m->block_size, m->sector_size, true);
  bytes = plan->shape.entries * sizeof(uint64_t);
  plan->bat = (VdVhdxRange){BAT_OFFSET, (bytes + VD_VHDX_MIB - 1) / VD_VHDX_MIB * VD_VHDX_MIB};
  plan->blocks = plan->bat.offset + plan->bat.length;
  plan->file_size = plan->blocks;
  if (plan->fixed)
    plan->file_size += plan->shape.payload_blocks * m->block_size;
}

/* All blocks in their order, behind the BAT. */
static bool write_fixed_bat(Plan *plan, VdFormatError *ret_error)
{
  const uint64_t per_piece = sizeof plan->buffer / sizeof(uint64_t);
  uint64_t stride = plan->shape.chunk_ratio + 1, place = plan->blocks;

  for (uint64_t first = 0; first < plan->shape.entries; first += per_piece) {
    memset(plan->buffer, 0, sizeof plan->buffer);
    for (uint64_t i = 0; i < per_piece; i++) {
      uint64_t index = first + i;

      if (index % stride == stride - 1 || place == plan->file_size)
        continue;
      vd_put_le64(&plan->buffer[i * sizeof(uint64_t)], place | VD_VHDX_FULLY_PRESENT);
      place += plan->metadata.block_size;
    }
    if (!vd_create_file_write(plan->fd, plan->bat.offset + first * sizeof(uint64_t), plan->buffer,
                              sizeof plan->buffer, ret_error))
      return false;
  }
  return true;
}

static bool write_regions(int fd, Plan *plan, VdFormatError *ret_error)
{
  const VdVhdxRange metadata = {METADATA_OFFSET, METADATA_LENGTH};
  size_t items = VD_VHDX_METADATA_TABLE_LENGTH + 4096 + plan->metadata.locator_length;

  vd_vhdx_metadata_build(&plan->metadata, plan->buffer, items);
  if (!vd_create_file_write(fd, METADATA_OFFSET, plan->buffer, items, ret_error))
    return false;
  vd_vhdx_regions_build(&plan->bat, &metadata, plan->buffer);
  return vd_create_file_write(fd, VD_VHDX_REGIONS_1, plan->buffer, VD_VHDX_REGIONS_LENGTH, ret_error) &&
         vd_create_file_write(fd, VD_VHDX_REGIONS_2, plan->buffer, VD_VHDX_REGIONS_LENGTH, ret_error);
}

static bool write_identifier(int fd, VdFormatError *ret_error)
{
  uint8_t bytes[8 + 512] = "vhdxfile";
  size_t length;

  (void)!vd_utf16_from_utf8(CREATOR, VD_UTF16_LE, &bytes[8], 512, &length);
  return vd_create_file_write(fd, 0, bytes, sizeof bytes, ret_error);
}

static bool write_headers(const Plan *plan, VdFormatError *ret_error)
{
  VdVhdxHeader header = {.log_offset = LOG_OFFSET, .log_length = LOG_LENGTH};
  uint8_t bytes[VD_VHDX_HEADER_LENGTH];

  memcpy(header.file_write_guid, plan->guids[0], 16);
  memcpy(header.data_write_guid, plan->guids[1], 16);
  for (header.slot = 0; header.slot < 2; header.slot++) {
    header.sequence = header.slot + 1;
    vd_vhdx_header_build(&header, bytes);
    if (!vd_create_file_write(plan->fd, header.slot == 0 ? VD_VHDX_HEADER_1 : VD_VHDX_HEADER_2, bytes,
                              sizeof bytes, ret_error))
      return false;
  }
  return true;
}

/* Blocks, in their order */

static bool write_bat_piece(Plan *plan, VdFormatError *ret_error)
{
  return plan->piece == NO_PIECE || vd_create_file_write(plan->fd, plan->bat.offset + plan->piece * BAT_PIECE,
                                                         plan->bat_piece, sizeof plan->bat_piece, ret_error);
}

static bool enter(Plan *plan, uint64_t block, uint64_t place, VdFormatError *ret_error)
{
  uint64_t at = vd_vhdx_bat_payload_index(&plan->shape, block) * sizeof(uint64_t);

  if (at / BAT_PIECE != plan->piece) {
    if (!write_bat_piece(plan, ret_error))
      return false;
    plan->piece = at / BAT_PIECE;
    memset(plan->bat_piece, 0, sizeof plan->bat_piece);
  }
  vd_put_le64(&plan->bat_piece[at % BAT_PIECE], place | VD_VHDX_FULLY_PRESENT);
  return true;
}

static bool place(VdBuilder *base, uint64_t offset, uint64_t *ret_place, VdFormatError *ret_error)
{
  Plan *plan = (Plan *)base;
  uint64_t block = offset / plan->metadata.block_size;

  if (plan->fixed) {
    *ret_place = plan->blocks + offset;
    return true;
  }
  if (block != plan->last) {
    if (!enter(plan, block, plan->file_size, ret_error))
      return false;
    plan->last = block;
    plan->last_place = plan->file_size;
    plan->file_size += plan->metadata.block_size;
  }
  *ret_place = plan->last_place + offset % plan->metadata.block_size;
  return true;
}

static bool begin(Plan *plan, bool whole, VdFormatError *ret_error)
{
  if (!vd_create_file_resize(plan->fd, plan->file_size, ret_error))
    return false;
  if (!plan->fixed)
    return true;
  return (!whole ||
          vd_create_file_allocate(plan->fd, plan->blocks, plan->file_size - plan->blocks, ret_error)) &&
         write_fixed_bat(plan, ret_error);
}

static bool finish(VdBuilder *base, VdFormatError *ret_error)
{
  Plan *plan = (Plan *)base;

  return vd_create_file_resize(plan->fd, plan->file_size, ret_error) && write_bat_piece(plan, ret_error) &&
         write_regions(plan->fd, plan, ret_error) && write_identifier(plan->fd, ret_error) &&
         vd_create_file_sync(plan->fd, ret_error) && write_headers(plan, ret_error) &&
         vd_create_file_sync(plan->fd, ret_error);
}

static void release(VdBuilder *base)
{
  free(base);
}

static bool lay_out(int fd, const VdCreateSpec *spec, Plan *plan, VdFormatError *ret_error)
{
  if (!vd_create_file_check_empty(fd, ret_error) || !take_sizes(spec, plan, ret_error) ||
      (plan->differencing && !take_parent(spec, plan, ret_error)))
    return false;
  plan->fd = fd;
  plan->last = plan->piece = NO_PIECE;
  memcpy(plan->guids, spec->guids, sizeof plan->guids);
  vd_vhdx_guid_swap(spec->identifier, plan->metadata.disk_id);
  take_layout(plan);
  return begin(plan, spec->whole != 0, ret_error);
}

VdBuilder *vd_vhdx_builder_new(int fd, const VdCreateSpec *spec, VdFormatError *ret_error)
{
  static const VdBuilderOps ops = {.place = place, .finish = finish, .free = release};
  Plan *plan = calloc(1, sizeof *plan);

  if (plan == NULL) {
    vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory for a new VHDX");
    return NULL;
  }
  if (!lay_out(fd, spec, plan, ret_error)) {
    free(plan);
    return NULL;
  }
  plan->base = (VdBuilder){.ops = &ops,
                           .size = plan->metadata.size,
                           .block_size = plan->fixed ? 0 : plan->metadata.block_size,
                           .whole = plan->fixed && spec->whole != 0};
  return &plan->base;
}
