/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/service.h"

#include "bus/call.h"
#include "bus/descriptors.h"
#include "bus/gated.h"
#include "bus/job-object.h"
#include "names.h"
#include "vd-dbus.h"

#define LOGIND_NAME "org.freedesktop.login1"
#define LOGIND_PATH "/org/freedesktop/login1"
#define LOGIND_MANAGER "org.freedesktop.login1.Manager"

/* A name that has called us: its calls in flight, and the watch that tells when it leaves. */
typedef struct {
  VdBusService *service;
  char *name;
  guint watch;
  GPtrArray *calls; /* element VdCall*, borrowed */
} VdPeer;

static void peer_free(gpointer data)
{
  VdPeer *peer = data;

  g_bus_unwatch_name(peer->watch);
  g_ptr_array_unref(peer->calls);
  g_free(peer->name);
  g_free(peer);
}

static void on_peer_vanished(GDBusConnection *connection, const char *name, gpointer user_data)
{
  VdPeer *peer = user_data;
  VdBusService *self = peer->service;
  g_autofree char *gone = g_strdup(name);
  g_autoptr(GPtrArray) cancellables = g_ptr_array_new_with_free_func(g_object_unref);

  for (guint i = 0; i < peer->calls->len; i++)
    g_ptr_array_add(cancellables, g_object_ref(((VdCall *)g_ptr_array_index(peer->calls, i))->cancellable));
  g_hash_table_remove(self->peers, gone);
  for (guint i = 0; i < cancellables->len; i++)
    g_cancellable_cancel(g_ptr_array_index(cancellables, i));
  vd_manager_owner_gone(self->manager, gone);
}

static VdPeer *get_peer(VdBusService *self, const char *name)
{
  VdPeer *peer = g_hash_table_lookup(self->peers, name);

  if (peer != NULL)
    return peer;
  peer = g_new0(VdPeer, 1);
  peer->service = self;
  peer->name = g_strdup(name);
  peer->calls = g_ptr_array_new();
  g_hash_table_insert(self->peers, peer->name, peer);
  peer->watch = g_bus_watch_name_on_connection(self->connection, name, G_BUS_NAME_WATCHER_FLAGS_NONE, NULL,
                                               on_peer_vanished, peer, NULL);
  return peer;
}

void vd_bus_service_track(VdBusService *self, VdCall *call)
{
  g_ptr_array_add(get_peer(self, g_dbus_method_invocation_get_sender(call->invocation))->calls, call);
}

void vd_bus_service_untrack(VdBusService *self, VdCall *call)
{
  GHashTableIter iter;
  gpointer value;

  /* The invocation, and so the sender's name, may be gone by now; peers are few. */
  g_hash_table_iter_init(&iter, self->peers);
  while (g_hash_table_iter_next(&iter, NULL, &value))
    if (g_ptr_array_remove_fast(((VdPeer *)value)->calls, call))
      return;
}

/* Disks */

static void on_disk_added(VdManager *manager, VdDisk *disk, VdBusService *self)
{
  g_autoptr(GDBusObjectSkeleton) object = vd_disk_object_new(disk);

  g_dbus_object_manager_server_export(self->objects, object);
}

static void on_disk_changed(VdManager *manager, VdDisk *disk, VdBusService *self)
{
  g_autofree char *path = vd_bus_service_disk_path(disk);
  g_autoptr(GDBusObject) object =
      g_dbus_object_manager_get_object(G_DBUS_OBJECT_MANAGER(self->objects), path);

  if (object != NULL)
    vd_disk_object_update(G_DBUS_OBJECT_SKELETON(object), disk);
}

static void on_disk_removed(VdManager *manager, VdDisk *disk, VdBusService *self)
{
  g_autofree char *path = vd_bus_service_disk_path(disk);

  g_dbus_object_manager_server_unexport(self->objects, path);
}

/* Sessions */

static void on_session_removed(GDBusConnection *connection, const char *sender, const char *path,
                               const char *interface, const char *signal, GVariant *parameters,
                               gpointer user_data)
{
  VdBusService *self = user_data;
  const char *id;

  if (!g_variant_is_of_type(parameters, G_VARIANT_TYPE("(so)")))
    return;
  g_variant_get(parameters, "(&s&o)", &id, NULL);
  vd_manager_session_gone(self->manager, id);
}

typedef struct {
  GWeakRef manager;
  char *session;
} AskSession;

static void on_session_looked_up(GObject *source, GAsyncResult *result, gpointer user_data)
{
  AskSession *ask = user_data;
  g_autoptr(VdManager) manager = g_weak_ref_get(&ask->manager);
  g_autoptr(GError) error = NULL;
  g_autoptr(GVariant) answer = g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);
  g_autofree char *remote = error != NULL ? g_dbus_error_get_remote_error(error) : NULL;

  if (manager != NULL && g_strcmp0(remote, "org.freedesktop.login1.NoSuchSession") == 0)
    vd_manager_session_gone(manager, ask->session);
  g_weak_ref_clear(&ask->manager);
  g_free(ask->session);
  g_free(ask);
}

/* Sessions may have ended while no service was there to hear of it. */
static void check_sessions(VdBusService *self)
{
  g_auto(GStrv) sessions = vd_manager_sessions(self->manager);

  for (gsize i = 0; sessions[i] != NULL; i++) {
    AskSession *ask = g_new0(AskSession, 1);

    g_weak_ref_init(&ask->manager, self->manager);
    ask->session = g_strdup(sessions[i]);
    g_dbus_connection_call(self->connection, LOGIND_NAME, LOGIND_PATH, LOGIND_MANAGER, "GetSession",
                           g_variant_new("(s)", sessions[i]), G_VARIANT_TYPE("(o)"),
                           G_DBUS_CALL_FLAGS_NO_AUTO_START, -1, NULL, on_session_looked_up, ask);
  }
}

/* What an earlier run of the service left: its disks, its handles, and clients that may have gone since. */
static void take_over(VdBusService *self)
{
  g_autoptr(GPtrArray) disks = vd_manager_list(self->manager);
  g_auto(GStrv) names = vd_manager_owner_names(self->manager);

  for (guint i = 0; i < disks->len; i++) {
    VdDisk *disk = g_ptr_array_index(disks, i);
    VdDiskAttachment *a = disk->attachment;

    on_disk_added(self->manager, disk, self);
    if (a->charge != NULL)
      continue;
    /* They count as before. More than the quota (of an earlier version) stay, and nothing comes to them. */
    a->charge = vd_quota_charge(self->quota, a->owner->uid, VD_QUOTA_DISKS, NULL);
    a->free_charge = (GDestroyNotify)vd_charge_free;
  }
  for (gsize i = 0; names[i] != NULL; i++)
    get_peer(self, names[i]);
  check_sessions(self);
}

VdBusService *vd_bus_service_new(GDBusConnection *connection, VdManager *manager, VdOpener *opener,
                                 GError **error)
{
  VdBusService *self = g_new0(VdBusService, 1);

  self->connection = g_object_ref(connection);
  self->manager = g_object_ref(manager);
  self->descriptors = vd_descriptors_take_over(connection);
  self->opener = vd_opener_ref(opener);
  self->quota = vd_quota_new();
  self->gate = vd_gate_new(connection, self->quota);
  self->peers = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, peer_free);
  self->objects = g_dbus_object_manager_server_new(VD_ROOT_PATH);
  self->manager_skeleton = vd_gated_manager_new(self);
  self->handles = vd_gated_register_handles(self, error);
  if (self->handles == 0 ||
      !g_dbus_interface_skeleton_export(self->manager_skeleton, connection, VD_ROOT_PATH, error)) {
    vd_bus_service_free(self);
    return NULL;
  }
  g_signal_connect(manager, "disk-added", G_CALLBACK(on_disk_added), self);
  g_signal_connect(manager, "disk-changed", G_CALLBACK(on_disk_changed), self);
  g_signal_connect(manager, "disk-removed", G_CALLBACK(on_disk_removed), self);
  self->session_watch = g_dbus_connection_signal_subscribe(
      connection, LOGIND_NAME, LOGIND_MANAGER, "SessionRemoved", LOGIND_PATH, NULL, G_DBUS_SIGNAL_FLAGS_NONE,
      on_session_removed, self, NULL);
  take_over(self);
  vd_job_objects_connect(self);
  g_dbus_object_manager_server_set_connection(self->objects, connection);
  return self;
}

void vd_bus_service_free(VdBusService *self)
{
  if (self == NULL)
    return;
  g_signal_handlers_disconnect_by_data(self->manager, self);
  vd_job_objects_disconnect(self);
  g_dbus_connection_remove_filter(self->connection, self->descriptors);
  if (self->session_watch != 0)
    g_dbus_connection_signal_unsubscribe(self->connection, self->session_watch);
  g_dbus_object_manager_server_set_connection(self->objects, NULL);
  if (g_dbus_interface_skeleton_get_connection(self->manager_skeleton) != NULL)
    g_dbus_interface_skeleton_unexport(self->manager_skeleton);
  g_clear_pointer(&self->peers, g_hash_table_unref);
  if (self->handles != 0)
    g_dbus_connection_unregister_subtree(self->connection, self->handles);
  g_clear_object(&self->manager_skeleton);
  g_clear_object(&self->objects);
  g_clear_pointer(&self->gate, vd_gate_free);
  g_clear_pointer(&self->quota, vd_quota_free);
  g_clear_pointer(&self->opener, vd_opener_unref);
  g_clear_object(&self->manager);
  g_clear_object(&self->connection);
  g_free(self);
}
