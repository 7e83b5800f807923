/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "operate.h"

#include <string.h>

#include "output.h"
#include "values.h"

static VirtdiskOpenParameters *open_parameters(guint version, const char *format, GError **error)
{
  g_autoptr(VirtdiskOpenParameters) parameters = virtdisk_open_parameters_new();
  VirtdiskDeviceId device_id;
  const char *vendor = NULL;

  if (format != NULL && !vd_value_parse_format("--format", format, &device_id, &vendor, error))
    return NULL;
  if (vendor != NULL) {
    virtdisk_open_parameters_set_device_id(parameters, device_id);
    virtdisk_open_parameters_set_vendor_id(parameters, vendor);
  }
  virtdisk_open_parameters_set_version(parameters, version);
  return g_steal_pointer(&parameters);
}

VirtdiskHandle *vd_operate_open(VdCli *cli, const char *path, VirtdiskOpenFlags flags, const char *format,
                                GError **error)
{
  g_autoptr(VirtdiskOpenParameters) parameters = open_parameters(2, format, error);

  if (parameters == NULL)
    return NULL;
  return virtdisk_client_open_virtual_disk(cli->client, path, VIRTDISK_ACCESS_NONE, flags, parameters,
                                           cli->cancellable, error);
}

VirtdiskHandle *vd_operate_open_deep(VdCli *cli, const char *path, guint rw_depth, const char *format,
                                     GError **error)
{
  g_autoptr(VirtdiskOpenParameters) parameters = open_parameters(1, format, error);

  if (parameters == NULL)
    return NULL;
  virtdisk_open_parameters_set_rw_depth(parameters, rw_depth);
  return virtdisk_client_open_virtual_disk(
      cli->client, path, (VirtdiskAccessMask)(VIRTDISK_ACCESS_METAOPS | VIRTDISK_ACCESS_GET_INFO),
      VIRTDISK_OPEN_NONE, parameters, cli->cancellable, error);
}

gboolean vd_operate_get_size(VdCli *cli, VirtdiskHandle *handle, guint64 *ret, GError **error)
{
  g_autoptr(VirtdiskInfo) size =
      virtdisk_handle_get_virtual_disk_information(handle, VIRTDISK_INFO_SIZE, cli->cancellable, error);

  if (size == NULL)
    return FALSE;
  *ret = virtdisk_info_get_virtual_size(size);
  return TRUE;
}

VirtdiskOperationParameters *vd_operate_parameters(VdBar *bar, VdJobHow how)
{
  VirtdiskOperationParameters *parameters = virtdisk_operation_parameters_new();

  virtdisk_operation_parameters_set_progress(parameters, vd_bar_on_progress, bar, NULL);
  if (how == VD_JOB_DETACHED) {
    virtdisk_operation_parameters_set_detach_job(parameters, TRUE);
    virtdisk_operation_parameters_set_background(parameters, TRUE);
  }
  return parameters;
}

/* ---- what came of it ---- */

static gboolean get_number(GVariant *results, const char *key, guint64 *ret)
{
  return results != NULL && g_variant_lookup(results, key, "t", ret);
}

char *vd_operate_describe(const char *operation, GVariant *results)
{
  GString *out = g_string_new(NULL);
  const char *note = NULL;
  guint64 bytes = 0;

  if (get_number(results, "given-back", &bytes)) {
    g_autofree char *size = vd_value_format_size(bytes);

    g_string_append_printf(out, "%s given back", size);
  } else if (get_number(results, "new-size", &bytes)) {
    g_autofree char *size = vd_value_format_size(bytes);

    g_string_append_printf(out, "the disk has %s now", size);
  } else if (get_number(results, "copied", &bytes)) {
    g_autofree char *size = vd_value_format_size(bytes);

    g_string_append_printf(out, "%s copied", size);
  } else {
    g_string_append_printf(out, "%s is done", operation);
  }
  if (results != NULL && g_variant_lookup(results, "note", "&s", &note) && *note != '\0')
    g_string_append_printf(out, "; %s", note);
  return g_string_free(out, FALSE);
}

const char *vd_operate_job_name(VirtdiskJob *job)
{
  const char *path = virtdisk_job_get_object_path(job), *slash = strrchr(path, '/');

  return slash != NULL ? slash + 1 : path;
}

static void set_size(JsonObject *object, const char *name, guint64 value)
{
  json_object_set_int_member(object, name, (gint64)MIN(value, (guint64)G_MAXINT64));
}

JsonObject *vd_operate_job_to_json(VirtdiskJob *job)
{
  JsonObject *object = json_object_new();
  g_autoptr(GVariant) results = virtdisk_job_get_results(job);
  g_autoptr(GError) error = virtdisk_job_get_error(job);

  json_object_set_string_member(object, "job", vd_operate_job_name(job));
  json_object_set_string_member(object, "operation", virtdisk_job_get_operation(job));
  json_object_set_string_member(object, "path", virtdisk_job_get_path(job));
  json_object_set_string_member(object, "state", virtdisk_job_get_state(job));
  json_object_set_int_member(object, "owner-uid", virtdisk_job_get_owner_uid(job));
  if (virtdisk_job_get_progress(job) >= 0)
    json_object_set_double_member(object, "progress", virtdisk_job_get_progress(job));
  set_size(object, "bytes", virtdisk_job_get_bytes(job));
  set_size(object, "rate", virtdisk_job_get_rate(job));
  set_size(object, "start-time", virtdisk_job_get_start_time(job));
  set_size(object, "expected-end-time", virtdisk_job_get_expected_end_time(job));
  json_object_set_boolean_member(object, "cancelable", virtdisk_job_get_cancelable(job));
  json_object_set_boolean_member(object, "detached", virtdisk_job_get_detached(job));
  if (error != NULL)
    json_object_set_string_member(object, "error", error->message);
  if (results != NULL)
    json_object_set_member(object, "results", vd_output_variant_to_json(results));
  return object;
}

static void show_json(VirtdiskJob *job)
{
  JsonObject *object = vd_operate_job_to_json(job);

  vd_output_json(json_node_init_object(json_node_alloc(), object), VD_JSON_PRETTY);
  json_object_unref(object);
}

void vd_operate_show(const VdCli *cli, const char *image, VirtdiskJob *job)
{
  g_autoptr(GVariant) results = virtdisk_job_get_results(job);
  g_autofree char *text = NULL, *line = NULL;

  if (cli->json) {
    show_json(job);
    return;
  }
  if (cli->quiet)
    return;
  /* Without results it has only begun: what a script wants then is the name. */
  if (results == NULL) {
    vd_output_line(vd_operate_job_name(job));
    return;
  }
  text = vd_operate_describe(virtdisk_job_get_operation(job), results);
  line = g_strdup_printf("%s: %s", image, text);
  vd_output_line(line);
}
