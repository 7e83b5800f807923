/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The inside of the changes of a VHD, shared by vhd-edit*.c alone. All functions block. */
#pragma once

#include "engine/vhd-edit.h"
#include "formats/vhd-bat.h"

/* Bytes that move at a time. */
#define VD_VHD_EDIT_BUFFER 32768

typedef struct {
  const VdLayerSource *source;
  VdReader reader; /* sees what was written; its size is that of before */
  VdVhdFooter footer;
  uint64_t trailer;   /* bytes; where it lies */
  VdVhdSparse sparse; /* of images that are not fixed, as the next */
  VdVhdBatShape shape;
} VdVhdEdit;

/* The image is mended and closed; footers are good, and alike. */
bool vd_vhd_edit_open(VdVhdEdit *self, const VdLayerSource *source, VdFormatError *ret_error);

bool vd_vhd_edit_write(VdVhdEdit *self, const void *bytes, uint64_t length, uint64_t offset,
                       VdFormatError *ret_error);
bool vd_vhd_edit_fill(VdVhdEdit *self, uint8_t byte, uint64_t length, uint64_t offset,
                      VdFormatError *ret_error);
bool vd_vhd_edit_copy(VdVhdEdit *self, uint64_t from, uint64_t to, uint64_t length, VdFormatError *ret_error);
bool vd_vhd_edit_flush(VdVhdEdit *self, VdFormatError *ret_error);
bool vd_vhd_edit_truncate(VdVhdEdit *self, uint64_t size, VdFormatError *ret_error);
/* self->footer as it is now, durable. */
bool vd_vhd_edit_put_footer(VdVhdEdit *self, uint64_t offset, VdFormatError *ret_error);
/* From here on the trailer alone counts, durably. */
bool vd_vhd_edit_spoil_front(VdVhdEdit *self, VdFormatError *ret_error);
/* The table, as stored; the caller frees it. NULL with *ret_error. */
uint8_t *vd_vhd_edit_read_table(VdVhdEdit *self, VdFormatError *ret_error);
