/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* AddVirtualDiskParent: parent CHILD PARENT */
#include "sample.h"

int main(int argc, char **argv)
{
  HANDLE handle = open_image(argument(argc, argv, 1), OPEN_VIRTUAL_DISK_FLAG_CUSTOM_DIFF_CHAIN, TRUE);

  expect(ERROR_SUCCESS, AddVirtualDiskParentU8(handle, argument(argc, argv, 2)), "AddVirtualDiskParent");
  CloseHandle(handle);
  return EXIT_SUCCESS;
}
