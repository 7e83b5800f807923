/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Raw: the file is the disk, byte for byte. It has no structure that could be wrong, so its bytes are not
 * looked at here; whatever head or footer of another format they carry is the guest's own data.
 */
#include "formats/registry.h"

#include <inttypes.h>

#include "virtdisk-enums.h"

#define SECTOR_SIZE 512

static bool probe(const VdReader *reader, VdFacts *facts, VdFormatError *ret_error)
{
  if (reader->size < SECTOR_SIZE || reader->size % SECTOR_SIZE != 0)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_SIZE, reader->size, "file size",
                               "the raw image has %" PRIu64 " bytes, not a positive multiple of %d",
                               reader->size, SECTOR_SIZE);
  if (reader->size > VD_MAX_RAW_SIZE)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_SIZE, reader->size, "file size",
                               "the raw image has %" PRIu64 " bytes, more than %" PRIu64, reader->size,
                               VD_MAX_RAW_SIZE);
  facts->virtual_size = reader->size;
  facts->linear = 1;
  facts->sector_size = SECTOR_SIZE;
  facts->physical_sector_size = SECTOR_SIZE;
  facts->is_4k_aligned = 1;
  return true;
}

const VdFormat vd_format_raw = {
    .name = "raw",
    .device_id = VIRTDISK_DEVICE_RAW,
    .scan = VD_SCAN_PARTITIONS,
    .probe = probe,
};
