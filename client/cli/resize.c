/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk expand and virtdisk resize */
#include "operate.h"
#include "values.h"

static struct {
  char *format;
  gboolean detach_job, to_smallest, unsafe;
} given;

static const GOptionEntry expand_entries[] = {
    {"format", 0, 0, G_OPTION_ARG_STRING, &given.format, "auto (default), raw, vhd or vhdx", "FORMAT"},
    VD_OPERATE_DETACH_JOB(&given.detach_job),
    {NULL},
};

static const GOptionEntry resize_entries[] = {
    {"to-smallest", 0, 0, G_OPTION_ARG_NONE, &given.to_smallest,
     "As small as the partitions on the disk allow", NULL},
    {"unsafe", 0, 0, G_OPTION_ARG_NONE, &given.unsafe, "Also cut partitions off", NULL},
    {"format", 0, 0, G_OPTION_ARG_STRING, &given.format, "auto (default), raw, vhd or vhdx", "FORMAT"},
    VD_OPERATE_DETACH_JOB(&given.detach_job),
    {NULL},
};

static gboolean misuse(GError **error, const char *text)
{
  g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, text);
  return FALSE;
}

static gboolean check_format(GError **error)
{
  VirtdiskDeviceId device_id;
  const char *vendor;

  return given.format == NULL || vd_value_parse_format("--format", given.format, &device_id, &vendor, error);
}

static gboolean check_resize(GError **error)
{
  if (given.to_smallest && given.unsafe)
    return misuse(error, "--to-smallest and --unsafe exclude each other");
  return check_format(error);
}

/* A size, or with a sign before it what is added to or taken from the present one. */
typedef struct {
  char sign; /* '+', '-' or 0 */
  guint64 bytes;
} Wanted;

static gboolean parse_wanted(const char *text, Wanted *ret, GError **error)
{
  ret->sign = *text == '+' || *text == '-' ? *text : 0;
  return vd_value_parse_size("SIZE", ret->sign != 0 ? text + 1 : text, &ret->bytes, error);
}

static gboolean find_size(VdCli *cli, VirtdiskHandle *handle, const Wanted *wanted, guint64 *ret,
                          GError **error)
{
  guint64 now;

  *ret = wanted->bytes;
  if (wanted->sign == 0)
    return TRUE;
  if (!vd_operate_get_size(cli, handle, &now, error))
    return FALSE;
  if (wanted->sign == '-' && wanted->bytes > now)
    return misuse(error, "SIZE takes away more than there is");
  if (wanted->sign == '+' && wanted->bytes > G_MAXUINT64 - now)
    return misuse(error, "SIZE is too large");
  *ret = wanted->sign == '-' ? now - wanted->bytes : now + wanted->bytes;
  return TRUE;
}

typedef VirtdiskJob *(*Operation)(VirtdiskHandle *handle, guint64 size,
                                  VirtdiskOperationParameters *parameters, GCancellable *cancellable,
                                  GError **error);

static gboolean run_operation(VdCli *cli, char **arguments, Operation operation, GError **error)
{
  g_autofree char *path = vd_value_absolute(arguments[0]);
  g_autoptr(VirtdiskHandle) handle = NULL;
  g_autoptr(VdBar) bar = vd_bar_new(cli);
  g_autoptr(VirtdiskOperationParameters) parameters =
      vd_operate_parameters(bar, given.detach_job ? VD_JOB_DETACHED : VD_JOB_FOREGROUND);
  g_autoptr(VirtdiskJob) job = NULL;
  Wanted wanted = {0, 0};
  guint64 size;

  if (arguments[1] != NULL && !parse_wanted(arguments[1], &wanted, error))
    return FALSE;
  handle = vd_operate_open(cli, path, VIRTDISK_OPEN_NONE, given.format, error);
  if (handle == NULL || !find_size(cli, handle, &wanted, &size, error))
    return FALSE;
  job = operation(handle, size, parameters, cli->cancellable, error);
  g_clear_pointer(&bar, vd_bar_free);
  if (job == NULL)
    return FALSE;
  vd_operate_show(cli, arguments[0], job);
  return virtdisk_handle_close(handle, NULL, error);
}

static VirtdiskJob *expand(VirtdiskHandle *handle, guint64 size, VirtdiskOperationParameters *parameters,
                           GCancellable *cancellable, GError **error)
{
  return virtdisk_handle_expand_virtual_disk(handle, VIRTDISK_EXPAND_NONE, size, parameters, cancellable,
                                             error);
}

static gboolean run_expand(VdCli *cli, char **arguments, GError **error)
{
  return run_operation(cli, arguments, expand, error);
}

static VirtdiskJob *resize(VirtdiskHandle *handle, guint64 size, VirtdiskOperationParameters *parameters,
                           GCancellable *cancellable, GError **error)
{
  VirtdiskResizeFlags flags = given.to_smallest ? VIRTDISK_RESIZE_TO_SMALLEST_SAFE_VIRTUAL_SIZE
                              : given.unsafe    ? VIRTDISK_RESIZE_ALLOW_UNSAFE_VIRTUAL_SIZE
                                                : VIRTDISK_RESIZE_NONE;

  return virtdisk_handle_resize_virtual_disk(handle, flags, size, parameters, cancellable, error);
}

static gboolean run_resize(VdCli *cli, char **arguments, GError **error)
{
  if (given.to_smallest == (arguments[1] != NULL))
    return misuse(error,
                  given.to_smallest ? "--to-smallest takes no SIZE" : "resize needs SIZE or --to-smallest");
  return run_operation(cli, arguments, resize, error);
}

const VdVerb vd_verb_expand = {
    .name = "expand",
    .arguments = "IMAGE SIZE",
    .summary = "Make the disk larger",
    .min_arguments = 2,
    .max_arguments = 2,
    .options = expand_entries,
    .check = check_format,
    .run = run_expand,
};

const VdVerb vd_verb_resize = {
    .name = "resize",
    .arguments = "IMAGE [SIZE]",
    .summary = "Make the disk larger or smaller",
    .min_arguments = 1,
    .max_arguments = 2,
    .options = resize_entries,
    .check = check_resize,
    .run = run_resize,
};
