/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A walk from the start of a disk to its end, in pieces that one file has, or none: extents, and the holes of
 * the files below them. Blocking, outside of any engine, while nobody writes.
 */
#pragma once

#include "engine/extents.h"

typedef struct {
  bool data;       /* false: zeros */
  bool padded;     /* the file may end inside; zeros follow */
  unsigned file;   /* of data: index in io */
  uint64_t offset; /* of data: in the file, bytes */
  uint64_t length; /* bytes */
} VdWalkPiece;

typedef struct {
  VdIo *io;
  VdLayer *const *layers; /* borrowed; leaf first */
  unsigned n_layers;
  const int *fds; /* borrowed, by index in io: asked for their holes */
  uint64_t size;  /* bytes of the disk */
  /* The walk's own. */
  VdExtent extent;
  uint64_t extent_at; /* in the disk */
  /* What is known of one file's holes: between two offsets there is nothing but data, or nothing but a hole.
   */
  unsigned known_file;
  uint64_t known_from, known_to;
  bool known_data;
} VdWalk;

void vd_walk_init(VdWalk *self, VdIo *io, VdLayer *const *layers, unsigned n_layers, const int *fds);

/* At offset, below size; as long as can be known at once. Errors: FILE_CHANGED (a file has become shorter
 * than it was), IO. */
bool vd_walk_look(VdWalk *self, uint64_t offset, VdWalkPiece *ret_piece, VdFormatError *ret_error);

/* A read that failed: FILE_CHANGED where the file has become shorter, else IO. Returns false. */
bool vd_walk_blame(const VdWalk *self, unsigned file, uint64_t offset, uint64_t length, int error,
                   VdFormatError *ret_error);
