/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ExpandVirtualDisk and ResizeVirtualDisk: expand IMAGE (64 MiB) */
#include "sample.h"

int main(int argc, char **argv)
{
  HANDLE handle = open_image(argument(argc, argv, 1), OPEN_VIRTUAL_DISK_FLAG_NONE, FALSE);
  EXPAND_VIRTUAL_DISK_PARAMETERS expand = {.Version = EXPAND_VIRTUAL_DISK_VERSION_1};
  RESIZE_VIRTUAL_DISK_PARAMETERS resize = {.Version = RESIZE_VIRTUAL_DISK_VERSION_1};
  GET_VIRTUAL_DISK_INFO info = {.Version = GET_VIRTUAL_DISK_INFO_SIZE};
  ULONG size = sizeof info;

  expand.Version1.NewSize = 96 << 20;
  expect(ERROR_SUCCESS, ExpandVirtualDisk(handle, EXPAND_VIRTUAL_DISK_FLAG_NONE, &expand, NULL),
         "ExpandVirtualDisk");
  resize.Version1.NewSize = 128 << 20;
  expect(ERROR_SUCCESS, ResizeVirtualDisk(handle, RESIZE_VIRTUAL_DISK_FLAG_NONE, &resize, NULL),
         "ResizeVirtualDisk");
  expect(ERROR_SUCCESS, GetVirtualDiskInformation(handle, &size, &info, NULL), "GetVirtualDiskInformation");
  expect(TRUE, info.Size.VirtualSize == 128 << 20, "the new size");
  CloseHandle(handle);
  return EXIT_SUCCESS;
}
