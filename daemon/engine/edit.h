/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changes of an image that nobody serves: sizes, ids, the parent, user metadata. Blocking, through io (so
 * that a recording one sees it). Each change is whole or not there after a power cut at any moment; it is
 * durable when the call returns. A VHDX log that is dirty is replayed first. Constant time, whatever the
 * size of the disk: what would take long (moving the table of a VHD out of its way) is bounded by the size of
 * the table, not of the data. Sources: MS-VHDX 2.2 to 2.6; the VHD specification.
 *
 * source->io, fd and file as for vd_layer_open(); it must be writable.
 */
#pragma once

#include "engine/layer.h"

/* "At most 1 MiB per item, at most 1024 user entries" (MS-VHDX 2.6.1.1, 2.6.1.2). */
#define VD_METADATA_MAX_ITEM (1U << 20)
#define VD_METADATA_MAX_ITEMS 1024

/* All ids as printed, first byte first. Paths as in VdCreateSpec: UTF-8, relative with slashes, absolute as
 * Windows has it or empty. */
typedef struct {
  uint8_t linkage[16];
  uint32_t timestamp; /* VHD: of the parent's footer, seconds since 2000 */
  const char *relative, *absolute;
} VdEditParent;

/* Errors of all: VHD_INVALID_TYPE (not for this kind of image), INVALID_PARAMETER, DISK_FULL, IO, those of
 * opening. */
bool vd_edit_parent(const VdLayerSource *source, uint32_t device_id, const VdEditParent *parent,
                    VdFormatError *ret_error);
/*
 * What a child of a VHDX knows it by, besides: NULL, or the DataWriteGuid that its parent is going to have
 * (parent_linkage2, MS-VHDX 2.6.2.6.3). Nothing is done to a VHD, whose id stays.
 */
bool vd_edit_linkage(const VdLayerSource *source, uint32_t device_id, const uint8_t linkage[16],
                     const uint8_t *linkage2, VdFormatError *ret_error);
/* VHD: the unique id; VHDX: DataWriteGuid. */
bool vd_edit_identifier(const VdLayerSource *source, uint32_t device_id, const uint8_t id[16],
                        VdFormatError *ret_error);
bool vd_edit_physical_sector_size(const VdLayerSource *source, uint32_t device_id, uint32_t size,
                                  VdFormatError *ret_error);
bool vd_edit_virtual_disk_id(const VdLayerSource *source, uint32_t device_id, const uint8_t id[16],
                             VdFormatError *ret_error);
/*
 * Fixed and dynamic images; size: bytes. Grows; a VHDX shrinks too, and gives back the blocks behind the new
 * end. What is new reads as zeros, also where something was before a shrinking. Partitions are not looked at.
 * Errors: VHD_INVALID_SIZE (what the format can), VHD_INVALID_TYPE (differencing; a VHD that is to shrink).
 */
bool vd_edit_size(const VdLayerSource *source, uint32_t device_id, uint64_t size, VdFormatError *ret_error);

/* User metadata of a VHDX; others: VHD_INVALID_TYPE. ret_items: VD_METADATA_MAX_ITEMS ids. The first two also
 * of an image that is not writable. Errors: NOT_FOUND (no such item), VHD_METADATA_FULL, INVALID_PARAMETER
 * (the null id). */
bool vd_metadata_enumerate(const VdLayerSource *source, uint32_t device_id, uint8_t (*ret_items)[16],
                           unsigned *ret_n, VdFormatError *ret_error);
/* ret_data: VD_METADATA_MAX_ITEM bytes. */
bool vd_metadata_get(const VdLayerSource *source, uint32_t device_id, const uint8_t item[16],
                     uint8_t *ret_data, uint32_t *ret_length, VdFormatError *ret_error);
bool vd_metadata_set(const VdLayerSource *source, uint32_t device_id, const uint8_t item[16],
                     const uint8_t *data, uint32_t length, VdFormatError *ret_error);
bool vd_metadata_delete(const VdLayerSource *source, uint32_t device_id, const uint8_t item[16],
                        VdFormatError *ret_error);
