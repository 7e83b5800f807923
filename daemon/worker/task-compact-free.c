/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which blocks of the leaf hold nothing but what the file systems inside the disk call free. What one of them
 * says is kept apart until it has said all. */
#include "worker/task-compact.h"

#include <stdlib.h>
#include <string.h>

#include "formats/free-space.h"

#define BUFFER ((size_t)64 << 10)

typedef struct {
  VdServer *server;
  VdFreeBlocks *blocks;
  uint8_t *said; /* as blocks->bits, of the file system that is being asked */
  VdFormatError *error;
  uint8_t *buffer;
  bool stopped; /* it is to end; error says so */
} Asking;

static bool may_go_on(Asking *self)
{
  self->stopped =
      self->stopped || !vd_task_step(self->server, 0, vd_engine_size(self->server->engine), self->error);
  return !self->stopped;
}

static void on_read(VdRequest *request, int result)
{
  *(int *)request->user = result;
}

static bool read_piece(Asking *self, uint64_t offset, uint64_t length)
{
  VdIo *io = self->server->io;
  int result = 1;
  VdRequest request = {.op = VD_OP_READ,
                       .offset = offset,
                       .length = length,
                       .buffer = self->buffer,
                       .done = on_read,
                       .user = &result};

  vd_engine_submit(self->server->engine, &request);
  while (result > 0)
    if (io->ops->wait(io) < 0 && result > 0)
      return false;
  return result == 0;
}

/* What the chain shows, in whole sectors. */
static bool read_disk(void *user, uint64_t offset, void *ret_bytes, size_t length)
{
  Asking *self = user;
  uint64_t sector = vd_engine_sector_size(self->server->engine);
  uint8_t *to = ret_bytes;

  while (length > 0) {
    uint64_t start = offset / sector * sector, skip = offset - start;
    size_t n = BUFFER - skip < length ? BUFFER - skip : length;

    if (!may_go_on(self) || !read_piece(self, start, (skip + n + sector - 1) / sector * sector))
      return false;
    memcpy(to, self->buffer + skip, n);
    to += n;
    offset += n;
    length -= n;
  }
  return true;
}

static bool found(void *user, uint64_t offset, uint64_t length)
{
  Asking *self = user;
  uint64_t block_size = vd_engine_block_size(self->server->engine);
  uint64_t size = vd_engine_size(self->server->engine), end = offset + length;
  uint64_t first = (offset + block_size - 1) / block_size;
  uint64_t last = end == size ? self->blocks->blocks : end / block_size;

  for (uint64_t block = first; block < last; block++)
    self->said[block / 8] |= (uint8_t)(1U << (block % 8));
  return may_go_on(self);
}

static void settle(void *user, VdFreeSpaceVerdict verdict)
{
  Asking *self = user;

  for (uint64_t i = 0; i < self->blocks->blocks / 8 + 1; i++) {
    if (verdict == VD_FREE_SPACE_KEEP)
      self->blocks->bits[i] |= self->said[i];
    self->said[i] = 0;
  }
}

static void asking_clear(Asking *self)
{
  free(self->said);
  free(self->buffer);
}

bool vd_task_compact_free(VdServer *server, VdFreeBlocks *ret_blocks, VdServeResult *result,
                          VdFormatError *ret_error)
{
  uint64_t block_size = vd_engine_block_size(server->engine);
  Asking asking
      __attribute__((cleanup(asking_clear))) = {.server = server, .blocks = ret_blocks, .error = ret_error};
  VdFreeSpaceDisk disk = {.read = read_disk,
                          .found = found,
                          .settle = settle,
                          .user = &asking,
                          .size = vd_engine_size(server->engine),
                          .sector_size = vd_engine_sector_size(server->engine),
                          .scratch = server->order.blob_fd};
  VdFreeSpaceReport report;

  ret_blocks->blocks = (disk.size + block_size - 1) / block_size;
  ret_blocks->bits = calloc(1, (size_t)(ret_blocks->blocks / 8 + 1));
  asking.said = calloc(1, (size_t)(ret_blocks->blocks / 8 + 1));
  asking.buffer = aligned_alloc(VD_IO_ALIGNMENT, BUFFER);
  if (!asking.buffer || !asking.said || !ret_blocks->bits)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "",
                               "no memory to ask the file systems");
  vd_free_space_find(&disk, &report);
  result->fell_back = report.fell_back;
  _Static_assert(sizeof result->note == sizeof report.note, "one fits into the other");
  memcpy(result->note, report.note, sizeof result->note);
  return !asking.stopped;
}
