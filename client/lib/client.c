/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connection to the service: whether it is there, which disks it has, and the signals about them. It is
 * made of things that were acquired before, so that a client that exists is complete. Methods of the service:
 * calls.c.
 */
#include "private.h"

#include "names.h"

struct _VirtdiskClient {
  GObject parent;
  GDBusConnection *connection;
  GMainContext *context;
  GDBusObjectManager *objects;
  GDBusProxy *manager; /* for its property; calls do not go through it */
  gint interactive;
  GMutex lock;
  GHashTable *disks; /* object path to VirtdiskDisk; under lock */
  GHashTable *jobs;  /* object path to GWeakRef of a VirtdiskJob, which itself keeps the client; under lock */
};

enum { PROP_0, PROP_CONNECTION, PROP_INTERACTIVE, PROP_VERSION, PROP_NAME_OWNER, N_PROPS };
enum { DISK_ADDED, DISK_REMOVED, DISK_CHANGED, JOB_ADDED, JOB_REMOVED, N_SIGNALS };

static GParamSpec *specs[N_PROPS];
static guint signals[N_SIGNALS];

G_DEFINE_FINAL_TYPE(VirtdiskClient, virtdisk_client, G_TYPE_OBJECT)

/* ---- disks ---- */

static VirtdiskDisk *client_lookup(VirtdiskClient *client, const char *object_path)
{
  VirtdiskDisk *disk;

  g_mutex_lock(&client->lock);
  disk = g_hash_table_lookup(client->disks, object_path);
  if (disk != NULL)
    g_object_ref(disk);
  g_mutex_unlock(&client->lock);
  return disk;
}

VirtdiskDisk *vd_client_take_disk(VirtdiskClient *client, const char *object_path, GVariant *properties)
{
  VirtdiskDisk *disk = NULL;
  gboolean known;

  g_mutex_lock(&client->lock);
  known = g_hash_table_lookup_extended(client->disks, object_path, NULL, (gpointer *)&disk);
  if (!known) {
    disk = vd_disk_new(object_path, client->context, properties);
    g_hash_table_insert(client->disks, g_strdup(object_path), disk);
  }
  g_object_ref(disk);
  g_mutex_unlock(&client->lock);
  if (known)
    vd_disk_update(disk, properties);
  return disk;
}

static GVariant *proxy_properties(GDBusProxy *proxy)
{
  g_auto(GVariantBuilder) builder = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_VARDICT);
  g_auto(GStrv) names = g_dbus_proxy_get_cached_property_names(proxy);

  for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
    g_autoptr(GVariant) value = g_dbus_proxy_get_cached_property(proxy, names[i]);

    if (value != NULL)
      g_variant_builder_add(&builder, "{sv}", names[i], value);
  }
  return g_variant_ref_sink(g_variant_builder_end(&builder));
}

static VirtdiskDisk *client_take_proxy(VirtdiskClient *client, GDBusProxy *proxy)
{
  g_autoptr(GVariant) properties = proxy_properties(proxy);

  return vd_client_take_disk(client, g_dbus_proxy_get_object_path(proxy), properties);
}

static gboolean is_disk(GDBusInterface *interface)
{
  return g_str_equal(g_dbus_proxy_get_interface_name(G_DBUS_PROXY(interface)), VD_IFACE_DISK);
}

/* ---- jobs ---- */

static void weak_free(gpointer data)
{
  g_weak_ref_clear(data);
  g_free(data);
}

static gboolean is_dead(gpointer key, gpointer value, gpointer data)
{
  g_autoptr(VirtdiskJob) job = g_weak_ref_get(value);

  return job == NULL;
}

/* Under lock. (transfer full) */
static VirtdiskJob *client_lookup_job(VirtdiskClient *client, const char *object_path)
{
  GWeakRef *known = g_hash_table_lookup(client->jobs, object_path);

  return known != NULL ? g_weak_ref_get(known) : NULL;
}

VirtdiskJob *vd_client_take_job(VirtdiskClient *client, const char *object_path, GVariant *properties)
{
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&client->lock);
  VirtdiskJob *job = client_lookup_job(client, object_path);

  if (job == NULL) {
    GWeakRef *weak = g_new0(GWeakRef, 1);

    g_hash_table_foreach_remove(client->jobs, is_dead, NULL);
    job = vd_job_new(client, object_path, client->context);
    g_weak_ref_init(weak, job);
    g_hash_table_replace(client->jobs, g_strdup(object_path), weak);
  }
  g_clear_pointer(&locker, g_mutex_locker_free);
  if (properties != NULL)
    vd_job_update(job, properties);
  return job;
}

static VirtdiskJob *client_take_job_proxy(VirtdiskClient *client, GDBusInterface *interface)
{
  GDBusProxy *proxy = G_DBUS_PROXY(interface);
  g_autoptr(GVariant) properties = proxy_properties(proxy);

  return vd_client_take_job(client, g_dbus_proxy_get_object_path(proxy), properties);
}

static gboolean is_job(GDBusInterface *interface)
{
  return g_str_equal(g_dbus_proxy_get_interface_name(G_DBUS_PROXY(interface)), VD_IFACE_JOB);
}

static void on_job(VirtdiskClient *client, GDBusInterface *interface, guint signal)
{
  g_autoptr(VirtdiskJob) job = client_take_job_proxy(client, interface);

  g_signal_emit(client, signals[signal], 0, job);
}

static gint compare_job_age(gconstpointer a, gconstpointer b)
{
  VirtdiskJob *one = *(VirtdiskJob *const *)a, *other = *(VirtdiskJob *const *)b;
  guint64 one_at = virtdisk_job_get_start_time(one), other_at = virtdisk_job_get_start_time(other);

  if (one_at != other_at)
    return one_at < other_at ? -1 : 1;
  return g_strcmp0(virtdisk_job_get_object_path(one), virtdisk_job_get_object_path(other));
}

GPtrArray *virtdisk_client_get_jobs(VirtdiskClient *client)
{
  GPtrArray *jobs = g_ptr_array_new_with_free_func(g_object_unref);
  GList *known = g_dbus_object_manager_get_objects(client->objects);

  for (GList *item = known; item != NULL; item = item->next) {
    g_autoptr(GDBusInterface) interface = g_dbus_object_get_interface(item->data, VD_IFACE_JOB);

    if (interface != NULL)
      g_ptr_array_add(jobs, client_take_job_proxy(client, interface));
  }
  g_list_free_full(known, g_object_unref);
  g_ptr_array_sort(jobs, compare_job_age);
  return jobs;
}

/* ---- what comes, changes and goes ---- */

static void on_interface_added(GDBusObjectManager *objects, GDBusObject *object, GDBusInterface *interface,
                               gpointer data)
{
  VirtdiskClient *client = data;
  g_autoptr(VirtdiskDisk) disk = NULL;

  if (is_job(interface))
    on_job(client, interface, JOB_ADDED);
  if (!is_disk(interface))
    return;
  disk = client_take_proxy(client, G_DBUS_PROXY(interface));
  g_signal_emit(client, signals[DISK_ADDED], 0, disk);
}

static void on_object_added(GDBusObjectManager *objects, GDBusObject *object, gpointer data)
{
  g_autoptr(GDBusInterface) disk = g_dbus_object_get_interface(object, VD_IFACE_DISK);
  g_autoptr(GDBusInterface) job = g_dbus_object_get_interface(object, VD_IFACE_JOB);

  if (disk != NULL)
    on_interface_added(objects, object, disk, data);
  if (job != NULL)
    on_interface_added(objects, object, job, data);
}

static void client_forget(VirtdiskClient *client, const char *object_path)
{
  g_autoptr(VirtdiskDisk) disk = client_lookup(client, object_path);

  if (disk == NULL)
    return;
  g_mutex_lock(&client->lock);
  g_hash_table_remove(client->disks, object_path);
  g_mutex_unlock(&client->lock);
  vd_disk_set_gone(disk);
  g_signal_emit(client, signals[DISK_REMOVED], 0, disk);
}

static void on_interface_removed(GDBusObjectManager *objects, GDBusObject *object, GDBusInterface *interface,
                                 gpointer data)
{
  if (is_job(interface))
    on_job(data, interface, JOB_REMOVED);
  if (is_disk(interface))
    client_forget(data, g_dbus_object_get_object_path(object));
}

static void on_object_removed(GDBusObjectManager *objects, GDBusObject *object, gpointer data)
{
  g_autoptr(GDBusInterface) job = g_dbus_object_get_interface(object, VD_IFACE_JOB);

  if (job != NULL)
    on_job(data, job, JOB_REMOVED);
  client_forget(data, g_dbus_object_get_object_path(object));
}

static void on_properties_changed(GDBusObjectManagerClient *objects, GDBusObjectProxy *object,
                                  GDBusProxy *proxy, GVariant *changed, const char *const *invalidated,
                                  gpointer data)
{
  VirtdiskClient *client = data;
  g_autoptr(VirtdiskDisk) disk = client_lookup(client, g_dbus_proxy_get_object_path(proxy));

  if (is_job(G_DBUS_INTERFACE(proxy)))
    g_object_unref(vd_client_take_job(client, g_dbus_proxy_get_object_path(proxy), changed));
  if (disk == NULL || !is_disk(G_DBUS_INTERFACE(proxy)))
    return;
  vd_disk_update(disk, changed);
  g_signal_emit(client, signals[DISK_CHANGED], 0, disk);
}

/* Disks that a blocking call learned of and that the object manager has not announced yet would outlive the
 * service. */
static void on_name_owner(GObject *objects, GParamSpec *spec, gpointer data)
{
  VirtdiskClient *client = data;
  g_autofree char *owner = virtdisk_client_dup_name_owner(client);

  if (owner == NULL) {
    g_autoptr(GPtrArray) disks = virtdisk_client_get_disks(client);

    for (guint i = 0; i < disks->len; i++)
      client_forget(client, virtdisk_disk_get_object_path(disks->pdata[i]));
  }
  g_object_notify_by_pspec(G_OBJECT(client), specs[PROP_NAME_OWNER]);
}

static void on_manager_changed(VirtdiskClient *client)
{
  g_object_notify_by_pspec(G_OBJECT(client), specs[PROP_VERSION]);
}

static gint compare_age(gconstpointer a, gconstpointer b)
{
  VirtdiskDisk *one = *(VirtdiskDisk *const *)a, *other = *(VirtdiskDisk *const *)b;
  guint64 one_at = virtdisk_disk_get_attached_at(one), other_at = virtdisk_disk_get_attached_at(other);

  if (one_at != other_at)
    return one_at < other_at ? -1 : 1;
  return g_strcmp0(virtdisk_disk_get_object_path(one), virtdisk_disk_get_object_path(other));
}

GPtrArray *virtdisk_client_get_disks(VirtdiskClient *client)
{
  GPtrArray *disks = g_ptr_array_new_with_free_func(g_object_unref);
  GHashTableIter iter;
  gpointer disk;

  g_mutex_lock(&client->lock);
  g_hash_table_iter_init(&iter, client->disks);
  while (g_hash_table_iter_next(&iter, NULL, &disk))
    g_ptr_array_add(disks, g_object_ref(disk));
  g_mutex_unlock(&client->lock);
  g_ptr_array_sort(disks, compare_age);
  return disks;
}

/* ---- making one ---- */

static VirtdiskClient *client_new(GDBusConnection *connection, GDBusObjectManager *objects,
                                  GDBusProxy *manager)
{
  VirtdiskClient *client = g_object_new(VIRTDISK_TYPE_CLIENT, "connection", connection, NULL);
  GList *known = g_dbus_object_manager_get_objects(objects);

  client->objects = g_object_ref(objects);
  client->manager = g_object_ref(manager);
  for (GList *item = known; item != NULL; item = item->next) {
    g_autoptr(GDBusInterface) interface = g_dbus_object_get_interface(item->data, VD_IFACE_DISK);

    if (interface != NULL)
      g_object_unref(client_take_proxy(client, G_DBUS_PROXY(interface)));
  }
  g_list_free_full(known, g_object_unref);
  g_signal_connect_object(objects, "object-added", G_CALLBACK(on_object_added), client, 0);
  g_signal_connect_object(objects, "object-removed", G_CALLBACK(on_object_removed), client, 0);
  g_signal_connect_object(objects, "interface-added", G_CALLBACK(on_interface_added), client, 0);
  g_signal_connect_object(objects, "interface-removed", G_CALLBACK(on_interface_removed), client, 0);
  g_signal_connect_object(objects, "interface-proxy-properties-changed", G_CALLBACK(on_properties_changed),
                          client, 0);
  g_signal_connect_object(objects, "notify::name-owner", G_CALLBACK(on_name_owner), client, 0);
  g_signal_connect_object(manager, "g-properties-changed", G_CALLBACK(on_manager_changed), client,
                          G_CONNECT_SWAPPED);
  return client;
}

/* Whether it could be started is told by the first call that needs it, so the answer here does not matter. */
#define START_ARGUMENTS                                                                                      \
  "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "StartServiceByName",             \
      g_variant_new("(su)", VD_BUS_NAME, 0), G_VARIANT_TYPE("(u)"), G_DBUS_CALL_FLAGS_NONE, -1
#define OBJECTS_FLAGS G_DBUS_OBJECT_MANAGER_CLIENT_FLAGS_DO_NOT_AUTO_START
#define MANAGER_FLAGS (G_DBUS_PROXY_FLAGS_DO_NOT_AUTO_START | G_DBUS_PROXY_FLAGS_DO_NOT_CONNECT_SIGNALS)

static VirtdiskClient *client_build_sync(GDBusConnection *connection, GCancellable *cancellable,
                                         GError **error)
{
  g_autoptr(GVariant) started = g_dbus_connection_call_sync(connection, START_ARGUMENTS, cancellable, NULL);
  g_autoptr(GDBusObjectManager) objects = NULL;
  g_autoptr(GDBusProxy) manager = NULL;

  objects = g_dbus_object_manager_client_new_sync(connection, OBJECTS_FLAGS, VD_BUS_NAME, VD_ROOT_PATH, NULL,
                                                  NULL, NULL, cancellable, error);
  if (objects == NULL)
    return NULL;
  manager = g_dbus_proxy_new_sync(connection, MANAGER_FLAGS, NULL, VD_BUS_NAME, VD_ROOT_PATH,
                                  VD_IFACE_MANAGER, cancellable, error);
  if (manager == NULL)
    return NULL;
  return client_new(connection, objects, manager);
}

VirtdiskClient *virtdisk_client_new_for_connection(GDBusConnection *connection, GCancellable *cancellable,
                                                   GError **error)
{
  GError *local = NULL;
  VirtdiskClient *client = client_build_sync(connection, cancellable, &local);

  if (client == NULL)
    vd_error_translate(local, VIRTDISK_ERROR_NOT_SUPPORTED, error);
  return client;
}

VirtdiskClient *virtdisk_client_new_sync(GCancellable *cancellable, GError **error)
{
  GError *local = NULL;
  g_autoptr(GDBusConnection) connection = g_bus_get_sync(G_BUS_TYPE_SYSTEM, cancellable, &local);

  if (connection == NULL) {
    vd_error_translate(local, VIRTDISK_ERROR_NOT_SUPPORTED, error);
    return NULL;
  }
  return virtdisk_client_new_for_connection(connection, cancellable, error);
}

typedef struct {
  GDBusConnection *connection;
  GDBusObjectManager *objects;
} Building;

static void building_free(gpointer data)
{
  Building *building = data;

  g_clear_object(&building->connection);
  g_clear_object(&building->objects);
  g_free(building);
}

static void task_fail(GTask *task, GError *bus_error)
{
  GError *error = NULL;

  vd_error_translate(bus_error, VIRTDISK_ERROR_NOT_SUPPORTED, &error);
  g_task_return_error(task, error);
}

static void manager_made(GObject *source, GAsyncResult *result, gpointer data)
{
  g_autoptr(GTask) task = data;
  Building *building = g_task_get_task_data(task);
  GError *error = NULL;
  g_autoptr(GDBusProxy) manager = g_dbus_proxy_new_finish(result, &error);

  if (manager == NULL)
    task_fail(task, error);
  else
    g_task_return_pointer(task, client_new(building->connection, building->objects, manager), g_object_unref);
}

static void objects_made(GObject *source, GAsyncResult *result, gpointer data)
{
  g_autoptr(GTask) task = data;
  Building *building = g_task_get_task_data(task);
  GError *error = NULL;

  building->objects = g_dbus_object_manager_client_new_finish(result, &error);
  if (building->objects == NULL) {
    task_fail(task, error);
    return;
  }
  g_dbus_proxy_new(building->connection, MANAGER_FLAGS, NULL, VD_BUS_NAME, VD_ROOT_PATH, VD_IFACE_MANAGER,
                   g_task_get_cancellable(task), manager_made, g_object_ref(task));
}

static void service_started(GObject *source, GAsyncResult *result, gpointer data)
{
  g_autoptr(GTask) task = data;
  Building *building = g_task_get_task_data(task);
  g_autoptr(GVariant) started = g_dbus_connection_call_finish(building->connection, result, NULL);

  g_dbus_object_manager_client_new(building->connection, OBJECTS_FLAGS, VD_BUS_NAME, VD_ROOT_PATH, NULL, NULL,
                                   NULL, g_task_get_cancellable(task), objects_made, g_object_ref(task));
}

static void client_build(GTask *task, GDBusConnection *connection)
{
  Building *building = g_task_get_task_data(task);

  building->connection = g_object_ref(connection);
  g_dbus_connection_call(connection, START_ARGUMENTS, g_task_get_cancellable(task), service_started, task);
}

static void bus_found(GObject *source, GAsyncResult *result, gpointer data)
{
  GTask *task = data;
  GError *error = NULL;
  g_autoptr(GDBusConnection) connection = g_bus_get_finish(result, &error);

  if (connection != NULL) {
    client_build(task, connection);
    return;
  }
  task_fail(task, error);
  g_object_unref(task);
}

static GTask *client_task_new(GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new(NULL, cancellable, callback, user_data);

  g_task_set_source_tag(task, virtdisk_client_new_finish);
  g_task_set_task_data(task, g_new0(Building, 1), building_free);
  return task;
}

void virtdisk_client_new_async(GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
  g_bus_get(G_BUS_TYPE_SYSTEM, cancellable, bus_found, client_task_new(cancellable, callback, user_data));
}

void virtdisk_client_new_for_connection_async(GDBusConnection *connection, GCancellable *cancellable,
                                              GAsyncReadyCallback callback, gpointer user_data)
{
  client_build(client_task_new(cancellable, callback, user_data), connection);
}

VirtdiskClient *virtdisk_client_new_finish(GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

VirtdiskClient *virtdisk_client_new_for_connection_finish(GAsyncResult *result, GError **error)
{
  return virtdisk_client_new_finish(result, error);
}

/* ---- properties ---- */

GDBusConnection *virtdisk_client_get_connection(VirtdiskClient *client)
{
  return client->connection;
}

gboolean virtdisk_client_get_interactive(VirtdiskClient *client)
{
  return g_atomic_int_get(&client->interactive);
}

void virtdisk_client_set_interactive(VirtdiskClient *client, gboolean interactive)
{
  if (g_atomic_int_exchange_and_add(&client->interactive, 0) == !!interactive)
    return;
  g_atomic_int_set(&client->interactive, !!interactive);
  g_object_notify_by_pspec(G_OBJECT(client), specs[PROP_INTERACTIVE]);
}

GDBusCallFlags vd_client_call_flags(VirtdiskClient *client)
{
  return virtdisk_client_get_interactive(client) ? G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION
                                                 : G_DBUS_CALL_FLAGS_NONE;
}

char *virtdisk_client_dup_version(VirtdiskClient *client)
{
  g_autoptr(GVariant) version = g_dbus_proxy_get_cached_property(client->manager, "Version");

  return version != NULL ? g_variant_dup_string(version, NULL) : NULL;
}

char *virtdisk_client_dup_name_owner(VirtdiskClient *client)
{
  return g_dbus_object_manager_client_get_name_owner(G_DBUS_OBJECT_MANAGER_CLIENT(client->objects));
}

static void virtdisk_client_get_property(GObject *object, guint id, GValue *value, GParamSpec *spec)
{
  VirtdiskClient *client = VIRTDISK_CLIENT(object);

  switch (id) {
  case PROP_CONNECTION:
    g_value_set_object(value, client->connection);
    break;
  case PROP_INTERACTIVE:
    g_value_set_boolean(value, virtdisk_client_get_interactive(client));
    break;
  case PROP_VERSION:
    g_value_take_string(value, virtdisk_client_dup_version(client));
    break;
  case PROP_NAME_OWNER:
    g_value_take_string(value, virtdisk_client_dup_name_owner(client));
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
  }
}

static void virtdisk_client_set_property(GObject *object, guint id, const GValue *value, GParamSpec *spec)
{
  VirtdiskClient *client = VIRTDISK_CLIENT(object);

  switch (id) {
  case PROP_CONNECTION:
    client->connection = g_value_dup_object(value);
    break;
  case PROP_INTERACTIVE:
    virtdisk_client_set_interactive(client, g_value_get_boolean(value));
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
  }
}

static void virtdisk_client_finalize(GObject *object)
{
  VirtdiskClient *client = VIRTDISK_CLIENT(object);

  g_clear_object(&client->manager);
  g_clear_object(&client->objects);
  g_clear_object(&client->connection);
  g_hash_table_unref(client->disks);
  g_hash_table_unref(client->jobs);
  g_main_context_unref(client->context);
  g_mutex_clear(&client->lock);
  G_OBJECT_CLASS(virtdisk_client_parent_class)->finalize(object);
}

static guint signal_new(const char *name, GType about)
{
  return g_signal_new(name, VIRTDISK_TYPE_CLIENT, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1,
                      about);
}

static void virtdisk_client_class_init(VirtdiskClientClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS(klass);

  object_class->get_property = virtdisk_client_get_property;
  object_class->set_property = virtdisk_client_set_property;
  object_class->finalize = virtdisk_client_finalize;

  /**
   * VirtdiskClient:connection:
   * The message bus.
   */
  specs[PROP_CONNECTION] =
      g_param_spec_object("connection", NULL, NULL, G_TYPE_DBUS_CONNECTION,
                          G_PARAM_READWRITE | G_PARAM_CONSTRUCT_ONLY | G_PARAM_STATIC_STRINGS);
  /**
   * VirtdiskClient:interactive:
   * Whether the service may let polkit ask a person.
   */
  specs[PROP_INTERACTIVE] = g_param_spec_boolean(
      "interactive", NULL, NULL, TRUE, G_PARAM_READWRITE | G_PARAM_EXPLICIT_NOTIFY | G_PARAM_STATIC_STRINGS);
  /**
   * VirtdiskClient:version:
   * Version of the service, %NULL while there is none.
   */
  specs[PROP_VERSION] =
      g_param_spec_string("version", NULL, NULL, NULL, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
  /**
   * VirtdiskClient:name-owner:
   * Unique bus name of the service, %NULL while there is none.
   */
  specs[PROP_NAME_OWNER] =
      g_param_spec_string("name-owner", NULL, NULL, NULL, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
  g_object_class_install_properties(object_class, N_PROPS, specs);

  /**
   * VirtdiskClient::disk-added:
   * @client: the client
   * @disk: the disk that was attached
   */
  signals[DISK_ADDED] = signal_new("disk-added", VIRTDISK_TYPE_DISK);
  /**
   * VirtdiskClient::disk-removed:
   * @client: the client
   * @disk: the disk that has gone
   */
  signals[DISK_REMOVED] = signal_new("disk-removed", VIRTDISK_TYPE_DISK);
  /**
   * VirtdiskClient::disk-changed:
   * @client: the client
   * @disk: the disk, of which some properties have new values
   */
  signals[DISK_CHANGED] = signal_new("disk-changed", VIRTDISK_TYPE_DISK);
  /**
   * VirtdiskClient::job-added:
   * @client: the client
   * @job: the job that has begun; what changes of it is told by its own notify signals
   */
  signals[JOB_ADDED] = signal_new("job-added", VIRTDISK_TYPE_JOB);
  /**
   * VirtdiskClient::job-removed:
   * @client: the client
   * @job: the job that was forgotten
   */
  signals[JOB_REMOVED] = signal_new("job-removed", VIRTDISK_TYPE_JOB);
}

static void virtdisk_client_init(VirtdiskClient *client)
{
  client->context = g_main_context_ref_thread_default();
  client->interactive = TRUE;
  g_mutex_init(&client->lock);
  client->disks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_object_unref);
  client->jobs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, weak_free);
}
