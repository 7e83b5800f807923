/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A handle: one client's grip on a disk. Its access mask, its owner, its file. Written by the manager only.
 */
#pragma once

#include <gio/gio.h>

#include "access.h"
#include "chain.h"
#include "image.h"
#include "jobs/job.h"
#include "util/identity.h"

typedef struct VdDisk VdDisk;
typedef struct VdHandle VdHandle;

struct VdHandle {
  gatomicrefcount refs;
  char *id; /* 16 hex digits; the object's path element */
  VdDisk *disk;
  VdRights rights;
  VdIdentity *owner;
  VdImage *image; /* NULL for a handle taken over from an earlier run of the service: the file went with it */
  VdChain *chain; /* parents of a differencing image; NULL: it has none, or they were not to be opened */
  gboolean adding_parent;
  gpointer operate;  /* of manager-operate.c: an operation that changes it, or NULL */
  gboolean leaving;  /* closed by its owner, and kept until the operation has ended */
  VdJob *job;        /* the newest, or NULL */
  gboolean closed;   /* no longer in the manager's table */
  gboolean opening;  /* in the table so that others see it, but its owner has not got it yet */
  gboolean attacher; /* the disk's attachment came through this handle */
  gboolean withheld; /* closed by the call that opened it: its owner never gets it, a restart does not bring
                        it back */
  gpointer charge;   /* quota of the owner, returned when the handle goes */
  GDestroyNotify free_charge;
};

VdHandle *vd_handle_ref(VdHandle *self);
void vd_handle_unref(VdHandle *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdHandle, vd_handle_unref)
