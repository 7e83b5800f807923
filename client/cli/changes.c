/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk changes: which parts of an image's disk were changed since a point. */
#include <stdio.h>

#include "exit.h"
#include "operate.h"
#include "output.h"
#include "values.h"

/* Ranges that are asked for at a time. */
#define RANGES 65536

static struct {
  char *since, *format;
} given;

static const GOptionEntry entries[] = {
    {"since", 0, 0, G_OPTION_ARG_STRING, &given.since, "With list: the point; else the newest", "ID"},
    {"format", 0, 0, G_OPTION_ARG_STRING, &given.format, "auto (default), raw, vhd or vhdx", "FORMAT"},
    {NULL},
};

typedef enum { ACTION_ENABLE, ACTION_DISABLE, ACTION_SEAL, ACTION_STATE, ACTION_LIST, N_ACTIONS } Action;

static const char *const words[N_ACTIONS] = {"enable", "disable", "seal", "state", "list"};

static gboolean misuse(GError **error, const char *text)
{
  g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, text);
  return FALSE;
}

static gboolean check(GError **error)
{
  VirtdiskDeviceId device_id;
  const char *vendor;

  return given.format == NULL || vd_value_parse_format("--format", given.format, &device_id, &vendor, error);
}

static gboolean find_action(const char *word, Action *ret, GError **error)
{
  for (guint i = 0; i < N_ACTIONS; i++)
    if (g_str_equal(word, words[i])) {
      *ret = (Action)i;
      return (*ret == ACTION_LIST || given.since == NULL) || misuse(error, "--since belongs to list");
    }
  return misuse(error, "changes takes enable, disable, seal, state or list");
}

static VirtdiskHandle *open_to_look(VdCli *cli, const char *path, GError **error)
{
  g_autoptr(VirtdiskOpenParameters) parameters = virtdisk_open_parameters_new();
  VirtdiskDeviceId device_id = VIRTDISK_DEVICE_UNKNOWN;
  const char *vendor = NULL;

  if (given.format != NULL && !vd_value_parse_format("--format", given.format, &device_id, &vendor, error))
    return NULL;
  virtdisk_open_parameters_set_device_id(parameters, device_id);
  virtdisk_open_parameters_set_version(parameters, 2);
  virtdisk_open_parameters_set_get_info_only(parameters, TRUE);
  return virtdisk_client_open_virtual_disk(cli->client, path, VIRTDISK_ACCESS_NONE, VIRTDISK_OPEN_NO_PARENTS,
                                           parameters, cli->cancellable, error);
}

static VirtdiskInfo *get_state(VdCli *cli, VirtdiskHandle *handle, GError **error)
{
  return virtdisk_handle_get_virtual_disk_information(handle, VIRTDISK_INFO_CHANGE_TRACKING_STATE,
                                                      cli->cancellable, error);
}

/* ---- enable, disable, seal ---- */

static VirtdiskSetInfo *make_change(Action action)
{
  return action == ACTION_SEAL ? virtdisk_set_info_new_change_tracking_point()
                               : virtdisk_set_info_new_change_tracking(action == ACTION_ENABLE);
}

static gboolean change(VdCli *cli, Action action, const char *path, GError **error)
{
  g_autoptr(VirtdiskSetInfo) info = make_change(action);
  g_autoptr(VirtdiskInfo) state = NULL;
  g_autoptr(VirtdiskHandle) handle =
      vd_operate_open(cli, path, VIRTDISK_OPEN_NO_PARENTS, given.format, error);

  if (handle == NULL || !virtdisk_handle_set_virtual_disk_information(handle, info, cli->cancellable, error))
    return FALSE;
  if (action != ACTION_DISABLE && !cli->quiet) {
    state = get_state(cli, handle, error);
    if (state == NULL)
      return FALSE;
    vd_output_line(virtdisk_info_get_most_recent_id(state));
  }
  return virtdisk_handle_close(handle, NULL, error);
}

/* ---- state ---- */

static void show_state(VdCli *cli, VirtdiskInfo *state)
{
  JsonObject *object;

  if (!cli->json) {
    vd_output_pair("Tracked", virtdisk_info_get_change_tracking_enabled(state) ? "yes" : "no");
    vd_output_pair("Newer changes", virtdisk_info_get_newer_changes(state) ? "yes" : "no");
    vd_output_pair("Newest point", virtdisk_info_get_most_recent_id(state));
    return;
  }
  object = json_object_new();
  json_object_set_boolean_member(object, "enabled", virtdisk_info_get_change_tracking_enabled(state));
  json_object_set_boolean_member(object, "newer-changes", virtdisk_info_get_newer_changes(state));
  json_object_set_string_member(object, "most-recent-id", virtdisk_info_get_most_recent_id(state));
  vd_output_json(json_node_init_object(json_node_alloc(), object), VD_JSON_PRETTY);
  json_object_unref(object);
}

/* ---- list ---- */

static void show_range(JsonArray *array, const VirtdiskRange *range)
{
  JsonObject *object;

  if (array == NULL) {
    printf("%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", range->offset, range->length);
    return;
  }
  object = json_object_new();
  json_object_set_int_member(object, "offset", (gint64)range->offset);
  json_object_set_int_member(object, "length", (gint64)range->length);
  json_array_add_object_element(array, object);
}

/* array: NULL for lines. */
static gboolean list_since(VdCli *cli, VirtdiskHandle *handle, const char *point, JsonArray *array,
                           GError **error)
{
  guint64 size, at = 0;

  if (!vd_operate_get_size(cli, handle, &size, error))
    return FALSE;
  while (at < size) {
    guint n;
    guint64 processed;
    g_autofree VirtdiskRange *ranges = virtdisk_handle_query_changes_virtual_disk(
        handle, point, at, size - at, RANGES, &n, &processed, cli->cancellable, error);

    if (ranges == NULL)
      return FALSE;
    for (guint i = 0; i < n; i++)
      show_range(array, &ranges[i]);
    if (processed == 0)
      return misuse(error, "The service tells of nothing");
    at += processed;
  }
  return TRUE;
}

static gboolean list(VdCli *cli, VirtdiskHandle *handle, const char *newest, GError **error)
{
  const char *point = given.since != NULL ? given.since : newest != NULL ? newest : "";
  JsonArray *array = cli->json ? json_array_new() : NULL;
  gboolean listed = list_since(cli, handle, point, array, error);

  if (listed && array != NULL)
    vd_output_json(json_node_init_array(json_node_alloc(), array), VD_JSON_PRETTY);
  if (array != NULL)
    json_array_unref(array);
  return listed;
}

static gboolean look(VdCli *cli, Action action, const char *path, GError **error)
{
  g_autoptr(VirtdiskHandle) handle = open_to_look(cli, path, error);
  g_autoptr(VirtdiskInfo) state = NULL;

  if (handle == NULL)
    return FALSE;
  state = get_state(cli, handle, error);
  if (state == NULL)
    return FALSE;
  if (action == ACTION_STATE)
    show_state(cli, state);
  else if (!list(cli, handle, virtdisk_info_get_most_recent_id(state), error))
    return FALSE;
  return virtdisk_handle_close(handle, NULL, error);
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autofree char *path = vd_value_absolute(arguments[1]);
  Action action;

  if (!find_action(arguments[0], &action, error))
    return FALSE;
  return action == ACTION_STATE || action == ACTION_LIST ? look(cli, action, path, error)
                                                         : change(cli, action, path, error);
}

const VdVerb vd_verb_changes = {
    .name = "changes",
    .arguments = "enable|disable|seal|state|list IMAGE",
    .summary = "Track the changes of an image, and list them",
    .min_arguments = 2,
    .max_arguments = 2,
    .options = entries,
    .check = check,
    .run = run,
};
