/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the bytes of a chain are, for those who walk over all of it: blocking, outside of any engine, while
 * nobody writes.
 */
#pragma once

#include "engine/layer.h"

typedef struct {
  VdRunKind kind;  /* HERE, ZERO; PARENT: none of the layers looked at has it */
  unsigned layer;  /* HERE: whose; its file is layers[layer]->file */
  uint64_t offset; /* HERE: in the file, bytes */
  uint64_t length; /* bytes from the asked offset; at least one sector */
  bool padded;     /* HERE: the file may end inside; zeros follow */
} VdExtent;

/*
 * At offset, at most length bytes, as layers first to last (inclusive, leaf first) have it. Runs of one kind
 * that follow each other in the file are one, also across blocks; some thousand of them at most, so that a
 * call is short: who wants more asks on. Behind the end of a shorter parent there are zeros. 0 or -errno.
 */
int vd_extent_find(VdIo *io, VdLayer *const *layers, unsigned first, unsigned last, uint64_t offset,
                   uint64_t length, VdExtent *ret_extent);
