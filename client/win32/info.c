/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GetVirtualDiskInformation, SetVirtualDiskInformation, GetStorageDependencyInformation. */
#include <string.h>

#include "win32.h"

/* ---- GetVirtualDiskInformation ---- */

/* Where the locations begin; the rest of the structure does not count for them. */
#define LOCATIONS_AT offsetof(GET_VIRTUAL_DISK_INFO, ParentLocation.ParentLocationBuffer)

static DWORD fill_locations(VirtdiskInfo *info, ULONG room, ULONG *ret_needed, GET_VIRTUAL_DISK_INFO *out)
{
  g_auto(GStrv) paths = virtdisk_info_dup_parent_locations(info);
  gboolean resolved = virtdisk_info_get_parent_resolved(info);
  ULONG size = room > LOCATIONS_AT ? room - (ULONG)LOCATIONS_AT : 0;
  g_autofree char *all = NULL;
  gsize length = 0;
  DWORD code;

  if (paths == NULL || paths[0] == NULL)
    return ERROR_VHD_PARENT_VHD_NOT_FOUND;
  all = vd_text_join(paths, &length);
  /* One path is a string; several are a list, which ends in one more NUL. */
  code = vd_text_block_to_utf16(all, resolved ? strlen(all) + 1 : length, &size,
                                size > 0 ? out->ParentLocation.ParentLocationBuffer : NULL);
  *ret_needed = (ULONG)LOCATIONS_AT + size;
  if (code == ERROR_SUCCESS)
    out->ParentLocation.ParentResolved = resolved;
  return code;
}

static void fill_size(VirtdiskInfo *info, GET_VIRTUAL_DISK_INFO *out)
{
  out->Size.VirtualSize = virtdisk_info_get_virtual_size(info);
  out->Size.PhysicalSize = virtdisk_info_get_physical_size(info);
  out->Size.BlockSize = virtdisk_info_get_block_size(info);
  out->Size.SectorSize = virtdisk_info_get_sector_size(info);
}

static void fill_physical_disk(VirtdiskInfo *info, GET_VIRTUAL_DISK_INFO *out)
{
  out->PhysicalDisk.LogicalSectorSize = virtdisk_info_get_logical_sector_size(info);
  out->PhysicalDisk.PhysicalSectorSize = virtdisk_info_get_physical_sector_size(info);
  out->PhysicalDisk.IsRemote = virtdisk_info_get_is_remote(info);
}

static DWORD fill(VirtdiskInfo *info, GET_VIRTUAL_DISK_INFO *out)
{
  switch (out->Version) {
  case GET_VIRTUAL_DISK_INFO_SIZE:
    fill_size(info, out);
    return ERROR_SUCCESS;
  case GET_VIRTUAL_DISK_INFO_IDENTIFIER:
    out->Identifier = vd_text_to_guid(virtdisk_info_get_identifier(info));
    return ERROR_SUCCESS;
  case GET_VIRTUAL_DISK_INFO_PARENT_IDENTIFIER:
    out->ParentIdentifier = vd_text_to_guid(virtdisk_info_get_parent_identifier(info));
    return ERROR_SUCCESS;
  case GET_VIRTUAL_DISK_INFO_PARENT_TIMESTAMP:
    out->ParentTimestamp = virtdisk_info_get_parent_timestamp(info);
    return ERROR_SUCCESS;
  case GET_VIRTUAL_DISK_INFO_VIRTUAL_STORAGE_TYPE:
    out->VirtualStorageType.DeviceId = virtdisk_info_get_device_id(info);
    out->VirtualStorageType.VendorId = vd_text_to_guid(virtdisk_info_get_vendor_id(info));
    return ERROR_SUCCESS;
  case GET_VIRTUAL_DISK_INFO_PROVIDER_SUBTYPE:
    out->ProviderSubtype = virtdisk_info_get_provider_subtype(info);
    return ERROR_SUCCESS;
  case GET_VIRTUAL_DISK_INFO_IS_4K_ALIGNED:
    out->Is4kAligned = virtdisk_info_get_is_4k_aligned(info);
    return ERROR_SUCCESS;
  case GET_VIRTUAL_DISK_INFO_PHYSICAL_DISK:
    fill_physical_disk(info, out);
    return ERROR_SUCCESS;
  case GET_VIRTUAL_DISK_INFO_VHD_PHYSICAL_SECTOR_SIZE:
    out->VhdPhysicalSectorSize = virtdisk_info_get_vhd_physical_sector_size(info);
    return ERROR_SUCCESS;
  case GET_VIRTUAL_DISK_INFO_SMALLEST_SAFE_VIRTUAL_SIZE:
    out->SmallestSafeVirtualSize = virtdisk_info_get_smallest_safe_virtual_size(info);
    return ERROR_SUCCESS;
  case GET_VIRTUAL_DISK_INFO_FRAGMENTATION:
    out->FragmentationPercentage = virtdisk_info_get_fragmentation_percentage(info);
    return ERROR_SUCCESS;
  case GET_VIRTUAL_DISK_INFO_IS_LOADED:
    out->IsLoaded = virtdisk_info_get_is_loaded(info);
    return ERROR_SUCCESS;
  case GET_VIRTUAL_DISK_INFO_VIRTUAL_DISK_ID:
    out->VirtualDiskId = vd_text_to_guid(virtdisk_info_get_virtual_disk_id(info));
    return ERROR_SUCCESS;
  default:
    return ERROR_NOT_SUPPORTED;
  }
}

DWORD GetVirtualDiskInformation(HANDLE VirtualDiskHandle, PULONG VirtualDiskInfoSize,
                                PGET_VIRTUAL_DISK_INFO VirtualDiskInfo, PULONG SizeUsed)
{
  DWORD code;
  g_autoptr(VirtdiskHandle) disk = vd_object_get_disk(VirtualDiskHandle, &code);
  g_autoptr(VirtdiskInfo) info = NULL;
  ULONG needed = sizeof *VirtualDiskInfo, room;
  GError *error = NULL;

  if (disk == NULL || VirtualDiskInfo == NULL || VirtualDiskInfoSize == NULL)
    return disk == NULL ? code : ERROR_INVALID_PARAMETER;
  room = *VirtualDiskInfoSize;
  *VirtualDiskInfoSize = needed;
  if (room < needed)
    return ERROR_INSUFFICIENT_BUFFER;
  info = virtdisk_handle_get_virtual_disk_information(disk, (VirtdiskInfoVersion)VirtualDiskInfo->Version,
                                                      NULL, &error);
  if (info == NULL)
    return vd_win32_code(error);
  code = VirtualDiskInfo->Version == GET_VIRTUAL_DISK_INFO_PARENT_LOCATION
             ? fill_locations(info, room, &needed, VirtualDiskInfo)
             : fill(info, VirtualDiskInfo);
  *VirtualDiskInfoSize = needed;
  if (SizeUsed != NULL && code == ERROR_SUCCESS)
    *SizeUsed = needed;
  return code;
}

/* ---- SetVirtualDiskInformation ---- */

/* NULL: there is no such change, or a string is missing. */
static VirtdiskSetInfo *make_change(const SET_VIRTUAL_DISK_INFO *in)
{
  g_autofree char *guid = NULL;
  g_autofree char *path = NULL;

  switch (in->Version) {
  case SET_VIRTUAL_DISK_INFO_PARENT_PATH:
    path = vd_text_from_utf16(in->ParentFilePath);
    return path != NULL ? virtdisk_set_info_new_parent_path(path) : NULL;
  case SET_VIRTUAL_DISK_INFO_IDENTIFIER:
    guid = vd_text_from_guid(&in->UniqueIdentifier);
    return virtdisk_set_info_new_identifier(guid);
  case SET_VIRTUAL_DISK_INFO_PARENT_PATH_WITH_DEPTH:
    path = vd_text_from_utf16(in->ParentPathWithDepthInfo.ParentFilePath);
    return path != NULL
               ? virtdisk_set_info_new_parent_path_with_depth(in->ParentPathWithDepthInfo.ChildDepth, path)
               : NULL;
  case SET_VIRTUAL_DISK_INFO_PHYSICAL_SECTOR_SIZE:
    return virtdisk_set_info_new_physical_sector_size(in->VhdPhysicalSectorSize);
  case SET_VIRTUAL_DISK_INFO_VIRTUAL_DISK_ID:
    guid = vd_text_from_guid(&in->VirtualDiskId);
    return virtdisk_set_info_new_virtual_disk_id(guid);
  case SET_VIRTUAL_DISK_INFO_PARENT_LOCATOR:
    guid = vd_text_from_guid(&in->ParentLocator.LinkageId);
    path = vd_text_from_utf16(in->ParentLocator.ParentFilePath);
    return path != NULL ? virtdisk_set_info_new_parent_locator(guid, path) : NULL;
  default:
    return NULL;
  }
}

DWORD SetVirtualDiskInformation(HANDLE VirtualDiskHandle, PSET_VIRTUAL_DISK_INFO VirtualDiskInfo)
{
  DWORD code;
  g_autoptr(VirtdiskHandle) disk = vd_object_get_disk(VirtualDiskHandle, &code);
  g_autoptr(VirtdiskSetInfo) change = NULL;
  GError *error = NULL;

  if (disk == NULL || VirtualDiskInfo == NULL)
    return disk == NULL ? code : ERROR_INVALID_PARAMETER;
  if (VirtualDiskInfo->Version == SET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE)
    return ERROR_NOT_SUPPORTED;
  change = make_change(VirtualDiskInfo);
  if (change == NULL)
    return ERROR_INVALID_PARAMETER;
  virtdisk_handle_set_virtual_disk_information(disk, change, NULL, &error);
  return vd_win32_code(error);
}

/* ---- GetStorageDependencyInformation ---- */

/* Strings follow the entries in the caller's buffer; NULL only counts. */
typedef struct {
  char *buffer;
  gsize used;
} Strings;

static PWSTR put(Strings *strings, const char *text)
{
  glong units = 0;
  g_autofree gunichar2 *converted = g_utf8_to_utf16(text, -1, NULL, &units, NULL);
  gsize bytes = (gsize)(units + 1) * sizeof(WCHAR);
  char *at = strings->buffer != NULL ? strings->buffer + strings->used : NULL;

  if (converted == NULL)
    return NULL;
  if (at != NULL)
    memcpy(at, converted, bytes);
  strings->used += bytes;
  return (PWSTR)(void *)at;
}

static VIRTUAL_STORAGE_TYPE type_of(const VirtdiskDependency *entry)
{
  return (VIRTUAL_STORAGE_TYPE){.DeviceId = entry->device_id, .VendorId = vd_text_to_guid(entry->vendor_id)};
}

static STORAGE_DEPENDENCY_INFO_TYPE_2 entry_of(const VirtdiskDependency *in, Strings *strings)
{
  STORAGE_DEPENDENCY_INFO_TYPE_2 out = {.DependencyTypeFlags = (DEPENDENT_DISK_FLAG)in->dependency_type_flags,
                                        .ProviderSpecificFlags = in->provider_specific_flags,
                                        .VirtualStorageType = type_of(in),
                                        .AncestorLevel = in->ancestor_level};

  out.DependencyDeviceName = put(strings, in->dependency_device_name);
  out.HostVolumeName = put(strings, in->host_volume_name);
  out.DependentVolumeName = put(strings, in->dependent_volume_name);
  out.DependentVolumeRelativePath = put(strings, in->dependent_volume_relative_path);
  return out;
}

static gsize fill_dependencies(GPtrArray *entries, guint version, STORAGE_DEPENDENCY_INFO *out)
{
  gsize each = version == 1 ? sizeof(STORAGE_DEPENDENCY_INFO_TYPE_1) : sizeof(STORAGE_DEPENDENCY_INFO_TYPE_2);
  Strings strings = {(char *)out, offsetof(STORAGE_DEPENDENCY_INFO, Version1Entries) + entries->len * each};

  for (guint i = 0; i < entries->len; i++) {
    const VirtdiskDependency *in = g_ptr_array_index(entries, i);
    STORAGE_DEPENDENCY_INFO_TYPE_2 entry = {0};

    if (version == 2)
      entry = entry_of(in, &strings);
    if (out != NULL && version == 2)
      out->Version2Entries[i] = entry;
    else if (out != NULL)
      out->Version1Entries[i] = (STORAGE_DEPENDENCY_INFO_TYPE_1){
          (DEPENDENT_DISK_FLAG)in->dependency_type_flags, in->provider_specific_flags, type_of(in)};
  }
  if (out != NULL)
    out->NumberEntries = entries->len;
  return strings.used;
}

DWORD GetStorageDependencyInformation(HANDLE ObjectHandle, GET_STORAGE_DEPENDENCY_FLAG Flags,
                                      ULONG StorageDependencyInfoSize,
                                      PSTORAGE_DEPENDENCY_INFO StorageDependencyInfo, PULONG SizeUsed)
{
  g_autoptr(VdObject) file = vd_object_ref(ObjectHandle, VD_OBJECT_FILE);
  g_autoptr(GPtrArray) entries = NULL;
  VirtdiskClient *client;
  GError *error = NULL;
  gsize needed;
  guint version;

  if (file == NULL)
    return ERROR_INVALID_HANDLE;
  if (StorageDependencyInfo == NULL ||
      StorageDependencyInfoSize < offsetof(STORAGE_DEPENDENCY_INFO, Version1Entries))
    return ERROR_INVALID_PARAMETER;
  version = StorageDependencyInfo->Version;
  client = vd_win32_client(&error);
  if (client != NULL)
    entries = virtdisk_client_get_storage_dependency_information(
        client, file->path, (VirtdiskDependencyFlags)Flags, version, NULL, &error);
  if (entries == NULL)
    return vd_win32_code(error);
  needed = fill_dependencies(entries, version, NULL);
  if (SizeUsed != NULL)
    *SizeUsed = (ULONG)needed;
  if (needed > StorageDependencyInfoSize)
    return ERROR_INSUFFICIENT_BUFFER;
  fill_dependencies(entries, version, StorageDependencyInfo);
  return ERROR_SUCCESS;
}
