/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who is behind a bus name. The bus is the only witness: nothing the caller says about itself counts, and
 * /proc is not asked. What it said is kept until the name leaves; unique names are never given out twice.
 */
#include "auth/caller.h"

#include "virtdisk-error.h"

/* The bus itself answers, so this is only reached when it is beyond help. */
#define CREDENTIALS_DEADLINE_MS 10000

typedef struct {
  GDBusConnection *connection; /* not a reference: the connection owns the cache */
  GHashTable *entries;         /* unique name -> Entry */
} Cache;

typedef struct {
  VdIdentity *identity; /* NULL while the bus is asked */
  GPtrArray *waiting;   /* GTasks */
  guint subscription;
} Entry;

static void entry_free(gpointer data)
{
  Entry *entry = data;

  g_clear_pointer(&entry->identity, vd_identity_unref);
  g_ptr_array_unref(entry->waiting);
  g_free(entry);
}

static void cache_free(gpointer data)
{
  Cache *cache = data;

  g_hash_table_unref(cache->entries);
  g_free(cache);
}

static Cache *cache_of(GDBusConnection *connection)
{
  static GQuark quark;
  Cache *cache;

  if (quark == 0)
    quark = g_quark_from_static_string("vd-caller-cache");
  cache = g_object_get_qdata(G_OBJECT(connection), quark);
  if (cache == NULL) {
    cache = g_new0(Cache, 1);
    cache->connection = connection;
    cache->entries = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, entry_free);
    g_object_set_qdata_full(G_OBJECT(connection), quark, cache, cache_free);
  }
  return cache;
}

static void answer(GTask *task, VdIdentity *identity, const GError *error)
{
  if (g_cancellable_is_cancelled(g_task_get_cancellable(task)))
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED, "The call was cancelled");
  else if (identity != NULL)
    g_task_return_pointer(task, vd_identity_ref(identity), (GDestroyNotify)vd_identity_unref);
  else
    g_task_return_error(task, g_error_copy(error));
}

/* Takes the entry out and answers all who wait for it. */
static void drop_entry(Cache *cache, const char *bus_name, const GError *error)
{
  Entry *entry = g_hash_table_lookup(cache->entries, bus_name);
  g_autoptr(GPtrArray) waiting = g_ptr_array_ref(entry->waiting);

  g_dbus_connection_signal_unsubscribe(cache->connection, entry->subscription);
  g_hash_table_remove(cache->entries, bus_name);
  for (guint i = 0; i < waiting->len; i++)
    answer(waiting->pdata[i], NULL, error);
}

static void on_name_owner_changed(GDBusConnection *connection, const char *sender, const char *object,
                                  const char *interface, const char *signal, GVariant *parameters,
                                  gpointer user_data)
{
  Cache *cache = user_data;
  g_autoptr(GError) gone = NULL;
  const char *name, *new_owner;

  if (!g_variant_is_of_type(parameters, G_VARIANT_TYPE("(sss)")))
    return;
  g_variant_get(parameters, "(&s&s&s)", &name, NULL, &new_owner);
  if (new_owner[0] != '\0' || !g_hash_table_contains(cache->entries, name))
    return;
  gone = g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED, "%s has left the bus", name);
  drop_entry(cache, name, gone);
}

/* The groups of the caller, the primary one among them; NULL and TRUE where the bus does not know. */
static gboolean read_groups(GVariant *credentials, GVariant **ret_groups, GError **error)
{
  g_autoptr(GVariant) groups = g_variant_lookup_value(credentials, "UnixGroupIDs", G_VARIANT_TYPE("au"));

  if (groups != NULL && g_variant_n_children(groups) > VD_MAX_GROUPS) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                "The caller is in %zu groups; the most is %d", g_variant_n_children(groups), VD_MAX_GROUPS);
    return FALSE;
  }
  *ret_groups = g_steal_pointer(&groups);
  return TRUE;
}

static VdIdentity *identity_from(const char *bus_name, GVariant *credentials, GError **error)
{
  g_autoptr(GVariant) groups = NULL;
  const guint32 *ids = NULL;
  guint32 uid = VD_UID_INVALID, pid = 0;
  gsize n = 0;

  G_STATIC_ASSERT(sizeof(gid_t) == sizeof *ids);
  if (!g_variant_lookup(credentials, "UnixUserID", "u", &uid) || uid == VD_UID_INVALID) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED, "The bus does not tell which user %s is",
                bus_name);
    return NULL;
  }
  if (!read_groups(credentials, &groups, error))
    return NULL;
  if (groups != NULL)
    ids = g_variant_get_fixed_array(groups, &n, sizeof *ids);
  g_variant_lookup(credentials, "ProcessID", "u", &pid);
  return vd_identity_new(bus_name, uid, VD_GID_INVALID, ids, n, (pid_t)pid);
}

static VdIdentity *credentials_finish(GDBusConnection *connection, GAsyncResult *result, const char *bus_name,
                                      GError **error)
{
  g_autoptr(GError) why = NULL;
  g_autoptr(GVariant) reply = g_dbus_connection_call_finish(connection, result, &why);
  g_autoptr(GVariant) credentials = NULL;

  if (reply == NULL) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED, "The bus does not tell who %s is: %s",
                bus_name, why->message);
    return NULL;
  }
  credentials = g_variant_get_child_value(reply, 0);
  return identity_from(bus_name, credentials, error);
}

static void credentials_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
  GDBusConnection *connection = G_DBUS_CONNECTION(source);
  g_autofree char *bus_name = user_data;
  g_autoptr(GError) error = NULL;
  g_autoptr(VdIdentity) identity = credentials_finish(connection, result, bus_name, &error);
  g_autoptr(GPtrArray) waiting = NULL;
  Cache *cache = cache_of(connection);
  Entry *entry = g_hash_table_lookup(cache->entries, bus_name);

  if (entry == NULL) /* it left meanwhile; who waited has been told */
    return;
  if (identity == NULL) {
    drop_entry(cache, bus_name, error);
    return;
  }
  entry->identity = vd_identity_ref(identity);
  waiting = g_steal_pointer(&entry->waiting);
  entry->waiting = g_ptr_array_new_with_free_func(g_object_unref);
  for (guint i = 0; i < waiting->len; i++)
    answer(waiting->pdata[i], identity, NULL);
}

/* Listens before it asks, so that no departure falls between the two. */
static Entry *entry_new(Cache *cache, const char *bus_name)
{
  Entry *entry = g_new0(Entry, 1);

  entry->waiting = g_ptr_array_new_with_free_func(g_object_unref);
  entry->subscription = g_dbus_connection_signal_subscribe(
      cache->connection, "org.freedesktop.DBus", "org.freedesktop.DBus", "NameOwnerChanged",
      "/org/freedesktop/DBus", bus_name, G_DBUS_SIGNAL_FLAGS_NONE, on_name_owner_changed, cache, NULL);
  g_hash_table_insert(cache->entries, g_strdup(bus_name), entry);
  g_dbus_connection_call(cache->connection, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                         "org.freedesktop.DBus", "GetConnectionCredentials", g_variant_new("(s)", bus_name),
                         G_VARIANT_TYPE("(a{sv})"), G_DBUS_CALL_FLAGS_NONE, CREDENTIALS_DEADLINE_MS, NULL,
                         credentials_done, g_strdup(bus_name));
  return entry;
}

void vd_caller_lookup_async(GDBusConnection *connection, const char *bus_name, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(NULL, cancellable, callback, user_data);
  Cache *cache = cache_of(connection);
  Entry *entry;

  g_task_set_source_tag(task, vd_caller_lookup_async);
  g_task_set_check_cancellable(task, FALSE);
  if (bus_name == NULL || !g_dbus_is_unique_name(bus_name)) {
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                            "%s is not the name of a caller", bus_name != NULL ? bus_name : "Nothing");
    return;
  }
  entry = g_hash_table_lookup(cache->entries, bus_name);
  if (entry == NULL)
    entry = entry_new(cache, bus_name);
  if (entry->identity != NULL)
    answer(task, entry->identity, NULL);
  else
    g_ptr_array_add(entry->waiting, g_steal_pointer(&task));
}

VdIdentity *vd_caller_lookup_finish(GAsyncResult *result, GError **error)
{
  g_return_val_if_fail(g_task_is_valid(result, NULL), NULL);
  return g_task_propagate_pointer(G_TASK(result), error);
}
