/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How far a job is: one line on standard error, drawn again and again, when that is a terminal. */
#pragma once

#include "cli.h"

typedef struct VdBar VdBar;

/* Silent where standard error is no terminal, with --quiet and with --json. Never NULL. */
VdBar *vd_bar_new(const VdCli *cli);
/* Takes the line away. */
void vd_bar_free(VdBar *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdBar, vd_bar_free)

/* VirtdiskProgressFunc; data is the VdBar. */
void vd_bar_on_progress(VirtdiskJob *job, gpointer data);

typedef struct {
  const char *operation;
  double progress;     /* 0 to 1, or below 0: not known */
  guint64 bytes, rate; /* 0: not known */
  gint64 seconds_left; /* below 0: not known */
} VdBarState;

/* The line, at most width columns. Pure. (transfer full) */
char *vd_bar_format(const VdBarState *state, guint width);
/* 0:07, 12:34, 3:00:00. Pure. (transfer full) */
char *vd_bar_format_time(gint64 seconds);
/* What is known of a job, at that time (microseconds since 1970). Strings belong to the job. */
VdBarState vd_bar_state_of(VirtdiskJob *job, gint64 now);
