/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * New VHDs, laid out as Windows does: blocks whose data will begin at multiples of 4096, the trailer where
 * the first of them goes. Everything but the trailer is durable before the trailer is written; a dynamic
 * image could be recovered without it, but then it is not yet anybody's.
 */
#include "formats/builder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/create-file.h"
#include "formats/vhd-bat.h"
#include "formats/vhd-parent.h"
#include "virtdisk-enums.h"

#define SECTOR_SIZE VD_VHD_SECTOR_SIZE
#define ALIGNMENT 4096
#define DEFAULT_BLOCK (UINT32_C(2) << 20)
#define SMALL_BLOCK (UINT32_C(512) << 10)
/* Windows makes no smaller ones. */
#define MIN_SIZE (UINT64_C(3) << 20)
#define AT_HEADER 512
#define AT_TABLE 0x600
/* Of differencing images. */
#define AT_ABSOLUTE_TEXT 0x1000
#define AT_CHILD_TABLE 0x2000
/* Room that a locator's text is given, bytes: a longer path can later be written in its place. */
#define ABSOLUTE_SPACE 4096
#define RELATIVE_SPACE 65536

typedef struct {
  VdVhdFooter footer;
  VdVhdSparse sparse;
  uint64_t table_end; /* bytes; padded */
  uint64_t trailer;   /* bytes */
  VdVhdParentTexts texts;
} Layout;

/* Bytes of the table that are in memory at a time. */
#define TABLE_PIECE 16384
#define NONE UINT64_MAX

typedef struct {
  VdBuilder base; /* first member */
  int fd;
  Layout layout; /* its trailer moves as blocks are laid out */
  uint64_t last; /* the block that was placed last, and where its data is; NONE: none */
  uint64_t last_place;
  uint64_t piece; /* which of the table is in memory; NONE: none */
  uint8_t table[TABLE_PIECE];
} VhdBuilder;

static bool refuse(VdFormatError *ret_error, const char *field, const char *what)
{
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, field, "new VHD: %s %s", field,
                             what);
}

static bool check_size(const VdCreateSpec *spec, VdFormatError *ret_error)
{
  if (spec->size % SECTOR_SIZE == 0 && spec->size >= MIN_SIZE && spec->size <= VD_VHD_MAX_SIZE)
    return true;
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_SIZE, 0, "size",
                             "new VHD: size is %" PRIu64 " bytes, not a multiple of %d from %" PRIu64
                             " to %" PRIu64,
                             spec->size, SECTOR_SIZE, MIN_SIZE, VD_VHD_MAX_SIZE);
}

static bool check_sectors(const VdCreateSpec *spec, VdFormatError *ret_error)
{
  if ((spec->sector_size == 0 || spec->sector_size == SECTOR_SIZE) &&
      (spec->physical_sector_size == 0 || spec->physical_sector_size == SECTOR_SIZE))
    return true;
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE, 0, "sector_size",
                             "new VHD: sectors of %" PRIu32 " bytes (physical %" PRIu32
                             "), the format has 512 only",
                             spec->sector_size, spec->physical_sector_size);
}

static bool is_text(const char *text, size_t capacity)
{
  return memchr(text, '\0', capacity) != NULL;
}

static bool check_spec(const VdCreateSpec *spec, VdFormatError *ret_error)
{
  if (!is_text(spec->parent_relative, sizeof spec->parent_relative) ||
      !is_text(spec->parent_absolute, sizeof spec->parent_absolute))
    return refuse(ret_error, "parent_relative", "or parent_absolute has no end");
  if (spec->subtype != VIRTDISK_SUBTYPE_FIXED && spec->subtype != VIRTDISK_SUBTYPE_DYNAMIC &&
      spec->subtype != VIRTDISK_SUBTYPE_DIFFERENCING)
    return refuse(ret_error, "subtype", "is neither fixed nor dynamic nor differencing");
  if (!check_size(spec, ret_error) || !check_sectors(spec, ret_error))
    return false;
  if (spec->subtype == VIRTDISK_SUBTYPE_FIXED && spec->block_size != 0)
    return refuse(ret_error, "block_size", "is given, a fixed image has no blocks");
  if (spec->block_size != 0 && spec->block_size != SMALL_BLOCK && spec->block_size != DEFAULT_BLOCK)
    return refuse(ret_error, "block_size", "is neither 512 KiB nor 2 MiB");
  return true;
}

static VdVhdFooter make_footer(const VdCreateSpec *spec)
{
  VdVhdFooter footer = {
      .data_offset = spec->subtype == VIRTDISK_SUBTYPE_FIXED ? UINT64_MAX : AT_HEADER,
      .current_size = spec->size,
      .type = (VdVhdType)spec->subtype,
      .timestamp = vd_vhd_timestamp(spec->unix_time),
  };

  memcpy(footer.unique_id, spec->identifier, sizeof footer.unique_id);
  vd_vhd_footer_build(&footer, footer.bytes);
  return footer;
}

static uint64_t align_up(uint64_t value)
{
  return (value + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Where a trailer goes behind that: in the sector before a multiple of 4096, where the first block's bitmap
 * (one sector, with the blocks that are made here) will lie. */
static uint64_t trailer_behind(uint64_t end)
{
  return align_up(end + SECTOR_SIZE) - SECTOR_SIZE;
}

static bool lay_out_parent(const VdCreateSpec *spec, Layout *layout, VdFormatError *ret_error)
{
  VdVhdParentTexts *texts = &layout->texts;

  if (!vd_vhd_parent_texts(spec->parent_relative, spec->parent_absolute, texts, ret_error))
    return false;
  layout->sparse.locators[0] = (VdVhdLocator){.code = VD_VHD_LOCATOR_W2RU,
                                              .space = RELATIVE_SPACE,
                                              .length = (uint32_t)texts->relative_length,
                                              .offset = layout->table_end};
  if (texts->absolute_length > 0)
    layout->sparse.locators[1] = (VdVhdLocator){.code = VD_VHD_LOCATOR_W2KU,
                                                .space = ABSOLUTE_SPACE,
                                                .length = (uint32_t)texts->absolute_length,
                                                .offset = AT_ABSOLUTE_TEXT};
  layout->sparse.parent_timestamp = spec->parent_timestamp;
  memcpy(layout->sparse.parent_id, spec->parent_linkage, sizeof layout->sparse.parent_id);
  memcpy(layout->sparse.parent_name, texts->name, sizeof layout->sparse.parent_name);
  return true;
}

static bool lay_out(const VdCreateSpec *spec, Layout *layout, VdFormatError *ret_error)
{
  VdVhdSparse *sparse = &layout->sparse;
  bool child = spec->subtype == VIRTDISK_SUBTYPE_DIFFERENCING;

  layout->footer = make_footer(spec);
  layout->trailer = spec->size;
  if (spec->subtype == VIRTDISK_SUBTYPE_FIXED)
    return true;
  sparse->block_size = spec->block_size != 0 ? spec->block_size : DEFAULT_BLOCK;
  sparse->max_entries = (uint32_t)vd_vhd_block_count(spec->size, sparse->block_size);
  sparse->table_offset = child ? AT_CHILD_TABLE : AT_TABLE;
  layout->table_end = align_up(sparse->table_offset + (uint64_t)sparse->max_entries * 4);
  layout->trailer = trailer_behind(layout->table_end + (child ? RELATIVE_SPACE : 0));
  return !child || lay_out_parent(spec, layout, ret_error);
}

static bool fail_write(int error, const char *what, uint64_t offset, VdFormatError *ret_error)
{
  bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;

  return vd_format_error_set(ret_error, full ? VIRTDISK_ERROR_DISK_FULL : VIRTDISK_ERROR_IO, offset, "",
                             "new VHD: %s at offset %" PRIu64 ": %s", what, offset, strerrordesc_np(error));
}

static bool write_all(int fd, const void *bytes, size_t length, uint64_t offset, VdFormatError *ret_error)
{
  const uint8_t *from = bytes;

  for (size_t done = 0; done < length;) {
    ssize_t n = pwrite(fd, &from[done], length - done, (off_t)(offset + done));

    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return fail_write(n < 0 ? errno : EIO, "write", offset + done, ret_error);
    done += (size_t)n;
  }
  return true;
}

static bool sync_all(int fd, VdFormatError *ret_error)
{
  return fsync(fd) == 0 || fail_write(errno, "fsync", 0, ret_error);
}

static bool write_table(int fd, const Layout *layout, VdFormatError *ret_error)
{
  uint8_t ones[16384];

  memset(ones, 0xff, sizeof ones);
  for (uint64_t at = layout->sparse.table_offset; at < layout->table_end;) {
    uint64_t rest = layout->table_end - at;
    size_t part = (size_t)(rest < sizeof ones ? rest : sizeof ones);

    if (!write_all(fd, ones, part, at, ret_error))
      return false;
    at += part;
  }
  return true;
}

static bool write_sparse(int fd, const Layout *layout, VdFormatError *ret_error)
{
  uint8_t header[VD_VHD_SPARSE_LENGTH];

  if (!vd_vhd_sparse_build(&layout->sparse, header))
    return refuse(ret_error, "parent_relative", "ends in a name that is too long or no UTF-8");
  return write_all(fd, layout->footer.bytes, sizeof layout->footer.bytes, 0, ret_error) &&
         write_all(fd, header, sizeof header, AT_HEADER, ret_error) && write_table(fd, layout, ret_error) &&
         write_all(fd, layout->texts.absolute, layout->texts.absolute_length, AT_ABSOLUTE_TEXT, ret_error) &&
         write_all(fd, layout->texts.relative, layout->texts.relative_length, layout->table_end, ret_error);
}

static bool write_fixed(int fd, const VdCreateSpec *spec, VdFormatError *ret_error)
{
  return spec->whole == 0 || vd_create_file_allocate(fd, 0, spec->size + VD_VHD_FOOTER_LENGTH, ret_error);
}

/* Blocks, in their order: a sector of bits, then the data at a multiple of 4096. */

static bool write_piece(const VhdBuilder *self, VdFormatError *ret_error)
{
  uint64_t at = self->layout.sparse.table_offset + self->piece * TABLE_PIECE;
  uint64_t rest = self->layout.table_end - at;

  return self->piece == NONE ||
         write_all(self->fd, self->table, (size_t)(rest < TABLE_PIECE ? rest : TABLE_PIECE), at, ret_error);
}

static bool enter(VhdBuilder *self, uint64_t block, uint64_t place, VdFormatError *ret_error)
{
  uint64_t at = block * 4;

  if (at / TABLE_PIECE != self->piece) {
    if (!write_piece(self, ret_error))
      return false;
    self->piece = at / TABLE_PIECE;
    memset(self->table, 0xff, sizeof self->table);
  }
  vd_vhd_bat_set_entry(self->table, (uint32_t)(at % TABLE_PIECE / 4), (uint32_t)(place / SECTOR_SIZE));
  return true;
}

/* Of a dynamic image the bits tell nothing; all set is what every reader takes. */
static bool add_block(VhdBuilder *self, uint64_t block, VdFormatError *ret_error)
{
  uint32_t block_size = self->layout.sparse.block_size;
  uint8_t bits[SECTOR_SIZE] = {0};
  uint64_t at = self->layout.trailer;

  memset(bits, 0xff, block_size / SECTOR_SIZE / 8);
  if (!enter(self, block, at, ret_error) || !write_all(self->fd, bits, sizeof bits, at, ret_error))
    return false;
  self->last = block;
  self->last_place = at + sizeof bits;
  self->layout.trailer = trailer_behind(self->last_place + block_size);
  return true;
}

static bool place(VdBuilder *base, uint64_t offset, uint64_t *ret_place, VdFormatError *ret_error)
{
  VhdBuilder *self = (VhdBuilder *)base;

  if (base->block_size == 0) {
    *ret_place = offset;
    return true;
  }
  if (offset / base->block_size != self->last && !add_block(self, offset / base->block_size, ret_error))
    return false;
  *ret_place = self->last_place + offset % base->block_size;
  return true;
}

static bool finish(VdBuilder *base, VdFormatError *ret_error)
{
  VhdBuilder *self = (VhdBuilder *)base;
  const VdVhdFooter *footer = &self->layout.footer;

  return write_piece(self, ret_error) && sync_all(self->fd, ret_error) &&
         write_all(self->fd, footer->bytes, sizeof footer->bytes, self->layout.trailer, ret_error) &&
         sync_all(self->fd, ret_error);
}

static void release(VdBuilder *base)
{
  free(base);
}

static bool begin(VhdBuilder *self, const VdCreateSpec *spec, VdFormatError *ret_error)
{
  return check_spec(spec, ret_error) && lay_out(spec, &self->layout, ret_error) &&
         (spec->subtype == VIRTDISK_SUBTYPE_FIXED ? write_fixed(self->fd, spec, ret_error)
                                                  : write_sparse(self->fd, &self->layout, ret_error));
}

VdBuilder *vd_vhd_builder_new(int fd, const VdCreateSpec *spec, VdFormatError *ret_error)
{
  static const VdBuilderOps ops = {.place = place, .finish = finish, .free = release};
  bool fixed = spec->subtype == VIRTDISK_SUBTYPE_FIXED;
  VhdBuilder *self = calloc(1, sizeof *self);

  if (self == NULL) {
    vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory for a new VHD");
    return NULL;
  }
  self->fd = fd;
  self->last = self->piece = NONE;
  if (!begin(self, spec, ret_error)) {
    free(self);
    return NULL;
  }
  self->base = (VdBuilder){.ops = &ops,
                           .size = spec->size,
                           .block_size = fixed ? 0 : self->layout.sparse.block_size,
                           .whole = fixed && spec->whole != 0};
  return &self->base;
}
