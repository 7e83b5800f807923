/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between serving.c and serving-record.c. */
#pragma once

#include "attach/serving.h"

/* rundir/workers/TAG and the suffix. (transfer full) */
char *vd_serving_record_path(const char *rundir, const char *tag, const char *suffix);
/* With nothing but its names. */
VdServing *vd_serving_alloc(const char *rundir, const char *tag);
