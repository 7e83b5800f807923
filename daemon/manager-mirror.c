/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A mirror from its begin to its end: target -> a worker that mirrors -> (both alike) -> a worker on the
 * target, or on the image again. Until the switch is on record the image is the disk, whatever happens; the
 * switch is made while nobody serves and both files hold the same, durably. For all that time the attachment
 * is "changing": it is not detached, and its end is told to us.
 */
#include "manager-mirror.h"

#include <string.h>
#include <sys/stat.h>

#include "attach/serving.h"
#include "mirror-target.h"
#include "store/boot.h"

/* Milliseconds for all of the target to be durable; who uses the disk waits meanwhile. */
#define BREAK_DEADLINE_MS 60000

typedef enum { PREPARING, STARTING, RUNNING, BREAKING, ENDING } State;

typedef struct {
  VdManager *manager; /* borrowed: the task has it */
  GTask *task;        /* of the operation; owned until the end */
  VdDisk *disk;
  VdMirrorTarget *target; /* NULL while PREPARING */
  State state;
  gboolean whole; /* both hold the same */
  GError *why;    /* it is to end, or NULL */
  gulong on_cancel;
  GTask *breaking; /* or NULL */
  VdMirrorTo over;
  /* Of the thread of an exchange, until that has ended. */
  gboolean added, switched;
  guint64 file_size; /* bytes, of the target when it was closed */
  char *boot_path;   /* of the image, if it is attached at boot; or NULL */
} Mirror;

static Operate *operate_of(const Mirror *self)
{
  return g_task_get_task_data(self->task);
}

static Mirror *mirror_of(const VdDiskAttachment *attachment)
{
  return attachment != NULL ? attachment->mirror : NULL;
}

const VdImage *vd_mirror_get_image(const VdDiskAttachment *attachment)
{
  const Mirror *self = mirror_of(attachment);

  return self != NULL && self->target != NULL ? self->target->image : NULL;
}

gboolean vd_mirror_is_breaking(const VdDiskAttachment *attachment)
{
  const Mirror *self = mirror_of(attachment);

  return self != NULL && self->state == BREAKING;
}

gboolean vd_mirror_check_disk(const VdDisk *disk, GError **error)
{
  const VdDiskAttachment *a = disk->attachment;

  if (a == NULL || a->device == NULL || disk->state != VD_DISK_ATTACHED)
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE,
                "%s is not attached: what nobody uses is copied, not mirrored", disk->display);
  else if (a->plan.read_only)
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE,
                "%s is attached read-only: what nobody writes to is copied, not mirrored", disk->display);
  else if (!vd_device_get_info(a->device)->served)
    g_set_error(
        error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
        "%s is attached by way of %s, where the kernel serves it alone: attach it with the route ublk "
        "or fuse to have it mirrored",
        disk->display, vd_device_get_info(a->device)->route);
  else
    return vd_device_may_exchange(a->device, error);
  return FALSE;
}

/* The end */

static void mirror_free(Mirror *self)
{
  vd_mirror_target_free(self->target);
  g_clear_error(&self->why);
  g_free(self->boot_path);
  vd_disk_unref(self->disk);
  g_free(self);
}

/* The attachment is there: nobody forgets it while it is changing. */
static void let_attachment_go(const Mirror *self)
{
  VdDiskAttachment *a = self->disk->attachment;

  vd_device_set_news_func(a->device, NULL, NULL);
  a->mirror = NULL;
  a->changing = FALSE;
  if (!a->lost) {
    vd_manager_update_record(self->manager, self->disk);
    vd_manager_emit(self->manager, VD_SIGNAL_DISK_CHANGED, self->disk);
    vd_manager_catch_up(self->manager, self->disk);
  } else if (vd_disk_step(self->disk, VD_EVENT_GONE)) {
    vd_manager_forget_attachment(self->manager, self->disk);
  }
}

/* What is in the way of the target is not in the way of who is told. */
static void conclude(Mirror *self)
{
  GTask *task = self->task;
  g_autoptr(GTask) breaking = g_steal_pointer(&self->breaking);
  GError *error = g_steal_pointer(&self->why);

  g_signal_handler_disconnect(g_task_get_cancellable(task), self->on_cancel);
  g_clear_pointer(&self->target, vd_mirror_target_free);
  let_attachment_go(self);
  if (breaking != NULL && error != NULL)
    g_task_return_error(breaking, g_error_copy(error));
  else if (breaking != NULL)
    g_task_return_boolean(breaking, TRUE);
  mirror_free(self);
  vd_operate_finish(task, error);
}

static gboolean drop_between(VdServing *serving, gpointer data, GError **error)
{
  vd_serving_drop_mirror(serving);
  return TRUE;
}

static void on_dropped(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Mirror *self = user_data;
  g_autoptr(GError) error = NULL;

  if (!vd_device_exchange_finish(self->disk->attachment->device, result, &error))
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "%s after its mirror: %s",
                     self->disk->display, error->message);
  conclude(self);
}

/* The image goes on alone. Takes error; the first one counts. */
static void leave(Mirror *self, GError *error)
{
  if (self->why == NULL)
    self->why = error;
  else
    g_error_free(error);
  self->state = ENDING;
  if (self->added && !self->disk->attachment->lost)
    vd_device_exchange_async(self->disk->attachment->device, drop_between, NULL, NULL, on_dropped, self);
  else
    conclude(self);
}

/* An exchange that is under way is waited for. Takes error. */
static void stop(Mirror *self, GError *error)
{
  if (self->state == RUNNING)
    leave(self, error);
  else if (self->state == STARTING && self->why == NULL)
    self->why = error;
  else
    g_error_free(error);
}

static GError *aborted(void)
{
  return g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED,
                             "the mirror was cancelled: the image is the disk as before");
}

static GError *lost(const Mirror *self)
{
  return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_DEVICE_NOT_EXIST,
                     "the device of %s was taken away while it was being mirrored", self->disk->display);
}

static GError *given_up(const Mirror *self)
{
  return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_WORKER_LOST,
                     "the mirror ends: %s was given up after its workers had failed", self->disk->display);
}

static void on_cancelled(GCancellable *cancellable, gpointer user_data)
{
  stop(user_data, aborted());
}

void vd_mirror_lost(VdDiskAttachment *attachment)
{
  Mirror *self = mirror_of(attachment);

  if (self != NULL)
    stop(self, lost(self));
}

void vd_mirror_cancel(VdDiskAttachment *attachment)
{
  const Mirror *self = mirror_of(attachment);

  if (self != NULL && operate_of(self)->job != NULL)
    vd_job_cancel(operate_of(self)->job);
}

/* Running */

/* All of it is done when it is mirrored, and not a byte before. */
static void tell(const Mirror *self, const VdServiceMirror *news)
{
  guint64 completion = MAX(news->completion, 1);
  guint64 current = news->mirrored ? completion : MIN(news->current, completion - 1);

  if (news->completion != 0 || news->mirrored)
    vd_job_tell(operate_of(self)->job, current, completion);
}

static void on_news(VdDevice *device, gpointer user_data)
{
  Mirror *self = user_data;
  g_autoptr(VdService) service = vd_device_get_service(device);
  VdServiceMirror news;
  GError *error = NULL;

  if (self->state != RUNNING)
    return;
  if (vd_device_get_info(device)->failed) {
    leave(self, given_up(self));
    return;
  }
  if (service == NULL)
    return;
  vd_service_get_mirror(service, &news, &error);
  if (error != NULL) {
    leave(self, error);
    return;
  }
  self->whole = news.mirrored;
  tell(self, &news);
}

static gboolean add_between(VdServing *serving, gpointer data, GError **error)
{
  Mirror *self = data;

  self->added = vd_serving_add_mirror(serving, self->target->image->fd, self->over, error);
  return self->added;
}

static void on_started(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Mirror *self = user_data;
  VdDevice *device = self->disk->attachment->device;
  GError *error = NULL;

  vd_device_exchange_finish(device, result, &error);
  if (error == NULL && self->disk->attachment->lost)
    error = lost(self);
  self->state = RUNNING;
  if (error != NULL)
    leave(self, error);
  else if (self->why != NULL)
    leave(self, g_error_copy(self->why));
  else
    on_news(device, self);
}

/* Others could open it while it was looked at; from here on they cannot (vd_manager_is_no_mirror). At the
 * switch its place in the table is to be free. */
static gboolean is_free(const Mirror *self, GError **error)
{
  const VdImage *image = self->target->image;

  if (vd_manager_lookup(self->manager, image->st.st_dev, image->st.st_ino) == NULL)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION, "%s is open or attached",
              image->display);
  return FALSE;
}

static void on_target_open(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Mirror *self = user_data;
  VdDevice *device = self->disk->attachment->device;
  GError *error = NULL;

  self->target = vd_mirror_target_open_finish(result, &error);
  if (error == NULL && g_cancellable_is_cancelled(g_task_get_cancellable(self->task)))
    error = aborted();
  else if (error == NULL && self->disk->attachment->lost)
    error = lost(self);
  else if (error == NULL)
    is_free(self, &error);
  if (error != NULL) {
    leave(self, error);
    return;
  }
  self->state = STARTING;
  vd_device_set_news_func(device, on_news, self);
  vd_device_exchange_async(device, add_between, self, NULL, on_started, self);
}

void vd_mirror_begin(GTask *task)
{
  Operate *o = g_task_get_task_data(task);
  VdDiskAttachment *a = o->handle->disk->attachment;
  gboolean existing = (o->op.flags & VIRTDISK_MIRROR_EXISTING_FILE) != 0;
  GCancellable *cancellable = g_task_get_cancellable(task);
  Mirror *self = g_new0(Mirror, 1);

  self->manager = o->manager;
  self->task = task;
  self->disk = vd_disk_ref(o->handle->disk);
  self->over = existing ? VD_MIRROR_TO_OLD : VD_MIRROR_TO_NEW;
  self->on_cancel = g_signal_connect(cancellable, "cancelled", G_CALLBACK(on_cancelled), self);
  o->online = a->changing = TRUE;
  a->mirror = self;
  vd_mirror_target_open_async(o->manager, o->identity, o->handle, o->op.path,
                              existing ? VD_MIRROR_TARGET_EXISTING : VD_MIRROR_TARGET_CREATE, cancellable,
                              on_target_open, self);
}

/* The switch */

/* Not asked anything while another one writes to it: what the target is was seen when it was empty, what is
 * inside is what was inside of the image. */
static void learn_facts(Mirror *self)
{
  VdFacts *new = self->target->facts;
  const VdFacts *old = &self->disk->facts;

  new->file_size = self->file_size;
  new->smallest_safe_size = old->smallest_safe_size;
  memcpy(new->pt_type, old->pt_type, sizeof new->pt_type);
  new->n_contents = old->n_contents;
  memcpy(new->contents, old->contents, sizeof new->contents);
  self->disk->facts = *new;
}

static void replace_image(VdImage **image, VdImage *by)
{
  VdImage *old = *image;

  if (old == NULL)
    return;
  *image = vd_image_ref(by);
  vd_image_unlock(old);
  vd_image_unref(old);
}

/* The locks are the attachment's from here on. */
static void switch_disk(Mirror *self)
{
  VdDisk *disk = self->disk;
  g_autoptr(VdImage) image = g_steal_pointer(&self->target->image);

  g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "MESSAGE", "%s: its mirror %s has taken its place",
                   disk->display, image->display);
  learn_facts(self);
  vd_manager_set_image(self->manager, disk, image);
  replace_image(&disk->attachment->image, image);
  for (guint i = 0; i < disk->handles->len; i++)
    replace_image(&((VdHandle *)g_ptr_array_index(disk->handles, i))->image, image);
}

static gboolean break_before(VdServing *serving, gpointer data, GError **error)
{
  g_autoptr(VdService) service = vd_serving_get_service(serving);

  if (service != NULL)
    return vd_service_break_mirror(service, BREAK_DEADLINE_MS, error);
  g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_WORKER_LOST, "no worker serves the disk");
  return FALSE;
}

/* Before the switch, so that a full disk is in the way of it, and not of the next boot. */
static gboolean copy_boot(const Mirror *self, GError **error)
{
  const VdImage *image = self->target->image;

  return self->boot_path == NULL ||
         vd_boot_copy(self->manager->statedir, self->boot_path, image->path, image->st.st_uid, error);
}

static void remove_boot(const Mirror *self, const char *path)
{
  g_autoptr(GError) error = NULL;

  if (self->boot_path != NULL && !vd_boot_remove(self->manager->statedir, path, &error))
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE",
                     "at the next boot the image is attached besides its mirror: %s", error->message);
}

/* Kept first: a service that is killed between the two leaves a file too many, not one too few. */
static gboolean switch_between(VdServing *serving, gpointer data, GError **error)
{
  Mirror *self = data;
  struct stat st;

  if (!copy_boot(self, error))
    return FALSE;
  self->file_size = self->target->facts->file_size;
  if (fstat(self->target->image->fd, &st) == 0)
    self->file_size = (guint64)st.st_size;
  if (self->target->file != NULL)
    self->manager->source.keep(self->target->file);
  self->switched = vd_serving_take_mirror(serving, error);
  remove_boot(self, self->switched ? self->boot_path : self->target->image->path);
  return self->switched;
}

/* The worker has no mirror any more, or still waits for it, and requests for that; or it goes on with it, or
 * its successor does, and who asked may ask again. Takes error. */
static void fail_break(Mirror *self, GError *error)
{
  g_autoptr(VdService) service = vd_device_get_service(self->disk->attachment->device);
  VdServiceMirror news = {.failed = FALSE};
  g_autoptr(GTask) breaking = NULL;

  if (service != NULL)
    vd_service_get_mirror(service, &news, NULL);
  self->state = RUNNING;
  if (news.failed || self->disk->attachment->lost ||
      g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_TIMED_OUT)) {
    leave(self, error);
    return;
  }
  breaking = g_steal_pointer(&self->breaking);
  self->whole = FALSE;
  vd_manager_update_record(self->manager, self->disk);
  g_task_return_error(breaking, error);
  if (g_cancellable_is_cancelled(g_task_get_cancellable(self->task)))
    leave(self, aborted());
  else
    on_news(self->disk->attachment->device, self);
}

static void on_broken(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Mirror *self = user_data;
  GError *error = NULL;

  vd_device_exchange_finish(self->disk->attachment->device, result, &error);
  if (!self->switched) {
    fail_break(self, error);
    return;
  }
  /* A worker is being looked for; that is not undone. */
  if (error != NULL)
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "%s after its mirror took over: %s",
                     self->disk->display, error->message);
  g_clear_error(&error);
  operate_of(self)->result = g_new0(VdOperationResult, 1);
  operate_of(self)->result->copied = self->disk->facts.virtual_size;
  switch_disk(self);
  conclude(self);
}

static gboolean may_break(const Mirror *self, const VdHandle *handle, GError **error)
{
  const VdDisk *disk = handle->disk;

  if (handle->rights.version == 1)
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                        "this is for handles that were opened with version 2");
  else if (self == NULL)
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE, "%s is not being mirrored",
                disk->display);
  else if (operate_of(self)->handle != handle && operate_of(self)->identity->uid != handle->owner->uid)
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED, "%s is being mirrored by another user",
                disk->display);
  else if (self->state != RUNNING || !self->whole)
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE,
                self->state == BREAKING ? "the mirror of %s is taking its place already"
                                        : "the mirror of %s is not complete",
                disk->display);
  else
    return TRUE;
  return FALSE;
}

void vd_manager_break_mirror_async(VdManager *manager, VdHandle *handle, GAsyncReadyCallback callback,
                                   gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(manager, NULL, callback, user_data);
  Mirror *self = mirror_of(handle->disk->attachment);
  g_autoptr(GTask) breaking = NULL;
  GError *error = NULL;

  if (!may_break(self, handle, &error)) {
    g_task_return_error(task, error);
    return;
  }
  self->state = BREAKING;
  self->breaking = g_steal_pointer(&task);
  if (self->disk->attachment->plan.lifetime == VD_LIFETIME_BOOT && self->boot_path == NULL)
    self->boot_path = g_strdup(self->disk->path);
  /* Whichever of the two the worker has by then, who finds it knows it; who does not would undo a disk in
   * use.
   */
  if (!vd_manager_save_record(manager, self->disk, VD_RUN_ATTACHED, &error)) {
    self->state = RUNNING;
    breaking = g_steal_pointer(&self->breaking);
    g_task_return_error(breaking, error);
    return;
  }
  vd_device_exchange_after_async(self->disk->attachment->device, break_before, switch_between, self, NULL,
                                 on_broken, self);
}

gboolean vd_manager_break_mirror_finish(VdManager *self, GAsyncResult *result, GError **error)
{
  return g_task_propagate_boolean(G_TASK(result), error);
}
