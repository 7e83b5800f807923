/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plain blocking calls, each whole or not at all. */
#include "formats/create-file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool fail(const char *what, uint64_t offset, VdFormatError *ret_error)
{
  VirtdiskError code = errno == ENOSPC || errno == EDQUOT ? VIRTDISK_ERROR_DISK_FULL
                       : errno == EFBIG                   ? VIRTDISK_ERROR_FILE_SYSTEM_LIMITATION
                                                          : VIRTDISK_ERROR_IO;

  return vd_format_error_set(ret_error, code, offset, "", "the new image: %s at offset %" PRIu64 ": %s", what,
                             offset, strerrordesc_np(errno));
}

bool vd_create_file_check_empty(int fd, VdFormatError *ret_error)
{
  struct stat st;

  if (fstat(fd, &st) < 0)
    return fail("its size", 0, ret_error);
  if (!S_ISREG(st.st_mode) || st.st_size != 0)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "",
                               "the new image's file is not an empty regular file");
  return true;
}

bool vd_create_file_write(int fd, uint64_t offset, const uint8_t *bytes, size_t length,
                          VdFormatError *ret_error)
{
  for (size_t done = 0; done < length;) {
    ssize_t n = pwrite(fd, &bytes[done], length - done, (off_t)(offset + done));

    if (n < 0 && errno == EINTR)
      continue;
    if (n == 0)
      errno = ENOSPC;
    if (n <= 0)
      return fail("a write", offset + done, ret_error);
    done += (size_t)n;
  }
  return true;
}

bool vd_create_file_resize(int fd, uint64_t size, VdFormatError *ret_error)
{
  int result;

  do
    result = ftruncate(fd, (off_t)size);
  while (result < 0 && errno == EINTR);
  return result == 0 || fail("its end", size, ret_error);
}

bool vd_create_file_allocate(int fd, uint64_t offset, uint64_t length, VdFormatError *ret_error)
{
  static const uint8_t zeros[65536];
  int result;

  do
    result = fallocate(fd, 0, (off_t)offset, (off_t)length);
  while (result < 0 && errno == EINTR);
  if (result == 0)
    return true;
  if (errno != EOPNOTSUPP && errno != ENOSYS)
    return fail("its space", offset, ret_error);
  for (uint64_t done = 0; done < length;) {
    uint64_t piece = length - done < sizeof zeros ? length - done : sizeof zeros;

    if (!vd_create_file_write(fd, offset + done, zeros, piece, ret_error))
      return false;
    done += piece;
  }
  return true;
}

bool vd_create_file_sync(int fd, VdFormatError *ret_error)
{
  return fsync(fd) == 0 || fail("making it durable", 0, ret_error);
}
