/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What changes an image at once, and asks it for what is not in memory: no job, the call answers at the end.
 */
#include "bus/call.h"
#include "names.h"
#include "util/guid.h"
#include "worker/serve-protocol.h"

static gboolean invalid(GError **error, const char *text)
{
  g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, text);
  return FALSE;
}

static gboolean no_options(VdCall *call, GVariant *options, GError **error)
{
  return vd_options_parse(options, NULL, 0, call, call->arena, error);
}

static gboolean take_guid(VdCall *call, const char *text, GError **error)
{
  return vd_guid_parse(text, call->operation.guid) || invalid(error, "an id or item is not a GUID");
}

static void operate(VdCall *call, GAsyncReadyCallback callback)
{
  vd_manager_operate_async(call->service->manager, call->identity, call->handle, &call->operation, NULL,
                           call->cancellable, callback, call);
}

/* For methods that return nothing. */
static void on_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;
  g_autoptr(VdOperationResult) got = vd_manager_operate_finish(VD_MANAGER(source), result, &error);

  if (got != NULL)
    vd_call_return(call, NULL);
  else
    vd_call_fail(call, error);
}

/* SetVirtualDiskInformation */

#define PATH VD_OPTION_HAS(VdCall, "ParentFilePath", STRING, operation.path, set_info.has_path)

static const VdOption parent_path[] = {PATH};
static const VdOption identifier[] = {VD_OPTION(VdCall, "UniqueIdentifier", STRING, set_info.guid)};
static const VdOption parent_path_with_depth[] = {
    PATH, VD_OPTION_HAS(VdCall, "ChildDepth", U32, operation.child_depth, set_info.has_value)};
static const VdOption physical_sector_size[] = {
    VD_OPTION_HAS(VdCall, "VhdPhysicalSectorSize", U32, operation.value, set_info.has_value)};
static const VdOption virtual_disk_id[] = {VD_OPTION(VdCall, "VirtualDiskId", STRING, set_info.guid)};
static const VdOption change_tracking[] = {
    VD_OPTION_HAS(VdCall, "ChangeTrackingEnabled", BOOL, set_info.enabled, set_info.has_value),
    VD_OPTION(VdCall, "SealPoint", BOOL, set_info.seal)};
static const VdOption parent_locator[] = {PATH, VD_OPTION(VdCall, "LinkageId", STRING, set_info.guid)};

typedef struct {
  VdOperationKind kind;
  const VdOption *members;
  gsize n_members;
  gboolean has_path, has_guid, has_value; /* all of them must be given */
} Version;

/* By SET_VIRTUAL_DISK_INFO_VERSION. */
static const Version versions[] = {
    [VIRTDISK_SET_INFO_PARENT_PATH] = {VD_OPERATION_SET_PARENT, parent_path, G_N_ELEMENTS(parent_path), TRUE},
    [VIRTDISK_SET_INFO_IDENTIFIER] = {VD_OPERATION_SET_IDENTIFIER, identifier, G_N_ELEMENTS(identifier),
                                      FALSE, TRUE},
    [VIRTDISK_SET_INFO_PARENT_PATH_WITH_DEPTH] = {VD_OPERATION_SET_PARENT, parent_path_with_depth,
                                                  G_N_ELEMENTS(parent_path_with_depth), TRUE, FALSE, TRUE},
    [VIRTDISK_SET_INFO_PHYSICAL_SECTOR_SIZE] = {VD_OPERATION_SET_PHYSICAL_SECTOR_SIZE, physical_sector_size,
                                                G_N_ELEMENTS(physical_sector_size), FALSE, FALSE, TRUE},
    [VIRTDISK_SET_INFO_VIRTUAL_DISK_ID] = {VD_OPERATION_SET_VIRTUAL_DISK_ID, virtual_disk_id,
                                           G_N_ELEMENTS(virtual_disk_id), FALSE, TRUE},
    [VIRTDISK_SET_INFO_CHANGE_TRACKING_STATE] = {VD_OPERATION_SET_CHANGE_TRACKING, change_tracking,
                                                 G_N_ELEMENTS(change_tracking), FALSE, FALSE, TRUE},
    [VIRTDISK_SET_INFO_PARENT_LOCATOR] = {VD_OPERATION_SET_LOCATOR, parent_locator,
                                          G_N_ELEMENTS(parent_locator), TRUE, TRUE},
};

static gboolean take_tracking(VdCall *call, GError **error)
{
  if (call->set_info.seal && !call->set_info.enabled)
    return invalid(error, "SealPoint needs ChangeTrackingEnabled");
  call->operation.value = call->set_info.seal      ? VD_CHANGES_SEAL
                          : call->set_info.enabled ? VD_CHANGES_ENABLE
                                                   : VD_CHANGES_DISABLE;
  return TRUE;
}

static gboolean parse_info(VdCall *call, guint32 number, GVariant *info, GError **error)
{
  const Version *version;

  if (number < VIRTDISK_SET_INFO_PARENT_PATH || number > VIRTDISK_SET_INFO_PARENT_LOCATOR)
    return invalid(error, "version is not 1 to 7");
  version = &versions[number];
  call->operation.kind = version->kind;
  call->operation.child_depth = 1;
  if (!vd_options_parse(info, version->members, version->n_members, call, call->arena, error))
    return FALSE;
  if ((version->has_path && !call->set_info.has_path) || (version->has_guid && call->set_info.guid == NULL) ||
      (version->has_value && !call->set_info.has_value))
    return invalid(error, "a member of info is missing");
  if (version->kind == VD_OPERATION_SET_CHANGE_TRACKING && !take_tracking(call, error))
    return FALSE;
  return !version->has_guid || take_guid(call, call->set_info.guid, error);
}

static void perform_set_info(VdCall *call)
{
  g_autoptr(GVariant) info = NULL, options = NULL;
  guint32 version;
  GError *error = NULL;

  g_variant_get(call->parameters, "(u@a{sv}@a{sv})", &version, &info, &options);
  if (no_options(call, options, &error) && parse_info(call, version, info, &error))
    operate(call, on_done);
  else
    vd_call_fail(call, error);
}

/* User metadata */

static GVariant *items_to_variant(GBytes *ids)
{
  gsize size;
  const guint8 *bytes = g_bytes_get_data(ids, &size);
  GVariantBuilder b;

  g_variant_builder_init(&b, G_VARIANT_TYPE("as"));
  for (gsize i = 0; i + 16 <= size; i += 16) {
    char text[37];

    vd_guid_format(bytes + i, text);
    g_variant_builder_add(&b, "s", text);
  }
  return g_variant_new("(as)", &b);
}

static void on_data_read(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;
  g_autoptr(VdOperationResult) got = vd_manager_operate_finish(VD_MANAGER(source), result, &error);

  if (got == NULL)
    vd_call_fail(call, error);
  else if (call->operation.kind == VD_OPERATION_ENUMERATE_METADATA)
    vd_call_return(call, items_to_variant(got->data));
  else
    vd_call_return(
        call, g_variant_new("(@ay)", g_variant_new_from_bytes(G_VARIANT_TYPE_BYTESTRING, got->data, TRUE)));
}

static void perform_enumerate(VdCall *call)
{
  g_autoptr(GVariant) options = g_variant_get_child_value(call->parameters, 0);
  GError *error = NULL;

  call->operation.kind = VD_OPERATION_ENUMERATE_METADATA;
  if (no_options(call, options, &error))
    operate(call, on_data_read);
  else
    vd_call_fail(call, error);
}

static void with_item(VdCall *call, VdOperationKind kind, GAsyncReadyCallback callback)
{
  g_autoptr(GVariant) options = NULL;
  const char *item;
  GError *error = NULL;

  call->operation.kind = kind;
  g_variant_get(call->parameters, "(&s@a{sv})", &item, &options);
  if (no_options(call, options, &error) && take_guid(call, item, &error))
    operate(call, callback);
  else
    vd_call_fail(call, error);
}

static void perform_get_metadata(VdCall *call)
{
  with_item(call, VD_OPERATION_GET_METADATA, on_data_read);
}

static void perform_delete_metadata(VdCall *call)
{
  with_item(call, VD_OPERATION_DELETE_METADATA, on_done);
}

static void perform_set_metadata(VdCall *call)
{
  g_autoptr(GVariant) options = NULL, data = NULL;
  const char *item;
  GError *error = NULL;

  call->operation.kind = VD_OPERATION_SET_METADATA;
  g_variant_get(call->parameters, "(&s@ay@a{sv})", &item, &data, &options);
  call->operation.data = g_variant_get_data_as_bytes(data);
  if (no_options(call, options, &error) && take_guid(call, item, &error))
    operate(call, on_done);
  else
    vd_call_fail(call, error);
}

/* QueryChangesVirtualDisk */

/* Where the caller does not say. */
#define DEFAULT_RANGES 4096

static const VdOption query_options[] = {VD_OPTION(VdCall, "range-count", U32, operation.value)};

static GVariant *ranges_to_variant(const VdOperationResult *got)
{
  gsize size;
  const guint64 *numbers = g_bytes_get_data(got->data, &size);
  GVariantBuilder b;

  g_variant_builder_init(&b, G_VARIANT_TYPE("a(tt)"));
  for (gsize i = 0; i < size / sizeof *numbers; i += 2)
    g_variant_builder_add(&b, "(tt)", GUINT64_FROM_LE(numbers[i]), GUINT64_FROM_LE(numbers[i + 1]));
  return g_variant_new("(a(tt)t)", &b, got->processed);
}

static void on_queried(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;
  g_autoptr(VdOperationResult) got = vd_manager_operate_finish(VD_MANAGER(source), result, &error);

  if (got != NULL)
    vd_call_return(call, ranges_to_variant(got));
  else
    vd_call_fail(call, error);
}

static gboolean check_query(const VdCall *call, guint32 flags, GError **error)
{
  if (flags != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "unknown flags 0x%08x", flags);
    return FALSE;
  }
  if (call->operation.value >= 1 && call->operation.value <= VD_OPERATION_MAX_RANGES)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "range-count %u is not 1 to %u",
              call->operation.value, VD_OPERATION_MAX_RANGES);
  return FALSE;
}

static void perform_query(VdCall *call)
{
  VdOperation *op = &call->operation;
  g_autoptr(GVariant) options = NULL;
  guint32 flags;
  GError *error = NULL;

  op->kind = VD_OPERATION_QUERY_CHANGES;
  op->value = DEFAULT_RANGES;
  g_variant_get(call->parameters, "(&sttu@a{sv})", &op->id, &op->offset, &op->length, &flags, &options);
  if (vd_options_parse(options, query_options, G_N_ELEMENTS(query_options), call, call->arena, &error) &&
      check_query(call, flags, &error))
    operate(call, on_queried);
  else
    vd_call_fail(call, error);
}

const VdMethod vd_set_info_methods[] = {
    {VD_IFACE_HANDLE, "SetVirtualDiskInformation", NULL, perform_set_info},
    {VD_IFACE_HANDLE, "QueryChangesVirtualDisk", NULL, perform_query},
    {VD_IFACE_HANDLE, "EnumerateVirtualDiskMetadata", NULL, perform_enumerate},
    {VD_IFACE_HANDLE, "GetVirtualDiskMetadata", NULL, perform_get_metadata},
    {VD_IFACE_HANDLE, "SetVirtualDiskMetadata", NULL, perform_set_metadata},
    {VD_IFACE_HANDLE, "DeleteVirtualDiskMetadata", NULL, perform_delete_metadata},
    {NULL},
};
