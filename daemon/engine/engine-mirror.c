/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chunks of the disk are claimed in order, several at a time. A chunk that is claimed belongs to the copy:
 * writes of the guest that touch it wait until it is through, and it is begun only when those under way have
 * ended. Before the first chunk that is not claimed writes go to both, behind it to the source alone.
 */
#include "engine/engine-mirror.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine-private.h"

/* Chunks under way, and bytes of one. */
#define SLOTS 4
#define CHUNK ((uint64_t)512 << 10)

/* A request of the guest that changes something. */
typedef struct {
  VdMirror *mirror;
  VdRequest *guest; /* NULL: free */
  VdRequest first, second;
  unsigned pending;
  bool both; /* it goes to the target too */
  int result;
} Change;

typedef enum { SLOT_IDLE, SLOT_CLAIMED, SLOT_COPYING } SlotState;

typedef struct {
  VdMirror *mirror;
  SlotState state;
  uint64_t start, cursor, end; /* bytes of the disk */
  uint8_t *buffer;
  VdRequest request;
  VdWaiter waiter;
} Slot;

struct VdMirror {
  VdEngine *source, *target;
  void (*changed)(VdMirror *self, void *user);
  void *user;
  VdMirrorState state;
  int error;
  bool started;
  bool is_new;                 /* what is not copied is zeros in the target */
  uint64_t size, next, copied; /* bytes; from next on nothing is claimed, nor was written to the target */
  Slot slots[SLOTS];
  Change changes[VD_ENGINE_MAX_REQUESTS];
  unsigned active; /* changes in use */
  VdRequest *held, **held_end;
  bool going_on, again;
  uint8_t *memory;
};

static void go_on(VdMirror *self);

static void set_state(VdMirror *self, VdMirrorState state)
{
  self->state = state;
  if (self->changed)
    self->changed(self, self->user);
}

static void fail(VdMirror *self, int error)
{
  if (self->state == VD_MIRROR_FAILED)
    return;
  self->error = error;
  set_state(self, VD_MIRROR_FAILED);
}

/* Changes of the guest */

static bool is_change(const VdRequest *request)
{
  return request->op == VD_OP_WRITE || request->op == VD_OP_DISCARD || request->op == VD_OP_WRITE_ZEROES;
}

/* The engine refuses what goes beyond the disk; until then it overlaps everything. */
static uint64_t end_of(const VdRequest *request)
{
  return request->length > UINT64_MAX - request->offset ? UINT64_MAX : request->offset + request->length;
}

static bool is_claimed(const VdMirror *self, const VdRequest *request)
{
  for (unsigned i = 0; i < SLOTS; i++)
    if (self->slots[i].state != SLOT_IDLE && request->offset < self->slots[i].end &&
        end_of(request) > self->slots[i].start)
      return true;
  return false;
}

static bool is_being_changed(const VdMirror *self, uint64_t start, uint64_t end)
{
  for (unsigned i = 0; self->active > 0 && i < VD_ENGINE_MAX_REQUESTS; i++) {
    const VdRequest *guest = self->changes[i].guest;

    if (guest && guest->offset < end && end_of(guest) > start)
      return true;
  }
  return false;
}

static void change_done(Change *change)
{
  VdMirror *self = change->mirror;
  VdRequest *guest = change->guest;

  if (--change->pending > 0)
    return;
  change->guest = NULL;
  self->active--;
  guest->done(guest, change->result);
  go_on(self);
}

static void on_source_changed(VdRequest *request, int result)
{
  Change *change = request->user;

  /* The target may have what the source has not, and after its error the guest sees what is in the source. */
  if (result < 0 && change->both)
    fail(change->mirror, result);
  change->result = result;
  change_done(change);
}

static void on_target_changed(VdRequest *request, int result)
{
  Change *change = request->user;

  if (result < 0)
    fail(change->mirror, result);
  change_done(change);
}

static VdRequest copy_of(const VdRequest *guest, uint32_t without, void (*done)(VdRequest *, int), void *user)
{
  return (VdRequest){.op = guest->op,
                     .flags = guest->flags & ~without,
                     .offset = guest->offset,
                     .length = guest->length,
                     .buffer = guest->buffer,
                     .done = done,
                     .user = user};
}

static bool goes_to_both(const VdMirror *self, const VdRequest *guest)
{
  return self->state != VD_MIRROR_FAILED && guest->offset < self->next && end_of(guest) <= self->size;
}

static void start_change(VdMirror *self, Change *change, VdRequest *guest)
{
  change->guest = guest;
  change->result = 0;
  change->both = goes_to_both(self, guest);
  change->pending = change->both ? 2 : 1;
  self->active++;
  change->first = copy_of(guest, 0, on_source_changed, change);
  vd_engine_submit(self->source, &change->first);
  if (!change->both)
    return;
  /* Durable when the mirror takes the source's place, not before. */
  change->second = copy_of(guest, VD_REQUEST_FUA, on_target_changed, change);
  vd_engine_submit(self->target, &change->second);
}

static Change *find_free(VdMirror *self)
{
  for (unsigned i = 0; self->active < VD_ENGINE_MAX_REQUESTS && i < VD_ENGINE_MAX_REQUESTS; i++)
    if (!self->changes[i].guest)
      return &self->changes[i];
  return NULL;
}

/* Behind next the target would get what nothing overwrites later, if the source has zeros there by then. It
 * waits for the next chunks, which are claimed as soon as those under way have ended. */
static bool is_across(const VdMirror *self, const VdRequest *request)
{
  return self->state == VD_MIRROR_COPYING && request->offset < self->next && end_of(request) > self->next &&
         end_of(request) <= self->size;
}

/* Of two that touch the same bytes the engines could do either first, and not both the same. */
static bool must_wait(const VdMirror *self, const VdRequest *request)
{
  return is_across(self, request) || is_claimed(self, request) ||
         is_being_changed(self, request->offset, end_of(request));
}

static bool try_change(VdMirror *self, VdRequest *request)
{
  Change *change = must_wait(self, request) ? NULL : find_free(self);

  if (change)
    start_change(self, change, request);
  return change != NULL;
}

void vd_mirror_submit(VdMirror *self, VdRequest *request)
{
  if (!is_change(request)) {
    vd_engine_submit(self->source, request);
  } else if (!try_change(self, request)) {
    request->next = NULL;
    *self->held_end = request;
    self->held_end = &request->next;
  }
}

/* Copying */

static void slot_end(Slot *slot)
{
  VdMirror *self = slot->mirror;

  slot->state = SLOT_IDLE;
  self->copied += slot->end - slot->start;
  go_on(self);
}

static void slot_step(Slot *slot);

static void slot_moved(Slot *slot, int result)
{
  if (result < 0)
    fail(slot->mirror, result);
  slot->cursor += slot->request.length;
  slot_step(slot);
}

static void on_copied(VdRequest *request, int result)
{
  slot_moved(request->user, result);
}

static void submit(Slot *slot, VdEngine *engine, VdOp op, uint64_t length, void (*done)(VdRequest *, int))
{
  slot->request.op = op;
  slot->request.offset = slot->cursor;
  slot->request.length = length;
  slot->request.buffer = op == VD_OP_WRITE_ZEROES ? NULL : slot->buffer;
  slot->request.done = done;
  vd_engine_submit(engine, &slot->request);
}

static void on_read(VdRequest *request, int result)
{
  Slot *slot = request->user;

  if (result < 0)
    slot_moved(slot, result);
  else
    submit(slot, slot->mirror->target, VD_OP_WRITE, request->length, on_copied);
}

/* What one leaf has at the cursor. FAILED: so has the mirror. */
static VdStep find(Slot *slot, VdLayer *leaf, uint64_t length, VdRun *ret_run)
{
  int error = -EIO;
  VdStep step;

  length = vd_layer_cut(leaf, slot->cursor, length);
  step = leaf->ops->find(leaf, slot->cursor, length, ret_run, &slot->waiter, &error);
  if (step == VD_STEP_FAILED ||
      (step != VD_STEP_WAIT && (ret_run->length == 0 || ret_run->length > length))) {
    fail(slot->mirror, error < 0 ? error : -EIO);
    return VD_STEP_FAILED;
  }
  return step;
}

/* Both leaves leave it to the parents that they share. Cuts run to what that can be said of. */
static VdStep find_shared(Slot *slot, VdRun *run, bool *ret_alike)
{
  VdRun old;
  VdStep step;

  *ret_alike = true;
  if (slot->mirror->is_new)
    return VD_STEP_DONE;
  step = find(slot, slot->mirror->target->leaf, run->length, &old);
  if (step != VD_STEP_DONE)
    return step;
  *ret_alike = old.kind == VD_RUN_PARENT;
  run->length = old.length;
  return VD_STEP_DONE;
}

/* Nothing of the run has to be moved: the target has it so already. */
static VdStep compare(Slot *slot, VdRun *run, bool *ret_alike)
{
  const VdMirror *self = slot->mirror;

  if (run->kind == VD_RUN_PARENT)
    return find_shared(slot, run, ret_alike);
  *ret_alike = run->kind == VD_RUN_ZERO && !self->source->leaf->has_parent && self->is_new;
  return VD_STEP_DONE;
}

static void move(Slot *slot, const VdRun *run)
{
  if (run->kind == VD_RUN_ZERO)
    submit(slot, slot->mirror->target, VD_OP_WRITE_ZEROES, run->length, on_copied);
  else
    submit(slot, slot->mirror->source, VD_OP_READ, run->length, on_read);
}

/* Moves one run, or looks for the next that has to be moved. */
static void slot_step(Slot *slot)
{
  VdMirror *self = slot->mirror;

  while (slot->cursor < slot->end && self->state != VD_MIRROR_FAILED) {
    VdRun run;
    bool alike = false;
    VdStep step = find(slot, self->source->leaf, slot->end - slot->cursor, &run);

    if (step == VD_STEP_DONE)
      step = compare(slot, &run, &alike);
    if (step == VD_STEP_WAIT)
      return;
    if (step == VD_STEP_DONE && !alike) {
      move(slot, &run);
      return;
    }
    if (step == VD_STEP_DONE)
      slot->cursor += run.length;
  }
  slot_end(slot);
}

static void on_wake(VdWaiter *waiter)
{
  slot_step((Slot *)((char *)waiter - offsetof(Slot, waiter)));
}

/* Of what was never written there is nothing to be copied, and it may be nearly all of the disk. */
static void skip_unused(VdMirror *self)
{
  VdLayer *leaf = self->source->leaf;
  uint64_t unused = 0;

  if (leaf->ops->unused && self->is_new)
    unused = leaf->ops->unused(leaf, self->next, self->size - self->next);
  /* What is not recorded yet is not known to the layer. */
  if (unused > self->size - self->next || is_being_changed(self, self->next, self->next + unused))
    return;
  self->next += unused;
  self->copied += unused;
}

static void claim(VdMirror *self, Slot *slot)
{
  slot->state = SLOT_CLAIMED;
  slot->start = slot->cursor = self->next;
  slot->end = self->size - self->next > CHUNK ? self->next + CHUNK : self->size;
  self->next = slot->end;
}

static void go_on_with(VdMirror *self, Slot *slot)
{
  if (slot->state == SLOT_IDLE && self->started && self->state == VD_MIRROR_COPYING) {
    skip_unused(self);
    if (self->next < self->size)
      claim(self, slot);
  }
  if (slot->state == SLOT_CLAIMED && !is_being_changed(self, slot->start, slot->end)) {
    slot->state = SLOT_COPYING;
    slot_step(slot);
  }
}

static void go_on_with_held(VdMirror *self)
{
  VdRequest *request = self->held;

  self->held = NULL;
  self->held_end = &self->held;
  while (request) {
    VdRequest *next = request->next;

    vd_mirror_submit(self, request);
    request = next;
  }
}

static bool has_slots(const VdMirror *self)
{
  for (unsigned i = 0; i < SLOTS; i++)
    if (self->slots[i].state != SLOT_IDLE)
      return true;
  return false;
}

/* Something has ended. */
static void go_on(VdMirror *self)
{
  self->again = true;
  if (self->going_on)
    return;
  self->going_on = true;
  while (self->again) {
    self->again = false;
    for (unsigned i = 0; i < SLOTS; i++)
      go_on_with(self, &self->slots[i]);
    go_on_with_held(self);
  }
  self->going_on = false;
  if (self->started && self->state == VD_MIRROR_COPYING && self->next == self->size && !has_slots(self))
    set_state(self, VD_MIRROR_MIRRORED);
}

/* The mirror itself */

static bool init(VdMirror *self)
{
  self->memory = aligned_alloc(VD_IO_ALIGNMENT, SLOTS * CHUNK);
  if (!self->memory)
    return false;
  for (unsigned i = 0; i < SLOTS; i++) {
    Slot *slot = &self->slots[i];

    slot->mirror = self;
    slot->buffer = self->memory + i * CHUNK;
    slot->request.user = slot;
    slot->waiter.wake = on_wake;
  }
  for (unsigned i = 0; i < VD_ENGINE_MAX_REQUESTS; i++)
    self->changes[i].mirror = self;
  return true;
}

VdMirror *vd_mirror_new(VdEngine *source, VdEngine *target, VdMirrorTarget over,
                        void (*changed)(VdMirror *self, void *user), void *user)
{
  VdMirror *self;

  if (vd_engine_size(source) != vd_engine_size(target) || source->io != target->io || target->read_only ||
      vd_engine_sector_size(source) != vd_engine_sector_size(target)) {
    errno = EINVAL;
    return NULL;
  }
  self = calloc(1, sizeof *self);
  if (!self || !init(self)) {
    free(self);
    errno = ENOMEM;
    return NULL;
  }
  self->source = source;
  self->target = target;
  self->size = vd_engine_size(source);
  self->is_new = over == VD_MIRROR_OVER_NEW;
  self->changed = changed;
  self->user = user;
  self->held_end = &self->held;
  return self;
}

void vd_mirror_start(VdMirror *self)
{
  self->started = true;
  go_on(self);
}

void vd_mirror_stop(VdMirror *self)
{
  fail(self, 0);
}

bool vd_mirror_is_idle(const VdMirror *self)
{
  return self->active == 0 && !self->held && !has_slots(self);
}

VdMirrorState vd_mirror_state(const VdMirror *self, uint64_t *ret_copied, int *ret_error)
{
  if (ret_copied)
    *ret_copied = self->copied;
  if (ret_error)
    *ret_error = self->error;
  return self->state;
}

void vd_mirror_free(VdMirror *self)
{
  if (self)
    free(self->memory);
  free(self);
}
