/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk mirror and virtdisk break-mirror */
#include "operate.h"
#include "output.h"
#include "values.h"

static struct {
  char *format;
  gboolean break_mirror, existing, detach_job;
} given;

static const GOptionEntry entries[] = {
    {"break", 0, 0, G_OPTION_ARG_NONE, &given.break_mirror,
     "Let TARGET take the place of IMAGE when it is whole", NULL},
    {"existing", 0, 0, G_OPTION_ARG_NONE, &given.existing, "TARGET is there, and is overwritten", NULL},
    {"format", 0, 0, G_OPTION_ARG_STRING, &given.format, "auto (default), raw, vhd or vhdx", "FORMAT"},
    VD_OPERATE_DETACH_JOB(&given.detach_job),
    {NULL},
};

static const GOptionEntry break_entries[] = {
    {"format", 0, 0, G_OPTION_ARG_STRING, &given.format, "auto (default), raw, vhd or vhdx", "FORMAT"},
    {NULL},
};

static gboolean check_format(GError **error)
{
  VirtdiskDeviceId device_id;
  const char *vendor;

  return given.format == NULL || vd_value_parse_format("--format", given.format, &device_id, &vendor, error);
}

static gboolean check_mirror(GError **error)
{
  if (given.break_mirror && given.detach_job) {
    g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        "--break and --detach-job exclude each other: virtdisk break-mirror is for later");
    return FALSE;
  }
  return check_format(error);
}

/* A mirror that is watched until it ends. */
typedef struct {
  const VdCli *cli;
  VirtdiskHandle *handle;
  VdBar *bar;
  const char *image, *target; /* as they were named */
  GCancellable *cancellable;
  gulong on_cancel;
  gboolean whole;
  GError *error; /* why it could not be broken */
} Watch;

/* The mirror ends with it: its job tells that, or nothing, if it goes on without having been broken. */
static void broken(GObject *source, GAsyncResult *result, gpointer data)
{
  Watch *watch = data;

  if (!virtdisk_handle_break_mirror_virtual_disk_finish(VIRTDISK_HANDLE(source), result, &watch->error))
    g_cancellable_cancel(watch->cancellable);
}

static void say_whole(const Watch *watch)
{
  g_autofree char *line = NULL;

  if (watch->cli->quiet || watch->cli->json)
    return;
  line = g_strdup_printf("%s: %s holds the same now, and is kept so; virtdisk break-mirror switches to it",
                         watch->image, watch->target);
  vd_output_line(line);
}

static void on_progress(VirtdiskJob *job, gpointer data)
{
  Watch *watch = data;

  vd_bar_on_progress(job, watch->bar);
  if (watch->whole || virtdisk_job_get_progress(job) < 1.0)
    return;
  watch->whole = TRUE;
  if (given.break_mirror)
    virtdisk_handle_break_mirror_virtual_disk_async(watch->handle, NULL, broken, watch);
  else
    say_whole(watch);
}

static void on_cancelled(GCancellable *cancellable, gpointer data)
{
  g_cancellable_cancel(data);
}

static void watch_clear(Watch *watch)
{
  g_cancellable_disconnect(watch->cli->cancellable, watch->on_cancel);
  g_clear_object(&watch->cancellable);
  g_clear_error(&watch->error);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Watch, watch_clear)

static VirtdiskJob *mirror(Watch *watch, const char *path, VirtdiskOperationParameters *parameters,
                           GError **error)
{
  VirtdiskJob *job = virtdisk_handle_mirror_virtual_disk(
      watch->handle, given.existing ? VIRTDISK_MIRROR_EXISTING_FILE : VIRTDISK_MIRROR_NONE, path, parameters,
      watch->cancellable, error);

  if (job == NULL && watch->error != NULL) {
    g_clear_error(error);
    g_propagate_error(error, g_steal_pointer(&watch->error));
  }
  return job;
}

static gboolean run_mirror(VdCli *cli, char **arguments, GError **error)
{
  g_autofree char *path = vd_value_absolute(arguments[0]);
  g_autofree char *target = vd_value_absolute(arguments[1]);
  g_autoptr(VdBar) bar = vd_bar_new(cli);
  g_autoptr(VirtdiskOperationParameters) parameters =
      vd_operate_parameters(bar, given.detach_job ? VD_JOB_DETACHED : VD_JOB_FOREGROUND);
  g_autoptr(VirtdiskHandle) handle = vd_operate_open(cli, path, VIRTDISK_OPEN_NONE, given.format, error);
  g_autoptr(VirtdiskJob) job = NULL;
  g_auto(Watch) watch = {.cli = cli,
                         .handle = handle,
                         .bar = bar,
                         .image = arguments[0],
                         .target = arguments[1],
                         .cancellable = g_cancellable_new()};

  watch.on_cancel =
      g_cancellable_connect(cli->cancellable, G_CALLBACK(on_cancelled), watch.cancellable, NULL);
  if (handle == NULL)
    return FALSE;
  if (!given.detach_job)
    virtdisk_operation_parameters_set_progress(parameters, on_progress, &watch, NULL);
  job = mirror(&watch, target, parameters, error);
  g_clear_pointer(&bar, vd_bar_free);
  if (job == NULL)
    return FALSE;
  vd_operate_show(cli, arguments[0], job);
  return virtdisk_handle_close(handle, NULL, error);
}

/* Whoever has begun it has the disk to himself: all that is asked for is to look. */
static VirtdiskHandle *open_beside(VdCli *cli, const char *path, GError **error)
{
  g_autoptr(VirtdiskOpenParameters) parameters = virtdisk_open_parameters_new();
  VirtdiskDeviceId device_id;
  const char *vendor = NULL;

  if (given.format != NULL && !vd_value_parse_format("--format", given.format, &device_id, &vendor, error))
    return NULL;
  if (vendor != NULL) {
    virtdisk_open_parameters_set_device_id(parameters, device_id);
    virtdisk_open_parameters_set_vendor_id(parameters, vendor);
  }
  virtdisk_open_parameters_set_version(parameters, 2);
  virtdisk_open_parameters_set_get_info_only(parameters, TRUE);
  return virtdisk_client_open_virtual_disk(cli->client, path, VIRTDISK_ACCESS_NONE, VIRTDISK_OPEN_NONE,
                                           parameters, cli->cancellable, error);
}

static gboolean run_break(VdCli *cli, char **arguments, GError **error)
{
  g_autofree char *path = vd_value_absolute(arguments[0]);
  g_autofree char *line = NULL;
  g_autoptr(VirtdiskHandle) handle = open_beside(cli, path, error);

  if (handle == NULL || !virtdisk_handle_break_mirror_virtual_disk(handle, cli->cancellable, error))
    return FALSE;
  if (!cli->quiet && !cli->json) {
    line = g_strdup_printf("%s: its mirror has taken its place", arguments[0]);
    vd_output_line(line);
  }
  return virtdisk_handle_close(handle, NULL, error);
}

const VdVerb vd_verb_mirror = {
    .name = "mirror",
    .arguments = "IMAGE TARGET",
    .summary = "Copy a disk that is in use to another file, and keep both alike",
    .min_arguments = 2,
    .max_arguments = 2,
    .options = entries,
    .check = check_mirror,
    .run = run_mirror,
};

const VdVerb vd_verb_break_mirror = {
    .name = "break-mirror",
    .arguments = "IMAGE",
    .summary = "Let the mirror of a disk take its place",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = break_entries,
    .check = check_format,
    .run = run_break,
};
