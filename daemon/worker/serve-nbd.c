/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of an NBD connection through the ring. Reads ahead into an inbox, payload of writes straight into
 * a slot; one write is under way at a time, for a stream has one end; answers without payload that have
 * gathered meanwhile go together. Whoever sends faster than the engine works waits in the socket.
 */
#include "worker/serve-nbd.h"

#include <errno.h>
#include <string.h>

/* Ceiling of the memory of all slots, bytes: at most 38 of 512 KiB. */
#define MAX_MEMORY ((size_t)20 << 20)

static size_t slot_size(const VdServeSetup *setup)
{
  return VD_NBD_PAYLOAD + setup->max_io + VD_NBD_TAIL;
}

static unsigned count_slots(const VdServeSetup *setup)
{
  size_t most = MAX_MEMORY / slot_size(setup);

  return setup->depth < most ? setup->depth : (unsigned)most;
}

static void transfer(VdNbd *self, VdRingOp *op, uint8_t operation, const void *at, uint32_t length)
{
  struct io_uring_sqe *sqe = vd_ring_sqe(self->server->ring, op);

  sqe->opcode = operation;
  sqe->flags = IOSQE_FIXED_FILE;
  sqe->fd = VD_SLOT_TRANSPORT;
  sqe->addr = (uint64_t)(uintptr_t)at;
  sqe->len = length;
}

static bool is_passing(int result)
{
  return result == -EINTR || result == -EAGAIN || result == -ENOMEM;
}

VdNbdSlot *vd_nbd_take_slot(VdNbd *self)
{
  VdNbdSlot *slot = self->free;

  self->free = slot->next;
  self->n_taken++;
  return slot;
}

static void release(VdNbdSlot *slot)
{
  VdNbd *self = slot->nbd;

  slot->next = self->free;
  self->free = slot;
  self->n_taken--;
}

void vd_nbd_append(VdNbd *self, const void *bytes, uint32_t n)
{
  if (n > VD_NBD_OUTBOX - self->outbox_used) {
    vd_nbd_hang_up(self);
    return;
  }
  if (bytes)
    memcpy(self->outbox + self->outbox_used, bytes, n);
  else
    memset(self->outbox + self->outbox_used, 0, n);
  self->outbox_used += n;
}

void vd_nbd_skip(VdNbd *self, uint32_t n)
{
  self->skip_left = n;
}

void vd_nbd_fill(VdNbd *self, VdNbdSlot *slot, uint32_t n)
{
  self->filled = slot;
  self->fill_left = slot->length = n;
}

void vd_nbd_hang_up(VdNbd *self)
{
  self->closing = true;
  vd_server_end(self->server);
}

void vd_nbd_close(VdNbd *self)
{
  self->closing = true;
  self->head = self->tail = 0;
}

static uint32_t to_protocol(int error)
{
  switch (error) {
  case 0:
    return 0;
  case -EROFS:
  case -EPERM:
    return VD_NBD_EPERM;
  case -ENOSPC:
    return VD_NBD_ENOSPC;
  case -EINVAL:
    return VD_NBD_EINVAL;
  case -ENOMEM:
    return VD_NBD_ENOMEM;
  default:
    return VD_NBD_EIO;
  }
}

static void answer(VdNbdSlot *slot, uint8_t *header, int error, uint32_t length)
{
  VdNbd *self = slot->nbd;
  uint8_t *at = vd_nbd_put32(header, VD_NBD_SIMPLE_REPLY_MAGIC);

  vd_nbd_put64(vd_nbd_put32(at, to_protocol(error)), slot->cookie);
  slot->answer = header;
  slot->answer_length = VD_NBD_SIMPLE_REPLY_SIZE + length;
  slot->next = NULL;
  *self->answers_end = slot;
  self->answers_end = &slot->next;
}

void vd_nbd_answer_error(VdNbdSlot *slot, int error)
{
  answer(slot, slot->memory, error, 0);
}

void vd_nbd_answer_payload(VdNbdSlot *slot)
{
  answer(slot, slot->memory + VD_NBD_PAYLOAD + slot->skip - VD_NBD_SIMPLE_REPLY_SIZE, 0, slot->length);
}

static VdNbdSlot *next_answer(VdNbd *self)
{
  VdNbdSlot *slot = self->answers;

  self->answers = slot->next;
  if (!self->answers)
    self->answers_end = &self->answers;
  return slot;
}

/* Answers without payload, as far as they come first and fit. */
static void gather(VdNbd *self)
{
  while (self->answers && self->answers->answer_length == VD_NBD_SIMPLE_REPLY_SIZE &&
         self->outbox_used <= VD_NBD_OUTBOX - VD_NBD_SIMPLE_REPLY_SIZE) {
    VdNbdSlot *slot = next_answer(self);

    vd_nbd_append(self, slot->answer, slot->answer_length);
    release(slot);
  }
}

static void send_rest(VdNbd *self)
{
  self->sending = true;
  transfer(self, &self->send_op, IORING_OP_WRITE, self->send_at, self->send_left);
}

static void send_next(VdNbd *self)
{
  if (self->sending || self->server->ended)
    return;
  gather(self);
  self->sent = NULL;
  if (self->outbox_used > 0) {
    self->send_at = self->outbox;
    self->send_left = self->outbox_used;
  } else if (self->answers) {
    self->sent = next_answer(self);
    self->send_at = self->sent->answer;
    self->send_left = self->sent->answer_length;
  } else {
    return;
  }
  send_rest(self);
}

static void on_sent(VdRingOp *op, int result, uint32_t flags)
{
  VdNbd *self = (VdNbd *)((char *)op - offsetof(VdNbd, send_op));

  self->sending = false;
  if (self->server->ended)
    return;
  if (result < 0 && !is_passing(result)) {
    vd_nbd_hang_up(self);
    return;
  }
  if (result > 0) {
    self->send_at += result;
    self->send_left -= (uint32_t)result;
  }
  if (self->send_left > 0) {
    send_rest(self);
    return;
  }
  if (self->sent)
    release(self->sent);
  else
    self->outbox_used = 0;
  vd_nbd_go_on(self);
}

/* A payload that ends early is none. */
static void handle_end(VdNbd *self)
{
  self->closing = true;
  if (self->filled)
    release(self->filled);
  self->filled = NULL;
  self->fill_left = 0;
}

static void payload_came(VdNbd *self, uint32_t n)
{
  VdNbdSlot *slot = self->filled;

  self->fill_left -= n;
  if (self->fill_left > 0)
    return;
  self->filled = NULL;
  vd_nbd_handle_payload(slot);
}

static void on_received(VdRingOp *op, int result, uint32_t flags)
{
  VdNbd *self = (VdNbd *)((char *)op - offsetof(VdNbd, receive_op));

  self->receiving = false;
  if (self->server->ended)
    return;
  if (result == 0 || (result < 0 && !is_passing(result)))
    handle_end(self);
  else if (result > 0 && self->receiving_payload)
    payload_came(self, (uint32_t)result);
  else if (result > 0 && !self->closing)
    self->tail += (uint32_t)result;
  vd_nbd_go_on(self);
}

static void receive(VdNbd *self)
{
  if (self->receiving || self->closing || self->server->ended)
    return;
  self->receiving_payload = self->filled != NULL;
  if (self->filled) {
    self->receiving = true;
    transfer(self, &self->receive_op, IORING_OP_READ,
             self->filled->memory + VD_NBD_PAYLOAD + self->filled->length - self->fill_left, self->fill_left);
    return;
  }
  memmove(self->inbox, self->inbox + self->head, self->tail - self->head);
  self->tail -= self->head;
  self->head = 0;
  if (self->tail == VD_NBD_INBOX)
    return;
  self->receiving = true;
  transfer(self, &self->receive_op, IORING_OP_READ, self->inbox + self->tail, VD_NBD_INBOX - self->tail);
}

static uint32_t least(uint32_t a, uint32_t b)
{
  return a < b ? a : b;
}

/* What comes before the next message. */
static void take_ahead(VdNbd *self)
{
  uint32_t n = least(self->skip_left, self->tail - self->head);

  self->head += n;
  self->skip_left -= n;
  if (self->skip_left > 0 || !self->filled)
    return;
  n = least(self->fill_left, self->tail - self->head);
  memcpy(self->filled->memory + VD_NBD_PAYLOAD + self->filled->length - self->fill_left,
         self->inbox + self->head, n);
  self->head += n;
  payload_came(self, n);
}

/* Options are answered one by one; requests as long as there are slots. */
static bool may_handle(const VdNbd *self)
{
  return self->state == VD_NBD_REQUEST ? self->free != NULL : !self->sending && self->outbox_used == 0;
}

/* False: not yet. */
static bool step(VdNbd *self)
{
  const uint8_t *message;
  uint32_t size;

  if (self->server->ended)
    return false;
  take_ahead(self);
  size = vd_nbd_message_size(self);
  if (self->skip_left > 0 || self->filled || self->tail - self->head < size || !may_handle(self))
    return false;
  message = self->inbox + self->head;
  self->head += size;
  vd_nbd_handle_message(self, message);
  return true;
}

void vd_nbd_go_on(VdNbd *self)
{
  while (step(self))
    continue;
  send_next(self);
  receive(self);
  /* Whoever is still to be answered is. What is left in the inbox is no whole message. */
  if (self->closing && self->n_taken == 0 && !self->sending && !self->server->ended)
    vd_server_end(self->server);
}

static bool nbd_prepare(VdServer *server, VdFormatError *ret_error)
{
  static VdNbd self;
  const VdServeSetup *setup = &server->order.setup;
  uint8_t *memory = vd_serve_memory(count_slots(setup) * slot_size(setup));

  if (!memory)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "NBD: buffers: %s",
                               strerrordesc_np(errno));
  self = (VdNbd){.server = server, .n_slots = count_slots(setup)};
  self.receive_op.done = on_received;
  self.send_op.done = on_sent;
  self.answers_end = &self.answers;
  server->transport_state = &self;
  for (unsigned i = self.n_slots; i-- > 0;) {
    self.slots[i] = (VdNbdSlot){.nbd = &self, .memory = memory + i * slot_size(setup), .next = self.free};
    self.free = &self.slots[i];
  }
  return true;
}

static void nbd_start(VdServer *server)
{
  VdNbd *self = server->transport_state;

  vd_nbd_greet(self);
  vd_nbd_go_on(self);
}

static bool nbd_is_untouched(const VdServer *server)
{
  const VdNbd *self = server->transport_state;

  return !self->used;
}

const VdServeTransport vd_serve_nbd = {
    .blocking = VD_SERVE_NONBLOCKING,
    .stopping = VD_SERVE_STOPS,
    .prepare = nbd_prepare,
    .start = nbd_start,
    .is_untouched = nbd_is_untouched,
};
