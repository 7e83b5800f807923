/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What we are about to do to the kernel, and what we have done: one key file per attachment in
 * /run/virtdisk/disks, written before the ioctl, completed after it, removed after the device is gone. Read
 * before the bus name is taken.
 */
#pragma once

#include <gio/gio.h>
#include <sys/types.h>

#include "worker/facts.h"

typedef enum { VD_RUN_INTENT, VD_RUN_ATTACHED, VD_RUN_DETACHING } VdRunPhase;

typedef struct {
  char *id; /* path element of the handle object */
  guint32 version, rights;
  gboolean attacher;
} VdRunHandle;

/* A parent of the chain, nearest first. */
typedef struct {
  char *path; /* bytes */
  dev_t dev;
  ino_t ino;
  gboolean write;
} VdRunParent;

/* Ceiling of parents in a record. */
#define VD_RUN_MAX_PARENTS 255

typedef struct {
  char *tag;
  VdRunPhase phase;
  char *path; /* bytes */
  char *origin_url;
  dev_t image_dev;
  ino_t image_ino;
  uid_t image_uid;
  gboolean remote;
  guint64 physical_size; /* bytes on the host */
  /* While the image is being exchanged for its mirror: what it may be by now. NULL: nothing else. */
  char *mirror_path; /* bytes */
  dev_t mirror_dev;
  ino_t mirror_ino;
  uid_t mirror_uid;
  char *device;    /* kernel name, or NULL while INTENT */
  guint64 diskseq; /* 0 while INTENT */
  char *lifetime;
  char *session;
  gboolean detach_on_unmount;
  gboolean was_mounted;
  guint32 open_flags, attach_flags;
  gboolean opened_read_only;
  gboolean settled;
  guint64 attached_at; /* seconds since the epoch */
  /* whose it is */
  uid_t uid;
  gid_t gid;
  gid_t *groups;
  gsize n_groups;
  pid_t pid;
  char *bus_name; /* of the owner, for lifetime handle */
  char *bus_id;   /* of the bus that bus_name belongs to */
  GPtrArray
      *handles; /* element VdRunHandle*: open handles, so that a restarted service can answer their owner */
  GPtrArray *parents; /* element VdRunParent* */
  VdFacts facts;
} VdRunRecord;

/* tag: 1 to 64 characters of [0-9a-f]; the file's name. No owner, no handles, no parents. */
VdRunRecord *vd_run_record_new(const char *tag);
void vd_run_record_free(VdRunRecord *self);
void vd_run_record_add_parent(VdRunRecord *self, const char *path, dev_t dev, ino_t ino, gboolean write);
/*
 * rundir/disks, 0700, is made where it is missing. The old or the new record is there afterwards, also if the
 * service is killed meanwhile. Needs path and tag. Errors: NO_RESOURCES (more than 4 MiB), DISK_FULL, IO.
 */
gboolean vd_run_save(const char *rundir, const VdRunRecord *record, GError **error);
void vd_run_remove(const char *rundir, const char *tag);
/* The facts are those that were saved; who acts on them has them checked by
 * vd_facts_check_attached() once more.
 * Records that do not parse, or of another version of the service, are removed with a warning. (transfer
 * full) (element VdRunRecord*) */
GPtrArray *vd_run_load(const char *rundir);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdRunRecord, vd_run_record_free)
