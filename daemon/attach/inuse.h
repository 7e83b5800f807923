/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who holds a block device: mounts, dm/md/bcache on top, swap, loop on top, processes with the node or files
 * open. */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* Ceilings: what a message can carry. */
#define VD_MAX_HOLDERS 64

typedef enum {
  VD_HOLDER_MOUNT,   /* where: mount point */
  VD_HOLDER_STACKED, /* where: /dev/dm-0 (vg-lv), /dev/md0, ... */
  VD_HOLDER_LOOP,    /* where: /dev/loop5, whose backing file is the device */
  VD_HOLDER_SWAP,    /* where: the swap device */
  VD_HOLDER_PROCESS, /* pid, command; where: the node, or the mount point of the file it holds */
} VdHolderKind;

typedef struct {
  VdHolderKind kind;
  pid_t pid;     /* PROCESS only */
  char *command; /* PROCESS only */
  char *where;
  char *device; /* the device or partition held, /dev/loop3p1 */
} VdHolder;

void vd_holder_free(VdHolder *self);

/* name: kernel name of the disk (loop3). Looks at /proc and /sys below the roots given (NULL: the real ones;
 * tests use trees of their own). Returns (transfer full) (element VdHolder*); empty: nobody found. Any
 * thread. */
GPtrArray *vd_inuse_find(const char *name, const char *proc_root, const char *sys_root);

/* One sentence per holder, "; " between: "mounted on /mnt by bash (pid 4711)". (transfer full) */
char *vd_inuse_describe(GPtrArray *holders);
