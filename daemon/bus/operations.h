/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls that begin a job, and answer when it has begun or when it has ended. Beforehand everything that can
 * be said of the arguments is said by failing the call; afterwards the job says it.
 */
#pragma once

#include "bus/call.h"
#include "manager-operate.h"

/* Rows of the table of options of each method that has a job. */
#define VD_JOB_OPTIONS                                                                                       \
  VD_OPTION(VdCall, "job", STRING, job_options.token), VD_OPTION(VdCall, "async", BOOL, job_options.async),  \
      VD_OPTION(VdCall, "detach-job", BOOL, job_options.detached)

/* (transfer full) Charged to the caller. path: bytes, of the image. It must come to vd_job_end(), whatever
 * becomes of the call. Errors: INVALID_PARAMETER (the word), LIMIT_EXCEEDED, IO. */
VdJob *vd_call_begin_job(VdCall *call, VdJobOperation operation, const char *path, GError **error);

/* What a job that succeeded is answered with. */
typedef GVariant *(*VdJobReply)(const VdJob *job);
/*
 * Answers the call, and frees it: with async at once with the path of the job; else when the job has ended,
 * with its error or with what reply makes of it (NULL: the path of the job). The job goes on without the
 * call.
 */
void vd_call_return_job(VdCall *call, VdJob *job, VdJobReply reply);

/* (transfer full) */
char *vd_bus_job_path(const VdJob *job);
/* As org.virtdisk1.Job.Wait has them: a{sv}, floating. */
GVariant *vd_bus_job_results(const VdJob *job);
