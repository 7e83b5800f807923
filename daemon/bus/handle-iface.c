/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.virtdisk1.Handle: unpack, call the core, answer. */
#include "bus/call.h"
#include "info.h"
#include "names.h"

static gboolean no_options(VdCall *call, GVariant *options, GError **error)
{
  return vd_options_parse(options, NULL, 0, call, call->arena, error);
}

/* AttachVirtualDisk */

static void examine_attach(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  VdAttachPlan plan;
  GError *error = NULL;
  VdDisk *disk = call->disk;
  uid_t uid = disk->image_uid;
  gid_t gid = disk->image_gid;
  mode_t mode = disk->image_mode;

  if (call->handle->image != NULL)
    vd_image_owner(call->handle->image, &uid, &gid, &mode);
  g_variant_get(call->parameters, "(u@a{sv})", &call->attach.flags, &options);
  if (!vd_call_parse_attach_options(call, options, FALSE, &error) ||
      !vd_access_attach(&call->attach, &call->handle->rights, &disk->facts, call->identity->uid, uid, gid,
                        mode, &plan, &error) ||
      !vd_manager_may_attach_handle(call->service->manager, call->handle, &error)) {
    vd_call_fail(call, error);
    return;
  }
  vd_call_ask_attach(call, disk->display, disk->origin_url, uid, plan.lifetime, plan.read_only);
  call->ask.format = vd_disk_format(disk);
  vd_call_examined(call);
}

static void on_attached(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;
  g_autoptr(VdDisk) disk = vd_manager_attach_finish(VD_MANAGER(source), result, &error);

  if (disk == NULL)
    vd_call_fail(call, error);
  else if (disk->attachment == NULL || disk->attachment->device == NULL)
    vd_call_fail(call, g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_DEVICE_NOT_EXIST,
                                           "the device was taken away as soon as it was there"));
  else
    vd_call_return_fd(call, g_variant_new("(@a{sv})", vd_call_attach_results(disk)),
                      vd_device_take_connection(disk->attachment->device));
}

static void attach_with_session(VdCall *call)
{
  GError *error = NULL;
  VdCharge *charge = vd_quota_charge(call->service->quota, call->identity->uid, VD_QUOTA_DISKS, &error);

  if (charge == NULL) {
    vd_call_fail(call, error);
    return;
  }
  vd_manager_attach_async(call->service->manager, call->handle, &call->attach, call->session, charge,
                          (GDestroyNotify)vd_charge_free, call->cancellable, on_attached, call);
}

static void perform_attach(VdCall *call)
{
  VdLifetime lifetime;
  gboolean read_only;
  GError *error = NULL;

  if (!vd_access_attach_flags(&call->attach, call->disk->device_id, &lifetime, &read_only, &error))
    vd_call_fail(call, error);
  else
    vd_call_find_session(call, lifetime, attach_with_session);
}

/* DetachVirtualDisk */

static void examine_detach(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  guint32 flags;
  GError *error = NULL;

  g_variant_get(call->parameters, "(u@a{sv})", &flags, &options);
  if (!vd_call_parse_detach_options(call, options, TRUE, &error)) {
    vd_call_fail(call, error);
    return;
  }
  if (flags != VIRTDISK_DETACH_NONE)
    error = g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "detach flags 0x%08x: must be 0",
                        flags);
  else if ((call->handle->rights.mask & VIRTDISK_ACCESS_DETACH) == 0)
    error =
        g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                    "the handle was opened without DETACH (its access is 0x%08x)", call->handle->rights.mask);
  else if (call->disk->attachment == NULL)
    error = g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND, "%s is not attached", call->disk->display);
  if (error != NULL) {
    vd_call_fail(call, error);
    return;
  }
  vd_call_ask_detach(call, call->disk);
  vd_call_examined(call);
}

/* GetVirtualDiskPhysicalPath */

static void perform_get_path(VdCall *call)
{
  g_autoptr(GVariant) options = g_variant_get_child_value(call->parameters, 0);
  VdDiskAttachment *a = call->disk->attachment;
  GError *error = NULL;

  if (!no_options(call, options, &error))
    vd_call_fail(call, error);
  else if ((call->handle->rights.mask & VIRTDISK_ACCESS_GET_INFO) == 0)
    vd_call_fail(call, g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                                   "the handle was opened without GET_INFO (its access is 0x%08x)",
                                   call->handle->rights.mask));
  else if (a == NULL || a->device == NULL)
    vd_call_fail(call, g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_DEVICE_NOT_EXIST, "%s is not attached",
                                   call->disk->display));
  else if (*vd_device_get_info(a->device)->path == '\0')
    vd_call_fail(call,
                 g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_DEVICE_NOT_EXIST,
                             "%s was attached with NO_LOCAL_HOST: there is no device", call->disk->display));
  else
    vd_call_return(call, g_variant_new("(s)", vd_device_get_info(a->device)->path));
}

/* GetVirtualDiskInformation */

static void add(GVariantBuilder *builder, const char *key, GVariant *value)
{
  g_variant_builder_add(builder, "{sv}", key, value);
}

static GVariant *info_to_variant(const VdInfo *info)
{
  GVariantBuilder b;

  g_variant_builder_init(&b, G_VARIANT_TYPE_VARDICT);
  switch (info->version) {
  case VIRTDISK_INFO_SIZE:
    add(&b, "VirtualSize", g_variant_new_uint64(info->size.virtual_size));
    add(&b, "PhysicalSize", g_variant_new_uint64(info->size.physical_size));
    add(&b, "BlockSize", g_variant_new_uint32(info->size.block_size));
    add(&b, "SectorSize", g_variant_new_uint32(info->size.sector_size));
    break;
  case VIRTDISK_INFO_IDENTIFIER:
    add(&b, "Identifier", g_variant_new_string(info->identifier));
    break;
  case VIRTDISK_INFO_PARENT_LOCATION:
    add(&b, "ParentResolved", g_variant_new_boolean(info->parent_resolved));
    add(&b, "ParentLocationBuffer", g_variant_new_strv((const char *const *)info->parent_locations, -1));
    break;
  case VIRTDISK_INFO_PARENT_IDENTIFIER:
    add(&b, "ParentIdentifier", g_variant_new_string(info->identifier));
    break;
  case VIRTDISK_INFO_PARENT_TIMESTAMP:
    add(&b, "ParentTimestamp", g_variant_new_uint32(info->parent_timestamp));
    break;
  case VIRTDISK_INFO_VIRTUAL_DISK_ID:
    add(&b, "VirtualDiskId", g_variant_new_string(info->identifier));
    break;
  case VIRTDISK_INFO_VIRTUAL_STORAGE_TYPE:
    add(&b, "DeviceId", g_variant_new_uint32(info->type.device_id));
    add(&b, "VendorId", g_variant_new_string(info->type.vendor));
    break;
  case VIRTDISK_INFO_PROVIDER_SUBTYPE:
    add(&b, "ProviderSubtype", g_variant_new_uint32(info->provider_subtype));
    break;
  case VIRTDISK_INFO_IS_4K_ALIGNED:
    add(&b, "Is4kAligned", g_variant_new_boolean(info->is_4k_aligned));
    break;
  case VIRTDISK_INFO_PHYSICAL_DISK:
    add(&b, "LogicalSectorSize", g_variant_new_uint32(info->physical_disk.logical_sector_size));
    add(&b, "PhysicalSectorSize", g_variant_new_uint32(info->physical_disk.physical_sector_size));
    add(&b, "IsRemote", g_variant_new_boolean(info->physical_disk.is_remote));
    break;
  case VIRTDISK_INFO_VHD_PHYSICAL_SECTOR_SIZE:
    add(&b, "VhdPhysicalSectorSize", g_variant_new_uint32(info->vhd_physical_sector_size));
    break;
  case VIRTDISK_INFO_SMALLEST_SAFE_VIRTUAL_SIZE:
    add(&b, "SmallestSafeVirtualSize", g_variant_new_uint64(info->smallest_safe_virtual_size));
    break;
  case VIRTDISK_INFO_FRAGMENTATION:
    add(&b, "FragmentationPercentage", g_variant_new_uint32(info->fragmentation_percentage));
    break;
  case VIRTDISK_INFO_CHANGE_TRACKING_STATE:
    add(&b, "Enabled", g_variant_new_boolean(info->change_tracking.enabled));
    add(&b, "NewerChanges", g_variant_new_boolean(info->change_tracking.newer_changes));
    add(&b, "MostRecentId", g_variant_new_string(info->change_tracking.most_recent_id));
    break;
  case VIRTDISK_INFO_IS_LOADED:
    add(&b, "IsLoaded", g_variant_new_boolean(info->is_loaded));
    break;
  }
  return g_variant_builder_end(&b);
}

static void on_measured(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  VdInfo info = {.version = call->option.version};
  GError *error = NULL;
  g_autoptr(VdOperationResult) got = vd_manager_operate_finish(VD_MANAGER(source), result, &error);

  if (got == NULL || !vd_info_of_measured(call->handle, got, &info, &error))
    vd_call_fail(call, error);
  else
    vd_call_return(call, g_variant_new("(@a{sv})", info_to_variant(&info)));
}

static void perform_get_info(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  guint32 version;
  g_auto(VdInfo) info = {0};
  GError *error = NULL;

  g_variant_get(call->parameters, "(u@a{sv})", &version, &options);
  call->option.version = version;
  call->operation.kind = version == VIRTDISK_INFO_CHANGE_TRACKING_STATE ? VD_OPERATION_CHANGE_TRACKING_STATE
                                                                        : VD_OPERATION_MEASURE;
  if (no_options(call, options, &error) && vd_info_needs_measure(call->handle, version))
    vd_manager_operate_async(call->service->manager, call->identity, call->handle, &call->operation, NULL,
                             call->cancellable, on_measured, call);
  else if (error != NULL || !vd_info_get(call->handle, version, &info, &error))
    vd_call_fail(call, error);
  else
    vd_call_return(call, g_variant_new("(@a{sv})", info_to_variant(&info)));
}

/* AddVirtualDiskParent, AddVirtualDiskParentFd */

static void on_parent_added(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;

  if (vd_manager_add_parent_finish(VD_MANAGER(source), result, &error))
    vd_call_return(call, NULL);
  else
    vd_call_fail(call, error);
}

static void perform_add_parent(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  GError *error = NULL;

  g_variant_get(call->parameters, "(&s@a{sv})", &call->path, &options);
  if (!no_options(call, options, &error))
    vd_call_fail(call, error);
  else
    vd_manager_add_parent_async(call->service->manager, call->identity, call->handle, call->path,
                                call->cancellable, on_parent_added, call);
}

static void perform_add_parent_fd(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  GError *error = NULL;
  gint32 index;
  int fd = -1;

  g_variant_get(call->parameters, "(h@a{sv})", &index, &options);
  if (no_options(call, options, &error))
    fd = vd_call_take_fd(call, index, &error);
  if (fd < 0)
    vd_call_fail(call, error);
  else
    vd_manager_add_parent_fd_async(call->service->manager, call->identity, call->handle, fd,
                                   call->cancellable, on_parent_added, call);
}

/* Close */

static void on_closed(GObject *source, GAsyncResult *result, gpointer user_data)
{
  vd_manager_close_finish(VD_MANAGER(source), result, NULL);
  vd_call_return(user_data, NULL);
}

static void perform_close(VdCall *call)
{
  g_autoptr(GVariant) options = g_variant_get_child_value(call->parameters, 0);
  GError *error = NULL;

  if (!no_options(call, options, &error))
    vd_call_fail(call, error);
  else
    vd_manager_close_async(call->service->manager, call->handle, on_closed, call);
}

const VdMethod vd_handle_methods[] = {
    {VD_IFACE_HANDLE, "AttachVirtualDisk", examine_attach, perform_attach},
    {VD_IFACE_HANDLE, "DetachVirtualDisk", examine_detach, vd_call_perform_detach},
    {VD_IFACE_HANDLE, "GetVirtualDiskPhysicalPath", NULL, perform_get_path},
    {VD_IFACE_HANDLE, "GetVirtualDiskInformation", NULL, perform_get_info},
    {VD_IFACE_HANDLE, "AddVirtualDiskParent", NULL, perform_add_parent},
    {VD_IFACE_HANDLE, "AddVirtualDiskParentFd", NULL, perform_add_parent_fd},
    {VD_IFACE_HANDLE, "Close", NULL, perform_close},
    {NULL},
};
