/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A job: an operation that outlasts its call. It has a name, an owner, its progress and, for a while after
 * its end, what became of it; what is done, and how, is not known here. Written on the main loop by the
 * functions here only (but for vd_job_tell()); everybody else reads.
 */
#pragma once

#include <gio/gio.h>

#include "jobs/progress.h"
#include "util/identity.h"

/* Seconds that a job which has ended can still be asked. */
#define VD_JOB_KEEP_SECONDS 60
/* Ended jobs of one user that are kept; then the oldest goes. */
#define VD_JOB_MAX_KEPT 32
/* Characters of a word that a caller names its job by: a-z, 0-9 and _. */
#define VD_JOB_MAX_TOKEN 64

#define VD_TYPE_JOB (vd_job_get_type())
G_DECLARE_FINAL_TYPE(VdJob, vd_job, VD, JOB, GObject)
#define VD_TYPE_JOBS (vd_jobs_get_type())
G_DECLARE_FINAL_TYPE(VdJobs, vd_jobs, VD, JOBS, GObject)

typedef enum {
  VD_JOB_CREATE,
  VD_JOB_CONVERT,
  VD_JOB_COMPACT,
  VD_JOB_EXPAND,
  VD_JOB_RESIZE,
  VD_JOB_MERGE,
  VD_JOB_MIRROR,
  VD_N_JOB_OPERATIONS
} VdJobOperation;

typedef enum { VD_JOB_RUNNING, VD_JOB_DONE, VD_JOB_FAILED, VD_JOB_CANCELLED } VdJobState;

/* What it came to. */
typedef struct {
  char *handle;                         /* id of the handle that it made, or NULL */
  guint64 new_size, given_back, copied; /* bytes */
  guint32 fell_back;                    /* file systems of which it could not be learnt what is free */
  char note[256];                       /* for people, plain; may be empty */
} VdJobResults;

struct _VdJob {
  GObject parent;
  VdJobs *jobs; /* borrowed; NULL: no longer in the table */
  char *id;     /* the object's path element */
  VdJobOperation operation;
  char *path;     /* bytes */
  char *display;  /* UTF-8 */
  uid_t uid;      /* of the owner */
  char *bus_name; /* of the owner, or NULL: from an earlier run of the service */
  gboolean detached;
  VdJobState state;
  GError *error; /* if it has failed or was cancelled */
  VdJobResults results;
  VdProgress progress;
  gint64 started;            /* microseconds since 1970 */
  GCancellable *cancellable; /* what is done is to end */
  /* Of job.c alone. */
  char *record;
  gpointer charge;
  GDestroyNotify free_charge;
  guint keep_source;
  GMutex lock; /* of told, told_at and is_telling */
  guint64 told[2];
  gint64 told_at; /* microseconds, monotonic; 0: not yet */
  gboolean is_telling;
};

typedef struct {
  VdJobOperation operation;
  const char *path; /* bytes: of the image */
  VdIdentity *owner;
  const char *token; /* or NULL */
  gboolean detached; /* goes on when its owner has left */
  gpointer charge;   /* taken, also on failure; returned when the job ends */
  GDestroyNotify free_charge;
} VdJobSpec;

/* create, convert, ... */
const char *vd_job_operation_word(VdJobOperation operation);
/* running, done, ... */
const char *vd_job_state_word(VdJobState state);
/* Whether what it tells of its progress is bytes. */
gboolean vd_job_counts_bytes(const VdJob *self);
gboolean vd_job_token_is_valid(const char *token);

/* (transfer full) From here to vd_job_end(), which must come, it runs. Errors: INVALID_PARAMETER (token: no
 * such word, or taken), IO, DISK_FULL (the record). */
VdJob *vd_job_begin(VdJobs *jobs, const VdJobSpec *spec, GError **error);
/* Any thread; fits VdServiceSpec.progress. job: VdJob. */
void vd_job_tell(gpointer job, guint64 current, guint64 completion);
/* Once. results: or NULL; its handle is taken. error: taken; NULL: it has succeeded. Of a job that was
 * cancelled OPERATION_ABORTED means that it was. */
void vd_job_end(VdJob *self, VdJobResults *results, GError *error);
/* Asks for its end; it ends when it can. */
void vd_job_cancel(VdJob *self);
/* Out of the table, if it has ended. */
void vd_job_release(VdJob *self);

/*
 * The table. Signals, each with (VdJob*), on the main loop: "job-added", "job-changed" (its progress),
 * "job-ended", "job-removed". VdJob has "ended" too, without arguments, after that of the table.
 * rundir: running jobs are recorded there.
 */
VdJobs *vd_jobs_new(const char *rundir);
/* Those that ran when an earlier run of the service ended have failed. */
void vd_jobs_restore(VdJobs *self);
/* (transfer none) or NULL */
VdJob *vd_jobs_find(VdJobs *self, const char *id);
/* (transfer container) (element VdJob*, borrowed) */
GPtrArray *vd_jobs_list(VdJobs *self);
/* Cancels what runs for it and is not detached. */
void vd_jobs_owner_gone(VdJobs *self, const char *bus_name);
