/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parent locator of a differencing VHDX (MS-VHDX 2.6.2.6): who its parent is, and where it may lie. */
#pragma once

#include "formats/reader.h"

/* Ceilings: the item, bytes; one path, bytes of UTF-8 with its NUL. */
#define VD_VHDX_MAX_LOCATOR 65536
#define VD_LOCATOR_MAX_PATH 1024

typedef struct {
  uint8_t linkage[16], linkage2[16]; /* GUIDs as on disk; linkage2 zero: none */
  /* As written there, UTF-8; empty: not there. */
  char relative_path[VD_LOCATOR_MAX_PATH];
  char volume_path[VD_LOCATOR_MAX_PATH];
  char absolute_path[VD_LOCATOR_MAX_PATH];
} VdVhdxLocator;

/* span: the whole item. */
bool vd_vhdx_locator_parse(const VdSpan *span, VdVhdxLocator *ret_locator, VdFormatError *ret_error);
/* Fills bytes with the item of these; empty paths are left out. Returns its length; 0: it does not fit, or a
 * path is no UTF-8. */
size_t vd_vhdx_locator_build(const VdVhdxLocator *locator, uint8_t *ret_bytes, size_t capacity);
/* UTF-8: relative as UNIX has it, absolute as Windows has it; each may be empty or NULL. Errors:
 * INVALID_PARAMETER (it cannot be written the way of Windows, or is too long). */
bool vd_vhdx_locator_set_paths(VdVhdxLocator *locator, const char *relative, const char *absolute,
                               VdFormatError *ret_error);
