/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of compact.h:
 *   engine-compact.c       begins, records what changes, tells how far it is
 *   engine-compact-scan.c  which blocks need no space
 *   engine-compact-move.c  from the end of the file to its front
 */
#pragma once

#include "engine/compact.h"
#include "engine/engine-private.h"

/* Pieces of work in flight, and the most bytes of each. */
#define VD_COMPACT_SLOTS 8
#define VD_COMPACT_CHUNK ((size_t)512 << 10)
/* Of a block this is read first: what holds something mostly does so at its beginning. */
#define VD_COMPACT_FIRST_LOOK ((size_t)32 << 10)
/* Changes of the map that are recorded together. */
#define VD_COMPACT_LIST 4096
/* Pieces at the end of the file that are known at a time. */
#define VD_COMPACT_LAST 16384
/* Bytes that are copied before the map is changed. */
#define VD_COMPACT_BATCH (UINT64_C(64) << 20)

typedef struct VdCompact VdCompact;

/* A block that is read, or a part of a piece that is copied. */
typedef struct {
  VdCompact *compact;
  bool busy;
  uint8_t *buffer; /* VD_COMPACT_CHUNK */
  /* Reading. */
  VdRequest request;
  uint64_t block, at, end; /* guest bytes */
  /* Copying. */
  VdIoOp op;
  uint64_t to;   /* bytes in the file */
  bool has_hole; /* zeros need not be written there */
} VdCompactSlot;

struct VdCompact {
  VdEngine *engine;
  VdLayer *leaf;
  const VdCompactPlan *plan;
  VdCompactResult *result;
  VdCompactSlot slots[VD_COMPACT_SLOTS];
  unsigned n_busy;
  uint8_t *memory;
  uint64_t current, completion;
  int error; /* the first */
  VdRemap list[VD_COMPACT_LIST];
  unsigned n_list;
  /* The pieces that lie furthest back: a heap with the foremost of them on top, then sorted. */
  VdRemap last[VD_COMPACT_LAST];
  unsigned n_last;
};

bool vd_compact_is_zero(const uint8_t *bytes, size_t length);
/* Waits for something to happen, and hears whether it is to end. False: it is to end, compact->error. */
bool vd_compact_step(VdCompact *self);
/* Waits until nothing is in flight. */
bool vd_compact_drain(VdCompact *self);
/* One that is not busy, once there is one; NULL: it is to end. */
VdCompactSlot *vd_compact_slot(VdCompact *self);
bool vd_compact_piece(VdCompact *self, uint64_t number, VdPiece *ret_piece);
/* What is in the list becomes the map; the list is empty afterwards. */
bool vd_compact_record(VdCompact *self);
/* What must be in the image before its first change. */
bool vd_compact_begin(VdCompact *self);
bool vd_compact_fail(VdCompact *self, int error);

bool vd_compact_scan(VdCompact *self);
bool vd_compact_move(VdCompact *self);
