/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two images alike while one of them is in use (MirrorVirtualDisk): what the leaf of one engine holds is
 * copied to another engine, and what is written meanwhile goes to both. The source is the truth: a guest is
 * told what the source says, a FLUSH makes the source durable, and a target that fails ends the mirror and
 * nothing else. Nothing is kept of how far it got: a mirror that was cut off is begun anew, over the same
 * target.
 *
 * One thread, that of the engines, which share an io; no allocation after vd_mirror_new().
 */
#pragma once

#include "engine/engine.h"

typedef enum {
  VD_MIRROR_COPYING,
  VD_MIRROR_MIRRORED, /* the target holds what the source holds, as far as requests have completed */
  VD_MIRROR_FAILED,   /* nothing goes to the target any more */
} VdMirrorState;

typedef struct VdMirror VdMirror;

typedef enum {
  VD_MIRROR_OVER_NEW, /* nothing was ever written to the target */
  VD_MIRROR_OVER_OLD, /* an earlier mirror of this source may have left something there */
} VdMirrorTarget;

/*
 * target: as large as source, with sectors as large; a child of the same parent if source is one. Both are
 * borrowed. changed: the state is another one; from the event loop, may be NULL. NULL: errno.
 */
VdMirror *vd_mirror_new(VdEngine *source, VdEngine *target, VdMirrorTarget over,
                        void (*changed)(VdMirror *self, void *user), void *user);
/* Begins to copy. */
void vd_mirror_start(VdMirror *self);
/* In the place of vd_engine_submit() of the source, for all requests from vd_mirror_new() on. */
void vd_mirror_submit(VdMirror *self, VdRequest *request);
/* Nothing more is copied or goes to the target; what is under way ends. As VD_MIRROR_FAILED, without error.
 */
void vd_mirror_stop(VdMirror *self);
/* Nothing of the mirror's own, and no request that it was given, is under way. */
bool vd_mirror_is_idle(const VdMirror *self);
/* ret_copied: bytes of the disk that are alike, grows up to its size; ret_error: 0 or -errno of the target,
 * or of reading the source. Each may be NULL. */
VdMirrorState vd_mirror_state(const VdMirror *self, uint64_t *ret_copied, int *ret_error);
/* Must be idle. */
void vd_mirror_free(VdMirror *self);
