/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk compact */
#include "operate.h"
#include "values.h"

static struct {
  char *format;
  gboolean no_zero_scan, no_block_moves, file_systems, detach_job;
} given;

static const GOptionEntry entries[] = {
    {"no-zero-scan", 0, 0, G_OPTION_ARG_NONE, &given.no_zero_scan,
     "Do not look for blocks that are all zeroes", NULL},
    {"no-block-moves", 0, 0, G_OPTION_ARG_NONE, &given.no_block_moves,
     "Do not move blocks to make the file shorter", NULL},
    {"file-systems", 0, 0, G_OPTION_ARG_NONE, &given.file_systems,
     "Also give back what the file systems inside call free", NULL},
    {"format", 0, 0, G_OPTION_ARG_STRING, &given.format, "auto (default), vhd or vhdx", "FORMAT"},
    VD_OPERATE_DETACH_JOB(&given.detach_job),
    {NULL},
};

static gboolean check(GError **error)
{
  VirtdiskDeviceId device_id;
  const char *vendor;

  return given.format == NULL || vd_value_parse_format("--format", given.format, &device_id, &vendor, error);
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autofree char *path = vd_value_absolute(arguments[0]);
  g_autoptr(VirtdiskHandle) handle = vd_operate_open(cli, path, VIRTDISK_OPEN_NONE, given.format, error);
  VirtdiskCompactFlags flags =
      (VirtdiskCompactFlags)((given.no_zero_scan ? VIRTDISK_COMPACT_NO_ZERO_SCAN : 0) |
                             (given.no_block_moves ? VIRTDISK_COMPACT_NO_BLOCK_MOVES : 0));
  g_autoptr(VdBar) bar = vd_bar_new(cli);
  g_autoptr(VirtdiskOperationParameters) parameters = NULL;
  g_autoptr(VirtdiskJob) job = NULL;

  if (handle == NULL)
    return FALSE;
  parameters = vd_operate_parameters(bar, given.detach_job ? VD_JOB_DETACHED : VD_JOB_FOREGROUND);
  if (given.file_systems)
    virtdisk_operation_parameters_set_file_systems(parameters, TRUE);
  job = virtdisk_handle_compact_virtual_disk(handle, flags, parameters, cli->cancellable, error);
  g_clear_pointer(&bar, vd_bar_free);
  if (job == NULL)
    return FALSE;
  vd_operate_show(cli, arguments[0], job);
  return virtdisk_handle_close(handle, NULL, error);
}

const VdVerb vd_verb_compact = {
    .name = "compact",
    .arguments = "IMAGE",
    .summary = "Give back the space of an image that holds nothing",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = entries,
    .check = check,
    .run = run,
};
