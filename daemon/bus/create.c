/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CreateVirtualDisk: unpack, call the core, answer. */
#include "bus/call.h"
#include "names.h"

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
    VD_OPTION_HAS(VdCall, "parent-device-id", U32, create.parent_device_id, create.has_parent_type),
    VD_OPTION_HAS(VdCall, "parent-vendor-id", STRING, create.parent_vendor, create.has_parent_type),
    VD_OPTION_HAS(VdCall, "open-flags", U32, create.open_flags, create.has_open_flags),
    VD_OPTION_HAS(VdCall, "resiliency-guid", STRING, create.resiliency_guid, create.has_resiliency_guid),
};

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

void vd_call_perform_create(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  VdCreateSpec spec;
  VdOpenParams open;
  GError *error = NULL;
  VdCharge *charge = NULL;

  call->create.version = 1;
  g_variant_get(call->parameters, "(&suut@a{sv})", &call->path, &call->create.mask, &call->create.flags,
                &call->create.maximum_size, &options);
  /* Checked before a place is taken: who asks in vain is told what is wrong, not that there are too many. */
  if (vd_options_parse(options, create_options, G_N_ELEMENTS(create_options), call, call->arena, &error) &&
      vd_create_check(&call->create, call->path, &spec, &open, &call->rights, &error))
    charge = vd_quota_charge(call->service->quota, call->identity->uid, VD_QUOTA_HANDLES, &error);
  if (charge == NULL) {
    vd_call_fail(call, error);
    return;
  }
  vd_manager_create_async(call->service->manager, call->identity, call->path, &call->create, charge,
                          (GDestroyNotify)vd_charge_free, call->cancellable, on_created, call);
}
