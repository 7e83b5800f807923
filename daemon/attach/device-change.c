/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What changes of a device while it goes on being one: its size, and who serves it. */
#include "attach/device-private.h"
#include "util/offload.h"
#include "virtdisk-error.h"

/* Another size: resize_in_thread on a copy -> resize_done. */

typedef struct {
  VdDevice *device; /* main loop only */
  const VdRoute *route;
  VdAttachment *attachment;
  guint64 size;
} ResizeOp;

static void resize_op_free(ResizeOp *op)
{
  vd_attachment_free(op->attachment);
  vd_device_unref(op->device);
  g_free(op);
}

static void resize_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  const ResizeOp *op = data;
  GError *error = NULL;

  if (op->route->resize(op->attachment, op->size, &error))
    g_task_return_boolean(task, TRUE);
  else
    g_task_return_error(task, error);
}

static void resize_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  const ResizeOp *op = g_task_get_task_data(task);
  GError *error = NULL;

  if (!g_task_propagate_boolean(G_TASK(result), &error)) {
    g_task_return_error(task, error);
    return;
  }
  op->device->attachment->size = op->device->info.size = op->size;
  g_task_return_boolean(task, TRUE);
}

static GError *find_resize_fault(const VdDevice *self, guint64 size)
{
  if (self->gone)
    return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND, "%s is gone", self->info.path);
  if (self->detaching || self->ending)
    return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_BUSY, "%s is being detached", self->info.path);
  if (self->route->resize == NULL)
    return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
                       "%s cannot change its size while it is attached by way of %s", self->info.path,
                       self->route->name);
  if (size == 0 || size % 512 != 0 || size > G_MAXINT64)
    return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                       "%" G_GUINT64_FORMAT " bytes are no size of a disk", size);
  return NULL;
}

void vd_device_resize_async(VdDevice *self, guint64 size, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(NULL, cancellable, callback, user_data);
  g_autoptr(GTask) work = NULL;
  GError *fault = find_resize_fault(self, size);
  ResizeOp *op;

  g_task_set_source_tag(task, vd_device_resize_async);
  g_task_set_check_cancellable(task, FALSE);
  if (fault != NULL) {
    g_task_return_error(task, fault);
    return;
  }
  op = g_new0(ResizeOp, 1);
  *op = (ResizeOp){vd_device_ref(self), self->route, vd_attachment_copy(self->attachment), size};
  g_task_set_task_data(task, op, (GDestroyNotify)resize_op_free);
  work = g_task_new(NULL, cancellable, resize_done, g_object_ref(task));
  g_task_set_check_cancellable(work, FALSE);
  g_task_set_task_data(work, op, NULL);
  vd_offload(work, resize_in_thread);
}

gboolean vd_device_resize_finish(VdDevice *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail(g_async_result_is_tagged(result, vd_device_resize_async), FALSE);
  return g_task_propagate_boolean(G_TASK(result), error);
}

/* Another worker */

/* The image may be another one. */
static void learn_image(VdDevice *self)
{
  const VdServing *serving = self->attachment->serving;

  if (serving->n_images == 0)
    return;
  self->attachment->image_dev = self->info.image_dev = serving->images[0].dev;
  self->attachment->image_ino = self->info.image_ino = serving->images[0].ino;
}

static void on_exchanged(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  GError *error = NULL;

  learn_image(g_task_get_task_data(task));
  if (vd_supervisor_exchange_finish(result, &error))
    g_task_return_boolean(task, TRUE);
  else
    g_task_return_error(task, error);
}

static GError *find_exchange_fault(const VdDevice *self)
{
  if (self->gone || self->ending || self->detaching)
    return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_BUSY, "%s is being detached, or gone", self->info.path);
  if (self->supervisor == NULL)
    return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
                       "%s is served by the kernel alone (%s), which can be told of nothing", self->info.path,
                       self->route->name);
  if (self->route->may_exchange != NULL && !self->route->may_exchange())
    return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
                       "%s: this kernel cannot let another worker take over without an I/O error",
                       self->info.path);
  return NULL;
}

gboolean vd_device_may_exchange(VdDevice *self, GError **error)
{
  GError *fault = find_exchange_fault(self);

  if (fault != NULL)
    g_propagate_error(error, fault);
  return fault == NULL;
}

void vd_device_exchange_after_async(VdDevice *self, VdExchangeFunc before, VdExchangeFunc between,
                                    gpointer data, GDestroyNotify free_data, GAsyncReadyCallback callback,
                                    gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(NULL, NULL, callback, user_data);
  GError *fault = find_exchange_fault(self);

  g_task_set_source_tag(task, vd_device_exchange_async);
  g_task_set_task_data(task, vd_device_ref(self), (GDestroyNotify)vd_device_unref);
  if (fault == NULL) {
    vd_supervisor_exchange_async(self->supervisor, before, between, data, free_data, on_exchanged,
                                 g_object_ref(task));
    return;
  }
  if (free_data != NULL)
    free_data(data);
  g_task_return_error(task, fault);
}

void vd_device_exchange_async(VdDevice *self, VdExchangeFunc between, gpointer between_data,
                              GDestroyNotify free_data, GAsyncReadyCallback callback, gpointer user_data)
{
  vd_device_exchange_after_async(self, NULL, between, between_data, free_data, callback, user_data);
}

gboolean vd_device_exchange_finish(VdDevice *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail(g_async_result_is_tagged(result, vd_device_exchange_async), FALSE);
  return g_task_propagate_boolean(G_TASK(result), error);
}

/* News of a mirror */

static void on_news(gpointer user_data)
{
  VdDevice *self = user_data;

  if (self->news_func != NULL)
    self->news_func(self, self->news_data);
}

void vd_device_set_news_func(VdDevice *self, VdDeviceNewsFunc func, gpointer user_data)
{
  self->news_func = func;
  self->news_data = user_data;
  if (self->supervisor != NULL)
    vd_supervisor_set_news_func(self->supervisor, func != NULL ? on_news : NULL, self);
}

VdService *vd_device_get_service(VdDevice *self)
{
  return self->attachment->serving != NULL ? vd_serving_get_service(self->attachment->serving) : NULL;
}
