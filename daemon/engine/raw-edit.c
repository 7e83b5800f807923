/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What can be changed of an image that is nothing but its disk: how long it is. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "engine/edit-ops.h"

#define SECTOR_SIZE 512

static bool check(int result, uint64_t size, VdFormatError *ret_error)
{
  VirtdiskError code = result == -ENOSPC || result == -EDQUOT ? VIRTDISK_ERROR_DISK_FULL
                       : result == -EFBIG                     ? VIRTDISK_ERROR_FILE_SYSTEM_LIMITATION
                                                              : VIRTDISK_ERROR_IO;

  return result == 0 ||
         vd_format_error_set(ret_error, code, size, "", "the image's new end at offset %" PRIu64 ": %s", size,
                             strerrordesc_np(-result));
}

static bool edit_size(const VdLayerSource *source, uint64_t size, VdFormatError *ret_error)
{
  VdIoOp end = {.kind = VD_IO_TRUNCATE, .file = source->file, .length = size};
  VdIoOp flush = {.kind = VD_IO_FLUSH, .file = source->file};

  if (size == 0 || size % SECTOR_SIZE != 0 || size > INT64_MAX)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_SIZE, 0, "size",
                               "the size %" PRIu64 " is not a positive multiple of %d", size, SECTOR_SIZE);
  return check(vd_io_run(source->io, &end), size, ret_error) &&
         check(vd_io_run(source->io, &flush), size, ret_error);
}

const VdEditOps vd_raw_edit_ops = {.size = edit_size};
