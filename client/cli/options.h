/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line: common options, verb, options of the verb, arguments. */
#pragma once

#include "cli.h"

/* NULL-terminated, in the order of help. */
const VdVerb *const *vd_options_get_verbs(void);
/* NULL: no such verb. */
const VdVerb *vd_options_find_verb(const char *name);

typedef enum { VD_OPTIONS_RUN, VD_OPTIONS_HELP, VD_OPTIONS_VERSION } VdOptionsResult;

/* What a command line asks for. */
typedef struct {
  VdOptionsResult result;
  const VdVerb *verb; /* NULL: none named (HELP and VERSION only) */
  char **arguments;   /* of the verb; any bytes */
} VdCommand;

void vd_command_clear(VdCommand *self);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VdCommand, vd_command_clear)

/* argv: NULL-terminated, argv[0] is the program. Writes the common options to cli, those of the verb to its
 * own values, and ret_command (also on failure, as far as it got). Errors: G_OPTION_ERROR. */
gboolean vd_options_parse(VdCli *cli, const char *const *argv, VdCommand *ret_command, GError **error);
/* verb: NULL for the command itself. (transfer full) */
char *vd_options_get_help(const VdVerb *verb);
