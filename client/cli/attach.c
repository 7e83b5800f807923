/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk attach */
#include "attach.h"

#include "output.h"
#include "values.h"

static VdAttachOptions given;

static gboolean on_scan_option(const char *name, const char *value, gpointer data, GError **error)
{
  given.scan = g_str_equal(name, "--partition-scan") ? VD_SCAN_YES : VD_SCAN_NO;
  return TRUE;
}

static const GOptionEntry entries[] = {
    {"read-only", 'r', 0, G_OPTION_ARG_NONE, &given.read_only, "Attach for reading only", NULL},
    {"lifetime", 0, 0, G_OPTION_ARG_STRING, &given.lifetime, "session, permanent (default) or boot",
     "LIFETIME"},
    {"detach-on-unmount", 0, 0, G_OPTION_ARG_NONE, &given.detach_on_unmount, "Detach after the last unmount",
     NULL},
    {"format", 0, 0, G_OPTION_ARG_STRING, &given.format, "auto (default), iso, raw, vhd or vhdx", "FORMAT"},
    {"sector-size", 0, 0, G_OPTION_ARG_INT, &given.sector_size, "512, 1024, 2048 or 4096", "BYTES"},
    {"partition-scan", 0, G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, on_scan_option,
     "Make devices for partitions", NULL},
    {"no-partition-scan", 0, G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, on_scan_option,
     "Leave partitions alone", NULL},
    {"owner", 0, 0, G_OPTION_ARG_STRING, &given.owner, "Owner of the device node", "USER"},
    {"group", 0, 0, G_OPTION_ARG_STRING, &given.group, "Group of the device node", "GROUP"},
    {"mode", 0, 0, G_OPTION_ARG_STRING, &given.mode, "Permissions of the device node, octal", "MODE"},
    {"offset", 0, 0, G_OPTION_ARG_STRING, &given.offset, "Show the disk from here on", "SIZE"},
    {"size", 0, 0, G_OPTION_ARG_STRING, &given.size, "Show this much of the disk", "SIZE"},
    {"no-automount", 0, 0, G_OPTION_ARG_NONE, &given.no_automount, "Ask the desktop not to mount it", NULL},
    {"route", 0, 0, G_OPTION_ARG_STRING, &given.route, "loop, ublk or fuse; by default the best there is",
     "ROUTE"},
    {"zero-copy", 0, 0, G_OPTION_ARG_NONE, &given.zero_copy,
     "With ublk: spare a copy; fails where the kernel cannot", NULL},
    {NULL},
};

gboolean vd_attach_parse_range(const VdAttachOptions *options, VdAttachRange *ret, GError **error)
{
  *ret = (VdAttachRange){.given = options->offset != NULL || options->size != NULL,
                         .to_the_end = options->offset != NULL && options->size == NULL};
  return (options->offset == NULL || vd_value_parse_size("--offset", options->offset, &ret->offset, error)) &&
         (options->size == NULL || vd_value_parse_size("--size", options->size, &ret->length, error));
}

static gboolean set_format(VirtdiskAttachParameters *parameters, const char *format, GError **error)
{
  VirtdiskDeviceId device_id;
  const char *vendor;

  if (!vd_value_parse_format("--format", format, &device_id, &vendor, error))
    return FALSE;
  if (vendor != NULL) {
    virtdisk_attach_parameters_set_device_id(parameters, device_id);
    virtdisk_attach_parameters_set_vendor_id(parameters, vendor);
  }
  return TRUE;
}

static gboolean set_lifetime(VirtdiskAttachParameters *parameters, const char *lifetime, GError **error)
{
  if (!vd_value_check_lifetime("--lifetime", lifetime, error))
    return FALSE;
  virtdisk_attach_parameters_set_lifetime(parameters, lifetime);
  return TRUE;
}

static gboolean set_node(VirtdiskAttachParameters *parameters, const VdAttachOptions *options, GError **error)
{
  guint32 number;

  if (options->owner != NULL) {
    if (!vd_value_parse_user("--owner", options->owner, &number, error))
      return FALSE;
    virtdisk_attach_parameters_set_owner_uid(parameters, number);
  }
  if (options->group != NULL) {
    if (!vd_value_parse_group("--group", options->group, &number, error))
      return FALSE;
    virtdisk_attach_parameters_set_owner_gid(parameters, number);
  }
  if (options->mode != NULL) {
    if (!vd_value_parse_mode("--mode", options->mode, &number, error))
      return FALSE;
    virtdisk_attach_parameters_set_mode(parameters, number);
  }
  return TRUE;
}

static gboolean set_sector_size(VirtdiskAttachParameters *parameters, gint size, GError **error)
{
  if (size != 512 && size != 1024 && size != 2048 && size != 4096) {
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "\"%d\" is no value for --sector-size; expected 512, 1024, 2048 or 4096", size);
    return FALSE;
  }
  virtdisk_attach_parameters_set_sector_size(parameters, (guint)size);
  return TRUE;
}

static gboolean set_route(VirtdiskAttachParameters *parameters, const char *route, GError **error)
{
  if (!vd_value_check_route("--route", route, error))
    return FALSE;
  virtdisk_attach_parameters_set_route(parameters, route);
  return TRUE;
}

static void set_flags(VirtdiskAttachParameters *parameters, const VdAttachOptions *options,
                      const VdAttachRange *range)
{
  VirtdiskAttachFlags flags = VIRTDISK_ATTACH_NONE;

  if (options->no_automount)
    flags |= VIRTDISK_ATTACH_NO_DRIVE_LETTER;
  if (range->given)
    flags |= VIRTDISK_ATTACH_RESTRICTED_RANGE;
  if (flags != VIRTDISK_ATTACH_NONE)
    virtdisk_attach_parameters_set_flags(parameters, flags);
}

VirtdiskAttachParameters *vd_attach_make_parameters(const VdAttachOptions *options,
                                                    const VdAttachRange *range, GError **error)
{
  g_autoptr(VirtdiskAttachParameters) parameters = virtdisk_attach_parameters_new();

  if (options->read_only)
    virtdisk_attach_parameters_set_read_only(parameters, TRUE);
  if (options->detach_on_unmount)
    virtdisk_attach_parameters_set_detach_on_unmount(parameters, TRUE);
  if (options->zero_copy)
    virtdisk_attach_parameters_set_zero_copy(parameters, TRUE);
  if (options->scan != VD_SCAN_DEFAULT)
    virtdisk_attach_parameters_set_partition_scan(parameters, options->scan == VD_SCAN_YES);
  if ((options->lifetime != NULL && !set_lifetime(parameters, options->lifetime, error)) ||
      (options->format != NULL && !set_format(parameters, options->format, error)) ||
      (options->sector_size != 0 && !set_sector_size(parameters, options->sector_size, error)) ||
      (options->route != NULL && !set_route(parameters, options->route, error)) ||
      !set_node(parameters, options, error))
    return NULL;
  set_flags(parameters, options, range);
  if (range->given && !range->to_the_end)
    virtdisk_attach_parameters_set_restricted_range(parameters, range->offset, range->length);
  return g_steal_pointer(&parameters);
}

/* The API wants the length of a range; only the image knows it. */
static gboolean find_length(VdCli *cli, const char *path, VdAttachRange *range, GError **error)
{
  g_autoptr(VirtdiskOpenParameters) parameters = virtdisk_open_parameters_new();
  g_autoptr(VirtdiskHandle) handle = NULL;
  g_autoptr(VirtdiskInfo) info = NULL;
  VirtdiskDeviceId device_id;
  const char *vendor = NULL;

  virtdisk_open_parameters_set_rw_depth(parameters, 0);
  if (given.format != NULL && !vd_value_parse_format("--format", given.format, &device_id, &vendor, error))
    return FALSE;
  if (vendor != NULL) {
    virtdisk_open_parameters_set_device_id(parameters, device_id);
    virtdisk_open_parameters_set_vendor_id(parameters, vendor);
  }
  handle = virtdisk_client_open_virtual_disk(cli->client, path, VIRTDISK_ACCESS_GET_INFO, VIRTDISK_OPEN_NONE,
                                             parameters, cli->cancellable, error);
  if (handle == NULL)
    return FALSE;
  info = virtdisk_handle_get_virtual_disk_information(handle, VIRTDISK_INFO_SIZE, cli->cancellable, error);
  if (info == NULL || !virtdisk_handle_close(handle, cli->cancellable, error))
    return FALSE;
  if (range->offset >= virtdisk_info_get_virtual_size(info)) {
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "--offset lies beyond the disk, which has %" G_GUINT64_FORMAT " bytes",
                virtdisk_info_get_virtual_size(info));
    return FALSE;
  }
  range->length = virtdisk_info_get_virtual_size(info) - range->offset;
  return TRUE;
}

static void show(VdCli *cli, VirtdiskDisk *disk)
{
  if (cli->json) {
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "device", virtdisk_disk_get_device(disk));
    json_object_set_string_member(object, "disk", virtdisk_disk_get_object_path(disk));
    vd_output_json_set_path(object, virtdisk_disk_get_file_name(disk));
    json_object_set_boolean_member(object, "read-only", virtdisk_disk_get_read_only(disk));
    json_object_set_boolean_member(object, "settled", virtdisk_disk_get_settled(disk));
    vd_output_json(json_node_init_object(json_node_alloc(), object), VD_JSON_PRETTY);
    json_object_unref(object);
  } else if (!cli->quiet) {
    vd_output_line(virtdisk_disk_get_device(disk));
  }
}

/* What check() made of the options. */
static VdAttachRange wanted_range;
static VirtdiskAttachParameters *wanted;

static gboolean check(GError **error)
{
  g_clear_object(&wanted);
  if (vd_attach_parse_range(&given, &wanted_range, error))
    wanted = vd_attach_make_parameters(&given, &wanted_range, error);
  return wanted != NULL;
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autofree char *path = vd_value_absolute(arguments[0]);
  g_autoptr(VirtdiskAttachParameters) parameters = g_steal_pointer(&wanted);
  g_autoptr(VirtdiskDisk) disk = NULL;

  if (wanted_range.to_the_end) {
    if (!find_length(cli, path, &wanted_range, error))
      return FALSE;
    virtdisk_attach_parameters_set_restricted_range(parameters, wanted_range.offset, wanted_range.length);
  }
  disk = virtdisk_client_attach_image(cli->client, path, parameters, cli->cancellable, error);
  if (disk == NULL)
    return FALSE;
  show(cli, disk);
  return TRUE;
}

const VdVerb vd_verb_attach = {
    .name = "attach",
    .arguments = "IMAGE",
    .summary = "Attach an image and print the device",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = entries,
    .check = check,
    .run = run,
};
