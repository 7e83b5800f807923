/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "creating.h"

#include "output.h"
#include "values.h"

/* ---- values ---- */

gboolean vd_creating_set_format(VirtdiskCreateParameters *parameters, const char *text, GError **error)
{
  VirtdiskDeviceId device_id;
  const char *vendor = NULL;

  if (text != NULL && !vd_value_parse_format("--format", text, &device_id, &vendor, error))
    return FALSE;
  if (vendor != NULL) {
    virtdisk_create_parameters_set_device_id(parameters, device_id);
    virtdisk_create_parameters_set_vendor_id(parameters, vendor);
  }
  return TRUE;
}

gboolean vd_creating_set_source_format(VirtdiskCreateParameters *parameters, const char *text, GError **error)
{
  VirtdiskDeviceId device_id;
  const char *vendor = NULL;

  if (text != NULL && !vd_value_parse_format("--source-format", text, &device_id, &vendor, error))
    return FALSE;
  if (vendor != NULL) {
    virtdisk_create_parameters_set_source_device_id(parameters, device_id);
    virtdisk_create_parameters_set_source_vendor_id(parameters, vendor);
  }
  return TRUE;
}

gboolean vd_creating_set_block_size(VirtdiskCreateParameters *parameters, const char *text, GError **error)
{
  guint64 size = 0;

  if (text == NULL)
    return TRUE;
  if (!vd_value_parse_size("--block-size", text, &size, error))
    return FALSE;
  if (size > G_MAXUINT32) {
    g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "--block-size is at most 256MiB");
    return FALSE;
  }
  virtdisk_create_parameters_set_block_size(parameters, (guint)size);
  return TRUE;
}

gboolean vd_creating_check_sector(const char *option, gint size, GError **error)
{
  if (size == 0 || size == 512 || size == 4096)
    return TRUE;
  g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
              "\"%d\" is no value for %s; expected 512 or 4096", size, option);
  return FALSE;
}

/* ---- what was made ---- */

static VirtdiskInfo *ask(VdCli *cli, VirtdiskHandle *handle, VirtdiskInfoVersion version, GError **error)
{
  return virtdisk_handle_get_virtual_disk_information(handle, version, cli->cancellable, error);
}

/* Not every format has an identifier. */
static gboolean show_json(VdCli *cli, VirtdiskHandle *handle, const char *path, GError **error)
{
  g_autoptr(VirtdiskInfo) size = ask(cli, handle, VIRTDISK_INFO_SIZE, error);
  g_autoptr(VirtdiskInfo) identifier = size != NULL ? ask(cli, handle, VIRTDISK_INFO_IDENTIFIER, NULL) : NULL;
  JsonObject *object;

  if (size == NULL)
    return FALSE;
  object = json_object_new();
  vd_output_json_set_path(object, path);
  json_object_set_int_member(object, "virtual-size", (gint64)virtdisk_info_get_virtual_size(size));
  json_object_set_int_member(object, "physical-size", (gint64)virtdisk_info_get_physical_size(size));
  json_object_set_int_member(object, "block-size", virtdisk_info_get_block_size(size));
  json_object_set_int_member(object, "sector-size", virtdisk_info_get_sector_size(size));
  if (identifier != NULL && virtdisk_info_get_identifier(identifier) != NULL)
    json_object_set_string_member(object, "identifier", virtdisk_info_get_identifier(identifier));
  vd_output_json(json_node_init_object(json_node_alloc(), object), VD_JSON_PRETTY);
  json_object_unref(object);
  return TRUE;
}

/* ---- making it ---- */

static gboolean run_detached(VdCli *cli, const VdCreating *creating, const char *path, GError **error)
{
  g_autoptr(VirtdiskJob) job = NULL;

  virtdisk_create_parameters_set_detach_job(creating->parameters, TRUE);
  job =
      virtdisk_client_create_virtual_disk_job(cli->client, path, VIRTDISK_ACCESS_NONE, creating->flags,
                                              creating->size, creating->parameters, cli->cancellable, error);
  if (job == NULL)
    return FALSE;
  vd_operate_show(cli, creating->argument, job);
  return TRUE;
}

gboolean vd_creating_run(VdCli *cli, const VdCreating *creating, GError **error)
{
  g_autofree char *path = vd_value_absolute(creating->argument);
  g_autoptr(VdBar) bar = vd_bar_new(cli);
  g_autoptr(VirtdiskHandle) handle = NULL;

  if (creating->how == VD_CREATING_DETACHED)
    return run_detached(cli, creating, path, error);
  if (creating->how == VD_CREATING_WITH_PROGRESS)
    virtdisk_create_parameters_set_progress(creating->parameters, vd_bar_on_progress, bar, NULL);
  handle = virtdisk_client_create_virtual_disk(cli->client, path, VIRTDISK_ACCESS_NONE, creating->flags,
                                               creating->size, creating->parameters, cli->cancellable, error);
  g_clear_pointer(&bar, vd_bar_free);
  if (handle == NULL || (cli->json && !show_json(cli, handle, path, error)))
    return FALSE;
  return virtdisk_handle_close(handle, cli->cancellable, error);
}
