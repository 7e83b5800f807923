/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tables of disks and handles; opening and closing. */
#include "manager-private.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

typedef struct {
  dev_t dev;
  ino_t ino;
} ImageKey;

G_DEFINE_FINAL_TYPE(VdManager, vd_manager, G_TYPE_OBJECT)

static guint signals[VD_N_SIGNALS];

static guint image_key_hash(gconstpointer key)
{
  const ImageKey *k = key;

  return (guint)(k->dev * 31 + k->ino * 2654435761u);
}

static gboolean image_key_equal(gconstpointer a, gconstpointer b)
{
  const ImageKey *x = a, *y = b;

  return x->dev == y->dev && x->ino == y->ino;
}

static void vd_manager_finalize(GObject *object)
{
  VdManager *self = VD_MANAGER(object);

  g_clear_pointer(&self->mount_watch, vd_mount_watch_free);
  g_clear_pointer(&self->handles, g_hash_table_unref);
  g_clear_pointer(&self->disks, g_hash_table_unref);
  g_clear_pointer(&self->worker, vd_worker_client_unref);
  g_clear_pointer(&self->path_map, vd_path_map_free);
  g_clear_object(&self->jobs);
  g_free(self->rundir);
  g_free(self->statedir);
  g_free(self->instance);
  g_free(self->bus_id);
  G_OBJECT_CLASS(vd_manager_parent_class)->finalize(object);
}

static void vd_manager_class_init(VdManagerClass *klass)
{
  static const char *const names[VD_N_SIGNALS] = {"disk-added", "disk-changed", "disk-removed"};

  G_OBJECT_CLASS(klass)->finalize = vd_manager_finalize;
  for (guint i = 0; i < VD_N_SIGNALS; i++)
    signals[i] = g_signal_new(names[i], G_TYPE_FROM_CLASS(klass), G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                              G_TYPE_NONE, 1, G_TYPE_POINTER);
}

static void vd_manager_init(VdManager *self)
{
  self->disks = g_hash_table_new_full(image_key_hash, image_key_equal, g_free, (GDestroyNotify)vd_disk_unref);
  self->handles = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)vd_handle_unref);
}

/* Services in several containers share the kernel's loop devices, and the path of the folder says nothing of
 * which is which; the folder itself does. */
static char *name_instance(const char *rundir)
{
  g_autofree char *text = NULL, *sum = NULL;
  struct stat st = {0};

  if (g_mkdir_with_parents(rundir, 0700) < 0 || stat(rundir, &st) < 0)
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "%s: %s", rundir, g_strerror(errno));
  text = g_strdup_printf("%s %ju %ju", rundir, (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
  sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
  return g_strndup(sum, 8);
}

VdManager *vd_manager_new(const VdManagerConfig *config)
{
  VdManager *self = g_object_new(VD_TYPE_MANAGER, NULL);

  self->rundir = g_strdup(config->rundir);
  self->statedir = g_strdup(config->statedir);
  self->source = config->source;
  self->worker = vd_worker_client_ref(config->worker);
  self->path_map = config->path_map != NULL ? config->path_map : vd_path_map_new();
  self->instance = name_instance(config->rundir);
  self->jobs = vd_jobs_new(config->rundir);
  return self;
}

void vd_manager_emit(VdManager *self, guint signal, gpointer subject)
{
  g_signal_emit(self, signals[signal], 0, subject);
}

char *vd_manager_random_id(void)
{
  return g_strdup_printf("%08x%08x", g_random_int(), g_random_int());
}

VdDisk *vd_manager_lookup(VdManager *self, dev_t dev, ino_t ino)
{
  return g_hash_table_lookup(self->disks, &(ImageKey){dev, ino});
}

void vd_manager_insert(VdManager *self, VdDisk *disk)
{
  ImageKey *key = g_new(ImageKey, 1);

  *key = (ImageKey){disk->image_dev, disk->image_ino};
  g_hash_table_replace(self->disks, key, vd_disk_ref(disk));
}

void vd_manager_set_image(VdManager *self, VdDisk *disk, const VdImage *image)
{
  g_autoptr(VdDisk) alive = vd_disk_ref(disk);

  g_hash_table_remove(self->disks, &(ImageKey){disk->image_dev, disk->image_ino});
  vd_disk_set_image(disk, image);
  vd_manager_insert(self, disk);
}

void vd_manager_collect(VdManager *self, VdDisk *disk)
{
  if (disk->handles->len == 0 && disk->attachment == NULL && disk->state == VD_DISK_OPEN &&
      vd_manager_lookup(self, disk->image_dev, disk->image_ino) == disk)
    g_hash_table_remove(self->disks, &(ImageKey){disk->image_dev, disk->image_ino});
}

void vd_manager_add_handle(VdManager *self, VdHandle *handle)
{
  g_hash_table_replace(self->handles, handle->id, vd_handle_ref(handle));
  g_ptr_array_add(handle->disk->handles, handle);
}

static gboolean has_image_of_attachment(const VdHandle *handle)
{
  const VdDiskAttachment *a = handle->disk->attachment;

  return a != NULL && a->image == handle->image;
}

void vd_manager_remove_handle(VdManager *self, VdHandle *handle)
{
  g_autoptr(VdHandle) alive = vd_handle_ref(handle);

  if (handle->closed)
    return;
  handle->closed = TRUE;
  g_ptr_array_remove(handle->disk->handles, handle);
  g_hash_table_remove(self->handles, handle->id);
  /* The kernel keeps the locks for a device that was attached through this very description; after a mirror
   * has taken the image's place all handles have that of the attachment. */
  if (handle->image != NULL && !handle->attacher && !has_image_of_attachment(handle))
    vd_image_unlock(handle->image);
  if (handle->chain != NULL && !handle->attacher)
    vd_chain_unlock(handle->chain);
}

gboolean vd_manager_needs_lock(const VdHandle *handle)
{
  return handle->image != NULL && handle->image->locked == 0 && handle->disk->attachment == NULL;
}

VdHandle *vd_manager_get_handle(VdManager *self, const char *id)
{
  VdHandle *handle = g_hash_table_lookup(self->handles, id);

  return handle != NULL && !handle->opening && !handle->leaving ? handle : NULL;
}

/* find */

typedef struct {
  guint32 device_id;
  char *vendor;
  guint32 flags;
  gboolean write;
} Find;

static void find_free(gpointer data)
{
  Find *find = data;

  g_free(find->vendor);
  g_free(find);
}

static void on_looked_at(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  GError *error = NULL;
  VdImage *image = vd_image_new_finish(result, &error);

  if (image == NULL)
    g_task_return_error(task, error);
  else
    g_task_return_pointer(task, image, (GDestroyNotify)vd_image_unref);
}

static void on_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  Find *find = g_task_get_task_data(task);
  GError *error = NULL;
  int fd = self->source.open_finish(self->source.opener, result, &error);

  if (fd < 0)
    g_task_return_error(task, error);
  else
    vd_image_new_async(fd, NULL, find->device_id, find->vendor, find->write, find->flags, on_looked_at,
                       g_steal_pointer(&task));
}

void vd_manager_find_async(VdManager *self, VdIdentity *identity, const char *path,
                           const VdOpenParams *params, const VdRights *rights, GCancellable *cancellable,
                           GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new(self, cancellable, callback, user_data);
  Find *find = g_new0(Find, 1);
  guint32 device_id = params->device_id;

  /* The name that was asked for says the format; the name that the kernel has for what was opened is what
   * rules and people get to see: it has no symbolic links and no dots in it. */
  vd_image_resolve_type(params->device_id, params->vendor, path, &device_id, NULL);

  find->device_id = device_id;
  find->vendor = g_strdup(params->vendor);
  find->flags = params->flags;
  find->write = rights->write;
  g_task_set_task_data(task, find, find_free);
  self->source.open_async(self->source.opener, identity, path,
                          rights->write ? VD_SOURCE_WRITE : VD_SOURCE_READ, cancellable, on_found, task);
}

VdImage *vd_manager_find_finish(VdManager *self, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

/* open */

static gboolean check_share(VdDisk *disk, const VdRights *wanted, GError **error)
{
  g_autofree const VdRights **open = g_new0(const VdRights *, disk->handles->len + 1);

  for (guint i = 0; i < disk->handles->len; i++)
    open[i] = &((VdHandle *)g_ptr_array_index(disk->handles, i))->rights;
  if (!vd_access_share(wanted, open, disk->handles->len, error))
    return FALSE;
  if (disk->attachment == NULL)
    return TRUE;
  return vd_access_reopen(wanted, disk->attachment->plan.lifetime, disk->attachment->opened_read_only, error);
}

gboolean vd_manager_may_attach(VdManager *self, VdImage *image, const VdRights *rights, GError **error)
{
  VdDisk *disk = vd_manager_lookup(self, image->st.st_dev, image->st.st_ino);

  if (disk == NULL)
    return TRUE;
  if (disk->attachment != NULL) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION, "%s is attached already%s%s",
                disk->display, disk->attachment->device != NULL ? " as " : "",
                disk->attachment->device != NULL ? vd_device_get_info(disk->attachment->device)->title : "");
    return FALSE;
  }
  return check_share(disk, rights, error) && vd_manager_may_use(self, image, rights->write, error);
}

/* The disk of this image: the one in the table, or a new one put there. */
static VdDisk *take_disk(VdManager *self, VdImage *image)
{
  VdDisk *disk = vd_manager_lookup(self, image->st.st_dev, image->st.st_ino);

  if (disk != NULL) {
    vd_disk_learn(disk, image);
    return vd_disk_ref(disk);
  }
  disk = vd_disk_new(image);
  vd_manager_insert(self, disk);
  return disk;
}

static void fail_open(VdManager *self, VdHandle *handle, GTask *task, GError *error)
{
  g_autoptr(VdDisk) disk = vd_disk_ref(handle->disk);

  vd_manager_remove_handle(self, handle);
  /* Its owner left while a thread was locking it; the file may live on with whoever passed it. */
  vd_image_unlock(handle->image);
  vd_manager_collect(self, disk);
  g_task_return_error(task, error);
}

static void finish_open(VdManager *self, VdHandle *handle, GTask *task)
{
  handle->opening = FALSE;
  if (handle->disk->attachment != NULL) {
    vd_manager_update_record(self, handle->disk);
    vd_manager_emit(self, VD_SIGNAL_DISK_CHANGED, handle->disk);
  }
  g_task_return_pointer(task, vd_handle_ref(handle), (GDestroyNotify)vd_handle_unref);
}

static void on_chain_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = VD_MANAGER(source);
  VdHandle *handle = g_task_get_task_data(task);
  GError *error = NULL;

  handle->chain = vd_manager_find_chain_finish(self, result, &error);
  if (handle->chain == NULL) {
    fail_open(self, handle, task, error);
    return;
  }
  if (!handle->closed) {
    finish_open(self, handle, task);
    return;
  }
  /* Its owner has left meanwhile, and took no lock along. */
  vd_chain_unlock(handle->chain);
  fail_open(self, handle, task,
            g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED, "the caller has gone"));
}

/* The parents, as far as the caller wants them. Takes task. */
static void find_parents(VdManager *self, VdHandle *handle, GTask *task)
{
  const VdRights *rights = &handle->rights;

  if (!handle->disk->facts.has_parent || (rights->flags & VIRTDISK_OPEN_NO_PARENTS) != 0) {
    finish_open(self, handle, task);
    g_object_unref(task);
  } else if ((rights->flags & VIRTDISK_OPEN_CUSTOM_DIFF_CHAIN) != 0) {
    handle->chain = vd_chain_new(TRUE);
    finish_open(self, handle, task);
    g_object_unref(task);
  } else {
    vd_manager_find_chain_async(self, handle->owner, handle->image, &handle->disk->facts, rights,
                                g_task_get_cancellable(task), on_chain_found, task);
  }
}

static void on_probed(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  VdHandle *handle = g_task_get_task_data(task);
  GError *error = NULL;
  g_autofree VdFacts *facts = vd_worker_probe_finish(self->worker, result, &error);

  if (facts == NULL || handle->closed) {
    if (error == NULL)
      error = g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED, "the caller has gone");
    fail_open(self, handle, task, error);
    return;
  }
  /* While it is changed, what it was before is the better guess. */
  if (handle->disk->attachment == NULL && (handle->disk->operation == NULL || !handle->disk->has_facts)) {
    handle->disk->facts = *facts;
    handle->disk->has_facts = TRUE;
  }
  find_parents(self, handle, g_steal_pointer(&task));
}

static void start_probe(VdManager *self, VdHandle *handle, GTask *task)
{
  vd_worker_probe_async(self->worker, handle->owner->uid, handle->image->fd, handle->image->device_id, TRUE,
                        g_task_get_cancellable(task), on_probed, task);
}

static void on_locked(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  VdHandle *handle = g_task_get_task_data(task);
  GError *error = NULL;

  if (vd_image_lock_finish(handle->image, result, &error))
    start_probe(self, handle, g_steal_pointer(&task));
  else
    fail_open(self, handle, task, error);
}

static VdHandle *handle_new(VdIdentity *owner, VdImage *image, VdDisk *disk, const VdRights *rights,
                            gpointer charge, GDestroyNotify free_charge)
{
  VdHandle *handle = g_new0(VdHandle, 1);

  g_atomic_ref_count_init(&handle->refs);
  handle->id = vd_manager_random_id();
  handle->disk = vd_disk_ref(disk);
  handle->rights = *rights;
  handle->owner = vd_identity_ref(owner);
  handle->image = vd_image_ref(image);
  handle->charge = charge;
  handle->free_charge = free_charge;
  handle->opening = TRUE;
  return handle;
}

/* In the table while it is looked at, so that of two who want the same file at once one is refused. */
static void start_open(VdManager *self, VdHandle *handle, GTask *task)
{
  VdDisk *disk = handle->disk;

  vd_manager_add_handle(self, handle);
  if (disk->attachment != NULL && disk->has_facts) {
    /* A device of ours holds the locks already, and what is in it is known. */
    finish_open(self, handle, task);
    g_object_unref(task);
  } else if (disk->attachment == NULL && vd_access_is_exclusive(&handle->rights)) {
    vd_image_lock_async(handle->image, handle->rights.write, on_locked, task);
  } else {
    start_probe(self, handle, task);
  }
}

void vd_manager_open_async(VdManager *self, VdIdentity *owner, VdImage *image, const VdRights *rights,
                           gpointer charge, GDestroyNotify free_charge, GCancellable *cancellable,
                           GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(self, cancellable, callback, user_data);
  g_autoptr(VdDisk) disk = take_disk(self, image);
  VdHandle *handle = handle_new(owner, image, disk, rights, charge, free_charge);
  GError *error = NULL;

  /* A handle that stands is told of, so that whoever asked for it can close it. */
  g_task_set_check_cancellable(task, FALSE);
  g_task_set_task_data(task, handle, (GDestroyNotify)vd_handle_unref);
  /* Its owner has been seen off already: nobody would ever close it. */
  if (g_cancellable_is_cancelled(cancellable))
    error = g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED, "the caller has gone");
  else if (image->device_id != disk->device_id)
    error = g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION, "%s is open as %s already",
                        disk->display, vd_device_id_to_format(disk->device_id));
  if (error == NULL && check_share(disk, rights, &error) && vd_manager_is_no_mirror(self, image, &error) &&
      (!vd_access_is_exclusive(rights) || vd_manager_may_use(self, image, rights->write, &error))) {
    start_open(self, handle, g_steal_pointer(&task));
    return;
  }
  vd_manager_collect(self, disk);
  g_task_return_error(task, error);
}

VdHandle *vd_manager_open_finish(VdManager *self, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

void vd_manager_withhold_handle(VdManager *self, VdHandle *handle)
{
  handle->withheld = TRUE;
}

/* close */

static void on_closed(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  gboolean pending;
  g_autoptr(GError) error = NULL;

  /* The handle is closed whatever came of the device: a device that could not go is the service's to deal
   * with. */
  if (!vd_manager_detach_finish(g_task_get_source_object(task), result, &pending, &error))
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "closing the last handle: %s",
                     error->message);
  g_task_return_boolean(task, TRUE);
}

void vd_manager_close_async(VdManager *self, VdHandle *handle, GAsyncReadyCallback callback,
                            gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(self, NULL, callback, user_data);
  g_autoptr(VdDisk) disk = vd_disk_ref(handle->disk);

  if (vd_manager_close_later(self, handle, task))
    return;
  vd_manager_remove_handle(self, handle);
  if (disk->attachment == NULL) {
    vd_manager_collect(self, disk);
    g_task_return_boolean(task, TRUE);
    return;
  }
  if (disk->state == VD_DISK_ATTACHED && disk->attachment->plan.lifetime == VD_LIFETIME_HANDLE &&
      vd_disk_count_handles(disk, NULL) == 0) {
    vd_manager_detach_async(self, disk, NULL, VD_DETACH_WHEN_IDLE, NULL, on_closed, g_steal_pointer(&task));
    return;
  }
  /* A detach that is under way may be refused yet. */
  if (disk->state == VD_DISK_DETACHING && disk->attachment->plan.lifetime == VD_LIFETIME_HANDLE &&
      vd_disk_count_handles(disk, NULL) == 0)
    vd_manager_release(self, disk, "its last handle was closed");
  vd_manager_update_record(self, disk);
  if (disk->state != VD_DISK_ATTACH_PENDING)
    vd_manager_emit(self, VD_SIGNAL_DISK_CHANGED, disk);
  g_task_return_boolean(task, TRUE);
}

gboolean vd_manager_close_finish(VdManager *self, GAsyncResult *result, GError **error)
{
  return g_task_propagate_boolean(G_TASK(result), error);
}

/* lists */

GPtrArray *vd_manager_list(VdManager *self)
{
  GPtrArray *list = g_ptr_array_new();
  GHashTableIter iter;
  gpointer value;

  g_hash_table_iter_init(&iter, self->disks);
  while (g_hash_table_iter_next(&iter, NULL, &value)) {
    VdDisk *disk = value;

    if (disk->attachment != NULL && disk->attachment->device != NULL)
      g_ptr_array_add(list, disk);
  }
  return list;
}

VdDisk *vd_manager_find_by_stat(VdManager *self, const struct stat *st)
{
  g_autoptr(GPtrArray) list = vd_manager_list(self);

  for (guint i = 0; i < list->len; i++) {
    VdDisk *disk = g_ptr_array_index(list, i);

    if (S_ISBLK(st->st_mode) ? vd_device_contains(disk->attachment->device, st->st_rdev)
                             : disk->image_dev == st->st_dev && disk->image_ino == st->st_ino)
      return disk;
  }
  return NULL;
}

void vd_manager_relinquish(VdManager *self)
{
  g_autoptr(GPtrArray) list = vd_manager_list(self);

  for (guint i = 0; i < list->len; i++)
    vd_device_set_owned(((VdDisk *)g_ptr_array_index(list, i))->attachment->device, FALSE);
}
