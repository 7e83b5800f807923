/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A new image that is filled while it is made. What is needed for it to be an image comes last, so that it is
 * none before it is whole; what nobody placed reads as zeros, and takes no space where the format can do
 * without. The file is nobody else's: plain blocking writes, no log. Memory does not grow with the disk.
 */
#pragma once

#include "formats/create.h"

typedef struct VdBuilder VdBuilder;

typedef struct {
  bool (*place)(VdBuilder *self, uint64_t offset, uint64_t *ret_place, VdFormatError *ret_error);
  bool (*finish)(VdBuilder *self, VdFormatError *ret_error);
  void (*free)(VdBuilder *self);
} VdBuilderOps;

/* What every builder is; the first member of its own struct. */
struct VdBuilder {
  const VdBuilderOps *ops;
  uint64_t size;       /* bytes of the virtual disk */
  uint32_t block_size; /* bytes; 0: no blocks, data lies in the file as in the disk, place by place */
  bool whole;          /* all of its space is there already, and must stay its own */
};

/* fd: borrowed, writable, empty. NULL with *ret_error: as vd_create(). */
VdBuilder *vd_builder_new(int fd, const VdCreateSpec *spec, VdFormatError *ret_error);
VdBuilder *vd_vhd_builder_new(int fd, const VdCreateSpec *spec, VdFormatError *ret_error);
VdBuilder *vd_vhdx_builder_new(int fd, const VdCreateSpec *spec, VdFormatError *ret_error);
VdBuilder *vd_raw_builder_new(int fd, const VdCreateSpec *spec, VdFormatError *ret_error);

/*
 * Where in the file the data of the disk at offset goes, as far as the end of its block. Whose block was not
 * there yet has it from now on: blocks come in ascending order. Nothing but the data itself is left to be
 * written there by the caller, before vd_builder_finish(). Not of differencing images. Errors: DISK_FULL, IO.
 */
static inline bool vd_builder_place(VdBuilder *self, uint64_t offset, uint64_t *ret_place,
                                    VdFormatError *ret_error)
{
  return self->ops->place(self, offset, ret_place, ret_error);
}
/* All of it is durable, and an image, when this returns. Once. Errors: DISK_FULL, IO. */
static inline bool vd_builder_finish(VdBuilder *self, VdFormatError *ret_error)
{
  return self->ops->finish(self, ret_error);
}
static inline void vd_builder_free(VdBuilder *self)
{
  if (self)
    self->ops->free(self);
}
