/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GetVirtualDiskInformation and SetVirtualDiskInformation: info IMAGE (a VHDX) */
#include "sample.h"

int main(int argc, char **argv)
{
  HANDLE handle = open_image(argument(argc, argv, 1), OPEN_VIRTUAL_DISK_FLAG_NONE, FALSE);
  GET_VIRTUAL_DISK_INFO info = {.Version = GET_VIRTUAL_DISK_INFO_SIZE};
  SET_VIRTUAL_DISK_INFO change = {.Version = SET_VIRTUAL_DISK_INFO_PHYSICAL_SECTOR_SIZE};
  ULONG size = sizeof info, used = 0;

  expect(ERROR_SUCCESS, GetVirtualDiskInformation(handle, &size, &info, &used), "GetVirtualDiskInformation");
  printf("%llu bytes, %u in a sector\n", (unsigned long long)info.Size.VirtualSize, info.Size.SectorSize);
  expect(sizeof info, used, "the size of the answer");
  change.VhdPhysicalSectorSize = 512;
  expect(ERROR_SUCCESS, SetVirtualDiskInformation(handle, &change), "SetVirtualDiskInformation");
  info.Version = GET_VIRTUAL_DISK_INFO_VHD_PHYSICAL_SECTOR_SIZE;
  size = sizeof info;
  expect(ERROR_SUCCESS, GetVirtualDiskInformation(handle, &size, &info, NULL), "GetVirtualDiskInformation");
  expect(512, info.VhdPhysicalSectorSize, "the physical sector size");
  info.Version = GET_VIRTUAL_DISK_INFO_VIRTUAL_STORAGE_TYPE;
  size = 4;
  expect(ERROR_INSUFFICIENT_BUFFER, GetVirtualDiskInformation(handle, &size, &info, NULL), "without room");
  expect(sizeof info, size, "the room it takes");
  expect(ERROR_SUCCESS, GetVirtualDiskInformation(handle, &size, &info, NULL), "GetVirtualDiskInformation");
  expect(VIRTUAL_STORAGE_TYPE_DEVICE_VHDX, info.VirtualStorageType.DeviceId, "the format");
  CloseHandle(handle);
  return EXIT_SUCCESS;
}
