/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bar.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "values.h"

/* Where the terminal does not say how wide it is. */
#define USUAL_WIDTH 80
/* A bar narrower than this says less than the number. */
#define LEAST_BAR 10

struct VdBar {
  gboolean visible;
  gboolean drawn;
};

VdBar *vd_bar_new(const VdCli *cli)
{
  VdBar *self = g_new0(VdBar, 1);

  self->visible = !cli->quiet && !cli->json && isatty(STDERR_FILENO);
  return self;
}

void vd_bar_free(VdBar *self)
{
  if (self->drawn) {
    fputs("\r\033[K", stderr);
    fflush(stderr);
  }
  g_free(self);
}

char *vd_bar_format_time(gint64 seconds)
{
  int hours = (int)MIN(seconds / 3600, 9999), minutes = (int)(seconds / 60 % 60), rest = (int)(seconds % 60);

  return hours > 0 ? g_strdup_printf("%d:%02d:%02d", hours, minutes, rest)
                   : g_strdup_printf("%d:%02d", minutes, rest);
}

/* What stands right of the bar. */
static GString *numbers_of(const VdBarState *state)
{
  GString *out = g_string_new(NULL);

  if (state->progress >= 0)
    g_string_append_printf(out, "%5.1f%%", state->progress * 100);
  if (state->bytes > 0) {
    g_autofree char *all = vd_value_format_size(state->bytes);

    g_string_append_printf(out, " of %s", all);
  }
  if (state->rate > 0) {
    g_autofree char *rate = vd_value_format_size(state->rate);

    g_string_append_printf(out, "  %s/s", rate);
  }
  if (state->seconds_left >= 0) {
    g_autofree char *left = vd_bar_format_time(state->seconds_left);

    g_string_append_printf(out, "  %s left", left);
  }
  return out;
}

char *vd_bar_format(const VdBarState *state, guint width)
{
  g_autoptr(GString) numbers = numbers_of(state);
  GString *out = g_string_new(state->operation);
  gsize taken = out->len + numbers->len + 6; /* brackets and spaces around the bar */

  if (state->progress >= 0 && taken + LEAST_BAR <= width) {
    guint room = width - (guint)taken;
    guint full = (guint)(state->progress * room);

    g_string_append(out, "  [");
    for (guint i = 0; i < room; i++)
      g_string_append_c(out, i < full ? '#' : '.');
    g_string_append_c(out, ']');
  }
  g_string_append_printf(out, "  %s", numbers->str);
  g_string_truncate(out, MIN(out->len, width));
  return g_string_free(out, FALSE);
}

VdBarState vd_bar_state_of(VirtdiskJob *job, gint64 now)
{
  gint64 end = (gint64)MIN(virtdisk_job_get_expected_end_time(job), (guint64)G_MAXINT64);

  return (VdBarState){.operation = virtdisk_job_get_operation(job),
                      .progress = virtdisk_job_get_progress(job),
                      .bytes = virtdisk_job_get_bytes(job),
                      .rate = virtdisk_job_get_rate(job),
                      .seconds_left = end == 0 ? -1 : MAX(end - now, 0) / G_USEC_PER_SEC};
}

static guint terminal_width(void)
{
  struct winsize size = {0};

  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : USUAL_WIDTH;
}

void vd_bar_on_progress(VirtdiskJob *job, gpointer data)
{
  VdBar *self = data;
  VdBarState state = vd_bar_state_of(job, g_get_real_time());
  g_autofree char *operation = vd_value_printable(state.operation);
  g_autofree char *line = NULL;

  if (!self->visible)
    return;
  state.operation = operation;
  /* The last column is left alone: some terminals begin a new line there. */
  line = vd_bar_format(&state, terminal_width() - 1);
  fprintf(stderr, "\r%s\033[K", line);
  fflush(stderr);
  self->drawn = TRUE;
}
