/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An operation from its call to the end of its job. Cancelled before the service has answered, nothing is
 * waited for, and the job that may still come of it is cancelled when it comes; cancelled later, the job is
 * told to end and its end is waited for, so that who cancelled knows that the image is at rest. Who only
 * waits for a job cancels the waiting.
 */
#include "private.h"

#include "names.h"

typedef struct {
  GTask *task; /* NULL once returned */
  VirtdiskClient *client;
  VirtdiskJob *job;           /* NULL until the service has answered */
  const VdProgress *progress; /* or NULL; belongs to keep */
  gpointer keep;              /* or NULL */
  GSource *cancelled;         /* or NULL */
  GCancellable *only_waiting; /* of who only waits for a job: ends the calls, not the job; or NULL */
  VdWait *wait;               /* or NULL */
  guint subscription;         /* 0: none */
  VdRunHow how;
} Run;

static void run_free(Run *run)
{
  if (run->subscription != 0)
    g_dbus_connection_signal_unsubscribe(virtdisk_client_get_connection(run->client), run->subscription);
  if (run->cancelled != NULL)
    g_source_destroy(run->cancelled);
  g_clear_pointer(&run->cancelled, g_source_unref);
  g_clear_object(&run->job);
  g_clear_object(&run->keep);
  g_clear_object(&run->only_waiting);
  g_clear_object(&run->client);
  g_clear_object(&run->task);
  vd_wait_release(run->wait);
  g_free(run);
}

/* Takes @error. */
static void run_fail(Run *run, GError *error)
{
  if (run->task != NULL)
    g_task_return_error(run->task, error);
  else
    g_error_free(error);
  run_free(run);
}

static void run_succeed(Run *run)
{
  if (run->task != NULL)
    g_task_return_pointer(run->task, g_object_ref(run->job), g_object_unref);
  run_free(run);
}

static void tell(Run *run, GVariant *properties)
{
  vd_job_update(run->job, properties);
  if (run->progress != NULL && run->progress->func != NULL)
    run->progress->func(run->job, run->progress->data);
}

/* ---- the end ---- */

static void waited(GObject *connection, GAsyncResult *result, gpointer data)
{
  Run *run = data;
  GError *error = NULL;
  g_autoptr(GVariant) reply = vd_call_finish(connection, result, VIRTDISK_ERROR_NOT_FOUND, &error);

  if (reply != NULL) {
    g_autoptr(GVariant) results = g_variant_get_child_value(reply, 0);

    vd_job_set_ended(run->job, results, NULL);
    run_succeed(run);
    return;
  }
  /* A wait that was given up, or that came too late, tells nothing of the job. */
  if (error->domain == VIRTDISK_ERROR && error->code != VIRTDISK_ERROR_NOT_FOUND)
    vd_job_set_ended(run->job, NULL, error);
  if (g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED) && run->task != NULL &&
      g_cancellable_is_cancelled(g_task_get_cancellable(run->task))) {
    g_clear_error(&error);
    g_cancellable_set_error_if_cancelled(g_task_get_cancellable(run->task), &error);
  }
  run_fail(run, error);
}

static void run_wait(Run *run)
{
  VdCall call = {.object_path = virtdisk_job_get_object_path(run->job),
                 .interface_name = VD_IFACE_JOB,
                 .method = "Wait",
                 .arguments = g_variant_new("(a{sv})", NULL),
                 .reply = "(a{sv})",
                 .patience = VD_CALL_MAY_ASK,
                 .missing = VIRTDISK_ERROR_NOT_FOUND};

  vd_call(run->client, &call, run->only_waiting, waited, run);
}

/* ---- meanwhile ---- */

static void on_properties(GDBusConnection *connection, const char *sender, const char *object_path,
                          const char *interface_name, const char *signal_name, GVariant *parameters,
                          gpointer data)
{
  Run *run = data;
  g_autoptr(GVariant) changed = NULL;
  const char *interface;

  if (!g_variant_is_of_type(parameters, G_VARIANT_TYPE("(sa{sv}as)")))
    return;
  g_variant_get(parameters, "(&s@a{sv}as)", &interface, &changed, NULL);
  if (g_str_equal(interface, VD_IFACE_JOB))
    tell(run, changed);
}

/* A job that is gone already has no properties, but perhaps an answer. */
static void properties_read(GObject *connection, GAsyncResult *result, gpointer data)
{
  Run *run = data;
  g_autoptr(GVariant) reply = vd_call_finish(connection, result, VIRTDISK_ERROR_NOT_FOUND, NULL);

  if (reply != NULL) {
    g_autoptr(GVariant) properties = g_variant_get_child_value(reply, 0);

    tell(run, properties);
  }
  if (run->how == VD_RUN_TO_BEGIN)
    run_succeed(run);
  else
    run_wait(run);
}

static void run_follow(Run *run)
{
  VdCall call = {.object_path = virtdisk_job_get_object_path(run->job),
                 .interface_name = "org.freedesktop.DBus.Properties",
                 .method = "GetAll",
                 .arguments = g_variant_new("(s)", VD_IFACE_JOB),
                 .reply = "(a{sv})",
                 .missing = VIRTDISK_ERROR_NOT_FOUND};

  if (run->how == VD_RUN_TO_END)
    run->subscription = g_dbus_connection_signal_subscribe(
        virtdisk_client_get_connection(run->client), VD_BUS_NAME, "org.freedesktop.DBus.Properties",
        "PropertiesChanged", virtdisk_job_get_object_path(run->job), VD_IFACE_JOB, G_DBUS_SIGNAL_FLAGS_NONE,
        on_properties, run, NULL);
  vd_call(run->client, &call, run->only_waiting, properties_read, run);
}

/* ---- cancelling ---- */

static gboolean on_cancelled(GCancellable *cancellable, gpointer data)
{
  Run *run = data;

  if (run->job != NULL) {
    vd_job_cancel_later(run->job);
  } else {
    g_task_return_error_if_cancelled(run->task);
    g_clear_object(&run->task);
  }
  return G_SOURCE_REMOVE;
}

static Run *run_new(GTask *task, VirtdiskClient *client)
{
  Run *run = g_new0(Run, 1);

  g_task_set_check_cancellable(task, FALSE);
  run->task = task;
  run->client = g_object_ref(client);
  run->wait = vd_wait_hold();
  return run;
}

static void run_watch_cancellable(Run *run)
{
  GCancellable *cancellable = g_task_get_cancellable(run->task);

  if (cancellable == NULL)
    return;
  run->cancelled = g_cancellable_source_new(cancellable);
  g_source_set_callback(run->cancelled, G_SOURCE_FUNC(on_cancelled), run, NULL);
  g_source_attach(run->cancelled, g_task_get_context(run->task));
}

/* ---- the beginning ---- */

static void begun(GObject *connection, GAsyncResult *result, gpointer data)
{
  Run *run = data;
  GError *error = NULL;
  g_autoptr(GVariant) reply = vd_call_finish(connection, result, VIRTDISK_ERROR_INVALID_HANDLE, &error);
  const char *object_path;

  if (reply == NULL) {
    run_fail(run, error);
    return;
  }
  g_variant_get(reply, "(&o)", &object_path);
  run->job = vd_client_take_job(run->client, object_path, NULL);
  if (run->task != NULL) {
    run_follow(run);
    return;
  }
  vd_job_cancel_later(run->job);
  run_free(run);
}

static void run_keep(Run *run, const VdProgress *progress, gpointer keep)
{
  run->progress = progress;
  run->keep = keep != NULL ? g_object_ref(keep) : NULL;
}

void vd_run(GTask *task, VirtdiskClient *client, const VdCall *call, const VdProgress *progress,
            gpointer keep, VdRunHow how)
{
  Run *run;

  if (g_task_return_error_if_cancelled(task)) {
    g_variant_unref(g_variant_ref_sink(call->arguments));
    g_object_unref(task);
    return;
  }
  run = run_new(task, client);
  run->how = how;
  run_keep(run, progress, keep);
  run_watch_cancellable(run);
  vd_call(client, call, NULL, begun, run);
}

void virtdisk_job_wait_async(VirtdiskJob *job, VirtdiskOperationParameters *parameters,
                             GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new(job, cancellable, callback, user_data);
  Run *run = run_new(task, virtdisk_job_get_client(job));

  g_task_set_source_tag(task, virtdisk_job_wait_async);
  run->job = g_object_ref(job);
  if (cancellable != NULL)
    run->only_waiting = g_object_ref(cancellable);
  if (parameters != NULL)
    run_keep(run, vd_operation_get_progress(parameters), parameters);
  run_follow(run);
}

gboolean virtdisk_job_wait_finish(VirtdiskJob *job, GAsyncResult *result, GError **error)
{
  g_autoptr(VirtdiskJob) ended = g_task_propagate_pointer(G_TASK(result), error);

  return ended != NULL;
}

gboolean virtdisk_job_wait(VirtdiskJob *job, VirtdiskOperationParameters *parameters,
                           GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_job_wait_async(job, parameters, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_job_wait_finish(job, result, error);
}
