/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes the file of a dynamic or differencing image smaller (CompactVirtualDisk): blocks that need no space
 * give it back, those at the end of the file move into free places in front of them, and closing the engine
 * cuts what is left over. Blocking. At every moment the image is whole, and holds the same; who is killed or
 * stopped loses nothing, and goes on when it runs again.
 */
#pragma once

#include "engine/engine.h"

/* Blocks of the leaf whose content nobody needs: a bit each, least significant first. */
typedef struct {
  uint8_t *bits;
  uint64_t blocks;
} VdFreeBlocks;

typedef enum {
  VD_COMPACT_TRUST_MAP,
  VD_COMPACT_SCAN
} VdCompactZeros; /* blocks that hold zeros are looked for */
typedef enum { VD_COMPACT_STAY, VD_COMPACT_MOVE } VdCompactMoves;

typedef struct {
  VdCompactZeros zeros;
  VdCompactMoves moves;
  const VdFreeBlocks *unneeded; /* may be NULL */
  /* Before each piece of work; false: it ends (-ECANCELED). Numbers: bytes, and how many there will be. */
  bool (*step)(void *user, uint64_t current, uint64_t completion);
  void *user;
} VdCompactPlan;

typedef struct {
  uint64_t blocks; /* that gave their space back */
  uint64_t moved;  /* bytes */
} VdCompactResult;

/*
 * The engine is new: nothing was asked of it, nor written, and it is not read-only. Afterwards it is to be
 * closed, whatever came of this. The identity of the image stays, unless plan->unneeded names blocks: what
 * their content becomes then, nobody knows. 0 or -errno: -ECANCELED; -EMEDIUMTYPE: an image whose space never
 * changes; -EBUSY: one that a suspended machine depends on.
 */
int vd_engine_compact(VdEngine *self, const VdCompactPlan *plan, VdCompactResult *ret_result);
