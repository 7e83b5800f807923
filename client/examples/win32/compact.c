/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CompactVirtualDisk: compact IMAGE */
#include "sample.h"

int main(int argc, char **argv)
{
  HANDLE handle = open_image(argument(argc, argv, 1), OPEN_VIRTUAL_DISK_FLAG_NONE, FALSE);
  COMPACT_VIRTUAL_DISK_PARAMETERS parameters = {.Version = COMPACT_VIRTUAL_DISK_VERSION_1};
  OVERLAPPED overlapped = {.hEvent = CreateEvent(NULL, FALSE, FALSE, NULL)};

  expect(ERROR_IO_PENDING,
         CompactVirtualDisk(handle, COMPACT_VIRTUAL_DISK_FLAG_NONE, &parameters, &overlapped),
         "CompactVirtualDisk");
  expect(WAIT_OBJECT_0, WaitForSingleObject(overlapped.hEvent, INFINITE), "WaitForSingleObject");
  expect(ERROR_SUCCESS, (DWORD)overlapped.Internal, "the operation");
  expect(FALSE, CancelIoEx(handle, &overlapped), "nothing to cancel");
  expect(WAIT_TIMEOUT, WaitForSingleObject(overlapped.hEvent, 0), "an event that resets itself");
  CloseHandle(overlapped.hEvent);
  CloseHandle(handle);
  return EXIT_SUCCESS;
}
