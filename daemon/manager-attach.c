/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From handle to device: intent on disk, then the kernel, then the record complete. Each failure undoes what
 * stands. */
#include "manager-mirror.h"
#include "manager-private.h"
#include "store/boot.h"
#include "util/offload.h"
#include "worker/service.h"

#include <string.h>
#include <sys/stat.h>

typedef struct {
  VdHandle *handle;
  VdDisk *disk;
  VdContents *contents;
  int changes_fd; /* -1: they are not tracked */
} Attach;

static void attach_free(gpointer data)
{
  Attach *attach = data;

  g_clear_pointer(&attach->handle, vd_handle_unref);
  g_clear_pointer(&attach->disk, vd_disk_unref);
  vd_contents_unref(attach->contents);
  if (attach->changes_fd >= 0)
    vd_offload_close(attach->changes_fd);
  g_free(attach);
}

/* Boot records: what AT_BOOT asks to be done again. */

typedef struct {
  char *statedir;
  VdBootRecord *record;
} SaveBoot;

static void save_boot_free(gpointer data)
{
  SaveBoot *save = data;

  vd_boot_record_free(save->record);
  g_free(save->statedir);
  g_free(save);
}

/* Of the flags of the open, those that are the handle's alone; the next boot opens with the others. */
#define OPEN_FLAGS_OF_HANDLE (VIRTDISK_OPEN_NO_PARENTS | VIRTDISK_OPEN_CUSTOM_DIFF_CHAIN)

static VdBootRecord *make_boot_record(VdDisk *disk, const VdHandle *handle)
{
  const VdAttachPlan *plan = &disk->attachment->plan;
  VdBootRecord *record = g_new(VdBootRecord, 1);
  uid_t uid = disk->image_uid;
  gid_t gid;
  mode_t mode;

  vd_image_owner(handle->image, &uid, &gid, &mode);

  *record = (VdBootRecord){
      .path = g_strdup(disk->path),
      .uid = disk->attachment->owner->uid,
      .image_uid = uid,
      .device_id = disk->device_id,
      .open_flags = handle->rights.flags & ~(guint32)OPEN_FLAGS_OF_HANDLE,
      .attach_flags = plan->flags,
      .read_only = plan->read_only,
      .detach_on_unmount = plan->detach_on_unmount,
      .ignore_parent_timestamp = handle->rights.ignore_parent_timestamp,
      .route = g_strdup(plan->route),
      .zero_copy = plan->zero_copy,
      .sector_size = plan->sector_size,
      .partition_scan = plan->partition_scan,
      .restricted_offset = plan->whole ? 0 : plan->skip,
      .restricted_length = plan->whole ? 0 : plan->size,
      .node_uid = plan->uid,
      .node_gid = plan->gid,
      .node_mode = plan->uid == VD_UID_INVALID ? -1 : (gint64)plan->mode,
  };
  return record;
}

/* It waits for the disk (fsync), so not on the main loop. */
static void save_boot_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  const SaveBoot *save = data;
  GError *error = NULL;

  if (vd_boot_save(save->statedir, save->record, &error))
    g_task_return_boolean(task, TRUE);
  else
    g_task_return_error(task, error);
}

static void save_boot_async(VdManager *self, VdDisk *disk, const VdHandle *handle,
                            GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(NULL, NULL, callback, user_data);
  SaveBoot *save = g_new(SaveBoot, 1);

  *save = (SaveBoot){g_strdup(self->statedir), make_boot_record(disk, handle)};
  g_task_set_task_data(task, save, save_boot_free);
  vd_offload(task, save_boot_in_thread);
}

/* The plan: parameters against rights, facts and the file as it is now. */

static gboolean check_file(VdDisk *disk, VdImage *image, GError **error)
{
  guint64 size, allocated;

  if (!vd_image_sizes(image, &size, &allocated) || size != disk->facts.file_size) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_CHANGED,
                "%s has changed its size since it was opened", disk->display);
    return FALSE;
  }
  return TRUE;
}

static gboolean check_state(VdDisk *disk, VdHandle *handle, GError **error)
{
  if (disk->attachment == NULL && disk->has_facts)
    return vd_manager_is_idle(disk, error);
  if (disk->attachment == NULL) {
    vd_manager_refuse_unknown(disk, error);
    return FALSE;
  }
  if (handle->attacher) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_BAD_COMMAND,
                "%s was attached through this handle already", disk->display);
    return FALSE;
  }
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION, "%s is attached already%s%s",
              disk->display, disk->attachment->device != NULL ? " as " : "",
              disk->attachment->device != NULL ? vd_device_get_info(disk->attachment->device)->title : "");
  return FALSE;
}

gboolean vd_manager_may_attach_handle(VdManager *self, VdHandle *handle, GError **error)
{
  return check_state(handle->disk, handle, error);
}

/* What a differencing image does not have itself lies in its parents: without them it has holes. */
static gboolean check_chain(VdHandle *handle, GError **error)
{
  const VdDisk *disk = handle->disk;

  if (!disk->facts.has_parent)
    return TRUE;
  if ((handle->rights.flags & VIRTDISK_OPEN_NO_PARENTS) != 0)
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE,
                "%s was opened without its parents: it can be looked at, not attached", disk->display);
  else if (handle->chain == NULL)
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_BAD_COMMAND,
                "%s was attached when this handle was opened: open it again", disk->display);
  else if (!vd_chain_is_complete(handle->chain, &disk->facts))
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE,
                "the chain of %s has %u of its parents; the next one is missing", disk->display,
                handle->chain->images->len);
  else
    return TRUE;
  return FALSE;
}

/*
 * The node follows the leaf, and shows what lies in the parents: an image that somebody prepares may name
 * files of whoever attaches it. So its owner is the leaf's only if the parents are that owner's too, or it is
 * the owner who attaches, with whose rights they were opened; else root. That others may read a parent does
 * not count: its folder may be closed to them.
 */
static gboolean follow_chain(const VdHandle *handle, uid_t *uid, gid_t gid, mode_t *mode, GError **error)
{
  gboolean owners = *uid == handle->owner->uid, groups = TRUE;

  for (guint i = 0; handle->chain != NULL && i < handle->chain->images->len; i++) {
    VdImage *parent = g_ptr_array_index(handle->chain->images, i);
    uid_t parent_uid;
    gid_t parent_gid;
    mode_t parent_mode;

    if (!vd_image_owner(parent, &parent_uid, &parent_gid, &parent_mode)) {
      g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_CHANGED,
                  "the owner of %s cannot be told any more", parent->display);
      return FALSE;
    }
    if (!owners && parent_uid != *uid)
      *uid = 0;
    groups &= parent_gid == gid && (parent_mode & S_IRGRP) != 0;
  }
  if (!groups)
    *mode &= ~(mode_t)S_IRWXG;
  return TRUE;
}

static gboolean make_plan(VdHandle *handle, const VdAttachParams *params, VdAttachPlan *ret_plan,
                          GError **error)
{
  VdDisk *disk = handle->disk;
  uid_t uid;
  gid_t gid;
  mode_t mode;

  if (!check_state(disk, handle, error))
    return FALSE;
  if (handle->image == NULL) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_BAD_COMMAND,
                "the service was restarted after this handle was opened: open %s again", disk->display);
    return FALSE;
  }
  /* As it is now: the disk may have been opened, by somebody, before the file was given to another. */
  if (!vd_image_owner(handle->image, &uid, &gid, &mode)) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_CHANGED, "the owner of %s cannot be told any more",
                disk->display);
    return FALSE;
  }
  if (!follow_chain(handle, &uid, gid, &mode, error))
    return FALSE;
  return vd_access_attach(params, &handle->rights, &disk->facts, handle->owner->uid, uid, gid, mode, ret_plan,
                          error) &&
         check_chain(handle, error) && check_file(disk, handle->image, error);
}

/* The specification for the kernel */

static char *display_name(VdDisk *disk)
{
  g_autofree char *base = g_path_get_basename(disk->display);

  /* Goes into a udev property: nothing that udev would substitute, quote or break a line at. */
  return g_strcanon(g_steal_pointer(&base),
                    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ._-+=@", '_');
}

/* NULL-terminated, element char*. */
static GPtrArray *make_udev_env(VdDisk *disk)
{
  const VdDiskAttachment *a = disk->attachment;
  GPtrArray *env = g_ptr_array_new_with_free_func(g_free);
  g_autofree char *name = display_name(disk);
  const char *icon = disk->device_id == VIRTDISK_DEVICE_ISO ? "media-optical" : "drive-harddisk";

  g_ptr_array_add(env, g_strdup_printf("VIRTDISK_TAG=%s", a->tag));
  g_ptr_array_add(env, g_strdup_printf("VIRTDISK_OWNER_UID=%u", (guint)a->owner->uid));
  g_ptr_array_add(env, g_strdup_printf("UDISKS_NAME=%s", name));
  g_ptr_array_add(env, g_strdup_printf("UDISKS_ICON_NAME=%s", icon));
  g_ptr_array_add(env, g_strdup_printf("UDISKS_SYMBOLIC_ICON_NAME=%s-symbolic", icon));
  /* What was downloaded is mounted when somebody says so, and as they say. */
  if ((a->plan.flags & VIRTDISK_ATTACH_NO_DRIVE_LETTER) != 0 || disk->origin_url != NULL)
    g_ptr_array_add(env, g_strdup("UDISKS_AUTO=0"));
  if (a->plan.uid != VD_UID_INVALID) {
    g_ptr_array_add(env, g_strdup_printf("VIRTDISK_UID=%u", (guint)a->plan.uid));
    g_ptr_array_add(env, g_strdup_printf("VIRTDISK_GID=%u", (guint)a->plan.gid));
    g_ptr_array_add(env, g_strdup_printf("VIRTDISK_MODE=0%o", (guint)a->plan.mode));
  }
  g_ptr_array_add(env, NULL);
  return env;
}

static gsize copy_partitions(const VdFacts *facts, VdPartitionSpec *out)
{
  gsize n = 0;

  for (guint i = 0; i < facts->n_contents; i++)
    if (facts->contents[i].partition != 0)
      out[n++] =
          (VdPartitionSpec){facts->contents[i].partition, facts->contents[i].offset, facts->contents[i].size};
  return n;
}

/* Leaf first. (element int) */
static GArray *chain_descriptors(const VdHandle *handle)
{
  GArray *fds = g_array_new(FALSE, FALSE, sizeof(int));

  g_array_append_val(fds, handle->image->fd);
  for (guint i = 0; handle->chain != NULL && i < handle->chain->images->len; i++)
    g_array_append_val(fds, ((VdImage *)g_ptr_array_index(handle->chain->images, i))->fd);
  return fds;
}

/* The worker looks at it while udev does. */
static void on_device_made(const char *path, const char *name, dev_t number, gpointer user_data)
{
  GTask *task = user_data;
  Attach *attach = g_task_get_task_data(task);

  attach->contents = vd_manager_look_inside(g_task_get_source_object(task), attach->disk, path, name, number,
                                            g_task_get_cancellable(task));
}

/* user_data: the task of the attach. */
static void start_device(VdManager *self, Attach *attach, GCancellable *cancellable,
                         GAsyncReadyCallback callback, gpointer user_data)
{
  VdDisk *disk = attach->disk;
  const VdDiskAttachment *a = disk->attachment;
  VdPartitionSpec partitions[VD_MAX_PARTITIONS + 1];
  g_autoptr(GPtrArray) env = make_udev_env(disk);
  g_autoptr(GArray) images = chain_descriptors(attach->handle);
  VdAttachSpec spec = {
      .tag = a->tag,
      .fd = attach->handle->image->fd,
      .translated = !disk->facts.linear,
      .offset = a->plan.offset,
      .size = a->plan.size,
      .sector_size = a->plan.sector_size,
      .physical_sector_size = MAX(disk->facts.physical_sector_size, a->plan.sector_size),
      .route = a->plan.route,
      .served = {.program = vd_worker_client_get_program(self->worker),
                 .user_argument = vd_worker_client_get_user_argument(self->worker),
                 .device_id = disk->device_id,
                 .images = (const int *)images->data,
                 .n_images = images->len,
                 .skip = a->plan.skip,
                 .zero_copy = a->plan.zero_copy,
                 .changes_fd = MAX(attach->changes_fd, 0)},
      .read_only = a->plan.read_only,
      .direct_io = a->plan.direct_io,
      .partition_scan = a->plan.partition_scan,
      .partitions = partitions,
      .uid = a->plan.uid,
      .gid = a->plan.gid,
      .mode = a->plan.mode,
      .udev_env = (const char *const *)env->pdata,
      .rundir = self->rundir,
      .made_func = on_device_made,
  };

  if (a->plan.whole)
    spec.n_partitions = copy_partitions(&disk->facts, partitions);
  vd_device_attach_async(&spec, cancellable, callback, user_data);
}

/* attach */

/*
 * A worker that has ended holds its files for a moment still, and the locks are the files': they are let go
 * of here, unless a handle goes on with them.
 */
static void unlock_attachment(const VdDisk *disk, VdDiskAttachment *a)
{
  for (guint i = 0; i < disk->handles->len; i++)
    if (((VdHandle *)g_ptr_array_index(disk->handles, i))->image == a->image)
      return;
  if (a->image != NULL)
    vd_image_unlock(a->image);
  if (a->chain != NULL)
    vd_chain_unlock(a->chain);
}

/* What our own worker wrote has made the file larger or smaller: nobody else has changed it, and a handle may
 * attach it again. */
static void learn_size(VdDisk *disk, const VdDiskAttachment *a)
{
  guint64 size, allocated;

  if (disk->facts.linear || a->plan.read_only)
    return;
  for (guint i = 0; i < disk->handles->len; i++) {
    const VdHandle *handle = g_ptr_array_index(disk->handles, i);

    if (handle->image != NULL && vd_image_sizes(handle->image, &size, &allocated))
      disk->facts.file_size = size;
  }
}

static void end_attachment(VdManager *self, VdDisk *disk)
{
  VdDiskAttachment *a = g_steal_pointer(&disk->attachment);

  learn_size(disk, a);
  unlock_attachment(disk, a);
  for (guint i = 0; i < disk->handles->len; i++)
    ((VdHandle *)g_ptr_array_index(disk->handles, i))->attacher = FALSE;
  vd_run_remove(self->rundir, a->tag);
  vd_disk_attachment_free(a);
  vd_manager_collect(self, disk);
}

void vd_manager_forget_attachment(VdManager *self, VdDisk *disk)
{
  g_autoptr(VdDisk) alive = vd_disk_ref(disk);

  vd_manager_emit(self, VD_SIGNAL_DISK_REMOVED, disk);
  end_attachment(self, disk);
}

static void on_device_gone(VdDevice *device, gpointer user_data)
{
  VdManager *self = user_data;
  g_autoptr(GPtrArray) list = vd_manager_list(self);

  for (guint i = 0; i < list->len; i++) {
    VdDisk *disk = g_ptr_array_index(list, i);

    /* While we detach it ourselves the end of that call does this. */
    if (disk->attachment->device != device || disk->state == VD_DISK_DETACHING)
      continue;
    disk->attachment->lost = disk->attachment->changing;
    if (disk->attachment->lost) {
      vd_mirror_lost(disk->attachment);
      return;
    }
    if (vd_disk_step(disk, VD_EVENT_GONE))
      vd_manager_forget_attachment(self, disk);
    return;
  }
}

void vd_manager_watch_device(VdManager *self, VdDisk *disk)
{
  vd_device_set_gone_func(disk->attachment->device, on_device_gone, self);
}

static void fail_attach(VdManager *self, VdDisk *disk)
{
  vd_disk_step(disk, VD_EVENT_FAILED);
  end_attachment(self, disk);
}

/* The owner may have left, or the handle been closed, while the kernel was at work. */
static gboolean still_wanted(GTask *task)
{
  const Attach *attach = g_task_get_task_data(task);

  /* Who asked for it has not been told of it. */
  if (g_cancellable_is_cancelled(g_task_get_cancellable(task)))
    return FALSE;
  return attach->disk->attachment->plan.lifetime != VD_LIFETIME_HANDLE ||
         vd_disk_count_handles(attach->disk, NULL) > 0;
}

static void complete(GTask *owned)
{
  g_autoptr(GTask) task = owned;
  VdManager *self = g_task_get_source_object(task);
  Attach *attach = g_task_get_task_data(task);
  VdDisk *disk = attach->disk;
  GError *error = NULL;

  disk->attachment->attached_at = (guint64)(g_get_real_time() / G_USEC_PER_SEC);
  if (!vd_manager_save_record(self, disk, VD_RUN_ATTACHED, &error)) {
    fail_attach(self, disk);
    g_task_return_error(task, error);
    return;
  }
  vd_disk_step(disk, VD_EVENT_ATTACHED);
  vd_manager_watch_device(self, disk);
  vd_manager_watch_mounts(self);
  vd_manager_emit(self, VD_SIGNAL_DISK_ADDED, disk);
  if (!still_wanted(task))
    vd_manager_release(self, disk, "its caller left during the attach");
  else
    vd_manager_catch_up(self, disk);
  g_task_return_pointer(task, vd_disk_ref(disk), (GDestroyNotify)vd_disk_unref);
}

static void on_boot_saved(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  Attach *attach = g_task_get_task_data(task);
  GError *error = NULL;

  if (g_task_propagate_boolean(G_TASK(result), &error)) {
    complete(g_steal_pointer(&task));
    return;
  }
  fail_attach(g_task_get_source_object(task), attach->disk);
  g_task_return_error(task, error);
}

static void on_contents_learnt(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = VD_MANAGER(source);
  Attach *attach = g_task_get_task_data(task);

  vd_manager_learn_contents_finish(self, result);
  if (attach->disk->attachment->plan.lifetime == VD_LIFETIME_BOOT)
    save_boot_async(self, attach->disk, attach->handle, on_boot_saved, g_steal_pointer(&task));
  else
    complete(g_steal_pointer(&task));
}

static void on_device_attached(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  Attach *attach = g_task_get_task_data(task);
  VdDisk *disk = attach->disk;
  GError *error = NULL;

  disk->attachment->device = vd_device_attach_finish(result, &error);
  if (disk->attachment->device == NULL) {
    fail_attach(self, disk);
    g_task_return_error(task, error);
  } else {
    vd_manager_learn_contents_async(self, attach->contents, on_contents_learnt, g_steal_pointer(&task));
  }
}

/*
 * A fixed VHDX that the kernel will write to by itself: what a session of writing begins with (new GUIDs, so
 * that children and copies see it) is a worker's to do before.
 */

typedef struct {
  char *program;
  char *user_argument;
  VdImage *image;
} Begin;

static void begin_free(gpointer data)
{
  Begin *begin = data;

  g_free(begin->program);
  g_free(begin->user_argument);
  vd_image_unref(begin->image);
  g_free(begin);
}

static void begin_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  const Begin *begin = data;
  VdServiceSpec spec = {
      .program = begin->program,
      .user_argument = begin->user_argument,
      .setup = {.task = VD_TASK_BEGIN, .flags = VD_SERVE_WRITABLE, .device_id = begin->image->device_id},
      .transport_fd = -1,
      .images = &begin->image->fd,
      .n_images = 1,
  };
  GError *error = NULL;
  g_autoptr(VdService) service = vd_service_start(&spec, cancellable, &error);

  if (service != NULL)
    g_task_return_boolean(task, TRUE);
  else
    g_task_return_error(task, error);
}

static gboolean needs_begin(const Attach *attach)
{
  const VdAttachPlan *plan = &attach->disk->attachment->plan;

  return attach->disk->device_id == VIRTDISK_DEVICE_VHDX && attach->disk->facts.linear && !plan->read_only &&
         (plan->route == NULL || g_str_equal(plan->route, "loop")) && attach->changes_fd < 0;
}

static void on_begun(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  GCancellable *cancellable = g_task_get_cancellable(task);
  VdManager *self = g_task_get_source_object(task);
  Attach *attach = g_task_get_task_data(task);
  GError *error = NULL;

  if (g_task_propagate_boolean(G_TASK(result), &error)) {
    start_device(self, attach, cancellable, on_device_attached, g_steal_pointer(&task));
    return;
  }
  fail_attach(self, attach->disk);
  g_task_return_error(task, error);
}

static void begin_async(VdManager *self, const Attach *attach, GCancellable *cancellable,
                        GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(NULL, cancellable, callback, user_data);
  Begin *begin = g_new(Begin, 1);

  *begin = (Begin){g_strdup(vd_worker_client_get_program(self->worker)),
                   g_strdup(vd_worker_client_get_user_argument(self->worker)),
                   vd_image_ref(attach->handle->image)};
  g_task_set_task_data(task, begin, begin_free);
  vd_offload(task, begin_in_thread);
}

/* What the kernel would have served by itself takes a worker where its changes are tracked. */
static gboolean may_track(VdManager *self, Attach *attach, GError **error)
{
  VdDiskAttachment *a = attach->disk->attachment;

  if (attach->changes_fd < 0)
    return TRUE;
  if (!vd_manager_will_be_served(attach->disk, a->plan.route) &&
      !vd_manager_may_serve(self, a->owner->uid, error))
    return FALSE;
  a->tracked = TRUE;
  return TRUE;
}

static void on_changes_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
  GTask *owned = user_data;
  VdManager *self = VD_MANAGER(source);
  Attach *attach = g_task_get_task_data(owned);
  GCancellable *cancellable = g_task_get_cancellable(owned);
  GError *error = NULL;

  attach->changes_fd = vd_manager_find_changes_finish(self, result);
  if (!may_track(self, attach, &error)) {
    fail_attach(self, attach->disk);
    g_task_return_error(owned, error);
    g_object_unref(owned);
  } else if (needs_begin(attach)) {
    begin_async(self, attach, cancellable, on_begun, owned);
  } else {
    start_device(self, attach, cancellable, on_device_attached, owned);
  }
}

static void start(VdManager *self, GTask *owned)
{
  const Attach *attach = g_task_get_task_data(owned);

  vd_manager_find_changes_async(self, attach->handle, g_task_get_cancellable(owned), on_changes_found, owned);
}

/* A handle that has no lock yet: what the file is may have changed since it had the device's. */

static gboolean is_as_planned(const VdDisk *disk, const VdFacts *facts, GError **error)
{
  const VdFacts *known = &disk->facts;

  if (facts->virtual_size == known->virtual_size && facts->linear == known->linear &&
      facts->payload_offset == known->payload_offset && facts->sector_size == known->sector_size &&
      facts->has_parent == known->has_parent)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_CHANGED,
              "%s is another disk than when it was opened: open it again", disk->display);
  return FALSE;
}

static void on_probed_again(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  VdDisk *disk = ((Attach *)g_task_get_task_data(task))->disk;
  GError *error = NULL;
  g_autofree VdFacts *facts = vd_worker_probe_finish(self->worker, result, &error);

  if (facts != NULL && is_as_planned(disk, facts, &error)) {
    disk->facts = *facts;
    start(self, g_steal_pointer(&task));
    return;
  }
  fail_attach(self, disk);
  g_task_return_error(task, error);
}

static void on_locked(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  const Attach *attach = g_task_get_task_data(task);
  const VdHandle *handle = attach->handle;
  GCancellable *cancellable = g_task_get_cancellable(task);
  GError *error = NULL;

  if (vd_image_lock_finish(handle->image, result, &error)) {
    vd_worker_probe_async(self->worker, handle->owner->uid, handle->image->fd, handle->image->device_id, TRUE,
                          cancellable, on_probed_again, g_steal_pointer(&task));
    return;
  }
  fail_attach(self, attach->disk);
  g_task_return_error(task, error);
}

static VdDiskAttachment *make_attachment(VdManager *self, VdHandle *handle, const VdAttachPlan *plan,
                                         const char *session)
{
  VdDiskAttachment *a = g_new0(VdDiskAttachment, 1);
  g_autofree char *random = vd_manager_random_id();

  a->tag = g_strconcat(self->instance, random, NULL);
  a->plan = *plan;
  a->image = vd_image_ref(handle->image);
  a->chain = handle->chain != NULL ? vd_chain_copy(handle->chain) : NULL;
  a->parents = handle->chain != NULL ? vd_chain_parents(handle->chain) : NULL;
  a->owner = vd_identity_ref(handle->owner);
  a->session = plan->lifetime == VD_LIFETIME_SESSION ? g_strdup(session) : NULL;
  a->opened_read_only = !handle->rights.write;
  return a;
}

static void refuse(GTask *task, gpointer charge, GDestroyNotify free_charge, GError *error)
{
  if (charge != NULL)
    free_charge(charge);
  g_task_return_error(task, error);
}

void vd_manager_attach_async(VdManager *self, VdHandle *handle, const VdAttachParams *params,
                             const char *session, gpointer charge, GDestroyNotify free_charge,
                             GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(self, cancellable, callback, user_data);
  Attach *attach = g_new0(Attach, 1);
  VdDisk *disk = handle->disk;
  VdAttachPlan plan;
  gboolean needs_lock = vd_manager_needs_lock(handle);
  GError *error = NULL;

  /* What is attached is attached, also if the caller has gone meanwhile: then it is released, not left
   * behind. */
  g_task_set_check_cancellable(task, FALSE);
  attach->handle = vd_handle_ref(handle);
  attach->disk = vd_disk_ref(disk);
  attach->changes_fd = -1;
  g_task_set_task_data(task, attach, attach_free);
  if (handle->closed)
    error = g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_HANDLE, "the handle is closed");
  if (error != NULL || !make_plan(handle, params, &plan, &error) ||
      (vd_manager_will_be_served(disk, plan.route) &&
       !vd_manager_may_serve(self, handle->owner->uid, &error))) {
    refuse(task, charge, free_charge, error);
    return;
  }
  if (!vd_disk_step(disk, VD_EVENT_ATTACH)) {
    refuse(task, charge, free_charge,
           g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE, "%s is %s", disk->display,
                       vd_disk_state_name(disk->state)));
    return;
  }
  disk->attachment = make_attachment(self, handle, &plan, session);
  disk->attachment->charge = charge;
  disk->attachment->free_charge = free_charge;
  handle->attacher = TRUE;
  if (!plan.read_only)
    vd_manager_overtake(disk);
  if (!vd_manager_save_record(self, disk, VD_RUN_INTENT, &error)) {
    fail_attach(self, disk);
    g_task_return_error(task, error);
    return;
  }
  if (needs_lock)
    vd_image_lock_async(handle->image, handle->rights.write, on_locked, g_steal_pointer(&task));
  else
    start(self, g_steal_pointer(&task));
}

VdDisk *vd_manager_attach_finish(VdManager *self, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}
