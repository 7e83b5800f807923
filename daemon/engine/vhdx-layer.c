/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening a VHDX for the engine: everything that it says is checked before a byte of the disk is served. */
#include "engine/vhdx-layer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* Headers that a session and a replay before it may still write. */
#define SEQUENCES_LEFT 64

static void on_later(VdIoTask *task)
{
  VdVhdxLater *later = (VdVhdxLater *)(void *)task;

  later->done(later->user, later->result);
}

void vd_vhdx_layer_later(VdVhdxLayer *self, void (*done)(void *user, int result), void *user, int result)
{
  self->later = (VdVhdxLater){.task.run = on_later, .done = done, .user = user, .result = result};
  vd_io_defer(self->base.io, &self->later.task);
}

void vd_vhdx_layer_resized(VdVhdxLayer *self, uint64_t size)
{
  self->file_size = self->whole_size = size;
  vd_pages_set_size(self->pages, self->base.file, size);
}

static void vhdx_free(VdLayer *base)
{
  VdVhdxLayer *self = vd_vhdx_layer(base);

  vd_vhdx_clear(&self->vhdx);
  vd_vhdx_space_clear(self);
  free(self->bat_used);
  free(self->journal.slot_memory);
  free(self->journal.entry);
  free(self->checkpoint.memory);
  free(self->images.memory);
  free(self->session.page);
  free(self);
}

static bool vhdx_is_busy(const VdLayer *base)
{
  const VdVhdxLayer *self = (const VdVhdxLayer *)(const void *)base;

  return self->checkpoint.state != VD_VHDX_CHECKPOINT_IDLE || vd_vhdx_space_is_busy(self);
}

static const VdLayerOps read_ops = {.free = vhdx_free, .find = vd_vhdx_find, .unused = vd_vhdx_unused};

static const VdLayerOps write_ops = {.free = vhdx_free,
                                     .find = vd_vhdx_find,
                                     .unused = vd_vhdx_unused,
                                     .begin = vd_vhdx_begin,
                                     .place = vd_vhdx_place,
                                     .cancel = vd_vhdx_cancel,
                                     .commit = vd_vhdx_commit,
                                     .zero = vd_vhdx_zero,
                                     .count_pieces = vd_vhdx_count_pieces,
                                     .piece_of = vd_vhdx_piece_of,
                                     .piece = vd_vhdx_piece,
                                     .take_place = vd_vhdx_take_place,
                                     .free_place = vd_vhdx_free_place,
                                     .remap = vd_vhdx_remap,
                                     .begin_flush = vd_vhdx_begin_flush,
                                     .flushed = vd_vhdx_flushed,
                                     .close = vd_vhdx_close,
                                     .is_busy = vhdx_is_busy};

/* The space of a fixed disk stays: zeros are written. */
static const VdLayerOps write_fixed_ops = {.free = vhdx_free,
                                           .find = vd_vhdx_find,
                                           .unused = vd_vhdx_unused,
                                           .begin = vd_vhdx_begin,
                                           .place = vd_vhdx_place,
                                           .cancel = vd_vhdx_cancel,
                                           .commit = vd_vhdx_commit,
                                           .begin_flush = vd_vhdx_begin_flush,
                                           .flushed = vd_vhdx_flushed,
                                           .close = vd_vhdx_close,
                                           .is_busy = vhdx_is_busy};

static void apply_overlay(void *user, uint64_t offset, uint8_t *data, size_t length)
{
  VdVhdxLayer *self = user;

  vd_vhdx_overlay_apply(self->vhdx.overlay, offset, data, length);
}

/* What a reader may leave aside, but not who writes. */
static bool check_writable(const VdVhdx *vhdx, VdFormatError *ret_error)
{
  const VdVhdxHeader *header = &vhdx->header;
  uint64_t offset = header->slot == 0 ? VD_VHDX_HEADER_1 : VD_VHDX_HEADER_2;

  if (header->log_version != 0)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_FORMAT_UNSUPPORTED_VERSION, offset,
                               "log_version", "VHDX header at offset %" PRIu64 ": log_version is %u, not 0",
                               offset, header->log_version);
  if (header->sequence > UINT64_MAX - SEQUENCES_LEFT)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_CORRUPT, offset, "sequence_number",
                               "VHDX header at offset %" PRIu64 ": sequence_number is %" PRIu64
                               ", after which there is none",
                               offset, header->sequence);
  if (header->log_length < VD_VHDX_LIVE_LOG)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_CORRUPT, offset, "log_length",
                               "VHDX header at offset %" PRIu64 ": log_length is %" PRIu32
                               ": nothing can be written without a log",
                               offset, header->log_length);
  return true;
}

static bool read_image(const VdLayerSource *source, VdReader *ret_reader, VdVhdx *ret_vhdx,
                       VdFormatError *ret_error)
{
  return vd_reader_init(ret_reader, source->fd, ret_error) && vd_vhdx_read(ret_reader, ret_vhdx, ret_error);
}

/* The log is replayed after it was read into memory: an image that is bad with it stays untouched. */
bool vd_vhdx_layer_read(const VdLayerSource *source, VdReader *ret_reader, VdVhdx *ret_vhdx,
                        VdFormatError *ret_error)
{
  bool good;

  if (!read_image(source, ret_reader, ret_vhdx, ret_error))
    return false;
  if (!source->writable)
    return true;
  good = check_writable(ret_vhdx, ret_error);
  if (good && !ret_vhdx->overlay)
    return true;
  good = good && vd_vhdx_check_bat(ret_reader, ret_vhdx, NULL, NULL, NULL, ret_error) &&
         vd_vhdx_layer_replay(source, ret_reader, ret_vhdx, ret_error);
  vd_vhdx_clear(ret_vhdx);
  return good && read_image(source, ret_reader, ret_vhdx, ret_error);
}

static void fill_base(VdVhdxLayer *self, const VdLayerSource *source)
{
  const VdVhdx *vhdx = &self->vhdx;

  self->base = (VdLayer){.ops = &read_ops,
                         .io = source->io,
                         .file = source->file,
                         .size = vhdx->virtual_size,
                         .sector_size = vhdx->sector_size,
                         .block_size = vhdx->block_size,
                         .has_parent = vhdx->has_parent,
                         .writable = source->writable};
  memcpy(self->base.identity, vhdx->header.data_write_guid, sizeof self->base.identity);
  if (vhdx->has_parent) {
    memcpy(self->base.parent_id, vhdx->locator.linkage, sizeof self->base.parent_id);
    memcpy(self->base.parent_id2, vhdx->locator.linkage2, sizeof self->base.parent_id2);
  }
}

static bool prepare_writing(VdVhdxLayer *self, VdVhdxOccupancy *occupancy)
{
  if (self->vhdx.leave_blocks_allocated && !self->base.has_parent)
    self->base.ops = &write_fixed_ops;
  else
    self->base.ops = &write_ops;
  for (unsigned i = 0; i < 3; i++)
    if (!vd_vhdx_random_guid(self->session.guids[i]))
      return false;
  vd_vhdx_busy_init(&self->busy);
  self->session.page = aligned_alloc(VD_IO_ALIGNMENT, VD_VHDX_PAGE);
  self->checkpoint.memory = aligned_alloc(VD_IO_ALIGNMENT, VD_VHDX_SLOTS * VD_VHDX_PAGE);
  self->images.memory = aligned_alloc(VD_IO_ALIGNMENT, VD_VHDX_ENTRY_PAGES * VD_VHDX_PAGE);
  return self->session.page && self->checkpoint.memory && self->images.memory && vd_vhdx_journal_init(self) &&
         vd_vhdx_space_init(self, occupancy);
}

static void free_layer(VdVhdxLayer **self)
{
  if (*self)
    vhdx_free(&(*self)->base);
}

static bool set_up(VdVhdxLayer *self, const VdLayerSource *source, const VdReader *reader,
                   VdFormatError *ret_error)
{
  VdVhdxOccupancy occupancy __attribute__((cleanup(vd_vhdx_occupancy_clear))) = {0};
  bool good;

  fill_base(self, source);
  self->pages = source->pages;
  self->file_size = reader->size;
  self->whole_size = self->vhdx.file_size;
  vd_pages_set_size(self->pages, source->file, reader->size);
  if (!vd_vhdx_map_init(self, reader))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory to map a VHDX");
  good = source->writable ? vd_vhdx_check_bat(reader, &self->vhdx, NULL, NULL, &occupancy, ret_error)
                          : vd_vhdx_check_bat_to_read(reader, &self->vhdx, NULL, NULL, ret_error);
  if (!good)
    return false;
  if (source->writable && !prepare_writing(self, &occupancy))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "",
                               "no memory to write a VHDX of %" PRIu64 " bytes", self->base.size);
  if (source->writable && source->data_guid)
    vd_vhdx_guid_swap(source->data_guid, self->session.guids[1]);
  memcpy(self->base.next_identity, self->session.guids[1], sizeof self->base.next_identity);
  if (self->vhdx.overlay)
    vd_pages_set_overlay(self->pages, source->file, apply_overlay, self);
  return true;
}

VdLayer *vd_vhdx_layer_open(const VdLayerSource *source, VdFormatError *ret_error)
{
  VdVhdxLayer *self __attribute__((cleanup(free_layer))) = calloc(1, sizeof *self);
  VdVhdxLayer *layer;
  VdReader reader;

  if (!self) {
    vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory to open a VHDX");
    return NULL;
  }
  if (vd_pages_page_size(source->pages) != VD_VHDX_PAGE) {
    vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "",
                        "a VHDX needs pages of %d bytes, not %zu", VD_VHDX_PAGE,
                        vd_pages_page_size(source->pages));
    return NULL;
  }
  if (!vd_vhdx_layer_read(source, &reader, &self->vhdx, ret_error) ||
      !set_up(self, source, &reader, ret_error))
    return NULL;
  layer = self;
  self = NULL;
  return &layer->base;
}
