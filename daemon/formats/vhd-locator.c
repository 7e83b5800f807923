/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parent locators of a VHD: entries, texts, and the order in which they are believed. */
#include "formats/vhd-locator.h"

#include <inttypes.h>
#include <string.h>

#include "formats/utf16.h"
#include "formats/vhd-bytes.h"
#include "util/checked.h"

enum {
  AT_CODE = 0,
  AT_SPACE = 4,
  AT_LENGTH = 8,
  AT_OFFSET = 16,
};

/* A space below this is in sectors. */
#define LEAST_SPACE 512
#define SECTOR_SIZE 512
#define FIELD "parent_locator"

/* In the order in which they are tried. */
static const struct {
  uint32_t code;
  VdPlaceKind kind;
} known[] = {
    {VD_VHD_LOCATOR_W2RU, VD_PLACE_RELATIVE}, {VD_VHD_LOCATOR_WI2R, VD_PLACE_RELATIVE},
    {VD_VHD_LOCATOR_MACX, VD_PLACE_UNIX},     {VD_VHD_LOCATOR_W2KU, VD_PLACE_ABSOLUTE},
    {VD_VHD_LOCATOR_WI2K, VD_PLACE_ABSOLUTE},
};
#define N_KNOWN (sizeof known / sizeof known[0])

bool vd_vhd_locator_parse(const VdSpan *span, size_t at, VdVhdLocator *ret_locator, VdFormatError *ret_error)
{
  ret_locator->own_offset = span->file_offset + at;
  return vd_span_load_be32(span, at + AT_CODE, FIELD, &ret_locator->code, ret_error) &&
         vd_span_load_be32(span, at + AT_SPACE, FIELD, &ret_locator->space, ret_error) &&
         vd_span_load_be32(span, at + AT_LENGTH, FIELD, &ret_locator->length, ret_error) &&
         vd_span_load_be64(span, at + AT_OFFSET, FIELD, &ret_locator->offset, ret_error);
}

void vd_vhd_locator_build(const VdVhdLocator *locator, uint8_t ret_bytes[VD_VHD_LOCATOR_LENGTH])
{
  memset(ret_bytes, 0, VD_VHD_LOCATOR_LENGTH);
  vd_put_be32(&ret_bytes[AT_CODE], locator->code);
  vd_put_be32(&ret_bytes[AT_SPACE], locator->space);
  vd_put_be32(&ret_bytes[AT_LENGTH], locator->length);
  vd_put_be64(&ret_bytes[AT_OFFSET], locator->offset);
}

uint64_t vd_vhd_locator_space(const VdVhdLocator *locator)
{
  return locator->space < LEAST_SPACE ? (uint64_t)locator->space * SECTOR_SIZE : locator->space;
}

bool vd_vhd_locator_is_known(const VdVhdLocator *locator)
{
  for (size_t i = 0; i < N_KNOWN; i++)
    if (known[i].code == locator->code)
      return true;
  return false;
}

static bool fail(const VdVhdLocator *locator, VdFormatError *ret_error, const char *what)
{
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT, locator->own_offset, FIELD,
                             "VHD parent locator at offset %" PRIu64 ": its text of %" PRIu32
                             " bytes at offset %" PRIu64 " %s",
                             locator->own_offset, locator->length, locator->offset, what);
}

/* One character of the Windows "ANSI" code page 1252 as UTF-8; 0 for one that is none. */
static unsigned cp1252(uint8_t byte)
{
  static const uint16_t high[32] = {0x20ac, 0,      0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021,
                                    0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017d, 0,
                                    0,      0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                    0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0,      0x017e, 0x0178};

  if (byte < 0x20 || byte == 0x7f)
    return 0;
  return byte >= 0x80 && byte < 0xa0 ? high[byte - 0x80] : byte;
}

/* Appends one character below U+10000; false: no room. */
static bool append(char *ret, size_t capacity, size_t *used, unsigned character)
{
  char bytes[3];
  size_t length = character < 0x80 ? 1 : character < 0x800 ? 2 : 3;

  if (*used + length + 1 > capacity)
    return false;
  if (length == 1)
    bytes[0] = (char)character;
  else
    bytes[0] = (char)((length == 2 ? 0xc0 : 0xe0) | character >> (6 * (length - 1)));
  for (size_t i = 1; i < length; i++)
    bytes[i] = (char)(0x80 | (character >> (6 * (length - 1 - i)) & 0x3f));
  memcpy(&ret[*used], bytes, length);
  *used += length;
  ret[*used] = '\0';
  return true;
}

/* Text in bytes without the NULs that pad it. */
static size_t padded_length(const uint8_t *bytes, size_t length)
{
  while (length > 0 && bytes[length - 1] == 0)
    length--;
  return length;
}

static bool decode_ansi(const uint8_t *bytes, size_t length, char *ret, size_t capacity)
{
  size_t used = 0;

  ret[0] = '\0';
  for (size_t i = 0; i < padded_length(bytes, length); i++)
    if (cp1252(bytes[i]) == 0 || !append(ret, capacity, &used, cp1252(bytes[i])))
      return false;
  return true;
}

static int hex_digit(uint8_t character)
{
  if (character >= '0' && character <= '9')
    return character - '0';
  character |= 0x20;
  return character >= 'a' && character <= 'f' ? character - 'a' + 10 : -1;
}

/* Past "file://" and "file://localhost"; NULL: it is no such URL, or names another machine. */
static const uint8_t *url_path(const uint8_t *bytes, const uint8_t *end)
{
  static const char *const prefixes[] = {"file://localhost/", "file:///"};

  for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
    size_t length = strlen(prefixes[i]);

    if ((size_t)(end - bytes) >= length && memcmp(bytes, prefixes[i], length) == 0)
      return bytes + length - 1;
  }
  return NULL;
}

/* The path of a URL, percent signs decoded; empty for a URL that is none of this machine's. */
static bool decode_url(const uint8_t *bytes, size_t length, char *ret, size_t capacity)
{
  const uint8_t *end = bytes + padded_length(bytes, length);
  const uint8_t *at = url_path(bytes, end);
  size_t used = 0;

  ret[0] = '\0';
  for (; at != NULL && at < end; at++) {
    int character = *at;

    if (character == '%') {
      if (end - at < 3 || hex_digit(at[1]) < 0 || hex_digit(at[2]) < 0)
        return false;
      character = hex_digit(at[1]) << 4 | hex_digit(at[2]);
      at += 2;
    }
    if (character < 0x20 || character == 0x7f || used + 2 > capacity)
      return false;
    ret[used++] = (char)character;
    ret[used] = '\0';
  }
  return true;
}

/* Bytes that came one by one make text only if they are UTF-8: what cannot be UTF-16 is none. */
static bool is_utf8(const char *text)
{
  uint8_t unused[2 * VD_MAX_PARENT_PATH];
  size_t length;

  return vd_utf16_from_utf8(text, VD_UTF16_LE, unused, sizeof unused, &length);
}

static bool decode(const VdVhdLocator *locator, const VdSpan *span, char *ret, size_t capacity)
{
  uint8_t bytes[VD_VHD_MAX_LOCATOR_TEXT];
  VdFormatError unused;

  if (!vd_span_load_bytes(span, 0, FIELD, bytes, span->length, &unused))
    return false;
  switch (locator->code) {
  case VD_VHD_LOCATOR_WI2R:
  case VD_VHD_LOCATOR_WI2K:
    return decode_ansi(bytes, span->length, ret, capacity);
  case VD_VHD_LOCATOR_MACX:
    return decode_url(bytes, span->length, ret, capacity) && is_utf8(ret);
  default:
    return vd_utf16_to_utf8(span, 0, span->length, VD_UTF16_LE, FIELD, ret, capacity, &unused);
  }
}

static bool check_range(const VdReader *reader, const VdVhdLocator *locator, VdFormatError *ret_error)
{
  if (locator->length > VD_VHD_MAX_LOCATOR_TEXT)
    return fail(locator, ret_error, "is longer than any path");
  if (locator->length > vd_vhd_locator_space(locator))
    return fail(locator, ret_error, "is longer than the space it has");
  if (!vd_range_within(locator->offset, locator->length, reader->size))
    return fail(locator, ret_error, "is not within the file");
  return true;
}

/* An absolute Windows path begins with a drive or with two back slashes; some writers store the relative one
 * under its code. */
static VdPlaceKind kind_of(VdPlaceKind kind, const char *path)
{
  if (kind == VD_PLACE_ABSOLUTE && path[0] == '.')
    return VD_PLACE_RELATIVE;
  return kind;
}

static void add_place(VdFacts *facts, VdPlaceKind kind, const char *path)
{
  VdParentPlace *place = &facts->parent_places[facts->n_parent_places];

  if (path[0] == '\0' || facts->n_parent_places == VD_MAX_PARENT_PLACES)
    return;
  for (uint32_t i = 0; i < facts->n_parent_places; i++)
    if (facts->parent_places[i].kind == kind && strcmp(facts->parent_places[i].path, path) == 0)
      return;
  place->kind = kind;
  strncpy(place->path, path, sizeof place->path - 1);
  facts->n_parent_places++;
}

static bool read_place(const VdReader *reader, const VdVhdLocator *locator, VdPlaceKind kind, VdFacts *facts,
                       VdFormatError *ret_error)
{
  uint8_t buffer[VD_VHD_MAX_LOCATOR_TEXT];
  char path[VD_MAX_PARENT_PATH];
  VdSpan span;

  if (!check_range(reader, locator, ret_error) ||
      !vd_reader_read(reader, "VHD parent locator text", locator->offset, buffer, locator->length, &span,
                      ret_error))
    return false;
  if (!decode(locator, &span, path, sizeof path))
    return fail(locator, ret_error, "is no path");
  add_place(facts, kind_of(kind, path), path);
  return true;
}

bool vd_vhd_locators_read(const VdReader *reader, const VdVhdLocator locators[VD_VHD_LOCATORS],
                          const char *name, VdFacts *facts, VdFormatError *ret_error)
{
  for (size_t i = 0; i < N_KNOWN; i++)
    for (size_t slot = 0; slot < VD_VHD_LOCATORS; slot++)
      if (locators[slot].code == known[i].code &&
          !read_place(reader, &locators[slot], known[i].kind, facts, ret_error))
        return false;
  add_place(facts, kind_of(VD_PLACE_ABSOLUTE, name), name);
  return true;
}
