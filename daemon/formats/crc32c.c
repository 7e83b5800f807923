/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Eight bytes a step, by the processor's own instruction where it has one and by eight tables elsewhere. */
#include "formats/crc32c.h"

#include <stdbool.h>
#include <string.h>

#include "util/checked.h"

#define POLYNOMIAL UINT32_C(0x82F63B78)

static uint32_t tables[8][256];
static bool has_instruction;

/* Before main(): no lock is needed afterwards. */
__attribute__((constructor)) static void prepare(void)
{
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;

    for (int bit = 0; bit < 8; bit++)
      crc = crc >> 1 ^ ((crc & 1) != 0 ? POLYNOMIAL : 0);
    tables[0][byte] = crc;
  }
  for (int table = 1; table < 8; table++)
    for (int byte = 0; byte < 256; byte++)
      tables[table][byte] = tables[table - 1][byte] >> 8 ^ tables[0][tables[table - 1][byte] & 0xff];
#ifdef __x86_64__
  __builtin_cpu_init();
  has_instruction = __builtin_cpu_supports("sse4.2");
#endif
}

static uint32_t add_bytes(uint32_t crc, const uint8_t *data, size_t length)
{
  for (size_t i = 0; i < length; i++)
    crc = crc >> 8 ^ tables[0][(crc ^ data[i]) & 0xff];
  return crc;
}

static uint32_t add_eight(uint32_t crc, const uint8_t *data)
{
  crc ^= (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
  return tables[7][crc & 0xff] ^ tables[6][crc >> 8 & 0xff] ^ tables[5][crc >> 16 & 0xff] ^
         tables[4][crc >> 24] ^ tables[3][data[4]] ^ tables[2][data[5]] ^ tables[1][data[6]] ^
         tables[0][data[7]];
}

uint32_t vd_crc32c_by_table(uint32_t crc, const void *data, size_t length)
{
  const uint8_t *bytes = data;

  crc = ~crc;
  for (; length >= 8; length -= 8, bytes += 8)
    crc = add_eight(crc, bytes);
  return ~add_bytes(crc, bytes, length);
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *bytes,
                                                                 size_t length)
{
  uint64_t sum = ~crc & UINT32_MAX, word;

  for (; length >= sizeof word; length -= sizeof word, bytes += sizeof word) {
    memcpy(&word, bytes, sizeof word);
    sum = __builtin_ia32_crc32di(sum, word);
  }
  return ~add_bytes((uint32_t)sum, bytes, length);
}
#endif

uint32_t vd_crc32c(uint32_t crc, const void *data, size_t length)
{
#ifdef __x86_64__
  if (has_instruction)
    return by_instruction(crc, data, length);
#endif
  return vd_crc32c_by_table(crc, data, length);
}

uint32_t vd_span_crc32c(const VdSpan *span, size_t skip)
{
  static const uint8_t zeros[4];
  uint32_t crc;

  if (!vd_range_within(skip, sizeof zeros, span->length))
    return vd_crc32c(0, span->data, span->length);
  crc = vd_crc32c(0, span->data, skip);
  crc = vd_crc32c(crc, zeros, sizeof zeros);
  skip += sizeof zeros;
  return vd_crc32c(crc, &span->data[skip], span->length - skip);
}

uint32_t vd_span_crc32c_more(const VdSpan *span, uint32_t crc)
{
  return vd_crc32c(crc, span->data, span->length);
}
