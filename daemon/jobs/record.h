/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs that run, in a folder of the run directory, so that the next run of the service can tell that they did
 * not end. Blocking, short. */
#pragma once

#include <gio/gio.h>
#include <sys/types.h>

typedef struct {
  char *id;
  guint32 operation; /* VdJobOperation */
  char *path;        /* bytes */
  uid_t uid;
  gboolean detached;
  gint64 started; /* microseconds since 1970 */
} VdJobRecord;

/* name: 1 to 64 characters of [0-9a-f]. Errors: IO, DISK_FULL. */
gboolean vd_job_record_save(const char *rundir, const char *name, const VdJobRecord *record, GError **error);
void vd_job_record_remove(const char *rundir, const char *name);
/* (element VdJobRecord*) (transfer full); none is left there. */
GPtrArray *vd_job_records_take(const char *rundir);
