/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include "exit.h"
#include "values.h"

static const VdVerb *const verbs[] = {
    &vd_verb_attach,
    &vd_verb_break_mirror,
    &vd_verb_chain,
    &vd_verb_changes,
    &vd_verb_check,
    &vd_verb_compact,
    &vd_verb_convert,
    &vd_verb_create,
    &vd_verb_detach,
    &vd_verb_expand,
    &vd_verb_info,
    &vd_verb_jobs,
    &vd_verb_list,
    &vd_verb_merge,
    &vd_verb_metadata,
    &vd_verb_mirror,
    &vd_verb_monitor,
    &vd_verb_mount,
    &vd_verb_nbd,
    &vd_verb_resize,
    &vd_verb_set,
    &vd_verb_unmount,
    NULL,
};

const VdVerb *const *vd_options_get_verbs(void)
{
  return verbs;
}

const VdVerb *vd_options_find_verb(const char *name)
{
  for (const VdVerb *const *verb = verbs; *verb != NULL; verb++)
    if (g_str_equal((*verb)->name, name))
      return *verb;
  return NULL;
}

void vd_command_clear(VdCommand *self)
{
  g_clear_pointer(&self->arguments, g_strfreev);
}

/* What the parser of GLib writes to; --help is ours, so that it is an answer and not an exit. */
typedef struct {
  gboolean help, version;
  char **rest;
} Parsed;

static GOptionContext *make_context(const VdVerb *verb, VdCli *cli, Parsed *parsed)
{
  const GOptionEntry common[] = {
      {"help", 'h', 0, G_OPTION_ARG_NONE, &parsed->help, "Explain the verb and its options", NULL},
      {"version", 0, 0, G_OPTION_ARG_NONE, &parsed->version, "Print the version", NULL},
      {"quiet", 'q', 0, G_OPTION_ARG_NONE, &cli->quiet, "Print nothing but errors", NULL},
      {"json", 0, 0, G_OPTION_ARG_NONE, &cli->json, "Print JSON", NULL},
      {"no-ask-password", 0, 0, G_OPTION_ARG_NONE, &cli->no_ask_password, "Never ask for a password", NULL},
      {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &parsed->rest, NULL, NULL},
      {NULL},
  };
  GOptionContext *context = g_option_context_new(verb != NULL ? verb->arguments : "VERB");

  if (verb != NULL && verb->options != NULL)
    g_option_context_add_main_entries(context, verb->options, NULL);
  g_option_context_add_main_entries(context, common, NULL);
  g_option_context_set_help_enabled(context, FALSE);
  return context;
}

static gboolean parse(const VdVerb *verb, VdCli *cli, const char *const *argv, Parsed *parsed, GError **error)
{
  g_autoptr(GOptionContext) context = make_context(verb, cli, parsed);
  g_auto(GStrv) copy = g_strdupv((char **)argv);

  /* Before the verb parsing ends at the first word, which is the verb. */
  g_option_context_set_strict_posix(context, verb == NULL);
  return g_option_context_parse_strv(context, &copy, error);
}

static gboolean check_count(const VdVerb *verb, char **arguments, GError **error)
{
  guint n = arguments != NULL ? g_strv_length(arguments) : 0;

  if (n > 0 && g_strv_contains((const char *const *)arguments, "")) {
    g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "An argument is empty");
    return FALSE;
  }
  if (n >= verb->min_arguments && n <= verb->max_arguments)
    return TRUE;
  if (verb->arguments == NULL)
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s takes no argument", verb->name);
  else
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s takes %s", verb->name, verb->arguments);
  return FALSE;
}

static gboolean parse_verb(VdCli *cli, const char *const *argv, VdCommand *ret, GError **error)
{
  Parsed parsed = {FALSE, FALSE, NULL};
  gboolean ok = parse(ret->verb, cli, argv, &parsed, error);

  ret->arguments = parsed.rest != NULL ? parsed.rest : g_new0(char *, 1);
  if (!ok)
    return FALSE;
  if (parsed.help || parsed.version) {
    ret->result = parsed.help ? VD_OPTIONS_HELP : VD_OPTIONS_VERSION;
    return TRUE;
  }
  return check_count(ret->verb, ret->arguments, error);
}

gboolean vd_options_parse(VdCli *cli, const char *const *argv, VdCommand *ret_command, GError **error)
{
  Parsed parsed = {FALSE, FALSE, NULL};
  gboolean ok = parse(NULL, cli, argv, &parsed, error);
  g_auto(GStrv) rest = parsed.rest;

  *ret_command = (VdCommand){.result = VD_OPTIONS_RUN};
  if (!ok)
    return FALSE;
  if (parsed.help || parsed.version) {
    ret_command->result = parsed.help ? VD_OPTIONS_HELP : VD_OPTIONS_VERSION;
    return TRUE;
  }
  if (rest == NULL) {
    g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "A verb is missing");
    return FALSE;
  }
  ret_command->verb = vd_options_find_verb(rest[0]);
  if (ret_command->verb == NULL) {
    g_autofree char *shown = vd_value_printable(rest[0]);

    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "There is no verb \"%s\"", shown);
    return FALSE;
  }
  return parse_verb(cli, (const char *const *)rest, ret_command, error);
}

static void append_verbs(GString *out)
{
  gsize n;
  const VdExitRow *rows = vd_exit_get_table(&n);

  g_string_append(out, "Verbs:\n");
  for (const VdVerb *const *verb = verbs; *verb != NULL; verb++)
    g_string_append_printf(out, "  %-8s %s\n", (*verb)->name, (*verb)->summary);
  g_string_append(out, "\nEach verb explains itself with --help.\n\nExit codes:\n");
  for (gsize i = 0; i < n; i++)
    g_string_append_printf(out, "  %3d  %s\n", rows[i].code, rows[i].meaning);
}

char *vd_options_get_help(const VdVerb *verb)
{
  VdCli cli = {NULL};
  Parsed parsed = {FALSE, FALSE, NULL};
  g_autoptr(GOptionContext) context = make_context(verb, &cli, &parsed);
  g_autoptr(GString) verbs_text = g_string_new(NULL);

  g_set_prgname("virtdisk");
  if (verb != NULL) {
    g_autofree char *name = g_strconcat("virtdisk ", verb->name, NULL);

    g_set_prgname(name);
    g_option_context_set_summary(context, verb->summary);
    g_option_context_set_description(context, "Exit codes and everything else: virtdisk(1)");
  } else {
    append_verbs(verbs_text);
    g_option_context_set_summary(context, "Create disk images, attach them as block devices, look into them, "
                                          "change them, check them, mount them");
    g_option_context_set_description(context, verbs_text->str);
  }
  return g_option_context_get_help(context, FALSE, NULL);
}
