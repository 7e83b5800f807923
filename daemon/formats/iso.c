/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ISO: an optical disc, recognised by its volume recognition sequence (ECMA-119 6.7.1, ECMA-167 2/8): one
 * descriptor per block from byte 32768 on. Accepted are ISO 9660, High Sierra and UDF, alone or together.
 * Nothing beyond the descriptors' identifiers is believed or followed. All failures are FILE_CORRUPT, as
 * Windows has it.
 */
#include "formats/registry.h"

#include <inttypes.h>

#include "util/checked.h"
#include "virtdisk-enums.h"

#define SECTOR_SIZE 2048
#define FIRST_DESCRIPTOR 32768
/* 17 sectors: the system area and one descriptor. */
#define MIN_SIZE 34816
/* Ceiling of descriptors looked at. */
#define MAX_DESCRIPTORS 64
#define TYPE_PRIMARY "\001"

typedef enum {
  DESCRIPTOR_UNKNOWN, /* the sequence ends before it */
  DESCRIPTOR_KNOWN,
  DESCRIPTOR_CD,  /* and it says that there is a volume, ISO 9660 or High Sierra */
  DESCRIPTOR_UDF, /* or UDF */
} Descriptor;

static Descriptor classify(const VdSpan *span)
{
  /* CD001 of another type than 1 (boot record, supplementary, terminator) proves no volume. */
  if (vd_span_has(span, 1, "CD001", 5))
    return vd_span_has(span, 0, TYPE_PRIMARY, 1) ? DESCRIPTOR_CD : DESCRIPTOR_KNOWN;
  if (vd_span_has(span, 1, "NSR02", 5) || vd_span_has(span, 1, "NSR03", 5))
    return DESCRIPTOR_UDF;
  if (vd_span_has(span, 9, "CDROM", 5))
    return vd_span_has(span, 8, TYPE_PRIMARY, 1) ? DESCRIPTOR_CD : DESCRIPTOR_KNOWN;
  if (vd_span_has(span, 1, "BEA01", 5) || vd_span_has(span, 1, "TEA01", 5) ||
      vd_span_has(span, 1, "BOOT2", 5) || vd_span_has(span, 1, "CDW02", 5))
    return DESCRIPTOR_KNOWN;
  return DESCRIPTOR_UNKNOWN;
}

/* *ret_found: a volume was seen. A terminator does not end the search: the UDF part of a bridge disc follows.
 */
static bool walk(const VdReader *reader, uint64_t stride, bool *ret_found, VdFormatError *ret_error)
{
  uint64_t offset = FIRST_DESCRIPTOR;

  for (int i = 0; i < MAX_DESCRIPTORS; i++) {
    uint8_t buffer[SECTOR_SIZE];
    Descriptor descriptor;
    VdSpan span;

    if (!vd_range_within(offset, sizeof buffer, reader->size))
      return true;
    if (!vd_reader_read(reader, "volume descriptor", offset, buffer, sizeof buffer, &span, ret_error))
      return false;
    descriptor = classify(&span);
    if (descriptor == DESCRIPTOR_UDF || (descriptor == DESCRIPTOR_CD && stride == SECTOR_SIZE))
      *ret_found = true;
    if (descriptor == DESCRIPTOR_UNKNOWN || *ret_found || !vd_add_u64(offset, stride, &offset))
      return true;
  }
  return true;
}

static bool check_size(uint64_t size, VdFormatError *ret_error)
{
  if (size < MIN_SIZE)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_CORRUPT, size, "file size",
                               "the ISO image has %" PRIu64 " bytes, less than the smallest disc's %d", size,
                               MIN_SIZE);
  if (size % SECTOR_SIZE != 0)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_CORRUPT, size, "file size",
                               "the ISO image has %" PRIu64 " bytes, not a multiple of %d", size,
                               SECTOR_SIZE);
  if (size > VD_MAX_VIRTUAL_SIZE)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_CORRUPT, size, "file size",
                               "the ISO image has %" PRIu64 " bytes, more than 64 TiB", size);
  return true;
}

static bool probe(const VdReader *reader, VdFacts *facts, VdFormatError *ret_error)
{
  bool found = false;

  /* UDF with 4096-byte blocks has its descriptors twice as far apart. */
  if (!check_size(reader->size, ret_error) || !walk(reader, SECTOR_SIZE, &found, ret_error) ||
      (!found && !walk(reader, 2 * SECTOR_SIZE, &found, ret_error)))
    return false;
  if (!found)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_CORRUPT, FIRST_DESCRIPTOR, "identifier",
                               "no ISO 9660, High Sierra or UDF volume descriptor at offset %d",
                               FIRST_DESCRIPTOR);
  facts->virtual_size = reader->size;
  facts->linear = 1;
  facts->sector_size = SECTOR_SIZE;
  facts->physical_sector_size = SECTOR_SIZE;
  facts->is_4k_aligned = 1;
  return true;
}

const VdFormat vd_format_iso = {
    .name = "iso",
    .device_id = VIRTDISK_DEVICE_ISO,
    .scan = VD_SCAN_WHOLE,
    .probe = probe,
};
