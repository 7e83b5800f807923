/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk unmount: every mount of a disk, the latest first. */
#include <unistd.h>

#include "choose.h"
#include "cli.h"
#include "exit.h"
#include "mount8.h"
#include "mounts.h"
#include "output.h"
#include "target.h"
#include "udisks.h"
#include "values.h"

static gboolean detach;

static const GOptionEntry entries[] = {
    {"detach", 'd', 0, G_OPTION_ARG_NONE, &detach, "Detach the disk afterwards", NULL},
    {NULL},
};

/* The superuser needs nobody; a user goes through UDisks2 and, where it is absent, tries what fstab allows.
 */
static gboolean unmount_one(VdCli *cli, const VdMount *mount, GError **error)
{
  g_autoptr(GError) cause = NULL;

  if (geteuid() == 0)
    return vd_mount8_unmount(mount->mountpoint, cli->cancellable, error);
  if (vd_udisks_unmount(cli, mount->source, &cause))
    return TRUE;
  if (g_error_matches(cause, VD_EXIT_ERROR, VD_EXIT_NOT_AVAILABLE))
    return vd_mount8_unmount(mount->mountpoint, cli->cancellable, error);
  g_propagate_error(error, g_steal_pointer(&cause));
  return FALSE;
}

static gboolean unmount_all(VdCli *cli, GPtrArray *mounts, GError **error)
{
  for (guint i = mounts->len; i > 0; i--)
    if (!unmount_one(cli, g_ptr_array_index(mounts, i - 1), error))
      return FALSE;
  return TRUE;
}

/* It may go by itself (detach-on-unmount), before or while we ask. ret_gone: it is not there any more. */
static gboolean detach_disk(VdCli *cli, VirtdiskDisk *disk, gboolean *ret_gone, GError **error)
{
  g_autoptr(GError) cause = NULL;
  gboolean pending = FALSE;

  while (g_main_context_iteration(NULL, FALSE))
    ;
  if (g_str_equal(virtdisk_disk_get_state(disk), "detached") ||
      virtdisk_client_detach_image(cli->client, virtdisk_disk_get_device(disk), NULL, &pending,
                                   cli->cancellable, &cause) ||
      vd_target_is_not_attached(cause)) {
    *ret_gone = !pending;
    return TRUE;
  }
  g_propagate_error(error, g_steal_pointer(&cause));
  return FALSE;
}

static void show(VdCli *cli, GPtrArray *mounts, gboolean gone)
{
  JsonObject *object;
  JsonArray *array;

  if (!cli->json)
    return;
  object = json_object_new();
  array = json_array_new();
  for (guint i = 0; i < mounts->len; i++) {
    const VdMount *mount = g_ptr_array_index(mounts, i);
    g_autofree char *shown = vd_value_to_utf8(mount->mountpoint);

    json_array_add_string_element(array, shown);
  }
  json_object_set_array_member(object, "unmounted", array);
  json_object_set_boolean_member(object, "detached", gone);
  vd_output_json(json_node_init_object(json_node_alloc(), object), VD_JSON_PRETTY);
  json_object_unref(object);
}

/* What is to be unmounted: of a partition's node the partition, else all of the disk. */
static GPtrArray *find_mounts(VirtdiskDisk *disk, const VdTarget *target)
{
  if (target->partition > 0)
    return vd_mounts_of(target->path, VD_MOUNTS_ONLY);
  return vd_mounts_of(virtdisk_disk_get_device(disk), VD_MOUNTS_DISK);
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autoptr(VdTarget) target = vd_target_new(arguments[0]);
  g_autoptr(VirtdiskDisk) disk = vd_target_find_disk(cli, target, error);
  g_autoptr(GPtrArray) mounts = NULL;
  gboolean gone = FALSE;

  if (disk == NULL)
    return FALSE;
  mounts = find_mounts(disk, target);
  if (mounts->len == 0 && !detach) {
    g_set_error(error, VD_EXIT_ERROR, VD_EXIT_NOT_FOUND, "Nothing is mounted from %s", target->path);
    return FALSE;
  }
  if (!unmount_all(cli, mounts, error) || (detach && !detach_disk(cli, disk, &gone, error)))
    return FALSE;
  show(cli, mounts, gone);
  return TRUE;
}

const VdVerb vd_verb_unmount = {
    .name = "unmount",
    .arguments = "IMAGE|DEVICE|MOUNTPOINT",
    .summary = "Unmount every file system of a disk",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = entries,
    .run = run,
};
