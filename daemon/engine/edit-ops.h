/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What edit.c chooses from: the changes of one format, as edit.h has them. NULL: this format has no such
 * thing. */
#pragma once

#include "engine/edit.h"

typedef struct {
  bool (*parent)(const VdLayerSource *source, const VdEditParent *parent, VdFormatError *ret_error);
  bool (*linkage)(const VdLayerSource *source, const uint8_t linkage[16], const uint8_t *linkage2,
                  VdFormatError *ret_error);
  bool (*identifier)(const VdLayerSource *source, const uint8_t id[16], VdFormatError *ret_error);
  bool (*physical_sector_size)(const VdLayerSource *source, uint32_t size, VdFormatError *ret_error);
  bool (*virtual_disk_id)(const VdLayerSource *source, const uint8_t id[16], VdFormatError *ret_error);
  bool (*size)(const VdLayerSource *source, uint64_t size, VdFormatError *ret_error);

  bool (*enumerate)(const VdLayerSource *source, uint8_t (*ret_items)[16], unsigned *ret_n,
                    VdFormatError *ret_error);
  bool (*get)(const VdLayerSource *source, const uint8_t item[16], uint8_t *ret_data, uint32_t *ret_length,
              VdFormatError *ret_error);
  bool (*set)(const VdLayerSource *source, const uint8_t item[16], const uint8_t *data, uint32_t length,
              VdFormatError *ret_error);
  bool (*remove)(const VdLayerSource *source, const uint8_t item[16], VdFormatError *ret_error);
} VdEditOps;

extern const VdEditOps vd_raw_edit_ops;
extern const VdEditOps vd_vhd_edit_ops;
extern const VdEditOps vd_vhdx_edit_ops;
