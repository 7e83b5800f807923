/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What images of a chain hold is written into one of their parents. Blocking, while nobody else uses any of
 * the files. What the chain shows, seen from its leaf or from the source, stays the same at each moment, and
 * after a power cut at any: it opens, and merging it once more finishes. Nothing is deleted, and no image but
 * the target's child is told of it.
 *
 * A VHDX that is written becomes another for those made on top of it. So before the first write its child
 * names the DataWriteGuid that is to come, besides the one that is there (parent_linkage2); when all is
 * done, that one alone. A VHD keeps its id: what else was made on top of it is broken, and cannot know.
 */
#pragma once

#include "engine/layer.h"

typedef struct {
  VdIo *io; /* file i of it is fds[i]; those up to the target's are writable */
  const int *fds;
  unsigned n_images; /* the leaf first, the last has no parent */
  uint32_t device_id;
  unsigned source_depth, target_depth; /* the leaf is 1 */
  size_t cache_size;                   /* of metadata, bytes */
  /* Before each piece; numbers as for vd_task_step(). False, with an error: that is the end. */
  bool (*step)(void *user, uint64_t current, uint64_t completion, VdFormatError *ret_error);
  void *user;
} VdMerge;

/* ret_copied: bytes, zeros not counted. Errors: INVALID_PARAMETER (depths), DISK_FULL, IO, those of opening,
 * and that of step. */
bool vd_merge(const VdMerge *merge, uint64_t *ret_copied, VdFormatError *ret_error);
