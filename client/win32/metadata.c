/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user metadata of a VHDX. */
#include <string.h>

#include "win32.h"

DWORD EnumerateVirtualDiskMetadata(HANDLE VirtualDiskHandle, PULONG NumberOfItems, GUID *Items)
{
  DWORD code;
  g_autoptr(VirtdiskHandle) disk = vd_object_get_disk(VirtualDiskHandle, &code);
  g_auto(GStrv) found = NULL;
  GError *error = NULL;
  ULONG room, n;

  if (disk == NULL || NumberOfItems == NULL)
    return disk == NULL ? code : ERROR_INVALID_PARAMETER;
  found = virtdisk_handle_enumerate_virtual_disk_metadata(disk, NULL, &error);
  if (found == NULL)
    return vd_win32_code(error);
  n = g_strv_length(found);
  room = *NumberOfItems;
  *NumberOfItems = n;
  if (room < n || (n > 0 && Items == NULL))
    return ERROR_INSUFFICIENT_BUFFER;
  for (ULONG i = 0; i < n; i++)
    Items[i] = vd_text_to_guid(found[i]);
  return ERROR_SUCCESS;
}

/* A buffer that is too small gets the beginning. */
DWORD GetVirtualDiskMetadata(HANDLE VirtualDiskHandle, const GUID *Item, PULONG MetaDataSize, PVOID MetaData)
{
  DWORD code;
  g_autoptr(VirtdiskHandle) disk = vd_object_get_disk(VirtualDiskHandle, &code);
  g_autofree char *item = Item != NULL ? vd_text_from_guid(Item) : NULL;
  g_autoptr(GBytes) data = NULL;
  GError *error = NULL;
  const void *bytes;
  gsize size;
  ULONG room;

  if (disk == NULL || item == NULL || MetaDataSize == NULL)
    return disk == NULL ? code : ERROR_INVALID_PARAMETER;
  data = virtdisk_handle_get_virtual_disk_metadata(disk, item, NULL, &error);
  if (data == NULL)
    return vd_win32_code(error);
  bytes = g_bytes_get_data(data, &size);
  room = MetaData != NULL ? *MetaDataSize : 0;
  *MetaDataSize = (ULONG)size;
  if (MIN(size, room) > 0)
    memcpy(MetaData, bytes, MIN(size, room));
  return size <= room ? ERROR_SUCCESS : ERROR_INSUFFICIENT_BUFFER;
}

DWORD SetVirtualDiskMetadata(HANDLE VirtualDiskHandle, const GUID *Item, ULONG MetaDataSize,
                             const VOID *MetaData)
{
  DWORD code;
  g_autoptr(VirtdiskHandle) disk = vd_object_get_disk(VirtualDiskHandle, &code);
  g_autofree char *item = Item != NULL ? vd_text_from_guid(Item) : NULL;
  g_autoptr(GBytes) data = NULL;
  GError *error = NULL;

  if (disk == NULL || item == NULL || (MetaData == NULL && MetaDataSize > 0))
    return disk == NULL ? code : ERROR_INVALID_PARAMETER;
  data = g_bytes_new(MetaData, MetaDataSize);
  virtdisk_handle_set_virtual_disk_metadata(disk, item, data, NULL, &error);
  return vd_win32_code(error);
}

DWORD DeleteVirtualDiskMetadata(HANDLE VirtualDiskHandle, const GUID *Item)
{
  DWORD code;
  g_autoptr(VirtdiskHandle) disk = vd_object_get_disk(VirtualDiskHandle, &code);
  g_autofree char *item = Item != NULL ? vd_text_from_guid(Item) : NULL;
  GError *error = NULL;

  if (disk == NULL || item == NULL)
    return disk == NULL ? code : ERROR_INVALID_PARAMETER;
  virtdisk_handle_delete_virtual_disk_metadata(disk, item, NULL, &error);
  return vd_win32_code(error);
}
