// SPDX-License-Identifier: LGPL-2.1-or-later
// The names of Windows in a C++ program, whose layout the header itself asserts: compiling it is the test.
#include <virtdisk-win32.h>

DWORD virtdisk_win32_header_in_cc(HANDLE handle)
{
  OPEN_VIRTUAL_DISK_PARAMETERS parameters = {};
  VIRTUAL_STORAGE_TYPE type = {VIRTUAL_STORAGE_TYPE_DEVICE_VHDX, VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT};

  parameters.Version = OPEN_VIRTUAL_DISK_VERSION_2;
  parameters.Version2.ReadOnly = TRUE;
  return OpenVirtualDisk(&type, u"/a.vhdx", VIRTUAL_DISK_ACCESS_NONE, OPEN_VIRTUAL_DISK_FLAG_NONE,
                         &parameters, &handle);
}
