/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the context menus offer besides opening: check, compact, a new disk. */
#include <sys/stat.h>

#include "work.h"

/* A new disk: large enough for most, and the file is small until it is filled. */
#define NEW_DISK_BYTES (G_GUINT64_CONSTANT(64) << 30)
#define NEW_DISK_NAME "New Disk"
/* Names tried beside each other in one folder. */
#define MAX_NAMES 1000

void vd_work_check(VirtdiskClient *client, VdOutcome *outcome)
{
  GError *error = NULL;
  g_autoptr(VirtdiskCheck) check =
      virtdisk_client_check_image(client, outcome->path, VIRTDISK_CHECK_NONE, NULL, NULL, &error);
  guint64 serious, minor;

  if (check == NULL) {
    vd_outcome_fail(outcome, error);
    return;
  }
  serious = virtdisk_check_get_count(check, VIRTDISK_FAULT_SERIOUS);
  minor = virtdisk_check_get_count(check, VIRTDISK_FAULT_MINOR) +
          virtdisk_check_get_count(check, VIRTDISK_FAULT_LEAK);
  outcome->reason =
      serious > 0 ? g_strdup_printf("Serious faults: %" G_GUINT64_FORMAT ", small faults: %" G_GUINT64_FORMAT,
                                    serious, minor)
                  : g_strdup_printf("Small faults: %" G_GUINT64_FORMAT, minor);
  outcome->saying = serious > 0 ? VD_SAYING_CHECK_SERIOUS
                    : minor > 0 ? VD_SAYING_CHECK_MINOR
                                : VD_SAYING_CHECK_GOOD;
}

static guint64 allocated_bytes(const char *path)
{
  struct stat st;

  return stat(path, &st) == 0 ? (guint64)st.st_blocks * 512 : 0;
}

static VirtdiskHandle *open_for_compacting(VirtdiskClient *client, const char *path, GError **error)
{
  g_autoptr(VirtdiskOpenParameters) parameters = virtdisk_open_parameters_new();

  virtdisk_open_parameters_set_version(parameters, 2);
  return virtdisk_client_open_virtual_disk(client, path, VIRTDISK_ACCESS_NONE, VIRTDISK_OPEN_NONE, parameters,
                                           NULL, error);
}

void vd_work_compact(VirtdiskClient *client, VdOutcome *outcome)
{
  GError *error = NULL;
  guint64 before = allocated_bytes(outcome->path), after;
  g_autoptr(VirtdiskHandle) handle = open_for_compacting(client, outcome->path, &error);
  g_autoptr(VirtdiskJob) job = NULL;

  if (handle != NULL)
    job = virtdisk_handle_compact_virtual_disk(handle, VIRTDISK_COMPACT_NONE, NULL, NULL, &error);
  if (job == NULL) {
    vd_outcome_fail(outcome, error);
    return;
  }
  after = allocated_bytes(outcome->path);
  outcome->reason = g_format_size(before > after ? before - after : 0);
  outcome->saying = VD_SAYING_COMPACTED;
}

static char *name_of_new(const char *folder, guint number)
{
  g_autofree char *name =
      number == 1 ? g_strdup(NEW_DISK_NAME ".vhdx") : g_strdup_printf(NEW_DISK_NAME " %u.vhdx", number);

  return g_build_filename(folder, name, NULL);
}

/* The service never takes the place of a file: the name that is free is found by trying. */
static gboolean create_at(VirtdiskClient *client, const char *path, GError **error)
{
  g_autoptr(VirtdiskHandle) handle = virtdisk_client_create_virtual_disk(
      client, path, VIRTDISK_ACCESS_ALL, VIRTDISK_CREATE_NONE, NEW_DISK_BYTES, NULL, NULL, error);

  return handle != NULL && virtdisk_handle_close(handle, NULL, error);
}

void vd_work_create(VirtdiskClient *client, VdOutcome *outcome)
{
  g_autofree char *folder = g_steal_pointer(&outcome->path);
  gboolean created = FALSE;
  GError *error = NULL;

  for (guint number = 1; number <= MAX_NAMES && !created; number++) {
    g_clear_error(&error);
    g_free(outcome->path);
    outcome->path = name_of_new(folder, number);
    created = create_at(client, outcome->path, &error);
    if (!created && !g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_EXISTS))
      break;
  }
  if (!created) {
    vd_outcome_fail(outcome, error);
    return;
  }
  outcome->reason = g_format_size_full(NEW_DISK_BYTES, G_FORMAT_SIZE_IEC_UNITS);
  outcome->saying = VD_SAYING_CREATED;
}
