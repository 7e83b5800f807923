/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sentences for people. */
#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "exit.h"
#include "values.h"

/* Widest name that vd_output_pair() is given, and two. */
#define PAIR_WIDTH 22

void vd_output_line(const char *text)
{
  g_autofree char *shown = vd_value_printable(text);

  puts(shown);
}

void vd_output_pair(const char *name, const char *value)
{
  g_autofree char *shown = NULL;

  if (value == NULL || *value == '\0')
    return;
  shown = vd_value_printable(value);
  printf("%s:%*s%s\n", name, (int)(PAIR_WIDTH - MIN(PAIR_WIDTH - 1, strlen(name))), "", shown);
}

/* holder: one of the service's sentences, such as "/dev/loop3p1 is mounted on /mnt". */
static const char *hint_for(const char *holder)
{
  static const struct {
    const char *words;
    const char *hint;
  } hints[] = {
      {"(pid ", "end that program or let it close its files"},
      {"mounted on", "virtdisk unmount, or detach --force"},
      {"backing file", "detach that first"},
      {"swap", "swapoff, or detach --force"},
      {"built on", "deactivate that first"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS(hints); i++)
    if (strstr(holder, hints[i].words) != NULL)
      return hints[i].hint;
  return "wait for it, or detach --when-idle";
}

/* Where the service's message begins to name holders, or NULL: it names none. */
static const char *find_holders(const GError *error, const char **ret_separator)
{
  static const char *const separators[] = {" is in use: ", " is held by "};

  if (!g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_BUSY))
    return NULL;
  for (gsize i = 0; i < G_N_ELEMENTS(separators); i++) {
    *ret_separator = strstr(error->message, separators[i]);
    if (*ret_separator != NULL)
      return *ret_separator + strlen(separators[i]);
  }
  return NULL;
}

/* The service ends its messages in the name and number of the error, which is no part of the last holder. */
static void append_holders(GString *out, const char *holders)
{
  const char *code = g_strrstr(holders, " (ERROR_");
  g_autofree char *names = code != NULL ? g_strndup(holders, (gsize)(code - holders)) : g_strdup(holders);
  g_auto(GStrv) each = g_strsplit(names, "; ", -1);

  for (char **holder = each; *holder != NULL; holder++) {
    g_autofree char *shown = vd_value_printable(*holder);

    g_string_append_printf(out, "\n  %s (hint: %s)", shown, hint_for(*holder));
  }
}

char *vd_output_describe_error(const GError *error)
{
  GString *out = g_string_new(NULL);
  const char *separator = NULL;
  const char *holders = find_holders(error, &separator);
  g_autofree char *sentence = holders != NULL ? g_strndup(error->message, (gsize)(separator - error->message))
                                              : g_strdup(error->message);
  g_autofree char *shown = vd_value_printable(sentence);

  g_string_append(out, shown);
  if (holders != NULL) {
    g_string_append(out, " is in use");
    append_holders(out, holders);
  } else if (g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_AUTHORIZATION_REQUIRED)) {
    g_string_append(out, "\n  (hint: run it on a terminal without --no-ask-password, or as the superuser)");
  }
  return g_string_free(out, FALSE);
}

void vd_output_error(const char *verb, const GError *error)
{
  g_autofree char *text = vd_output_describe_error(error);

  fflush(stdout);
  fprintf(stderr, "virtdisk: %s\n", text);
  if (error->domain == G_OPTION_ERROR)
    fprintf(stderr, "Try: virtdisk %s%s--help\n", verb != NULL ? verb : "", verb != NULL ? " " : "");
}

gboolean vd_output_flush(GError **error)
{
  if (fflush(stdout) == 0 && ferror(stdout) == 0)
    return TRUE;
  g_set_error(error, VD_EXIT_ERROR, VD_EXIT_FAILURE, "Cannot write to standard output: %s",
              g_strerror(errno));
  return FALSE;
}
