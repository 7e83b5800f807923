/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "jobs/job.h"

#include <string.h>

#include "jobs/jobs-private.h"
#include "util/display.h"
#include "virtdisk-error.h"

G_DEFINE_FINAL_TYPE(VdJob, vd_job, G_TYPE_OBJECT)

static guint ended_signal;

static void vd_job_finalize(GObject *object)
{
  VdJob *self = VD_JOB(object);

  g_clear_handle_id(&self->keep_source, g_source_remove);
  if (self->charge != NULL)
    self->free_charge(self->charge);
  g_clear_object(&self->cancellable);
  g_clear_error(&self->error);
  g_mutex_clear(&self->lock);
  g_free(self->results.handle);
  g_free(self->id);
  g_free(self->path);
  g_free(self->display);
  g_free(self->bus_name);
  g_free(self->record);
  G_OBJECT_CLASS(vd_job_parent_class)->finalize(object);
}

static void vd_job_class_init(VdJobClass *klass)
{
  G_OBJECT_CLASS(klass)->finalize = vd_job_finalize;
  ended_signal =
      g_signal_new("ended", G_TYPE_FROM_CLASS(klass), G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 0);
}

static void vd_job_init(VdJob *self)
{
  g_mutex_init(&self->lock);
  self->cancellable = g_cancellable_new();
}

const char *vd_job_operation_word(VdJobOperation operation)
{
  static const char *const words[VD_N_JOB_OPERATIONS] = {"create", "convert", "compact", "expand",
                                                         "resize", "merge",   "mirror"};

  return words[operation];
}

const char *vd_job_state_word(VdJobState state)
{
  static const char *const words[] = {"running", "done", "failed", "cancelled"};

  return words[state];
}

gboolean vd_job_counts_bytes(const VdJob *self)
{
  return self->operation != VD_JOB_EXPAND && self->operation != VD_JOB_RESIZE;
}

gboolean vd_job_token_is_valid(const char *token)
{
  gsize length = strlen(token);

  return length >= 1 && length <= VD_JOB_MAX_TOKEN &&
         strspn(token, "abcdefghijklmnopqrstuvwxyz0123456789_") == length;
}

VdJob *vd_job_new(char *id, VdJobOperation operation, const char *path, uid_t uid)
{
  VdJob *self = g_object_new(VD_TYPE_JOB, NULL);

  self->id = id;
  self->operation = operation;
  self->path = g_strdup(path);
  self->display = vd_path_to_display(path);
  self->uid = uid;
  self->started = g_get_real_time();
  vd_progress_start(&self->progress, g_get_monotonic_time());
  return self;
}

/* Progress */

/* Microseconds between two words to everybody on the bus, however much a worker talks. */
#define TELL_INTERVAL 250000

static gboolean on_told(gpointer user_data)
{
  VdJob *self = user_data;
  guint64 current, completion;

  g_mutex_lock(&self->lock);
  self->is_telling = FALSE;
  self->told_at = g_get_monotonic_time();
  current = self->told[0];
  completion = self->told[1];
  g_mutex_unlock(&self->lock);
  if (self->state != VD_JOB_RUNNING)
    return G_SOURCE_REMOVE;
  vd_progress_add(&self->progress, g_get_monotonic_time(), current, completion);
  vd_jobs_emit(self, VD_SIGNAL_JOB_CHANGED);
  return G_SOURCE_REMOVE;
}

void vd_job_tell(gpointer job, guint64 current, guint64 completion)
{
  VdJob *self = job;
  gboolean was_telling;
  gint64 wait;

  g_mutex_lock(&self->lock);
  self->told[0] = current;
  self->told[1] = completion;
  was_telling = self->is_telling;
  wait = self->told_at == 0 ? 0 : self->told_at + TELL_INTERVAL - g_get_monotonic_time();
  self->is_telling = TRUE;
  g_mutex_unlock(&self->lock);
  if (!was_telling)
    g_timeout_add_full(G_PRIORITY_DEFAULT, wait > 0 ? (guint)(wait / 1000) + 1 : 0, on_told,
                       g_object_ref(self), g_object_unref);
}

/* Ends */

static void log_end(const VdJob *self)
{
  g_autofree char *text = self->error != NULL ? vd_text_to_display(self->error->message) : NULL;

  g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_INFO, "MESSAGE", "%s of %s: %s%s%s",
                   vd_job_operation_word(self->operation), self->display, vd_job_state_word(self->state),
                   text != NULL ? ": " : "", text != NULL ? text : "");
}

static VdJobState state_of_end(const VdJob *self, const GError *error)
{
  if (error == NULL)
    return VD_JOB_DONE;
  return g_cancellable_is_cancelled(self->cancellable) &&
                 (g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED) ||
                  g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
             ? VD_JOB_CANCELLED
             : VD_JOB_FAILED;
}

void vd_job_end(VdJob *self, VdJobResults *results, GError *error)
{
  g_autoptr(VdJob) alive = g_object_ref(self);

  g_return_if_fail(self->state == VD_JOB_RUNNING);
  self->state = state_of_end(self, error);
  self->error = error;
  if (results != NULL) {
    self->results = *results;
    results->handle = NULL;
  }
  if (error == NULL) {
    self->progress.is_valid = TRUE;
    self->progress.completion = MAX(self->progress.completion, 1);
    self->progress.current = self->progress.completion;
  }
  if (self->charge != NULL)
    self->free_charge(g_steal_pointer(&self->charge));
  log_end(self);
  vd_jobs_keep(self);
  g_signal_emit(self, ended_signal, 0);
}

void vd_job_cancel(VdJob *self)
{
  if (self->state != VD_JOB_RUNNING || g_cancellable_is_cancelled(self->cancellable))
    return;
  g_cancellable_cancel(self->cancellable);
  vd_jobs_emit(self, VD_SIGNAL_JOB_CHANGED);
}
