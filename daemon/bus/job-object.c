/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/job-object.h"

#include "bus/gated.h"
#include "bus/operations.h"
#include "names.h"
#include "vd-dbus.h"

char *vd_bus_job_path(const VdJob *job)
{
  return g_strconcat(VD_JOB_PATH_PREFIX, job->id, NULL);
}

/* Properties */

static guint64 expected_end(const VdJob *job)
{
  gint64 left = vd_progress_left(&job->progress);

  return job->state == VD_JOB_RUNNING && left >= 0 ? (guint64)(g_get_real_time() + left) : 0;
}

static void set_progress(VdDBusJob *object, const VdJob *job)
{
  gboolean bytes = vd_job_counts_bytes(job);

  vd_dbus_job_set_progress(object, vd_progress_fraction(&job->progress));
  vd_dbus_job_set_progress_valid(object, job->progress.is_valid);
  vd_dbus_job_set_bytes(object, bytes ? job->progress.completion : 0);
  vd_dbus_job_set_rate(object, bytes ? (guint64)job->progress.rate : 0);
  vd_dbus_job_set_expected_end_time(object, expected_end(job));
  vd_dbus_job_set_cancelable(object,
                             job->state == VD_JOB_RUNNING && !g_cancellable_is_cancelled(job->cancellable));
}

static void set_state(VdDBusJob *object, const VdJob *job)
{
  g_autofree char *text = NULL;
  VirtdiskError code;

  vd_dbus_job_set_state(object, vd_job_state_word(job->state));
  if (job->error == NULL)
    return;
  text = vd_call_describe_error(job->error, &code);
  vd_dbus_job_set_error_name(object, virtdisk_error_to_dbus_name(code));
  vd_dbus_job_set_error_message(object, text);
}

static GDBusInterfaceSkeleton *interface_new(VdBusService *service, const VdJob *job)
{
  GDBusInterfaceSkeleton *skeleton = vd_gated_job_new(service);
  VdDBusJob *object = VD_DBUS_JOB(skeleton);

  vd_dbus_job_set_operation(object, vd_job_operation_word(job->operation));
  vd_dbus_job_set_path(object, job->display);
  vd_dbus_job_set_owner_uid(object, job->uid);
  vd_dbus_job_set_start_time(object, (guint64)job->started);
  vd_dbus_job_set_detached(object, job->detached);
  vd_dbus_job_set_error_name(object, "");
  vd_dbus_job_set_error_message(object, "");
  set_progress(object, job);
  set_state(object, job);
  return skeleton;
}

/* The objects */

static void on_job_added(VdJobs *jobs, VdJob *job, VdBusService *service)
{
  g_autofree char *path = vd_bus_job_path(job);
  g_autoptr(VdDBusObjectSkeleton) object = vd_dbus_object_skeleton_new(path);
  g_autoptr(GDBusInterfaceSkeleton) skeleton = interface_new(service, job);

  vd_dbus_object_skeleton_set_job(object, VD_DBUS_JOB(skeleton));
  g_dbus_object_manager_server_export(service->objects, G_DBUS_OBJECT_SKELETON(object));
}

static VdDBusJob *find_object(VdBusService *service, const VdJob *job)
{
  g_autofree char *path = vd_bus_job_path(job);
  g_autoptr(GDBusObject) object =
      g_dbus_object_manager_get_object(G_DBUS_OBJECT_MANAGER(service->objects), path);

  return object != NULL ? vd_dbus_object_get_job(VD_DBUS_OBJECT(object)) : NULL;
}

static void on_job_changed(VdJobs *jobs, VdJob *job, VdBusService *service)
{
  g_autoptr(VdDBusJob) object = find_object(service, job);

  if (object != NULL)
    set_progress(object, job);
}

/* Who sees Completed reads properties that say the same. */
static void on_job_ended(VdJobs *jobs, VdJob *job, VdBusService *service)
{
  g_autoptr(VdDBusJob) object = find_object(service, job);

  if (object == NULL)
    return;
  set_progress(object, job);
  set_state(object, job);
  g_dbus_interface_skeleton_flush(G_DBUS_INTERFACE_SKELETON(object));
  vd_dbus_job_emit_completed(object, job->state == VD_JOB_DONE, vd_dbus_job_get_error_name(object),
                             vd_dbus_job_get_error_message(object));
}

static void on_job_removed(VdJobs *jobs, VdJob *job, VdBusService *service)
{
  g_autofree char *path = vd_bus_job_path(job);

  g_dbus_object_manager_server_unexport(service->objects, path);
}

void vd_job_objects_connect(VdBusService *service)
{
  VdJobs *jobs = vd_manager_get_jobs(service->manager);
  g_autoptr(GPtrArray) list = vd_jobs_list(jobs);

  for (guint i = 0; i < list->len; i++)
    on_job_added(jobs, g_ptr_array_index(list, i), service);
  g_signal_connect(jobs, "job-added", G_CALLBACK(on_job_added), service);
  g_signal_connect(jobs, "job-changed", G_CALLBACK(on_job_changed), service);
  g_signal_connect(jobs, "job-ended", G_CALLBACK(on_job_ended), service);
  g_signal_connect(jobs, "job-removed", G_CALLBACK(on_job_removed), service);
}

void vd_job_objects_disconnect(VdBusService *service)
{
  g_signal_handlers_disconnect_by_data(vd_manager_get_jobs(service->manager), service);
}

/* Answers */

static void add(GVariantBuilder *b, const char *key, GVariant *value)
{
  g_variant_builder_add(b, "{sv}", key, value);
}

GVariant *vd_bus_job_results(const VdJob *job)
{
  const VdJobResults *results = &job->results;
  gboolean resized = job->operation == VD_JOB_EXPAND || job->operation == VD_JOB_RESIZE;
  GVariantBuilder b;

  g_variant_builder_init(&b, G_VARIANT_TYPE_VARDICT);
  if (results->handle != NULL) {
    g_autofree char *path = g_strconcat(VD_HANDLE_PATH_PREFIX, results->handle, NULL);

    add(&b, "handle", g_variant_new_object_path(path));
  }
  if (resized)
    add(&b, "new-size", g_variant_new_uint64(results->new_size));
  else if (job->operation != VD_JOB_CREATE)
    add(&b, "copied", g_variant_new_uint64(results->copied));
  if (job->operation == VD_JOB_COMPACT) {
    add(&b, "given-back", g_variant_new_uint64(results->given_back));
    add(&b, "fell-back", g_variant_new_uint32(results->fell_back));
  }
  if (results->note[0] != '\0')
    add(&b, "note", g_variant_new_string(results->note));
  return g_variant_builder_end(&b);
}

typedef struct {
  VdCall *call;
  VdJob *job;
  VdJobReply reply;
  gulong on_end, on_gone;
} Answer;

static void answer_free(Answer *answer)
{
  g_signal_handler_disconnect(answer->job, answer->on_end);
  g_signal_handler_disconnect(answer->call->cancellable, answer->on_gone);
  g_object_unref(answer->job);
  g_free(answer);
}

static void answer_now(VdCall *call, const VdJob *job, VdJobReply reply)
{
  g_autofree char *path = vd_bus_job_path(job);

  if (job->error != NULL)
    vd_call_fail(call, g_error_copy(job->error));
  else
    vd_call_return(call, reply != NULL ? reply(job) : g_variant_new("(o)", path));
}

static void on_answer_due(VdJob *job, Answer *answer)
{
  g_autoptr(VdJob) alive = g_object_ref(job);
  VdCall *call = answer->call;
  VdJobReply reply = answer->reply;

  answer_free(answer);
  answer_now(call, job, reply);
}

static void on_nobody_waits(GCancellable *cancellable, Answer *answer)
{
  VdCall *call = answer->call;

  answer_free(answer);
  vd_call_fail(call,
               g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED, "the caller has gone"));
}

static void answer_at_end(VdCall *call, VdJob *job, VdJobReply reply)
{
  Answer *answer;

  if (job->state != VD_JOB_RUNNING) {
    answer_now(call, job, reply);
    return;
  }
  answer = g_new0(Answer, 1);
  answer->call = call;
  answer->job = g_object_ref(job);
  answer->reply = reply;
  answer->on_end = g_signal_connect(job, "ended", G_CALLBACK(on_answer_due), answer);
  answer->on_gone = g_signal_connect(call->cancellable, "cancelled", G_CALLBACK(on_nobody_waits), answer);
}

void vd_call_return_job(VdCall *call, VdJob *job, VdJobReply reply)
{
  g_autofree char *path = vd_bus_job_path(job);

  if (call->job_options.async)
    vd_call_return(call, g_variant_new("(o)", path));
  else
    answer_at_end(call, job, reply);
}

/* Methods */

static gboolean no_options(VdCall *call, GError **error)
{
  g_autoptr(GVariant) options = g_variant_get_child_value(call->parameters, 0);

  return vd_options_parse(options, NULL, 0, call, call->arena, error);
}

static void examine_cancel(VdCall *call)
{
  GError *error = NULL;

  if (!no_options(call, &error)) {
    vd_call_fail(call, error);
    return;
  }
  if (call->job->uid != call->identity->uid) {
    call->ask.actions[0] = VD_ACTION_MANAGE_OTHERS;
    call->ask.path = call->job->display;
  }
  vd_call_examined(call);
}

static void perform_cancel(VdCall *call)
{
  vd_job_cancel(call->job);
  vd_call_return(call, NULL);
}

static GVariant *reply_results(const VdJob *job)
{
  return g_variant_new("(@a{sv})", vd_bus_job_results(job));
}

static void perform_wait(VdCall *call)
{
  g_autoptr(VdJob) job = g_object_ref(call->job);
  GError *error = NULL;

  if (no_options(call, &error))
    answer_at_end(call, job, reply_results);
  else
    vd_call_fail(call, error);
}

static void perform_release(VdCall *call)
{
  g_autoptr(VdJob) job = g_object_ref(call->job);
  GError *error = NULL;

  if (!no_options(call, &error)) {
    vd_call_fail(call, error);
    return;
  }
  if (job->state == VD_JOB_RUNNING) {
    vd_call_fail(call,
                 g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE, "the %s of %s has not ended",
                             vd_job_operation_word(job->operation), job->display));
    return;
  }
  vd_call_return(call, NULL);
  vd_job_release(job);
}

const VdMethod vd_job_methods[] = {
    {VD_IFACE_JOB, "Cancel", examine_cancel, perform_cancel},
    {VD_IFACE_JOB, "Wait", NULL, perform_wait},
    {VD_IFACE_JOB, "Release", NULL, perform_release},
    {NULL},
};
