/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What methods of several interfaces share: attach and detach options, what is asked of polkit, sessions. */
#include "bus/call.h"

#include "bus/descriptors.h"
#include "names.h"
#include "nesting.h"

/* Images within images: deeper than anybody goes, and a bound on the walk. */
#define MAX_NESTING 32

static const VdOption attach_options[] = {
    VD_OPTION(VdCall, "version", U32, attach.version),
    VD_OPTION(VdCall, "provider-specific-flags", U32, attach.provider_flags),
    VD_OPTION(VdCall, "lifetime", STRING, attach.lifetime),
    VD_OPTION(VdCall, "detach-on-unmount", BOOL, attach.detach_on_unmount),
    VD_OPTION_HAS(VdCall, "sector-size", U32, attach.sector_size, attach.has_sector_size),
    VD_OPTION_HAS(VdCall, "partition-scan", BOOL, attach.partition_scan, attach.has_partition_scan),
    VD_OPTION_HAS(VdCall, "owner-uid", U32, attach.uid, attach.has_uid),
    VD_OPTION_HAS(VdCall, "owner-gid", U32, attach.gid, attach.has_gid),
    VD_OPTION_HAS(VdCall, "mode", U32, attach.mode, attach.has_mode),
    VD_OPTION(VdCall, "restricted-offset", U64, attach.restricted_offset),
    VD_OPTION_HAS(VdCall, "restricted-length", U64, attach.restricted_length, attach.has_range),
    VD_OPTION(VdCall, "route", STRING, attach.route),
    VD_OPTION(VdCall, "zero-copy", BOOL, attach.zero_copy),
    /* AttachImage only, from here on */
    VD_OPTION(VdCall, "read-only", BOOL, option.read_only),
    VD_OPTION(VdCall, "flags", U32, attach.flags),
    VD_OPTION(VdCall, "open-flags", U32, open.flags),
    VD_OPTION(VdCall, "device-id", U32, open.device_id),
    VD_OPTION(VdCall, "vendor-id", STRING, open.vendor),
};
#define N_HANDLE_OPTIONS 13
/* version and provider-specific-flags belong to the function, not to the convenience. */
#define N_FUNCTION_OPTIONS 2

gboolean vd_call_parse_attach_options(VdCall *call, GVariant *options, gboolean for_image, GError **error)
{
  gsize skip = for_image ? N_FUNCTION_OPTIONS : 0;
  gsize n = (for_image ? G_N_ELEMENTS(attach_options) : N_HANDLE_OPTIONS) - skip;

  call->attach.version = 1;
  return vd_options_parse(options, attach_options + skip, n, call, call->arena, error);
}

static const VdOption detach_options[] = {
    VD_OPTION(VdCall, "force", BOOL, option.force),
    VD_OPTION(VdCall, "when-idle", BOOL, option.when_idle),
    VD_OPTION(VdCall, "provider-specific-flags", U32, option.provider_flags),
};

gboolean vd_call_parse_detach_options(VdCall *call, GVariant *options, gboolean for_handle, GError **error)
{
  gsize n = for_handle ? G_N_ELEMENTS(detach_options) : G_N_ELEMENTS(detach_options) - 1;

  if (!vd_options_parse(options, detach_options, n, call, call->arena, error))
    return FALSE;
  if (call->option.force && call->option.when_idle) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                        "force and when-idle exclude each other");
    return FALSE;
  }
  if (call->option.provider_flags != 0) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                        "provider-specific-flags must be 0");
    return FALSE;
  }
  call->detach_mode = call->option.force       ? VD_DETACH_FORCE
                      : call->option.when_idle ? VD_DETACH_WHEN_IDLE
                                               : VD_DETACH_IF_IDLE;
  return TRUE;
}

void vd_call_ask_attach(VdCall *call, const char *path, const char *origin_url, uid_t file_owner,
                        VdLifetime lifetime, gboolean read_only)
{
  gsize n = 0;

  call->ask.actions[n++] = read_only ? VD_ACTION_ATTACH_READ_ONLY : VD_ACTION_MANAGE_VOLUME;
  if (lifetime == VD_LIFETIME_BOOT)
    call->ask.actions[n++] = VD_ACTION_ATTACH_AT_BOOT;
  call->ask.actions[n] = NULL;
  call->ask.path = path;
  call->ask.origin_url = origin_url;
  call->ask.file_owner = file_owner;
  call->ask.access = read_only ? "read-only" : "read-write";
  call->ask.lifetime = vd_lifetime_to_string(lifetime);
}

/* TRUE if the image of disk lies on what outer shows, or on what that holds. */
static gboolean lies_on(VdManager *manager, VdDisk *disk, VdDisk *outer)
{
  g_autoptr(VdDisk) host = vd_nesting_find_host(manager, disk->image_dev);

  for (guint level = 0; host != NULL && host != outer && level < MAX_NESTING; level++) {
    VdDisk *next = vd_nesting_find_host(manager, host->image_dev);

    vd_disk_unref(host);
    host = next;
  }
  return host == outer;
}

/* One of those that the detach would end and that the caller has not made, or NULL: the disk itself and, with
 * force, those whose images lie on it. */
static VdDisk *find_disk_of_others(VdCall *call, VdDisk *disk)
{
  g_autoptr(GPtrArray) list = vd_manager_list(call->service->manager);

  if (disk->attachment == NULL)
    return NULL;
  if (disk->attachment->owner->uid != call->identity->uid)
    return disk;
  for (guint i = 0; call->detach_mode == VD_DETACH_FORCE && disk->attachment->device != NULL && i < list->len;
       i++) {
    VdDisk *inner = g_ptr_array_index(list, i);

    if (inner->attachment->owner->uid != call->identity->uid && lies_on(call->service->manager, inner, disk))
      return inner;
  }
  return NULL;
}

void vd_call_ask_detach(VdCall *call, VdDisk *disk)
{
  disk = find_disk_of_others(call, disk);
  if (disk == NULL)
    return;
  call->ask.actions[0] = VD_ACTION_MANAGE_OTHERS;
  call->ask.actions[1] = NULL;
  call->ask.path = disk->display;
  call->ask.format = vd_disk_format(disk);
  call->ask.file_owner = disk->image_uid;
  call->ask.lifetime = vd_lifetime_to_string(disk->attachment->plan.lifetime);
  call->ask.access = disk->attachment->plan.read_only ? "read-only" : "read-write";
  if (disk->attachment->device != NULL)
    call->ask.device = vd_device_get_info(disk->attachment->device)->path;
}

typedef struct {
  VdCall *call;
  void (*next)(VdCall *call);
} FindSession;

static void on_session_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autofree FindSession *find = user_data;
  GError *error = NULL;

  find->call->session = vd_caller_session_finish(result, &error);
  if (find->call->session == NULL)
    vd_call_fail(find->call, error);
  else
    find->next(find->call);
}

void vd_call_find_session(VdCall *call, VdLifetime lifetime, void (*next)(VdCall *call))
{
  FindSession *find;

  if (lifetime != VD_LIFETIME_SESSION) {
    next(call);
    return;
  }
  find = g_new(FindSession, 1);
  *find = (FindSession){call, next};
  vd_caller_session_async(call->service->connection, call->identity, call->cancellable, on_session_found,
                          find);
}

static void on_detached(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  gboolean pending = FALSE;
  GVariantBuilder results;
  GError *error = NULL;

  if (!vd_manager_detach_finish(VD_MANAGER(source), result, &pending, &error)) {
    vd_call_fail(call, error);
    return;
  }
  g_variant_builder_init(&results, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add(&results, "{sv}", "pending", g_variant_new_boolean(pending));
  vd_call_return(call, g_variant_new("(a{sv})", &results));
}

void vd_call_perform_detach(VdCall *call)
{
  VdDisk *disk = call->disk;

  /* Somebody may have thought long about it: it need not be the same attachment, or the same owner's, any
   * more. */
  if (call->ask.actions[0] == NULL && call->identity->uid != 0 && find_disk_of_others(call, disk) != NULL) {
    vd_call_fail(call, g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE,
                                           "the disk was attached anew by somebody else meanwhile"));
    return;
  }
  vd_manager_detach_async(call->service->manager, disk, call->handle, call->detach_mode, NULL, on_detached,
                          call);
}

int vd_call_take_fd(VdCall *call, gint32 index, GError **error)
{
  return vd_descriptors_take(g_dbus_method_invocation_get_message(call->invocation), index, error);
}

GVariant *vd_call_attach_results(VdDisk *disk)
{
  GVariantBuilder results;

  g_variant_builder_init(&results, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add(&results, "{sv}", "settled",
                        g_variant_new_boolean(vd_device_get_info(disk->attachment->device)->settled));
  if ((disk->attachment->plan.flags & VIRTDISK_ATTACH_NO_LOCAL_HOST) != 0)
    g_variant_builder_add(&results, "{sv}", "nbd", g_variant_new_handle(0));
  return g_variant_builder_end(&results);
}
