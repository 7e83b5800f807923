/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "jobs/record.h"

#include <stddef.h>
#include <string.h>

#include "store/fields.h"
#include "store/record-file.h"
#include "util/cleanup.h"
#include "virtdisk-error.h"

#define FOLDER "jobs"
#define GROUP "Job"
#define FORMAT_VERSION 1
/* A path of PATH_MAX bytes, each percent-encoded, and the rest. */
#define RECORD_CEILING (16 * 1024)

typedef struct {
  guint32 version;
  VdJobRecord record;
} Document;

static const VdField fields[] = {
    VD_FIELD("Version", U32, Document, version),
    VD_FIELD("Id", BYTES, Document, record.id),
    VD_FIELD("Operation", U32, Document, record.operation),
    VD_FIELD("Path", BYTES, Document, record.path),
    VD_FIELD("Uid", U32, Document, record.uid),
    VD_FIELD("Detached", BOOLEAN, Document, record.detached),
    VD_FIELD("Started", S64, Document, record.started),
};

static void record_free(gpointer data)
{
  VdJobRecord *record = data;

  g_free(record->id);
  g_free(record->path);
  g_free(record);
}

gboolean vd_job_record_save(const char *rundir, const char *name, const VdJobRecord *record, GError **error)
{
  const Document document = {FORMAT_VERSION, *record};
  g_autoptr(GKeyFile) file = g_key_file_new();
  g_autofree char *text = NULL;
  vd_autofd folder = vd_record_folder_open(rundir, FOLDER, error);
  gsize length;

  if (folder < 0)
    return FALSE;
  vd_fields_save(file, GROUP, fields, G_N_ELEMENTS(fields), &document);
  text = g_key_file_to_data(file, &length, NULL);
  return vd_record_write(folder, name, text, length, VD_RECORD_VOLATILE, error);
}

void vd_job_record_remove(const char *rundir, const char *name)
{
  g_autoptr(GError) error = NULL;
  vd_autofd folder = vd_record_folder_open(rundir, FOLDER, &error);

  if (folder < 0 || !vd_record_unlink(folder, name, VD_RECORD_VOLATILE, &error))
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE",
                     "a job that has ended will be told as one that was interrupted: %s", error->message);
}

typedef struct {
  GPtrArray *records;
  GPtrArray *names;
} Load;

static gboolean load_record(const char *name, const char *text, gsize length, gpointer user_data,
                            GError **error)
{
  Load *load = user_data;
  g_autoptr(GKeyFile) file = g_key_file_new();
  Document document = {0};
  gboolean ok;

  if (!g_key_file_load_from_data(file, text, length, G_KEY_FILE_NONE, error))
    return FALSE;
  ok = vd_fields_load(file, GROUP, fields, G_N_ELEMENTS(fields), &document, error);
  g_ptr_array_add(load->names, g_strdup(name));
  if (ok && document.version == FORMAT_VERSION) {
    g_ptr_array_add(load->records, g_memdup2(&document.record, sizeof document.record));
    return TRUE;
  }
  g_free(document.record.id);
  g_free(document.record.path);
  if (ok)
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "its version is another");
  return FALSE;
}

GPtrArray *vd_job_records_take(const char *rundir)
{
  g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
  g_autoptr(GError) error = NULL;
  vd_autofd folder = vd_record_folder_open(rundir, FOLDER, &error);
  Load load = {g_ptr_array_new_with_free_func(record_free), names};

  if (folder < 0) {
    g_warning("No jobs of an earlier run: %s", error->message);
    return load.records;
  }
  vd_record_foreach(folder, RECORD_CEILING, VD_RECORD_REMOVE_BROKEN, load_record, &load);
  for (guint i = 0; i < names->len; i++)
    vd_record_unlink(folder, g_ptr_array_index(names, i), VD_RECORD_VOLATILE, NULL);
  return load.records;
}
