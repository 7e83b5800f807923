/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk detach */
#include "cli.h"
#include "output.h"
#include "target.h"

static gboolean force;
static gboolean when_idle;

static const GOptionEntry entries[] = {
    {"force", 'f', 0, G_OPTION_ARG_NONE, &force, "Unmount what is mounted from it first", NULL},
    {"when-idle", 0, 0, G_OPTION_ARG_NONE, &when_idle, "Detach as soon as nobody uses it", NULL},
    {NULL},
};

static void show(VdCli *cli, const char *path, gboolean pending)
{
  if (cli->json) {
    JsonObject *object = json_object_new();

    json_object_set_boolean_member(object, "pending", pending);
    vd_output_json(json_node_init_object(json_node_alloc(), object), VD_JSON_PRETTY);
    json_object_unref(object);
  } else if (pending && !cli->quiet) {
    g_autofree char *line = g_strdup_printf("%s will be detached when its last user has gone", path);

    vd_output_line(line);
  }
}

static gboolean check(GError **error)
{
  if (!force || !when_idle)
    return TRUE;
  g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                      "--force and --when-idle exclude each other");
  return FALSE;
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autoptr(VdTarget) target = vd_target_new(arguments[0]);
  g_autoptr(VirtdiskDetachParameters) parameters = virtdisk_detach_parameters_new();
  gboolean pending = FALSE;

  if (force)
    virtdisk_detach_parameters_set_force(parameters, TRUE);
  if (when_idle)
    virtdisk_detach_parameters_set_when_idle(parameters, TRUE);
  if (!virtdisk_client_detach_image(cli->client, target->path, parameters, &pending, cli->cancellable, error))
    return FALSE;
  show(cli, target->path, pending);
  return TRUE;
}

const VdVerb vd_verb_detach = {
    .name = "detach",
    .arguments = "IMAGE|DEVICE",
    .summary = "Detach a disk",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = entries,
    .check = check,
    .run = run,
};
