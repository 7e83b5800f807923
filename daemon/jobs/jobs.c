/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of jobs: those that run, and for a while those that have ended. */
#include <string.h>

#include "jobs/jobs-private.h"
#include "jobs/record.h"
#include "virtdisk-error.h"

struct _VdJobs {
  GObject parent;
  char *rundir;
  GHashTable *jobs; /* id -> VdJob* (owned) */
};

G_DEFINE_FINAL_TYPE(VdJobs, vd_jobs, G_TYPE_OBJECT)

static guint signals[VD_N_JOB_SIGNALS];

static void drop(gpointer data)
{
  VdJob *job = data;

  job->jobs = NULL;
  g_clear_handle_id(&job->keep_source, g_source_remove);
  g_object_unref(job);
}

static void vd_jobs_finalize(GObject *object)
{
  VdJobs *self = VD_JOBS(object);

  g_hash_table_unref(self->jobs);
  g_free(self->rundir);
  G_OBJECT_CLASS(vd_jobs_parent_class)->finalize(object);
}

static void vd_jobs_class_init(VdJobsClass *klass)
{
  static const char *const names[VD_N_JOB_SIGNALS] = {"job-added", "job-changed", "job-ended", "job-removed"};

  G_OBJECT_CLASS(klass)->finalize = vd_jobs_finalize;
  for (guint i = 0; i < VD_N_JOB_SIGNALS; i++)
    signals[i] = g_signal_new(names[i], G_TYPE_FROM_CLASS(klass), G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                              G_TYPE_NONE, 1, VD_TYPE_JOB);
}

static void vd_jobs_init(VdJobs *self)
{
  self->jobs = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, drop);
}

VdJobs *vd_jobs_new(const char *rundir)
{
  VdJobs *self = g_object_new(VD_TYPE_JOBS, NULL);

  self->rundir = g_strdup(rundir);
  return self;
}

void vd_jobs_emit(VdJob *job, guint signal)
{
  if (job->jobs != NULL)
    g_signal_emit(job->jobs, signals[signal], 0, job);
}

VdJob *vd_jobs_find(VdJobs *self, const char *id)
{
  return g_hash_table_lookup(self->jobs, id);
}

GPtrArray *vd_jobs_list(VdJobs *self)
{
  GPtrArray *list = g_ptr_array_new();
  GHashTableIter iter;
  gpointer value;

  g_hash_table_iter_init(&iter, self->jobs);
  while (g_hash_table_iter_next(&iter, NULL, &value))
    g_ptr_array_add(list, value);
  return list;
}

static void insert(VdJobs *self, VdJob *job)
{
  job->jobs = self;
  g_hash_table_replace(self->jobs, job->id, g_object_ref(job));
  vd_jobs_emit(job, VD_SIGNAL_JOB_ADDED);
}

static void forget(VdJob *job)
{
  g_autoptr(VdJob) alive = g_object_ref(job);
  VdJobs *self = job->jobs;

  if (self == NULL)
    return;
  vd_jobs_emit(job, VD_SIGNAL_JOB_REMOVED);
  g_hash_table_remove(self->jobs, job->id);
}

void vd_job_release(VdJob *self)
{
  if (self->state != VD_JOB_RUNNING)
    forget(self);
}

/* Ended ones */

static gboolean on_kept(gpointer user_data)
{
  VdJob *job = user_data;

  job->keep_source = 0;
  forget(job);
  return G_SOURCE_REMOVE;
}

/* The oldest of those of one user that have ended, if there are too many. */
static VdJob *find_superfluous(VdJobs *self, uid_t uid)
{
  g_autoptr(GPtrArray) list = vd_jobs_list(self);
  VdJob *oldest = NULL;
  guint n = 0;

  for (guint i = 0; i < list->len; i++) {
    VdJob *job = g_ptr_array_index(list, i);

    if (job->uid != uid || job->state == VD_JOB_RUNNING)
      continue;
    n++;
    if (oldest == NULL || job->started < oldest->started)
      oldest = job;
  }
  return n > VD_JOB_MAX_KEPT ? oldest : NULL;
}

void vd_jobs_keep(VdJob *job)
{
  VdJob *superfluous;

  if (job->jobs == NULL)
    return;
  if (job->record != NULL)
    vd_job_record_remove(job->jobs->rundir, job->record);
  vd_jobs_emit(job, VD_SIGNAL_JOB_ENDED);
  job->keep_source = g_timeout_add_seconds(VD_JOB_KEEP_SECONDS, on_kept, job);
  superfluous = find_superfluous(job->jobs, job->uid);
  if (superfluous != NULL)
    forget(superfluous);
}

/* Begin */

static char *random_hex(void)
{
  return g_strdup_printf("%08x%08x", g_random_int(), g_random_int());
}

/* NULL: the word is none, or a job that runs has it. */
static char *choose_id(VdJobs *self, const VdJobSpec *spec, GError **error)
{
  g_autofree char *id = NULL;
  VdJob *other;

  if (spec->token == NULL)
    return random_hex();
  if (!vd_job_token_is_valid(spec->token)) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                "job is not a word of 1 to %d characters a-z, 0-9 and _", VD_JOB_MAX_TOKEN);
    return NULL;
  }
  id = g_strdup_printf("%u_%s", (guint)spec->owner->uid, spec->token);
  other = vd_jobs_find(self, id);
  if (other != NULL && other->state == VD_JOB_RUNNING) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "a job called %s runs already",
                spec->token);
    return NULL;
  }
  if (other != NULL)
    forget(other);
  return g_steal_pointer(&id);
}

VdJob *vd_job_begin(VdJobs *jobs, const VdJobSpec *spec, GError **error)
{
  char *id = choose_id(jobs, spec, error);
  g_autoptr(VdJob) job = NULL;
  VdJobRecord record;

  if (id == NULL) {
    if (spec->charge != NULL)
      spec->free_charge(spec->charge);
    return NULL;
  }
  job = vd_job_new(id, spec->operation, spec->path, spec->owner->uid);
  job->bus_name = g_strdup(spec->owner->bus_name);
  job->detached = spec->detached;
  job->charge = spec->charge;
  job->free_charge = spec->free_charge;
  job->record = random_hex();
  record = (VdJobRecord){job->id, job->operation, job->path, job->uid, job->detached, job->started};
  if (!vd_job_record_save(jobs->rundir, job->record, &record, error))
    return NULL;
  insert(jobs, job);
  return g_steal_pointer(&job);
}

/* Ends from outside */

void vd_jobs_owner_gone(VdJobs *self, const char *bus_name)
{
  g_autoptr(GPtrArray) list = vd_jobs_list(self);

  for (guint i = 0; i < list->len; i++)
    g_object_ref(g_ptr_array_index(list, i));
  g_ptr_array_set_free_func(list, g_object_unref);
  for (guint i = 0; i < list->len; i++) {
    VdJob *job = g_ptr_array_index(list, i);

    if (!job->detached && g_strcmp0(job->bus_name, bus_name) == 0)
      vd_job_cancel(job);
  }
}

static gboolean is_element(const char *id)
{
  return id[0] != '\0' && id[strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

/* The workers of a service that is gone have seen its line close, and ended. */
void vd_jobs_restore(VdJobs *self)
{
  g_autoptr(GPtrArray) records = vd_job_records_take(self->rundir);

  for (guint i = 0; i < records->len; i++) {
    VdJobRecord *record = g_ptr_array_index(records, i);
    g_autoptr(VdJob) job = NULL;

    if (record->operation >= VD_N_JOB_OPERATIONS || record->uid == VD_UID_INVALID ||
        !is_element(record->id) || vd_jobs_find(self, record->id) != NULL)
      continue;
    job = vd_job_new(g_steal_pointer(&record->id), (VdJobOperation)record->operation, record->path,
                     record->uid);
    job->detached = record->detached;
    job->started = record->started;
    insert(self, job);
    vd_job_end(job, NULL,
               g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED,
                                   "the service was restarted; the operation can be started again"));
  }
}
