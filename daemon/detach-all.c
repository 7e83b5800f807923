/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "detach-all.h"

#include "nesting.h"

typedef struct {
  VdManager *manager;
  GPtrArray *tried; /* VdDisk*, owned */
  guint busy;
  void (*done)(guint left, gpointer user_data);
  gpointer user_data;
} Run;

typedef struct {
  Run *run;
  VdDisk *disk; /* owned */
} Item;

static void go_on(Run *run);

static gboolean is_attached(const VdDisk *disk)
{
  return disk->attachment != NULL && disk->attachment->device != NULL;
}

static void on_detached(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autofree Item *item = user_data;
  g_autoptr(VdDisk) disk = item->disk;
  g_autoptr(GError) error = NULL;
  gboolean pending;

  item->run->busy--;
  if (!vd_manager_detach_finish(VD_MANAGER(source), result, &pending, &error))
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "%s stays attached: %s", disk->display,
                     error->message);
  go_on(item->run);
}

static void start_item(Run *run, VdDisk *disk)
{
  Item *item = g_new(Item, 1);

  *item = (Item){run, vd_disk_ref(disk)};
  g_ptr_array_add(run->tried, vd_disk_ref(disk));
  run->busy++;
  vd_manager_detach_async(run->manager, disk, NULL, VD_DETACH_FORCE, NULL, on_detached, item);
}

/* Each once, and only when no image lies on it any more. */
static void try_all(Run *run)
{
  g_autoptr(GPtrArray) list = vd_manager_list(run->manager);

  for (guint i = 0; i < list->len; i++) {
    VdDisk *disk = g_ptr_array_index(list, i);
    g_autoptr(VdDisk) inner = NULL;

    if (!is_attached(disk) || g_ptr_array_find(run->tried, disk, NULL))
      continue;
    inner = vd_nesting_find_inner(run->manager, disk);
    if (inner == NULL)
      start_item(run, disk);
  }
}

/* Whoever ends the remaining processes ends the workers too. */
static guint prepare_rest(Run *run)
{
  g_autoptr(GPtrArray) list = vd_manager_list(run->manager);
  guint left = 0;

  for (guint i = 0; i < list->len; i++) {
    VdDisk *disk = g_ptr_array_index(list, i);

    if (!is_attached(disk))
      continue;
    left++;
    vd_device_rest_worker(disk->attachment->device);
    if (!g_ptr_array_find(run->tried, disk, NULL))
      g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE",
                       "%s stays attached: an image that lies on it does", disk->display);
  }
  return left;
}

static void go_on(Run *run)
{
  guint left;

  try_all(run);
  if (run->busy > 0)
    return;
  left = prepare_rest(run);
  run->done(left, run->user_data);
  g_ptr_array_unref(run->tried);
  g_object_unref(run->manager);
  g_free(run);
}

static gboolean on_start(gpointer user_data)
{
  go_on(user_data);
  return G_SOURCE_REMOVE;
}

void vd_detach_all(VdManager *manager, void (*done)(guint left, gpointer user_data), gpointer user_data)
{
  Run *run = g_new0(Run, 1);

  run->manager = g_object_ref(manager);
  run->tried = g_ptr_array_new_with_free_func((GDestroyNotify)vd_disk_unref);
  run->done = done;
  run->user_data = user_data;
  g_idle_add(on_start, run);
}
