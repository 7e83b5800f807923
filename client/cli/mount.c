/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk mount: attach if need be, choose a file system, mount it. What fails half-way is undone. */
#include <unistd.h>

#include "choose.h"
#include "cli.h"
#include "exit.h"
#include "mount8.h"
#include "mounts.h"
#include "output.h"
#include "target.h"
#include "udisks.h"
#include "values.h"

static gint partition = VD_PARTITION_ANY;
static char *mount_options;
static gboolean read_only;
static char *format;

static const GOptionEntry entries[] = {
    {"partition", 'p', 0, G_OPTION_ARG_INT, &partition, "Which partition; 0 is the whole disk", "N"},
    {"options", 'o', 0, G_OPTION_ARG_STRING, &mount_options, "Mount options, with commas", "OPTIONS"},
    {"read-only", 'r', 0, G_OPTION_ARG_NONE, &read_only, "Mount, and attach, for reading only", NULL},
    {"format", 0, 0, G_OPTION_ARG_STRING, &format, "auto (default), iso, raw, vhd or vhdx", "FORMAT"},
    {NULL},
};

static VirtdiskAttachParameters *make_parameters(GError **error)
{
  g_autoptr(VirtdiskAttachParameters) parameters = virtdisk_attach_parameters_new();
  VirtdiskDeviceId device_id;
  const char *vendor = NULL;

  if (format != NULL && !vd_value_parse_format("--format", format, &device_id, &vendor, error))
    return NULL;
  if (vendor != NULL) {
    virtdisk_attach_parameters_set_device_id(parameters, device_id);
    virtdisk_attach_parameters_set_vendor_id(parameters, vendor);
  }
  if (read_only)
    virtdisk_attach_parameters_set_read_only(parameters, TRUE);
  virtdisk_attach_parameters_set_detach_on_unmount(parameters, TRUE);
  return g_steal_pointer(&parameters);
}

static gboolean check(GError **error)
{
  g_autoptr(VirtdiskAttachParameters) parameters = make_parameters(error);

  if (parameters == NULL)
    return FALSE;
  if (partition >= VD_PARTITION_ANY)
    return TRUE;
  g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "\"%d\" is no value for --partition",
              partition);
  return FALSE;
}

/* ret_ours: attached here and now. */
static VirtdiskDisk *find_or_attach(VdCli *cli, const VdTarget *target, gboolean *ret_ours, GError **error)
{
  g_autoptr(VirtdiskAttachParameters) parameters = NULL;
  g_autoptr(GError) cause = NULL;
  VirtdiskDisk *disk = vd_target_find_disk(cli, target, &cause);

  *ret_ours = FALSE;
  if (disk != NULL)
    return disk;
  if (target->kind != VD_TARGET_IMAGE || !vd_target_is_not_attached(cause)) {
    g_propagate_error(error, g_steal_pointer(&cause));
    return NULL;
  }
  parameters = make_parameters(error);
  if (parameters == NULL)
    return NULL;
  disk = virtdisk_client_attach_image(cli->client, target->path, parameters, cli->cancellable, error);
  *ret_ours = disk != NULL;
  return disk;
}

static char *choose_node(VirtdiskDisk *disk, const VdTarget *target, GError **error)
{
  g_autoptr(GVariant) file_systems = virtdisk_disk_get_file_systems(disk);
  gint wanted = partition == VD_PARTITION_ANY && target->partition > 0 ? (gint)target->partition : partition;

  return vd_choose_file_system(file_systems, virtdisk_disk_get_device(disk), wanted, error);
}

/* Options for the mount, or NULL. */
static char *make_mount_options(VirtdiskDisk *disk)
{
  gboolean ro = read_only || virtdisk_disk_get_read_only(disk);

  if (mount_options == NULL)
    return ro ? g_strdup("ro") : NULL;
  return ro ? g_strconcat("ro,", mount_options, NULL) : g_strdup(mount_options);
}

static char *mount_at_directory(VdCli *cli, const char *device, const char *directory, const char *options,
                                GError **error)
{
  if (geteuid() == 0)
    return vd_mount8_mount(device, directory, options, cli->cancellable, error);
  g_set_error_literal(error, VD_EXIT_ERROR, VD_EXIT_NOT_AUTHORISED,
                      "Only the superuser may choose the directory; without one UDisks2 does");
  return NULL;
}

static char *mount_node(VdCli *cli, const char *device, const char *directory, const char *options,
                        GError **error)
{
  g_autoptr(GPtrArray) present = vd_mounts_of(device, VD_MOUNTS_ONLY);
  g_autoptr(GError) cause = NULL;
  char *mountpoint;

  if (directory != NULL)
    return mount_at_directory(cli, device, directory, options, error);
  if (present->len > 0)
    return g_strdup(((const VdMount *)g_ptr_array_index(present, 0))->mountpoint);
  mountpoint = vd_udisks_mount(cli, device, options, &cause);
  if (mountpoint != NULL)
    return mountpoint;
  if (g_error_matches(cause, VD_EXIT_ERROR, VD_EXIT_NOT_AVAILABLE) && geteuid() == 0)
    return vd_mount8_mount(device, NULL, options, cli->cancellable, error);
  g_propagate_error(error, g_steal_pointer(&cause));
  return NULL;
}

/* Not with the run's cancellable: Ctrl-C is a reason to undo, not one to stop undoing. */
static void undo_attach(VdCli *cli, VirtdiskDisk *disk)
{
  g_autoptr(GError) error = NULL;

  if (!virtdisk_client_detach_image(cli->client, virtdisk_disk_get_device(disk), NULL, NULL, NULL, &error))
    g_debug("Cannot detach %s again: %s", virtdisk_disk_get_device(disk), error->message);
}

static void show(VdCli *cli, const char *device, const char *mountpoint)
{
  if (cli->json) {
    JsonObject *object = json_object_new();
    g_autofree char *shown = vd_value_to_utf8(mountpoint);

    json_object_set_string_member(object, "device", device);
    json_object_set_string_member(object, "mountpoint", shown);
    vd_output_json(json_node_init_object(json_node_alloc(), object), VD_JSON_PRETTY);
    json_object_unref(object);
  } else if (!cli->quiet) {
    vd_output_line(mountpoint);
  }
}

static char *mount_disk(VdCli *cli, VirtdiskDisk *disk, const VdTarget *target, const char *directory,
                        char **ret_device, GError **error)
{
  g_autofree char *options = make_mount_options(disk);

  *ret_device = choose_node(disk, target, error);
  return *ret_device != NULL ? mount_node(cli, *ret_device, directory, options, error) : NULL;
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autoptr(VdTarget) target = vd_target_new(arguments[0]);
  g_autoptr(VirtdiskDisk) disk = NULL;
  g_autofree char *device = NULL;
  g_autofree char *mountpoint = NULL;
  gboolean ours;

  disk = find_or_attach(cli, target, &ours, error);
  if (disk == NULL)
    return FALSE;
  mountpoint = mount_disk(cli, disk, target, arguments[1], &device, error);
  if (mountpoint == NULL) {
    if (ours)
      undo_attach(cli, disk);
    return FALSE;
  }
  show(cli, device, mountpoint);
  return TRUE;
}

const VdVerb vd_verb_mount = {
    .name = "mount",
    .arguments = "IMAGE|DEVICE [DIR]",
    .summary = "Mount a file system of a disk, attaching it if need be, and print where",
    .min_arguments = 1,
    .max_arguments = 2,
    .options = entries,
    .check = check,
    .run = run,
};
