/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What can only be known of an image by reading its tables: how much of its disk the partitions need, seen
 * through the whole chain, and how scattered its blocks are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/extents.h"
#include "formats/partitions.h"
#include "formats/vhd-bat.h"
#include "formats/vhdx.h"
#include "virtdisk-enums.h"
#include "worker/task.h"

/* Partitions. */

typedef struct {
  VdServer *server;
  VdLayer *layers[VD_IO_MAX_FILES];
  uint8_t *piece; /* PIECE bytes */
} Disk;

#define PIECE ((size_t)64 << 10)

static bool read_failed(int error, uint64_t offset, VdFormatError *ret_error)
{
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, offset, "", "reading the disk at offset %llu: %s",
                             (unsigned long long)offset, strerrordesc_np(-error));
}

/* length: at most PIECE. Whole pages of the file are read: it may be open for direct I/O. */
static int read_extent(Disk *self, const VdExtent *extent, uint8_t *buffer, size_t length)
{
  uint64_t skip = extent->offset % VD_IO_ALIGNMENT;
  uint64_t whole = (skip + length + VD_IO_ALIGNMENT - 1) / VD_IO_ALIGNMENT * VD_IO_ALIGNMENT;
  VdIoOp op = {.kind = VD_IO_READ_PADDED,
               .file = self->layers[extent->layer]->file,
               .offset = extent->offset - skip,
               .length = whole,
               .buffer = self->piece};
  int result = vd_io_run(self->server->io, &op);

  if (result == 0)
    memcpy(buffer, self->piece + skip, length);
  return result;
}

static bool read_disk(void *user, uint64_t offset, uint8_t *buffer, size_t length, VdFormatError *ret_error)
{
  Disk *self = user;

  for (size_t done = 0; done < length;) {
    size_t most = length - done < PIECE - VD_IO_ALIGNMENT ? length - done : PIECE - VD_IO_ALIGNMENT;
    /* A layer tells of whole sectors alone. */
    uint64_t skip = (offset + done) % self->layers[0]->sector_size;
    uint64_t asked = skip + most;
    VdExtent extent;
    int result;

    asked +=
        (self->layers[0]->sector_size - asked % self->layers[0]->sector_size) % self->layers[0]->sector_size;
    result = vd_extent_find(self->server->io, self->layers, 0, self->server->order.n_images - 1,
                            offset + done - skip, asked, &extent);
    if (result < 0)
      return read_failed(result, offset + done, ret_error);
    if (extent.length - skip < most)
      most = (size_t)(extent.length - skip);
    extent.offset += skip;
    if (extent.kind != VD_RUN_HERE)
      memset(buffer + done, 0, most);
    else if ((result = read_extent(self, &extent, buffer + done, most)) < 0)
      return read_failed(result, offset + done, ret_error);
    done += most;
  }
  return true;
}

/* *ret_whole: what the leaf does not hold is known too. */
static bool open_disk(Disk *self, bool *ret_whole, VdFormatError *ret_error)
{
  VdServer *server = self->server;
  VdLayerSource source;

  *ret_whole = true;
  if (!vd_serve_make_pages(server, ret_error))
    return false;
  if (server->order.n_images > 1)
    return vd_serve_open_chain(server, 0, false, server->order.setup.device_id, self->layers, ret_error);
  source = vd_serve_source(server, 0, false);
  self->layers[0] = vd_layer_open(&source, server->order.setup.device_id, ret_error);
  *ret_whole = self->layers[0] && !self->layers[0]->has_parent;
  return self->layers[0] != NULL;
}

static bool measure_partitions(VdServer *server, VdServeResult *result, VdFormatError *ret_error)
{
  static Disk disk;
  bool whole;

  disk.server = server;
  disk.piece = aligned_alloc(VD_IO_ALIGNMENT, PIECE);
  if (!disk.piece)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory to read a disk");
  if (!open_disk(&disk, &whole, ret_error))
    return false;
  return !whole ||
         vd_partitions_smallest_size(read_disk, &disk, disk.layers[0]->size, disk.layers[0]->sector_size,
                                     &result->smallest_safe_size, ret_error);
}

/* Fragmentation. */

typedef struct {
  const VdVhdx *vhdx;
  uint64_t blocks, scattered;
  uint64_t next; /* bytes; where the block after the last one would follow it; 0: there was none */
} Fragments;

static void count_block(Fragments *self, uint64_t offset, uint64_t length)
{
  self->blocks++;
  self->scattered += self->next != 0 && offset != self->next;
  self->next = offset + length;
}

static uint32_t percent(const Fragments *self)
{
  return self->blocks < 2 ? 0 : (uint32_t)(self->scattered * 100 / (self->blocks - 1));
}

static bool on_entry(void *user, uint64_t index, uint64_t entry, bool bitmap, VdFormatError *ret_error)
{
  Fragments *self = user;
  unsigned state = vd_vhdx_bat_state(entry);

  if (!bitmap && (state == VD_VHDX_FULLY_PRESENT || state == VD_VHDX_PARTIALLY_PRESENT))
    count_block(self, vd_vhdx_bat_offset(entry), self->vhdx->block_size);
  return true;
}

static bool measure_vhdx(const VdReader *reader, VdServeResult *result, VdFormatError *ret_error)
{
  VdVhdx vhdx;
  Fragments fragments = {.vhdx = &vhdx};
  bool good;

  if (!vd_vhdx_read(reader, &vhdx, ret_error))
    return false;
  good = vd_vhdx_check_bat_to_read(reader, &vhdx, on_entry, &fragments, ret_error);
  vd_vhdx_clear(&vhdx);
  result->fragmentation = percent(&fragments);
  return good;
}

static bool measure_vhd(const VdReader *reader, VdServeResult *result, VdFormatError *ret_error)
{
  Fragments fragments = {NULL};
  VdVhdFooters footers;
  VdVhdSparse sparse;
  VdVhdBatShape shape;
  uint8_t *table;

  if (!vd_vhd_footers_read(reader, &footers, ret_error))
    return false;
  if (footers.footer.type == VD_VHD_FIXED)
    return true;
  if (!vd_vhd_sparse_read(reader, &footers, &sparse, ret_error))
    return false;
  shape = vd_vhd_bat_shape(&footers, &sparse);
  table = malloc(vd_vhd_table_length(shape.blocks));
  if (!table)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory for a table");
  if (!vd_vhd_bat_read(reader, &shape, table, ret_error)) {
    free(table);
    return false;
  }
  for (uint32_t block = 0; block < shape.blocks; block++) {
    uint32_t sector = vd_vhd_bat_entry(table, block);

    if (sector != VD_VHD_BLOCK_NONE)
      count_block(&fragments, (uint64_t)sector * VD_VHD_SECTOR_SIZE,
                  (uint64_t)shape.bitmap_length + shape.block_size);
  }
  free(table);
  result->fragmentation = percent(&fragments);
  return true;
}

bool vd_task_measure(VdServer *server, VdServeResult *result, VdFormatError *ret_error)
{
  VdReader reader;

  if (!measure_partitions(server, result, ret_error) || !vd_task_step(server, 1, 2, ret_error) ||
      !vd_reader_init(&reader, server->order.images[0], ret_error))
    return false;
  switch (server->order.setup.device_id) {
  case VIRTDISK_DEVICE_VHDX:
    return measure_vhdx(&reader, result, ret_error);
  case VIRTDISK_DEVICE_VHD:
    return measure_vhd(&reader, result, ret_error);
  default:
    return true;
  }
}
