/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* AttachVirtualDisk, DetachVirtualDisk, and the devices. */
#include <string.h>

#include "win32.h"

typedef struct {
  VirtdiskAttachFlags flags;
  VirtdiskAttachParameters *parameters;
} Attaching;

static void attaching_free(gpointer data)
{
  Attaching *attaching = data;

  g_object_unref(attaching->parameters);
  g_free(attaching);
}

static gboolean attach_work(VdObject *object, gpointer data, VdPending *pending, GError **error)
{
  Attaching *attaching = data;

  return virtdisk_handle_attach_virtual_disk(object->disk, attaching->flags, attaching->parameters, NULL,
                                             pending->cancellable, error);
}

DWORD AttachVirtualDisk(HANDLE VirtualDiskHandle, PSECURITY_DESCRIPTOR SecurityDescriptor,
                        ATTACH_VIRTUAL_DISK_FLAG Flags, ULONG ProviderSpecificFlags,
                        PATTACH_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped)
{
  DWORD code;
  g_autoptr(VirtdiskHandle) disk = vd_object_get_disk(VirtualDiskHandle, &code);
  g_autoptr(VdObject) object = vd_object_ref(VirtualDiskHandle, VD_OBJECT_DISK);
  Attaching *attaching;

  if (disk == NULL || object == NULL)
    return disk == NULL ? code : ERROR_INVALID_HANDLE;
  if (SecurityDescriptor != NULL)
    return ERROR_NOT_SUPPORTED;
  attaching = g_new0(Attaching, 1);
  attaching->flags = (VirtdiskAttachFlags)Flags;
  attaching->parameters = virtdisk_attach_parameters_new();
  if (ProviderSpecificFlags != 0)
    virtdisk_attach_parameters_set_provider_specific_flags(attaching->parameters, ProviderSpecificFlags);
  if (Parameters != NULL)
    virtdisk_attach_parameters_set_version(attaching->parameters, Parameters->Version);
  if (Parameters != NULL && Parameters->Version == ATTACH_VIRTUAL_DISK_VERSION_2)
    virtdisk_attach_parameters_set_restricted_range(
        attaching->parameters, Parameters->Version2.RestrictedOffset, Parameters->Version2.RestrictedLength);
  return vd_overlapped_run(object, Overlapped, attach_work, attaching, attaching_free);
}

DWORD DetachVirtualDisk(HANDLE VirtualDiskHandle, DETACH_VIRTUAL_DISK_FLAG Flags, ULONG ProviderSpecificFlags)
{
  DWORD code;
  g_autoptr(VirtdiskHandle) disk = vd_object_get_disk(VirtualDiskHandle, &code);
  GError *error = NULL;

  if (disk == NULL)
    return code;
  if (ProviderSpecificFlags != 0)
    return ERROR_INVALID_PARAMETER;
  virtdisk_handle_detach_virtual_disk(disk, (VirtdiskDetachFlags)Flags, NULL, NULL, NULL, &error);
  return vd_win32_code(error);
}

static char *physical_path(HANDLE handle, DWORD *ret_code)
{
  g_autoptr(VirtdiskHandle) disk = vd_object_get_disk(handle, ret_code);
  GError *error = NULL;
  char *path;

  if (disk == NULL)
    return NULL;
  path = virtdisk_handle_get_virtual_disk_physical_path(disk, NULL, &error);
  *ret_code = vd_win32_code(error);
  return path;
}

DWORD GetVirtualDiskPhysicalPath(HANDLE VirtualDiskHandle, PULONG DiskPathSizeInBytes, PWSTR DiskPath)
{
  DWORD code = ERROR_INVALID_PARAMETER;
  g_autofree char *path = DiskPathSizeInBytes != NULL ? physical_path(VirtualDiskHandle, &code) : NULL;

  return path != NULL ? vd_text_to_utf16(path, DiskPathSizeInBytes, DiskPath) : code;
}

DWORD GetVirtualDiskPhysicalPathU8(HANDLE VirtualDiskHandle, PULONG DiskPathSizeInBytes, char *DiskPath)
{
  DWORD code = ERROR_INVALID_PARAMETER;
  g_autofree char *path = DiskPathSizeInBytes != NULL ? physical_path(VirtualDiskHandle, &code) : NULL;

  return path != NULL ? vd_text_to_utf8(path, DiskPathSizeInBytes, DiskPath) : code;
}

/* All devices, each with its NUL, and one more. */
static char *all_paths(gsize *ret_length, DWORD *ret_code)
{
  GError *error = NULL;
  VirtdiskClient *client = vd_win32_client(&error);
  g_auto(GStrv) paths =
      client != NULL ? virtdisk_client_get_all_attached_virtual_disk_physical_paths(client, NULL, &error)
                     : NULL;

  *ret_code = vd_win32_code(error);
  return paths != NULL ? vd_text_join(paths, ret_length) : NULL;
}

DWORD GetAllAttachedVirtualDiskPhysicalPaths(PULONG PathsBufferSizeInBytes, PWSTR PathsBuffer)
{
  gsize length = 0;
  DWORD code = ERROR_INVALID_PARAMETER;
  g_autofree char *all = PathsBufferSizeInBytes != NULL ? all_paths(&length, &code) : NULL;

  return all != NULL ? vd_text_block_to_utf16(all, length, PathsBufferSizeInBytes, PathsBuffer) : code;
}

DWORD GetAllAttachedVirtualDiskPhysicalPathsU8(PULONG PathsBufferSizeInBytes, char *PathsBuffer)
{
  gsize length = 0;
  DWORD code = ERROR_INVALID_PARAMETER;
  g_autofree char *all = PathsBufferSizeInBytes != NULL ? all_paths(&length, &code) : NULL;
  gboolean fits;

  if (all == NULL)
    return code;
  fits = PathsBuffer != NULL && *PathsBufferSizeInBytes >= length;
  *PathsBufferSizeInBytes = (ULONG)length;
  if (!fits)
    return ERROR_INSUFFICIENT_BUFFER;
  memcpy(PathsBuffer, all, length);
  return ERROR_SUCCESS;
}
