/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The two ends of a session of writing (MS-VHDX 2.2.2). Before the first change: the file ends where its
 * last structure ends, the log has its space and one entry without effect, and both headers name the new
 * FileWriteGuid, DataWriteGuid and LogGuid. At the end: headers without LogGuid, and the file cut again.
 * Where nothing was changed, the end is cut alone that a session before this one has left because it was
 * killed; its log was replayed when the image was opened.
 *
 * The entry comes before the headers: a header that names a log without a valid entry is a corrupt image.
 */
#include "engine/vhdx-layer.h"

#include <errno.h>

typedef enum { STEP_SIZE, STEP_CLEAR_LOG, STEP_ENTRY, STEP_FLUSH, STEP_HEADER, STEP_NAMED, STEP_END } Step;

static const uint8_t begin_steps[] = {STEP_SIZE,  STEP_CLEAR_LOG, STEP_ENTRY, STEP_FLUSH, STEP_HEADER,
                                      STEP_NAMED, STEP_HEADER,    STEP_NAMED, STEP_END};
static const uint8_t close_steps[] = {STEP_HEADER, STEP_NAMED, STEP_HEADER, STEP_NAMED,
                                      STEP_SIZE,   STEP_FLUSH, STEP_END};
static const uint8_t cut_steps[] = {STEP_HEADER, STEP_NAMED, STEP_SIZE, STEP_FLUSH, STEP_END};

/* Of the log this much is given its space beforehand, bytes; a log may have a GiB. */
#define CLEAR_MOST (UINT64_C(64) << 20)

static void advance(VdVhdxLayer *self, int result);

static void on_op_done(VdIoOp *op, int result)
{
  advance(op->user, result);
}

static void submit(VdVhdxLayer *self, VdIoKind kind, uint64_t offset, uint64_t length, void *buffer)
{
  self->session.op = (VdIoOp){.kind = kind,
                              .file = self->base.file,
                              .offset = offset,
                              .length = length,
                              .buffer = buffer,
                              .done = on_op_done,
                              .user = self};
  vd_io_submit(self->base.io, &self->session.op);
}

static uint64_t clear_length(const VdVhdxLayer *self)
{
  uint64_t length = self->vhdx.header.log_length;

  return length < CLEAR_MOST ? length : CLEAR_MOST;
}

/* A piece of the log; the buffer of entries is not used yet. */
static void clear_log(VdVhdxLayer *self)
{
  VdVhdxSession *session = &self->session;
  uint64_t left = clear_length(self) - session->cleared;
  uint64_t length = left < VD_VHDX_ENTRY_LENGTH ? left : VD_VHDX_ENTRY_LENGTH;

  memset(self->journal.entry, 0, length);
  submit(self, VD_IO_WRITE, self->vhdx.header.log_offset + session->cleared, length, self->journal.entry);
  session->cleared += length;
}

/* Always into the slot that is not current. */
static void write_header(VdVhdxLayer *self)
{
  VdVhdxSession *session = &self->session;
  bool begins = session->steps == begin_steps;

  session->next = self->vhdx.header;
  session->next.sequence++;
  session->next.slot ^= 1;
  memcpy(session->next.file_write_guid, session->guids[0], 16);
  if (session->steps != cut_steps && !self->base.keeps_identity)
    memcpy(session->next.data_write_guid, session->guids[1], 16);
  memset(session->next.log_guid, 0, 16);
  if (begins)
    memcpy(session->next.log_guid, session->guids[2], 16);
  vd_vhdx_header_build(&session->next, session->page);
  submit(self, VD_IO_WRITE, session->next.slot == 0 ? VD_VHDX_HEADER_1 : VD_VHDX_HEADER_2,
         VD_VHDX_HEADER_LENGTH, session->page);
}

static void finish(VdVhdxLayer *self, int result)
{
  VdVhdxSession *session = &self->session;
  bool begins = session->steps == begin_steps;

  /* Of the disk not a byte depends on the cut. */
  if (session->steps == cut_steps)
    result = 0;
  session->steps = NULL;
  if (!begins)
    session->phase = VD_VHDX_CLOSED;
  else if (result == 0)
    session->phase = VD_VHDX_BEGUN;
  session->done(session->user, result);
}

static void run(VdVhdxLayer *self)
{
  VdVhdxSession *session = &self->session;

  switch ((Step)session->steps[session->at]) {
  case STEP_SIZE:
    submit(self, VD_IO_TRUNCATE, 0, vd_vhdx_space_end(self), NULL);
    break;
  case STEP_CLEAR_LOG:
    clear_log(self);
    break;
  case STEP_ENTRY:
    vd_vhdx_journal_start(self);
    vd_vhdx_journal_write_tail(self, advance);
    break;
  case STEP_FLUSH:
  case STEP_NAMED:
    vd_vhdx_flush(self, &session->flush, advance);
    break;
  case STEP_HEADER:
    write_header(self);
    break;
  case STEP_END:
    finish(self, 0);
    break;
  }
}

/* The file has its new size: what is behind it is fresh. */
static void resized(VdVhdxLayer *self)
{
  uint64_t size = self->session.op.length;

  if (size < self->journal.durable_size)
    self->journal.durable_size = size;
  vd_vhdx_layer_resized(self, size);
  vd_vhdx_journal_forget_marks(self);
}

/* A header that could not be written is written again when the next change asks for it: its log is prepared,
 * and the other header is good. Before that, all begins anew. */
static void stop(VdVhdxLayer *self, int result)
{
  VdVhdxSession *session = &self->session;

  if (session->steps == begin_steps) {
    if (session->steps[session->at] == STEP_NAMED)
      session->at--;
    else if (session->steps[session->at] != STEP_HEADER)
      session->at = 0;
  }
  finish(self, result);
}

static void advance(VdVhdxLayer *self, int result)
{
  VdVhdxSession *session = &self->session;
  Step step = session->steps[session->at];

  if (result < 0) {
    stop(self, result);
    return;
  }
  if (step == STEP_SIZE)
    resized(self);
  if (step == STEP_NAMED)
    self->vhdx.header = session->next;
  if (step != STEP_CLEAR_LOG || session->cleared == clear_length(self))
    session->at++;
  if (step == STEP_SIZE)
    session->cleared = 0;
  run(self);
}

void vd_vhdx_begin(VdLayer *base, void (*done)(void *user, int result), void *user)
{
  VdVhdxLayer *self = vd_vhdx_layer(base);
  VdVhdxSession *session = &self->session;

  if (session->phase != VD_VHDX_NOT_BEGUN) {
    vd_vhdx_layer_later(self, done, user, session->phase == VD_VHDX_BEGUN ? 0 : -EIO);
    return;
  }
  session->done = done;
  session->user = user;
  session->steps = begin_steps;
  run(self);
}

static void end_session(VdVhdxLayer *self, const uint8_t *steps)
{
  self->session.steps = steps;
  self->session.at = 0;
  run(self);
}

static void on_all_home(VdVhdxLayer *self, int result)
{
  VdVhdxSession *session = &self->session;

  if (result == 0) {
    end_session(self, close_steps);
    return;
  }
  session->steps = close_steps;
  finish(self, result);
}

/* What is behind the last structure belongs to nobody. */
static bool has_tail(const VdVhdxLayer *self)
{
  return self->file_size > vd_vhdx_space_end(self);
}

void vd_vhdx_close(VdLayer *base, void (*done)(void *user, int result), void *user)
{
  VdVhdxLayer *self = vd_vhdx_layer(base);
  VdVhdxSession *session = &self->session;

  session->done = done;
  session->user = user;
  if (session->phase == VD_VHDX_BEGUN) {
    vd_vhdx_checkpoint_all(self, on_all_home);
  } else if (session->phase == VD_VHDX_NOT_BEGUN && has_tail(self)) {
    end_session(self, cut_steps);
  } else {
    session->phase = VD_VHDX_CLOSED;
    vd_vhdx_layer_later(self, done, user, 0);
  }
}
