/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a merge writes to besides the leaf: parents that the handle has open for reading are opened for
 * writing, as the caller, one after the other. They are the same files: name, inode and locks are looked at
 * again.
 */
#include "operate-private.h"

typedef struct {
  GTask *task; /* borrowed */
  VdOperateNext next;
  VdImage *opened; /* the one that takes the place of the next parent */
} Step;

static void open_next(Step *step);

/* Takes step and error. */
static void step_on(Step *step, GError *error)
{
  GTask *task = step->task;
  VdOperateNext next = step->next;

  g_clear_pointer(&step->opened, vd_image_unref);
  g_free(step);
  next(task, error);
}

static VdChain *chain_of(const Step *step)
{
  return ((Operate *)g_task_get_task_data(step->task))->handle->chain;
}

static VdImage *current_of(const Step *step)
{
  return g_ptr_array_index(chain_of(step)->images, chain_of(step)->n_write);
}

static void on_locked_again(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Step *step = user_data;
  GError *cause = g_object_steal_data(G_OBJECT(step->task), "virtdisk-merge-error");

  /* Somebody was quicker: the chain is not to be used without its locks. */
  if (!vd_image_lock_finish(current_of(step), result, NULL))
    vd_operate_forget_chain(((Operate *)g_task_get_task_data(step->task))->handle);
  step_on(step, cause);
}

static void on_target_locked(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Step *step = user_data;
  VdChain *chain = chain_of(step);
  GError *error = NULL;

  if (!vd_image_lock_finish(step->opened, result, &error)) {
    /* As it was before. */
    g_object_set_data(G_OBJECT(step->task), "virtdisk-merge-error", error);
    vd_image_lock_async(current_of(step), FALSE, on_locked_again, step);
    return;
  }
  vd_image_unref(current_of(step));
  chain->images->pdata[chain->n_write] = g_steal_pointer(&step->opened);
  chain->n_write++;
  open_next(step);
}

/* Some other handle or attachment has it as a parent, or by itself. */
static gboolean may_write(const Step *step, GError **error)
{
  Operate *o = g_task_get_task_data(step->task);
  VdChain *own = g_steal_pointer(&o->handle->chain);
  gboolean good = vd_manager_may_be_parent(o->manager, step->opened, TRUE, error);

  o->handle->chain = own;
  return good;
}

static void on_target_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Step *step = user_data;
  VdImage *current = current_of(step);
  GError *error = NULL;

  step->opened = vd_manager_find_finish(VD_MANAGER(source), result, &error);
  if (step->opened != NULL &&
      (step->opened->st.st_dev != current->st.st_dev || step->opened->st.st_ino != current->st.st_ino))
    g_set_error(&error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_CHANGED,
                "%s is another file than when the chain was opened", current->display);
  if (error != NULL || !may_write(step, &error)) {
    step_on(step, error);
    return;
  }
  /* One description's lock is in the way of the other's. */
  vd_image_unlock(current);
  vd_image_lock_async(step->opened, TRUE, on_target_locked, step);
}

static void open_next(Step *step)
{
  Operate *o = g_task_get_task_data(step->task);
  const VdOpenParams open = {
      .device_id = o->handle->disk->device_id, .version = 1, .flags = o->handle->rights.flags};
  const VdRights rights = {.version = 1, .write = TRUE};

  if (1 + chain_of(step)->n_write >= o->op.target_depth) {
    step_on(step, NULL);
    return;
  }
  vd_manager_find_async(o->manager, o->identity, current_of(step)->path, &open, &rights,
                        g_task_get_cancellable(step->task), on_target_found, step);
}

void vd_operate_open_targets(GTask *task, VdOperateNext next)
{
  Step *step = g_new0(Step, 1);

  step->task = task;
  step->next = next;
  open_next(step);
}
