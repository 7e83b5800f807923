/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk set: one property of an image. */
#include "exit.h"
#include "links.h"
#include "operate.h"
#include "values.h"

static struct {
  char *parent, *linkage, *identifier, *disk_id, *format;
  char *change_tracking;
  gint depth, physical_sector_size; /* 0: not given */
  gboolean ignore_id_mismatch;
} given;

static const GOptionEntry entries[] = {
    {"parent", 0, 0, G_OPTION_ARG_FILENAME, &given.parent, "Another parent", "IMAGE"},
    {"depth", 0, 0, G_OPTION_ARG_INT, &given.depth,
     "With parent: of which image of the chain; 1 (default) is IMAGE", "N"},
    {"linkage", 0, 0, G_OPTION_ARG_STRING, &given.linkage,
     "With parent: write this identifier without looking at the parent", "GUID"},
    {"ignore-id-mismatch", 0, 0, G_OPTION_ARG_NONE, &given.ignore_id_mismatch,
     "With parent: take one with another identifier than remembered", NULL},
    {"identifier", 0, 0, G_OPTION_ARG_STRING, &given.identifier, "Another identifier; or random", "GUID"},
    {"disk-id", 0, 0, G_OPTION_ARG_STRING, &given.disk_id, "Another identity of the disk; or random", "GUID"},
    {"physical-sector-size", 0, 0, G_OPTION_ARG_INT, &given.physical_sector_size, "512 or 4096", "BYTES"},
    {"change-tracking", 0, 0, G_OPTION_ARG_STRING, &given.change_tracking, "on or off; see changes", "STATE"},
    {"format", 0, 0, G_OPTION_ARG_STRING, &given.format, "auto (default), raw, vhd or vhdx", "FORMAT"},
    {NULL},
};

static gboolean misuse(GError **error, const char *text)
{
  g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, text);
  return FALSE;
}

static gboolean check(GError **error)
{
  guint n = (given.parent != NULL) + (given.identifier != NULL) + (given.disk_id != NULL) +
            (given.physical_sector_size != 0) + (given.change_tracking != NULL);
  VirtdiskDeviceId device_id;
  const char *vendor;

  if (n != 1)
    return misuse(error, "set takes one of --parent, --identifier, --disk-id, --physical-sector-size and "
                         "--change-tracking");
  if (given.change_tracking != NULL && !g_str_equal(given.change_tracking, "on") &&
      !g_str_equal(given.change_tracking, "off"))
    return misuse(error, "--change-tracking is on or off");
  if (given.parent == NULL && (given.depth != 0 || given.linkage != NULL || given.ignore_id_mismatch))
    return misuse(error, "--depth, --linkage and --ignore-id-mismatch belong to --parent");
  if (given.depth < 0 || (given.linkage != NULL && given.depth > 1))
    return misuse(error, "--depth is a number from 1, and 1 with --linkage");
  return given.format == NULL || vd_value_parse_format("--format", given.format, &device_id, &vendor, error);
}

/* The format takes over the identifier of any parent; that it is the one whose blocks the child lacks is for
 * the user to know, and for us to ask. */
static gboolean check_parent(VdCli *cli, const char *path, const char *parent, guint depth, GError **error)
{
  g_autoptr(GPtrArray) links = vd_links_read(cli, path, given.format, error);
  g_autoptr(GPtrArray) parents = links != NULL ? vd_links_read(cli, parent, NULL, error) : NULL;
  g_autofree char *problem = NULL;

  if (parents == NULL)
    return FALSE;
  if (links->len < depth) {
    g_set_error(error, VD_EXIT_ERROR, VD_EXIT_UNUSABLE_IMAGE, "The chain has only %u images", links->len);
    return FALSE;
  }
  problem = vd_links_compare(g_ptr_array_index(links, depth - 1), g_ptr_array_index(parents, 0));
  if (problem == NULL)
    return TRUE;
  g_set_error(error, VD_EXIT_ERROR, VD_EXIT_UNUSABLE_IMAGE,
              "%s; if it has the same blocks nevertheless: --ignore-id-mismatch", problem);
  return FALSE;
}

static char *guid_of(const char *text)
{
  return g_str_equal(text, "random") ? g_uuid_string_random() : g_strdup(text);
}

static VirtdiskSetInfo *make_change(void)
{
  g_autofree char *guid = NULL;

  if (given.parent != NULL && given.linkage != NULL)
    return virtdisk_set_info_new_parent_locator(given.linkage, given.parent);
  if (given.parent != NULL && given.depth > 1)
    return virtdisk_set_info_new_parent_path_with_depth((guint)given.depth, given.parent);
  if (given.parent != NULL)
    return virtdisk_set_info_new_parent_path(given.parent);
  if (given.physical_sector_size != 0)
    return virtdisk_set_info_new_physical_sector_size((guint)given.physical_sector_size);
  if (given.change_tracking != NULL)
    return virtdisk_set_info_new_change_tracking(g_str_equal(given.change_tracking, "on"));
  guid = guid_of(given.identifier != NULL ? given.identifier : given.disk_id);
  return given.identifier != NULL ? virtdisk_set_info_new_identifier(guid)
                                  : virtdisk_set_info_new_virtual_disk_id(guid);
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autofree char *path = vd_value_absolute(arguments[0]);
  g_autofree char *parent = given.parent != NULL ? vd_value_absolute(given.parent) : NULL;
  gboolean deep = given.depth > 1;
  g_autoptr(VirtdiskSetInfo) change = make_change();
  g_autoptr(VirtdiskHandle) handle = NULL;

  if (parent != NULL && given.linkage == NULL && !given.ignore_id_mismatch &&
      !check_parent(cli, path, parent, deep ? (guint)given.depth : 1, error))
    return FALSE;
  /* A link that is broken must not keep anybody from mending it. */
  handle = deep ? vd_operate_open_deep(cli, path, (guint)given.depth, given.format, error)
                : vd_operate_open(cli, path, VIRTDISK_OPEN_NO_PARENTS, given.format, error);
  return handle != NULL &&
         virtdisk_handle_set_virtual_disk_information(handle, change, cli->cancellable, error) &&
         virtdisk_handle_close(handle, NULL, error);
}

const VdVerb vd_verb_set = {
    .name = "set",
    .arguments = "IMAGE",
    .summary = "Change a property of an image",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = entries,
    .check = check,
    .run = run,
};
