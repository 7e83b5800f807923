/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bounds-checked loads; the only file of formats/ that indexes bytes of an image. */
#include "formats/span.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util/checked.h"

bool vd_span_fail(const VdSpan *span, size_t at, const char *field, VirtdiskError code,
                  VdFormatError *ret_error, const char *format, ...)
{
  uint64_t offset = UINT64_MAX;
  char detail[160];
  va_list args;

  (void)!vd_add_u64(span->file_offset, at, &offset);
  va_start(args, format);
  vsnprintf(detail, sizeof detail, format, args);
  va_end(args);
  return vd_format_error_set(ret_error, code, offset, field, "%s at offset %" PRIu64 ": %s %s",
                             span->structure, span->file_offset, field, detail);
}

static bool check_range(const VdSpan *span, size_t at, size_t length, const char *field,
                        VdFormatError *ret_error)
{
  if (vd_range_within(at, length, span->length))
    return true;
  return vd_span_fail(span, at, field, VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                      "needs bytes %zu to %zu, the structure has %zu", at, at + length, span->length);
}

static bool load_be(const VdSpan *span, size_t at, size_t length, const char *field, uint64_t *ret,
                    VdFormatError *ret_error)
{
  uint64_t value = 0;

  if (!check_range(span, at, length, field, ret_error))
    return false;
  for (size_t i = 0; i < length; i++)
    value = value << 8 | span->data[at + i];
  *ret = value;
  return true;
}

static bool load_le(const VdSpan *span, size_t at, size_t length, const char *field, uint64_t *ret,
                    VdFormatError *ret_error)
{
  uint64_t value = 0;

  if (!check_range(span, at, length, field, ret_error))
    return false;
  for (size_t i = length; i > 0; i--)
    value = value << 8 | span->data[at + i - 1];
  *ret = value;
  return true;
}

#define DEFINE_LOAD(name, type, load)                                                                        \
  bool vd_span_load_##name(const VdSpan *span, size_t at, const char *field, type *ret,                      \
                           VdFormatError *ret_error)                                                         \
  {                                                                                                          \
    uint64_t value;                                                                                          \
                                                                                                             \
    if (!load(span, at, sizeof(type), field, &value, ret_error))                                             \
      return false;                                                                                          \
    *ret = (type)value;                                                                                      \
    return true;                                                                                             \
  }

DEFINE_LOAD(u8, uint8_t, load_be)
DEFINE_LOAD(be16, uint16_t, load_be)
DEFINE_LOAD(be32, uint32_t, load_be)
DEFINE_LOAD(be64, uint64_t, load_be)
DEFINE_LOAD(le16, uint16_t, load_le)
DEFINE_LOAD(le32, uint32_t, load_le)
DEFINE_LOAD(le64, uint64_t, load_le)

bool vd_span_load_bytes(const VdSpan *span, size_t at, const char *field, uint8_t *ret, size_t length,
                        VdFormatError *ret_error)
{
  if (!check_range(span, at, length, field, ret_error))
    return false;
  if (length > 0)
    memcpy(ret, &span->data[at], length);
  return true;
}

bool vd_span_has(const VdSpan *span, size_t at, const char *bytes, size_t length)
{
  return vd_range_within(at, length, span->length) &&
         (length == 0 || memcmp(&span->data[at], bytes, length) == 0);
}

bool vd_span_is_zero(const VdSpan *span, size_t at, size_t length)
{
  if (!vd_range_within(at, length, span->length))
    return false;
  return length == 0 ||
         (span->data[at] == 0 && memcmp(&span->data[at], &span->data[at + 1], length - 1) == 0);
}

bool vd_span_repeats(const VdSpan *span, size_t at, size_t length, size_t period)
{
  return vd_range_within(at, length, span->length) && period <= length &&
         memcmp(&span->data[at], &span->data[at + period], length - period) == 0;
}

VdSpan vd_span_part(const VdSpan *span, const char *structure, size_t at, size_t length)
{
  size_t begin = at < span->length ? at : span->length;
  size_t rest = span->length - begin;

  return (VdSpan){.structure = structure,
                  .data = &span->data[begin],
                  .length = length < rest ? length : rest,
                  .file_offset = span->file_offset + begin};
}

uint32_t vd_span_sum(const VdSpan *span, size_t skip, size_t skip_length)
{
  uint32_t sum = 0;

  for (size_t i = 0; i < span->length; i++)
    if (i < skip || i - skip >= skip_length)
      sum += span->data[i];
  return sum;
}
