/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk: the command. Finds the verb, connects, runs it, turns its error into a sentence and an exit code.
 */
#include <locale.h>
#include <stdio.h>
#include <unistd.h>

#include "agent.h"
#include "config.h"
#include "exit.h"
#include "interrupt.h"
#include "options.h"
#include "output.h"

static gboolean no_service(const char *reason, GError **error)
{
  g_set_error(error, VD_EXIT_ERROR, VD_EXIT_NOT_AVAILABLE, "The service virtdiskd is not available%s%s",
              reason != NULL ? ": " : "", reason != NULL ? reason : "");
  return FALSE;
}

/* The client starts the service; that there is none yet is an answer too, and never one to wait for. */
static gboolean connect_client(VdCli *cli, GError **error)
{
  g_autoptr(GError) cause = NULL;
  g_autofree char *owner = NULL;

  cli->client = virtdisk_client_new_sync(cli->cancellable, &cause);
  if (g_error_matches(cause, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
    g_propagate_error(error, g_steal_pointer(&cause));
    return FALSE;
  }
  if (cli->client == NULL)
    return no_service(cause->message, error);
  owner = virtdisk_client_dup_name_owner(cli->client);
  return owner != NULL || no_service(NULL, error);
}

static gboolean run_verb(VdCli *cli, const VdCommand *command, GError **error)
{
  gboolean ask = !cli->no_ask_password && vd_agent_is_useful();
  g_autoptr(VdAgent) agent = NULL;

  if ((command->verb->check != NULL && !command->verb->check(error)) || !connect_client(cli, error))
    return FALSE;
  virtdisk_client_set_interactive(cli->client, ask);
  if (ask)
    agent = vd_agent_new(cli->cancellable);
  return command->verb->run(cli, command->arguments, error) && vd_output_flush(error);
}

static gboolean run(VdCli *cli, const VdCommand *command, GError **error)
{
  g_autofree char *help = NULL;

  switch (command->result) {
  case VD_OPTIONS_HELP:
    help = vd_options_get_help(command->verb);
    fputs(help, stdout);
    return vd_output_flush(error);
  case VD_OPTIONS_VERSION:
    puts("virtdisk " VD_VERSION);
    return vd_output_flush(error);
  default:
    return run_verb(cli, command, error);
  }
}

/* What was interrupted is not an error to report. */
static int finish(const VdCommand *command, const GError *error)
{
  if (vd_interrupt_get() != 0)
    return 128 + vd_interrupt_get();
  if (error == NULL)
    return VD_EXIT_OK;
  vd_output_error(command->verb != NULL ? command->verb->name : NULL, error);
  return vd_exit_from_error(error);
}

int main(int argc, char **argv)
{
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  g_autoptr(GError) error = NULL;
  g_auto(VdCommand) command = {VD_OPTIONS_RUN};
  VdCli cli = {.cancellable = cancellable};
  int code;

  vd_interrupt_watch(cancellable);
  setlocale(LC_ALL, "");
  if (vd_options_parse(&cli, (const char *const *)argv, &command, &error))
    run(&cli, &command, &error);
  code = finish(&command, error);
  g_clear_object(&cli.client);
  /* The agent's thread may be reading a key still; exit() waits for the lock of every stream, that one too.
   */
  if (vd_interrupt_get() != 0) {
    fflush(stdout);
    _exit(code);
  }
  return code;
}
