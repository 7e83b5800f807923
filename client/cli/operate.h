/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the verbs that change an image share: opening it for that, the job, and what is said at its end. */
#pragma once

#include <json-glib/json-glib.h>

#include "bar.h"
#include "cli.h"

/* ---- opening ---- */

/* For changing it: a version 2 handle. format: word of --format, or NULL. */
VirtdiskHandle *vd_operate_open(VdCli *cli, const char *path, VirtdiskOpenFlags flags, const char *format,
                                GError **error);
/* The same for as many files of the chain, counted from the leaf: a version 1 handle. */
VirtdiskHandle *vd_operate_open_deep(VdCli *cli, const char *path, guint rw_depth, const char *format,
                                     GError **error);
/* Size of the disk in bytes. */
gboolean vd_operate_get_size(VdCli *cli, VirtdiskHandle *handle, guint64 *ret, GError **error);

/* ---- the job ---- */

typedef enum { VD_JOB_FOREGROUND, VD_JOB_DETACHED } VdJobHow;

/* bar: told how far it is; must live until the operation has returned. (transfer full) */
VirtdiskOperationParameters *vd_operate_parameters(VdBar *bar, VdJobHow how);
/* One sentence, or JSON: what came of a job of this image, or which job to ask for it. */
void vd_operate_show(const VdCli *cli, const char *image, VirtdiskJob *job);
/* What vd_operate_show() says of the results (a{sv}, or NULL) of an operation. Pure. (transfer full) */
char *vd_operate_describe(const char *operation, GVariant *results);
/* The last part of its object path. (transfer none) */
const char *vd_operate_job_name(VirtdiskJob *job);
/* A job with all its properties and results. (transfer full) */
JsonObject *vd_operate_job_to_json(VirtdiskJob *job);

/* Option of every verb that has a job. */
#define VD_OPERATE_DETACH_JOB(where)                                                                         \
  {                                                                                                          \
    "detach-job", 0, 0, G_OPTION_ARG_NONE, where, "Return at once; see virtdisk jobs", NULL                  \
  }
