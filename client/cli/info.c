/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk info: everything known about an image, attached or not. */
#include "cli.h"
#include "known.h"
#include "target.h"
#include "values.h"

static char *format;

static const GOptionEntry entries[] = {
    {"format", 0, 0, G_OPTION_ARG_STRING, &format, "auto (default), iso, raw, vhd or vhdx", "FORMAT"},
    {NULL},
};

/* An attached disk is opened as what it is attached as. */
static gboolean set_format(VirtdiskOpenParameters *parameters, VirtdiskDisk *disk, GError **error)
{
  VirtdiskDeviceId device_id;
  const char *vendor = NULL;

  if (format != NULL && !vd_value_parse_format("--format", format, &device_id, &vendor, error))
    return FALSE;
  if (vendor == NULL && disk != NULL) {
    device_id = virtdisk_disk_get_device_id(disk);
    vendor = virtdisk_disk_get_vendor_id(disk);
  }
  if (vendor != NULL) {
    virtdisk_open_parameters_set_device_id(parameters, device_id);
    virtdisk_open_parameters_set_vendor_id(parameters, vendor);
  }
  return TRUE;
}

/* What is attached for longer than a handle can only be opened with DETACH in the mask. */
static VirtdiskHandle *open_as(VdCli *cli, const VdKnown *known, VirtdiskOpenFlags flags, GError **error)
{
  g_autoptr(VirtdiskOpenParameters) parameters = virtdisk_open_parameters_new();
  VirtdiskAccessMask mask = VIRTDISK_ACCESS_GET_INFO | (known->disk != NULL ? VIRTDISK_ACCESS_DETACH : 0);

  virtdisk_open_parameters_set_rw_depth(parameters, 0);
  if (!set_format(parameters, known->disk, error))
    return NULL;
  return virtdisk_client_open_virtual_disk(cli->client, known->path, mask, flags, parameters,
                                           cli->cancellable, error);
}

static gboolean is_about_parents(const GError *error)
{
  static const VirtdiskError codes[] = {
      VIRTDISK_ERROR_VHD_PARENT_VHD_NOT_FOUND,
      VIRTDISK_ERROR_VHD_CHILD_PARENT_ID_MISMATCH,
      VIRTDISK_ERROR_VHD_CHILD_PARENT_TIMESTAMP_MISMATCH,
      VIRTDISK_ERROR_VHD_PARENT_VHD_ACCESS_DENIED,
      VIRTDISK_ERROR_VHD_CHILD_PARENT_SIZE_MISMATCH,
      VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED,
      VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT,
  };

  for (gsize i = 0; i < G_N_ELEMENTS(codes); i++)
    if (g_error_matches(error, VIRTDISK_ERROR, (gint)codes[i]))
      return TRUE;
  return FALSE;
}

/* An image whose parents are not to be had can still be looked at, and that is when people look. */
static VirtdiskHandle *open_image(VdCli *cli, VdKnown *known, GError **error)
{
  g_autoptr(GError) cause = NULL;
  VirtdiskHandle *handle = open_as(cli, known, VIRTDISK_OPEN_NONE, &cause);

  if (handle != NULL)
    return handle;
  if (!is_about_parents(cause)) {
    g_propagate_error(error, g_steal_pointer(&cause));
    return NULL;
  }
  known->parents_missing = g_strdup(cause->message);
  return open_as(cli, known, VIRTDISK_OPEN_NO_PARENTS, error);
}

/* A kind that means nothing for this format is passed over. */
static gboolean ask_kinds(VdCli *cli, VirtdiskHandle *handle, VdKnown *known, GError **error)
{
  for (guint kind = VIRTDISK_INFO_SIZE; kind < VD_INFO_N_KINDS; kind++) {
    g_autoptr(GError) cause = NULL;

    known->kinds[kind] = virtdisk_handle_get_virtual_disk_information(handle, (VirtdiskInfoVersion)kind,
                                                                      cli->cancellable, &cause);
    if (cause != NULL && cause->domain != VIRTDISK_ERROR) {
      g_propagate_error(error, g_steal_pointer(&cause));
      return FALSE;
    }
  }
  return virtdisk_handle_close(handle, cli->cancellable, error);
}

/* Of an attached disk, what its properties say is shown even when the caller may not open the file. */
static gboolean ask_image(VdCli *cli, VdKnown *known, GError **error)
{
  g_autoptr(GError) cause = NULL;
  g_autoptr(VirtdiskHandle) handle = open_image(cli, known, &cause);

  if (handle != NULL)
    return ask_kinds(cli, handle, known, error);
  if (known->disk == NULL || cause->domain != VIRTDISK_ERROR) {
    g_propagate_error(error, g_steal_pointer(&cause));
    return FALSE;
  }
  known->unopened = g_strdup(cause->message);
  return TRUE;
}

static gboolean ask_disk(VdCli *cli, const VdTarget *target, VdKnown *known, GError **error)
{
  g_autoptr(GError) cause = NULL;

  known->disk = vd_target_find_disk(cli, target, &cause);
  if (known->disk != NULL) {
    known->path = g_strdup(virtdisk_disk_get_file_name(known->disk));
    known->dependencies = virtdisk_client_get_storage_dependency_information(
        cli->client, virtdisk_disk_get_device(known->disk),
        VIRTDISK_DEPENDENCY_HOST_VOLUMES | VIRTDISK_DEPENDENCY_DISK_HANDLE, 2, cli->cancellable, NULL);
    return TRUE;
  }
  if (target->kind != VD_TARGET_IMAGE || !vd_target_is_not_attached(cause)) {
    g_propagate_error(error, g_steal_pointer(&cause));
    return FALSE;
  }
  known->path = g_strdup(target->path);
  return TRUE;
}

static gboolean check(GError **error)
{
  VirtdiskDeviceId device_id;
  const char *vendor;

  return format == NULL || vd_value_parse_format("--format", format, &device_id, &vendor, error);
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autoptr(VdTarget) target = vd_target_new(arguments[0]);
  g_auto(VdKnown) known = {NULL};

  if (!ask_disk(cli, target, &known, error) || !ask_image(cli, &known, error))
    return FALSE;
  if (cli->json)
    vd_known_show_json(&known);
  else if (!cli->quiet)
    vd_known_show_text(&known);
  return TRUE;
}

const VdVerb vd_verb_info = {
    .name = "info",
    .arguments = "IMAGE|DEVICE",
    .summary = "Show everything known about an image",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = entries,
    .check = check,
    .run = run,
};
