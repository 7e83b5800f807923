/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the samples share: a code that is not expected ends the program. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include <virtdisk-win32.h>

/* The system chooses the format by the extension of the file's name. */
static const VIRTUAL_STORAGE_TYPE by_extension = {VIRTUAL_STORAGE_TYPE_DEVICE_UNKNOWN, {0, 0, 0, {0}}};

static inline void expect(DWORD expected, DWORD code, const char *what)
{
  if (code == expected)
    return;
  fprintf(stderr, "%s returned %u (0x%08X), not %u\n", what, (unsigned)code, (unsigned)code,
          (unsigned)expected);
  exit(EXIT_FAILURE);
}

static inline const char *argument(int argc, char **argv, int n)
{
  if (argc > n)
    return argv[n];
  fprintf(stderr, "%s: argument %d is missing\n", argv[0], n);
  exit(EXIT_FAILURE);
}

/* A version 2 handle. */
static inline HANDLE open_image(const char *path, OPEN_VIRTUAL_DISK_FLAG flags, BOOL read_only)
{
  VIRTUAL_STORAGE_TYPE type = by_extension;
  OPEN_VIRTUAL_DISK_PARAMETERS parameters = {.Version = OPEN_VIRTUAL_DISK_VERSION_2};
  HANDLE handle = NULL;

  parameters.Version2.ReadOnly = read_only;
  expect(ERROR_SUCCESS, OpenVirtualDiskU8(&type, path, VIRTUAL_DISK_ACCESS_NONE, flags, &parameters, &handle),
         "OpenVirtualDisk");
  return handle;
}
