/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is not there says so: unsupported IMAGE */
#include "sample.h"

int main(int argc, char **argv)
{
  HANDLE handle = open_image(argument(argc, argv, 1), OPEN_VIRTUAL_DISK_FLAG_NONE, FALSE);

  expect(ERROR_NOT_SUPPORTED, RawSCSIVirtualDisk(handle, NULL, 0, NULL), "RawSCSIVirtualDisk");
  expect(ERROR_NOT_SUPPORTED, CompleteForkVirtualDisk(handle), "CompleteForkVirtualDisk");
  expect(ERROR_NOT_SUPPORTED, ModifyVhdSet(handle, NULL, 0), "ModifyVhdSet");
  expect(ERROR_INVALID_HANDLE, AddVirtualDiskParentU8(&handle, "/a"), "what is no handle");
  CloseHandle(handle);
  return EXIT_SUCCESS;
}
