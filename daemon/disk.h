/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk: an image opened by us, known by the file's device and inode. It lives while it has a handle or an
 * attachment. Written on the main loop by the manager only; everybody else reads.
 */
#pragma once

#include <gio/gio.h>

#include "access.h"
#include "attach/device.h"
#include "disk-states.h"
#include "handle.h"
#include "worker/facts.h"

/* What one attachment is, from the intent to the end. */
typedef struct {
  char *tag;        /* names it in the kernel, in /run and on the bus */
  VdDevice *device; /* NULL while pending */
  VdAttachPlan plan;
  VdImage *image;     /* what is attached, and its chain, for their locks; NULL after a restart */
  VdChain *chain;     /* or NULL */
  GPtrArray *parents; /* element VdParent*: nearest first; NULL: none */
  VdIdentity *owner;
  char *session; /* lifetime session: id of the login session */
  gboolean opened_read_only;
  gboolean was_mounted;
  gboolean tracked;    /* its changes are, or its device is made so */
  gboolean lost;       /* changing, and its device is gone */
  gpointer mirror;     /* of manager-mirror.c: it is being mirrored, or NULL */
  gboolean changing;   /* its image or its worker is, and it is not to be detached meanwhile */
  guint64 attached_at; /* seconds since the epoch */
  guint grace_source;  /* detach-on-unmount: the time after the last unmount */
  gboolean over;       /* its reason ended while it was not to be detached: see vd_manager_catch_up() */
  gpointer charge;
  GDestroyNotify free_charge;
} VdDiskAttachment;

struct VdDisk {
  gatomicrefcount refs;
  dev_t image_dev;
  ino_t image_ino;
  char *path; /* bytes */
  char *display;
  guint32 device_id;
  char *origin_url;
  uid_t image_uid;
  gid_t image_gid;
  mode_t image_mode;
  gboolean remote;
  guint64 physical_size; /* bytes on the host when it was last looked at */
  gboolean has_facts;    /* FALSE with facts there: they are from before a change, and the image could not be
                            looked at since */
  VdFacts facts;
  VdDiskState state;
  const char *operation;        /* what changes it at the moment, in the passive ("compacted"), or NULL */
  GPtrArray *readers;           /* of manager-operate.c: operations that look at it, beside each other */
  GPtrArray *handles;           /* element VdHandle*, not owned: each handle owns its disk */
  VdDiskAttachment *attachment; /* NULL in state OPEN */
};

VdDisk *vd_disk_new(const VdImage *image);
/* What the file's attributes say, as they are now: the image has been opened anew. */
void vd_disk_learn(VdDisk *self, const VdImage *image);
/* Another file is the disk's image. */
void vd_disk_set_image(VdDisk *self, const VdImage *image);
VdDisk *vd_disk_ref(VdDisk *self);
void vd_disk_unref(VdDisk *self);
/* The one writer of the state: checks the table, logs the step. FALSE: not legal now. */
gboolean vd_disk_step(VdDisk *self, VdDiskEvent event);
/* What the bus calls the state: ATTACHED without a handle is attached-not-open. */
const char *vd_disk_state_word(VdDisk *self);
/* Handles that are not opening and not except. */
guint vd_disk_count_handles(VdDisk *self, const VdHandle *except);
void vd_disk_attachment_free(VdDiskAttachment *self);
/* Bytes that the image takes on the host (st_blocks); without a handle, when it was last looked at. */
guint64 vd_disk_physical_size(VdDisk *self);
const char *vd_disk_format(VdDisk *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdDisk, vd_disk_unref)
