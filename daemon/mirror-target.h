/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file that a disk is mirrored to: made as the caller, empty and of the same kind as the disk's image, or
 * one that is there and fits. In either case nobody else has it. Main loop only.
 */
#pragma once

#include "manager-private.h"

typedef struct {
  VdManager *manager; /* borrowed */
  VdImage *image;     /* locked for writing */
  VdFacts *facts;     /* before anything is written to it */
  gpointer file;      /* the source's, of a file that we made: it goes unless it is kept; or NULL */
} VdMirrorTarget;

typedef enum { VD_MIRROR_TARGET_CREATE, VD_MIRROR_TARGET_EXISTING } VdMirrorTargetMode;

/*
 * path: absolute. handle: of the disk, which is attached. Errors: INVALID_PARAMETER, FILE_EXISTS, the
 * opener's, the worker's; SHARING_VIOLATION (somebody has it open, attached, as a parent or as a mirror),
 * VHD_INVALID_TYPE, VHD_INVALID_SIZE, UNSUPPORTED_DISK_SECTOR_SIZE (it is not like the disk's image),
 * VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED (it lies on the disk itself).
 */
void vd_mirror_target_open_async(VdManager *manager, VdIdentity *identity, VdHandle *handle, const char *path,
                                 VdMirrorTargetMode mode, GCancellable *cancellable,
                                 GAsyncReadyCallback callback, gpointer user_data);
VdMirrorTarget *vd_mirror_target_open_finish(GAsyncResult *result, GError **error);
/* Its locks are let go of, and a file that was made and not kept goes. */
void vd_mirror_target_free(VdMirrorTarget *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdMirrorTarget, vd_mirror_target_free)
