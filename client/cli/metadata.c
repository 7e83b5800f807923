/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk metadata: items that a VHDX carries for its user. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "exit.h"
#include "operate.h"
#include "output.h"
#include "values.h"

/* What the format allows for one item. */
#define LARGEST_ITEM (1024 * 1024)

static gboolean misuse(GError **error, const char *text)
{
  g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, text);
  return FALSE;
}

static gboolean cannot(const char *what, const char *file, GError **error)
{
  int number = errno;
  g_autofree char *shown = vd_value_printable(file);

  g_set_error(error, VD_EXIT_ERROR, number == ENOENT ? VD_EXIT_NOT_FOUND : VD_EXIT_FAILURE,
              "Cannot %s %s: %s", what, shown, g_strerror(number));
  return FALSE;
}

/* ---- list ---- */

static void list_json(char **items)
{
  JsonArray *array = json_array_new();

  for (char **item = items; *item != NULL; item++)
    json_array_add_string_element(array, *item);
  vd_output_json(json_node_init_array(json_node_alloc(), array), VD_JSON_PRETTY);
  json_array_unref(array);
}

static gboolean list(VdCli *cli, VirtdiskHandle *handle, GError **error)
{
  g_auto(GStrv) items = virtdisk_handle_enumerate_virtual_disk_metadata(handle, cli->cancellable, error);

  if (items == NULL)
    return FALSE;
  if (cli->json)
    list_json(items);
  else if (!cli->quiet)
    for (char **item = items; *item != NULL; item++)
      vd_output_line(*item);
  return TRUE;
}

/* ---- get ---- */

static gboolean write_all(FILE *out, GBytes *data, const char *file, GError **error)
{
  gsize size;
  const void *bytes = g_bytes_get_data(data, &size);

  return (size == 0 || fwrite(bytes, 1, size, out) == size) ? TRUE : cannot("write to", file, error);
}

static gboolean write_file(GBytes *data, const char *file, GError **error)
{
  FILE *out = fopen(file, "we");
  gboolean ok;

  if (out == NULL)
    return cannot("write to", file, error);
  ok = write_all(out, data, file, error);
  return (fclose(out) == 0 || !ok ? ok : cannot("write to", file, error));
}

static gboolean is_text(GBytes *data)
{
  gsize size;
  const char *text = g_bytes_get_data(data, &size);
  g_autofree char *copy = g_strndup(text, size);
  g_autofree char *shown = NULL;

  if (!g_utf8_validate_len(text, size, NULL))
    return FALSE;
  g_strdelimit(copy, "\n\t", ' ');
  shown = vd_value_printable(copy);
  return g_str_equal(copy, shown);
}

static void get_json(const char *item, GBytes *data)
{
  JsonObject *object = json_object_new();
  gsize size;
  const guchar *bytes = g_bytes_get_data(data, &size);
  g_autofree char *text = g_base64_encode(bytes, size);

  json_object_set_string_member(object, "item", item);
  json_object_set_int_member(object, "size", (gint64)size);
  json_object_set_string_member(object, "base64", text);
  vd_output_json(json_node_init_object(json_node_alloc(), object), VD_JSON_PRETTY);
  json_object_unref(object);
}

static gboolean get(VdCli *cli, VirtdiskHandle *handle, const char *item, const char *file, GError **error)
{
  g_autoptr(GBytes) data = virtdisk_handle_get_virtual_disk_metadata(handle, item, cli->cancellable, error);

  if (data == NULL)
    return FALSE;
  if (file != NULL && !g_str_equal(file, "-"))
    return write_file(data, file, error);
  if (cli->json) {
    get_json(item, data);
    return TRUE;
  }
  if (isatty(STDOUT_FILENO) && !is_text(data))
    return misuse(error, "The item is no text, and standard output is a terminal; say FILE");
  return write_all(stdout, data, "standard output", error);
}

/* ---- set ---- */

/* One byte more than is allowed, so that too much is seen. */
static GBytes *read_stream(FILE *in, const char *file, GError **error)
{
  g_autoptr(GByteArray) data = g_byte_array_new();
  guint8 buffer[65536];
  gsize n;

  while (data->len <= LARGEST_ITEM && (n = fread(buffer, 1, sizeof buffer, in)) > 0)
    g_byte_array_append(data, buffer, (guint)n);
  if (ferror(in)) {
    cannot("read", file, error);
    return NULL;
  }
  if (data->len > LARGEST_ITEM) {
    misuse(error, "An item has at most 1 MiB");
    return NULL;
  }
  return g_byte_array_free_to_bytes(g_steal_pointer(&data));
}

static GBytes *read_input(const char *file, GError **error)
{
  FILE *in;
  GBytes *data;

  if (file == NULL || g_str_equal(file, "-"))
    return read_stream(stdin, "standard input", error);
  in = fopen(file, "re");
  if (in == NULL) {
    cannot("read", file, error);
    return NULL;
  }
  data = read_stream(in, file, error);
  fclose(in);
  return data;
}

/* ---- the verb ---- */

typedef enum { ACTION_LIST, ACTION_GET, ACTION_SET, ACTION_DELETE, N_ACTIONS } Action;

static const struct {
  const char *word;
  guint min_arguments, max_arguments; /* with the word and the image */
} actions[N_ACTIONS] = {
    [ACTION_LIST] = {"list", 2, 2},
    [ACTION_GET] = {"get", 3, 4},
    [ACTION_SET] = {"set", 3, 4},
    [ACTION_DELETE] = {"delete", 3, 3},
};

static gboolean find_action(char **arguments, Action *ret, GError **error)
{
  guint n = g_strv_length(arguments);

  for (guint i = 0; i < N_ACTIONS; i++)
    if (g_str_equal(arguments[0], actions[i].word)) {
      *ret = (Action)i;
      return (n >= actions[i].min_arguments && n <= actions[i].max_arguments) ||
             misuse(error,
                    "metadata takes list IMAGE, get IMAGE ITEM [FILE], set IMAGE ITEM [FILE] or delete "
                    "IMAGE ITEM");
    }
  return misuse(error, "metadata takes list, get, set or delete");
}

static VirtdiskHandle *open_image(VdCli *cli, const char *argument, Action action, GError **error)
{
  g_autofree char *path = vd_value_absolute(argument);
  g_autoptr(VirtdiskOpenParameters) parameters = virtdisk_open_parameters_new();

  virtdisk_open_parameters_set_version(parameters, 2);
  if (action == ACTION_LIST || action == ACTION_GET)
    virtdisk_open_parameters_set_get_info_only(parameters, TRUE);
  return virtdisk_client_open_virtual_disk(cli->client, path, VIRTDISK_ACCESS_NONE, VIRTDISK_OPEN_NO_PARENTS,
                                           parameters, cli->cancellable, error);
}

static gboolean act(VdCli *cli, Action action, VirtdiskHandle *handle, char **arguments, GBytes *input,
                    GError **error)
{
  switch (action) {
  case ACTION_LIST:
    return list(cli, handle, error);
  case ACTION_GET:
    return get(cli, handle, arguments[2], arguments[3], error);
  case ACTION_SET:
    return virtdisk_handle_set_virtual_disk_metadata(handle, arguments[2], input, cli->cancellable, error);
  default:
    return virtdisk_handle_delete_virtual_disk_metadata(handle, arguments[2], cli->cancellable, error);
  }
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autoptr(VirtdiskHandle) handle = NULL;
  g_autoptr(GBytes) input = NULL;
  Action action;

  if (!find_action(arguments, &action, error))
    return FALSE;
  /* Before the image is open: a pipe may be slow. */
  if (action == ACTION_SET) {
    input = read_input(arguments[3], error);
    if (input == NULL)
      return FALSE;
  }
  handle = open_image(cli, arguments[1], action, error);
  return handle != NULL && act(cli, action, handle, arguments, input, error) &&
         virtdisk_handle_close(handle, NULL, error);
}

const VdVerb vd_verb_metadata = {
    .name = "metadata",
    .arguments = "list|get|set|delete IMAGE [ITEM [FILE]]",
    .summary = "Read and write the user metadata of a VHDX",
    .min_arguments = 2,
    .max_arguments = 4,
    .run = run,
};
