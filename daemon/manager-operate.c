/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An operation on a handle, from its begin to its end: while one that changes the image is under way the disk
 * is marked, so that nobody else begins one or attaches, and the handle stays in its table, with its locks,
 * whoever leaves. One that reads has its descriptors, and no claim on anything else.
 */
#include "manager-mirror.h"
#include "operate-private.h"
#include "util/offload.h"

void vd_operation_result_free(VdOperationResult *self)
{
  if (self == NULL)
    return;
  g_clear_pointer(&self->data, g_bytes_unref);
  g_free(self);
}

VdJobs *vd_manager_get_jobs(VdManager *self)
{
  return self->jobs;
}

static void operate_free(gpointer data)
{
  Operate *o = data;

  if (o->parent_locked)
    vd_image_unlock(o->parent);
  vd_operate_clear_changes(o);
  g_clear_pointer(&o->parent, vd_image_unref);
  g_clear_pointer(&o->handle, vd_handle_unref);
  g_clear_pointer(&o->identity, vd_identity_unref);
  g_clear_pointer(&o->data, g_bytes_unref);
  g_clear_pointer(&o->result, vd_operation_result_free);
  g_clear_pointer(&o->closers, g_ptr_array_unref);
  g_clear_object(&o->job);
  g_clear_object(&o->reading);
  g_free(o->child_facts);
  g_free(o->parent_facts);
  g_free(o->path);
  g_free(o->id);
  g_free(o->program);
  g_free(o->user_argument);
  g_free(o->fds);
  g_free(o);
}

static gboolean check_state(const VdHandle *handle, const VdOperation *op, GError **error)
{
  VdOperationKind kind = op->kind;
  const VdDisk *disk = handle->disk;
  const VdDiskAttachment *a = disk->attachment;

  if (handle->closed || handle->leaving) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_HANDLE, "the handle is closed");
    return FALSE;
  }
  if (!vd_manager_is_idle(disk, error))
    return FALSE;
  if (kind == VD_OPERATION_MIRROR && !vd_mirror_check_disk(disk, error))
    return FALSE;
  if (a != NULL && kind != VD_OPERATION_MIRROR && !vd_operate_is_online(disk, op) &&
      (vd_operate_writes(kind) || (!a->plan.read_only && !vd_operate_is_of_changes(kind)) ||
       a->device == NULL))
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE, "%s is attached: detach it first",
                disk->display);
  else if (handle->image == NULL)
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE,
                "the service was restarted after this handle was opened: open %s again", disk->display);
  else if (a == NULL && !disk->has_facts)
    vd_manager_refuse_unknown(disk, error);
  else if (handle->adding_parent)
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE, "%s is being given a parent",
                disk->display);
  else
    return TRUE;
  return FALSE;
}

void vd_manager_refuse_unknown(const VdDisk *disk, GError **error)
{
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_CHANGED,
              "%s could not be looked at after it was changed: open it again", disk->display);
}

gboolean vd_manager_is_idle(const VdDisk *disk, GError **error)
{
  if (disk->operation == NULL)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE, "%s is being %s", disk->display,
              disk->operation);
  return FALSE;
}

gboolean vd_manager_may_operate(VdManager *self, VdHandle *handle, const VdOperation *op, GError **error)
{
  return vd_operate_check(handle, op, error) && check_state(handle, op, error);
}

/* The end */

static void on_left(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GPtrArray) closers = user_data;

  vd_manager_close_finish(VD_MANAGER(source), result, NULL);
  for (guint i = 0; i < closers->len; i++)
    g_task_return_boolean(g_ptr_array_index(closers, i), TRUE);
}

static void stop_reading(GTask *task, GError **error)
{
  Operate *o = g_task_get_task_data(task);
  const VdDisk *disk = o->handle->disk;

  if (o->caller_left != 0)
    g_cancellable_disconnect(g_task_get_cancellable(task), o->caller_left);
  g_ptr_array_remove_fast(disk->readers, o);
  if (!o->overtaken)
    return;
  g_clear_error(error);
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE, "%s was %s while it was %s: ask again",
              disk->display, disk->operation != NULL ? disk->operation : "attached or changed",
              vd_operate_describe(o->op.kind));
}

/* Who waits is told when the disk can be used again. */
static void release(VdManager *self, Operate *o)
{
  o->handle->disk->operation = NULL;
  o->handle->operate = NULL;
  if (o->handle->leaving && !o->handle->closed)
    vd_manager_close_async(self, o->handle, on_left, g_steal_pointer(&o->closers));
}

void vd_operate_finish(GTask *owned, GError *error)
{
  g_autoptr(GTask) task = owned;
  Operate *o = g_task_get_task_data(task);

  if (o->parent_locked)
    vd_image_unlock(o->parent);
  o->parent_locked = FALSE;
  if (vd_operate_writes(o->op.kind))
    release(o->manager, o);
  else
    stop_reading(task, &error);
  if (error != NULL)
    g_task_return_error(task, error);
  else
    g_task_return_pointer(task, g_steal_pointer(&o->result), (GDestroyNotify)vd_operation_result_free);
}

void vd_operate_forget_chain(VdHandle *handle)
{
  handle->rights.flags |= VIRTDISK_OPEN_NO_PARENTS;
  if (handle->chain == NULL)
    return;
  vd_chain_unlock(handle->chain);
  g_clear_pointer(&handle->chain, vd_chain_free);
}

/* A new parent may be written in the image by a worker that could not say so any more; a merge that was not
 * finished goes on with the same images. */
static gboolean changes_chain(const Operate *o, const GError *error)
{
  return o->op.kind == VD_OPERATION_SET_PARENT || o->op.kind == VD_OPERATION_SET_LOCATOR ||
         (o->op.kind == VD_OPERATION_MERGE && error == NULL);
}

typedef struct {
  GTask *task;   /* owned */
  GError *error; /* of the work */
} Ended;

static void on_probed_anew(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autofree Ended *ended = user_data;
  Operate *o = g_task_get_task_data(ended->task);
  g_autoptr(GError) error = NULL;
  g_autofree VdFacts *facts = vd_worker_probe_finish(o->manager->worker, result, &error);

  if (facts != NULL)
    o->handle->disk->facts = *facts;
  if (facts != NULL && o->result != NULL)
    o->result->size = facts->virtual_size;
  else if (facts == NULL)
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "%s after it was %s: %s",
                     o->handle->disk->display, vd_operate_describe(o->op.kind), error->message);
  o->handle->disk->has_facts = facts != NULL;
  /* A failure of the work itself says more. */
  if (facts == NULL && ended->error == NULL)
    ended->error = g_steal_pointer(&error);
  if (o->result != NULL && changes_chain(o, ended->error))
    vd_operate_forget_chain(o->handle);
  vd_operate_finish(ended->task, ended->error);
}

static void on_worked(GObject *source, GAsyncResult *result, gpointer user_data)
{
  GTask *task = user_data;
  Operate *o = g_task_get_task_data(task);
  Ended *ended;
  GError *error = NULL;

  g_task_propagate_boolean(G_TASK(result), &error);
  if (o->op.kind == VD_OPERATION_SET_CHANGE_TRACKING && error == NULL) {
    vd_operate_publish_changes(task, vd_operate_finish);
    return;
  }
  /* What is being served is not looked at. */
  if (!vd_operate_writes(o->op.kind) || vd_operate_is_of_changes(o->op.kind) || o->online) {
    vd_operate_finish(task, error);
    return;
  }
  /* Also after a failure: it may have got somewhere. */
  ended = g_new(Ended, 1);
  *ended = (Ended){task, error};
  vd_worker_probe_async(o->manager->worker, o->identity->uid, o->handle->image->fd,
                        o->handle->disk->device_id, TRUE, NULL, on_probed_anew, ended);
}

/* The way there */

static void on_prepared(GTask *task, GError *error)
{
  Operate *o = g_task_get_task_data(task);
  g_autoptr(GTask) working = NULL;

  if (error == NULL && g_cancellable_is_cancelled(g_task_get_cancellable(task)))
    error =
        g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED, "the operation was cancelled");
  if (error != NULL) {
    vd_operate_finish(task, error);
    return;
  }
  vd_operate_fill(o);
  working = g_task_new(NULL, o->reading != NULL ? o->reading : g_task_get_cancellable(task), on_worked, task);
  g_task_set_check_cancellable(working, FALSE);
  g_task_set_task_data(working, o, NULL);
  if (vd_operate_is_online(o->handle->disk, &o->op))
    vd_operate_online(g_steal_pointer(&working));
  else
    vd_offload(working, vd_operate_in_thread);
}

static Operate *operate_new(VdManager *self, VdIdentity *identity, VdHandle *handle, const VdOperation *op,
                            VdJob *job)
{
  Operate *o = g_new0(Operate, 1);

  o->manager = self;
  o->identity = vd_identity_ref(identity);
  o->handle = vd_handle_ref(handle);
  o->op = *op;
  o->op.path = o->path = g_strdup(op->path);
  o->op.data = o->data = op->data != NULL ? g_bytes_ref(op->data) : NULL;
  o->op.id = o->id = g_strdup(op->id);
  o->changes_fd = -1;
  o->job = job != NULL ? g_object_ref(job) : NULL;
  o->program = g_strdup(vd_worker_client_get_program(self->worker));
  o->user_argument = g_strdup(vd_worker_client_get_user_argument(self->worker));
  o->virtual_size = handle->disk->facts.virtual_size;
  o->closers = g_ptr_array_new_with_free_func(g_object_unref);
  return o;
}

void vd_manager_overtake(VdDisk *disk)
{
  for (guint i = 0; i < disk->readers->len; i++) {
    Operate *o = g_ptr_array_index(disk->readers, i);

    o->overtaken = TRUE;
    g_cancellable_cancel(o->reading);
  }
}

static void on_caller_left(GCancellable *cancellable, gpointer user_data)
{
  g_cancellable_cancel(user_data);
}

static void start_reading(GTask *task)
{
  Operate *o = g_task_get_task_data(task);
  GCancellable *cancellable = g_task_get_cancellable(task);

  o->reading = g_cancellable_new();
  if (cancellable != NULL)
    o->caller_left = g_cancellable_connect(cancellable, G_CALLBACK(on_caller_left), o->reading, NULL);
  g_ptr_array_add(o->handle->disk->readers, o);
}

static void start_writing(GTask *task)
{
  Operate *o = g_task_get_task_data(task);

  vd_manager_overtake(o->handle->disk);
  o->handle->disk->operation = vd_operate_describe(o->op.kind);
  o->handle->operate = o;
}

/* Takes nothing: whoever goes on owns task. */
static void prepare(GTask *task)
{
  const Operate *o = g_task_get_task_data(task);

  if (o->op.kind == VD_OPERATION_SET_PARENT || o->op.kind == VD_OPERATION_SET_LOCATOR)
    vd_operate_find_parent(task, on_prepared);
  else if (o->op.kind == VD_OPERATION_MERGE)
    vd_operate_open_targets(task, on_prepared);
  else if (o->op.kind == VD_OPERATION_MIRROR)
    vd_mirror_begin(task);
  else if (vd_operate_is_of_changes(o->op.kind))
    vd_operate_open_changes(task, on_prepared);
  else
    on_prepared(task, NULL);
}

static void on_locked(GObject *source, GAsyncResult *result, gpointer user_data)
{
  GTask *task = user_data;
  const Operate *o = g_task_get_task_data(task);
  GError *error = NULL;

  if (vd_image_lock_finish(o->handle->image, result, &error))
    prepare(task);
  else
    vd_operate_finish(task, error);
}

void vd_manager_operate_async(VdManager *self, VdIdentity *identity, VdHandle *handle, const VdOperation *op,
                              VdJob *job, GCancellable *cancellable, GAsyncReadyCallback callback,
                              gpointer user_data)
{
  GTask *task = g_task_new(self, cancellable, callback, user_data);
  Operate *o = operate_new(self, identity, handle, op, job);
  GError *error = NULL;

  /* What was done is told as done. */
  g_task_set_check_cancellable(task, FALSE);
  g_task_set_task_data(task, o, operate_free);
  if (!vd_manager_may_operate(self, handle, op, &error)) {
    g_task_return_error(task, error);
    g_object_unref(task);
    return;
  }
  if (vd_operate_writes(op->kind))
    start_writing(task);
  else
    start_reading(task);
  if (vd_operate_writes(op->kind) && vd_manager_needs_lock(handle))
    vd_image_lock_async(handle->image, TRUE, on_locked, task);
  else
    prepare(task);
}

VdOperationResult *vd_manager_operate_finish(VdManager *self, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

gboolean vd_manager_close_later(VdManager *self, VdHandle *handle, GTask *task)
{
  Operate *o = handle->operate;

  if (o == NULL)
    return FALSE;
  handle->leaving = TRUE;
  if (o->job != NULL && o->job->detached) {
    g_task_return_boolean(task, TRUE);
    return TRUE;
  }
  g_ptr_array_add(o->closers, g_object_ref(task));
  if (o->job != NULL)
    vd_job_cancel(o->job);
  return TRUE;
}
