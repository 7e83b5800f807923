/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "jobs/progress.h"

/* Microseconds after which what was measured before counts for half. */
#define MEMORY (5 * G_USEC_PER_SEC)
/* Shorter times than this say little of the speed. */
#define SHORTEST (G_USEC_PER_SEC / 10)
/* What takes longer than a year is not worth a date. */
#define LONGEST_S (365.0 * 24 * 3600)

void vd_progress_start(VdProgress *self, gint64 now)
{
  *self = (VdProgress){.since = now};
}

void vd_progress_add(VdProgress *self, gint64 now, guint64 current, guint64 completion)
{
  gint64 time = now - self->since;
  double weight = (double)time / (double)(time + MEMORY), rate;

  self->current = current;
  self->completion = completion;
  self->is_valid = TRUE;
  if (current < self->from) {
    self->from = current;
    self->since = now;
    return;
  }
  if (time < SHORTEST)
    return;
  rate = (double)(current - self->from) * G_USEC_PER_SEC / (double)time;
  self->rate = self->rate > 0 ? self->rate + weight * (rate - self->rate) : rate;
  self->from = current;
  self->since = now;
}

double vd_progress_fraction(const VdProgress *self)
{
  if (self->completion == 0)
    return 0;
  return self->current >= self->completion ? 1 : (double)self->current / (double)self->completion;
}

gint64 vd_progress_left(const VdProgress *self)
{
  double seconds;

  if (!self->is_valid || self->rate <= 0 || self->completion == 0)
    return -1;
  seconds = self->current >= self->completion ? 0 : (double)(self->completion - self->current) / self->rate;
  return seconds <= LONGEST_S ? (gint64)(seconds * G_USEC_PER_SEC) : -1;
}
