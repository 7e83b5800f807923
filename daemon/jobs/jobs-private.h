/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between a job (job.c) and the table of them (jobs.c). */
#pragma once

#include "jobs/job.h"

enum {
  VD_SIGNAL_JOB_ADDED,
  VD_SIGNAL_JOB_CHANGED,
  VD_SIGNAL_JOB_ENDED,
  VD_SIGNAL_JOB_REMOVED,
  VD_N_JOB_SIGNALS
};

/* Takes id. */
VdJob *vd_job_new(char *id, VdJobOperation operation, const char *path, uid_t uid);
void vd_jobs_emit(VdJob *job, guint signal);
/* It has ended: no longer recorded, and gone after a while. */
void vd_jobs_keep(VdJob *job);
