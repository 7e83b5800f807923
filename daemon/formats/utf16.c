/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One character at a time, checked on the way in and on the way out. */
#include "formats/utf16.h"

#include <inttypes.h>
#include <string.h>

#include "util/checked.h"

#define FIRST_SURROGATE 0xd800
#define FIRST_LOW_SURROGATE 0xdc00
#define AFTER_SURROGATES 0xe000
#define FIRST_SUPPLEMENTARY 0x10000
#define AFTER_UNICODE 0x110000

static bool is_surrogate(uint32_t value)
{
  return value >= FIRST_SURROGATE && value < AFTER_SURROGATES;
}

static bool load_unit(const VdSpan *span, size_t at, VdUtf16Order order, const char *field, uint32_t *ret,
                      VdFormatError *ret_error)
{
  uint16_t unit;

  if (!(order == VD_UTF16_LE ? vd_span_load_le16 : vd_span_load_be16)(span, at, field, &unit, ret_error))
    return false;
  *ret = unit;
  return true;
}

/* Joins the pair that begins with *character, and moves *at behind it. */
static bool join_pair(const VdSpan *span, size_t *at, size_t end, VdUtf16Order order, const char *field,
                      uint32_t *character, VdFormatError *ret_error)
{
  uint32_t low = 0;

  if (*at < end && !load_unit(span, *at, order, field, &low, ret_error))
    return false;
  if (*character >= FIRST_LOW_SURROGATE || low < FIRST_LOW_SURROGATE || low >= AFTER_SURROGATES)
    return vd_span_fail(span, *at - 2, field, VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "has an unpaired surrogate 0x%04" PRIx32, *character);
  *character = FIRST_SUPPLEMENTARY + ((*character - FIRST_SURROGATE) << 10) + (low - FIRST_LOW_SURROGATE);
  *at += 2;
  return true;
}

static size_t put_utf8(uint32_t character, uint8_t ret_bytes[4])
{
  static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
  size_t length = character < 0x80 ? 1 : character < 0x800 ? 2 : character < FIRST_SUPPLEMENTARY ? 3 : 4;

  for (size_t i = length; i > 1; i--) {
    ret_bytes[i - 1] = (uint8_t)(0x80 | (character & 0x3f));
    character >>= 6;
  }
  ret_bytes[0] = (uint8_t)(leads[length] | character);
  return length;
}

static bool is_control(uint32_t character)
{
  return character < 0x20 || (character >= 0x7f && character < 0xa0);
}

static bool next_character(const VdSpan *span, size_t *at, size_t end, VdUtf16Order order, const char *field,
                           uint32_t *ret, VdFormatError *ret_error)
{
  size_t begin = *at;

  if (!load_unit(span, *at, order, field, ret, ret_error))
    return false;
  *at += 2;
  if (is_surrogate(*ret) && !join_pair(span, at, end, order, field, ret, ret_error))
    return false;
  if (is_control(*ret))
    return vd_span_fail(span, begin, field, VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "has a control character 0x%02" PRIx32, *ret);
  return true;
}

bool vd_utf16_to_utf8(const VdSpan *span, size_t at, size_t length, VdUtf16Order order, const char *field,
                      char *ret, size_t capacity, VdFormatError *ret_error)
{
  size_t used = 0, end;

  if (!vd_range_within(at, length, span->length))
    return vd_span_fail(span, at, field, VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "has %zu bytes, the structure %zu", length, span->length);
  if (length % 2 != 0)
    return vd_span_fail(span, at, field, VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "has %zu bytes, an odd number", length);
  while (length > 0 && vd_span_has(span, at + length - 2, "\0\0", 2))
    length -= 2;
  end = at + length;
  while (at < end) {
    uint8_t bytes[4];
    uint32_t character;
    size_t n;

    if (!next_character(span, &at, end, order, field, &character, ret_error))
      return false;
    n = put_utf8(character, bytes);
    if (used + n >= capacity)
      return vd_span_fail(span, at, field, VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                          "is longer than %zu bytes of UTF-8", capacity - 1);
    memcpy(&ret[used], bytes, n);
    used += n;
  }
  ret[used] = '\0';
  return true;
}

/* Bytes of the character that text begins with; 0: it is none. */
static size_t take_utf8(const char *text, uint32_t *ret)
{
  const uint8_t *bytes = (const uint8_t *)text;
  size_t length = bytes[0] < 0x80 ? 1 : bytes[0] < 0xc2 ? 0 : bytes[0] < 0xe0 ? 2 : bytes[0] < 0xf0 ? 3 : 4;
  static const uint32_t least[] = {0, 0, 0x80, 0x800, FIRST_SUPPLEMENTARY};
  static const uint8_t masks[] = {0, 0x7f, 0x1f, 0x0f, 0x0f};
  uint32_t value = bytes[0] & masks[length];

  for (size_t i = 1; i < length; i++) {
    if ((bytes[i] & 0xc0) != 0x80)
      return 0;
    value = value << 6 | (bytes[i] & 0x3f);
  }
  if (length == 0 || value < least[length] || value >= AFTER_UNICODE || is_surrogate(value))
    return 0;
  *ret = value;
  return length;
}

static void put_unit(uint32_t unit, VdUtf16Order order, uint8_t *ret_bytes)
{
  ret_bytes[order == VD_UTF16_LE ? 0 : 1] = (uint8_t)unit;
  ret_bytes[order == VD_UTF16_LE ? 1 : 0] = (uint8_t)(unit >> 8);
}

bool vd_utf16_from_utf8(const char *text, VdUtf16Order order, uint8_t *ret_bytes, size_t capacity,
                        size_t *ret_length)
{
  size_t used = 0;

  while (*text != '\0') {
    uint32_t character = 0;
    size_t taken = take_utf8(text, &character), n = character < FIRST_SUPPLEMENTARY ? 2 : 4;

    if (taken == 0 || n > capacity - used)
      return false;
    if (n == 4) {
      character -= FIRST_SUPPLEMENTARY;
      put_unit(FIRST_SURROGATE + (character >> 10), order, &ret_bytes[used]);
      character = FIRST_LOW_SURROGATE + (character & 0x3ff);
    }
    put_unit(character, order, &ret_bytes[used + n - 2]);
    used += n;
    text += taken;
  }
  *ret_length = used;
  return true;
}
