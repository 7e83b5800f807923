/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small changes of an open image, without a job: SetVirtualDiskInformation and the user metadata. */
#include "private.h"

/* ---- VirtdiskSetInfo ---- */

struct _VirtdiskSetInfo {
  VirtdiskSetInfoVersion version;
  GVariant *members; /* a{sv} */
};

G_DEFINE_BOXED_TYPE(VirtdiskSetInfo, virtdisk_set_info, virtdisk_set_info_ref, virtdisk_set_info_unref)

/* @members: floating. */
static VirtdiskSetInfo *set_info_new(VirtdiskSetInfoVersion version, GVariant *members)
{
  VirtdiskSetInfo *info = g_atomic_rc_box_new0(VirtdiskSetInfo);

  info->version = version;
  info->members = g_variant_ref_sink(members);
  return info;
}

/* What is empty or cannot be said is the service's to refuse. */
static char *sayable(const char *path)
{
  g_autofree char *absolute = vd_path_absolute(path, NULL);

  return g_strdup(absolute != NULL && vd_path_is_sayable(absolute) ? absolute : "");
}

VirtdiskSetInfo *virtdisk_set_info_new_parent_path(const char *path)
{
  g_autofree char *said = sayable(path);

  return set_info_new(VIRTDISK_SET_INFO_PARENT_PATH, g_variant_new_parsed("{'ParentFilePath': <%s>}", said));
}

VirtdiskSetInfo *virtdisk_set_info_new_identifier(const char *guid)
{
  return set_info_new(VIRTDISK_SET_INFO_IDENTIFIER, g_variant_new_parsed("{'UniqueIdentifier': <%s>}", guid));
}

VirtdiskSetInfo *virtdisk_set_info_new_parent_path_with_depth(guint depth, const char *path)
{
  g_autofree char *said = sayable(path);

  return set_info_new(VIRTDISK_SET_INFO_PARENT_PATH_WITH_DEPTH,
                      g_variant_new_parsed("{'ChildDepth': <%u>, 'ParentFilePath': <%s>}", depth, said));
}

VirtdiskSetInfo *virtdisk_set_info_new_physical_sector_size(guint sector_size)
{
  return set_info_new(VIRTDISK_SET_INFO_PHYSICAL_SECTOR_SIZE,
                      g_variant_new_parsed("{'VhdPhysicalSectorSize': <%u>}", sector_size));
}

VirtdiskSetInfo *virtdisk_set_info_new_virtual_disk_id(const char *guid)
{
  return set_info_new(VIRTDISK_SET_INFO_VIRTUAL_DISK_ID,
                      g_variant_new_parsed("{'VirtualDiskId': <%s>}", guid));
}

VirtdiskSetInfo *virtdisk_set_info_new_parent_locator(const char *linkage_id, const char *path)
{
  g_autofree char *said = sayable(path);

  return set_info_new(VIRTDISK_SET_INFO_PARENT_LOCATOR,
                      g_variant_new_parsed("{'LinkageId': <%s>, 'ParentFilePath': <%s>}", linkage_id, said));
}

VirtdiskSetInfo *virtdisk_set_info_new_change_tracking(gboolean enabled)
{
  return set_info_new(VIRTDISK_SET_INFO_CHANGE_TRACKING_STATE,
                      g_variant_new_parsed("{'ChangeTrackingEnabled': <%b>}", enabled));
}

VirtdiskSetInfo *virtdisk_set_info_new_change_tracking_point(void)
{
  return set_info_new(VIRTDISK_SET_INFO_CHANGE_TRACKING_STATE,
                      g_variant_new_parsed("{'ChangeTrackingEnabled': <true>, 'SealPoint': <true>}"));
}

VirtdiskSetInfo *virtdisk_set_info_ref(VirtdiskSetInfo *info)
{
  return g_atomic_rc_box_acquire(info);
}

static void set_info_clear(gpointer data)
{
  VirtdiskSetInfo *info = data;

  g_variant_unref(info->members);
}

void virtdisk_set_info_unref(VirtdiskSetInfo *info)
{
  g_atomic_rc_box_release_full(info, set_info_clear);
}

VirtdiskSetInfoVersion virtdisk_set_info_get_version(VirtdiskSetInfo *info)
{
  return info->version;
}

GVariant *virtdisk_set_info_to_variant(VirtdiskSetInfo *info)
{
  return g_variant_ref(info->members);
}

/* ---- SetVirtualDiskInformation ---- */

/* The reply is empty. */
static gboolean finish_nothing(GAsyncResult *result, GError **error)
{
  g_autoptr(GVariant) reply = g_task_propagate_pointer(G_TASK(result), error);

  return reply != NULL;
}

void virtdisk_handle_set_virtual_disk_information_async(VirtdiskHandle *handle, VirtdiskSetInfo *info,
                                                        GCancellable *cancellable,
                                                        GAsyncReadyCallback callback, gpointer user_data)
{
  vd_handle_call(vd_handle_task_new(handle, virtdisk_handle_set_virtual_disk_information_async, cancellable,
                                    callback, user_data),
                 "SetVirtualDiskInformation",
                 g_variant_new("(u@a{sv}a{sv})", (guint32)info->version, info->members, NULL), "()",
                 VD_CALL_MAY_ASK);
}

gboolean virtdisk_handle_set_virtual_disk_information_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                             GError **error)
{
  return finish_nothing(result, error);
}

gboolean virtdisk_handle_set_virtual_disk_information(VirtdiskHandle *handle, VirtdiskSetInfo *info,
                                                      GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_set_virtual_disk_information_async(handle, info, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_set_virtual_disk_information_finish(handle, result, error);
}

/* ---- EnumerateVirtualDiskMetadata ---- */

void virtdisk_handle_enumerate_virtual_disk_metadata_async(VirtdiskHandle *handle, GCancellable *cancellable,
                                                           GAsyncReadyCallback callback, gpointer user_data)
{
  vd_handle_call(vd_handle_task_new(handle, virtdisk_handle_enumerate_virtual_disk_metadata_async,
                                    cancellable, callback, user_data),
                 "EnumerateVirtualDiskMetadata", g_variant_new("(a{sv})", NULL), "(as)", VD_CALL_MAY_ASK);
}

char **virtdisk_handle_enumerate_virtual_disk_metadata_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                              GError **error)
{
  g_autoptr(GVariant) reply = g_task_propagate_pointer(G_TASK(result), error);
  char **items = NULL;

  if (reply != NULL)
    g_variant_get(reply, "(^as)", &items);
  return items;
}

char **virtdisk_handle_enumerate_virtual_disk_metadata(VirtdiskHandle *handle, GCancellable *cancellable,
                                                       GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_enumerate_virtual_disk_metadata_async(handle, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_enumerate_virtual_disk_metadata_finish(handle, result, error);
}

/* ---- GetVirtualDiskMetadata ---- */

void virtdisk_handle_get_virtual_disk_metadata_async(VirtdiskHandle *handle, const char *item,
                                                     GCancellable *cancellable, GAsyncReadyCallback callback,
                                                     gpointer user_data)
{
  vd_handle_call(vd_handle_task_new(handle, virtdisk_handle_get_virtual_disk_metadata_async, cancellable,
                                    callback, user_data),
                 "GetVirtualDiskMetadata", g_variant_new("(sa{sv})", item, NULL), "(ay)", VD_CALL_MAY_ASK);
}

GBytes *virtdisk_handle_get_virtual_disk_metadata_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                         GError **error)
{
  g_autoptr(GVariant) reply = g_task_propagate_pointer(G_TASK(result), error);
  g_autoptr(GVariant) data = NULL;

  if (reply == NULL)
    return NULL;
  data = g_variant_get_child_value(reply, 0);
  return g_variant_get_data_as_bytes(data);
}

GBytes *virtdisk_handle_get_virtual_disk_metadata(VirtdiskHandle *handle, const char *item,
                                                  GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_get_virtual_disk_metadata_async(handle, item, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_get_virtual_disk_metadata_finish(handle, result, error);
}

/* ---- SetVirtualDiskMetadata ---- */

void virtdisk_handle_set_virtual_disk_metadata_async(VirtdiskHandle *handle, const char *item, GBytes *data,
                                                     GCancellable *cancellable, GAsyncReadyCallback callback,
                                                     gpointer user_data)
{
  vd_handle_call(vd_handle_task_new(handle, virtdisk_handle_set_virtual_disk_metadata_async, cancellable,
                                    callback, user_data),
                 "SetVirtualDiskMetadata",
                 g_variant_new("(s@aya{sv})", item,
                               g_variant_new_from_bytes(G_VARIANT_TYPE_BYTESTRING, data, TRUE), NULL),
                 "()", VD_CALL_MAY_ASK);
}

gboolean virtdisk_handle_set_virtual_disk_metadata_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                          GError **error)
{
  return finish_nothing(result, error);
}

gboolean virtdisk_handle_set_virtual_disk_metadata(VirtdiskHandle *handle, const char *item, GBytes *data,
                                                   GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_set_virtual_disk_metadata_async(handle, item, data, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_set_virtual_disk_metadata_finish(handle, result, error);
}

/* ---- DeleteVirtualDiskMetadata ---- */

void virtdisk_handle_delete_virtual_disk_metadata_async(VirtdiskHandle *handle, const char *item,
                                                        GCancellable *cancellable,
                                                        GAsyncReadyCallback callback, gpointer user_data)
{
  vd_handle_call(vd_handle_task_new(handle, virtdisk_handle_delete_virtual_disk_metadata_async, cancellable,
                                    callback, user_data),
                 "DeleteVirtualDiskMetadata", g_variant_new("(sa{sv})", item, NULL), "()", VD_CALL_MAY_ASK);
}

gboolean virtdisk_handle_delete_virtual_disk_metadata_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                             GError **error)
{
  return finish_nothing(result, error);
}

gboolean virtdisk_handle_delete_virtual_disk_metadata(VirtdiskHandle *handle, const char *item,
                                                      GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_delete_virtual_disk_metadata_async(handle, item, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_delete_virtual_disk_metadata_finish(handle, result, error);
}
