/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/direct-io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/io.h"

/* glibc's struct statx of Debian 12 lacks the fields: the kernel's own header has them. Returns 0 if unknown.
 */
static uint32_t ask_alignment(int fd)
{
  struct statx stat = {0};

  if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stat) < 0 ||
      !(stat.stx_mask & STATX_DIOALIGN))
    return 0;
  if (stat.stx_dio_offset_align == 0)
    return 0;
  return stat.stx_dio_offset_align > stat.stx_dio_mem_align ? stat.stx_dio_offset_align
                                                            : stat.stx_dio_mem_align;
}

static bool reads(int fd, uint32_t alignment)
{
  void *buffer = aligned_alloc(VD_IO_ALIGNMENT, VD_IO_ALIGNMENT);
  bool good = buffer && pread(fd, buffer, alignment, 0) >= 0;

  free(buffer);
  return good;
}

int vd_direct_io_disable(int fd)
{
  int flags = fcntl(fd, F_GETFL);

  return flags < 0 || fcntl(fd, F_SETFL, flags & ~O_DIRECT) < 0 ? -errno : 0;
}

uint32_t vd_direct_io_enable(int fd, uint32_t sector_size)
{
  uint32_t alignment = ask_alignment(fd);
  uint32_t most = sector_size > 512 ? sector_size : 512;
  int flags = fcntl(fd, F_GETFL);

  if (alignment == 0 || alignment > most || alignment > VD_IO_ALIGNMENT || flags < 0)
    return 0;
  if (alignment < 512)
    alignment = 512;
  if (fcntl(fd, F_SETFL, flags | O_DIRECT) < 0)
    return 0;
  if (reads(fd, alignment))
    return alignment;
  vd_direct_io_disable(fd);
  return 0;
}
