/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CreateVirtualDisk: create IMAGE [PARENT]. With an OVERLAPPED it goes on while the program does, and says
 * how far it is. */
#include "sample.h"

int main(int argc, char **argv)
{
  VIRTUAL_STORAGE_TYPE type = by_extension;
  CREATE_VIRTUAL_DISK_PARAMETERS parameters = {.Version = CREATE_VIRTUAL_DISK_VERSION_2};
  OVERLAPPED overlapped = {.hEvent = CreateEvent(NULL, TRUE, FALSE, NULL)};
  VIRTUAL_DISK_PROGRESS progress = {0};
  HANDLE handle = NULL;

  parameters.Version2.MaximumSize = 64 << 20;
  expect(ERROR_IO_PENDING,
         CreateVirtualDiskU8(&type, argument(argc, argv, 1), VIRTUAL_DISK_ACCESS_NONE, NULL,
                             CREATE_VIRTUAL_DISK_FLAG_NONE, 0, &parameters, &overlapped, &handle),
         "CreateVirtualDisk");
  expect(WAIT_OBJECT_0, WaitForSingleObject(overlapped.hEvent, INFINITE), "WaitForSingleObject");
  expect(ERROR_SUCCESS, GetVirtualDiskOperationProgress(handle, &overlapped, &progress),
         "GetVirtualDiskOperationProgress");
  expect(ERROR_SUCCESS, progress.OperationStatus, "the operation");
  expect(TRUE, GetOverlappedResult(handle, &overlapped, NULL, TRUE), "GetOverlappedResult");
  expect(TRUE, progress.CurrentValue == progress.CompletionValue, "the progress at the end");
  CloseHandle(handle);
  CloseHandle(overlapped.hEvent);
  expect(ERROR_FILE_EXISTS,
         CreateVirtualDiskU8(&type, argument(argc, argv, 1), VIRTUAL_DISK_ACCESS_NONE, NULL,
                             CREATE_VIRTUAL_DISK_FLAG_NONE, 0, &parameters, NULL, &handle),
         "CreateVirtualDisk over a file");
  return EXIT_SUCCESS;
}
