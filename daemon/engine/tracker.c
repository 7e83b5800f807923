/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rounds: all pages with marks that are not durable (as many as there are buffers), and before the first
 * change the header, are written; then one flush; then whoever waited for no more than these goes on.
 */
#include "engine/tracker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Pages of one round; the header has a buffer of its own. */
#define SLOTS 32

typedef struct {
  VdTracker *tracker;
  uint32_t page;
  uint8_t *buffer;
  VdIoOp op;
} Slot;

struct VdTracker {
  VdTrackerOptions with;
  VdCtlog log;
  /* Of each granule: as it is to be, and as it is on the disk for sure. */
  uint16_t *marks, *durable;
  uint8_t *pending; /* of each page: it has marks that are not durable */
  uint32_t n_pages, n_pending, search_from;
  bool announced; /* that somebody writes */
  bool header_pending;
  VdRequest *held, **held_end;
  VdIoTask task;
  bool running; /* a round is */
  unsigned n_slots, left;
  int error; /* the first of the round */
  Slot slots[SLOTS + 1];
  VdIoOp flush;
  uint8_t *memory;
};

static bool is_change(const VdRequest *request)
{
  return request->op == VD_OP_WRITE || request->op == VD_OP_DISCARD || request->op == VD_OP_WRITE_ZEROES;
}

/* What goes beyond the disk is refused by the engine. */
static bool is_inside(const VdTracker *self, const VdRequest *request)
{
  return request->length > 0 && request->offset < self->log.size &&
         request->length <= self->log.size - request->offset;
}

static uint64_t first_of(const VdTracker *self, const VdRequest *request)
{
  return request->offset / self->log.granule;
}

static uint64_t last_of(const VdTracker *self, const VdRequest *request)
{
  return (request->offset + request->length - 1) / self->log.granule;
}

static bool is_ready(const VdTracker *self, const VdRequest *request)
{
  if (!self->announced)
    return false;
  for (uint64_t i = first_of(self, request); i <= last_of(self, request); i++)
    if (self->durable[i] != self->log.point)
      return false;
  return true;
}

static void mark(VdTracker *self, const VdRequest *request)
{
  self->header_pending = self->header_pending || !self->announced;
  for (uint64_t i = first_of(self, request); i <= last_of(self, request); i++) {
    uint64_t page = i / VD_CTLOG_MARKS_OF_PAGE;

    self->marks[i] = (uint16_t)self->log.point;
    if (self->durable[i] == self->log.point || self->pending[page])
      continue;
    self->pending[page] = true;
    self->n_pending++;
  }
}

static void on_written(VdIoOp *op, int result);

static void write_page(VdTracker *self, Slot *slot, uint64_t offset)
{
  slot->op = (VdIoOp){.kind = VD_IO_WRITE,
                      .file = self->with.file,
                      .offset = offset,
                      .length = VD_CTLOG_PAGE,
                      .buffer = slot->buffer,
                      .done = on_written,
                      .user = self};
  self->left++;
  vd_io_submit(self->with.io, &slot->op);
}

static void take_pages(VdTracker *self)
{
  for (uint32_t i = 0; i < self->n_pages && self->n_pending > 0 && self->n_slots < SLOTS; i++) {
    uint32_t page = (self->search_from + i) % self->n_pages;

    if (!self->pending[page])
      continue;
    self->pending[page] = false;
    self->n_pending--;
    self->slots[self->n_slots].page = page;
    vd_ctlog_build_page(&self->log, page, self->marks, self->slots[self->n_slots++].buffer);
  }
  if (self->n_slots > 0)
    self->search_from = (self->slots[self->n_slots - 1].page + 1) % self->n_pages;
}

/* The header that is not current. */
static VdCtlog next_header(const VdCtlog *log, VdCtlogState state)
{
  VdCtlog next = *log;

  next.state = state;
  next.sequence++;
  next.slot ^= 1;
  return next;
}

static VdCtlog announcement(const VdTracker *self)
{
  VdCtlog next = next_header(&self->log, VD_CTLOG_DIRTY);

  memcpy(next.tie.id, self->with.id, sizeof next.tie.id);
  memcpy(next.session_id, self->with.session_id, sizeof next.session_id);
  return next;
}

static void write_header(VdTracker *self)
{
  VdCtlog next = announcement(self);

  vd_ctlog_build(&next, self->slots[SLOTS].buffer);
  write_page(self, &self->slots[SLOTS], (uint64_t)next.slot * VD_CTLOG_PAGE);
}

static void start_round(VdTracker *self)
{
  if (self->running || (!self->header_pending && self->n_pending == 0))
    return;
  self->running = true;
  self->error = 0;
  self->n_slots = self->left = 0;
  take_pages(self);
  for (unsigned i = 0; i < self->n_slots; i++)
    write_page(self, &self->slots[i], vd_ctlog_page_offset(self->slots[i].page));
  if (self->header_pending)
    write_header(self);
}

/* What the page held when it was written; it may have more marks by now. */
static void note_durable(VdTracker *self, const Slot *slot)
{
  uint32_t first = slot->page * VD_CTLOG_MARKS_OF_PAGE, n = vd_ctlog_count_granules(&self->log) - first;

  for (uint32_t i = 0; i < n && i < VD_CTLOG_MARKS_OF_PAGE; i++)
    self->durable[first + i] = vd_ctlog_mark_of(slot->buffer, i);
}

static void note_failed(VdTracker *self, const Slot *slot)
{
  if (self->pending[slot->page])
    return;
  self->pending[slot->page] = true;
  self->n_pending++;
}

static void note_round(VdTracker *self)
{
  for (unsigned i = 0; i < self->n_slots; i++)
    if (self->error == 0)
      note_durable(self, &self->slots[i]);
    else
      note_failed(self, &self->slots[i]);
  if (self->error == 0 && self->header_pending) {
    self->log = announcement(self);
    self->announced = true;
    self->header_pending = false;
  }
}

/* After a failure nobody waits: whoever tries again has it tried again. */
static void release(VdTracker *self)
{
  VdRequest *request = self->held;

  self->held = NULL;
  self->held_end = &self->held;
  while (request) {
    VdRequest *next = request->next;

    if (is_ready(self, request)) {
      self->with.forward(request, self->with.user);
    } else if (self->error < 0) {
      request->done(request, self->error == -ENOSPC || self->error == -EDQUOT ? -ENOSPC : -EIO);
    } else {
      request->next = NULL;
      *self->held_end = request;
      self->held_end = &request->next;
    }
    request = next;
  }
}

static void end_round(VdTracker *self)
{
  self->running = false;
  note_round(self);
  release(self);
  if (self->held)
    vd_io_defer(self->with.io, &self->task);
}

static void on_flushed(VdIoOp *op, int result)
{
  VdTracker *self = op->user;

  self->error = result;
  end_round(self);
}

static void on_written(VdIoOp *op, int result)
{
  VdTracker *self = op->user;

  if (result < 0 && self->error == 0)
    self->error = result;
  if (--self->left > 0)
    return;
  if (self->error == 0)
    vd_io_submit(self->with.io, &self->flush);
  else
    end_round(self);
}

static void on_task(VdIoTask *task)
{
  start_round((VdTracker *)((char *)task - offsetof(VdTracker, task)));
}

void vd_tracker_submit(VdTracker *self, VdRequest *request)
{
  if (!is_change(request) || !is_inside(self, request) || is_ready(self, request)) {
    self->with.forward(request, self->with.user);
    return;
  }
  mark(self, request);
  request->next = NULL;
  *self->held_end = request;
  self->held_end = &request->next;
  vd_io_defer(self->with.io, &self->task);
}

bool vd_tracker_is_idle(const VdTracker *self)
{
  return !self->running && !self->held;
}

/* Blocks. */
static int store_header(VdIo *io, unsigned file, const VdCtlog *log, uint8_t *buffer)
{
  VdIoOp write = {.kind = VD_IO_WRITE,
                  .file = file,
                  .offset = (uint64_t)log->slot * VD_CTLOG_PAGE,
                  .length = VD_CTLOG_PAGE,
                  .buffer = buffer};
  VdIoOp flush = {.kind = VD_IO_FLUSH, .file = file};
  int result;

  vd_ctlog_build(log, buffer);
  result = vd_io_run(io, &write);
  return result < 0 ? result : vd_io_run(io, &flush);
}

static bool is_same(const VdCtlogTie *a, const VdCtlogTie *b)
{
  return memcmp(a->id, b->id, sizeof a->id) == 0 && a->file_size == b->file_size &&
         a->seconds == b->seconds && a->nanoseconds == b->nanoseconds && a->timestamp == b->timestamp &&
         a->inode == b->inode;
}

int vd_tracker_close(VdTracker *self, const VdCtlogTie *tie)
{
  VdCtlog next = next_header(&self->log, VD_CTLOG_CLEAN);
  int result;

  if (!vd_tracker_is_idle(self))
    return -EBUSY;
  if (self->log.state == VD_CTLOG_CLEAN && is_same(&self->log.tie, tie))
    return 0;
  next.tie = *tie;
  memset(next.session_id, 0, sizeof next.session_id);
  result = store_header(self->with.io, self->with.file, &next, self->slots[SLOTS].buffer);
  if (result < 0)
    return result;
  self->log = next;
  self->announced = false;
  return 0;
}

int vd_tracker_break(VdIo *io, unsigned file, const VdCtlog *log)
{
  VdCtlog next = next_header(log, VD_CTLOG_BROKEN);
  uint8_t *buffer = aligned_alloc(VD_IO_ALIGNMENT, VD_CTLOG_PAGE);
  int result = buffer ? store_header(io, file, &next, buffer) : -ENOMEM;

  free(buffer);
  return result;
}

static bool init(VdTracker *self)
{
  uint32_t granules = vd_ctlog_count_granules(&self->log);

  self->n_pages = vd_ctlog_count_pages(&self->log);
  self->durable = malloc((size_t)granules * sizeof *self->durable);
  self->pending = calloc(self->n_pages, 1);
  self->memory = aligned_alloc(VD_IO_ALIGNMENT, (SLOTS + 1) * (size_t)VD_CTLOG_PAGE);
  if (!self->durable || !self->pending || !self->memory)
    return false;
  memcpy(self->durable, self->marks, (size_t)granules * sizeof *self->durable);
  for (unsigned i = 0; i <= SLOTS; i++)
    self->slots[i].buffer = self->memory + (size_t)i * VD_CTLOG_PAGE;
  return true;
}

VdTracker *vd_tracker_new(const VdTrackerOptions *options)
{
  VdTracker *self = calloc(1, sizeof *self);

  if (!self) {
    free(options->marks);
    errno = ENOMEM;
    return NULL;
  }
  self->with = *options;
  self->log = options->log;
  self->marks = options->marks;
  self->held_end = &self->held;
  self->task.run = on_task;
  self->flush = (VdIoOp){.kind = VD_IO_FLUSH, .file = self->with.file, .done = on_flushed, .user = self};
  if (init(self))
    return self;
  vd_tracker_free(self);
  errno = ENOMEM;
  return NULL;
}

void vd_tracker_free(VdTracker *self)
{
  if (!self)
    return;
  free(self->marks);
  free(self->durable);
  free(self->pending);
  free(self->memory);
  free(self);
}
