/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk jobs: what is under way, and what has ended a moment ago. */
#include "exit.h"
#include "operate.h"
#include "output.h"
#include "values.h"

static gboolean misuse(GError **error, const char *text)
{
  g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, text);
  return FALSE;
}

static void add_job(VdTable *table, VirtdiskJob *job)
{
  VdBarState state = vd_bar_state_of(job, g_get_real_time());
  gboolean running = g_str_equal(virtdisk_job_get_state(job), "running");
  g_autofree char *progress =
      state.progress >= 0 ? g_strdup_printf("%.1f%%", state.progress * 100) : g_strdup("-");
  g_autofree char *rate = state.rate > 0 ? vd_value_format_size(state.rate) : NULL;
  g_autofree char *per_second = rate != NULL ? g_strconcat(rate, "/s", NULL) : NULL;
  g_autofree char *left = running && state.seconds_left >= 0 ? vd_bar_format_time(state.seconds_left) : NULL;
  const char *cells[] = {
      vd_operate_job_name(job),  state.operation, virtdisk_job_get_state(job), progress, per_second, left,
      virtdisk_job_get_path(job)};

  vd_table_add(table, cells);
}

static void list(const VdCli *cli, GPtrArray *jobs)
{
  static const char *const columns[] = {"JOB",   "OPERATION", "STATE", "<PROGRESS",
                                        "<RATE", "<LEFT",     "IMAGE", NULL};
  g_autoptr(VdTable) table = vd_table_new(columns);

  if (jobs->len == 0 || cli->quiet)
    return;
  for (guint i = 0; i < jobs->len; i++)
    add_job(table, g_ptr_array_index(jobs, i));
  vd_table_print(table);
}

static void list_json(GPtrArray *jobs)
{
  JsonArray *array = json_array_new();

  for (guint i = 0; i < jobs->len; i++)
    json_array_add_object_element(array, vd_operate_job_to_json(g_ptr_array_index(jobs, i)));
  vd_output_json(json_node_init_array(json_node_alloc(), array), VD_JSON_PRETTY);
  json_array_unref(array);
}

/* name: the last part of the object path, or all of it. (transfer none) */
static VirtdiskJob *find_job(GPtrArray *jobs, const char *name, GError **error)
{
  g_autofree char *shown = vd_value_printable(name);

  for (guint i = 0; i < jobs->len; i++) {
    VirtdiskJob *job = g_ptr_array_index(jobs, i);

    if (g_str_equal(vd_operate_job_name(job), name) || g_str_equal(virtdisk_job_get_object_path(job), name))
      return job;
  }
  g_set_error(error, VD_EXIT_ERROR, VD_EXIT_NOT_FOUND, "There is no job %s", shown);
  return NULL;
}

/* Being interrupted ends the waiting, not the job: cancel is there for that. */
static gboolean wait_for(VdCli *cli, VirtdiskJob *job, GError **error)
{
  g_autoptr(VdBar) bar = vd_bar_new(cli);
  g_autoptr(VirtdiskOperationParameters) parameters = vd_operate_parameters(bar, VD_JOB_FOREGROUND);

  if (!virtdisk_job_wait(job, parameters, cli->cancellable, error))
    return FALSE;
  g_clear_pointer(&bar, vd_bar_free);
  vd_operate_show(cli, virtdisk_job_get_path(job), job);
  return TRUE;
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autoptr(GPtrArray) jobs = virtdisk_client_get_jobs(cli->client);
  const char *word = arguments[0];
  VirtdiskJob *job;

  if (word == NULL) {
    if (cli->json)
      list_json(jobs);
    else
      list(cli, jobs);
    return TRUE;
  }
  if ((!g_str_equal(word, "cancel") && !g_str_equal(word, "wait")) || arguments[1] == NULL)
    return misuse(error, "jobs takes nothing, cancel JOB or wait JOB");
  job = find_job(jobs, arguments[1], error);
  if (job == NULL)
    return FALSE;
  return g_str_equal(word, "wait") ? wait_for(cli, job, error)
                                   : virtdisk_job_cancel(job, cli->cancellable, error);
}

const VdVerb vd_verb_jobs = {
    .name = "jobs",
    .arguments = "[cancel|wait JOB]",
    .summary = "List what is under way, wait for it, cancel it",
    .min_arguments = 0,
    .max_arguments = 2,
    .run = run,
};
