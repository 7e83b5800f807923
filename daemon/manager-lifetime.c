/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What ends an attachment without anybody asking: owner gone, session over, last mount gone. */
#include <pwd.h>

#include "manager-mirror.h"
#include "manager-private.h"
#include "nesting.h"

/* Desktops probe again right after an unmount; a second unmount or a new mount within this time is the same
 * use. */
#define UNMOUNT_GRACE_MS 2000

static void on_released(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(VdDisk) disk = user_data;
  g_autoptr(GError) error = NULL;
  gboolean pending;

  if (!vd_manager_detach_finish(VD_MANAGER(source), result, &pending, &error))
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "%s stays attached: %s", disk->display,
                     error->message);
}

void vd_manager_release(VdManager *self, VdDisk *disk, const char *why)
{
  disk->attachment->over = disk->state != VD_DISK_ATTACHED || disk->attachment->changing;
  if (disk->attachment->over) {
    vd_mirror_cancel(disk->attachment);
    return;
  }
  g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_INFO, "MESSAGE", "%s is detached: %s", disk->display, why);
  vd_manager_detach_async(self, disk, NULL, VD_DETACH_WHEN_IDLE, NULL, on_released, vd_disk_ref(disk));
}

/* owner */

static void on_handle_closed(GObject *source, GAsyncResult *result, gpointer user_data)
{
  vd_manager_close_finish(VD_MANAGER(source), result, NULL);
}

void vd_manager_owner_gone(VdManager *self, const char *bus_name)
{
  g_autoptr(GPtrArray) list = vd_manager_list(self);
  g_autoptr(GPtrArray) doomed = g_ptr_array_new_with_free_func((GDestroyNotify)vd_handle_unref);
  GHashTableIter iter;
  gpointer value;

  vd_jobs_owner_gone(self->jobs, bus_name);
  g_hash_table_iter_init(&iter, self->handles);
  while (g_hash_table_iter_next(&iter, NULL, &value))
    if (g_strcmp0(((VdHandle *)value)->owner->bus_name, bus_name) == 0)
      g_ptr_array_add(doomed, vd_handle_ref(value));
  for (guint i = 0; i < doomed->len; i++)
    vd_manager_close_async(self, g_ptr_array_index(doomed, i), on_handle_closed, NULL);
  /* A handle-lifetime disk taken over after a restart may have no handle left that says so. */
  for (guint i = 0; i < list->len; i++) {
    VdDisk *disk = g_ptr_array_index(list, i);

    if (disk->attachment != NULL && disk->attachment->plan.lifetime == VD_LIFETIME_HANDLE &&
        g_strcmp0(disk->attachment->owner->bus_name, bus_name) == 0 && vd_disk_count_handles(disk, NULL) == 0)
      vd_manager_release(self, disk, "its owner has left the bus");
  }
}

#define SESSION_OVER "its login session has ended"

static void on_forced(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(VdDisk) disk = user_data;
  g_autoptr(GError) error = NULL;
  gboolean pending;

  if (!vd_manager_detach_finish(VD_MANAGER(source), result, &pending, &error) && disk->attachment != NULL)
    vd_manager_release(VD_MANAGER(source), disk, SESSION_OVER);
}

/* What the system mounted from a user's disk is not his to unmount. name: NULL if he has none. */
static gboolean may_be_unmounted(const VdDiskAttachment *a, const char *name)
{
  return a->owner->uid == 0 || (name != NULL ? vd_device_count_mounts_of_others(a->device, name)
                                             : vd_device_count_mounts(a->device)) == 0;
}

/* Nobody is there any more who would unmount what the session had mounted, so that waiting alone would not
 * end. What something still uses stays until that has gone. */
static void end_with_session(VdManager *self, VdDisk *disk, const char *name)
{
  g_autoptr(VdDisk) inner = vd_nesting_find_inner(self, disk);

  if (disk->state != VD_DISK_ATTACHED || disk->attachment->changing ||
      vd_disk_count_handles(disk, NULL) > 0 || inner != NULL || !may_be_unmounted(disk->attachment, name)) {
    vd_manager_release(self, disk, SESSION_OVER);
    return;
  }
  g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_INFO, "MESSAGE", "%s is detached: " SESSION_OVER, disk->display);
  vd_manager_detach_async(self, disk, NULL, VD_DETACH_FORCE, NULL, on_forced, vd_disk_ref(disk));
}

/* The user database may be a server far away. */
static void owner_name_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  uid_t uid = GPOINTER_TO_UINT(data);
  struct passwd user, *found = NULL;
  char buffer[16384];

  if (getpwuid_r(uid, &user, buffer, sizeof buffer, &found) != 0)
    found = NULL;
  g_task_return_pointer(task, found != NULL ? g_strdup(user.pw_name) : NULL, g_free);
}

static void owner_name_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(VdDisk) disk = user_data;
  g_autofree char *name = g_task_propagate_pointer(G_TASK(result), NULL);

  if (disk->attachment != NULL)
    end_with_session(VD_MANAGER(source), disk, name);
}

static void begin_end_with_session(VdManager *self, VdDisk *disk)
{
  g_autoptr(GTask) task = g_task_new(self, NULL, owner_name_done, vd_disk_ref(disk));

  g_task_set_task_data(task, GUINT_TO_POINTER(disk->attachment->owner->uid), NULL);
  g_task_run_in_thread(task, owner_name_in_thread);
}

void vd_manager_session_gone(VdManager *self, const char *session)
{
  g_autoptr(GPtrArray) list = vd_manager_list(self);

  for (guint i = 0; i < list->len; i++) {
    VdDisk *disk = g_ptr_array_index(list, i);

    if (disk->attachment != NULL && g_strcmp0(disk->attachment->session, session) == 0)
      begin_end_with_session(self, disk);
  }
}

static GStrv collect_words(VdManager *self, const char *(*word_of)(const VdDisk *))
{
  g_autoptr(GPtrArray) list = vd_manager_list(self);
  g_autoptr(GHashTable) words = g_hash_table_new(g_str_hash, g_str_equal);
  g_autoptr(GStrvBuilder) builder = g_strv_builder_new();

  for (guint i = 0; i < list->len; i++) {
    const char *word = word_of(g_ptr_array_index(list, i));

    if (word != NULL && g_hash_table_add(words, (gpointer)word))
      g_strv_builder_add(builder, word);
  }
  return g_strv_builder_end(builder);
}

static const char *owner_word(const VdDisk *disk)
{
  return disk->attachment->plan.lifetime == VD_LIFETIME_HANDLE || disk->handles->len > 0
             ? disk->attachment->owner->bus_name
             : NULL;
}

static const char *session_word(const VdDisk *disk)
{
  return disk->attachment->session;
}

GStrv vd_manager_owner_names(VdManager *self)
{
  return collect_words(self, owner_word);
}

GStrv vd_manager_sessions(VdManager *self)
{
  return collect_words(self, session_word);
}

/* detach-on-unmount */

typedef struct {
  VdManager *manager; /* borrowed: the source goes with the attachment, and that before the manager */
  VdDisk *disk;       /* borrowed likewise */
} Grace;

static gboolean on_grace_over(gpointer user_data)
{
  Grace *grace = user_data;
  VdDisk *disk = grace->disk;

  disk->attachment->grace_source = 0;
  if (vd_device_count_mounts(disk->attachment->device) == 0)
    vd_manager_release(grace->manager, disk, "its last file system was unmounted");
  return G_SOURCE_REMOVE;
}

static void start_grace(VdManager *self, VdDisk *disk)
{
  Grace *grace = g_new(Grace, 1);

  *grace = (Grace){self, disk};
  disk->attachment->grace_source =
      g_timeout_add_full(G_PRIORITY_DEFAULT, UNMOUNT_GRACE_MS, on_grace_over, grace, g_free);
}

static void look_at_mounts(VdManager *self, VdDisk *disk)
{
  VdDiskAttachment *a = disk->attachment;

  if (!a->plan.detach_on_unmount || disk->state != VD_DISK_ATTACHED)
    return;
  if (vd_device_count_mounts(a->device) > 0) {
    g_clear_handle_id(&a->grace_source, g_source_remove);
    if (!a->was_mounted) {
      a->was_mounted = TRUE;
      vd_manager_update_record(self, disk);
    }
  } else if (a->was_mounted && a->grace_source == 0) {
    start_grace(self, disk);
  }
}

void vd_manager_catch_up(VdManager *self, VdDisk *disk)
{
  if (disk->attachment->over)
    vd_manager_release(self, disk, "its reason ended while it was being attached or detached");
  else
    look_at_mounts(self, disk);
}

static void on_mounts_changed(gpointer user_data)
{
  VdManager *self = user_data;
  g_autoptr(GPtrArray) list = vd_manager_list(self);

  for (guint i = 0; i < list->len; i++)
    look_at_mounts(self, g_ptr_array_index(list, i));
}

void vd_manager_watch_mounts(VdManager *self)
{
  g_autoptr(GPtrArray) list = vd_manager_list(self);
  g_autoptr(GError) error = NULL;
  gboolean wanted = FALSE;

  for (guint i = 0; i < list->len; i++)
    wanted |= ((VdDisk *)g_ptr_array_index(list, i))->attachment->plan.detach_on_unmount;
  if (!wanted)
    return;
  if (self->mount_watch == NULL)
    self->mount_watch = vd_mount_watch_new(on_mounts_changed, self, &error);
  if (self->mount_watch == NULL)
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "detach-on-unmount does not work: %s",
                     error->message);
  /* Something may be mounted already: a desktop is quick. */
  on_mounts_changed(self);
}
