/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A larger VHD. The trailer is what says how large it is; all that this needs is durable before.
 *
 * Fixed: a trailer with the old size is written at the new end (file systems count a file's size when the
 * bytes are there, so this one sector is there or the file is as it was), what was the trailer becomes zeros,
 * then the trailer gets the new size.
 * Dynamic: blocks that lie where the table must grow are copied to the end, behind which the trailer has gone
 * before; then the table points to the copies, then it grows, then the header says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/vhd-edit-private.h"

#define SECTOR VD_VHD_SECTOR_SIZE
#define ALIGNMENT 4096

static uint64_t round_up(uint64_t value, uint64_t unit)
{
  return (value + unit - 1) / unit * unit;
}

static bool check_size(const VdVhdEdit *self, uint64_t size, VdFormatError *ret_error)
{
  if (self->footer.type == VD_VHD_DIFFERENCING)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_TYPE, 0, "size",
                               "a differencing VHD has the size of its parent");
  if (size < self->footer.current_size)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_TYPE, 0, "size",
                               "a VHD cannot be made smaller: it has %" PRIu64 " bytes, not %" PRIu64,
                               self->footer.current_size, size);
  if (size % SECTOR != 0 || size > VD_VHD_MAX_SIZE)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_SIZE, 0, "size",
                               "%" PRIu64 " bytes are not a multiple of %d, or more than the 2040 GiB that "
                               "a VHD can have",
                               size, SECTOR);
  if (self->footer.saved_state)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_STATE, self->trailer, "saved_state",
                               "a virtual machine was saved with this VHD: it cannot change meanwhile");
  return true;
}

/* The trailer, and the copy in front of it if it has one, say the new size. */
static bool announce(VdVhdEdit *self, uint64_t size, uint64_t trailer, VdFormatError *ret_error)
{
  self->footer.current_size = size;
  vd_vhd_footer_change(&self->footer);
  return vd_vhd_edit_put_footer(self, trailer, ret_error) &&
         (self->footer.type == VD_VHD_FIXED || vd_vhd_edit_put_footer(self, 0, ret_error));
}

/* A file that has all its space keeps to that. It does not become longer by this. */
static bool allocate(const VdVhdEdit *self, uint64_t size, VdFormatError *ret_error)
{
  int fd = self->source->fd;
  struct stat stat;

  if (fstat(fd, &stat) < 0 || (uint64_t)stat.st_blocks * 512 < (uint64_t)stat.st_size)
    return true;
  if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)self->trailer, (off_t)(size - self->trailer)) == 0)
    return true;
  return (errno != ENOSPC && errno != EDQUOT && errno != EFBIG) ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_DISK_FULL, self->trailer, "",
                             "the VHD cannot have another %" PRIu64 " bytes: %s", size - self->trailer,
                             strerrordesc_np(errno));
}

/* What lies there and is no hole. */
static bool clear(VdVhdEdit *self, uint64_t from, uint64_t to, VdFormatError *ret_error)
{
  for (uint64_t at = from; at < to;) {
    uint64_t data = vd_reader_next_data(&self->reader, at), part;

    if (data >= to)
      break;
    at = data > at ? data : at;
    part = to - at < VD_VHD_EDIT_BUFFER ? to - at : VD_VHD_EDIT_BUFFER;
    if (!vd_vhd_edit_fill(self, 0, part, at, ret_error))
      return false;
    at += part;
  }
  return vd_vhd_edit_flush(self, ret_error);
}

static bool grow_fixed(VdVhdEdit *self, uint64_t size, VdFormatError *ret_error)
{
  uint64_t trailer = size > self->trailer ? size : self->trailer;

  if (trailer > self->trailer &&
      (!allocate(self, size, ret_error) || !vd_vhd_edit_put_footer(self, trailer, ret_error)))
    return false;
  return clear(self, self->footer.current_size, size < trailer ? size : trailer, ret_error) &&
         announce(self, size, trailer, ret_error);
}

typedef struct {
  VdVhdEdit *edit;
  uint64_t size;
  uint32_t entries;     /* that the table is to have */
  uint64_t table_end;   /* bytes; of that one */
  uint64_t next, first; /* where the next block goes; and the first went */
  uint64_t stride;
  uint64_t trailer;
  uint8_t *table; /* as large as it is to be */
} Growth;

static uint64_t block_length(const Growth *self)
{
  return (uint64_t)self->edit->shape.bitmap_length + self->edit->shape.block_size;
}

static bool is_in_the_way(const Growth *self, uint32_t block)
{
  uint32_t sector = vd_vhd_bat_entry(self->table, block);
  uint64_t start = (uint64_t)sector * SECTOR;

  return sector != VD_VHD_BLOCK_NONE && start < self->table_end &&
         start + block_length(self) > self->edit->sparse.table_offset;
}

/* Where a block behind that goes, aligned as the lowest one is. */
static uint64_t position(const Growth *self, uint64_t offset)
{
  const VdVhdEdit *edit = self->edit;
  uint64_t lowest = UINT64_MAX, bitmap = edit->shape.bitmap_length;

  for (uint32_t block = 0; block < edit->shape.blocks; block++)
    if (vd_vhd_bat_entry(self->table, block) < lowest)
      lowest = vd_vhd_bat_entry(self->table, block);
  if (lowest == VD_VHD_BLOCK_NONE)
    lowest = edit->trailer / SECTOR;
  if ((lowest * SECTOR + bitmap) % ALIGNMENT != 0)
    return round_up(offset, SECTOR);
  return round_up(offset + bitmap, ALIGNMENT) - bitmap;
}

static bool lay_out(Growth *self, VdFormatError *ret_error)
{
  const VdVhdEdit *edit = self->edit;
  const VdVhdSparse *sparse = &edit->sparse;
  uint64_t n = 0;

  self->table_end = sparse->table_offset + vd_vhd_table_length(self->entries);
  if (sparse->offset >= sparse->table_offset && sparse->offset < self->table_end)
    return vd_format_error_set(
        ret_error, VIRTDISK_ERROR_VIRTUAL_DISK_LIMITATION, sparse->offset, "table_offset",
        "the VHD's table at %" PRIu64 " cannot grow: its header is behind it", sparse->table_offset);
  for (uint32_t block = 0; block < edit->shape.blocks; block++)
    n += is_in_the_way(self, block);
  self->trailer = edit->trailer;
  if (n > 0 || self->table_end > edit->trailer) {
    self->next = position(self, self->table_end > edit->trailer ? self->table_end : edit->trailer);
    self->stride = position(self, self->next + block_length(self)) - self->next;
    self->trailer = self->next + n * self->stride;
  }
  self->first = self->next;
  return self->trailer <= (uint64_t)(VD_VHD_BLOCK_NONE - 1) * SECTOR ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_SIZE, self->trailer, "size",
                             "the VHD's file is too long to be reordered");
}

/* The copies are durable before the table knows of any; each of its sectors may then be written or not. */
static bool move_blocks(Growth *self, VdFormatError *ret_error)
{
  VdVhdEdit *edit = self->edit;
  uint64_t n_sectors = vd_vhd_table_length(edit->shape.blocks) / SECTOR;

  for (uint32_t block = 0; block < edit->shape.blocks; block++)
    if (is_in_the_way(self, block)) {
      uint64_t from = (uint64_t)vd_vhd_bat_entry(self->table, block) * SECTOR;

      if (!vd_vhd_edit_copy(edit, from, self->next, block_length(self), ret_error))
        return false;
      vd_vhd_bat_set_entry(self->table, block, (uint32_t)(self->next / SECTOR));
      self->next += self->stride;
    }
  if (self->next == self->first)
    return true;
  return vd_vhd_edit_flush(edit, ret_error) &&
         vd_vhd_edit_write(edit, self->table, n_sectors * SECTOR, edit->sparse.table_offset, ret_error) &&
         vd_vhd_edit_flush(edit, ret_error);
}

/* From the sector on that has the first new entry: what is behind those of the disk means nothing so far. */
static bool extend_table(Growth *self, VdFormatError *ret_error)
{
  VdVhdEdit *edit = self->edit;
  uint64_t from = (uint64_t)edit->shape.blocks * 4 / SECTOR * SECTOR;
  uint64_t length = vd_vhd_table_length(self->entries);

  return from >= length || vd_vhd_edit_write(edit, self->table + from, length - from,
                                             edit->sparse.table_offset + from, ret_error);
}

/* Of a last block that the disk did not need to its end. */
static bool clear_rest(Growth *self, VdFormatError *ret_error)
{
  VdVhdEdit *edit = self->edit;
  uint64_t rest = edit->footer.current_size % edit->shape.block_size;
  uint32_t sector = vd_vhd_bat_entry(self->table, edit->shape.blocks - 1);

  return rest == 0 || sector == VD_VHD_BLOCK_NONE ||
         vd_vhd_edit_fill(edit, 0, edit->shape.block_size - rest,
                          (uint64_t)sector * SECTOR + edit->shape.bitmap_length + rest, ret_error);
}

/* One sector of the header says it. */
static bool write_header(Growth *self, VdFormatError *ret_error)
{
  VdVhdEdit *edit = self->edit;
  uint8_t bytes[VD_VHD_SPARSE_LENGTH];
  VdSpan span;

  if (self->entries == edit->sparse.max_entries)
    return true;
  if (!vd_reader_read(&edit->reader, "VHD sparse header", edit->sparse.offset, bytes, sizeof bytes, &span,
                      ret_error))
    return false;
  vd_vhd_sparse_set_entries(bytes, self->entries);
  return vd_vhd_edit_write(edit, bytes, SECTOR, edit->sparse.offset, ret_error) &&
         vd_vhd_edit_flush(edit, ret_error);
}

static bool run_growth(Growth *self, VdFormatError *ret_error)
{
  VdVhdEdit *edit = self->edit;

  return lay_out(self, ret_error) &&
         (self->trailer == edit->trailer || vd_vhd_edit_put_footer(edit, self->trailer, ret_error)) &&
         move_blocks(self, ret_error) && extend_table(self, ret_error) && clear_rest(self, ret_error) &&
         vd_vhd_edit_flush(edit, ret_error) && write_header(self, ret_error) &&
         announce(edit, self->size, self->trailer, ret_error);
}

/* The old table, and behind it entries of blocks that are not there. */
static bool read_table(Growth *self, VdFormatError *ret_error)
{
  size_t length = (size_t)vd_vhd_table_length(self->entries);
  uint8_t *old = vd_vhd_edit_read_table(self->edit, ret_error);

  if (old == NULL)
    return false;
  self->table = malloc(length);
  if (self->table != NULL) {
    memset(self->table, 0xff, length);
    memcpy(self->table, old, (size_t)self->edit->shape.blocks * 4);
  }
  free(old);
  return self->table != NULL ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory for the VHD's table");
}

static bool grow_dynamic(VdVhdEdit *edit, uint64_t size, VdFormatError *ret_error)
{
  Growth self = {.edit = edit, .size = size, .entries = edit->sparse.max_entries};
  uint64_t blocks = vd_vhd_block_count(size, edit->shape.block_size);
  bool good;

  if (blocks > VD_VHD_MAX_TABLE_ENTRIES)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_SIZE, 0, "size",
                               "a VHD with blocks of %" PRIu32 " bytes can have %" PRIu64 " bytes at most",
                               edit->shape.block_size,
                               (uint64_t)VD_VHD_MAX_TABLE_ENTRIES * edit->shape.block_size);
  if (blocks > self.entries)
    self.entries = (uint32_t)blocks;
  if (!read_table(&self, ret_error))
    return false;
  good = run_growth(&self, ret_error);
  free(self.table);
  return good;
}

bool vd_vhd_edit_size(const VdLayerSource *source, uint64_t size, VdFormatError *ret_error)
{
  VdVhdEdit self;

  if (!vd_vhd_edit_open(&self, source, ret_error) || !check_size(&self, size, ret_error))
    return false;
  if (size == self.footer.current_size)
    return true;
  return self.footer.type == VD_VHD_FIXED ? grow_fixed(&self, size, ret_error)
                                          : grow_dynamic(&self, size, ret_error);
}
