/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ublk transport, in copy mode: each tag has a buffer; or without copies: each tag has a place in the
 * ring's table of buffers, where the kernel puts its own. And each has one command that is always either with
 * the kernel (waiting for a request) or with us (being served). A tag that the kernel gives back with ENODEV
 * has retired; when all have, the device is gone. The descriptor area is written by the kernel alone and is
 * read once for each request. Never commits less than a whole request.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/checked.h"
#include "util/ublk-abi.h"
#include "worker/serve-ublk.h"
#include "worker/serve.h"

typedef struct {
  VdRingOp op;
  VdRequest request;
  VdServer *server;
  int32_t result; /* of the request that ends: goes with the command */
  uint16_t number;
  uint8_t *buffer; /* zero copy: no memory, but what stands for the kernel's */
} Tag;

typedef struct {
  VdServer *server;
  const VdUblkDescriptor *descriptors;
  unsigned n_tags, n_retired;
  bool used;
  VdRingOp flush; /* see hand_over() */
  bool handed_over;
  Tag tags[VD_SERVE_MAX_DEPTH];
} Ublk;

static size_t round_to_page(size_t size)
{
  size_t page = (size_t)sysconf(_SC_PAGESIZE);

  return (size + page - 1) / page * page;
}

bool vd_ublk_fill_request(const VdUblkDescriptor *descriptor, const VdServeSetup *setup, VdRequest *request,
                          int32_t *ret_result)
{
  static const struct {
    VdOp op;
    bool known, has_payload;
  } table[] = {
      [VD_UBLK_OP_READ] = {VD_OP_READ, true, true},
      [VD_UBLK_OP_WRITE] = {VD_OP_WRITE, true, true},
      [VD_UBLK_OP_FLUSH] = {VD_OP_FLUSH, true, false},
      [VD_UBLK_OP_DISCARD] = {VD_OP_DISCARD, true, false},
      [VD_UBLK_OP_WRITE_ZEROES] = {VD_OP_WRITE_ZEROES, true, false},
  };
  uint32_t op_flags = descriptor->op_flags, op = VD_UBLK_IO_OP(op_flags);
  uint64_t offset, length = (uint64_t)descriptor->nr_sectors << 9;

  if (op >= sizeof table / sizeof table[0] || !table[op].known) {
    *ret_result = -EOPNOTSUPP;
    return false;
  }
  request->op = table[op].op;
  request->flags = (op_flags & VD_UBLK_IO_F_FUA ? VD_REQUEST_FUA : 0) |
                   (op_flags & VD_UBLK_IO_F_NOUNMAP ? VD_REQUEST_NO_UNMAP : 0);
  request->offset = request->length = 0;
  *ret_result = 0;
  if (request->op == VD_OP_FLUSH)
    return true;
  if (!vd_mul_u64(descriptor->start_sector, 512, &offset) || !vd_range_within(offset, length, setup->size) ||
      length == 0 || (offset | length) % setup->sector_size != 0 ||
      (table[op].has_payload && length > setup->max_io)) {
    *ret_result = -EINVAL;
    return false;
  }
  request->offset = setup->offset + offset;
  request->length = length;
  *ret_result = table[op].has_payload ? (int32_t)length : 0;
  return true;
}

static void command(Tag *tag, uint32_t operation)
{
  struct io_uring_sqe *sqe = vd_ring_sqe(tag->server->ring, &tag->op);
  VdUblkIoCommand command = {.tag = tag->number, .result = tag->result};

  if (tag->server->remote)
    sqe->addr = tag->number; /* where the next request's pages are to be put */
  else
    command.addr = (uint64_t)(uintptr_t)tag->buffer;
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->flags = IOSQE_FIXED_FILE;
  sqe->fd = VD_SLOT_TRANSPORT;
  sqe->cmd_op = operation;
  memcpy((char *)sqe + VD_UBLK_SQE_COMMAND, &command, sizeof command);
}

static void commit(Tag *tag, int32_t result)
{
  tag->result = result;
  command(tag, VD_UBLK_IO_COMMIT_AND_FETCH);
}

static void on_request_done(VdRequest *request, int result)
{
  Tag *tag = request->user;

  vd_server_request_done(tag->server);
  commit(tag, result < 0 ? result : tag->result);
}

static void submit(Tag *tag)
{
  if (tag->server->remote)
    tag->request.flags |= VD_REQUEST_REMOTE;
  vd_server_submit(tag->server, &tag->request);
}

static void serve_tag(Ublk *self, Tag *tag)
{
  /* The kernel's memory: what is checked must be what is used. */
  VdUblkDescriptor descriptor = self->descriptors[tag->number];

  self->used = true;
  if (!vd_ublk_fill_request(&descriptor, &self->server->order.setup, &tag->request, &tag->result))
    commit(tag, tag->result);
  else
    submit(tag);
}

/* res: 0: a request is in the descriptor. Below: the tag has retired (ENODEV), or it is lost to us, since the
 * kernel refused the command; either way there is nothing more to do for it. */
static void on_command(VdRingOp *op, int result, uint32_t flags)
{
  Tag *tag = (Tag *)((char *)op - offsetof(Tag, op));
  Ublk *self = tag->server->transport_state;

  if (result == 0) {
    serve_tag(self, tag);
    return;
  }
  self->n_retired++;
  if (self->n_retired == self->n_tags)
    vd_server_end(self->server);
}

static void on_flush(VdRingOp *op, int result, uint32_t flags)
{
  Ublk *self = (Ublk *)((char *)op - offsetof(Ublk, flush));

  self->handed_over = true;
}

/* The commands must reach the kernel while we are still privileged, or it scans no partitions: something that
 * completes at once goes behind them. */
static int hand_over(Ublk *self)
{
  struct io_uring_sqe *sqe = vd_ring_sqe(self->server->ring, &self->flush);
  int result = 0;

  self->flush.done = on_flush;
  sqe->opcode = IORING_OP_NOP;
  sqe->flags = IOSQE_FIXED_FILE;
  while (result == 0 && !self->handed_over)
    result = vd_ring_wait(self->server->ring);
  return result;
}

static bool refuse(VdFormatError *ret_error, const char *what, int error)
{
  return vd_format_error_set(ret_error, error == EIO ? VIRTDISK_ERROR_INTERNAL : VIRTDISK_ERROR_NO_RESOURCES,
                             0, "", "ublk: %s: %s", what, strerrordesc_np(error));
}

static void set_up_tags(Ublk *self, uint8_t *buffers)
{
  for (unsigned i = 0; i < self->n_tags; i++) {
    Tag *tag = &self->tags[i];

    *tag = (Tag){.op.done = on_command, .server = self->server, .number = (uint16_t)i};
    tag->buffer = buffers + (size_t)i * self->server->order.setup.max_io;
    tag->request.buffer = tag->buffer;
    tag->request.done = on_request_done;
    tag->request.user = tag;
  }
}

static bool ublk_prepare(VdServer *server, VdFormatError *ret_error)
{
  static Ublk self;
  const VdServeSetup *setup = &server->order.setup;
  uint8_t *buffers = server->remote ? server->remote : vd_serve_memory((size_t)setup->depth * setup->max_io);
  void *area = mmap(NULL, round_to_page(setup->depth * sizeof(VdUblkDescriptor)), PROT_READ,
                    MAP_SHARED | MAP_POPULATE, server->order.transport_fd, 0);
  int result;

  if (!buffers || area == MAP_FAILED)
    return refuse(ret_error, !buffers ? "buffers" : "descriptors", errno);
  server->transport_state = &self;
  self = (Ublk){.server = server, .descriptors = area, .n_tags = setup->depth};
  set_up_tags(&self, buffers);
  for (unsigned i = 0; i < self.n_tags; i++)
    command(&self.tags[i], VD_UBLK_IO_FETCH);
  result = hand_over(&self);
  if (result == 0 && self.n_retired > 0)
    result = -EIO;
  /* The ring and the mapping hold it; a further holder is of no use. */
  close(server->order.transport_fd);
  server->order.transport_fd = -1;
  return result == 0 || refuse(ret_error, "the first commands", -result);
}

static bool ublk_is_untouched(const VdServer *server)
{
  const Ublk *self = server->transport_state;

  return !self->used && (server->order.setup.flags & VD_SERVE_TAKEOVER) == 0;
}

static const uint8_t operations[] = {IORING_OP_URING_CMD};

const VdServeTransport vd_serve_ublk = {
    .operations = operations,
    .n_operations = sizeof operations,
    .prepare = ublk_prepare,
    .is_untouched = ublk_is_untouched,
};
