/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "detach-all.h"

#include "nesting.h"
#include "virtdisk-error.h"

/* The kernel lets go of an inner image a moment after its worker's ring is known to have ended, and until
 * then the file system that it lies on is busy. Nothing tells of that moment. */
#define MAX_TRIES 10
#define PAUSE_MS 200

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
  guint tries;
} Item;

static void go_on(Run *run);

static gboolean is_attached(const VdDisk *disk)
{
  return disk->attachment != NULL && disk->attachment->device != NULL;
}

static void start_item(Item *item);

static gboolean on_pause_over(gpointer user_data)
{
  start_item(user_data);
  return G_SOURCE_REMOVE;
}

static void on_detached(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Item *item = user_data;
  Run *run = item->run;
  g_autoptr(GError) error = NULL;
  gboolean pending;

  if (!vd_manager_detach_finish(VD_MANAGER(source), result, &pending, &error) &&
      !g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND)) {
    if (g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_BUSY) && item->tries < MAX_TRIES) {
      g_timeout_add(PAUSE_MS, on_pause_over, item);
      return;
    }
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "%s stays attached: %s",
                     item->disk->display, error->message);
  }
  vd_disk_unref(item->disk);
  g_free(item);
  run->busy--;
  go_on(run);
}

static void start_item(Item *item)
{
  item->tries++;
  vd_manager_detach_async(item->run->manager, item->disk, NULL, VD_DETACH_FORCE, NULL, on_detached, item);
}

static void add_item(Run *run, VdDisk *disk)
{
  Item *item = g_new0(Item, 1);

  item->run = run;
  item->disk = vd_disk_ref(disk);
  g_ptr_array_add(run->tried, vd_disk_ref(disk));
  run->busy++;
  start_item(item);
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
      add_item(run, disk);
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
