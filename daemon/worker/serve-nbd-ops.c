/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an NBD client says, message by message: a table from the state to size and function, one of options,
 * one of commands. There is one export, the one without a name. Lengths and offsets are the client's, and
 * checked before anything is done with them.
 */
#include <errno.h>
#include <string.h>

#include "util/checked.h"
#include "worker/serve-nbd.h"

/* Requests of this size lose nothing by being smaller, bytes. */
#define PREFERRED_SIZE 4096U

static const VdServeSetup *setup_of(const VdNbd *self)
{
  return &self->server->order.setup;
}

static bool is_writable(const VdNbd *self)
{
  return (setup_of(self)->flags & VD_SERVE_WRITABLE) != 0;
}

/* Not CAN_MULTI_CONN: there is one connection. */
static uint16_t export_flags(const VdNbd *self)
{
  unsigned flags = VD_NBD_HAS_FLAGS | VD_NBD_SEND_FLUSH;

  if (!is_writable(self))
    return (uint16_t)(flags | VD_NBD_READ_ONLY);
  flags |= VD_NBD_SEND_FUA | VD_NBD_SEND_WRITE_ZEROES;
  if (vd_engine_discard_granularity(self->server->engine) != 0)
    flags |= VD_NBD_SEND_TRIM;
  return (uint16_t)flags;
}

void vd_nbd_greet(VdNbd *self)
{
  uint8_t greeting[18], *at = vd_nbd_put64(greeting, VD_NBD_MAGIC);

  vd_nbd_put16(vd_nbd_put64(at, VD_NBD_OPTION_MAGIC), VD_NBD_FIXED_NEWSTYLE | VD_NBD_NO_ZEROES);
  self->export_flags = export_flags(self);
  vd_nbd_append(self, greeting, sizeof greeting);
}

/* The handshake. */

static void handle_flags(VdNbd *self, const uint8_t *message)
{
  uint32_t flags = vd_nbd_get32(message);

  if ((flags & ~(VD_NBD_FIXED_NEWSTYLE | VD_NBD_NO_ZEROES)) != 0) {
    vd_nbd_hang_up(self);
    return;
  }
  self->no_zeroes = (flags & VD_NBD_NO_ZEROES) != 0;
  self->state = VD_NBD_OPTION;
}

static void reply(VdNbd *self, uint32_t type, const void *data, uint32_t length)
{
  uint8_t header[VD_NBD_REPLY_SIZE], *at = vd_nbd_put64(header, VD_NBD_REPLY_MAGIC);

  vd_nbd_put32(vd_nbd_put32(vd_nbd_put32(at, self->option), type), length);
  vd_nbd_append(self, header, sizeof header);
  if (length > 0)
    vd_nbd_append(self, data, length);
}

static void handle_option(VdNbd *self, const uint8_t *message)
{
  self->option = vd_nbd_get32(message + 8);
  self->option_length = vd_nbd_get32(message + 12);
  if (vd_nbd_get64(message) != VD_NBD_OPTION_MAGIC || self->option_length > VD_NBD_MAX_SKIP ||
      (self->option == VD_NBD_OPT_EXPORT_NAME && self->option_length > VD_NBD_MAX_NAME)) {
    vd_nbd_hang_up(self);
  } else if (self->option_length > VD_NBD_MAX_OPTION) {
    reply(self, VD_NBD_REP_ERR_TOO_BIG, NULL, 0);
    vd_nbd_skip(self, self->option_length);
  } else {
    self->state = VD_NBD_OPTION_DATA;
  }
}

/* Its answer has no room for an error. */
static void handle_export_name(VdNbd *self, const uint8_t *data)
{
  uint8_t export[10];

  if (self->option_length != 0) {
    vd_nbd_hang_up(self);
    return;
  }
  vd_nbd_put16(vd_nbd_put64(export, setup_of(self)->size), self->export_flags);
  vd_nbd_append(self, export, sizeof export);
  if (!self->no_zeroes)
    vd_nbd_append(self, NULL, VD_NBD_EXPORT_ZEROES);
  self->state = VD_NBD_REQUEST;
}

static void handle_abort(VdNbd *self, const uint8_t *data)
{
  reply(self, VD_NBD_REP_ACK, NULL, 0);
  vd_nbd_close(self);
}

static void handle_list(VdNbd *self, const uint8_t *data)
{
  uint8_t nameless[4] = {0};

  if (self->option_length != 0) {
    reply(self, VD_NBD_REP_ERR_INVALID, NULL, 0);
    return;
  }
  reply(self, VD_NBD_REP_SERVER, nameless, sizeof nameless);
  reply(self, VD_NBD_REP_ACK, NULL, 0);
}

static void tell_export(VdNbd *self)
{
  const VdServeSetup *setup = setup_of(self);
  uint8_t export[12], sizes[14], *at = vd_nbd_put16(export, VD_NBD_INFO_EXPORT);

  vd_nbd_put16(vd_nbd_put64(at, setup->size), self->export_flags);
  reply(self, VD_NBD_REP_INFO, export, sizeof export);
  at = vd_nbd_put32(vd_nbd_put16(sizes, VD_NBD_INFO_BLOCK_SIZE), setup->sector_size);
  vd_nbd_put32(vd_nbd_put32(at, PREFERRED_SIZE), setup->max_io);
  reply(self, VD_NBD_REP_INFO, sizes, sizeof sizes);
}

/* A name with its length before it, a number of kinds of information, the kinds. All that there is to tell is
 * told whatever is asked for. */
static uint32_t judge_info(const VdNbd *self, const uint8_t *data)
{
  uint32_t length = self->option_length, name;

  if (length < 6)
    return VD_NBD_REP_ERR_INVALID;
  name = vd_nbd_get32(data);
  if (name > length - 6 || length - 6 - name != 2U * vd_nbd_get16(data + 4 + name))
    return VD_NBD_REP_ERR_INVALID;
  return name == 0 ? VD_NBD_REP_ACK : VD_NBD_REP_ERR_UNKNOWN;
}

static void handle_info(VdNbd *self, const uint8_t *data)
{
  uint32_t type = judge_info(self, data);

  if (type == VD_NBD_REP_ACK)
    tell_export(self);
  reply(self, type, NULL, 0);
  if (type == VD_NBD_REP_ACK && self->option == VD_NBD_OPT_GO)
    self->state = VD_NBD_REQUEST;
}

static void (*const options[])(VdNbd *self, const uint8_t *data) = {
    [VD_NBD_OPT_EXPORT_NAME] = handle_export_name,
    [VD_NBD_OPT_ABORT] = handle_abort,
    [VD_NBD_OPT_LIST] = handle_list,
    [VD_NBD_OPT_INFO] = handle_info,
    [VD_NBD_OPT_GO] = handle_info,
};

static void handle_option_data(VdNbd *self, const uint8_t *message)
{
  self->state = VD_NBD_OPTION;
  if (self->option >= sizeof options / sizeof options[0] || !options[self->option])
    reply(self, VD_NBD_REP_ERR_UNSUP, NULL, 0);
  else
    options[self->option](self, message);
}

/* Requests. */

typedef struct {
  uint16_t flags, type;
  uint64_t offset;
  uint32_t length;
} Request;

static void submit(VdNbdSlot *slot, VdOp op, uint64_t offset, uint64_t length, uint32_t flags,
                   void (*done)(VdRequest *request, int result))
{
  VdNbd *self = slot->nbd;

  self->used = true;
  slot->request.op = op;
  slot->request.flags = flags;
  slot->request.offset = op == VD_OP_FLUSH ? 0 : setup_of(self)->offset + offset;
  slot->request.length = length;
  slot->request.buffer = slot->memory + VD_NBD_PAYLOAD;
  slot->request.done = done;
  slot->request.user = slot;
  vd_server_submit(self->server, &slot->request);
}

static void on_read(VdRequest *request, int result)
{
  VdNbdSlot *slot = request->user;

  vd_server_request_done(slot->nbd->server);
  if (result < 0)
    vd_nbd_answer_error(slot, result);
  else
    vd_nbd_answer_payload(slot);
  vd_nbd_go_on(slot->nbd);
}

static void on_done(VdRequest *request, int result)
{
  VdNbdSlot *slot = request->user;

  vd_server_request_done(slot->nbd->server);
  if (result == 0 && slot->flushes) {
    slot->flushes = false;
    submit(slot, VD_OP_FLUSH, 0, 0, 0, on_done);
    return;
  }
  vd_nbd_answer_error(slot, result);
  vd_nbd_go_on(slot->nbd);
}

static uint32_t fua(const Request *in)
{
  return (in->flags & VD_NBD_CMD_FLAG_FUA) != 0 ? VD_REQUEST_FUA : 0;
}

/* What is not aligned is read with what is around it. */
static void handle_read(VdNbdSlot *slot, const Request *in)
{
  const VdServeSetup *setup = setup_of(slot->nbd);
  uint64_t sector = setup->sector_size, first = in->offset & ~(sector - 1);

  if (in->length == 0 || in->length > setup->max_io ||
      !vd_range_within(in->offset, in->length, setup->size)) {
    vd_nbd_answer_error(slot, -EINVAL);
    return;
  }
  slot->length = in->length;
  slot->skip = (uint32_t)(in->offset - first);
  submit(slot, VD_OP_READ, first, ((in->offset + in->length + sector - 1) & ~(sector - 1)) - first, 0,
         on_read);
}

/* -errno where a range cannot be written. */
static int check_range(const VdNbd *self, const Request *in)
{
  if (!is_writable(self))
    return -EPERM;
  if (in->length == 0 || (in->offset | in->length) % setup_of(self)->sector_size != 0)
    return -EINVAL;
  return vd_range_within(in->offset, in->length, setup_of(self)->size) ? 0 : -ENOSPC;
}

/* Its payload follows, wanted or not. */
static void handle_write(VdNbdSlot *slot, const Request *in)
{
  VdNbd *self = slot->nbd;
  int error = check_range(self, in);

  if (error == 0 && in->length > setup_of(self)->max_io)
    error = -EINVAL;
  if (error < 0) {
    vd_nbd_skip(self, in->length);
    vd_nbd_answer_error(slot, error);
    return;
  }
  slot->request.offset = in->offset;
  slot->request.flags = fua(in);
  vd_nbd_fill(self, slot, in->length);
}

void vd_nbd_handle_payload(VdNbdSlot *slot)
{
  submit(slot, VD_OP_WRITE, slot->request.offset, slot->length, slot->request.flags, on_done);
}

static void handle_flush(VdNbdSlot *slot, const Request *in)
{
  if (in->offset != 0 || in->length != 0)
    vd_nbd_answer_error(slot, -EINVAL);
  else if (!is_writable(slot->nbd))
    vd_nbd_answer_error(slot, 0);
  else
    submit(slot, VD_OP_FLUSH, 0, 0, 0, on_done);
}

/* The engine knows no discard that is durable before it completes; a flush afterwards makes it so. */
static void handle_trim(VdNbdSlot *slot, const Request *in)
{
  int error = check_range(slot->nbd, in);

  if (error == 0 && (slot->nbd->export_flags & VD_NBD_SEND_TRIM) == 0)
    error = -EINVAL;
  slot->flushes = fua(in) != 0;
  if (error < 0)
    vd_nbd_answer_error(slot, error);
  else
    submit(slot, VD_OP_DISCARD, in->offset, in->length, 0, on_done);
}

static void handle_zeroes(VdNbdSlot *slot, const Request *in)
{
  int error = check_range(slot->nbd, in);
  uint32_t keep = (in->flags & VD_NBD_CMD_FLAG_NO_HOLE) != 0 ? VD_REQUEST_NO_UNMAP : 0;

  if (error < 0)
    vd_nbd_answer_error(slot, error);
  else
    submit(slot, VD_OP_WRITE_ZEROES, in->offset, in->length, keep | fua(in), on_done);
}

/* FUA means something on all of them, and is allowed on all: "on all commands which have an answer". */
static const struct {
  void (*handle)(VdNbdSlot *slot, const Request *in);
  uint16_t flags;
} commands[] = {
    [VD_NBD_CMD_READ] = {handle_read, VD_NBD_CMD_FLAG_FUA},
    [VD_NBD_CMD_WRITE] = {handle_write, VD_NBD_CMD_FLAG_FUA},
    [VD_NBD_CMD_FLUSH] = {handle_flush, VD_NBD_CMD_FLAG_FUA},
    [VD_NBD_CMD_TRIM] = {handle_trim, VD_NBD_CMD_FLAG_FUA},
    [VD_NBD_CMD_WRITE_ZEROES] = {handle_zeroes, VD_NBD_CMD_FLAG_FUA | VD_NBD_CMD_FLAG_NO_HOLE},
};

static bool is_known(const Request *in)
{
  return in->type < sizeof commands / sizeof commands[0] && commands[in->type].handle &&
         (in->flags & ~commands[in->type].flags) == 0;
}

static void handle_request(VdNbd *self, const uint8_t *message)
{
  Request in = {vd_nbd_get16(message + 4), vd_nbd_get16(message + 6), vd_nbd_get64(message + 16),
                vd_nbd_get32(message + 24)};
  VdNbdSlot *slot;

  if (vd_nbd_get32(message) != VD_NBD_REQUEST_MAGIC ||
      (in.type == VD_NBD_CMD_WRITE && in.length > VD_NBD_MAX_PAYLOAD)) {
    vd_nbd_hang_up(self);
    return;
  }
  if (in.type == VD_NBD_CMD_DISC) {
    vd_nbd_close(self);
    return;
  }
  slot = vd_nbd_take_slot(self);
  slot->cookie = vd_nbd_get64(message + 8);
  slot->flushes = false;
  if (is_known(&in)) {
    commands[in.type].handle(slot, &in);
    return;
  }
  if (in.type == VD_NBD_CMD_WRITE)
    vd_nbd_skip(self, in.length);
  vd_nbd_answer_error(slot, -EINVAL);
}

static const struct {
  uint32_t size; /* bytes; 0: what the option says */
  void (*handle)(VdNbd *self, const uint8_t *message);
} states[] = {
    [VD_NBD_FLAGS] = {VD_NBD_FLAGS_SIZE, handle_flags},
    [VD_NBD_OPTION] = {VD_NBD_OPTION_SIZE, handle_option},
    [VD_NBD_OPTION_DATA] = {0, handle_option_data},
    [VD_NBD_REQUEST] = {VD_NBD_REQUEST_SIZE, handle_request},
};

uint32_t vd_nbd_message_size(const VdNbd *self)
{
  return self->state == VD_NBD_OPTION_DATA ? self->option_length : states[self->state].size;
}

void vd_nbd_handle_message(VdNbd *self, const uint8_t *message)
{
  states[self->state].handle(self, message);
}
