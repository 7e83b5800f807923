/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device as the kernel has it: what is needed to name it, to know it again and to undo it. A plain struct
 * that threads may copy. */
#pragma once

#include "attach/device.h"
#include "attach/node.h"
#include "attach/serving.h"

typedef struct {
  char *tag, *name, *path, *rundir;
  dev_t number;
  guint64 diskseq, size; /* size in bytes */
  gboolean read_only, direct_io;
  dev_t image_dev;
  ino_t image_ino;
  VdNodeOwner owner;
  VdServing *serving; /* a reference; NULL: the kernel serves it by itself */
  /* The node, open read-only with LOCK_SH, or -1: while it is held, udevd does not re-read the partition
   * table because of our own closing of the node, which would drop partitions that the kernel cannot parse.
   */
  int hold_fd;
  int client_fd; /* NBD: the end of the connection that is for whoever attaches, until it is taken; or -1 */
} VdAttachment;

VdAttachment *vd_attachment_new(const char *rundir);
/* Without the hold and the client's end. */
VdAttachment *vd_attachment_copy(const VdAttachment *self);
void vd_attachment_free(VdAttachment *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdAttachment, vd_attachment_free)
