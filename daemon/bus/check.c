/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CheckImage: unpack, call the core, answer. */
#include "bus/call.h"

static const VdOption check_options[] = {
    VD_OPTION(VdCall, "device-id", U32, open.device_id),
    VD_OPTION(VdCall, "vendor-id", STRING, open.vendor),
    VD_OPTION(VdCall, "repair", BOOL, option.repair),
};

static const char *const kinds[] = {
    [VD_FAULT_NOTE] = "note",
    [VD_FAULT_LEAK] = "leak",
    [VD_FAULT_MINOR] = "minor",
    [VD_FAULT_SERIOUS] = "serious",
};

static GVariant *faults_to_variant(const GArray *faults)
{
  GVariantBuilder b;

  g_variant_builder_init(&b, G_VARIANT_TYPE("a(sbtss)"));
  for (guint i = 0; i < faults->len; i++) {
    const VdFault *fault = &g_array_index(faults, VdFault, i);

    g_variant_builder_add(&b, "(sbtss)", kinds[fault->kind], fault->repairable != 0, fault->error.offset,
                          fault->error.field, fault->error.text);
  }
  return g_variant_builder_end(&b);
}

static GVariant *result_to_variant(const VdCheckResult *result)
{
  const VdCheckSummary *summary = &result->summary;
  const struct {
    const char *key;
    guint64 value;
  } numbers[] = {
      {"notes", summary->counts[VD_FAULT_NOTE]},
      {"leaks", summary->counts[VD_FAULT_LEAK]},
      {"minor", summary->counts[VD_FAULT_MINOR]},
      {"serious", summary->counts[VD_FAULT_SERIOUS]},
      {"blocks", summary->blocks},
      {"allocated-blocks", summary->allocated_blocks},
      {"leaked", summary->leaked},
  };
  GVariantBuilder b;

  g_variant_builder_init(&b, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add(&b, "{sv}", "faults", faults_to_variant(result->faults));
  for (gsize i = 0; i < G_N_ELEMENTS(numbers); i++)
    g_variant_builder_add(&b, "{sv}", numbers[i].key, g_variant_new_uint64(numbers[i].value));
  g_variant_builder_add(&b, "{sv}", "repairable", g_variant_new_uint32(summary->repairable));
  g_variant_builder_add(&b, "{sv}", "repaired", g_variant_new_boolean(result->repaired));
  return g_variant_builder_end(&b);
}

static void on_checked(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;
  g_autoptr(VdCheckResult) found = vd_manager_check_finish(VD_MANAGER(source), result, &error);

  if (found == NULL)
    vd_call_fail(call, error);
  else
    vd_call_return(call, g_variant_new("(@a{sv})", result_to_variant(found)));
}

void vd_call_perform_check(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  GError *error = NULL;
  VdCharge *charge = NULL;

  call->open.version = 1;
  call->open.mask = VIRTDISK_ACCESS_READ;
  g_variant_get(call->parameters, "(&s@a{sv})", &call->path, &options);
  if (vd_options_parse(options, check_options, G_N_ELEMENTS(check_options), call, call->arena, &error) &&
      vd_access_open(&call->open, call->path, &call->device_id, &call->rights, &error))
    charge = vd_quota_charge(call->service->quota, call->identity->uid, VD_QUOTA_HANDLES, &error);
  if (charge == NULL) {
    vd_call_fail(call, error);
    return;
  }
  vd_manager_check_async(call->service->manager, call->identity, call->path, &call->open,
                         call->option.repair ? VD_CHECK_REPAIR : VD_CHECK_LOOK, charge,
                         (GDestroyNotify)vd_charge_free, call->cancellable, on_checked, call);
}
