/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk check */
#include <stdio.h>

#include "cli.h"
#include "exit.h"
#include "output.h"
#include "values.h"

static struct {
  char *format;
  gboolean repair;
} given;

static const GOptionEntry entries[] = {
    {"repair", 'r', 0, G_OPTION_ARG_NONE, &given.repair, "Mend what can be mended without guessing", NULL},
    {"format", 0, 0, G_OPTION_ARG_STRING, &given.format, "auto (default), iso, raw, vhd or vhdx", "FORMAT"},
    {NULL},
};

static const char *const kinds[] = {"note", "leak", "minor", "serious"};

static gboolean check(GError **error)
{
  VirtdiskDeviceId device_id;
  const char *vendor;

  return given.format == NULL || vd_value_parse_format("--format", given.format, &device_id, &vendor, error);
}

static VirtdiskOpenParameters *make_parameters(GError **error)
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
  return g_steal_pointer(&parameters);
}

static void show_table(VirtdiskCheck *found)
{
  static const char *const columns[] = {"KIND", "<OFFSET", "REPAIRABLE", "FAULT", NULL};
  GPtrArray *faults = virtdisk_check_get_faults(found);
  g_autoptr(VdTable) table = vd_table_new(columns);

  if (faults->len == 0)
    return;
  for (guint i = 0; i < faults->len; i++) {
    const VirtdiskFault *fault = g_ptr_array_index(faults, i);
    g_autofree char *offset = g_strdup_printf("%" G_GUINT64_FORMAT, fault->offset);
    const char *cells[] = {kinds[fault->kind], offset, fault->repairable ? "yes" : "no", fault->message};

    vd_table_add(table, cells);
  }
  vd_table_print(table);
}

static void append_count(GString *out, guint64 n, const char *one, const char *many)
{
  if (n > 0)
    g_string_append_printf(out, "%s%" G_GUINT64_FORMAT " %s", out->len > 0 ? ", " : "", n,
                           n == 1 ? one : many);
}

/* Of all kinds up to and with notes; or nothing. */
static GString *count_faults(VirtdiskCheck *found)
{
  GString *out = g_string_new(NULL);

  append_count(out, virtdisk_check_get_count(found, VIRTDISK_FAULT_SERIOUS), "serious fault",
               "serious faults");
  append_count(out, virtdisk_check_get_count(found, VIRTDISK_FAULT_MINOR), "minor fault", "minor faults");
  append_count(out, virtdisk_check_get_count(found, VIRTDISK_FAULT_LEAK), "leak", "leaks");
  append_count(out, virtdisk_check_get_count(found, VIRTDISK_FAULT_NOTE), "note", "notes");
  return out;
}

static void show_summary(VirtdiskCheck *found, const char *path)
{
  g_autoptr(GString) counts = count_faults(found);
  g_autoptr(GString) line = g_string_new(path);

  g_string_append_printf(line, ": %s", virtdisk_check_get_repaired(found) ? "repaired; " : "");
  g_string_append(line, counts->len > 0 ? counts->str : "no faults");
  if (virtdisk_check_get_blocks(found) > 0)
    g_string_append_printf(line, "; %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " blocks allocated",
                           virtdisk_check_get_allocated_blocks(found), virtdisk_check_get_blocks(found));
  if (virtdisk_check_get_leaked(found) > 0) {
    g_autofree char *leaked = vd_value_format_size(virtdisk_check_get_leaked(found));

    g_string_append_printf(line, "; %s leaked", leaked);
  }
  vd_output_line(line->str);
}

static void show_json(VirtdiskCheck *found, const char *path)
{
  g_autoptr(GVariant) results = virtdisk_check_to_variant(found);
  GPtrArray *faults = virtdisk_check_get_faults(found);
  JsonNode *node = vd_output_variant_to_json(results);
  JsonObject *object = json_node_get_object(node);
  JsonArray *array = json_array_new();

  for (guint i = 0; i < faults->len; i++) {
    const VirtdiskFault *fault = g_ptr_array_index(faults, i);
    JsonObject *one = json_object_new();

    json_object_set_string_member(one, "kind", kinds[fault->kind]);
    json_object_set_boolean_member(one, "repairable", fault->repairable);
    json_object_set_int_member(one, "offset", (gint64)fault->offset);
    json_object_set_string_member(one, "field", fault->field);
    json_object_set_string_member(one, "message", fault->message);
    json_array_add_object_element(array, one);
  }
  json_object_set_array_member(object, "faults", array);
  vd_output_json_set_path(object, path);
  vd_output_json(node, VD_JSON_PRETTY);
}

/* The exit code; notes are no faults. */
static gboolean judge(VirtdiskCheck *found, const char *path, GError **error)
{
  gboolean serious = virtdisk_check_get_count(found, VIRTDISK_FAULT_SERIOUS) > 0;
  g_autoptr(GString) counts = count_faults(found);
  g_autofree char *hint = NULL;

  if (!serious && virtdisk_check_get_count(found, VIRTDISK_FAULT_MINOR) == 0 &&
      virtdisk_check_get_count(found, VIRTDISK_FAULT_LEAK) == 0)
    return TRUE;
  if (virtdisk_check_get_repairable(found) > 0)
    hint = g_strdup_printf("; --repair would mend %u of them", virtdisk_check_get_repairable(found));
  g_set_error(error, VD_EXIT_ERROR, serious ? VD_EXIT_SERIOUS_FAULTS : VD_EXIT_MINOR_FAULTS, "%s has %s%s",
              path, counts->str, hint != NULL ? hint : "");
  return FALSE;
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autofree char *path = vd_value_absolute(arguments[0]);
  g_autoptr(VirtdiskOpenParameters) parameters = make_parameters(error);
  g_autoptr(VirtdiskCheck) found = NULL;

  if (parameters != NULL)
    found = virtdisk_client_check_image(cli->client, path,
                                        given.repair ? VIRTDISK_CHECK_REPAIR : VIRTDISK_CHECK_NONE,
                                        parameters, cli->cancellable, error);
  if (found == NULL)
    return FALSE;
  if (cli->json) {
    show_json(found, path);
  } else if (!cli->quiet) {
    show_table(found);
    show_summary(found, arguments[0]);
  }
  return vd_output_flush(error) && judge(found, arguments[0], error);
}

const VdVerb vd_verb_check = {
    .name = "check",
    .arguments = "IMAGE",
    .summary = "Verify an image, and repair it",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = entries,
    .check = check,
    .run = run,
};
