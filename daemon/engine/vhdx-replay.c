/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The log of an image that was not closed is written home before the image is opened for writing, in the
 * order of MS-VHDX 2.3.3: a header with a new FileWriteGuid and the same LogGuid; the pages; the size; then
 * headers without LogGuid. A power cut at any moment leaves an image whose log is to be replayed, or none.
 */
#include "engine/vhdx-layer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>

/* Zeros where the file cannot have holes, bytes at a time. */
#define ZEROS (UINT64_C(1) << 20)

typedef struct {
  const VdLayerSource *source;
  VdVhdxHeader header; /* the current one */
  uint64_t file_size;  /* bytes */
  uint8_t *page;
  uint8_t *zeros;
} Replay;

static void replay_clear(Replay *self)
{
  free(self->page);
  free(self->zeros);
}

bool vd_vhdx_random_guid(uint8_t ret_guid[16])
{
  if (getrandom(ret_guid, 16, 0) != 16)
    return false;
  /* Version 4, variant 1; the first three groups are little-endian. */
  ret_guid[7] = (uint8_t)((ret_guid[7] & 0x0F) | 0x40);
  ret_guid[8] = (uint8_t)((ret_guid[8] & 0x3F) | 0x80);
  return true;
}

static int run(Replay *self, VdIoKind kind, uint64_t offset, uint64_t length, void *buffer)
{
  VdIoOp op = {
      .kind = kind, .file = self->source->file, .offset = offset, .length = length, .buffer = buffer};

  return vd_io_run(self->source->io, &op);
}

static bool check(int result, uint64_t offset, const char *what, VdFormatError *ret_error)
{
  VirtdiskError code = result == -ENOSPC || result == -EDQUOT ? VIRTDISK_ERROR_DISK_FULL : VIRTDISK_ERROR_IO;

  if (result == 0)
    return true;
  return vd_format_error_set(ret_error, code, offset, "",
                             "replaying the VHDX log: %s at offset %" PRIu64 ": %s", what, offset,
                             strerrordesc_np(-result));
}

static bool flush(Replay *self, VdFormatError *ret_error)
{
  return check(run(self, VD_IO_FLUSH, 0, 0, NULL), 0, "flush", ret_error);
}

/* header: with its changes; goes to the slot that is not current. */
static bool write_header(Replay *self, VdFormatError *ret_error)
{
  uint64_t offset;

  self->header.sequence++;
  self->header.slot ^= 1;
  offset = self->header.slot == 0 ? VD_VHDX_HEADER_1 : VD_VHDX_HEADER_2;
  vd_vhdx_header_build(&self->header, self->page);
  return check(run(self, VD_IO_WRITE, offset, VD_VHDX_HEADER_LENGTH, self->page), offset, "header",
               ret_error) &&
         flush(self, ret_error);
}

static bool write_zeros(Replay *self, uint64_t offset, uint64_t length, VdFormatError *ret_error)
{
  if (run(self, VD_IO_PUNCH, offset, length, NULL) == 0)
    return true;
  for (uint64_t done = 0; done < length;) {
    uint64_t piece = length - done < ZEROS ? length - done : ZEROS;

    if (!check(run(self, VD_IO_WRITE, offset + done, piece, self->zeros), offset + done, "zeros", ret_error))
      return false;
    done += piece;
  }
  return true;
}

static bool on_effect(void *user, uint64_t offset, uint64_t length, const uint8_t *data,
                      VdFormatError *ret_error)
{
  Replay *self = user;

  if (!data) {
    /* What is behind the end becomes zeros when the file is extended. */
    if (offset >= self->file_size)
      return true;
    if (length > self->file_size - offset)
      length = vd_vhdx_round_up(self->file_size - offset, VD_VHDX_PAGE);
    return write_zeros(self, offset, length, ret_error);
  }
  memcpy(self->page, data, VD_VHDX_PAGE);
  if (offset + VD_VHDX_PAGE > self->file_size)
    self->file_size = offset + VD_VHDX_PAGE;
  return check(run(self, VD_IO_WRITE, offset, VD_VHDX_PAGE, self->page), offset, "page", ret_error);
}

static bool extend(Replay *self, uint64_t size, VdFormatError *ret_error)
{
  return size <= self->file_size ||
         check(run(self, VD_IO_TRUNCATE, 0, size, NULL), size, "new end of the file", ret_error);
}

static bool empty_log(Replay *self, VdFormatError *ret_error)
{
  memset(self->header.log_guid, 0, sizeof self->header.log_guid);
  return write_header(self, ret_error) && write_header(self, ret_error);
}

bool vd_vhdx_layer_replay(const VdLayerSource *source, const VdReader *reader, const VdVhdx *vhdx,
                          VdFormatError *ret_error)
{
  Replay replay __attribute__((cleanup(replay_clear))) = {
      .source = source, .header = vhdx->header, .file_size = reader->size};
  VdVhdxLogSummary summary;

  replay.page = aligned_alloc(VD_IO_ALIGNMENT, VD_VHDX_PAGE);
  replay.zeros = aligned_alloc(VD_IO_ALIGNMENT, ZEROS);
  if (!replay.page || !replay.zeros || !vd_vhdx_random_guid(replay.header.file_write_guid))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "",
                               "no memory to replay the VHDX log");
  memset(replay.zeros, 0, ZEROS);
  return write_header(&replay, ret_error) &&
         vd_vhdx_log_replay(reader, &vhdx->header, on_effect, &replay, &summary, ret_error) &&
         extend(&replay, summary.last_file_offset, ret_error) && flush(&replay, ret_error) &&
         empty_log(&replay, ret_error);
}
