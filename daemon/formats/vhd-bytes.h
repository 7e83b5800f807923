/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Numbers as a VHD stores them, big-endian, into bytes that are being built; and the sum over those. */
#pragma once

#include <stddef.h>
#include <stdint.h>

static inline void vd_put_be(uint8_t *bytes, uint64_t value, unsigned length)
{
  for (unsigned i = 0; i < length; i++)
    bytes[i] = (uint8_t)(value >> (8 * (length - 1 - i)));
}

static inline void vd_put_be32(uint8_t *bytes, uint32_t value)
{
  vd_put_be(bytes, value, 4);
}

static inline void vd_put_be64(uint8_t *bytes, uint64_t value)
{
  vd_put_be(bytes, value, 8);
}

static inline uint32_t vd_get_be32(const uint8_t *bytes)
{
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* The checksum of footer and sparse header: the complement of the sum. The field for it still holds zeros. */
static inline uint32_t vd_vhd_checksum(const uint8_t *bytes, size_t length)
{
  uint32_t sum = 0;

  for (size_t i = 0; i < length; i++)
    sum += bytes[i];
  return ~sum;
}
