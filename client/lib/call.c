/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One method call on the service, and the one place where errors of the bus become errors of virtdisk. */
#include "private.h"

#include <gio/gunixfdlist.h>

#include "names.h"

#define BRIEF_MS (60 * 1000)

static const char *const no_service = "The virtdisk service is not running and could not be started";
static const char *const went_away = "The virtdisk service went away before it answered";

static VirtdiskError code_of_bus_error(int code, VirtdiskError missing, const char **ret_headline)
{
  switch (code) {
  case G_DBUS_ERROR_SERVICE_UNKNOWN:
  case G_DBUS_ERROR_NAME_HAS_NO_OWNER:
  case G_DBUS_ERROR_NO_SERVER:
  case G_DBUS_ERROR_SPAWN_EXEC_FAILED:
  case G_DBUS_ERROR_SPAWN_FORK_FAILED:
  case G_DBUS_ERROR_SPAWN_CHILD_EXITED:
  case G_DBUS_ERROR_SPAWN_CHILD_SIGNALED:
  case G_DBUS_ERROR_SPAWN_FAILED:
  case G_DBUS_ERROR_SPAWN_SETUP_FAILED:
  case G_DBUS_ERROR_SPAWN_CONFIG_INVALID:
  case G_DBUS_ERROR_SPAWN_SERVICE_INVALID:
  case G_DBUS_ERROR_SPAWN_SERVICE_NOT_FOUND:
  case G_DBUS_ERROR_SPAWN_PERMISSIONS_INVALID:
  case G_DBUS_ERROR_SPAWN_FILE_INVALID:
  case G_DBUS_ERROR_SPAWN_NO_MEMORY:
    *ret_headline = no_service;
    return VIRTDISK_ERROR_NO_RESOURCES;
  case G_DBUS_ERROR_NO_REPLY:
  case G_DBUS_ERROR_DISCONNECTED:
    *ret_headline = went_away;
    return VIRTDISK_ERROR_OPERATION_ABORTED;
  case G_DBUS_ERROR_TIMEOUT:
  case G_DBUS_ERROR_TIMED_OUT:
    return VIRTDISK_ERROR_TIMED_OUT;
  case G_DBUS_ERROR_ACCESS_DENIED:
  case G_DBUS_ERROR_AUTH_FAILED:
    return VIRTDISK_ERROR_ACCESS_DENIED;
  case G_DBUS_ERROR_INVALID_ARGS:
  case G_DBUS_ERROR_INVALID_SIGNATURE:
    return VIRTDISK_ERROR_INVALID_PARAMETER;
  case G_DBUS_ERROR_NOT_SUPPORTED:
    return VIRTDISK_ERROR_NOT_SUPPORTED;
  case G_DBUS_ERROR_LIMITS_EXCEEDED:
    return VIRTDISK_ERROR_LIMIT_EXCEEDED;
  case G_DBUS_ERROR_NO_MEMORY:
    return VIRTDISK_ERROR_NO_RESOURCES;
  case G_DBUS_ERROR_UNKNOWN_METHOD:
  case G_DBUS_ERROR_UNKNOWN_OBJECT:
  case G_DBUS_ERROR_UNKNOWN_INTERFACE:
    return missing;
  default:
    return VIRTDISK_ERROR_INTERNAL;
  }
}

static VirtdiskError code_of_io_error(int code, const char **ret_headline)
{
  switch (code) {
  case G_IO_ERROR_TIMED_OUT:
    *ret_headline = "The virtdisk service did not answer in time";
    return VIRTDISK_ERROR_TIMED_OUT;
  case G_IO_ERROR_CLOSED:
  case G_IO_ERROR_CONNECTION_CLOSED:
    *ret_headline = "The connection to the message bus is closed";
    return VIRTDISK_ERROR_OPERATION_ABORTED;
  case G_IO_ERROR_NOT_FOUND:
  case G_IO_ERROR_CONNECTION_REFUSED:
    *ret_headline = "There is no message bus";
    return VIRTDISK_ERROR_NO_RESOURCES;
  case G_IO_ERROR_PERMISSION_DENIED:
    return VIRTDISK_ERROR_ACCESS_DENIED;
  default:
    return VIRTDISK_ERROR_INTERNAL;
  }
}

void vd_error_translate(GError *error_in, VirtdiskError missing, GError **error)
{
  g_autoptr(GError) owned = error_in;
  g_autofree char *remote = g_dbus_error_get_remote_error(owned);
  const char *headline = NULL;
  VirtdiskError code = VIRTDISK_ERROR_INTERNAL;

  if (g_error_matches(owned, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
    g_propagate_error(error, g_steal_pointer(&owned));
    return;
  }
  g_dbus_error_strip_remote_error(owned);
  if (owned->domain == VIRTDISK_ERROR) {
    g_propagate_error(error, g_steal_pointer(&owned));
    return;
  }
  if (owned->domain == G_DBUS_ERROR)
    code = code_of_bus_error(owned->code, missing, &headline);
  else if (owned->domain == G_IO_ERROR && remote == NULL)
    code = code_of_io_error(owned->code, &headline);
  else
    headline = remote; /* an error name that this library is too old to know */
  if (headline != NULL)
    g_set_error(error, VIRTDISK_ERROR, code, "%s: %s", headline, owned->message);
  else
    g_set_error_literal(error, VIRTDISK_ERROR, code, owned->message);
}

void vd_call(VirtdiskClient *client, const VdCall *call, GCancellable *cancellable, GAsyncReadyCallback done,
             gpointer data)
{
  /* The codes must be known to GDBus before the first reply is read. */
  virtdisk_error_quark();
  g_dbus_connection_call_with_unix_fd_list(
      virtdisk_client_get_connection(client), VD_BUS_NAME, call->object_path, call->interface_name,
      call->method, call->arguments, G_VARIANT_TYPE(call->reply), vd_client_call_flags(client),
      call->patience == VD_CALL_MAY_ASK ? G_MAXINT : BRIEF_MS, call->fd_list, cancellable, done, data);
}

GVariant *vd_call_finish(GObject *connection, GAsyncResult *result, VirtdiskError missing, GError **error)
{
  GError *local = NULL;
  GVariant *reply =
      g_dbus_connection_call_with_unix_fd_list_finish(G_DBUS_CONNECTION(connection), NULL, result, &local);

  if (reply == NULL)
    vd_error_translate(local, missing, error);
  return reply;
}

typedef struct {
  GTask *task;
  VirtdiskError missing;
} TaskCall;

static void task_call_done(GObject *connection, GAsyncResult *result, gpointer data)
{
  g_autofree TaskCall *task_call = data;
  g_autoptr(GTask) task = task_call->task;
  GError *error = NULL;
  GVariant *reply = vd_call_finish(connection, result, task_call->missing, &error);

  if (reply != NULL)
    g_task_return_pointer(task, reply, (GDestroyNotify)g_variant_unref);
  else
    g_task_return_error(task, error);
}

void vd_call_for_task(GTask *task, VirtdiskClient *client, const VdCall *call)
{
  TaskCall *task_call = g_new0(TaskCall, 1);

  task_call->task = task;
  task_call->missing = call->missing;
  vd_call(client, call, g_task_get_cancellable(task), task_call_done, task_call);
}
