/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk convert: what a disk shows, in a new image. */
#include "creating.h"
#include "values.h"

static struct {
  char *format, *source_format, *block_size;
  gint sector_size, physical_sector_size; /* 0: not given */
  gboolean fixed, dynamic, sparse, verify, detach_job;
} given;

static const GOptionEntry entries[] = {
    {"format", 0, 0, G_OPTION_ARG_STRING, &given.format, "Of the new image: auto (default), raw, vhd or vhdx",
     "FORMAT"},
    {"source-format", 0, 0, G_OPTION_ARG_STRING, &given.source_format,
     "auto (default), iso, raw, vhd or vhdx", "FORMAT"},
    {"fixed", 0, 0, G_OPTION_ARG_NONE, &given.fixed, "Take all space at once", NULL},
    {"dynamic", 0, 0, G_OPTION_ARG_NONE, &given.dynamic, "Take space as it is written (default)", NULL},
    {"sparse", 0, 0, G_OPTION_ARG_NONE, &given.sparse, "With fixed: take the space when it is written", NULL},
    {"block-size", 0, 0, G_OPTION_ARG_STRING, &given.block_size, "Unit in which the file grows", "SIZE"},
    {"sector-size", 0, 0, G_OPTION_ARG_INT, &given.sector_size, "Logical sector: 512 or 4096", "BYTES"},
    {"physical-sector-size", 0, 0, G_OPTION_ARG_INT, &given.physical_sector_size,
     "Physical sector: 512 or 4096", "BYTES"},
    {"verify", 0, 0, G_OPTION_ARG_NONE, &given.verify, "Read back and compare", NULL},
    VD_OPERATE_DETACH_JOB(&given.detach_job),
    {NULL},
};

static gboolean misuse(GError **error, const char *text)
{
  g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, text);
  return FALSE;
}

static gboolean set_values(VirtdiskCreateParameters *parameters, GError **error)
{
  virtdisk_create_parameters_set_version(parameters, 2);
  if (given.sector_size != 0)
    virtdisk_create_parameters_set_sector_size(parameters, (guint)given.sector_size);
  if (given.physical_sector_size != 0)
    virtdisk_create_parameters_set_physical_sector_size(parameters, (guint)given.physical_sector_size);
  if (given.verify)
    virtdisk_create_parameters_set_verify(parameters, TRUE);
  return vd_creating_set_format(parameters, given.format, error) &&
         vd_creating_set_source_format(parameters, given.source_format, error) &&
         vd_creating_set_block_size(parameters, given.block_size, error);
}

static gboolean check(GError **error)
{
  g_autoptr(VirtdiskCreateParameters) parameters = virtdisk_create_parameters_new();

  if (given.fixed && given.dynamic)
    return misuse(error, "--fixed and --dynamic exclude each other");
  if (given.sparse && !given.fixed)
    return misuse(error, "--sparse belongs to --fixed; others are sparse by nature");
  return vd_creating_check_sector("--sector-size", given.sector_size, error) &&
         vd_creating_check_sector("--physical-sector-size", given.physical_sector_size, error) &&
         set_values(parameters, error);
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autoptr(VirtdiskCreateParameters) parameters = virtdisk_create_parameters_new();
  VdCreating creating = {
      .argument = arguments[1],
      .flags = (VirtdiskCreateFlags)((given.fixed ? VIRTDISK_CREATE_FULL_PHYSICAL_ALLOCATION : 0) |
                                     (given.sparse ? VIRTDISK_CREATE_SPARSE_FILE : 0)),
      .parameters = parameters,
      .how = given.detach_job ? VD_CREATING_DETACHED : VD_CREATING_WITH_PROGRESS};

  if (!set_values(parameters, error))
    return FALSE;
  virtdisk_create_parameters_set_source_path(parameters, arguments[0]);
  return vd_creating_run(cli, &creating, error);
}

const VdVerb vd_verb_convert = {
    .name = "convert",
    .arguments = "SOURCE IMAGE",
    .summary = "Copy an image or a block device into a new image",
    .min_arguments = 2,
    .max_arguments = 2,
    .options = entries,
    .check = check,
    .run = run,
};
