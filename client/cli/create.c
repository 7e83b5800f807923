/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk create */
#include "cli.h"
#include "output.h"
#include "values.h"

static struct {
  char *size, *type, *parent, *format, *block_size, *identifier;
  gint sector_size, physical_sector_size; /* 0: not given */
  gboolean sparse;
} given;

static const GOptionEntry entries[] = {
    {"size", 's', 0, G_OPTION_ARG_STRING, &given.size, "Size of the disk, such as 10GiB", "SIZE"},
    {"type", 't', 0, G_OPTION_ARG_STRING, &given.type, "dynamic (default), fixed or differencing", "TYPE"},
    {"parent", 0, 0, G_OPTION_ARG_FILENAME, &given.parent, "Keep only what differs from this image", "IMAGE"},
    {"format", 0, 0, G_OPTION_ARG_STRING, &given.format, "auto (default), vhd or vhdx", "FORMAT"},
    {"block-size", 0, 0, G_OPTION_ARG_STRING, &given.block_size, "Unit in which the file grows", "SIZE"},
    {"sector-size", 0, 0, G_OPTION_ARG_INT, &given.sector_size, "Logical sector: 512 or 4096", "BYTES"},
    {"physical-sector-size", 0, 0, G_OPTION_ARG_INT, &given.physical_sector_size,
     "Physical sector: 512 or 4096", "BYTES"},
    {"sparse", 0, 0, G_OPTION_ARG_NONE, &given.sparse, "With fixed: take the space when it is written", NULL},
    {"identifier", 0, 0, G_OPTION_ARG_STRING, &given.identifier, "Instead of a random one", "GUID"},
    {NULL},
};

/* What check() made of the options. */
static guint64 wanted_size;
static VirtdiskCreateFlags wanted_flags;
static VirtdiskCreateParameters *wanted;

static gboolean misuse(GError **error, const char *text)
{
  g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, text);
  return FALSE;
}

static gboolean check_type(GError **error)
{
  const char *type = given.type != NULL ? given.type : given.parent != NULL ? "differencing" : "dynamic";
  gboolean fixed = g_str_equal(type, "fixed"), child = g_str_equal(type, "differencing");

  if (!fixed && !child && !g_str_equal(type, "dynamic")) {
    g_autofree char *shown = vd_value_printable(type);

    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "\"%s\" is no value for --type; expected dynamic, fixed or differencing", shown);
    return FALSE;
  }
  if (child && given.parent == NULL)
    return misuse(error, "--type=differencing needs --parent");
  if (!child && given.parent != NULL)
    return misuse(error, "--parent makes a differencing image, nothing else");
  if (child && given.size != NULL)
    return misuse(error, "--size and --parent exclude each other: a child has the size of its parent");
  if (!child && given.size == NULL)
    return misuse(error, "--size is missing");
  if (given.sparse && !fixed)
    return misuse(error, "--sparse belongs to --type=fixed; others are sparse by nature");
  wanted_flags = fixed ? VIRTDISK_CREATE_FULL_PHYSICAL_ALLOCATION : VIRTDISK_CREATE_NONE;
  if (given.sparse)
    wanted_flags |= VIRTDISK_CREATE_SPARSE_FILE;
  return TRUE;
}

static gboolean check_sector(const char *option, gint size, GError **error)
{
  if (size == 0 || size == 512 || size == 4096)
    return TRUE;
  g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
              "\"%d\" is no value for %s; expected 512 or 4096", size, option);
  return FALSE;
}

static gboolean set_format(GError **error)
{
  VirtdiskDeviceId device_id;
  const char *vendor = NULL;

  if (given.format != NULL && !vd_value_parse_format("--format", given.format, &device_id, &vendor, error))
    return FALSE;
  if (vendor != NULL) {
    virtdisk_create_parameters_set_device_id(wanted, device_id);
    virtdisk_create_parameters_set_vendor_id(wanted, vendor);
  }
  return TRUE;
}

static gboolean set_block_size(GError **error)
{
  guint64 size = 0;

  if (given.block_size == NULL)
    return TRUE;
  if (!vd_value_parse_size("--block-size", given.block_size, &size, error))
    return FALSE;
  if (size > G_MAXUINT32)
    return misuse(error, "--block-size is at most 256MiB");
  virtdisk_create_parameters_set_block_size(wanted, (guint)size);
  return TRUE;
}

static gboolean check(GError **error)
{
  g_clear_object(&wanted);
  if (!check_type(error) || !check_sector("--sector-size", given.sector_size, error) ||
      !check_sector("--physical-sector-size", given.physical_sector_size, error))
    return FALSE;
  wanted_size = 0;
  if (given.size != NULL && !vd_value_parse_size("--size", given.size, &wanted_size, error))
    return FALSE;
  wanted = virtdisk_create_parameters_new();
  virtdisk_create_parameters_set_version(wanted, 2);
  if (given.sector_size != 0)
    virtdisk_create_parameters_set_sector_size(wanted, (guint)given.sector_size);
  if (given.physical_sector_size != 0)
    virtdisk_create_parameters_set_physical_sector_size(wanted, (guint)given.physical_sector_size);
  if (given.identifier != NULL)
    virtdisk_create_parameters_set_unique_id(wanted, given.identifier);
  if (given.parent != NULL)
    virtdisk_create_parameters_set_parent_path(wanted, given.parent);
  return set_format(error) && set_block_size(error);
}

static VirtdiskInfo *ask(VdCli *cli, VirtdiskHandle *handle, VirtdiskInfoVersion version, GError **error)
{
  return virtdisk_handle_get_virtual_disk_information(handle, version, cli->cancellable, error);
}

static gboolean show_json(VdCli *cli, VirtdiskHandle *handle, const char *path, GError **error)
{
  g_autoptr(VirtdiskInfo) size = ask(cli, handle, VIRTDISK_INFO_SIZE, error);
  g_autoptr(VirtdiskInfo) identifier =
      size != NULL ? ask(cli, handle, VIRTDISK_INFO_IDENTIFIER, error) : NULL;
  JsonObject *object;

  if (identifier == NULL)
    return FALSE;
  object = json_object_new();
  vd_output_json_set_path(object, path);
  json_object_set_int_member(object, "virtual-size", (gint64)virtdisk_info_get_virtual_size(size));
  json_object_set_int_member(object, "physical-size", (gint64)virtdisk_info_get_physical_size(size));
  json_object_set_int_member(object, "block-size", virtdisk_info_get_block_size(size));
  json_object_set_int_member(object, "sector-size", virtdisk_info_get_sector_size(size));
  json_object_set_string_member(object, "identifier", virtdisk_info_get_identifier(identifier));
  vd_output_json(json_node_init_object(json_node_alloc(), object), VD_JSON_PRETTY);
  json_object_unref(object);
  return TRUE;
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autofree char *path = vd_value_absolute(arguments[0]);
  g_autoptr(VirtdiskCreateParameters) parameters = g_steal_pointer(&wanted);
  g_autoptr(VirtdiskHandle) handle =
      virtdisk_client_create_virtual_disk(cli->client, path, VIRTDISK_ACCESS_NONE, wanted_flags, wanted_size,
                                          parameters, cli->cancellable, error);

  if (handle == NULL || (cli->json && !show_json(cli, handle, path, error)))
    return FALSE;
  return virtdisk_handle_close(handle, cli->cancellable, error);
}

const VdVerb vd_verb_create = {
    .name = "create",
    .arguments = "IMAGE",
    .summary = "Create an image",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = entries,
    .check = check,
    .run = run,
};
