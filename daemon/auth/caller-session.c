/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a caller to its login session, by asking logind. The process id only finds the session: that the
 * session is the caller's is checked against the uid the bus vouched for, since a process id may have been
 * given out again.
 */
#include "auth/caller.h"

#include "virtdisk-error.h"

#define LOGIN_NAME "org.freedesktop.login1"
#define LOGIN_PATH "/org/freedesktop/login1"
#define LOGIN_MANAGER "org.freedesktop.login1.Manager"
#define LOGIN_SESSION "org.freedesktop.login1.Session"
#define LOGIN_USER "org.freedesktop.login1.User"
#define LOGIN_DEADLINE_MS 10000

static void return_no_session(GTask *task)
{
  VdIdentity *identity = g_task_get_task_data(task);

  g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND,
                          "Process %d of user %u belongs to no login session", (int)identity->pid,
                          (guint)identity->uid);
}

static gboolean is_no_logind(const GError *error)
{
  return error->domain == G_DBUS_ERROR &&
         (error->code == G_DBUS_ERROR_SERVICE_UNKNOWN || error->code == G_DBUS_ERROR_NAME_HAS_NO_OWNER ||
          (error->code >= G_DBUS_ERROR_SPAWN_EXEC_FAILED && error->code <= G_DBUS_ERROR_SPAWN_NO_MEMORY));
}

static void return_failure(GTask *task, const GError *error)
{
  if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED, "The call was cancelled");
  else if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT))
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_TIMED_OUT,
                            "logind did not answer within %d ms", LOGIN_DEADLINE_MS);
  else if (is_no_logind(error))
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
                            "There are no login sessions here: logind is not on the bus (%s)",
                            error->message);
  else
    return_no_session(task);
}

/* Takes the task's reference along. */
static void ask_logind(GTask *task, const char *path, const char *interface, const char *method,
                       GVariant *parameters, const char *reply_type, GAsyncReadyCallback done)
{
  g_dbus_connection_call(g_task_get_source_object(task), LOGIN_NAME, path, interface, method, parameters,
                         G_VARIANT_TYPE(reply_type), G_DBUS_CALL_FLAGS_NONE, LOGIN_DEADLINE_MS,
                         g_task_get_cancellable(task), done, task);
}

static void ask_properties(GTask *task, const char *path, const char *interface, GAsyncReadyCallback done)
{
  ask_logind(task, path, "org.freedesktop.DBus.Properties", "GetAll", g_variant_new("(s)", interface),
             "(a{sv})", done);
}

/* A program of the user's service manager (every graphical one on some desktops) is in no session itself:
 * then it is the session that shows the user's desktop. */
static void user_properties_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  g_autoptr(GError) error = NULL;
  g_autoptr(GVariant) reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);
  g_autoptr(GVariant) properties = NULL;
  const char *id = NULL;

  if (reply == NULL) {
    return_failure(task, error);
    return;
  }
  properties = g_variant_get_child_value(reply, 0);
  if (g_variant_lookup(properties, "Display", "(&so)", &id, NULL) && id[0] != '\0')
    g_task_return_pointer(task, g_strdup(id), g_free);
  else
    return_no_session(task);
}

static void user_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  g_autoptr(GError) error = NULL;
  g_autoptr(GVariant) reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);
  const char *path;

  if (reply == NULL) {
    return_failure(task, error);
    return;
  }
  g_variant_get(reply, "(&o)", &path);
  ask_properties(g_steal_pointer(&task), path, LOGIN_USER, user_properties_done);
}

/* root may act within the session of the user who became root. */
static gboolean is_session_of(GVariant *properties, uid_t uid)
{
  guint32 owner;

  return uid == 0 || (g_variant_lookup(properties, "User", "(uo)", &owner, NULL) && owner == uid);
}

static void session_properties_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  g_autoptr(GError) error = NULL;
  g_autoptr(GVariant) reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);
  g_autoptr(GVariant) properties = NULL;
  VdIdentity *identity = g_task_get_task_data(task);
  const char *id = NULL;

  if (reply == NULL) {
    return_failure(task, error);
    return;
  }
  properties = g_variant_get_child_value(reply, 0);
  if (is_session_of(properties, identity->uid) && g_variant_lookup(properties, "Id", "&s", &id) &&
      id[0] != '\0')
    g_task_return_pointer(task, g_strdup(id), g_free);
  else
    return_no_session(task);
}

static gboolean is_no_session(const GError *error)
{
  g_autofree char *name = g_dbus_error_get_remote_error(error);

  return g_strcmp0(name, "org.freedesktop.login1.NoSessionForPID") == 0;
}

static void session_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  g_autoptr(GError) error = NULL;
  g_autoptr(GVariant) reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);
  VdIdentity *identity = g_task_get_task_data(task);
  const char *path;

  if (reply != NULL) {
    g_variant_get(reply, "(&o)", &path);
    ask_properties(g_steal_pointer(&task), path, LOGIN_SESSION, session_properties_done);
  } else if (is_no_session(error) && identity->uid != 0)
    ask_logind(g_steal_pointer(&task), LOGIN_PATH, LOGIN_MANAGER, "GetUser",
               g_variant_new("(u)", identity->uid), "(o)", user_done);
  else
    return_failure(task, error);
}

void vd_caller_session_async(GDBusConnection *connection, VdIdentity *identity, GCancellable *cancellable,
                             GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(connection, cancellable, callback, user_data);

  g_task_set_source_tag(task, vd_caller_session_async);
  g_task_set_check_cancellable(task, FALSE);
  g_task_set_task_data(task, vd_identity_ref(identity), (GDestroyNotify)vd_identity_unref);
  if (identity->pid <= 0) {
    return_no_session(task);
    return;
  }
  ask_logind(g_steal_pointer(&task), LOGIN_PATH, LOGIN_MANAGER, "GetSessionByPID",
             g_variant_new("(u)", (guint32)identity->pid), "(o)", session_done);
}

char *vd_caller_session_finish(GAsyncResult *result, GError **error)
{
  g_return_val_if_fail(G_IS_TASK(result), NULL);
  return g_task_propagate_pointer(G_TASK(result), error);
}
