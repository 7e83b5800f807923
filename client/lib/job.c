/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One job: the values that the service last told, by property, and what came of it. It asks for nothing
 * itself but to be cancelled or forgotten; the client and who waits for it (run.c) feed it, from any thread,
 * and properties notify in the client's main context.
 */
#include "private.h"

#include "names.h"

enum {
  PROP_0,
  PROP_OPERATION,
  PROP_PATH,
  PROP_OWNER_UID,
  PROP_PROGRESS,
  PROP_PROGRESS_VALID,
  PROP_BYTES,
  PROP_RATE,
  PROP_START_TIME,
  PROP_EXPECTED_END_TIME,
  PROP_CANCELABLE,
  PROP_STATE,
  PROP_ERROR_NAME,
  PROP_ERROR_MESSAGE,
  PROP_DETACHED,
  N_MIRRORED,
  PROP_OBJECT_PATH = N_MIRRORED,
  N_PROPS
};

static const struct {
  const char *name;
  const char *bus_name;
  const char *type;
} mirrored[N_MIRRORED] = {
    [PROP_OPERATION] = {"operation", "Operation", "s"},
    [PROP_PATH] = {"path", "Path", "s"},
    [PROP_OWNER_UID] = {"owner-uid", "OwnerUid", "u"},
    [PROP_PROGRESS] = {"progress", "Progress", "d"},
    [PROP_PROGRESS_VALID] = {"progress-valid", "ProgressValid", "b"},
    [PROP_BYTES] = {"bytes", "Bytes", "t"},
    [PROP_RATE] = {"rate", "Rate", "t"},
    [PROP_START_TIME] = {"start-time", "StartTime", "t"},
    [PROP_EXPECTED_END_TIME] = {"expected-end-time", "ExpectedEndTime", "t"},
    [PROP_CANCELABLE] = {"cancelable", "Cancelable", "b"},
    [PROP_STATE] = {"state", "State", "s"},
    [PROP_ERROR_NAME] = {"error-name", "ErrorName", "s"},
    [PROP_ERROR_MESSAGE] = {"error-message", "ErrorMessage", "s"},
    [PROP_DETACHED] = {"detached", "Detached", "b"},
};

struct _VirtdiskJob {
  GObject parent;
  VirtdiskClient *client;
  char *object_path;
  GMainContext *context;
  GMutex lock;
  GVariant *values[N_MIRRORED]; /* under lock; NULL until told */
  GVariant *results;            /* under lock; NULL until it was waited for */
  char *handle;                 /* under lock; object path of the new image's handle, ours to close */
};

G_DEFINE_FINAL_TYPE(VirtdiskJob, virtdisk_job, G_TYPE_OBJECT)

static GParamSpec *specs[N_PROPS];

/* ---- reading ---- */

static GVariant *job_dup(VirtdiskJob *job, guint property)
{
  GVariant *value;

  g_mutex_lock(&job->lock);
  value = job->values[property] != NULL ? g_variant_ref(job->values[property]) : NULL;
  g_mutex_unlock(&job->lock);
  return value;
}

static const char *job_string(VirtdiskJob *job, guint property)
{
  g_autoptr(GVariant) value = job_dup(job, property);

  /* The text belongs to the value that the job keeps. */
  return value != NULL ? g_variant_get_string(value, NULL) : "";
}

static guint64 job_uint64(VirtdiskJob *job, guint property)
{
  g_autoptr(GVariant) value = job_dup(job, property);

  return value != NULL ? g_variant_get_uint64(value) : 0;
}

static gboolean job_boolean(VirtdiskJob *job, guint property)
{
  g_autoptr(GVariant) value = job_dup(job, property);

  return value != NULL && g_variant_get_boolean(value);
}

static void virtdisk_job_get_property(GObject *object, guint id, GValue *value, GParamSpec *spec)
{
  VirtdiskJob *job = VIRTDISK_JOB(object);
  g_autoptr(GVariant) told = id < N_MIRRORED ? job_dup(job, id) : NULL;

  if (id == PROP_OBJECT_PATH)
    g_value_set_string(value, job->object_path);
  else if (id >= N_MIRRORED)
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
  else if (told != NULL)
    g_dbus_gvariant_to_gvalue(told, value);
}

/* ---- writing ---- */

typedef struct {
  VirtdiskJob *job;
  gboolean changed[N_MIRRORED];
} Change;

static void change_free(gpointer data)
{
  Change *change = data;

  g_object_unref(change->job);
  g_free(change);
}

static gboolean on_changed(gpointer data)
{
  Change *change = data;

  g_object_freeze_notify(G_OBJECT(change->job));
  for (guint i = 1; i < N_MIRRORED; i++)
    if (change->changed[i])
      g_object_notify_by_pspec(G_OBJECT(change->job), specs[i]);
  g_object_thaw_notify(G_OBJECT(change->job));
  return G_SOURCE_REMOVE;
}

static gboolean job_set(VirtdiskJob *job, guint property, GVariant *value)
{
  g_autoptr(GVariant) old = NULL;
  gboolean is_new;

  g_mutex_lock(&job->lock);
  is_new = job->values[property] == NULL || !g_variant_equal(job->values[property], value);
  if (is_new) {
    old = job->values[property];
    job->values[property] = g_variant_ref(value);
  }
  g_mutex_unlock(&job->lock);
  return is_new;
}

static gboolean job_store(VirtdiskJob *job, GVariant *properties, gboolean *changed)
{
  gboolean any = FALSE;

  for (guint i = 1; i < N_MIRRORED; i++) {
    g_autoptr(GVariant) value =
        g_variant_lookup_value(properties, mirrored[i].bus_name, G_VARIANT_TYPE(mirrored[i].type));

    if (value != NULL)
      any |= changed[i] = job_set(job, i, value);
  }
  return any;
}

/* Inside a blocking call the default context is another one: handlers of the program must not start calls in
 * it. */
static void change_notify(Change *change)
{
  g_autoptr(GMainContext) here = g_main_context_ref_thread_default();
  GMainContext *context = change->job->context;
  g_autoptr(GSource) source = NULL;

  if (here == context && g_main_context_is_owner(context)) {
    on_changed(change);
    change_free(change);
    return;
  }
  source = g_idle_source_new();
  g_source_set_priority(source, G_PRIORITY_DEFAULT);
  g_source_set_callback(source, on_changed, change, change_free);
  g_source_attach(source, context);
}

void vd_job_update(VirtdiskJob *job, GVariant *properties)
{
  Change *change = g_new0(Change, 1);

  change->job = g_object_ref(job);
  if (job_store(job, properties, change->changed))
    change_notify(change);
  else
    change_free(change);
}

void vd_job_set_ended(VirtdiskJob *job, GVariant *results, const GError *error)
{
  gboolean known = error != NULL && error->domain == VIRTDISK_ERROR;
  gboolean cancelled = known && error->code == VIRTDISK_ERROR_OPERATION_ABORTED;
  const char *state = error == NULL ? "done" : cancelled ? "cancelled" : "failed";
  const char *name = known ? virtdisk_error_to_dbus_name((VirtdiskError)error->code) : "";
  g_autoptr(GVariant) ended = g_variant_ref_sink(
      g_variant_new_parsed("{'State': <%s>, 'ErrorName': <%s>, 'ErrorMessage': <%s>, 'Cancelable': <false>}",
                           state, name, error != NULL ? error->message : ""));

  if (results != NULL) {
    g_autoptr(GVariant) old = NULL;

    g_mutex_lock(&job->lock);
    old = job->results;
    job->results = g_variant_ref(results);
    if (old == NULL)
      g_variant_lookup(results, "handle", "o", &job->handle);
    g_mutex_unlock(&job->lock);
  }
  vd_job_update(job, ended);
}

VirtdiskJob *vd_job_new(VirtdiskClient *client, const char *object_path, GMainContext *context)
{
  VirtdiskJob *job = g_object_new(VIRTDISK_TYPE_JOB, NULL);

  job->client = g_object_ref(client);
  job->object_path = g_strdup(object_path);
  job->context = g_main_context_ref(context);
  return job;
}

/* ---- the type ---- */

static void virtdisk_job_finalize(GObject *object)
{
  VirtdiskJob *job = VIRTDISK_JOB(object);

  for (guint i = 0; i < N_MIRRORED; i++)
    g_clear_pointer(&job->values[i], g_variant_unref);
  if (job->handle != NULL)
    vd_handle_close_path(job->client, job->handle);
  g_clear_pointer(&job->results, g_variant_unref);
  g_clear_pointer(&job->context, g_main_context_unref);
  g_clear_object(&job->client);
  g_free(job->handle);
  g_free(job->object_path);
  g_mutex_clear(&job->lock);
  G_OBJECT_CLASS(virtdisk_job_parent_class)->finalize(object);
}

static GParamSpec *spec_new(const char *name, const char *type)
{
  GParamFlags flags = G_PARAM_READABLE | G_PARAM_EXPLICIT_NOTIFY | G_PARAM_STATIC_STRINGS;

  switch (type[0]) {
  case 's':
    return g_param_spec_string(name, NULL, NULL, "", flags);
  case 'u':
    return g_param_spec_uint(name, NULL, NULL, 0, G_MAXUINT, 0, flags);
  case 't':
    return g_param_spec_uint64(name, NULL, NULL, 0, G_MAXUINT64, 0, flags);
  case 'd':
    return g_param_spec_double(name, NULL, NULL, -G_MAXDOUBLE, G_MAXDOUBLE, 0, flags);
  default:
    return g_param_spec_boolean(name, NULL, NULL, FALSE, flags);
  }
}

static void virtdisk_job_class_init(VirtdiskJobClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS(klass);

  object_class->get_property = virtdisk_job_get_property;
  object_class->finalize = virtdisk_job_finalize;
  for (guint i = 1; i < N_MIRRORED; i++)
    specs[i] = spec_new(mirrored[i].name, mirrored[i].type);
  specs[PROP_OBJECT_PATH] = spec_new("object-path", "s");
  g_object_class_install_properties(object_class, N_PROPS, specs);
}

static void virtdisk_job_init(VirtdiskJob *job)
{
  g_mutex_init(&job->lock);
}

/* ---- getters ---- */

VirtdiskClient *virtdisk_job_get_client(VirtdiskJob *job)
{
  return job->client;
}

const char *virtdisk_job_get_object_path(VirtdiskJob *job)
{
  return job->object_path;
}

const char *virtdisk_job_get_operation(VirtdiskJob *job)
{
  return job_string(job, PROP_OPERATION);
}

const char *virtdisk_job_get_path(VirtdiskJob *job)
{
  return job_string(job, PROP_PATH);
}

guint virtdisk_job_get_owner_uid(VirtdiskJob *job)
{
  g_autoptr(GVariant) value = job_dup(job, PROP_OWNER_UID);

  return value != NULL ? g_variant_get_uint32(value) : 0;
}

gdouble virtdisk_job_get_progress(VirtdiskJob *job)
{
  g_autoptr(GVariant) value = job_dup(job, PROP_PROGRESS);
  gboolean valid = value != NULL && job_boolean(job, PROP_PROGRESS_VALID);

  return valid ? CLAMP(g_variant_get_double(value), 0.0, 1.0) : -1;
}

guint64 virtdisk_job_get_bytes(VirtdiskJob *job)
{
  return job_uint64(job, PROP_BYTES);
}

guint64 virtdisk_job_get_rate(VirtdiskJob *job)
{
  return job_uint64(job, PROP_RATE);
}

guint64 virtdisk_job_get_start_time(VirtdiskJob *job)
{
  return job_uint64(job, PROP_START_TIME);
}

guint64 virtdisk_job_get_expected_end_time(VirtdiskJob *job)
{
  return job_uint64(job, PROP_EXPECTED_END_TIME);
}

gboolean virtdisk_job_get_cancelable(VirtdiskJob *job)
{
  return job_boolean(job, PROP_CANCELABLE);
}

const char *virtdisk_job_get_state(VirtdiskJob *job)
{
  return job_string(job, PROP_STATE);
}

gboolean virtdisk_job_get_detached(VirtdiskJob *job)
{
  return job_boolean(job, PROP_DETACHED);
}

GError *virtdisk_job_get_error(VirtdiskJob *job)
{
  g_autoptr(GVariant) name = job_dup(job, PROP_ERROR_NAME);
  g_autoptr(GVariant) message = job_dup(job, PROP_ERROR_MESSAGE);
  GError *error = NULL;

  if (name == NULL || *g_variant_get_string(name, NULL) == '\0')
    return NULL;
  virtdisk_error_quark();
  vd_error_translate(g_dbus_error_new_for_dbus_error(g_variant_get_string(name, NULL),
                                                     message != NULL ? g_variant_get_string(message, NULL)
                                                                     : "The job failed"),
                     VIRTDISK_ERROR_INTERNAL, &error);
  return error;
}

GVariant *virtdisk_job_get_results(VirtdiskJob *job)
{
  GVariant *results;

  g_mutex_lock(&job->lock);
  results = job->results != NULL ? g_variant_ref(job->results) : NULL;
  g_mutex_unlock(&job->lock);
  return results;
}

VirtdiskHandle *virtdisk_job_steal_handle(VirtdiskJob *job)
{
  g_autofree char *object_path = NULL;

  g_mutex_lock(&job->lock);
  object_path = g_steal_pointer(&job->handle);
  g_mutex_unlock(&job->lock);
  return object_path != NULL ? vd_handle_new(job->client, object_path) : NULL;
}

/* ---- Cancel and Release ---- */

void vd_job_cancel_later(VirtdiskJob *job)
{
  g_dbus_connection_call(virtdisk_client_get_connection(job->client), VD_BUS_NAME, job->object_path,
                         VD_IFACE_JOB, "Cancel", g_variant_new("(a{sv})", NULL), NULL,
                         G_DBUS_CALL_FLAGS_NO_AUTO_START, -1, NULL, NULL, NULL);
}

static void job_call(VirtdiskJob *job, gpointer tag, const char *method, GCancellable *cancellable,
                     GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new(job, cancellable, callback, user_data);
  VdCall call = {.object_path = job->object_path,
                 .interface_name = VD_IFACE_JOB,
                 .method = method,
                 .arguments = g_variant_new("(a{sv})", NULL),
                 .reply = "()",
                 .patience = VD_CALL_MAY_ASK,
                 .missing = VIRTDISK_ERROR_NOT_FOUND};

  g_task_set_source_tag(task, tag);
  vd_call_for_task(task, job->client, &call);
}

void virtdisk_job_cancel_async(VirtdiskJob *job, GCancellable *cancellable, GAsyncReadyCallback callback,
                               gpointer user_data)
{
  job_call(job, virtdisk_job_cancel_async, "Cancel", cancellable, callback, user_data);
}

gboolean virtdisk_job_cancel_finish(VirtdiskJob *job, GAsyncResult *result, GError **error)
{
  g_autoptr(GVariant) reply = g_task_propagate_pointer(G_TASK(result), error);

  return reply != NULL;
}

gboolean virtdisk_job_cancel(VirtdiskJob *job, GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_job_cancel_async(job, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_job_cancel_finish(job, result, error);
}

void virtdisk_job_release_async(VirtdiskJob *job, GCancellable *cancellable, GAsyncReadyCallback callback,
                                gpointer user_data)
{
  job_call(job, virtdisk_job_release_async, "Release", cancellable, callback, user_data);
}

gboolean virtdisk_job_release_finish(VirtdiskJob *job, GAsyncResult *result, GError **error)
{
  return virtdisk_job_cancel_finish(job, result, error);
}

gboolean virtdisk_job_release(VirtdiskJob *job, GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_job_release_async(job, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_job_release_finish(job, result, error);
}
