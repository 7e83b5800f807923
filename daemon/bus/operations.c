/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The methods of handles that have a job: unpack, check, begin, answer. */
#include "bus/operations.h"

#include "names.h"
#include "worker/serve-protocol.h"

VdJob *vd_call_begin_job(VdCall *call, VdJobOperation operation, const char *path, GError **error)
{
  VdJobSpec spec = {.operation = operation,
                    .path = path,
                    .owner = call->identity,
                    .token = call->job_options.token,
                    .detached = call->job_options.detached,
                    .free_charge = (GDestroyNotify)vd_charge_free};

  /* Nobody would ever cancel it. */
  if (g_cancellable_is_cancelled(call->cancellable) && !spec.detached) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED, "the caller has gone");
    return NULL;
  }
  spec.charge = vd_quota_charge(call->service->quota, call->identity->uid, VD_QUOTA_JOBS, error);
  return spec.charge != NULL ? vd_job_begin(vd_manager_get_jobs(call->service->manager), &spec, error) : NULL;
}

/* Takes job's reference. */
static void on_worked(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(VdJob) job = user_data;
  VdJobResults results = {0};
  GError *error = NULL;
  g_autoptr(VdOperationResult) got = vd_manager_operate_finish(VD_MANAGER(source), result, &error);

  if (got != NULL) {
    results.new_size = got->size;
    results.copied = got->copied;
    results.given_back = got->given_back;
    results.fell_back = got->fell_back;
    g_strlcpy(results.note, got->note, sizeof results.note);
  }
  vd_job_end(job, &results, error);
}

static void begin(VdCall *call, VdJobOperation word)
{
  VdManager *manager = call->service->manager;
  g_autoptr(VdJob) job = NULL;
  GError *error = NULL;

  if (vd_manager_may_operate(manager, call->handle, &call->operation, &error))
    job = vd_call_begin_job(call, word, call->disk->path, &error);
  if (job == NULL) {
    vd_call_fail(call, error);
    return;
  }
  g_set_object(&call->handle->job, job);
  vd_manager_operate_async(manager, call->identity, call->handle, &call->operation, job, job->cancellable,
                           on_worked, g_object_ref(job));
  vd_call_return_job(call, job, NULL);
}

static gboolean check_version(VdCall *call, guint32 highest, GError **error)
{
  if (call->option.version >= 1 && call->option.version <= highest)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "version %u is not 1%s",
              call->option.version, highest > 1 ? " or 2" : "");
  return FALSE;
}

static gboolean check_flags(guint32 flags, guint32 known, GError **error)
{
  if ((flags & ~known) == 0)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "unknown flags 0x%08x",
              flags & ~known);
  return FALSE;
}

/* CompactVirtualDisk */

static const VdOption compact_options[] = {
    VD_OPTION(VdCall, "version", U32, option.version),
    VD_OPTION(VdCall, "reserved", U32, option.reserved),
    VD_OPTION(VdCall, "file-systems", BOOL, option.file_systems),
    VD_JOB_OPTIONS,
};

static gboolean check_reserved(VdCall *call, GError **error)
{
  if (call->option.reserved == 0)
    return TRUE;
  g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "reserved must be 0");
  return FALSE;
}

static void perform_compact(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  guint32 flags;
  GError *error = NULL;

  call->option.version = 1;
  g_variant_get(call->parameters, "(u@a{sv})", &flags, &options);
  if (!vd_options_parse(options, compact_options, G_N_ELEMENTS(compact_options), call, call->arena, &error) ||
      !check_version(call, 1, &error) || !check_reserved(call, &error) ||
      !check_flags(flags, VIRTDISK_COMPACT_ALL_FLAGS, &error)) {
    vd_call_fail(call, error);
    return;
  }
  call->operation.kind = VD_OPERATION_COMPACT;
  call->operation.flags = ((flags & VIRTDISK_COMPACT_NO_ZERO_SCAN) != 0 ? VD_COMPACT_NO_ZERO_SCAN : 0) |
                          ((flags & VIRTDISK_COMPACT_NO_BLOCK_MOVES) != 0 ? VD_COMPACT_NO_BLOCK_MOVES : 0) |
                          (call->option.file_systems ? VD_COMPACT_FILE_SYSTEMS : 0);
  begin(call, VD_JOB_COMPACT);
}

/* ExpandVirtualDisk, ResizeVirtualDisk */

static const VdOption resize_options[] = {
    VD_OPTION(VdCall, "version", U32, option.version),
    VD_JOB_OPTIONS,
};

static void resize(VdCall *call, VdOperationKind kind, guint32 known_flags, VdJobOperation word)
{
  g_autoptr(GVariant) options = NULL;
  GError *error = NULL;

  call->option.version = 1;
  call->operation.kind = kind;
  g_variant_get(call->parameters, "(ut@a{sv})", &call->operation.flags, &call->operation.new_size, &options);
  if (vd_options_parse(options, resize_options, G_N_ELEMENTS(resize_options), call, call->arena, &error) &&
      check_version(call, 1, &error) && check_flags(call->operation.flags, known_flags, &error))
    begin(call, word);
  else
    vd_call_fail(call, error);
}

static void perform_expand(VdCall *call)
{
  resize(call, VD_OPERATION_EXPAND, VIRTDISK_EXPAND_NOTIFY_CHANGE, VD_JOB_EXPAND);
}

static void perform_resize(VdCall *call)
{
  resize(call, VD_OPERATION_RESIZE, VIRTDISK_RESIZE_ALL_FLAGS, VD_JOB_RESIZE);
}

/* MergeVirtualDisk */

static const VdOption merge_options[] = {
    VD_OPTION(VdCall, "version", U32, option.version),
    VD_OPTION_HAS(VdCall, "merge-depth", U32, merge.depth, merge.has_depth),
    VD_OPTION_HAS(VdCall, "merge-source-depth", U32, operation.source_depth, merge.has_source),
    VD_OPTION_HAS(VdCall, "merge-target-depth", U32, operation.target_depth, merge.has_target),
    VD_JOB_OPTIONS,
};

/* MERGE_VIRTUAL_DISK_DEFAULT_MERGE_DEPTH */
#define DEFAULT_MERGE_DEPTH 1

static gboolean resolve_merge(VdCall *call, GError **error)
{
  VdOperation *op = &call->operation;
  const char *wrong = NULL;

  if (call->option.version == 1) {
    guint32 depth = call->merge.has_depth ? call->merge.depth : DEFAULT_MERGE_DEPTH;

    if (call->merge.has_source || call->merge.has_target)
      wrong = "merge-source-depth and merge-target-depth belong to version 2";
    else if (depth < 1 || depth >= VD_CHAIN_MAX_DEPTH)
      wrong = "merge-depth is not 1 to 127";
    op->source_depth = 1;
    op->target_depth = depth + 1;
  } else if (call->merge.has_depth) {
    wrong = "merge-depth belongs to version 1";
  } else if (!call->merge.has_source || !call->merge.has_target) {
    wrong = "version 2 needs merge-source-depth and merge-target-depth";
  }
  op->version = call->option.version;
  if (wrong != NULL)
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, wrong);
  return wrong == NULL;
}

static void perform_merge(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  guint32 flags;
  GError *error = NULL;

  call->option.version = 1;
  call->operation.kind = VD_OPERATION_MERGE;
  g_variant_get(call->parameters, "(u@a{sv})", &flags, &options);
  if (vd_options_parse(options, merge_options, G_N_ELEMENTS(merge_options), call, call->arena, &error) &&
      check_version(call, 2, &error) && check_flags(flags, 0, &error) && resolve_merge(call, &error))
    begin(call, VD_JOB_MERGE);
  else
    vd_call_fail(call, error);
}

/* MirrorVirtualDisk, BreakMirrorVirtualDisk */

static const VdOption mirror_options[] = {VD_JOB_OPTIONS};

static void perform_mirror(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  GError *error = NULL;

  call->operation.kind = VD_OPERATION_MIRROR;
  g_variant_get(call->parameters, "(u&su@a{sv})", &call->option.version, &call->operation.path,
                &call->operation.flags, &options);
  if (vd_options_parse(options, mirror_options, G_N_ELEMENTS(mirror_options), call, call->arena, &error) &&
      check_version(call, 1, &error) && check_flags(call->operation.flags, VIRTDISK_MIRROR_ALL_FLAGS, &error))
    begin(call, VD_JOB_MIRROR);
  else
    vd_call_fail(call, error);
}

static void on_mirror_broken(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;

  if (vd_manager_break_mirror_finish(VD_MANAGER(source), result, &error))
    vd_call_return(call, NULL);
  else
    vd_call_fail(call, error);
}

static void perform_break_mirror(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  guint32 flags;
  GError *error = NULL;

  g_variant_get(call->parameters, "(u@a{sv})", &flags, &options);
  if (vd_options_parse(options, NULL, 0, call, call->arena, &error) && check_flags(flags, 0, &error))
    vd_manager_break_mirror_async(call->service->manager, call->handle, on_mirror_broken, call);
  else
    vd_call_fail(call, error);
}

/* GetVirtualDiskOperationProgress */

/* ERROR_IO_PENDING */
#define WIN32_PENDING 997

static guint32 status_of(const VdJob *job)
{
  g_autofree char *text = NULL;
  VirtdiskError code;

  if (job->state == VD_JOB_RUNNING)
    return WIN32_PENDING;
  if (job->error == NULL)
    return 0;
  text = vd_call_describe_error(job->error, &code);
  return virtdisk_error_to_win32(code);
}

static void perform_get_progress(VdCall *call)
{
  g_autoptr(GVariant) options = g_variant_get_child_value(call->parameters, 0);
  const VdJob *job = call->handle->job;
  GError *error = NULL;

  if (!vd_options_parse(options, NULL, 0, call, call->arena, &error))
    vd_call_fail(call, error);
  else if (job == NULL)
    vd_call_fail(call, g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND, "no operation was begun on %s",
                                   call->disk->display));
  else
    vd_call_return(call, g_variant_new("(utt)", status_of(job), job->progress.current,
                                       MAX(job->progress.completion, 1)));
}

const VdMethod vd_operation_methods[] = {
    {VD_IFACE_HANDLE, "CompactVirtualDisk", NULL, perform_compact},
    {VD_IFACE_HANDLE, "ExpandVirtualDisk", NULL, perform_expand},
    {VD_IFACE_HANDLE, "ResizeVirtualDisk", NULL, perform_resize},
    {VD_IFACE_HANDLE, "MergeVirtualDisk", NULL, perform_merge},
    {VD_IFACE_HANDLE, "MirrorVirtualDisk", NULL, perform_mirror},
    {VD_IFACE_HANDLE, "BreakMirrorVirtualDisk", NULL, perform_break_mirror},
    {VD_IFACE_HANDLE, "GetVirtualDiskOperationProgress", NULL, perform_get_progress},
    {NULL},
};
