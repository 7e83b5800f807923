/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Extents, cut at the holes of the files that have them. */
#include "engine/walk.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void vd_walk_init(VdWalk *self, VdIo *io, VdLayer *const *layers, unsigned n_layers, const int *fds)
{
  *self = (VdWalk){.io = io, .layers = layers, .n_layers = n_layers, .fds = fds, .size = layers[0]->size};
}

/* As it was when the chain was opened: of a block device, whose end is no matter of stat(2), it stays. */
static bool has_shrunk(const VdWalk *self, unsigned file)
{
  struct stat st;

  return fstat(self->fds[file], &st) == 0 && S_ISREG(st.st_mode) &&
         (uint64_t)st.st_size < self->io->files[file].size;
}

bool vd_walk_blame(const VdWalk *self, unsigned file, uint64_t offset, uint64_t length, int error,
                   VdFormatError *ret_error)
{
  if (has_shrunk(self, file))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_CHANGED, offset, "",
                               "a file of the source has become shorter than it was; %" PRIu64
                               " bytes at offset %" PRIu64 " were still to be read",
                               length, offset);
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, offset, "",
                             "the source: reading %" PRIu64 " bytes at offset %" PRIu64 ": %s", length,
                             offset, strerrordesc_np(error));
}

static bool find_extent(VdWalk *self, uint64_t offset, VdFormatError *ret_error)
{
  int result;

  if (self->extent.length != 0 && offset >= self->extent_at && offset - self->extent_at < self->extent.length)
    return true;
  result = vd_extent_find(self->io, self->layers, 0, self->n_layers - 1, offset, self->size - offset,
                          &self->extent);
  if (result == 0 && self->extent.kind == VD_RUN_PARENT)
    result = -EIO;
  self->extent_at = offset;
  if (result == 0)
    return true;
  self->extent.length = 0;
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, offset, "",
                             "the source: where the disk's offset %" PRIu64 " lies cannot be told: %s",
                             offset, strerrordesc_np(-result));
}

/* Where files have no holes that could be asked for, all is data. */
static bool learn_holes(VdWalk *self, unsigned file, uint64_t offset, uint64_t end, VdFormatError *ret_error)
{
  off_t next = lseek(self->fds[file], (off_t)offset, SEEK_DATA);

  self->known_file = file;
  self->known_from = offset;
  self->known_data = next < 0 ? errno != ENXIO : (uint64_t)next == offset;
  self->known_to = next < 0 ? end : (uint64_t)next;
  if (next < 0 && errno == ENXIO && has_shrunk(self, file))
    return vd_walk_blame(self, file, offset, end - offset, EIO, ret_error);
  if (!self->known_data || next < 0)
    return true;
  next = lseek(self->fds[file], (off_t)offset, SEEK_HOLE);
  self->known_to = next < 0 || (uint64_t)next <= offset ? end : (uint64_t)next;
  return true;
}

bool vd_walk_look(VdWalk *self, uint64_t offset, VdWalkPiece *ret_piece, VdFormatError *ret_error)
{
  uint64_t within, at;
  unsigned file;

  if (!find_extent(self, offset, ret_error))
    return false;
  within = offset - self->extent_at;
  *ret_piece = (VdWalkPiece){.length = self->extent.length - within};
  if (self->extent.kind != VD_RUN_HERE)
    return true;
  file = self->layers[self->extent.layer]->file;
  at = self->extent.offset + within;
  if ((file != self->known_file || at < self->known_from || at >= self->known_to) &&
      !learn_holes(self, file, at, at + ret_piece->length, ret_error))
    return false;
  if (ret_piece->length > self->known_to - at)
    ret_piece->length = self->known_to - at;
  ret_piece->data = self->known_data;
  ret_piece->padded = self->extent.padded;
  ret_piece->file = file;
  ret_piece->offset = at;
  return true;
}
