/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A scope of its own for a worker, where systemd is the first process: stopping or restarting the service's
 * unit does not touch it, and at shutdown it gets no stop job, since the file systems on its disk are to be
 * unmounted first. Without it the worker stays in the unit, which kills its main process only.
 */
#include "worker/service-private.h"

#include <unistd.h>

#define SYSTEMD_DEADLINE_MS 5000

/* The bus may not be there yet at boot; root may speak to systemd directly. */
static GDBusConnection *connect_systemd(GError **error)
{
  g_autofree char *bus = g_dbus_address_get_for_bus_sync(G_BUS_TYPE_SYSTEM, NULL, NULL);
  GDBusConnection *connection = NULL;

  if (bus != NULL)
    connection = g_dbus_connection_new_for_address_sync(
        bus, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT | G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
        NULL, NULL, NULL);
  if (connection != NULL)
    return connection;
  return g_dbus_connection_new_for_address_sync(
      "unix:path=/run/systemd/private", G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT, NULL, NULL, error);
}

typedef enum {
  FINAL_KILL_SURVIVED, /* systemd 255 and later: file systems that are still mounted then need the worker */
  FINAL_KILL_TAKEN,
} FinalKill;

static GVariant *describe(pid_t pid, FinalKill final_kill)
{
  g_autofree char *name = g_strdup_printf("virtdisk-worker-%d.scope", (int)pid);
  guint32 pids[] = {(guint32)pid};
  GVariantBuilder properties;

  g_variant_builder_init(&properties, G_VARIANT_TYPE("a(sv)"));
  g_variant_builder_add(&properties, "(sv)", "Description", g_variant_new_string("Virtual disk worker"));
  g_variant_builder_add(&properties, "(sv)", "PIDs",
                        g_variant_new_fixed_array(G_VARIANT_TYPE_UINT32, pids, 1, sizeof pids[0]));
  g_variant_builder_add(&properties, "(sv)", "Slice", g_variant_new_string("system.slice"));
  g_variant_builder_add(&properties, "(sv)", "DefaultDependencies", g_variant_new_boolean(FALSE));
  g_variant_builder_add(&properties, "(sv)", "CollectMode", g_variant_new_string("inactive-or-failed"));
  if (final_kill == FINAL_KILL_SURVIVED)
    g_variant_builder_add(&properties, "(sv)", "SurviveFinalKillSignal", g_variant_new_boolean(TRUE));
  return g_variant_new("(ssa(sv)a(sa(sv)))", name, "fail", &properties, NULL);
}

static gboolean start_scope(GDBusConnection *connection, pid_t pid, FinalKill final_kill, GError **error)
{
  gboolean on_bus = g_dbus_connection_get_unique_name(connection) != NULL;
  g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
      connection, on_bus ? "org.freedesktop.systemd1" : NULL, "/org/freedesktop/systemd1",
      "org.freedesktop.systemd1.Manager", "StartTransientUnit", describe(pid, final_kill), NULL,
      G_DBUS_CALL_FLAGS_NONE, SYSTEMD_DEADLINE_MS, NULL, error);

  return reply != NULL;
}

static GMutex lock;
static GCond changed;
static guint under_way; /* requests; under the lock */

static void count(int difference)
{
  g_mutex_lock(&lock);
  under_way += (guint)difference;
  g_cond_signal(&changed);
  g_mutex_unlock(&lock);
}

static gpointer request_in_thread(gpointer data)
{
  pid_t pid = GPOINTER_TO_INT(data);
  g_autoptr(GError) error = NULL;
  g_autoptr(GDBusConnection) connection = connect_systemd(&error);

  if (connection != NULL && !start_scope(connection, pid, FINAL_KILL_SURVIVED, NULL) &&
      !start_scope(connection, pid, FINAL_KILL_TAKEN, &error))
    g_prefix_error(&error, "StartTransientUnit: ");
  if (error != NULL)
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE",
                     "virtdisk-worker (pid %d) stays in the unit of the service: %s", (int)pid,
                     error->message);
  count(-1);
  return NULL;
}

void vd_scope_request(pid_t pid)
{
  g_autoptr(GThread) thread = NULL;

  if (access("/run/systemd/system", F_OK) != 0)
    return;
  count(1);
  thread = g_thread_try_new("scope", request_in_thread, GINT_TO_POINTER((int)pid), NULL);
  if (thread == NULL)
    count(-1);
}

void vd_scope_await(void)
{
  g_mutex_lock(&lock);
  while (under_way > 0)
    g_cond_wait(&changed, &lock);
  g_mutex_unlock(&lock);
}
