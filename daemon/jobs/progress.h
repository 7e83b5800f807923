/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How far something is, how fast it goes and when it will have ended, out of what it tells of itself now and
 * then. Pure: whoever calls says what time it is.
 */
#pragma once

#include <glib.h>

typedef struct {
  guint64 current, completion; /* as told last */
  gboolean is_valid;           /* something was told */
  double rate;                 /* of current, per second, smoothed; 0: not known */
  gint64 since;                /* microseconds, monotonic: when from was told */
  guint64 from;
} VdProgress;

void vd_progress_start(VdProgress *self, gint64 now);
/* May go back, and completion may change. */
void vd_progress_add(VdProgress *self, gint64 now, guint64 current, guint64 completion);
/* 0 to 1. */
double vd_progress_fraction(const VdProgress *self);
/* Microseconds until it will have ended, or -1: not known. */
gint64 vd_progress_left(const VdProgress *self);
