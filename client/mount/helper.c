/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount/helper.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "interrupt.h"
#include "output.h"
#include "values.h"

void vd_helper_line_clear(VdHelperLine *self)
{
  if (self->flags != NULL)
    g_string_free(self->flags, TRUE);
  self->flags = NULL;
}

static gboolean usage(GError **error, const char *argument)
{
  g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION, "\"%s\" is not understood", argument);
  return FALSE;
}

/* One cluster of letters: -sv, -vo ro, -oro. ret_rest: where a value is wanted in the next argument, or NULL.
 */
static gboolean parse_cluster(const char *argument, const char *letters, VdHelperLine *line,
                              const char ***ret_value, GError **error)
{
  *ret_value = NULL;
  for (const char *letter = argument + 1; *letter != '\0'; letter++) {
    const char **value = *letter == 'o'   ? &line->options
                         : *letter == 't' ? &line->type
                         : *letter == 'N' ? &line->name_space
                                          : NULL;

    if (value == NULL && strchr(letters, *letter) == NULL)
      return usage(error, argument);
    if (value == NULL && strchr(line->flags->str, *letter) == NULL)
      g_string_append_c(line->flags, *letter);
    if (value == NULL)
      continue;
    if (letter[1] != '\0')
      *value = letter + 1;
    else
      *ret_value = value;
    return TRUE;
  }
  return TRUE;
}

gboolean vd_helper_parse(char **arguments, const char *letters, guint n_names, VdHelperLine *ret,
                         GError **error)
{
  gboolean only_names = FALSE;
  const char **value;
  guint n = 0;

  *ret = (VdHelperLine){.flags = g_string_new(NULL)};
  for (; *arguments != NULL; arguments++) {
    if (only_names || **arguments != '-') {
      if (n == n_names)
        return usage(error, *arguments);
      ret->names[n++] = *arguments;
    } else if (g_str_equal(*arguments, "--")) {
      only_names = TRUE;
    } else if ((*arguments)[1] == '\0' || !parse_cluster(*arguments, letters, ret, &value, error)) {
      return error != NULL && *error != NULL ? FALSE : usage(error, *arguments);
    } else if (value != NULL) {
      if (arguments[1] == NULL)
        return usage(error, *arguments);
      *value = *++arguments;
    }
  }
  if (n == n_names)
    return TRUE;
  g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                      n_names == 2 ? "an image and a directory are wanted" : "a directory is wanted");
  return FALSE;
}

/* Ours are blocked, for interrupt.h; theirs are not. */
static void unblock_in_child(gpointer data)
{
  sigset_t none;

  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

int vd_helper_run(GPtrArray *argv)
{
  g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_NONE);
  g_autoptr(GSubprocess) child = NULL;
  g_autoptr(GError) error = NULL;

  fflush(stdout);
  g_subprocess_launcher_set_child_setup(launcher, unblock_in_child, NULL, NULL);
  child = g_subprocess_launcher_spawnv(launcher, (const char *const *)argv->pdata, &error);
  if (child == NULL || !g_subprocess_wait(child, NULL, &error)) {
    vd_helper_report(NULL, error);
    return VD_HELPER_SYSTEM;
  }
  return g_subprocess_get_if_exited(child) ? g_subprocess_get_exit_status(child) : VD_HELPER_SYSTEM;
}

int vd_helper_report(const char *path, const GError *error)
{
  g_autofree char *message = vd_output_describe_error(error);
  g_autofree char *shown = vd_value_printable(path != NULL ? path : "");

  if (vd_interrupt_get() != 0)
    return VD_HELPER_INTERRUPTED;
  fprintf(stderr, "%s: %s%s%s\n", g_get_prgname(), shown, *shown != '\0' ? ": " : "", g_strchomp(message));
  if (error->domain == G_OPTION_ERROR ||
      g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER))
    return VD_HELPER_USAGE;
  return g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NO_RESOURCES) ? VD_HELPER_SYSTEM
                                                                             : VD_HELPER_FAILURE;
}
