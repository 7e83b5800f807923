/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all makers of images do to the new file; failures named as create.h has them: DISK_FULL,
 * FILE_SYSTEM_LIMITATION (no file of that size there), IO. */
#pragma once

#include <stddef.h>

#include "formats/error.h"

/* INVALID_PARAMETER if it is not empty. */
bool vd_create_file_check_empty(int fd, VdFormatError *ret_error);
bool vd_create_file_write(int fd, uint64_t offset, const uint8_t *bytes, size_t length,
                          VdFormatError *ret_error);
/* size: bytes; what is new is a hole. */
bool vd_create_file_resize(int fd, uint64_t size, VdFormatError *ret_error);
/* Takes the space now; by writing zeros where the file system cannot do it at once. */
bool vd_create_file_allocate(int fd, uint64_t offset, uint64_t length, VdFormatError *ret_error);
/* Content and size are durable afterwards. */
bool vd_create_file_sync(int fd, VdFormatError *ret_error);
