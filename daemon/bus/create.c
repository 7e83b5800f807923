/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CreateVirtualDisk: unpack, call the core, answer. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "auth/opener-protocol.h"
#include "bus/operations.h"
#include "names.h"
#include "util/cleanup.h"
#include "util/display.h"

static const VdOption create_options[] = {
    VD_OPTION(VdCall, "device-id", U32, create.device_id),
    VD_OPTION(VdCall, "vendor-id", STRING, create.vendor),
    VD_OPTION(VdCall, "version", U32, create.version),
    VD_OPTION(VdCall, "provider-specific-flags", U32, create.provider_flags),
    VD_OPTION(VdCall, "unique-id", STRING, create.unique_id),
    VD_OPTION(VdCall, "block-size", U32, create.block_size),
    VD_OPTION(VdCall, "sector-size", U32, create.sector_size),
    VD_OPTION_HAS(VdCall, "physical-sector-size", U32, create.physical_sector_size,
                  create.has_physical_sector_size),
    VD_OPTION(VdCall, "parent-path", STRING, create.parent_path),
    VD_OPTION(VdCall, "source-path", STRING, create.source_path),
    VD_OPTION_HAS(VdCall, "parent-device-id", U32, create.parent_device_id, create.has_parent_type),
    VD_OPTION_HAS(VdCall, "parent-vendor-id", STRING, create.parent_vendor, create.has_parent_type),
    VD_OPTION_HAS(VdCall, "source-device-id", U32, create.source_device_id, create.has_source_type),
    VD_OPTION_HAS(VdCall, "source-vendor-id", STRING, create.source_vendor, create.has_source_type),
    VD_OPTION_HAS(VdCall, "open-flags", U32, create.open_flags, create.has_open_flags),
    VD_OPTION_HAS(VdCall, "resiliency-guid", STRING, create.resiliency_guid, create.has_resiliency_guid),
    VD_OPTION(VdCall, "verify", BOOL, create.verify),
    VD_OPTION_HAS(VdCall, "owner-uid", U32, create.owner_uid, create.has_owner_uid),
    VD_OPTION_HAS(VdCall, "owner-gid", U32, create.owner_gid, create.has_owner_gid),
    VD_OPTION_HAS(VdCall, "mode", U32, create.mode, create.has_mode),
    VD_JOB_OPTIONS,
};

static GVariant *reply_handle(const VdJob *job)
{
  g_autofree char *path = g_strconcat(VD_HANDLE_PATH_PREFIX, job->results.handle, NULL);

  return g_variant_new("(o)", path);
}

/* Without a job */

static void on_created(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;
  g_autoptr(VdHandle) handle = vd_manager_create_finish(VD_MANAGER(source), result, &error);
  g_autofree char *path = NULL;

  if (handle == NULL) {
    vd_call_fail(call, error);
    return;
  }
  path = g_strconcat(VD_HANDLE_PATH_PREFIX, handle->id, NULL);
  vd_call_return(call, g_variant_new("(o)", path));
}

/* With one */

typedef struct {
  VdBusService *service;
  VdJob *job;
  char *bus_name;
  VdJobResults results;
} Made;

static void made_free(Made *made)
{
  g_object_unref(made->job);
  g_free(made->bus_name);
  g_free(made);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Made, made_free)

static void on_orphan_closed(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(Made) made = user_data;

  vd_manager_close_finish(VD_MANAGER(source), result, NULL);
  vd_job_end(made->job, &made->results, NULL);
}

/* Who left while its job went on has an image now, and nobody who could close the handle. Who hears of the
 * end finds the image free. */
static void on_made(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(Made) made = user_data;
  GError *error = NULL;
  g_autoptr(VdHandle) handle = vd_manager_create_finish(VD_MANAGER(source), result, &error);

  made->results.copied = vd_manager_create_get_copied(result);
  if (handle != NULL && g_hash_table_lookup(made->service->peers, made->bus_name) == NULL) {
    vd_manager_close_async(VD_MANAGER(source), handle, on_orphan_closed, g_steal_pointer(&made));
    return;
  }
  if (handle != NULL) {
    g_set_object(&handle->job, made->job);
    made->results.handle = g_strdup(handle->id);
    made->results.new_size = handle->disk->facts.virtual_size;
  }
  vd_job_end(made->job, &made->results, error);
}

static void create_with_job(VdCall *call, VdCharge *charge)
{
  VdJobOperation operation = call->create.source_path != NULL ? VD_JOB_CONVERT : VD_JOB_CREATE;
  GError *error = NULL;
  g_autoptr(VdJob) job = vd_call_begin_job(call, operation, call->path, &error);
  Made *made;

  if (job == NULL) {
    vd_charge_free(charge);
    vd_call_fail(call, error);
    return;
  }
  made = g_new0(Made, 1);
  made->service = call->service;
  made->job = g_object_ref(job);
  made->bus_name = g_strdup(call->identity->bus_name);
  vd_manager_create_async(call->service->manager, call->identity, call->path, &call->create, job, charge,
                          (GDestroyNotify)vd_charge_free, job->cancellable, on_made, made);
  vd_call_return_job(call, job, reply_handle);
}

void vd_call_perform_create(VdCall *call)
{
  GError *error = NULL;
  VdCharge *charge = vd_quota_charge(call->service->quota, call->identity->uid, VD_QUOTA_HANDLES, &error);

  if (charge == NULL)
    vd_call_fail(call, error);
  else if (call->create.source_path != NULL || call->job_options.token != NULL || call->job_options.async)
    create_with_job(call, charge);
  else
    vd_manager_create_async(call->service->manager, call->identity, call->path, &call->create, NULL, charge,
                            (GDestroyNotify)vd_charge_free, call->cancellable, on_created, call);
}

/* What is copied: a device is asked about. */

static const char *keep(VdCall *call, char *text)
{
  g_ptr_array_add(call->arena, text);
  return text;
}

/* The node as the kernel calls it: the caller's path is only a way there. (transfer full) */
static char *name_device(const struct statx *stx)
{
  g_autofree char *link = g_strdup_printf("/sys/dev/block/%u:%u", stx->stx_rdev_major, stx->stx_rdev_minor);
  g_autofree char *target = g_file_read_link(link, NULL);
  g_autofree char *name = target != NULL ? g_path_get_basename(target) : NULL;

  return name != NULL ? g_strconcat("/dev/", g_strdelimit(name, "!", '/'), NULL)
                      : g_strdup_printf("%u:%u", stx->stx_rdev_major, stx->stx_rdev_minor);
}

static void on_source_located(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;
  vd_autofd fd = vd_opener_open_finish(call->service->opener, result, &error);
  struct statx stx;

  if (fd < 0) {
    g_prefix_error(&error, "source: ");
    vd_call_fail(call, error);
    return;
  }
  /* What is known at once: a server may take its time. */
  if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &stx) == 0 && S_ISBLK(stx.stx_mode)) {
    call->create.source_device = makedev(stx.stx_rdev_major, stx.stx_rdev_minor);
    call->ask.actions[0] = VD_ACTION_USE_PHYSICAL_DISK;
    call->ask.path = keep(call, vd_path_to_display(call->path));
    call->ask.device = keep(call, name_device(&stx));
    call->ask.format = vd_device_id_to_format(call->device_id);
    call->ask.access = "read-only";
  }
  vd_call_examined(call);
}

/* A job is shown to everybody under its path. */
static gboolean check_length(const char *path, GError **error)
{
  gsize length = strlen(path);

  if (length <= VD_OPENER_MAX_PATH)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NAME_TOO_LONG,
              "the path has %" G_GSIZE_FORMAT " bytes; the most is %d", length, VD_OPENER_MAX_PATH);
  return FALSE;
}

/* Checked before a place is taken: who asks in vain is told what is wrong, not that there are too many. */
void vd_call_examine_create(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  VdCreateSpec spec;
  VdOpenParams open;
  GError *error = NULL;

  call->create.version = 1;
  g_variant_get(call->parameters, "(&suut@a{sv})", &call->path, &call->create.mask, &call->create.flags,
                &call->create.maximum_size, &options);
  if (!check_length(call->path, &error) ||
      !vd_options_parse(options, create_options, G_N_ELEMENTS(create_options), call, call->arena, &error) ||
      !vd_create_check(&call->create, call->path, &spec, &open, &call->rights, &error)) {
    vd_call_fail(call, error);
    return;
  }
  call->device_id = spec.device_id;
  if (call->create.source_path != NULL)
    vd_opener_open_async(call->service->opener, call->identity, call->create.source_path, VD_OPEN_LOCATE,
                         call->cancellable, on_source_located, call);
  else
    vd_call_examined(call);
}
