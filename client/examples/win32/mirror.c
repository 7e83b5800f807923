/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* MirrorVirtualDisk, BreakMirrorVirtualDisk: mirror IMAGE TARGET */
#include "sample.h"

/* Milliseconds between two looks. */
#define INTERVAL 50

/* The last status; it stays ERROR_IO_PENDING when all is mirrored. */
static DWORD wait_until_mirrored(HANDLE handle, OVERLAPPED *overlapped)
{
  VIRTUAL_DISK_PROGRESS progress = {.OperationStatus = ERROR_IO_PENDING};

  do {
    WaitForSingleObject(overlapped->hEvent, INTERVAL);
    expect(ERROR_SUCCESS, GetVirtualDiskOperationProgress(handle, overlapped, &progress),
           "GetVirtualDiskOperationProgress");
  } while (progress.OperationStatus == ERROR_IO_PENDING && progress.CurrentValue < progress.CompletionValue);
  return progress.OperationStatus;
}

static void mirror(HANDLE handle, const char *path, OVERLAPPED *overlapped)
{
  MIRROR_VIRTUAL_DISK_PARAMETERS parameters = {.Version = MIRROR_VIRTUAL_DISK_VERSION_1};

  expect(ERROR_IO_PENDING,
         MirrorVirtualDiskU8(handle, MIRROR_VIRTUAL_DISK_FLAG_NONE, &parameters, path, overlapped),
         "MirrorVirtualDisk");
  expect(ERROR_IO_PENDING, wait_until_mirrored(handle, overlapped), "the mirror is complete");
}

int main(int argc, char **argv)
{
  HANDLE handle = open_image(argument(argc, argv, 1), OPEN_VIRTUAL_DISK_FLAG_NONE, FALSE);
  ATTACH_VIRTUAL_DISK_PARAMETERS attach = {.Version = ATTACH_VIRTUAL_DISK_VERSION_1};
  MIRROR_VIRTUAL_DISK_PARAMETERS none = {.Version = MIRROR_VIRTUAL_DISK_VERSION_1};
  OVERLAPPED overlapped = {.hEvent = CreateEvent(NULL, TRUE, FALSE, NULL)};
  const char *target = argument(argc, argv, 2);
  DWORD bytes;

  expect(ERROR_INVALID_PARAMETER, MirrorVirtualDisk(handle, MIRROR_VIRTUAL_DISK_FLAG_NONE, &none, NULL),
         "MirrorVirtualDisk without OVERLAPPED");
  expect(ERROR_SUCCESS, AttachVirtualDisk(handle, NULL, ATTACH_VIRTUAL_DISK_FLAG_NONE, 0, &attach, NULL),
         "AttachVirtualDisk");
  mirror(handle, target, &overlapped);
  expect(TRUE, CancelIo(handle), "CancelIo");
  GetOverlappedResult(handle, &overlapped, &bytes, TRUE);
  expect(ERROR_OPERATION_ABORTED, GetLastError(), "the image is the disk as before");

  mirror(handle, target, &overlapped);
  expect(ERROR_SUCCESS, BreakMirrorVirtualDisk(handle), "BreakMirrorVirtualDisk");
  expect(TRUE, GetOverlappedResult(handle, &overlapped, &bytes, TRUE), "the mirror is the disk");
  CloseHandle(overlapped.hEvent);
  CloseHandle(handle);
  return EXIT_SUCCESS;
}
