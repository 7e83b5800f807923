/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* AttachVirtualDisk, GetVirtualDiskPhysicalPath, GetAllAttachedVirtualDiskPhysicalPaths,
 * GetStorageDependencyInformation, DetachVirtualDisk: attach IMAGE */
#include "sample.h"

int main(int argc, char **argv)
{
  HANDLE handle = open_image(argument(argc, argv, 1), OPEN_VIRTUAL_DISK_FLAG_NONE, FALSE), file;
  ATTACH_VIRTUAL_DISK_PARAMETERS parameters = {.Version = ATTACH_VIRTUAL_DISK_VERSION_1};
  STORAGE_DEPENDENCY_INFO *info = calloc(1, 65536);
  char device[256];
  ULONG size = 0, used = 0;

  expect(ERROR_DEV_NOT_EXIST, GetVirtualDiskPhysicalPathU8(handle, &size, NULL), "no device yet");
  expect(ERROR_SUCCESS, AttachVirtualDisk(handle, NULL, ATTACH_VIRTUAL_DISK_FLAG_NONE, 0, &parameters, NULL),
         "AttachVirtualDisk");
  size = 0;
  expect(ERROR_INSUFFICIENT_BUFFER, GetVirtualDiskPhysicalPath(handle, &size, NULL), "how long it is");
  size = sizeof device;
  expect(ERROR_SUCCESS, GetVirtualDiskPhysicalPathU8(handle, &size, device), "GetVirtualDiskPhysicalPath");
  printf("%s\n", device);
  size = 0;
  expect(ERROR_INSUFFICIENT_BUFFER, GetAllAttachedVirtualDiskPhysicalPaths(&size, NULL),
         "GetAllAttachedVirtualDiskPhysicalPaths");
  file = CreateFileU8(device, 0, 0, NULL, 0, 0, NULL);
  info->Version = STORAGE_DEPENDENCY_INFO_VERSION_2;
  expect(ERROR_SUCCESS,
         GetStorageDependencyInformation(
             file, GET_STORAGE_DEPENDENCY_FLAG_HOST_VOLUMES | GET_STORAGE_DEPENDENCY_FLAG_DISK_HANDLE, 65536,
             info, &used),
         "GetStorageDependencyInformation");
  expect(TRUE, info->NumberEntries >= 1 && used <= 65536, "an entry for the image");
  expect(ERROR_INSUFFICIENT_BUFFER,
         GetStorageDependencyInformation(
             file, GET_STORAGE_DEPENDENCY_FLAG_HOST_VOLUMES | GET_STORAGE_DEPENDENCY_FLAG_DISK_HANDLE, 8,
             info, &used),
         "GetStorageDependencyInformation without room");
  CloseHandle(file);
  free(info);
  expect(ERROR_SUCCESS, DetachVirtualDisk(handle, DETACH_VIRTUAL_DISK_FLAG_NONE, 0), "DetachVirtualDisk");
  expect(ERROR_NOT_FOUND, DetachVirtualDisk(handle, DETACH_VIRTUAL_DISK_FLAG_NONE, 0), "and no second time");
  CloseHandle(handle);
  return EXIT_SUCCESS;
}
