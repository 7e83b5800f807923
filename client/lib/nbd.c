/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* AttachVirtualDisk with NO_LOCAL_HOST: what the caller gets is a connection, in place of a device. */
#include "private.h"

#include <gio/gunixfdlist.h>

#include "names.h"

/* The descriptor that the results name; -1 with error. */
static int take_connection(GVariant *reply, GUnixFDList *fds, GError **error)
{
  g_autoptr(GVariant) results = g_variant_get_child_value(reply, 0);
  gint32 index;

  if (fds != NULL && g_variant_lookup(results, "nbd", "h", &index) && index >= 0 &&
      index < g_unix_fd_list_get_length(fds))
    return g_unix_fd_list_get(fds, index, error);
  g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INTERNAL,
                      "The virtdisk service has attached the disk and given no connection");
  return -1;
}

static void open_nbd_done(GObject *connection, GAsyncResult *result, gpointer data)
{
  g_autoptr(GTask) task = data;
  g_autoptr(GUnixFDList) fds = NULL;
  g_autoptr(GVariant) reply = NULL;
  GError *local = NULL, *error = NULL;
  int fd = -1;

  reply =
      g_dbus_connection_call_with_unix_fd_list_finish(G_DBUS_CONNECTION(connection), &fds, result, &local);
  if (reply == NULL)
    vd_error_translate(local, VIRTDISK_ERROR_INVALID_HANDLE, &error);
  else
    fd = take_connection(reply, fds, &error);
  if (fd >= 0)
    g_task_return_int(task, fd);
  else
    g_task_return_error(task, error);
}

void virtdisk_handle_open_nbd_async(VirtdiskHandle *handle, VirtdiskAttachFlags flags,
                                    VirtdiskAttachParameters *parameters, GCancellable *cancellable,
                                    GAsyncReadyCallback callback, gpointer user_data)
{
  guint32 all = (guint32)flags | VIRTDISK_ATTACH_NO_LOCAL_HOST;
  GTask *task = vd_handle_task_new(handle, virtdisk_handle_open_nbd_async, cancellable, callback, user_data);
  VdCall call = {.object_path = virtdisk_handle_get_object_path(handle),
                 .interface_name = VD_IFACE_HANDLE,
                 .method = "AttachVirtualDisk",
                 .reply = "(a{sv})",
                 .patience = VD_CALL_MAY_ASK};

  /* Whoever gave up gets no descriptor: what comes then goes with its message. */
  if (!vd_handle_check_open(task))
    return;
  call.arguments = g_variant_new("(u@a{sv})", all, vd_attach_options(parameters));
  vd_call(virtdisk_handle_get_client(handle), &call, cancellable, open_nbd_done, task);
}

int virtdisk_handle_open_nbd_finish(VirtdiskHandle *handle, GAsyncResult *result, GError **error)
{
  return (int)g_task_propagate_int(G_TASK(result), error);
}

int virtdisk_handle_open_nbd(VirtdiskHandle *handle, VirtdiskAttachFlags flags,
                             VirtdiskAttachParameters *parameters, GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_open_nbd_async(handle, flags, parameters, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_open_nbd_finish(handle, result, error);
}
