/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* OpenVirtualDisk, also with a name in UTF-16: open IMAGE */
#include "sample.h"

int main(int argc, char **argv)
{
  VIRTUAL_STORAGE_TYPE type = by_extension;
  HANDLE handle = NULL;

  expect(ERROR_SUCCESS,
         OpenVirtualDiskU8(&type, argument(argc, argv, 1), VIRTUAL_DISK_ACCESS_GET_INFO,
                           OPEN_VIRTUAL_DISK_FLAG_NONE, NULL, &handle),
         "OpenVirtualDiskU8");
  expect(TRUE, CloseHandle(handle), "CloseHandle");
  expect(FALSE, CloseHandle(handle), "CloseHandle, again");
  expect(ERROR_INVALID_HANDLE, GetLastError(), "GetLastError");
  expect(ERROR_FILE_NOT_FOUND,
         OpenVirtualDisk(&type, u"/nosuch.vhdx", VIRTUAL_DISK_ACCESS_GET_INFO, OPEN_VIRTUAL_DISK_FLAG_NONE,
                         NULL, &handle),
         "OpenVirtualDisk of nothing");
  expect(ERROR_INVALID_PARAMETER,
         OpenVirtualDisk(NULL, u"/nosuch.vhdx", VIRTUAL_DISK_ACCESS_GET_INFO, OPEN_VIRTUAL_DISK_FLAG_NONE,
                         NULL, &handle),
         "OpenVirtualDisk without a type");
  return EXIT_SUCCESS;
}
