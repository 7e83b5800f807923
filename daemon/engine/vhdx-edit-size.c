/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The size of a VHDX. Entries of the BAT behind the disk's last are ignored by everybody, as is what a block
 * holds behind the disk's end: both are made zeros before a larger size makes them count. The BAT keeps its
 * place as long as its region has room; else it moves to the end of the file, and the region tables switch in
 * the same entry of the log as the size.
 */
#include "engine/vhdx-edit.h"

#include <inttypes.h>

#include "formats/bytes.h"
#include "formats/create-file.h"
#include "worker/facts.h"

#define ENTRY_LENGTH sizeof(uint64_t)
/* Windows makes no smaller ones, bytes. */
#define MIN_SIZE (UINT64_C(3) << 20)

typedef struct {
  VdVhdxEdit edit;
  uint64_t size; /* bytes, the new one */
  VdVhdxBatShape shape;
  bool fixed;
  uint64_t blocks; /* fixed: bytes in the file, where the new blocks are */
} Resize;

static uint64_t bat_length(const VdVhdxBatShape *shape)
{
  return shape->entries * ENTRY_LENGTH;
}

static bool check_size(const VdVhdx *vhdx, uint64_t size, VdFormatError *ret_error)
{
  if (vhdx->has_parent)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_TYPE, 0, "size",
                               "the size of a differencing VHDX is that of its parent");
  if (size < MIN_SIZE || size > VD_MAX_VIRTUAL_SIZE || size % vhdx->sector_size != 0)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_SIZE, 0, "size",
                               "the size %" PRIu64 " is not a multiple of %" PRIu32 " from 3 MiB to 64 TiB",
                               size, vhdx->sector_size);
  return true;
}

/* Space of the file that is in use, as that of a fixed disk is to be. */
static bool allocate(const Resize *self, uint64_t offset, uint64_t length, VdFormatError *ret_error)
{
  return length == 0 || vd_create_file_allocate(self->edit.source->fd, offset, length, ret_error);
}

/* What the disk's last block holds behind the disk's end, at this size of the disk. */
static bool clear_behind(Resize *self, uint64_t size, VdFormatError *ret_error)
{
  const VdVhdx *vhdx = &self->edit.vhdx;
  uint64_t within = size % vhdx->block_size, entry, place;
  uint64_t index = vd_vhdx_bat_payload_index(&vhdx->shape, size / vhdx->block_size);
  uint8_t bytes[ENTRY_LENGTH];

  if (within == 0)
    return true;
  if (!vd_vhdx_edit_read(&self->edit, vhdx->bat.offset + index * ENTRY_LENGTH, bytes, sizeof bytes,
                         ret_error))
    return false;
  entry = vd_vhdx_load(bytes, 0);
  if (vd_vhdx_bat_state(entry) != VD_VHDX_FULLY_PRESENT)
    return true;
  place = vd_vhdx_bat_offset(entry);
  return vd_vhdx_edit_clear_range(&self->edit, place + within, vhdx->block_size - within, ret_error) &&
         (!self->fixed || allocate(self, place + within, vhdx->block_size - within, ret_error));
}

/* What the entry is to be; only of those that are new. */
static uint64_t new_entry(const Resize *self, uint64_t index)
{
  uint64_t stride = self->shape.chunk_ratio + 1, block = index - index / stride;

  if (!self->fixed || index % stride == stride - 1 || block >= self->shape.payload_blocks)
    return VD_VHDX_NOT_PRESENT;
  return (self->blocks + (block - self->edit.vhdx.shape.payload_blocks) * self->edit.vhdx.block_size) |
         VD_VHDX_FULLY_PRESENT;
}

/* at, length: bytes of the table, all of it new. */
static void fill_entries(const Resize *self, uint64_t at, uint8_t *bytes, uint64_t length)
{
  for (uint64_t i = 0; i < length; i += ENTRY_LENGTH)
    vd_put_le64(bytes + i, new_entry(self, (at + i) / ENTRY_LENGTH));
}

/* New entries that make whole pages, in a table at this place of the file; zeros are there already. */
static bool write_new_pages(Resize *self, uint64_t bat, uint64_t first, uint64_t end,
                            VdFormatError *ret_error)
{
  for (uint64_t at = first; at < end;) {
    uint64_t piece = end - at < VD_VHDX_EDIT_PIECE ? end - at : VD_VHDX_EDIT_PIECE;

    fill_entries(self, at, self->edit.buffer, piece);
    if (!vd_vhdx_edit_write(&self->edit, bat + at, self->edit.buffer, piece, ret_error))
      return false;
    at += piece;
  }
  return true;
}

/* The page that has entries of both sizes; then the rest of the longer table, to whole pages. */
static bool put_entries(Resize *self, uint64_t kept, uint64_t end, VdFormatError *ret_error)
{
  uint64_t bat = self->edit.vhdx.bat.offset, first = vd_vhdx_round_up(kept, VD_VHDX_PAGE);
  uint8_t bytes[VD_VHDX_PAGE];

  fill_entries(self, kept, bytes, first - kept);
  end = vd_vhdx_round_up(end, VD_VHDX_PAGE);
  if (!vd_vhdx_edit_put(&self->edit, bat + kept, bytes, first - kept, ret_error))
    return false;
  if (end <= first)
    return true;
  return self->fixed && self->size > self->edit.vhdx.virtual_size
             ? write_new_pages(self, bat, first, end, ret_error)
             : vd_vhdx_edit_put_zeros(&self->edit, bat + first, end - first, ret_error);
}

/* Entries that are used, as they are; holes of the old table stay holes. The last page, that new ones share,
 * is always written. */
static bool copy_bat(Resize *self, uint64_t bat, VdFormatError *ret_error)
{
  VdVhdxEdit *edit = &self->edit;
  uint64_t from = edit->vhdx.bat.offset, end = bat_length(&edit->vhdx.shape);
  uint64_t last = (end - 1) / VD_VHDX_PAGE * VD_VHDX_PAGE;

  for (uint64_t at = 0; at < end;) {
    uint64_t next = vd_reader_next_data(&edit->reader, from + at), piece;

    at = next == UINT64_MAX || next - from >= last ? last : (next - from) / VD_VHDX_PAGE * VD_VHDX_PAGE;
    piece = vd_vhdx_round_up(end, VD_VHDX_PAGE) - at;
    piece = piece < VD_VHDX_EDIT_PIECE ? piece : VD_VHDX_EDIT_PIECE;
    if (!vd_vhdx_edit_read(edit, from + at, edit->buffer, piece, ret_error))
      return false;
    if (end - at < piece)
      fill_entries(self, end, edit->buffer + (end - at), piece - (end - at));
    if (!vd_vhdx_edit_write(edit, bat + at, edit->buffer, piece, ret_error))
      return false;
    at += piece;
  }
  return true;
}

/* Of the new region, bytes: half as much again as is needed now, so that the next growth finds room. */
static uint64_t roomy_length(const Resize *self)
{
  const VdVhdx *vhdx = &self->edit.vhdx;
  VdVhdxBatShape most = vd_vhdx_bat_shape(VD_MAX_VIRTUAL_SIZE, vhdx->block_size, vhdx->sector_size, true);
  uint64_t length = bat_length(&self->shape) / 2 * 3;

  return vd_vhdx_round_up(length < bat_length(&most) ? length : bat_length(&most), VD_VHDX_MIB);
}

static bool move_bat(Resize *self, VdFormatError *ret_error)
{
  VdVhdxRange bat = {.length = roomy_length(self)};
  uint64_t kept = vd_vhdx_round_up(bat_length(&self->edit.vhdx.shape), VD_VHDX_PAGE);
  uint64_t end = vd_vhdx_round_up(bat_length(&self->shape), VD_VHDX_PAGE);

  return vd_vhdx_edit_take(&self->edit, bat.length, &bat.offset, ret_error) &&
         copy_bat(self, bat.offset, ret_error) &&
         (!self->fixed || write_new_pages(self, bat.offset, kept, end, ret_error)) &&
         vd_vhdx_edit_put_regions(&self->edit, &bat, NULL, ret_error);
}

static bool take_blocks(Resize *self, VdFormatError *ret_error)
{
  const VdVhdx *vhdx = &self->edit.vhdx;
  uint64_t length = (self->shape.payload_blocks - vhdx->shape.payload_blocks) * vhdx->block_size;

  return vd_vhdx_edit_take(&self->edit, length, &self->blocks, ret_error) &&
         allocate(self, self->blocks, length, ret_error);
}

static bool grow(Resize *self, VdFormatError *ret_error)
{
  const VdVhdx *vhdx = &self->edit.vhdx;
  uint64_t nowhere;

  /* The last block of some writers ends with the disk: it gets its space. */
  if (!vd_vhdx_edit_take(&self->edit, 0, &nowhere, ret_error) ||
      !clear_behind(self, vhdx->virtual_size, ret_error) || (self->fixed && !take_blocks(self, ret_error)))
    return false;
  if (bat_length(&self->shape) > vhdx->bat.length)
    return move_bat(self, ret_error);
  return put_entries(self, bat_length(&vhdx->shape), bat_length(&self->shape), ret_error);
}

static bool shrink(Resize *self, VdFormatError *ret_error)
{
  return put_entries(self, bat_length(&self->shape), bat_length(&self->edit.vhdx.shape), ret_error);
}

static bool change(Resize *self, VdFormatError *ret_error)
{
  bool grows = self->size > self->edit.vhdx.virtual_size;
  uint8_t bytes[sizeof self->size];

  vd_put_le64(bytes, self->size);
  return (grows ? grow(self, ret_error) : shrink(self, ret_error)) &&
         vd_vhdx_edit_put_item(&self->edit, VD_VHDX_ITEM_SIZE, bytes, sizeof bytes, ret_error) &&
         vd_vhdx_edit_commit_changed(&self->edit, ret_error);
}

/* What other writers may not expect there. Of the disk it is no part any more: no failure counts. */
static void forget_behind(Resize *self)
{
  VdIoOp flush = {.kind = VD_IO_FLUSH, .file = self->edit.source->file};
  VdFormatError unused;

  if (self->size < self->edit.vhdx.virtual_size && clear_behind(self, self->size, &unused))
    (void)!vd_io_run(self->edit.source->io, &flush);
}

static void resize_clear(Resize *self)
{
  vd_vhdx_edit_clear(&self->edit);
}

bool vd_vhdx_edit_size(const VdLayerSource *source, uint64_t size, VdFormatError *ret_error)
{
  Resize self __attribute__((cleanup(resize_clear))) = {.size = size};
  const VdVhdx *vhdx = &self.edit.vhdx;

  if (!vd_vhdx_edit_open(&self.edit, source, ret_error) || !check_size(vhdx, size, ret_error))
    return false;
  if (size == vhdx->virtual_size)
    return true;
  self.fixed = vhdx->leave_blocks_allocated;
  self.shape = vd_vhdx_bat_shape(size, vhdx->block_size, vhdx->sector_size, false);
  if (!vd_vhdx_edit_map(&self.edit, ret_error) || !change(&self, ret_error))
    return false;
  forget_behind(&self);
  return true;
}
