/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pread, whole or not at all. */
#include "formats/reader.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/checked.h"

/* Bytes: what every block device's direct I/O is content with, and what is read at a time then. */
#define DIRECT_ALIGNMENT 4096
#define DIRECT_WINDOW (64 * 1024)

bool vd_reader_init(VdReader *reader, int fd, VdFormatError *ret_error)
{
  struct stat st;

  if (fstat(fd, &st) < 0)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, 0, "", "the image's size: %s",
                               strerrordesc_np(errno));
  if (!S_ISREG(st.st_mode))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, 0, "",
                               "the image is not a regular file (mode 0%o)", (unsigned)st.st_mode);
  reader->fd = fd;
  reader->size = (uint64_t)st.st_size;
  reader->read = NULL;
  return true;
}

/* A worker that serves has its files open for direct I/O, which wants offset, length and memory aligned:
 * what does not fit is read around. */
static ssize_t read_around(int fd, uint8_t *buffer, size_t length, uint64_t offset)
{
  static _Alignas(DIRECT_ALIGNMENT) uint8_t window[DIRECT_WINDOW];
  uint64_t start = offset - offset % DIRECT_ALIGNMENT;
  size_t skip = (size_t)(offset - start);
  ssize_t n = pread(fd, window, sizeof window, (off_t)start);

  if (n < 0)
    return n;
  if ((size_t)n <= skip)
    return 0;
  if (length > (size_t)n - skip)
    length = (size_t)n - skip;
  memcpy(buffer, &window[skip], length);
  return (ssize_t)length;
}

static ssize_t read_file(int fd, uint8_t *buffer, size_t length, uint64_t offset)
{
  ssize_t n = pread(fd, buffer, length, (off_t)offset);

  return n < 0 && errno == EINVAL ? read_around(fd, buffer, length, offset) : n;
}

/* Returns the bytes read; fewer than length with errno 0 at the end of the file. */
static size_t read_fully(const VdReader *reader, uint8_t *buffer, size_t length, uint64_t offset)
{
  size_t done = 0;

  while (done < length) {
    ssize_t n = reader->read != NULL ? reader->read(reader, &buffer[done], length - done, offset + done)
                                     : read_file(reader->fd, &buffer[done], length - done, offset + done);

    if (n < 0 && errno == EINTR)
      continue;
    if (n == 0)
      errno = 0;
    if (n <= 0)
      break;
    done += (size_t)n;
  }
  return done;
}

bool vd_reader_read(const VdReader *reader, const char *structure, uint64_t offset, uint8_t *buffer,
                    size_t length, VdSpan *ret_span, VdFormatError *ret_error)
{
  size_t done;

  if (length > VD_READER_MAX_LENGTH || !vd_range_within(offset, length, reader->size))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, offset, "",
                               "%s: %zu bytes at offset %" PRIu64 " are not within the file's %" PRIu64,
                               structure, length, offset, reader->size);
  done = read_fully(reader, buffer, length, offset);
  if (done < length)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, offset, "",
                               "%s: read %zu of %zu bytes at offset %" PRIu64 ": %s", structure, done, length,
                               offset, errno != 0 ? strerrordesc_np(errno) : "the file ends early");
  *ret_span = (VdSpan){.structure = structure, .data = buffer, .length = length, .file_offset = offset};
  return true;
}

uint64_t vd_reader_next_data(const VdReader *reader, uint64_t offset)
{
  off_t found = lseek(reader->fd, (off_t)offset, SEEK_DATA);

  if (found >= 0)
    return (uint64_t)found;
  return errno == ENXIO ? UINT64_MAX : offset;
}
