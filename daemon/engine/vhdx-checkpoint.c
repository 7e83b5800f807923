/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The log gets room again: the pages of entries that are durable are written to their homes, and the tail
 * moves behind these entries. Batches go on meanwhile in the other half of the log; a page that they change
 * stays in the log. A page never goes home before its content is durable in the log.
 */
#include "engine/vhdx-layer.h"

static void step(VdVhdxLayer *self, int result);

static void on_home_done(VdIoOp *op, int result)
{
  VdVhdxLayer *self = op->user;
  VdVhdxCheckpoint *checkpoint = &self->checkpoint;

  op->user = NULL;
  checkpoint->in_flight--;
  if (result < 0 && checkpoint->result == 0)
    checkpoint->result = result;
  step(self, 0);
}

/* Pages that are neighbours in the file are so in memory too. */
static void write_run(VdVhdxLayer *self, VdIoOp *op)
{
  VdVhdxCheckpoint *checkpoint = &self->checkpoint;
  unsigned first = checkpoint->next;
  unsigned n = 1;

  while (first + n < checkpoint->n &&
         checkpoint->offsets[first + n] == checkpoint->offsets[first] + (uint64_t)n * VD_VHDX_PAGE)
    n++;
  checkpoint->next += n;
  checkpoint->in_flight++;
  *op = (VdIoOp){.kind = VD_IO_WRITE,
                 .file = self->base.file,
                 .offset = checkpoint->offsets[first],
                 .length = (uint64_t)n * VD_VHDX_PAGE,
                 .buffer = checkpoint->memory + (size_t)first * VD_VHDX_PAGE,
                 .done = on_home_done,
                 .user = self};
  vd_io_submit(self->base.io, op);
}

/* Returns whether all are written, or none more will be. */
static bool write_home(VdVhdxLayer *self)
{
  VdVhdxCheckpoint *checkpoint = &self->checkpoint;

  for (unsigned i = 0; i < VD_VHDX_HOME_OPS; i++)
    if (!checkpoint->ops[i].user && checkpoint->result == 0 && checkpoint->next < checkpoint->n)
      write_run(self, &checkpoint->ops[i]);
  return checkpoint->in_flight == 0;
}

static void sort_in(VdVhdxCheckpoint *checkpoint, const VdVhdxSlot *slots, uint16_t index)
{
  unsigned at = checkpoint->n++;

  for (; at > 0 && slots[checkpoint->order[at - 1]].offset > slots[index].offset; at--)
    checkpoint->order[at] = checkpoint->order[at - 1];
  checkpoint->order[at] = index;
}

static void copy_pages(VdVhdxLayer *self)
{
  VdVhdxCheckpoint *checkpoint = &self->checkpoint;
  const VdVhdxSlot *slots = self->journal.slots;

  checkpoint->n = checkpoint->next = checkpoint->in_flight = 0;
  checkpoint->result = 0;
  for (uint16_t i = 0; i < VD_VHDX_SLOTS; i++)
    if (slots[i].sequence != 0)
      sort_in(checkpoint, slots, i);
  for (unsigned i = 0; i < checkpoint->n; i++) {
    const VdVhdxSlot *slot = &slots[checkpoint->order[i]];

    checkpoint->offsets[i] = slot->offset;
    memcpy(checkpoint->memory + (size_t)i * VD_VHDX_PAGE, slot->data, VD_VHDX_PAGE);
  }
}

static void forget_pages(VdVhdxLayer *self)
{
  for (uint16_t i = 0; i < VD_VHDX_SLOTS; i++) {
    uint64_t sequence = self->journal.slots[i].sequence;

    if (sequence != 0 && sequence <= self->checkpoint.sequence)
      vd_vhdx_journal_drop_slot(self, i);
  }
}

static void finish(VdVhdxLayer *self, int result)
{
  VdVhdxCheckpoint *checkpoint = &self->checkpoint;
  VdVhdxThen then = checkpoint->then;

  checkpoint->state = VD_VHDX_CHECKPOINT_IDLE;
  if (checkpoint->wanted && (result < 0 || self->journal.n_dirty == 0)) {
    checkpoint->wanted = false;
    then(self, result);
  }
  vd_vhdx_journal_resume(self, result);
  if (checkpoint->wanted)
    vd_vhdx_checkpoint_kick(self);
}

static void move_tail(VdVhdxLayer *self)
{
  forget_pages(self);
  self->journal.tail = self->checkpoint.position;
  self->journal.tail_carrier = 0;
  finish(self, 0);
}

static void go_home(VdVhdxLayer *self)
{
  VdVhdxCheckpoint *checkpoint = &self->checkpoint;

  checkpoint->state = VD_VHDX_CHECKPOINT_HOME;
  if (!write_home(self))
    return;
  if (checkpoint->result < 0) {
    finish(self, checkpoint->result);
  } else {
    checkpoint->state = VD_VHDX_CHECKPOINT_FLUSH_HOME;
    vd_vhdx_flush(self, &checkpoint->flush, step);
  }
}

/* What was asked for in this state is done. */
static void step(VdVhdxLayer *self, int result)
{
  VdVhdxCheckpoint *checkpoint = &self->checkpoint;

  if (result < 0) {
    finish(self, result);
    return;
  }
  switch (checkpoint->state) {
  case VD_VHDX_CHECKPOINT_FLUSH_LOG:
  case VD_VHDX_CHECKPOINT_HOME:
    go_home(self);
    break;
  case VD_VHDX_CHECKPOINT_FLUSH_HOME:
    move_tail(self);
    break;
  case VD_VHDX_CHECKPOINT_TAIL_ENTRY:
    checkpoint->state = VD_VHDX_CHECKPOINT_FLUSH_TAIL;
    vd_vhdx_flush(self, &checkpoint->flush, step);
    break;
  case VD_VHDX_CHECKPOINT_FLUSH_TAIL:
  case VD_VHDX_CHECKPOINT_IDLE:
    finish(self, 0);
    break;
  }
}

static void start(VdVhdxLayer *self)
{
  VdVhdxCheckpoint *checkpoint = &self->checkpoint;

  checkpoint->sequence = self->journal.written;
  checkpoint->position = self->journal.head;
  copy_pages(self);
  if (checkpoint->n == 0) {
    move_tail(self);
  } else if (self->journal.durable >= checkpoint->sequence) {
    go_home(self);
  } else {
    checkpoint->state = VD_VHDX_CHECKPOINT_FLUSH_LOG;
    vd_vhdx_flush(self, &checkpoint->flush, step);
  }
}

/* All before the tail is home: an entry that says so must be durable before its space is used again. */
static void name_tail(VdVhdxLayer *self)
{
  VdVhdxCheckpoint *checkpoint = &self->checkpoint;

  checkpoint->state = VD_VHDX_CHECKPOINT_TAIL_ENTRY;
  if (self->journal.tail_carrier != 0)
    step(self, 0);
  else
    vd_vhdx_journal_write_tail(self, step);
}

void vd_vhdx_checkpoint_kick(VdVhdxLayer *self)
{
  VdVhdxCheckpoint *checkpoint = &self->checkpoint;
  const VdVhdxJournal *journal = &self->journal;

  if (checkpoint->state != VD_VHDX_CHECKPOINT_IDLE || self->session.phase != VD_VHDX_BEGUN)
    return;
  if (journal->waiting && journal->tail != journal->reusable) {
    name_tail(self);
  } else if (checkpoint->wanted || journal->waiting || journal->head - journal->tail > VD_VHDX_LIVE_LOG / 2) {
    start(self);
  }
}

void vd_vhdx_checkpoint_all(VdVhdxLayer *self, VdVhdxThen then)
{
  self->checkpoint.wanted = true;
  self->checkpoint.then = then;
  vd_vhdx_checkpoint_kick(self);
}
