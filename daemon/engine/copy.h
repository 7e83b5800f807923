/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The content of a chain into a new image, and the content of two compared. Blocking, outside of any engine;
 * several reads and writes are under way at a time. Zeros are not written, whether they are holes or were
 * stored; what can share its space with the source does.
 */
#pragma once

#include "engine/walk.h"
#include "formats/builder.h"

/* Once per piece of work: how far it is, bytes of the disk. False: it is to end. */
typedef struct {
  bool (*step)(void *user, uint64_t done, VdFormatError *ret_error);
  void *user;
} VdCopySteps;

typedef struct {
  VdWalk *source;
  VdBuilder *builder;
  unsigned file; /* of the new image, in source->io; source->fds has its descriptor */
} VdCopy;

/* Does not finish the builder. ret_copied: bytes that are in the new image now, shared ones among them.
 * Errors: as vd_walk_look(), DISK_FULL, FILE_SYSTEM_LIMITATION, NO_RESOURCES, those of steps. */
bool vd_copy_run(const VdCopy *copy, const VdCopySteps *steps, uint64_t *ret_copied,
                 VdFormatError *ret_error);

/* b is as large as a, or larger; what a does not have must be zeros. Errors: as above; IO (they differ). */
bool vd_copy_compare(VdWalk *a, VdWalk *b, const VdCopySteps *steps, VdFormatError *ret_error);
