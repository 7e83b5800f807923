/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot-attach.h"

#include "attach/mounts.h"
#include "store/boot.h"

typedef struct BootRun BootRun;

/* One record on its way. */
typedef struct {
  BootRun *run;
  VdBootRecord *record;
  VdIdentity *identity;
  VdOpenParams open;
  VdRights rights;
  VdHandle *handle;
  gboolean waiting; /* for its file to appear */
} BootItem;

struct BootRun {
  VdManager *manager;
  GPtrArray *items; /* owned */
  guint left, failed;
  VdMountWatch *watch;
  guint deadline;
  gboolean expired;
  void (*done)(guint failed, gpointer user_data);
  gpointer user_data;
};

static void item_free(gpointer data)
{
  BootItem *item = data;

  g_clear_pointer(&item->record, vd_boot_record_free);
  g_clear_pointer(&item->identity, vd_identity_unref);
  g_clear_pointer(&item->handle, vd_handle_unref);
  g_free(item);
}

static gboolean finish_run(gpointer user_data)
{
  BootRun *run = user_data;

  g_clear_pointer(&run->watch, vd_mount_watch_free);
  g_clear_handle_id(&run->deadline, g_source_remove);
  g_ptr_array_unref(run->items);
  run->done(run->failed, run->user_data);
  g_object_unref(run->manager);
  g_free(run);
  return G_SOURCE_REMOVE;
}

static void item_done(BootItem *item, GError *error)
{
  BootRun *run = item->run;
  g_autofree char *display = vd_path_to_display(item->record->path);

  if (error != NULL) {
    run->failed++;
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "%s is not attached at boot: %s", display,
                     error->message);
    g_error_free(error);
  }
  if (--run->left == 0)
    g_idle_add(finish_run, run);
}

static void on_handle_closed(GObject *source, GAsyncResult *result, gpointer user_data)
{
  vd_manager_close_finish(VD_MANAGER(source), result, NULL);
  item_done(user_data, NULL);
}

static void on_attached(GObject *source, GAsyncResult *result, gpointer user_data)
{
  BootItem *item = user_data;
  GError *error = NULL;
  g_autoptr(VdDisk) disk = vd_manager_attach_finish(VD_MANAGER(source), result, &error);

  if (disk == NULL)
    item_done(item, error);
  else
    vd_manager_close_async(VD_MANAGER(source), item->handle, on_handle_closed, item);
}

static void attach_item(VdManager *manager, BootItem *item)
{
  const VdBootRecord *r = item->record;
  /* Others than root and the image's owner have had no say in it. */
  gboolean names_node = r->node_mode >= 0 && (r->uid == 0 || r->uid == r->image_uid);
  VdAttachParams params = {
      .flags = r->attach_flags,
      .version = r->restricted_length != 0 ? 2 : 1,
      .lifetime = "boot",
      .detach_on_unmount = r->detach_on_unmount,
      .route = r->route,
      .zero_copy = r->zero_copy,
      .has_sector_size = r->sector_size != 0,
      .sector_size = r->sector_size,
      .has_partition_scan = r->partition_scan >= 0,
      .partition_scan = r->partition_scan > 0,
      .has_uid = names_node,
      .has_gid = names_node,
      .has_mode = names_node,
      .uid = r->node_uid,
      .gid = r->node_gid,
      .mode = r->node_mode >= 0 ? (guint32)r->node_mode : 0,
      .has_range = (r->attach_flags & VIRTDISK_ATTACH_RESTRICTED_RANGE) != 0,
      .restricted_offset = r->restricted_offset,
      .restricted_length = r->restricted_length,
  };

  /* The flag that made the record; the word says the same, and a plain PERMANENT beside it would contradict.
   */
  params.flags &= ~(guint32)VIRTDISK_ATTACH_PERMANENT_LIFETIME;
  vd_manager_attach_async(manager, item->handle, &params, NULL, NULL, NULL, NULL, on_attached, item);
}

static void on_opened(GObject *source, GAsyncResult *result, gpointer user_data)
{
  BootItem *item = user_data;
  GError *error = NULL;

  item->handle = vd_manager_open_finish(VD_MANAGER(source), result, &error);
  if (item->handle == NULL)
    item_done(item, error);
  else
    attach_item(VD_MANAGER(source), item);
}

static gboolean is_missing(const GError *error)
{
  return g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_NOT_FOUND) ||
         g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_PATH_NOT_FOUND);
}

static void on_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
  BootItem *item = user_data;
  GError *error = NULL;
  g_autoptr(VdImage) image = vd_manager_find_finish(VD_MANAGER(source), result, &error);

  if (image == NULL && is_missing(error) && !item->run->expired) {
    g_error_free(error);
    item->waiting = TRUE;
  } else if (image == NULL) {
    item_done(item, error);
  } else if (image->st.st_uid != item->record->image_uid) {
    /* Who may write to the folder may have put another name or a symbolic link there, for root to follow; the
     * device would be theirs. */
    item_done(item, g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_CHANGED,
                                "%s belongs to user %u, not to user %u any more", image->display,
                                (guint)image->st.st_uid, (guint)item->record->image_uid));
  } else if (!vd_manager_may_attach(VD_MANAGER(source), image, &item->rights, NULL)) {
    item_done(item, NULL); /* attached already */
  } else {
    vd_manager_open_async(VD_MANAGER(source), item->identity, image, &item->rights, NULL, NULL, NULL,
                          on_opened, item);
  }
}

static void find_item(BootItem *item)
{
  item->waiting = FALSE;
  vd_manager_find_async(item->run->manager, item->identity, item->record->path, &item->open, &item->rights,
                        NULL, on_found, item);
}

static void retry_waiting(BootRun *run)
{
  for (guint i = 0; i < run->items->len; i++) {
    BootItem *item = g_ptr_array_index(run->items, i);

    if (item->waiting)
      find_item(item);
  }
}

static void on_mounts_changed(gpointer user_data)
{
  retry_waiting(user_data);
}

static gboolean on_deadline(gpointer user_data)
{
  BootRun *run = user_data;

  run->deadline = 0;
  run->expired = TRUE;
  retry_waiting(run);
  return G_SOURCE_REMOVE;
}

static BootItem *item_new(BootRun *run, VdBootRecord *record)
{
  BootItem *item = g_new0(BootItem, 1);

  item->run = run;
  item->record = record;
  /* Opened as the user who asked for it, with the groups of the user database: what the file says now counts.
   */
  item->identity = vd_identity_new(NULL, record->uid, VD_GID_INVALID, NULL, 0, 0);
  item->open = (VdOpenParams){
      .device_id = record->device_id,
      .mask = record->read_only
                  ? VIRTDISK_ACCESS_READ
                  : VIRTDISK_ACCESS_ATTACH_RW | VIRTDISK_ACCESS_DETACH | VIRTDISK_ACCESS_GET_INFO,
      .flags = record->open_flags,
      .ignore_parent_timestamp = record->ignore_parent_timestamp,
      .version = 1,
  };
  return item;
}

static void start_item(BootItem *item)
{
  guint32 device_id;
  GError *error = NULL;

  if (vd_access_open(&item->open, item->record->path, &device_id, &item->rights, &error))
    find_item(item);
  else
    item_done(item, error);
}

void vd_boot_attach(VdManager *manager, const char *statedir, guint wait,
                    void (*done)(guint failed, gpointer user_data), gpointer user_data)
{
  GPtrArray *records = vd_boot_load(statedir);
  BootRun *run = g_new0(BootRun, 1);

  g_ptr_array_set_free_func(records, NULL);
  run->manager = g_object_ref(manager);
  run->items = g_ptr_array_new_with_free_func(item_free);
  run->done = done;
  run->user_data = user_data;
  run->left = records->len;
  run->watch = vd_mount_watch_new(on_mounts_changed, run, NULL);
  run->deadline = g_timeout_add_seconds(wait, on_deadline, run);
  for (guint i = 0; i < records->len; i++)
    g_ptr_array_add(run->items, item_new(run, g_ptr_array_index(records, i)));
  g_ptr_array_unref(records);
  if (run->left == 0)
    g_idle_add(finish_run, run);
  for (guint i = 0; i < run->items->len; i++)
    start_item(g_ptr_array_index(run->items, i));
}
