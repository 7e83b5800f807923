/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The narrow door: the only type through which parsers see bytes of an image. Each load is checked against
 * the span's length and fails by naming the structure, the field and the offset in the file. Parsers have no
 * pointer arithmetic and cast no buffer to a struct; what they need of bytes is here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/error.h"

typedef struct {
  const char *structure; /* what the bytes are meant to be, for messages; static string */
  const uint8_t *data;   /* borrowed */
  size_t length;         /* bytes */
  uint64_t file_offset;  /* bytes; where data[0] lies in the file */
} VdSpan;

/* at: bytes from the start of the span. ret is written on success only. Any thread. */
bool vd_span_load_u8(const VdSpan *span, size_t at, const char *field, uint8_t *ret,
                     VdFormatError *ret_error);
bool vd_span_load_be16(const VdSpan *span, size_t at, const char *field, uint16_t *ret,
                       VdFormatError *ret_error);
bool vd_span_load_be32(const VdSpan *span, size_t at, const char *field, uint32_t *ret,
                       VdFormatError *ret_error);
bool vd_span_load_be64(const VdSpan *span, size_t at, const char *field, uint64_t *ret,
                       VdFormatError *ret_error);
bool vd_span_load_le16(const VdSpan *span, size_t at, const char *field, uint16_t *ret,
                       VdFormatError *ret_error);
bool vd_span_load_le32(const VdSpan *span, size_t at, const char *field, uint32_t *ret,
                       VdFormatError *ret_error);
bool vd_span_load_le64(const VdSpan *span, size_t at, const char *field, uint64_t *ret,
                       VdFormatError *ret_error);
bool vd_span_load_bytes(const VdSpan *span, size_t at, const char *field, uint8_t *ret, size_t length,
                        VdFormatError *ret_error);

/* True if the span holds these very bytes at that place; false if not, or if it is too short. */
bool vd_span_has(const VdSpan *span, size_t at, const char *bytes, size_t length);

/* True if that range lies in the span and is all zeros. */
bool vd_span_is_zero(const VdSpan *span, size_t at, size_t length);

/* True if that range lies in the span and consists of its first period bytes, again and again. */
bool vd_span_repeats(const VdSpan *span, size_t at, size_t length, size_t period);

/* A part of a span, as a span of its own (which cannot be larger than what is there). */
VdSpan vd_span_part(const VdSpan *span, const char *structure, size_t at, size_t length);

/* Sum of all bytes as unsigned 8-bit numbers, leaving out [skip, skip + skip_length). */
uint32_t vd_span_sum(const VdSpan *span, size_t skip, size_t skip_length);

/* Reports on the field at that place: "STRUCTURE at offset N: FIELD ...". Returns false. */
bool vd_span_fail(const VdSpan *span, size_t at, const char *field, VirtdiskError code,
                  VdFormatError *ret_error, const char *format, ...) __attribute__((format(printf, 6, 7)));
