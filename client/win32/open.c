/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* OpenVirtualDisk, CreateVirtualDisk, AddVirtualDiskParent. */
#include "win32.h"

/* ---- OpenVirtualDisk ---- */

static void set_type(VirtdiskOpenParameters *parameters, const VIRTUAL_STORAGE_TYPE *type)
{
  g_autofree char *vendor = vd_text_from_guid(&type->VendorId);

  virtdisk_open_parameters_set_device_id(parameters, (VirtdiskDeviceId)type->DeviceId);
  if (!vd_text_is_null_guid(&type->VendorId))
    virtdisk_open_parameters_set_vendor_id(parameters, vendor);
}

static void set_open_version(VirtdiskOpenParameters *out, const OPEN_VIRTUAL_DISK_PARAMETERS *in)
{
  g_autofree char *resiliency = vd_text_from_guid(&in->Version2.ResiliencyGuid);
  g_autofree char *snapshot = NULL;

  virtdisk_open_parameters_set_version(out, in->Version);
  if (in->Version == OPEN_VIRTUAL_DISK_VERSION_1) {
    virtdisk_open_parameters_set_rw_depth(out, in->Version1.RWDepth);
    return;
  }
  if (in->Version != OPEN_VIRTUAL_DISK_VERSION_2 && in->Version != OPEN_VIRTUAL_DISK_VERSION_3)
    return;
  virtdisk_open_parameters_set_get_info_only(out, in->Version2.GetInfoOnly != FALSE);
  virtdisk_open_parameters_set_read_only(out, in->Version2.ReadOnly != FALSE);
  if (!vd_text_is_null_guid(&in->Version2.ResiliencyGuid))
    virtdisk_open_parameters_set_resiliency_guid(out, resiliency);
  if (in->Version == OPEN_VIRTUAL_DISK_VERSION_3 && !vd_text_is_null_guid(&in->Version3.SnapshotId)) {
    snapshot = vd_text_from_guid(&in->Version3.SnapshotId);
    virtdisk_open_parameters_set_snapshot_id(out, snapshot);
  }
}

DWORD OpenVirtualDiskU8(PVIRTUAL_STORAGE_TYPE VirtualStorageType, const char *Path,
                        VIRTUAL_DISK_ACCESS_MASK VirtualDiskAccessMask, OPEN_VIRTUAL_DISK_FLAG Flags,
                        POPEN_VIRTUAL_DISK_PARAMETERS Parameters, PHANDLE Handle)
{
  g_autoptr(VirtdiskOpenParameters) parameters = virtdisk_open_parameters_new();
  g_autoptr(VdObject) object = NULL;
  VirtdiskHandle *disk;
  VirtdiskClient *client;
  GError *error = NULL;

  if (VirtualStorageType == NULL || Path == NULL || Handle == NULL)
    return ERROR_INVALID_PARAMETER;
  client = vd_win32_client(&error);
  if (client == NULL)
    return vd_win32_code(error);
  set_type(parameters, VirtualStorageType);
  if (Parameters != NULL)
    set_open_version(parameters, Parameters);
  disk = virtdisk_client_open_virtual_disk(client, Path, (VirtdiskAccessMask)VirtualDiskAccessMask,
                                           (VirtdiskOpenFlags)Flags, parameters, NULL, &error);
  if (disk == NULL)
    return vd_win32_code(error);
  *Handle = vd_object_new(VD_OBJECT_DISK, &object);
  object->disk = disk;
  return ERROR_SUCCESS;
}

DWORD OpenVirtualDisk(PVIRTUAL_STORAGE_TYPE VirtualStorageType, PCWSTR Path,
                      VIRTUAL_DISK_ACCESS_MASK VirtualDiskAccessMask, OPEN_VIRTUAL_DISK_FLAG Flags,
                      POPEN_VIRTUAL_DISK_PARAMETERS Parameters, PHANDLE Handle)
{
  g_autofree char *path = vd_text_from_utf16(Path);

  return OpenVirtualDiskU8(VirtualStorageType, path, VirtualDiskAccessMask, Flags, Parameters, Handle);
}

/* ---- CreateVirtualDisk ---- */

typedef struct {
  char *path;
  VirtdiskAccessMask access_mask;
  VirtdiskCreateFlags flags;
  guint64 size;
  VirtdiskCreateParameters *parameters;
} Creation;

static void creation_free(gpointer data)
{
  Creation *creation = data;

  g_free(creation->path);
  g_object_unref(creation->parameters);
  g_free(creation);
}

static gboolean create_work(VdObject *object, gpointer data, VdPending *pending, GError **error)
{
  Creation *creation = data;
  VirtdiskClient *client = vd_win32_client(error);
  VirtdiskHandle *disk;

  if (client == NULL)
    return FALSE;
  if (pending->overlapped != NULL)
    virtdisk_create_parameters_set_progress(creation->parameters, vd_overlapped_on_progress, pending, NULL);
  disk =
      virtdisk_client_create_virtual_disk(client, creation->path, creation->access_mask, creation->flags,
                                          creation->size, creation->parameters, pending->cancellable, error);
  if (disk == NULL)
    return FALSE;
  g_mutex_lock(&object->lock);
  object->disk = disk;
  g_mutex_unlock(&object->lock);
  return TRUE;
}

static void set_paths(VirtdiskCreateParameters *out, PCWSTR parent, PCWSTR source)
{
  g_autofree char *parent_path = vd_text_from_utf16(parent);
  g_autofree char *source_path = vd_text_from_utf16(source);

  if (parent != NULL)
    virtdisk_create_parameters_set_parent_path(out, parent_path != NULL ? parent_path : "");
  if (source != NULL)
    virtdisk_create_parameters_set_source_path(out, source_path != NULL ? source_path : "");
}

/* What later versions have is only taken if it is not used. */
static gboolean has_only_version_2(const CREATE_VIRTUAL_DISK_PARAMETERS *in)
{
  if (in->Version < CREATE_VIRTUAL_DISK_VERSION_3)
    return TRUE;
  if (in->Version3.SourceLimitPath != NULL || in->Version3.BackingStorageType.DeviceId != 0)
    return FALSE;
  return in->Version == CREATE_VIRTUAL_DISK_VERSION_3 ||
         (vd_text_is_null_guid(&in->Version4.PmemAddressAbstractionType) && in->Version4.DataAlignment == 0);
}

static void set_version_2(VirtdiskCreateParameters *out, const CREATE_VIRTUAL_DISK_PARAMETERS *in)
{
  g_autofree char *resiliency = vd_text_from_guid(&in->Version2.ResiliencyGuid);

  virtdisk_create_parameters_set_physical_sector_size(out, in->Version2.PhysicalSectorSizeInBytes);
  virtdisk_create_parameters_set_open_flags(out, (VirtdiskOpenFlags)in->Version2.OpenFlags);
  if (in->Version2.ParentPath != NULL)
    virtdisk_create_parameters_set_parent_device_id(
        out, (VirtdiskDeviceId)in->Version2.ParentVirtualStorageType.DeviceId);
  if (in->Version2.SourcePath != NULL)
    virtdisk_create_parameters_set_source_device_id(
        out, (VirtdiskDeviceId)in->Version2.SourceVirtualStorageType.DeviceId);
  if (!vd_text_is_null_guid(&in->Version2.ResiliencyGuid))
    virtdisk_create_parameters_set_resiliency_guid(out, resiliency);
  set_paths(out, in->Version2.ParentPath, in->Version2.SourcePath);
}

/* The first four members are the same in all versions. */
static VirtdiskCreateParameters *make_parameters(const VIRTUAL_STORAGE_TYPE *type, ULONG provider_flags,
                                                 const CREATE_VIRTUAL_DISK_PARAMETERS *in)
{
  VirtdiskCreateParameters *out = virtdisk_create_parameters_new();
  g_autofree char *vendor = vd_text_from_guid(&type->VendorId);
  g_autofree char *id = vd_text_from_guid(&in->Version1.UniqueId);

  virtdisk_create_parameters_set_version(out, MIN((guint)in->Version, 2));
  virtdisk_create_parameters_set_device_id(out, (VirtdiskDeviceId)type->DeviceId);
  if (!vd_text_is_null_guid(&type->VendorId))
    virtdisk_create_parameters_set_vendor_id(out, vendor);
  if (provider_flags != 0)
    virtdisk_create_parameters_set_provider_specific_flags(out, provider_flags);
  if (!vd_text_is_null_guid(&in->Version1.UniqueId))
    virtdisk_create_parameters_set_unique_id(out, id);
  virtdisk_create_parameters_set_block_size(out, in->Version1.BlockSizeInBytes);
  if (in->Version1.SectorSizeInBytes != 0)
    virtdisk_create_parameters_set_sector_size(out, in->Version1.SectorSizeInBytes);
  if (in->Version == CREATE_VIRTUAL_DISK_VERSION_1)
    set_paths(out, in->Version1.ParentPath, in->Version1.SourcePath);
  else
    set_version_2(out, in);
  return out;
}

DWORD CreateVirtualDiskU8(PVIRTUAL_STORAGE_TYPE VirtualStorageType, const char *Path,
                          VIRTUAL_DISK_ACCESS_MASK VirtualDiskAccessMask,
                          PSECURITY_DESCRIPTOR SecurityDescriptor, CREATE_VIRTUAL_DISK_FLAG Flags,
                          ULONG ProviderSpecificFlags, PCREATE_VIRTUAL_DISK_PARAMETERS Parameters,
                          LPOVERLAPPED Overlapped, PHANDLE Handle)
{
  g_autoptr(VdObject) object = NULL;
  Creation *creation;
  HANDLE handle;
  DWORD code;

  if (VirtualStorageType == NULL || Path == NULL || Parameters == NULL || Handle == NULL ||
      (guint)Parameters->Version - 1 >= CREATE_VIRTUAL_DISK_VERSION_4)
    return ERROR_INVALID_PARAMETER;
  if (SecurityDescriptor != NULL || !has_only_version_2(Parameters))
    return ERROR_NOT_SUPPORTED;
  creation = g_new0(Creation, 1);
  creation->path = g_strdup(Path);
  creation->access_mask = (VirtdiskAccessMask)VirtualDiskAccessMask;
  creation->flags = (VirtdiskCreateFlags)Flags;
  creation->size = Parameters->Version1.MaximumSize;
  creation->parameters = make_parameters(VirtualStorageType, ProviderSpecificFlags, Parameters);
  handle = vd_object_new(VD_OBJECT_DISK, &object);
  code = vd_overlapped_run(object, Overlapped, create_work, creation, creation_free);
  if (code == ERROR_SUCCESS || code == ERROR_IO_PENDING)
    *Handle = handle;
  else
    CloseHandle(handle);
  return code;
}

DWORD CreateVirtualDisk(PVIRTUAL_STORAGE_TYPE VirtualStorageType, PCWSTR Path,
                        VIRTUAL_DISK_ACCESS_MASK VirtualDiskAccessMask,
                        PSECURITY_DESCRIPTOR SecurityDescriptor, CREATE_VIRTUAL_DISK_FLAG Flags,
                        ULONG ProviderSpecificFlags, PCREATE_VIRTUAL_DISK_PARAMETERS Parameters,
                        LPOVERLAPPED Overlapped, PHANDLE Handle)
{
  g_autofree char *path = vd_text_from_utf16(Path);

  return CreateVirtualDiskU8(VirtualStorageType, path, VirtualDiskAccessMask, SecurityDescriptor, Flags,
                             ProviderSpecificFlags, Parameters, Overlapped, Handle);
}

/* ---- AddVirtualDiskParent ---- */

DWORD AddVirtualDiskParentU8(HANDLE VirtualDiskHandle, const char *ParentPath)
{
  DWORD code;
  g_autoptr(VirtdiskHandle) disk = vd_object_get_disk(VirtualDiskHandle, &code);
  GError *error = NULL;

  if (disk == NULL || ParentPath == NULL)
    return disk == NULL ? code : ERROR_INVALID_PARAMETER;
  virtdisk_handle_add_virtual_disk_parent(disk, ParentPath, NULL, &error);
  return vd_win32_code(error);
}

DWORD AddVirtualDiskParent(HANDLE VirtualDiskHandle, PCWSTR ParentPath)
{
  g_autofree char *path = vd_text_from_utf16(ParentPath);

  return AddVirtualDiskParentU8(VirtualDiskHandle, path);
}
