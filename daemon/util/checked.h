/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Arithmetic on numbers that come from outside: each operation can fail, and says so. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

static inline bool vd_add_u64(uint64_t a, uint64_t b, uint64_t *ret_sum)
{
  return !__builtin_add_overflow(a, b, ret_sum);
}

static inline bool vd_mul_u64(uint64_t a, uint64_t b, uint64_t *ret_product)
{
  return !__builtin_mul_overflow(a, b, ret_product);
}

/* True if [offset, offset + length) lies within [0, limit). */
static inline bool vd_range_within(uint64_t offset, uint64_t length, uint64_t limit)
{
  return offset <= limit && length <= limit - offset;
}

static inline bool vd_is_power_of_two(uint64_t value)
{
  return value != 0 && (value & (value - 1)) == 0;
}
