/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What means nothing on Linux, or is not there: so that programs link, and hear it. */
#include "virtdisk-win32.h"

DWORD QueryChangesVirtualDisk(HANDLE VirtualDiskHandle, PCWSTR ChangeTrackingId, ULONG64 ByteOffset,
                              ULONG64 ByteLength, QUERY_CHANGES_VIRTUAL_DISK_FLAG Flags,
                              PQUERY_CHANGES_VIRTUAL_DISK_RANGE Ranges, PULONG RangeCount,
                              PULONG64 ProcessedLength)
{
  return ERROR_NOT_SUPPORTED;
}

DWORD RawSCSIVirtualDisk(HANDLE VirtualDiskHandle, const void *Parameters, ULONG Flags, void *Response)
{
  return ERROR_NOT_SUPPORTED;
}

DWORD ForkVirtualDisk(HANDLE VirtualDiskHandle, ULONG Flags, const void *Parameters, LPOVERLAPPED Overlapped)
{
  return ERROR_NOT_SUPPORTED;
}

DWORD CompleteForkVirtualDisk(HANDLE VirtualDiskHandle)
{
  return ERROR_NOT_SUPPORTED;
}

DWORD TakeSnapshotVhdSet(HANDLE VirtualDiskHandle, const void *Parameters, ULONG Flags)
{
  return ERROR_NOT_SUPPORTED;
}

DWORD DeleteSnapshotVhdSet(HANDLE VirtualDiskHandle, const void *Parameters, ULONG Flags)
{
  return ERROR_NOT_SUPPORTED;
}

DWORD ApplySnapshotVhdSet(HANDLE VirtualDiskHandle, const void *Parameters, ULONG Flags)
{
  return ERROR_NOT_SUPPORTED;
}

DWORD ModifyVhdSet(HANDLE VirtualDiskHandle, const void *Parameters, ULONG Flags)
{
  return ERROR_NOT_SUPPORTED;
}
