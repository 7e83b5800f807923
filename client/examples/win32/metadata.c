/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* EnumerateVirtualDiskMetadata, GetVirtualDiskMetadata, SetVirtualDiskMetadata, DeleteVirtualDiskMetadata:
 * metadata IMAGE (a VHDX) */
#include "sample.h"

#include <string.h>

int main(int argc, char **argv)
{
  static const GUID item = {0x0b9f1d54, 0x6f0a, 0x4d1e, {0x8c, 0x55, 1, 2, 3, 4, 5, 6}};
  HANDLE handle = open_image(argument(argc, argv, 1), OPEN_VIRTUAL_DISK_FLAG_NO_PARENTS, FALSE);
  GUID items[4];
  char data[16] = "";
  ULONG n = 4, size = 3;

  expect(ERROR_SUCCESS, SetVirtualDiskMetadata(handle, &item, 5, "hello"), "SetVirtualDiskMetadata");
  expect(ERROR_SUCCESS, EnumerateVirtualDiskMetadata(handle, &n, items), "EnumerateVirtualDiskMetadata");
  expect(1, n, "the number of items");
  expect(0, (DWORD)memcmp(&items[0], &item, sizeof item), "the item");
  n = 0;
  expect(ERROR_INSUFFICIENT_BUFFER, EnumerateVirtualDiskMetadata(handle, &n, NULL), "without room");
  expect(ERROR_INSUFFICIENT_BUFFER, GetVirtualDiskMetadata(handle, &item, &size, data), "too little room");
  expect(5, size, "the size of the item");
  expect(0, (DWORD)memcmp(data, "hel", 4), "the beginning of the item");
  size = sizeof data;
  expect(ERROR_SUCCESS, GetVirtualDiskMetadata(handle, &item, &size, data), "GetVirtualDiskMetadata");
  expect(0, (DWORD)memcmp(data, "hello", 5), "the item");
  expect(ERROR_SUCCESS, DeleteVirtualDiskMetadata(handle, &item), "DeleteVirtualDiskMetadata");
  expect(ERROR_NOT_FOUND, DeleteVirtualDiskMetadata(handle, &item), "and no second time");
  CloseHandle(handle);
  return EXIT_SUCCESS;
}
