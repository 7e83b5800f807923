/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk create */
#include "creating.h"
#include "values.h"

static struct {
  char *size, *type, *parent, *source, *source_format, *format, *block_size, *identifier, *owner, *group,
      *mode;
  gint sector_size, physical_sector_size; /* 0: not given */
  gboolean sparse, verify, detach_job;
} given;

static const GOptionEntry entries[] = {
    {"size", 's', 0, G_OPTION_ARG_STRING, &given.size, "Size of the disk, such as 10GiB", "SIZE"},
    {"type", 't', 0, G_OPTION_ARG_STRING, &given.type, "dynamic (default), fixed or differencing", "TYPE"},
    {"parent", 0, 0, G_OPTION_ARG_FILENAME, &given.parent, "Keep only what differs from this image", "IMAGE"},
    {"source", 0, 0, G_OPTION_ARG_FILENAME, &given.source, "Fill it from this image or block device",
     "IMAGE|DEVICE"},
    {"source-format", 0, 0, G_OPTION_ARG_STRING, &given.source_format,
     "auto (default), iso, raw, vhd or vhdx", "FORMAT"},
    {"verify", 0, 0, G_OPTION_ARG_NONE, &given.verify, "With source: read back and compare", NULL},
    {"format", 0, 0, G_OPTION_ARG_STRING, &given.format, "auto (default), raw, vhd or vhdx", "FORMAT"},
    {"block-size", 0, 0, G_OPTION_ARG_STRING, &given.block_size, "Unit in which the file grows", "SIZE"},
    {"sector-size", 0, 0, G_OPTION_ARG_INT, &given.sector_size, "Logical sector: 512 or 4096", "BYTES"},
    {"physical-sector-size", 0, 0, G_OPTION_ARG_INT, &given.physical_sector_size,
     "Physical sector: 512 or 4096", "BYTES"},
    {"sparse", 0, 0, G_OPTION_ARG_NONE, &given.sparse, "With fixed: take the space when it is written", NULL},
    {"identifier", 0, 0, G_OPTION_ARG_STRING, &given.identifier, "Instead of a random one", "GUID"},
    {"owner", 0, 0, G_OPTION_ARG_STRING, &given.owner, "Owner of the file", "USER"},
    {"group", 0, 0, G_OPTION_ARG_STRING, &given.group, "Group of the file", "GROUP"},
    {"mode", 0, 0, G_OPTION_ARG_STRING, &given.mode, "Permissions of the file, such as 0640", "MODE"},
    VD_OPERATE_DETACH_JOB(&given.detach_job),
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
  if (given.source != NULL && child)
    return misuse(error, "--source and --parent exclude each other");
  if (given.source == NULL && (given.verify || given.source_format != NULL))
    return misuse(error, "--verify and --source-format belong to --source");
  if (!child && given.source == NULL && given.size == NULL)
    return misuse(error, "--size is missing");
  if (given.sparse && !fixed)
    return misuse(error, "--sparse belongs to --type=fixed; others are sparse by nature");
  wanted_flags = fixed ? VIRTDISK_CREATE_FULL_PHYSICAL_ALLOCATION : VIRTDISK_CREATE_NONE;
  if (given.sparse)
    wanted_flags |= VIRTDISK_CREATE_SPARSE_FILE;
  return TRUE;
}

static gboolean set_file(GError **error)
{
  guint32 number;

  if (given.owner != NULL) {
    if (!vd_value_parse_user("--owner", given.owner, &number, error))
      return FALSE;
    virtdisk_create_parameters_set_owner_uid(wanted, number);
  }
  if (given.group != NULL) {
    if (!vd_value_parse_group("--group", given.group, &number, error))
      return FALSE;
    virtdisk_create_parameters_set_owner_gid(wanted, number);
  }
  if (given.mode != NULL) {
    if (!vd_value_parse_mode("--mode", given.mode, &number, error))
      return FALSE;
    virtdisk_create_parameters_set_mode(wanted, number);
  }
  return TRUE;
}

static gboolean set_source(GError **error)
{
  if (given.source == NULL)
    return TRUE;
  virtdisk_create_parameters_set_source_path(wanted, given.source);
  if (given.verify)
    virtdisk_create_parameters_set_verify(wanted, TRUE);
  return vd_creating_set_source_format(wanted, given.source_format, error);
}

static gboolean check(GError **error)
{
  g_clear_object(&wanted);
  if (!check_type(error) || !vd_creating_check_sector("--sector-size", given.sector_size, error) ||
      !vd_creating_check_sector("--physical-sector-size", given.physical_sector_size, error))
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
  return vd_creating_set_format(wanted, given.format, error) &&
         vd_creating_set_block_size(wanted, given.block_size, error) && set_source(error) && set_file(error);
}

/* Copying does, and so may taking all the space. */
static gboolean takes_long(void)
{
  return given.source != NULL ||
         ((wanted_flags & VIRTDISK_CREATE_FULL_PHYSICAL_ALLOCATION) != 0 && !given.sparse);
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autoptr(VirtdiskCreateParameters) parameters = g_steal_pointer(&wanted);
  VdCreating creating = {.argument = arguments[0],
                         .flags = wanted_flags,
                         .size = wanted_size,
                         .parameters = parameters,
                         .how = given.detach_job ? VD_CREATING_DETACHED
                                : takes_long()   ? VD_CREATING_WITH_PROGRESS
                                                 : VD_CREATING_PLAIN};

  return vd_creating_run(cli, &creating, error);
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
