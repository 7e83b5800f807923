/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk list */
#include <pwd.h>

#include "cli.h"
#include "output.h"
#include "values.h"

static char *user_name(guint uid)
{
  const struct passwd *entry = getpwuid(uid);

  return entry != NULL ? g_strdup(entry->pw_name) : g_strdup_printf("%u", uid);
}

static void add_disk(VdTable *table, VirtdiskDisk *disk)
{
  g_autofree char *size = vd_value_format_size(virtdisk_disk_get_virtual_size(disk));
  g_autofree char *owner = user_name(virtdisk_disk_get_owner_uid(disk));
  const char *cells[] = {
      *virtdisk_disk_get_device(disk) != '\0' ? virtdisk_disk_get_device(disk) : "-",
      size,
      virtdisk_disk_get_read_only(disk) ? "ro" : "rw",
      virtdisk_disk_get_format(disk),
      virtdisk_disk_get_lifetime(disk),
      owner,
      virtdisk_disk_get_state(disk),
      virtdisk_disk_get_file_name(disk),
  };

  vd_table_add(table, cells);
}

static void print_table(GPtrArray *disks)
{
  static const char *const columns[] = {"DEVICE", "<SIZE", "ACCESS", "FORMAT", "LIFETIME",
                                        "OWNER",  "STATE", "IMAGE",  NULL};
  g_autoptr(VdTable) table = vd_table_new(columns);

  for (guint i = 0; i < disks->len; i++)
    add_disk(table, g_ptr_array_index(disks, i));
  vd_table_print(table);
}

static void print_json(GPtrArray *disks)
{
  JsonArray *array = json_array_new();

  for (guint i = 0; i < disks->len; i++)
    json_array_add_object_element(array, vd_output_disk_to_json(g_ptr_array_index(disks, i)));
  vd_output_json(json_node_init_array(json_node_alloc(), array), VD_JSON_PRETTY);
  json_array_unref(array);
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autoptr(GPtrArray) disks = virtdisk_client_get_disks(cli->client);

  if (cli->json)
    print_json(disks);
  else if (disks->len > 0 && !cli->quiet)
    print_table(disks);
  return TRUE;
}

const VdVerb vd_verb_list = {
    .name = "list",
    .summary = "List the attached disks",
    .run = run,
};
