/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The bytes of a merge: found in some layers, written through an engine over others. Several pieces at a
 * time. */
#pragma once

#include "engine/engine.h"
#include "engine/merge.h"

typedef struct {
  const VdMerge *merge;
  VdLayer *const *layers; /* all of the chain */
  unsigned first, last;   /* those with the data; their files only are read */
  VdEngine *engine;       /* over those below */
} VdMergeCopy;

/* Nothing is in flight any more when it returns, also on failure. Durable. */
bool vd_merge_copy(const VdMergeCopy *copy, uint64_t *ret_copied, VdFormatError *ret_error);
