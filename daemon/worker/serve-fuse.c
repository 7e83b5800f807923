/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests and answers of a FUSE connection through the ring. A slot is free, waits for a request, has one in
 * the engine, or writes its answer. One always waits, and no more: the kernel wakes all who wait for whatever
 * comes, and each of the others would look, find nothing and wait anew. When it has got one, what else has
 * come by then is taken along, so that one system call hands over the answers of them all: each call that
 * answers costs the change to the kernel's thread that ends requests, and mostly a wake-up of who sent them.
 */
#include "worker/serve-fuse.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Answers from this size on are copied into the kernel by its own threads, several at a time. Bytes. */
#define LARGE_ANSWER (128U << 10)

/* Requests that are taken at a time: each of them waits until the last has been looked at. */
#define MAX_AT_ONCE 8

/* Ceiling of the memory of all slots, bytes: at most 39 of 512 KiB. */
#define MAX_MEMORY ((size_t)20 << 20)

static size_t slot_size(const VdServeSetup *setup)
{
  return VD_FUSE_PAYLOAD + setup->max_io + VD_FUSE_TAIL;
}

static unsigned count_slots(const VdServeSetup *setup)
{
  size_t most = MAX_MEMORY / slot_size(setup);

  return setup->depth < most ? setup->depth : (unsigned)most;
}

/* Latest used first: its memory is warm, and memory that is not needed is never touched. */
static VdFuseSlot *take_slot(VdFuse *self)
{
  VdFuseSlot *slot = self->free;

  if (slot)
    self->free = slot->next;
  return slot;
}

static void on_request(VdRingOp *op, int result, uint32_t flags);
static void on_answer(VdRingOp *op, int result, uint32_t flags);

static struct io_uring_sqe *transfer(VdFuse *self, VdRingOp *op, uint8_t operation, const void *at,
                                     size_t length)
{
  struct io_uring_sqe *sqe = vd_ring_sqe(self->server->ring, op);

  sqe->opcode = operation;
  sqe->flags = IOSQE_FIXED_FILE;
  sqe->fd = VD_SLOT_TRANSPORT;
  sqe->addr = (uint64_t)(uintptr_t)at;
  sqe->len = (uint32_t)length;
  return sqe;
}

static size_t request_size(const VdFuse *self)
{
  return VD_FUSE_WRITE_HEADER + self->server->order.setup.max_io;
}

static void wait_for_request(VdFuse *self)
{
  VdFuseSlot *slot;

  if (self->server->ended || self->reading || !(slot = take_slot(self)))
    return;
  self->reading = true;
  slot->op.done = on_request;
  transfer(self, &slot->op, IORING_OP_READ, vd_fuse_request(slot), request_size(self));
}

void vd_fuse_release(VdFuseSlot *slot)
{
  VdFuse *self = slot->fuse;

  slot->next = self->free;
  self->free = slot;
  wait_for_request(self);
}

/* A request that its sender gave up meanwhile is none; the kernel was short of something; else the connection
 * has gone (ENODEV), or it is of no use any more. */
static bool is_passing(int result)
{
  return result == -ENOENT || result == -EINTR || result == -EAGAIN || result == -ENOMEM;
}

/* A large one shall be on its way before the next is looked at. */
static bool serve(VdFuseSlot *slot, uint32_t length)
{
  slot->length = 0;
  vd_fuse_serve(slot, length);
  return slot->length < LARGE_ANSWER;
}

/* Does not wait: the description is one that does not block. An error is left to the slot that waits next. */
static bool serve_another(VdFuse *self)
{
  VdFuseSlot *slot = take_slot(self);
  ssize_t length;

  if (!slot)
    return false;
  length = pread(self->server->order.transport_fd, (void *)vd_fuse_request(slot), request_size(self), 0);
  if (length >= 0)
    return serve(slot, (uint32_t)length);
  vd_fuse_release(slot);
  return false;
}

static void serve_all(VdFuseSlot *slot, uint32_t length)
{
  VdFuse *self = slot->fuse;
  bool more = serve(slot, length);

  for (unsigned i = 1; more && i < MAX_AT_ONCE && !self->server->ended; i++)
    more = serve_another(self);
}

static void on_request(VdRingOp *op, int result, uint32_t flags)
{
  VdFuseSlot *slot = (VdFuseSlot *)((char *)op - offsetof(VdFuseSlot, op));
  VdFuse *self = slot->fuse;

  if (result < 0 && !is_passing(result))
    vd_server_end(self->server);
  if (result < 0)
    vd_fuse_release(slot);
  else
    serve_all(slot, (uint32_t)result);
  self->reading = false;
  wait_for_request(self);
}

static void write_answer(VdFuseSlot *slot, unsigned flags)
{
  struct io_uring_sqe *sqe;

  slot->op.done = on_answer;
  sqe = transfer(slot->fuse, &slot->op, IORING_OP_WRITE, slot->answer, slot->answer_length);
  sqe->flags |= (uint8_t)flags;
}

/* Without its answer a request would wait for ever: what can be tried again is. What cannot belongs to a
 * request that was given up. */
static void on_answer(VdRingOp *op, int result, uint32_t flags)
{
  VdFuseSlot *slot = (VdFuseSlot *)((char *)op - offsetof(VdFuseSlot, op));

  if (result == -EINTR || result == -EAGAIN || result == -ENOMEM || result == -ECANCELED)
    write_answer(slot, 0);
  else
    vd_fuse_release(slot);
}

/* header: in the slot, with the body right behind it. */
static void answer_at(VdFuseSlot *slot, uint8_t *header, int error, uint32_t length)
{
  struct fuse_out_header out = {.error = error, .unique = slot->unique};

  out.len = (uint32_t)sizeof out + length;
  memcpy(header, &out, sizeof out);
  slot->answer = header;
  slot->answer_length = out.len;
  write_answer(slot, length >= LARGE_ANSWER ? IOSQE_ASYNC : 0);
}

void vd_fuse_answer_error(VdFuseSlot *slot, int error)
{
  answer_at(slot, slot->memory, error, 0);
}

void vd_fuse_answer(VdFuseSlot *slot, const void *body, uint32_t length)
{
  memcpy(slot->memory + sizeof(struct fuse_out_header), body, length);
  answer_at(slot, slot->memory, 0, length);
}

void vd_fuse_answer_payload(VdFuseSlot *slot)
{
  answer_at(slot, slot->memory + VD_FUSE_PAYLOAD + slot->skip - sizeof(struct fuse_out_header), 0,
            slot->length);
}

static bool fuse_prepare(VdServer *server, VdFormatError *ret_error)
{
  static VdFuse self;
  const VdServeSetup *setup = &server->order.setup;
  uint8_t *memory = vd_serve_memory(count_slots(setup) * slot_size(setup));

  if (!memory)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "FUSE: buffers: %s",
                               strerrordesc_np(errno));
  self = (VdFuse){.server = server, .used = (setup->flags & VD_SERVE_TAKEOVER) != 0};
  self.n_slots = count_slots(setup);
  server->transport_state = &self;
  for (unsigned i = self.n_slots; i-- > 0;) {
    self.slots[i] = (VdFuseSlot){.fuse = &self, .memory = memory + i * slot_size(setup), .next = self.free};
    self.free = &self.slots[i];
  }
  return true;
}

static void on_notice(VdRingOp *op, int result, uint32_t flags) {}

/* Requests that a predecessor took and did not answer come again. (Where the kernel cannot, they are lost;
 * the daemon has asked it.) */
static void ask_again(VdFuse *self)
{
  self->resend = (struct fuse_out_header){.len = sizeof self->resend, .error = VD_FUSE_NOTIFY_RESEND};
  self->notice.done = on_notice;
  transfer(self, &self->notice, IORING_OP_WRITE, &self->resend, sizeof self->resend);
}

static void fuse_start(VdServer *server)
{
  VdFuse *self = server->transport_state;

  if ((server->order.setup.flags & VD_SERVE_RESEND) != 0)
    ask_again(self);
  wait_for_request(self);
}

static bool fuse_is_untouched(const VdServer *server)
{
  const VdFuse *self = server->transport_state;

  return !self->used;
}

const VdServeTransport vd_serve_fuse = {
    .blocking = VD_SERVE_NONBLOCKING,
    .prepare = fuse_prepare,
    .start = fuse_start,
    .is_untouched = fuse_is_untouched,
};
