/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The way out: numbers into the bytes of a structure that is being built. The caller's array is large enough;
 * nothing of an image is an index here. */
#pragma once

#include <stdint.h>
#include <string.h>

static inline void vd_put_le(uint8_t *bytes, uint64_t value, unsigned length)
{
  for (unsigned i = 0; i < length; i++)
    bytes[i] = (uint8_t)(value >> (8 * i));
}

static inline void vd_put_le16(uint8_t *bytes, uint16_t value)
{
  vd_put_le(bytes, value, 2);
}

static inline void vd_put_le32(uint8_t *bytes, uint32_t value)
{
  vd_put_le(bytes, value, 4);
}

static inline void vd_put_le64(uint8_t *bytes, uint64_t value)
{
  vd_put_le(bytes, value, 8);
}
