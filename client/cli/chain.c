/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk chain */
#include "exit.h"
#include "links.h"
#include "output.h"
#include "values.h"

static char *format;

static const GOptionEntry entries[] = {
    {"format", 0, 0, G_OPTION_ARG_STRING, &format, "auto (default), iso, raw, vhd or vhdx", "FORMAT"},
    {NULL},
};

static gboolean check(GError **error)
{
  VirtdiskDeviceId device_id;
  const char *vendor;

  return format == NULL || vd_value_parse_format("--format", format, &device_id, &vendor, error);
}

static gboolean wants_parent(const VdLink *link)
{
  return link->subtype == VIRTDISK_SUBTYPE_DIFFERENCING || link->parent_identifier != NULL;
}

static const char *fit_of(const VdLink *link)
{
  return link->problem != NULL ? "no" : wants_parent(link) ? "yes" : NULL;
}

static void show_table(GPtrArray *links)
{
  static const char *const columns[] = {"<DEPTH",     "FORMAT", "KIND",  "<SIZE", "<TAKEN",
                                        "IDENTIFIER", "FITS",   "IMAGE", NULL};
  g_autoptr(VdTable) table = vd_table_new(columns);

  for (guint i = 0; i < links->len; i++) {
    const VdLink *link = g_ptr_array_index(links, i);
    g_autofree char *depth = g_strdup_printf("%u", i + 1);
    g_autofree char *size = vd_value_format_size(link->virtual_size);
    g_autofree char *taken = vd_value_format_size(link->physical_size);
    const char *cells[] = {depth,
                           vd_links_format_name(link->device_id),
                           vd_links_subtype_name(link->subtype),
                           size,
                           taken,
                           link->identifier,
                           fit_of(link),
                           link->path};

    vd_table_add(table, cells);
  }
  vd_table_print(table);
}

static void set_string(JsonObject *object, const char *name, const char *value)
{
  if (value != NULL)
    json_object_set_string_member(object, name, value);
}

static void show_json(GPtrArray *links)
{
  JsonArray *array = json_array_new();

  for (guint i = 0; i < links->len; i++) {
    const VdLink *link = g_ptr_array_index(links, i);
    JsonObject *object = json_object_new();

    json_object_set_int_member(object, "depth", i + 1);
    vd_output_json_set_path(object, link->path);
    json_object_set_string_member(object, "format", vd_links_format_name(link->device_id));
    json_object_set_string_member(object, "kind", vd_links_subtype_name(link->subtype));
    json_object_set_int_member(object, "virtual-size", (gint64)link->virtual_size);
    json_object_set_int_member(object, "physical-size", (gint64)link->physical_size);
    set_string(object, "identifier", link->identifier);
    set_string(object, "parent-identifier", link->parent_identifier);
    if (wants_parent(link))
      json_object_set_boolean_member(object, "fits", link->problem == NULL);
    set_string(object, "problem", link->problem);
    json_array_add_object_element(array, object);
  }
  vd_output_json(json_node_init_array(json_node_alloc(), array), VD_JSON_PRETTY);
  json_array_unref(array);
}

/* A chain that does not hold has the exit code of an image that cannot be used. */
static gboolean judge(GPtrArray *links, GError **error)
{
  for (guint i = 0; i < links->len; i++) {
    const VdLink *link = g_ptr_array_index(links, i);
    g_autofree char *shown = vd_value_printable(link->path);

    if (link->problem == NULL)
      continue;
    g_set_error(error, VD_EXIT_ERROR, VD_EXIT_UNUSABLE_IMAGE, "%s: %s", shown, link->problem);
    return FALSE;
  }
  return TRUE;
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autofree char *path = vd_value_absolute(arguments[0]);
  g_autoptr(GPtrArray) links = vd_links_read(cli, path, format, error);

  if (links == NULL)
    return FALSE;
  if (cli->json)
    show_json(links);
  else if (!cli->quiet)
    show_table(links);
  return vd_output_flush(error) && judge(links, error);
}

const VdVerb vd_verb_chain = {
    .name = "chain",
    .arguments = "IMAGE",
    .summary = "Show an image and its parents, and whether they fit",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = entries,
    .check = check,
    .run = run,
};
