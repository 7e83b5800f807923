/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A VHD of any type as a layer: opened, checked as a whole, and taken down. */
#include "engine/vhd-layer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void vhd_free(VdLayer *layer)
{
  VdVhdLayer *self = (VdVhdLayer *)layer;

  free(self->table);
  free(self->busy);
  free(self->suspect);
  free(self->written);
  free(self->ones);
  free(self->zeros);
  free(self->footer);
  free(self->staging);
  free(self->space.freed);
  free(self->remapping.used);
  free(self);
}

bool vd_vhd_is_busy(const VdLayer *layer)
{
  return ((const VdVhdLayer *)layer)->space.refilling;
}

static const VdLayerOps fixed_ops = {
    .free = vhd_free,
    .find = vd_vhd_find,
    .place = vd_vhd_place,
};

static const VdLayerOps dynamic_ops = {
    .free = vhd_free,
    .find = vd_vhd_find,
    .place = vd_vhd_place,
    .cancel = vd_vhd_cancel,
    .commit = vd_vhd_commit,
    .zero = vd_vhd_zero,
    .count_pieces = vd_vhd_count_pieces,
    .piece_of = vd_vhd_piece_of,
    .piece = vd_vhd_piece,
    .take_place = vd_vhd_take_place,
    .free_place = vd_vhd_free_place,
    .remap = vd_vhd_remap,
    .close = vd_vhd_close,
    .is_busy = vd_vhd_is_busy,
};

/* Space cannot be given back: without a block the parent would show. */
static const VdLayerOps differencing_ops = {
    .free = vhd_free,
    .find = vd_vhd_find,
    .place = vd_vhd_place,
    .cancel = vd_vhd_cancel,
    .commit = vd_vhd_commit,
    .count_pieces = vd_vhd_count_pieces,
    .piece_of = vd_vhd_piece_of,
    .piece = vd_vhd_piece,
    .take_place = vd_vhd_take_place,
    .free_place = vd_vhd_free_place,
    .remap = vd_vhd_remap,
    .close = vd_vhd_close,
    .is_busy = vd_vhd_is_busy,
};

static bool fail_memory(VdFormatError *ret_error)
{
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory for the VHD's tables");
}

/* Zeros, aligned for direct I/O. NULL: no memory. */
static uint8_t *new_buffer(size_t length)
{
  size_t whole = (length + VD_IO_ALIGNMENT - 1) / VD_IO_ALIGNMENT * VD_IO_ALIGNMENT;
  uint8_t *buffer = aligned_alloc(VD_IO_ALIGNMENT, whole);

  if (buffer != NULL)
    memset(buffer, 0, whole);
  return buffer;
}

/* What only writing needs. */
static bool take_memory(VdVhdLayer *self)
{
  uint32_t blocks = self->shape.blocks;
  VdVhdSpace *space = &self->space;

  self->busy = calloc(blocks / 8 + 1, 1);
  self->suspect = calloc(self->n_sectors / 8 + 1, 1);
  self->written = calloc(self->n_sectors / 8 + 1, 1);
  self->ones = new_buffer(self->shape.bitmap_length);
  self->zeros = new_buffer(VD_VHD_SECTOR);
  self->staging = new_buffer((size_t)VD_VHD_PUMP * VD_VHD_SECTOR);
  space->max_freed = blocks < VD_VHD_FREED ? blocks : VD_VHD_FREED;
  space->freed = calloc(space->max_freed, sizeof *space->freed);
  if (self->busy == NULL || self->suspect == NULL || self->written == NULL || self->ones == NULL ||
      self->zeros == NULL || self->staging == NULL || space->freed == NULL)
    return false;
  memset(self->ones, 0xff, self->shape.bitmap_length);
  return true;
}

static bool check_table(VdVhdLayer *self, const VdReader *reader, VdVhdBatUse *ret_use,
                        VdFormatError *ret_error)
{
  uint32_t *scratch = malloc((size_t)self->shape.blocks * sizeof *scratch);
  bool good;

  if (scratch == NULL)
    return fail_memory(ret_error);
  good = vd_vhd_bat_read(reader, &self->shape, self->table, ret_error) &&
         vd_vhd_bat_check(self->table, &self->shape, scratch, ret_use, ret_error);
  free(scratch);
  return good;
}

static bool load_sparse(VdVhdLayer *self, const VdReader *reader, const VdVhdFooters *footers,
                        VdVhdBatUse *ret_use, VdFormatError *ret_error)
{
  VdVhdSparse sparse;

  if (!vd_vhd_sparse_read(reader, footers, &sparse, ret_error))
    return false;
  self->shape = vd_vhd_bat_shape(footers, &sparse);
  self->base.block_size = sparse.block_size;
  self->base.has_parent = self->type == VD_VHD_DIFFERENCING;
  memcpy(self->base.parent_id, sparse.parent_id, sizeof self->base.parent_id);
  if (!self->base.has_parent)
    memset(self->base.parent_id, 0, sizeof self->base.parent_id);
  self->n_sectors = (uint32_t)(vd_vhd_table_length(self->shape.blocks) / VD_VHD_SECTOR);
  self->table = new_buffer((size_t)self->n_sectors * VD_VHD_SECTOR);
  if (self->table == NULL)
    return fail_memory(ret_error);
  return check_table(self, reader, ret_use, ret_error);
}

static bool load_fixed(const VdVhdFooters *footers, VdFormatError *ret_error)
{
  const VdVhdFooter *footer = &footers->footer;

  if (footer->current_size <= footer->offset)
    return true;
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_FILE_SIZE,
                             footer->offset + VD_VHD_AT_CURRENT_SIZE, "current_size",
                             "VHD footer at offset %" PRIu64 ": current_size is %" PRIu64
                             " bytes, the file has room for %" PRIu64,
                             footer->offset, footer->current_size, footer->offset);
}

static bool prepare_writing(VdVhdLayer *self, const VdReader *reader, const VdVhdFooters *footers,
                            const VdVhdBatUse *use, VdFormatError *ret_error)
{
  int error;

  if (self->type != VD_VHD_FIXED) {
    if (!take_memory(self))
      return fail_memory(ret_error);
    vd_vhd_space_init(self, reader, footers, use);
  }
  error = vd_vhd_tail_mend(self, footers);
  if (error < 0)
    return vd_format_error_set(ret_error, error == -ENOSPC ? VIRTDISK_ERROR_DISK_FULL : VIRTDISK_ERROR_IO,
                               footers->space_end, "trailer", "the VHD's trailer cannot be written: %s",
                               strerrordesc_np(-error));
  return true;
}

static bool load(VdVhdLayer *self, const VdLayerSource *source, VdFormatError *ret_error)
{
  VdVhdFooters footers;
  VdVhdBatUse use = {0};
  VdReader reader;

  if (!vd_reader_init(&reader, source->fd, ret_error) || !vd_vhd_footers_read(&reader, &footers, ret_error))
    return false;
  self->type = footers.footer.type;
  self->base.size = footers.footer.current_size;
  self->base.saved_state = footers.footer.saved_state;
  memcpy(self->base.identity, footers.footer.unique_id, sizeof self->base.identity);
  self->data_end = source->writable ? UINT64_MAX : reader.size / VD_VHD_SECTOR * VD_VHD_SECTOR;
  memcpy(self->footer, footers.footer.bytes, VD_VHD_SECTOR);
  if (self->type == VD_VHD_FIXED ? !load_fixed(&footers, ret_error)
                                 : !load_sparse(self, &reader, &footers, &use, ret_error))
    return false;
  if (source->writable && !prepare_writing(self, &reader, &footers, &use, ret_error))
    return false;
  /* Mending may have made it shorter; what it becomes longer by is beyond what is known, until it grows. */
  vd_pages_set_size(self->pages, source->file,
                    source->writable && self->type != VD_VHD_FIXED ? self->space.trailer : reader.size);
  return true;
}

static const VdLayerOps *ops_of(VdVhdType type)
{
  switch (type) {
  case VD_VHD_FIXED:
    return &fixed_ops;
  case VD_VHD_DYNAMIC:
    return &dynamic_ops;
  default:
    return &differencing_ops;
  }
}

VdLayer *vd_vhd_layer_open(const VdLayerSource *source, VdFormatError *ret_error)
{
  VdVhdLayer *self = calloc(1, sizeof *self);

  if (self != NULL)
    self->footer = new_buffer(VD_VHD_SECTOR);
  if (self == NULL || self->footer == NULL) {
    free(self);
    fail_memory(ret_error);
    return NULL;
  }
  self->base = (VdLayer){
      .io = source->io,
      .file = source->file,
      .sector_size = VD_VHD_SECTOR,
      .writable = source->writable,
  };
  self->pages = source->pages;
  if (!load(self, source, ret_error)) {
    vhd_free(&self->base);
    return NULL;
  }
  self->base.ops = ops_of(self->type);
  return &self->base;
}
