/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* MergeVirtualDisk: merge CHILD */
#include "sample.h"

int main(int argc, char **argv)
{
  VIRTUAL_STORAGE_TYPE type = by_extension;
  OPEN_VIRTUAL_DISK_PARAMETERS parameters = {.Version = OPEN_VIRTUAL_DISK_VERSION_1};
  MERGE_VIRTUAL_DISK_PARAMETERS merge = {.Version = MERGE_VIRTUAL_DISK_VERSION_1};
  HANDLE handle = NULL;

  /* As many files are opened for writing as are merged, and one more. */
  parameters.Version1.RWDepth = 2;
  expect(ERROR_SUCCESS,
         OpenVirtualDiskU8(&type, argument(argc, argv, 1), VIRTUAL_DISK_ACCESS_METAOPS,
                           OPEN_VIRTUAL_DISK_FLAG_NONE, &parameters, &handle),
         "OpenVirtualDisk");
  merge.Version1.MergeDepth = MERGE_VIRTUAL_DISK_DEFAULT_MERGE_DEPTH;
  expect(ERROR_SUCCESS, MergeVirtualDisk(handle, MERGE_VIRTUAL_DISK_FLAG_NONE, &merge, NULL),
         "MergeVirtualDisk");
  CloseHandle(handle);
  return EXIT_SUCCESS;
}
