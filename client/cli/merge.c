/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk merge */
#include "operate.h"
#include "values.h"

static struct {
  char *format;
  gint depth, from, to; /* 0: not given */
  gboolean detach_job;
} given;

static const GOptionEntry entries[] = {
    {"depth", 0, 0, G_OPTION_ARG_INT, &given.depth, "Into the parent (1, default), its parent (2) and so on",
     "N"},
    {"from", 0, 0, G_OPTION_ARG_INT, &given.from, "The image merged from; 1 is IMAGE itself", "N"},
    {"to", 0, 0, G_OPTION_ARG_INT, &given.to, "The image merged into; 2 is the parent of IMAGE", "N"},
    {"format", 0, 0, G_OPTION_ARG_STRING, &given.format, "auto (default), vhd or vhdx", "FORMAT"},
    VD_OPERATE_DETACH_JOB(&given.detach_job),
    {NULL},
};

static gboolean misuse(GError **error, const char *text)
{
  g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, text);
  return FALSE;
}

static gboolean check(GError **error)
{
  VirtdiskDeviceId device_id;
  const char *vendor;

  if (given.depth < 0 || given.from < 0 || given.to < 0)
    return misuse(error, "A depth is a number from 1");
  if (given.depth != 0 && (given.from != 0 || given.to != 0))
    return misuse(error, "--depth and --from with --to exclude each other");
  if ((given.from != 0) != (given.to != 0))
    return misuse(error, "--from and --to belong together");
  if (given.from != 0 && given.from >= given.to)
    return misuse(error, "--to must be greater than --from: data go towards the root");
  return given.format == NULL || vd_value_parse_format("--format", given.format, &device_id, &vendor, error);
}

/* From the leaf both versions say the same, and the first is the older. */
static guint set_depths(VirtdiskOperationParameters *parameters)
{
  guint target = given.to != 0 ? (guint)given.to : given.depth != 0 ? (guint)given.depth + 1 : 2;

  if (given.from > 1)
    virtdisk_operation_parameters_set_merge_depths(parameters, (guint)given.from, target);
  else
    virtdisk_operation_parameters_set_merge_depth(parameters, target - 1);
  return target;
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autofree char *path = vd_value_absolute(arguments[0]);
  g_autoptr(VdBar) bar = vd_bar_new(cli);
  g_autoptr(VirtdiskOperationParameters) parameters =
      vd_operate_parameters(bar, given.detach_job ? VD_JOB_DETACHED : VD_JOB_FOREGROUND);
  guint rw_depth = set_depths(parameters);
  g_autoptr(VirtdiskHandle) handle = vd_operate_open_deep(cli, path, rw_depth, given.format, error);
  g_autoptr(VirtdiskJob) job = NULL;

  if (handle == NULL)
    return FALSE;
  job = virtdisk_handle_merge_virtual_disk(handle, VIRTDISK_MERGE_NONE, parameters, cli->cancellable, error);
  g_clear_pointer(&bar, vd_bar_free);
  if (job == NULL)
    return FALSE;
  vd_operate_show(cli, arguments[0], job);
  return virtdisk_handle_close(handle, NULL, error);
}

const VdVerb vd_verb_merge = {
    .name = "merge",
    .arguments = "IMAGE",
    .summary = "Move what an image holds into its parent",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = entries,
    .check = check,
    .run = run,
};
