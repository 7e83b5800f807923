/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Another parent for an image: the file is opened as the caller, looked at and locked, and what the child is
 * to remember of it goes into the order. That it is the right one nobody can know but the caller; that it is
 * of the same size and format, and not a descendant, is seen to here.
 */
#include "operate-private.h"
#include "util/cleanup.h"

#include <string.h>

typedef struct {
  GTask *task; /* borrowed: whoever called goes on when next was called */
  VdOperateNext next;
} Step;

/* Takes step and error. */
static void step_on(Step *step, GError *error)
{
  g_autofree Step *own = step;

  own->next(own->task, error);
}

static gboolean fill_place(Operate *o, const char *parent_path, GError **error)
{
  g_autofree char *folder = g_path_get_dirname(o->child->path);

  return vd_create_place(folder, parent_path, o->manager->path_map, o->order.parent_relative,
                         o->order.parent_absolute, error);
}

/* Locked */

static void on_parent_held(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Step *step = user_data;
  Operate *o = g_task_get_task_data(step->task);
  GError *error = NULL;

  o->parent_locked = vd_image_lock_finish(o->parent, result, &error);
  if (o->parent_locked && fill_place(o, o->parent->path, &error)) {
    memcpy(o->order.linkage, o->parent_facts->linkage, sizeof o->order.linkage);
    o->order.timestamp = o->parent_facts->timestamp;
  }
  step_on(step, error);
}

static void on_no_cycle(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Step *step = user_data;
  Operate *o = g_task_get_task_data(step->task);
  GError *error = NULL;

  if (vd_manager_check_cycle_finish(o->manager, result, &error))
    vd_image_lock_async(o->parent, FALSE, on_parent_held, step);
  else
    step_on(step, error);
}

/* Looked at */

static gboolean fits(const Operate *o, GError **error)
{
  const VdFacts *child = o->child_facts, *parent = o->parent_facts;

  if (!child->has_parent)
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_TYPE, "%s has no parent",
                o->child->display);
  else if (!parent->has_linkage)
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_TYPE, "%s has no id to be known by",
                o->parent->display);
  else if (parent->virtual_size != child->virtual_size)
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_CHILD_PARENT_SIZE_MISMATCH,
                "%s has %" G_GUINT64_FORMAT " bytes, and %s has %" G_GUINT64_FORMAT, o->child->display,
                child->virtual_size, o->parent->display, parent->virtual_size);
  else if (parent->sector_size != child->sector_size)
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT,
                "%s has sectors of %u bytes, and %s of %u", o->child->display, child->sector_size,
                o->parent->display, parent->sector_size);
  else
    return TRUE;
  return FALSE;
}

static void on_parent_looked_into(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Step *step = user_data;
  Operate *o = g_task_get_task_data(step->task);
  GError *error = NULL;

  o->parent_facts = vd_worker_probe_finish(o->manager->worker, result, &error);
  if (o->parent_facts == NULL)
    step_on(step, vd_manager_parent_error(error));
  else if (!fits(o, &error))
    step_on(step, error);
  else
    vd_manager_check_cycle_async(o->manager, o->identity, o->child, o->child_facts, o->parent,
                                 o->parent_facts, g_task_get_cancellable(step->task), on_no_cycle, step);
}

static gboolean is_same(const VdImage *a, const VdImage *b)
{
  return a->st.st_dev == b->st.st_dev && a->st.st_ino == b->st.st_ino;
}

/* From the leaf to the child. */
static gboolean is_descendant(const Operate *o, const VdImage *image)
{
  const VdHandle *handle = o->handle;

  for (guint i = 0; handle->chain != NULL && i + 1 < o->op.child_depth; i++)
    if (is_same(g_ptr_array_index(handle->chain->images, i), image))
      return TRUE;
  return is_same(handle->image, image);
}

static void on_parent_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Step *step = user_data;
  Operate *o = g_task_get_task_data(step->task);
  GError *error = NULL;

  o->parent = vd_manager_find_finish(o->manager, result, &error);
  if (o->parent == NULL) {
    step_on(step, vd_manager_parent_error(error));
  } else if (is_descendant(o, o->parent)) {
    step_on(step, g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED,
                              "%s would be its own ancestor", o->parent->display));
  } else if (!vd_manager_may_be_parent(o->manager, o->parent, FALSE, &error)) {
    step_on(step, error);
  } else {
    vd_worker_probe_async(o->manager->worker, o->identity->uid, o->parent->fd, o->parent->device_id, FALSE,
                          g_task_get_cancellable(step->task), on_parent_looked_into, step);
  }
}

static void find_parent(Step *step)
{
  Operate *o = g_task_get_task_data(step->task);
  const VdOpenParams open = {.device_id = o->child->device_id, .version = 1};
  const VdRights rights = {.version = 1};

  vd_manager_find_async(o->manager, o->identity, o->op.path, &open, &rights,
                        g_task_get_cancellable(step->task), on_parent_found, step);
}

/* The child */

/* As it is given: nobody is asked whether there is such a file. */
static void take_locator(Step *step)
{
  Operate *o = g_task_get_task_data(step->task);
  GError *error = NULL;

  memcpy(o->order.linkage, o->op.guid, sizeof o->order.linkage);
  o->order.timestamp = o->child_facts->parent_timestamp;
  if (!o->child_facts->has_parent)
    fits(o, &error);
  else if (o->op.path[0] == '/')
    fill_place(o, o->op.path, &error);
  else if (strlen(o->op.path) < sizeof o->order.parent_relative)
    g_strlcpy(o->order.parent_relative, o->op.path, sizeof o->order.parent_relative);
  else
    g_set_error_literal(&error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                        "ParentFilePath is longer than an image can hold");
  step_on(step, error);
}

static void go_on(Step *step)
{
  const Operate *o = g_task_get_task_data(step->task);

  if (o->op.kind == VD_OPERATION_SET_LOCATOR)
    take_locator(step);
  else
    find_parent(step);
}

static void on_child_looked_into(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Step *step = user_data;
  Operate *o = g_task_get_task_data(step->task);
  GError *error = NULL;

  o->child_facts = vd_worker_probe_finish(o->manager->worker, result, &error);
  if (o->child_facts == NULL)
    step_on(step, error);
  else
    go_on(step);
}

void vd_operate_find_parent(GTask *task, VdOperateNext next)
{
  Operate *o = g_task_get_task_data(task);
  Step *step = g_new(Step, 1);

  *step = (Step){task, next};
  if (o->op.child_depth == 1) {
    o->child = o->handle->image;
    o->child_facts = g_memdup2(&o->handle->disk->facts, sizeof *o->child_facts);
    go_on(step);
    return;
  }
  o->child = g_ptr_array_index(o->handle->chain->images, o->op.child_depth - 2);
  vd_worker_probe_async(o->manager->worker, o->identity->uid, o->child->fd, o->child->device_id, FALSE,
                        g_task_get_cancellable(task), on_child_looked_into, step);
}
