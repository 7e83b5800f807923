/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of the engine, shared by engine*.c alone:
 *   engine.c        making, admitting and completing requests, closing
 *   engine-read.c   finding bytes in the chain; READ
 *   engine-write.c  WRITE, and the writing of zeros
 *   engine-commit.c batches of updates
 *   engine-flush.c  FLUSH and FUA
 *   engine-zero.c   DISCARD and WRITE_ZEROES: blocks given back while nothing else runs
 *
 * A request that was admitted has a state. Its step function moves the cursor as far as it can, and is called
 * again whenever something it waits for has happened. What it waits for is counted in `holds`; with none left
 * it is finished.
 */
#pragma once

#include "engine/engine.h"
#include "engine/pages.h"

/* Zeros that are written from one buffer, bytes. */
#define VD_ENGINE_ZEROS ((size_t)256 << 10)
/* Most bytes of one operation. */
#define VD_ENGINE_MAX_TRANSFER (UINT64_C(1) << 30)

typedef struct VdRequestState VdRequestState;
typedef struct VdPart VdPart;

/* Bytes of a request that move by one operation. */
struct VdPart {
  VdIoOp op;
  VdRequestState *state;
  VdUpdate update;
  bool updates; /* update is filled */
};

/* First in, first out. */
typedef struct {
  VdRequestState *head, *tail;
  unsigned n;
} VdStates;

struct VdRequestState {
  VdEngine *engine;
  VdRequest *request;
  void (*step)(VdRequestState *self);
  uint64_t cursor, end; /* guest bytes: what is left to be started */
  unsigned holds;       /* what must happen before the next step or the end */
  uint32_t free_parts;  /* one bit each */
  int error;            /* the first, -errno */
  bool stepping, again; /* step() runs; something happened meanwhile */
  bool parked;          /* the waiter is noted somewhere */
  bool flushed;         /* FUA, FLUSH: joined a flush */
  bool exclusive;       /* nothing else is in the engine */
  uint64_t zero_start;  /* DISCARD, WRITE_ZEROES: blocks found so far that zero() gets together: */
  uint64_t zero_end;    /* [zero_start, zero_end) bytes; empty when equal */
  uint64_t whole_end;   /* end of the whole blocks of the request */
  /* How far down the chain somebody looks who waits for metadata: the layers above sought_layer have told
   * that [sought_at, sought_at + sought_length) is the next one's. */
  unsigned sought_layer;
  uint64_t sought_at, sought_length;
  VdWaiter waiter;
  VdRequestState *next;
  VdPart parts[VD_REQUEST_PARTS];
};

typedef enum { VD_SESSION_NEW, VD_SESSION_BEGINNING, VD_SESSION_BEGUN } VdSession;

struct VdEngine {
  VdIo *io;
  VdLayer *layers[VD_IO_MAX_FILES];
  unsigned n_layers;
  VdLayer *leaf;
  const VdPages *pages;
  bool read_only;

  VdRequestState *states, *free_states;
  unsigned active; /* states in use */
  unsigned submitting;
  bool admitting;
  VdRequest *held, **held_end; /* not admitted yet */
  VdStates finished;           /* to be told of in the next round */
  VdIoTask finish_task;

  VdSession session;
  int session_error; /* of the last attempt to begin */
  VdWaiters session_waiters;

  VdStates exclusive_waiting;
  bool exclusive_running;
  bool zero_refused;  /* zero() is not to be had from the file system */
  VdWaiters yielding; /* they have looked at many blocks, and let others come first */
  VdIoTask yield_task;
  uint8_t *zeros;

  VdUpdate *pending, **pending_end; /* payload is written */
  VdUpdate *batch;                  /* being committed */
  VdIoTask commit_task;
  VdIoOp barrier;
  uint64_t barrier_mark;

  VdStates flush_waiting, flush_active;
  VdIoTask flush_task;
  VdIoOp flush;
  uint64_t flush_mark;

  VdEngineCounters counters;
};

void vd_states_push(VdStates *self, VdRequestState *state);
VdRequestState *vd_states_pop(VdStates *self);

/* Does what can be done; may finish the request and release the state. */
void vd_state_advance(VdRequestState *self);
/* One hold less, and on. error: 0 or -errno. */
void vd_state_release(VdRequestState *self, int error);
/* The waiter was noted: no step before it is woken. */
void vd_state_park(VdRequestState *self);
void vd_state_unpark(VdRequestState *self, int error);
void vd_state_leave_exclusive(VdRequestState *self);
void vd_state_fail(VdRequestState *self, int error);
/* NULL if all are in flight. A part that is taken is a hold. */
VdPart *vd_state_take_part(VdRequestState *self);
/* One that was not used. */
void vd_state_return_part(VdRequestState *self, VdPart *part);
/* One that is through. */
void vd_part_done(VdPart *part, int error);
/* Bytes of a range up to the next border of the layer's blocks. */
uint64_t vd_layer_cut(const VdLayer *layer, uint64_t offset, uint64_t length);
uint32_t vd_layer_discard_size(const VdLayer *layer);

/* What one layer says of a range, cut to what it can be asked and checked. */
VdStep vd_layer_find(VdLayer *layer, VdRequestState *state, uint64_t offset, uint64_t length, VdRun *ret_run,
                     int *ret_error);
/* Where the chain keeps [offset, ...): kind HERE or ZERO, of which layer. */
VdStep vd_engine_locate(VdRequestState *state, uint64_t offset, uint64_t length, VdLayer **ret_layer,
                        VdRun *ret_run, int *ret_error);
void vd_read_step(VdRequestState *state);

void vd_write_step(VdRequestState *state);
/* Starts writes of [cursor, limit) from the request's buffer, or of zeros if it has none. */
void vd_write_up_to(VdRequestState *state, uint64_t limit);
/* False: the session was not begun; the state waits for it. */
bool vd_engine_begin(VdRequestState *state);

void vd_engine_add_update(VdEngine *self, VdUpdate *update);
void vd_engine_commit_init(VdEngine *self);

void vd_flush_step(VdRequestState *state);
/* A hold that ends with a flush that begins from now on. */
void vd_engine_join_flush(VdRequestState *state);
void vd_engine_flush_init(VdEngine *self);

void vd_discard_step(VdRequestState *state);
void vd_zeroes_step(VdRequestState *state);
void vd_engine_zero_init(VdEngine *self);
/* zero() may be asked for at all. */
bool vd_engine_can_zero(const VdEngine *self);
