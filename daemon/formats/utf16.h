/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text of images, which is UTF-16 of either byte order, as UTF-8 and back. What cannot be is refused, never
 * replaced: such text names files. */
#pragma once

#include "formats/span.h"

typedef enum { VD_UTF16_LE, VD_UTF16_BE } VdUtf16Order;

/*
 * The length bytes from at, as UTF-8 with its NUL. NULs at the end are padding and left out. Fails with
 * FILE_CORRUPT on an odd length, an unpaired surrogate, a NUL within, a control character, or text longer
 * than capacity (bytes); ret is then of no meaning.
 */
bool vd_utf16_to_utf8(const VdSpan *span, size_t at, size_t length, VdUtf16Order order, const char *field,
                      char *ret, size_t capacity, VdFormatError *ret_error);

/* Writes text, without its NUL. False: it is no UTF-8, or longer than capacity (bytes). */
bool vd_utf16_from_utf8(const char *text, VdUtf16Order order, uint8_t *ret_bytes, size_t capacity,
                        size_t *ret_length);
