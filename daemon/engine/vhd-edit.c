/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all changes of a VHD have in common, and the change of its id.
 *
 * Of a file only a sector of 512 bytes is changed at once. There are two footers (but of a fixed image one):
 * where they differ in what they must agree on, the image is none. So the copy in front is spoilt first; then
 * the trailer alone counts, and is changed in place; then the copy is made anew. Where the file grows it is
 * the other way round: a trailer that is lost meanwhile is replaced by the good copy in front.
 */
#include "engine/vhd-edit-private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/edit-ops.h"

/* One thread, one change at a time; a stack is not aligned so far. */
static _Alignas(VD_IO_ALIGNMENT) uint8_t buffer[VD_VHD_EDIT_BUFFER];

static bool fail_io(VdFormatError *ret_error, int result, uint64_t offset)
{
  bool full = result == -ENOSPC || result == -EDQUOT || result == -EFBIG;

  return vd_format_error_set(ret_error, full ? VIRTDISK_ERROR_DISK_FULL : VIRTDISK_ERROR_IO, offset, "",
                             "changing the VHD at offset %" PRIu64 ": %s", offset, strerrordesc_np(-result));
}

static bool run(VdVhdEdit *self, VdIoOp op, VdFormatError *ret_error)
{
  int result;

  op.file = self->source->file;
  result = vd_io_run(self->source->io, &op);
  return result == 0 || fail_io(ret_error, result, op.offset);
}

bool vd_vhd_edit_write(VdVhdEdit *self, const void *bytes, uint64_t length, uint64_t offset,
                       VdFormatError *ret_error)
{
  const uint8_t *from = bytes;

  for (uint64_t done = 0; done < length;) {
    uint64_t part = length - done < sizeof buffer ? length - done : sizeof buffer;

    memcpy(buffer, from + done, part);
    if (!run(self, (VdIoOp){.kind = VD_IO_WRITE, .offset = offset + done, .length = part, .buffer = buffer},
             ret_error))
      return false;
    done += part;
  }
  return true;
}

bool vd_vhd_edit_fill(VdVhdEdit *self, uint8_t byte, uint64_t length, uint64_t offset,
                      VdFormatError *ret_error)
{
  memset(buffer, byte, sizeof buffer);
  while (length > 0) {
    uint64_t part = length < sizeof buffer ? length : sizeof buffer;

    if (!run(self, (VdIoOp){.kind = VD_IO_WRITE, .offset = offset, .length = part, .buffer = buffer},
             ret_error))
      return false;
    offset += part;
    length -= part;
  }
  return true;
}

bool vd_vhd_edit_copy(VdVhdEdit *self, uint64_t from, uint64_t to, uint64_t length, VdFormatError *ret_error)
{
  while (length > 0) {
    uint64_t part = length < sizeof buffer ? length : sizeof buffer;

    if (!run(self, (VdIoOp){.kind = VD_IO_READ_PADDED, .offset = from, .length = part, .buffer = buffer},
             ret_error) ||
        !run(self, (VdIoOp){.kind = VD_IO_WRITE, .offset = to, .length = part, .buffer = buffer}, ret_error))
      return false;
    from += part;
    to += part;
    length -= part;
  }
  return true;
}

bool vd_vhd_edit_flush(VdVhdEdit *self, VdFormatError *ret_error)
{
  return run(self, (VdIoOp){.kind = VD_IO_FLUSH}, ret_error);
}

bool vd_vhd_edit_truncate(VdVhdEdit *self, uint64_t size, VdFormatError *ret_error)
{
  return run(self, (VdIoOp){.kind = VD_IO_TRUNCATE, .length = size}, ret_error);
}

bool vd_vhd_edit_put_footer(VdVhdEdit *self, uint64_t offset, VdFormatError *ret_error)
{
  return vd_vhd_edit_write(self, self->footer.bytes, VD_VHD_FOOTER_LENGTH, offset, ret_error) &&
         vd_vhd_edit_flush(self, ret_error);
}

bool vd_vhd_edit_spoil_front(VdVhdEdit *self, VdFormatError *ret_error)
{
  return vd_vhd_edit_fill(self, 0, VD_VHD_FOOTER_LENGTH, 0, ret_error) && vd_vhd_edit_flush(self, ret_error);
}

/* Mended, and checked as a whole. */
static bool open_and_close(const VdLayerSource *source, VdFormatError *ret_error)
{
  VdLayer *layer = vd_vhd_layer_open(source, ret_error);

  vd_layer_free(layer);
  return layer != NULL;
}

bool vd_vhd_edit_open(VdVhdEdit *self, const VdLayerSource *source, VdFormatError *ret_error)
{
  VdVhdFooters footers;

  self->source = source;
  if (!open_and_close(source, ret_error) || !vd_reader_init(&self->reader, source->fd, ret_error) ||
      !vd_vhd_footers_read(&self->reader, &footers, ret_error))
    return false;
  self->footer = footers.footer;
  self->trailer = footers.space_end;
  if (self->footer.type == VD_VHD_FIXED)
    return true;
  if (!vd_vhd_sparse_read(&self->reader, &footers, &self->sparse, ret_error))
    return false;
  self->shape = vd_vhd_bat_shape(&footers, &self->sparse);
  return true;
}

uint8_t *vd_vhd_edit_read_table(VdVhdEdit *self, VdFormatError *ret_error)
{
  uint8_t *table = malloc((size_t)vd_vhd_table_length(self->shape.blocks));

  if (table == NULL) {
    vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory for the VHD's table");
    return NULL;
  }
  if (vd_vhd_bat_read(&self->reader, &self->shape, table, ret_error))
    return table;
  free(table);
  return NULL;
}

bool vd_vhd_edit_identifier(const VdLayerSource *source, const uint8_t id[16], VdFormatError *ret_error)
{
  VdVhdEdit self;

  if (!vd_vhd_edit_open(&self, source, ret_error))
    return false;
  memcpy(self.footer.unique_id, id, sizeof self.footer.unique_id);
  vd_vhd_footer_change(&self.footer);
  if (self.footer.type == VD_VHD_FIXED)
    return vd_vhd_edit_put_footer(&self, self.trailer, ret_error);
  return vd_vhd_edit_spoil_front(&self, ret_error) &&
         vd_vhd_edit_put_footer(&self, self.trailer, ret_error) &&
         vd_vhd_edit_put_footer(&self, 0, ret_error);
}

const VdEditOps vd_vhd_edit_ops = {
    .parent = vd_vhd_edit_parent, .identifier = vd_vhd_edit_identifier, .size = vd_vhd_edit_size};
