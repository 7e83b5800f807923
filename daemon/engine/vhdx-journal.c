/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The log while an image is written (MS-VHDX 2.3): one entry at a time goes to the head; which entries are
 * durable; and the pages whose newest content is there alone.
 *
 * Space of the log may be written again only when an entry is durable that names a tail behind it: until then
 * a power cut could leave no valid sequence at all, and the image would be corrupt.
 */
#include "engine/vhdx-layer.h"

#include <errno.h>
#include <stdlib.h>

/* Never written by a batch: so that the tail can always be moved by an entry of its own, and the head never
 * meets it. Bytes. */
#define RESERVE (UINT64_C(2) * VD_VHDX_PAGE)

static unsigned hash_of(uint64_t offset)
{
  return (unsigned)((offset / VD_VHDX_PAGE * UINT64_C(0x9E3779B97F4A7C15)) >> 56) % VD_VHDX_SLOT_HASH;
}

VdVhdxSlot *vd_vhdx_journal_slot(VdVhdxLayer *self, uint64_t offset)
{
  VdVhdxJournal *journal = &self->journal;
  uint16_t index = journal->n_dirty > 0 ? journal->buckets[hash_of(offset)] : VD_VHDX_SLOTS;

  while (index < VD_VHDX_SLOTS && journal->slots[index].offset != offset)
    index = journal->slots[index].next;
  return index < VD_VHDX_SLOTS ? &journal->slots[index] : NULL;
}

/* As many slots as the live log has sectors: there is always one. */
static VdVhdxSlot *take_slot(VdVhdxLayer *self, uint64_t offset)
{
  VdVhdxJournal *journal = &self->journal;
  VdVhdxSlot *slot = vd_vhdx_journal_slot(self, offset);
  unsigned bucket = hash_of(offset);

  if (slot)
    return slot;
  slot = &journal->slots[journal->unused];
  journal->unused = slot->next;
  slot->next = journal->buckets[bucket];
  slot->offset = offset;
  journal->buckets[bucket] = (uint16_t)(slot - journal->slots);
  journal->n_dirty++;
  return slot;
}

void vd_vhdx_journal_drop_slot(VdVhdxLayer *self, uint16_t index)
{
  VdVhdxJournal *journal = &self->journal;
  VdVhdxSlot *slot = &journal->slots[index];
  uint16_t *link = &journal->buckets[hash_of(slot->offset)];

  while (*link != index)
    link = &journal->slots[*link].next;
  *link = slot->next;
  slot->sequence = 0;
  slot->next = journal->unused;
  journal->unused = index;
  journal->n_dirty--;
}

bool vd_vhdx_journal_init(VdVhdxLayer *self)
{
  VdVhdxJournal *journal = &self->journal;

  journal->slot_memory = aligned_alloc(VD_IO_ALIGNMENT, VD_VHDX_SLOTS * VD_VHDX_PAGE);
  journal->entry = aligned_alloc(VD_IO_ALIGNMENT, VD_VHDX_ENTRY_LENGTH);
  if (!journal->slot_memory || !journal->entry)
    return false;
  for (unsigned i = 0; i < VD_VHDX_SLOTS; i++) {
    journal->slots[i].data = journal->slot_memory + (size_t)i * VD_VHDX_PAGE;
    journal->slots[i].next = (uint16_t)(i + 1);
  }
  for (unsigned i = 0; i < VD_VHDX_SLOT_HASH; i++)
    journal->buckets[i] = VD_VHDX_SLOTS;
  journal->unused = 0;
  journal->durable_size = self->file_size;
  return true;
}

void vd_vhdx_journal_start(VdVhdxLayer *self)
{
  VdVhdxJournal *journal = &self->journal;

  journal->head = journal->tail = journal->reusable = 0;
  journal->tail_carrier = journal->written = journal->durable = 0;
}

static void make_newest(VdVhdxLayer *self, const VdVhdxImage *image, uint64_t sequence)
{
  VdVhdxSlot *slot = take_slot(self, image->offset);
  VdPage *page = vd_pages_peek(self->pages, self->base.file, image->offset);

  vd_vhdx_map_use(self, image->offset);
  memcpy(slot->data, image->data, VD_VHDX_PAGE);
  slot->sequence = sequence;
  if (page)
    memcpy(page->data, image->data, VD_VHDX_PAGE);
}

static void finish_entry(VdVhdxLayer *self, int result)
{
  VdVhdxJournal *journal = &self->journal;
  const VdVhdxImages *images = journal->images;
  VdVhdxThen then = journal->then;

  journal->images = NULL;
  if (result == 0) {
    journal->written++;
    journal->head += journal->entry_length;
    if (journal->tail_carrier == 0 && journal->entry_tail == journal->tail)
      journal->tail_carrier = journal->written;
    for (unsigned i = 0; images && i < images->n; i++)
      if (images->images[i].changed)
        make_newest(self, &images->images[i], journal->written);
    vd_vhdx_checkpoint_kick(self);
  }
  then(self, result);
}

static void on_part_done(VdIoOp *op, int result)
{
  VdVhdxLayer *self = op->user;
  VdVhdxJournal *journal = &self->journal;

  if (result < 0 && journal->result == 0)
    journal->result = result;
  if (--journal->parts_left == 0)
    finish_entry(self, journal->result);
}

static void write_part(VdVhdxLayer *self, unsigned part, uint64_t position, size_t from, size_t length)
{
  VdVhdxJournal *journal = &self->journal;
  const VdVhdxHeader *header = &self->vhdx.header;

  journal->parts[part] = (VdIoOp){.kind = VD_IO_WRITE,
                                  .file = self->base.file,
                                  .offset = header->log_offset + position % header->log_length,
                                  .length = length,
                                  .buffer = journal->entry + from,
                                  .done = on_part_done,
                                  .user = self};
  vd_io_submit(self->base.io, &journal->parts[part]);
}

static void build(VdVhdxLayer *self, const VdVhdxImages *images)
{
  VdVhdxJournal *journal = &self->journal;
  VdVhdxLogWrite writes[VD_VHDX_ENTRY_PAGES];
  VdVhdxLogStamp stamp = {
      .sequence = journal->written + 1,
      .tail = (uint32_t)(journal->tail % self->vhdx.header.log_length),
      .flushed_file_offset = journal->durable_size / VD_VHDX_MIB * VD_VHDX_MIB,
      .last_file_offset = self->space.frontier,
  };
  unsigned n = 0;

  for (unsigned i = 0; images && i < images->n; i++)
    if (images->images[i].changed)
      writes[n++] = (VdVhdxLogWrite){images->images[i].offset, images->images[i].data, VD_VHDX_PAGE};
  memcpy(stamp.log_guid, self->session.guids[2], sizeof stamp.log_guid);
  journal->entry_length = vd_vhdx_log_entry_length(n, 0);
  journal->entry_tail = journal->tail;
  vd_vhdx_log_entry_build(&stamp, writes, n, journal->entry);
}

static void write_entry(VdVhdxLayer *self, const VdVhdxImages *images, VdVhdxThen then)
{
  VdVhdxJournal *journal = &self->journal;
  uint64_t log_length = self->vhdx.header.log_length;
  size_t first;

  build(self, images);
  journal->images = images;
  journal->then = then;
  journal->result = 0;
  first = log_length - journal->head % log_length;
  if (first > journal->entry_length)
    first = journal->entry_length;
  journal->parts_left = first < journal->entry_length ? 2 : 1;
  if (first < journal->entry_length)
    write_part(self, 1, journal->head + first, first, journal->entry_length - first);
  write_part(self, 0, journal->head, 0, first);
}

static bool has_room(const VdVhdxJournal *journal, const VdVhdxImages *images)
{
  unsigned n = 0;

  for (unsigned i = 0; i < images->n; i++)
    n += images->images[i].changed;
  return journal->head - journal->reusable + vd_vhdx_log_entry_length(n, 0) + RESERVE <= VD_VHDX_LIVE_LOG;
}

void vd_vhdx_journal_write(VdVhdxLayer *self, const VdVhdxImages *images, VdVhdxThen then)
{
  VdVhdxJournal *journal = &self->journal;

  journal->waiting = true;
  journal->result = 0;
  journal->images = images;
  journal->then = then;
  vd_vhdx_journal_resume(self, 0);
}

void vd_vhdx_journal_resume(VdVhdxLayer *self, int result)
{
  VdVhdxJournal *journal = &self->journal;

  if (!journal->waiting)
    return;
  if (result < 0) {
    journal->waiting = false;
    finish_entry(self, result);
  } else if (has_room(journal, journal->images)) {
    journal->waiting = false;
    write_entry(self, journal->images, journal->then);
  } else {
    vd_vhdx_checkpoint_kick(self);
  }
}

void vd_vhdx_journal_write_tail(VdVhdxLayer *self, VdVhdxThen then)
{
  write_entry(self, NULL, then);
}

uint64_t vd_vhdx_begin_flush(VdLayer *base)
{
  VdVhdxLayer *self = vd_vhdx_layer(base);
  VdVhdxJournal *journal = &self->journal;
  uint64_t number = ++journal->number;

  journal->marks[number % VD_VHDX_MARKS] =
      (VdVhdxMark){.number = number, .sequence = journal->written, .file_size = self->file_size};
  return number;
}

void vd_vhdx_journal_forget_marks(VdVhdxLayer *self)
{
  memset(self->journal.marks, 0, sizeof self->journal.marks);
}

void vd_vhdx_flushed(VdLayer *base, uint64_t number)
{
  VdVhdxJournal *journal = &vd_vhdx_layer(base)->journal;
  const VdVhdxMark *mark = &journal->marks[number % VD_VHDX_MARKS];

  if (mark->number != number)
    return;
  if (mark->sequence > journal->durable)
    journal->durable = mark->sequence;
  if (mark->file_size > journal->durable_size)
    journal->durable_size = mark->file_size;
  if (journal->tail_carrier != 0 && journal->durable >= journal->tail_carrier)
    journal->reusable = journal->tail;
}

static void on_flush_done(VdIoOp *op, int result)
{
  VdVhdxLayer *self = op->user;
  VdVhdxFlush *flush = (VdVhdxFlush *)(void *)op;

  if (result == 0)
    vd_vhdx_flushed(&self->base, flush->mark);
  flush->then(self, result);
}

void vd_vhdx_flush(VdVhdxLayer *self, VdVhdxFlush *flush, VdVhdxThen then)
{
  flush->mark = vd_vhdx_begin_flush(&self->base);
  flush->then = then;
  flush->op = (VdIoOp){.kind = VD_IO_FLUSH, .file = self->base.file, .done = on_flush_done, .user = self};
  vd_io_submit(self->base.io, &flush->op);
}
