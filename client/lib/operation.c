/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The operations on an open image. Each is one call that begins a job, and the job's end. */
#include "private.h"

#include "names.h"

/* Takes @task and @arguments. */
static void operation_run(GTask *task, const char *method, GVariant *arguments,
                          VirtdiskOperationParameters *parameters)
{
  VirtdiskHandle *handle = g_task_get_source_object(task);
  VdCall call = {.object_path = virtdisk_handle_get_object_path(handle),
                 .interface_name = VD_IFACE_HANDLE,
                 .method = method,
                 .arguments = arguments,
                 .reply = "(o)",
                 .patience = VD_CALL_MAY_ASK,
                 .missing = VIRTDISK_ERROR_INVALID_HANDLE};

  if (!vd_handle_check_open(task))
    g_variant_unref(g_variant_ref_sink(arguments));
  else if (parameters != NULL)
    vd_run(task, virtdisk_handle_get_client(handle), &call, vd_operation_get_progress(parameters), parameters,
           vd_operation_get_background(parameters) ? VD_RUN_TO_BEGIN : VD_RUN_TO_END);
  else
    vd_run(task, virtdisk_handle_get_client(handle), &call, NULL, NULL, VD_RUN_TO_END);
}

/* ---- CompactVirtualDisk ---- */

void virtdisk_handle_compact_virtual_disk_async(VirtdiskHandle *handle, VirtdiskCompactFlags flags,
                                                VirtdiskOperationParameters *parameters,
                                                GCancellable *cancellable, GAsyncReadyCallback callback,
                                                gpointer user_data)
{
  operation_run(vd_handle_task_new(handle, virtdisk_handle_compact_virtual_disk_async, cancellable, callback,
                                   user_data),
                "CompactVirtualDisk",
                g_variant_new("(u@a{sv})", (guint32)flags, vd_operation_options(parameters)), parameters);
}

VirtdiskJob *virtdisk_handle_compact_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                         GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

VirtdiskJob *virtdisk_handle_compact_virtual_disk(VirtdiskHandle *handle, VirtdiskCompactFlags flags,
                                                  VirtdiskOperationParameters *parameters,
                                                  GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_compact_virtual_disk_async(handle, flags, parameters, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_compact_virtual_disk_finish(handle, result, error);
}

/* ---- ExpandVirtualDisk ---- */

void virtdisk_handle_expand_virtual_disk_async(VirtdiskHandle *handle, VirtdiskExpandFlags flags,
                                               guint64 new_size, VirtdiskOperationParameters *parameters,
                                               GCancellable *cancellable, GAsyncReadyCallback callback,
                                               gpointer user_data)
{
  operation_run(
      vd_handle_task_new(handle, virtdisk_handle_expand_virtual_disk_async, cancellable, callback, user_data),
      "ExpandVirtualDisk",
      g_variant_new("(ut@a{sv})", (guint32)flags, new_size, vd_operation_options(parameters)), parameters);
}

VirtdiskJob *virtdisk_handle_expand_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                        GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

VirtdiskJob *virtdisk_handle_expand_virtual_disk(VirtdiskHandle *handle, VirtdiskExpandFlags flags,
                                                 guint64 new_size, VirtdiskOperationParameters *parameters,
                                                 GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_expand_virtual_disk_async(handle, flags, new_size, parameters, cancellable, vd_wait_done,
                                            wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_expand_virtual_disk_finish(handle, result, error);
}

/* ---- ResizeVirtualDisk ---- */

void virtdisk_handle_resize_virtual_disk_async(VirtdiskHandle *handle, VirtdiskResizeFlags flags,
                                               guint64 new_size, VirtdiskOperationParameters *parameters,
                                               GCancellable *cancellable, GAsyncReadyCallback callback,
                                               gpointer user_data)
{
  operation_run(
      vd_handle_task_new(handle, virtdisk_handle_resize_virtual_disk_async, cancellable, callback, user_data),
      "ResizeVirtualDisk",
      g_variant_new("(ut@a{sv})", (guint32)flags, new_size, vd_operation_options(parameters)), parameters);
}

VirtdiskJob *virtdisk_handle_resize_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                        GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

VirtdiskJob *virtdisk_handle_resize_virtual_disk(VirtdiskHandle *handle, VirtdiskResizeFlags flags,
                                                 guint64 new_size, VirtdiskOperationParameters *parameters,
                                                 GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_resize_virtual_disk_async(handle, flags, new_size, parameters, cancellable, vd_wait_done,
                                            wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_resize_virtual_disk_finish(handle, result, error);
}

/* ---- MergeVirtualDisk ---- */

void virtdisk_handle_merge_virtual_disk_async(VirtdiskHandle *handle, VirtdiskMergeFlags flags,
                                              VirtdiskOperationParameters *parameters,
                                              GCancellable *cancellable, GAsyncReadyCallback callback,
                                              gpointer user_data)
{
  operation_run(
      vd_handle_task_new(handle, virtdisk_handle_merge_virtual_disk_async, cancellable, callback, user_data),
      "MergeVirtualDisk", g_variant_new("(u@a{sv})", (guint32)flags, vd_operation_options(parameters)),
      parameters);
}

VirtdiskJob *virtdisk_handle_merge_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                       GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

VirtdiskJob *virtdisk_handle_merge_virtual_disk(VirtdiskHandle *handle, VirtdiskMergeFlags flags,
                                                VirtdiskOperationParameters *parameters,
                                                GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_merge_virtual_disk_async(handle, flags, parameters, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_merge_virtual_disk_finish(handle, result, error);
}

/* ---- MirrorVirtualDisk ---- */

/* NULL with @error: it cannot be passed. (transfer full) */
static char *mirror_path(const char *path, GError **error)
{
  g_autofree char *absolute = vd_path_absolute(path, error);
  g_autofree char *display = NULL;

  if (absolute == NULL || vd_path_is_sayable(absolute))
    return g_steal_pointer(&absolute);
  display = vd_path_display(absolute);
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
              "%s is not UTF-8 and cannot be passed over the bus", display);
  return NULL;
}

void virtdisk_handle_mirror_virtual_disk_async(VirtdiskHandle *handle, VirtdiskMirrorFlags flags,
                                               const char *path, VirtdiskOperationParameters *parameters,
                                               GCancellable *cancellable, GAsyncReadyCallback callback,
                                               gpointer user_data)
{
  GTask *task =
      vd_handle_task_new(handle, virtdisk_handle_mirror_virtual_disk_async, cancellable, callback, user_data);
  GError *error = NULL;
  g_autofree char *absolute = mirror_path(path, &error);

  if (absolute == NULL) {
    g_task_return_error(task, error);
    g_object_unref(task);
    return;
  }
  operation_run(task, "MirrorVirtualDisk",
                g_variant_new("(usu@a{sv})", 1, absolute, (guint32)flags, vd_operation_options(parameters)),
                parameters);
}

VirtdiskJob *virtdisk_handle_mirror_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                        GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

VirtdiskJob *virtdisk_handle_mirror_virtual_disk(VirtdiskHandle *handle, VirtdiskMirrorFlags flags,
                                                 const char *path, VirtdiskOperationParameters *parameters,
                                                 GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_mirror_virtual_disk_async(handle, flags, path, parameters, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_mirror_virtual_disk_finish(handle, result, error);
}

/* ---- BreakMirrorVirtualDisk ---- */

void virtdisk_handle_break_mirror_virtual_disk_async(VirtdiskHandle *handle, GCancellable *cancellable,
                                                     GAsyncReadyCallback callback, gpointer user_data)
{
  vd_handle_call(vd_handle_task_new(handle, virtdisk_handle_break_mirror_virtual_disk_async, cancellable,
                                    callback, user_data),
                 "BreakMirrorVirtualDisk", g_variant_new("(ua{sv})", 0, NULL), "()", VD_CALL_MAY_ASK);
}

gboolean virtdisk_handle_break_mirror_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                          GError **error)
{
  g_autoptr(GVariant) reply = g_task_propagate_pointer(G_TASK(result), error);

  return reply != NULL;
}

gboolean virtdisk_handle_break_mirror_virtual_disk(VirtdiskHandle *handle, GCancellable *cancellable,
                                                   GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_break_mirror_virtual_disk_async(handle, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_break_mirror_virtual_disk_finish(handle, result, error);
}

/* ---- GetVirtualDiskOperationProgress ---- */

void virtdisk_handle_get_virtual_disk_operation_progress_async(VirtdiskHandle *handle,
                                                               GCancellable *cancellable,
                                                               GAsyncReadyCallback callback,
                                                               gpointer user_data)
{
  vd_handle_call(vd_handle_task_new(handle, virtdisk_handle_get_virtual_disk_operation_progress_async,
                                    cancellable, callback, user_data),
                 "GetVirtualDiskOperationProgress", g_variant_new("(a{sv})", NULL), "(utt)", VD_CALL_BRIEF);
}

gboolean virtdisk_handle_get_virtual_disk_operation_progress_finish(VirtdiskHandle *handle,
                                                                    GAsyncResult *result, guint *out_status,
                                                                    guint64 *out_current,
                                                                    guint64 *out_completion, GError **error)
{
  g_autoptr(GVariant) reply = g_task_propagate_pointer(G_TASK(result), error);
  guint32 status;
  guint64 current, completion;

  if (reply == NULL)
    return FALSE;
  g_variant_get(reply, "(utt)", &status, &current, &completion);
  if (out_status != NULL)
    *out_status = status;
  if (out_current != NULL)
    *out_current = current;
  if (out_completion != NULL)
    *out_completion = completion;
  return TRUE;
}

gboolean virtdisk_handle_get_virtual_disk_operation_progress(VirtdiskHandle *handle, guint *out_status,
                                                             guint64 *out_current, guint64 *out_completion,
                                                             GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_get_virtual_disk_operation_progress_async(handle, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_get_virtual_disk_operation_progress_finish(handle, result, out_status, out_current,
                                                                    out_completion, error);
}
