/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One open handle. It is closed once: by close, or by the last unref, and then knows it. */
#include "private.h"

#include <gio/gunixfdlist.h>
#include <unistd.h>

#include "names.h"

struct _VirtdiskHandle {
  GObject parent;
  VirtdiskClient *client;
  char *object_path;
  gint closed;
};

G_DEFINE_FINAL_TYPE(VirtdiskHandle, virtdisk_handle, G_TYPE_OBJECT)

VirtdiskHandle *vd_handle_new(VirtdiskClient *client, const char *object_path)
{
  VirtdiskHandle *handle = g_object_new(VIRTDISK_TYPE_HANDLE, NULL);

  handle->client = g_object_ref(client);
  handle->object_path = g_strdup(object_path);
  return handle;
}

void vd_handle_close_path(VirtdiskClient *client, const char *object_path)
{
  g_dbus_connection_call(virtdisk_client_get_connection(client), VD_BUS_NAME, object_path, VD_IFACE_HANDLE,
                         "Close", g_variant_new("(a{sv})", NULL), NULL, G_DBUS_CALL_FLAGS_NO_AUTO_START, -1,
                         NULL, NULL, NULL);
}

static void virtdisk_handle_dispose(GObject *object)
{
  VirtdiskHandle *handle = VIRTDISK_HANDLE(object);

  if (handle->object_path != NULL && g_atomic_int_compare_and_exchange(&handle->closed, FALSE, TRUE))
    vd_handle_close_path(handle->client, handle->object_path);
  G_OBJECT_CLASS(virtdisk_handle_parent_class)->dispose(object);
}

static void virtdisk_handle_finalize(GObject *object)
{
  VirtdiskHandle *handle = VIRTDISK_HANDLE(object);

  g_clear_object(&handle->client);
  g_free(handle->object_path);
  G_OBJECT_CLASS(virtdisk_handle_parent_class)->finalize(object);
}

static void virtdisk_handle_class_init(VirtdiskHandleClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS(klass);

  object_class->dispose = virtdisk_handle_dispose;
  object_class->finalize = virtdisk_handle_finalize;
}

static void virtdisk_handle_init(VirtdiskHandle *handle) {}

VirtdiskClient *virtdisk_handle_get_client(VirtdiskHandle *handle)
{
  return handle->client;
}

const char *virtdisk_handle_get_object_path(VirtdiskHandle *handle)
{
  return handle->object_path;
}

/* ---- one call: start, and what the task then holds is the reply ---- */

GTask *vd_handle_task_new(VirtdiskHandle *handle, gpointer tag, GCancellable *cancellable,
                          GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new(handle, cancellable, callback, user_data);

  g_task_set_source_tag(task, tag);
  return task;
}

static void handle_send_fds(GTask *task, const char *method, GVariant *arguments, GUnixFDList *fd_list,
                            const char *reply, VdCallPatience patience)
{
  VirtdiskHandle *handle = g_task_get_source_object(task);
  VdCall call = {.object_path = handle->object_path,
                 .interface_name = VD_IFACE_HANDLE,
                 .method = method,
                 .arguments = arguments,
                 .reply = reply,
                 .fd_list = fd_list,
                 .patience = patience,
                 .missing = VIRTDISK_ERROR_INVALID_HANDLE};

  vd_call_for_task(task, handle->client, &call);
}

static void handle_send(GTask *task, const char *method, GVariant *arguments, const char *reply,
                        VdCallPatience patience)
{
  handle_send_fds(task, method, arguments, NULL, reply, patience);
}

gboolean vd_handle_check_open(GTask *task)
{
  VirtdiskHandle *handle = g_task_get_source_object(task);

  if (!g_atomic_int_get(&handle->closed))
    return TRUE;
  g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_HANDLE, "The handle is closed");
  g_object_unref(task);
  return FALSE;
}

static void handle_call_fds(GTask *task, const char *method, GVariant *arguments, GUnixFDList *fd_list,
                            const char *reply, VdCallPatience patience)
{
  if (vd_handle_check_open(task))
    handle_send_fds(task, method, arguments, fd_list, reply, patience);
  else
    g_variant_unref(g_variant_ref_sink(arguments));
}

void vd_handle_call(GTask *task, const char *method, GVariant *arguments, const char *reply,
                    VdCallPatience patience)
{
  handle_call_fds(task, method, arguments, NULL, reply, patience);
}

/* The boolean @key of the results, or @absent if the service does not tell. */
static gboolean finish_results(GAsyncResult *result, const char *key, gboolean absent, gboolean *ret_value,
                               GError **error)
{
  g_autoptr(GVariant) reply = g_task_propagate_pointer(G_TASK(result), error);
  g_autoptr(GVariant) results = NULL;
  gboolean value = absent;

  if (reply == NULL)
    return FALSE;
  results = g_variant_get_child_value(reply, 0);
  g_variant_lookup(results, key, "b", &value);
  if (ret_value != NULL)
    *ret_value = value;
  return TRUE;
}

/* ---- AttachVirtualDisk ---- */

void virtdisk_handle_attach_virtual_disk_async(VirtdiskHandle *handle, VirtdiskAttachFlags flags,
                                               VirtdiskAttachParameters *parameters,
                                               GCancellable *cancellable, GAsyncReadyCallback callback,
                                               gpointer user_data)
{
  vd_handle_call(
      vd_handle_task_new(handle, virtdisk_handle_attach_virtual_disk_async, cancellable, callback, user_data),
      "AttachVirtualDisk", g_variant_new("(u@a{sv})", (guint32)flags, vd_attach_options(parameters)),
      "(a{sv})", VD_CALL_MAY_ASK);
}

gboolean virtdisk_handle_attach_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                    gboolean *out_settled, GError **error)
{
  return finish_results(result, "settled", TRUE, out_settled, error);
}

gboolean virtdisk_handle_attach_virtual_disk(VirtdiskHandle *handle, VirtdiskAttachFlags flags,
                                             VirtdiskAttachParameters *parameters, gboolean *out_settled,
                                             GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_attach_virtual_disk_async(handle, flags, parameters, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_attach_virtual_disk_finish(handle, result, out_settled, error);
}

/* ---- DetachVirtualDisk ---- */

void virtdisk_handle_detach_virtual_disk_async(VirtdiskHandle *handle, VirtdiskDetachFlags flags,
                                               VirtdiskDetachParameters *parameters,
                                               GCancellable *cancellable, GAsyncReadyCallback callback,
                                               gpointer user_data)
{
  vd_handle_call(
      vd_handle_task_new(handle, virtdisk_handle_detach_virtual_disk_async, cancellable, callback, user_data),
      "DetachVirtualDisk", g_variant_new("(u@a{sv})", (guint32)flags, vd_detach_options(parameters)),
      "(a{sv})", VD_CALL_MAY_ASK);
}

gboolean virtdisk_handle_detach_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                    gboolean *out_pending, GError **error)
{
  return finish_results(result, "pending", FALSE, out_pending, error);
}

gboolean virtdisk_handle_detach_virtual_disk(VirtdiskHandle *handle, VirtdiskDetachFlags flags,
                                             VirtdiskDetachParameters *parameters, gboolean *out_pending,
                                             GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_detach_virtual_disk_async(handle, flags, parameters, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_detach_virtual_disk_finish(handle, result, out_pending, error);
}

/* ---- GetVirtualDiskPhysicalPath ---- */

void virtdisk_handle_get_virtual_disk_physical_path_async(VirtdiskHandle *handle, GCancellable *cancellable,
                                                          GAsyncReadyCallback callback, gpointer user_data)
{
  vd_handle_call(vd_handle_task_new(handle, virtdisk_handle_get_virtual_disk_physical_path_async, cancellable,
                                    callback, user_data),
                 "GetVirtualDiskPhysicalPath", g_variant_new("(a{sv})", NULL), "(s)", VD_CALL_BRIEF);
}

char *virtdisk_handle_get_virtual_disk_physical_path_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                            GError **error)
{
  g_autoptr(GVariant) reply = g_task_propagate_pointer(G_TASK(result), error);
  char *path = NULL;

  if (reply != NULL)
    g_variant_get(reply, "(s)", &path);
  return path;
}

char *virtdisk_handle_get_virtual_disk_physical_path(VirtdiskHandle *handle, GCancellable *cancellable,
                                                     GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_get_virtual_disk_physical_path_async(handle, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_get_virtual_disk_physical_path_finish(handle, result, error);
}

/* ---- GetVirtualDiskInformation ---- */

/* The image is read for it. */
static gboolean is_measured(VirtdiskInfoVersion version)
{
  return version == VIRTDISK_INFO_SMALLEST_SAFE_VIRTUAL_SIZE || version == VIRTDISK_INFO_FRAGMENTATION;
}

void virtdisk_handle_get_virtual_disk_information_async(VirtdiskHandle *handle, VirtdiskInfoVersion version,
                                                        GCancellable *cancellable,
                                                        GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = vd_handle_task_new(handle, virtdisk_handle_get_virtual_disk_information_async, cancellable,
                                   callback, user_data);

  g_task_set_task_data(task, GUINT_TO_POINTER(version), NULL);
  vd_handle_call(task, "GetVirtualDiskInformation", g_variant_new("(ua{sv})", (guint32)version, NULL),
                 "(a{sv})", is_measured(version) ? VD_CALL_MAY_ASK : VD_CALL_BRIEF);
}

VirtdiskInfo *virtdisk_handle_get_virtual_disk_information_finish(VirtdiskHandle *handle,
                                                                  GAsyncResult *result, GError **error)
{
  VirtdiskInfoVersion version = (VirtdiskInfoVersion)GPOINTER_TO_UINT(g_task_get_task_data(G_TASK(result)));
  g_autoptr(GVariant) reply = g_task_propagate_pointer(G_TASK(result), error);
  g_autoptr(GVariant) members = NULL;

  if (reply == NULL)
    return NULL;
  members = g_variant_get_child_value(reply, 0);
  return vd_info_new(version, members);
}

VirtdiskInfo *virtdisk_handle_get_virtual_disk_information(VirtdiskHandle *handle,
                                                           VirtdiskInfoVersion version,
                                                           GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_get_virtual_disk_information_async(handle, version, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_get_virtual_disk_information_finish(handle, result, error);
}

/* ---- AddVirtualDiskParent ---- */

/* Takes @task; @fd stays the caller's. */
static void add_parent_fd(GTask *task, int fd)
{
  g_autoptr(GUnixFDList) fd_list = g_unix_fd_list_new();
  g_autoptr(GError) error = NULL;

  if (fd >= 0 && g_unix_fd_list_append(fd_list, fd, &error) >= 0) {
    handle_call_fds(task, "AddVirtualDiskParentFd", g_variant_new("(ha{sv})", 0, NULL), fd_list, "()",
                    VD_CALL_MAY_ASK);
    return;
  }
  g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_HANDLE,
                          "%d is not a descriptor that can be passed on%s%s", fd, error != NULL ? ": " : "",
                          error != NULL ? error->message : "");
  g_object_unref(task);
}

static void add_unsayable_parent(GTask *task, const char *path)
{
  GError *error = NULL;
  int fd = vd_path_open(path, FALSE, &error);

  if (fd < 0) {
    g_task_return_error(task, error);
    g_object_unref(task);
    return;
  }
  add_parent_fd(task, fd);
  close(fd);
}

void virtdisk_handle_add_virtual_disk_parent_async(VirtdiskHandle *handle, const char *path,
                                                   GCancellable *cancellable, GAsyncReadyCallback callback,
                                                   gpointer user_data)
{
  GTask *task = vd_handle_task_new(handle, virtdisk_handle_add_virtual_disk_parent_async, cancellable,
                                   callback, user_data);
  GError *error = NULL;
  g_autofree char *absolute = vd_path_absolute(path, &error);

  if (absolute == NULL) {
    g_task_return_error(task, error);
    g_object_unref(task);
  } else if (vd_path_is_sayable(absolute)) {
    vd_handle_call(task, "AddVirtualDiskParent", g_variant_new("(sa{sv})", absolute, NULL), "()",
                   VD_CALL_MAY_ASK);
  } else {
    add_unsayable_parent(task, absolute);
  }
}

gboolean virtdisk_handle_add_virtual_disk_parent_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                        GError **error)
{
  g_autoptr(GVariant) reply = g_task_propagate_pointer(G_TASK(result), error);

  return reply != NULL;
}

gboolean virtdisk_handle_add_virtual_disk_parent(VirtdiskHandle *handle, const char *path,
                                                 GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_add_virtual_disk_parent_async(handle, path, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_add_virtual_disk_parent_finish(handle, result, error);
}

void virtdisk_handle_add_virtual_disk_parent_fd_async(VirtdiskHandle *handle, int fd,
                                                      GCancellable *cancellable, GAsyncReadyCallback callback,
                                                      gpointer user_data)
{
  add_parent_fd(vd_handle_task_new(handle, virtdisk_handle_add_virtual_disk_parent_fd_async, cancellable,
                                   callback, user_data),
                fd);
}

gboolean virtdisk_handle_add_virtual_disk_parent_fd_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                           GError **error)
{
  return virtdisk_handle_add_virtual_disk_parent_finish(handle, result, error);
}

gboolean virtdisk_handle_add_virtual_disk_parent_fd(VirtdiskHandle *handle, int fd, GCancellable *cancellable,
                                                    GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_add_virtual_disk_parent_fd_async(handle, fd, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_add_virtual_disk_parent_fd_finish(handle, result, error);
}

/* ---- Close ---- */

void virtdisk_handle_close_async(VirtdiskHandle *handle, GCancellable *cancellable,
                                 GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = vd_handle_task_new(handle, virtdisk_handle_close_async, cancellable, callback, user_data);

  /* An answer that fails or does not come leaves nothing to close a second time. */
  if (g_atomic_int_compare_and_exchange(&handle->closed, FALSE, TRUE)) {
    handle_send(task, "Close", g_variant_new("(a{sv})", NULL), "()", VD_CALL_BRIEF);
    return;
  }
  g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_HANDLE, "The handle is closed");
  g_object_unref(task);
}

gboolean virtdisk_handle_close_finish(VirtdiskHandle *handle, GAsyncResult *result, GError **error)
{
  g_autoptr(GVariant) reply = g_task_propagate_pointer(G_TASK(result), error);

  return reply != NULL;
}

gboolean virtdisk_handle_close(VirtdiskHandle *handle, GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_close_async(handle, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_close_finish(handle, result, error);
}
