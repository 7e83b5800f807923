/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keys and values in UTF-16, found through a table of offsets within the item. */
#include "formats/vhdx-locator.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/bytes.h"
#include "formats/utf16.h"
#include "formats/vhdx-header.h"
#include "util/checked.h"

enum {
  AT_TYPE = 0,
  AT_COUNT = 18,
  HEADER_LENGTH = 20,
  ENTRY_LENGTH = 12,
  /* of an entry */
  AT_KEY_OFFSET = 0,
  AT_VALUE_OFFSET = 4,
  AT_KEY_LENGTH = 8,
  AT_VALUE_LENGTH = 10,
};

/* Ceilings: pairs; bytes of UTF-16 of a known key. */
#define MAX_PAIRS 256
#define MAX_KEY 64
#define GUID_TEXT 39 /* with braces and NUL */

/* B04AEFB7-D19E-4A81-B789-25B8E9445913: the parent is a VHDX. */
static const uint8_t vhdx_type[16] = {0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a,
                                      0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13};

typedef enum { KEY_LINKAGE, KEY_LINKAGE2, KEY_RELATIVE, KEY_VOLUME, KEY_ABSOLUTE, N_KEYS } Key;

static const char *const keys[N_KEYS] = {
    [KEY_LINKAGE] = "parent_linkage",       [KEY_LINKAGE2] = "parent_linkage2",
    [KEY_RELATIVE] = "relative_path",       [KEY_VOLUME] = "volume_path",
    [KEY_ABSOLUTE] = "absolute_win32_path",
};

typedef struct {
  size_t key, value;
  size_t key_length, value_length; /* bytes */
} Pair;

static int hex_digit(char digit)
{
  if (digit >= '0' && digit <= '9')
    return digit - '0';
  digit |= 0x20;
  return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* With or without braces, upper or lower case. */
static bool parse_guid(const char *text, uint8_t ret_guid[16])
{
  size_t length = strlen(text), n = 0;
  uint8_t printed[16];

  if (length == 38 && text[0] == '{' && text[37] == '}')
    text++;
  else if (length != 36)
    return false;
  for (size_t i = 0; i < 36; i++) {
    int high = hex_digit(text[i]);

    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (text[i] != '-')
        return false;
      continue;
    }
    if (high < 0 || hex_digit(text[i + 1]) < 0)
      return false;
    printed[n++] = (uint8_t)(high << 4 | hex_digit(text[++i]));
  }
  vd_vhdx_guid_swap(printed, ret_guid);
  return true;
}

static void format_guid(const uint8_t guid[16], char ret_text[GUID_TEXT])
{
  uint8_t p[16];

  vd_vhdx_guid_swap(guid, p);
  snprintf(ret_text, GUID_TEXT, "{%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x}",
           p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11], p[12], p[13], p[14],
           p[15]);
}

static bool check_text(const VdSpan *span, size_t at, size_t offset, size_t length, size_t first,
                       const char *field, VdFormatError *ret_error)
{
  if (offset >= first && length > 0 && length % 2 == 0 && vd_range_within(offset, length, span->length))
    return true;
  return vd_span_fail(span, at, field, VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                      "is %zu with %zu bytes, not text within %zu and the item's end at %zu", offset, length,
                      first, span->length);
}

static bool load_pair(const VdSpan *span, size_t at, size_t first, Pair *pair, VdFormatError *ret_error)
{
  uint32_t key, value;
  uint16_t key_length, value_length;

  if (!vd_span_load_le32(span, at + AT_KEY_OFFSET, "key_offset", &key, ret_error) ||
      !vd_span_load_le32(span, at + AT_VALUE_OFFSET, "value_offset", &value, ret_error) ||
      !vd_span_load_le16(span, at + AT_KEY_LENGTH, "key_length", &key_length, ret_error) ||
      !vd_span_load_le16(span, at + AT_VALUE_LENGTH, "value_length", &value_length, ret_error))
    return false;
  *pair = (Pair){key, value, key_length, value_length};
  return check_text(span, at + AT_KEY_OFFSET, pair->key, pair->key_length, first, "key_offset", ret_error) &&
         check_text(span, at + AT_VALUE_OFFSET, pair->value, pair->value_length, first, "value_offset",
                    ret_error);
}

/* N_KEYS: a key that has no meaning here. */
static Key key_of(const VdSpan *span, const Pair *pair)
{
  for (Key key = 0; key < N_KEYS; key++) {
    uint8_t name[MAX_KEY];
    size_t length;

    if (vd_utf16_from_utf8(keys[key], VD_UTF16_LE, name, sizeof name, &length) &&
        length == pair->key_length && vd_span_has(span, pair->key, (const char *)name, length))
      return key;
  }
  return N_KEYS;
}

static bool take_guid(const VdSpan *span, const Pair *pair, const char *field, uint8_t ret_guid[16],
                      VdFormatError *ret_error)
{
  char text[GUID_TEXT];

  if (!vd_utf16_to_utf8(span, pair->value, pair->value_length, VD_UTF16_LE, field, text, sizeof text,
                        ret_error))
    return false;
  return parse_guid(text, ret_guid) ||
         vd_span_fail(span, pair->value, field, VIRTDISK_ERROR_FILE_CORRUPT, ret_error, "is no GUID");
}

static bool take_pair(const VdSpan *span, const Pair *pair, Key key, VdVhdxLocator *locator,
                      VdFormatError *ret_error)
{
  char *paths[N_KEYS] = {[KEY_RELATIVE] = locator->relative_path,
                         [KEY_VOLUME] = locator->volume_path,
                         [KEY_ABSOLUTE] = locator->absolute_path};

  if (key == KEY_LINKAGE || key == KEY_LINKAGE2)
    return take_guid(span, pair, keys[key], key == KEY_LINKAGE ? locator->linkage : locator->linkage2,
                     ret_error);
  return vd_utf16_to_utf8(span, pair->value, pair->value_length, VD_UTF16_LE, keys[key], paths[key],
                          VD_LOCATOR_MAX_PATH, ret_error);
}

static bool take_pairs(const VdSpan *span, unsigned count, VdVhdxLocator *locator, VdFormatError *ret_error)
{
  bool seen[N_KEYS] = {false};
  size_t first = HEADER_LENGTH + (size_t)count * ENTRY_LENGTH;

  for (size_t at = HEADER_LENGTH; at < first; at += ENTRY_LENGTH) {
    Pair pair;
    Key key;

    if (!load_pair(span, at, first, &pair, ret_error))
      return false;
    key = key_of(span, &pair);
    if (key == N_KEYS)
      continue;
    if (seen[key])
      return vd_span_fail(span, at, keys[key], VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                          "stands in the locator twice");
    seen[key] = true;
    if (!take_pair(span, &pair, key, locator, ret_error))
      return false;
  }
  if (!seen[KEY_LINKAGE])
    return vd_span_fail(span, AT_COUNT, keys[KEY_LINKAGE], VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is not among the %u keys", count);
  return true;
}

bool vd_vhdx_locator_parse(const VdSpan *span, VdVhdxLocator *ret_locator, VdFormatError *ret_error)
{
  uint16_t count;

  if (!vd_span_load_le16(span, AT_COUNT, "key_value_count", &count, ret_error))
    return false;
  if (!vd_span_has(span, AT_TYPE, (const char *)vhdx_type, sizeof vhdx_type))
    return vd_span_fail(span, AT_TYPE, "locator_type", VIRTDISK_ERROR_NOT_SUPPORTED, ret_error,
                        "names a parent that is no VHDX");
  if (count > MAX_PAIRS)
    return vd_span_fail(span, AT_COUNT, "key_value_count", VIRTDISK_ERROR_FILE_CORRUPT, ret_error,
                        "is %u, more than %d", count, MAX_PAIRS);
  memset(ret_locator, 0, sizeof *ret_locator);
  return take_pairs(span, count, ret_locator, ret_error);
}

static bool put_text(const char *text, uint8_t *bytes, size_t capacity, size_t *used, size_t *ret_length)
{
  if (!vd_utf16_from_utf8(text, VD_UTF16_LE, &bytes[*used], capacity - *used, ret_length))
    return false;
  *used += *ret_length;
  return true;
}

size_t vd_vhdx_locator_build(const VdVhdxLocator *locator, uint8_t *ret_bytes, size_t capacity)
{
  char linkage[GUID_TEXT], linkage2[GUID_TEXT] = "";
  const char *values[N_KEYS] = {linkage, linkage2, locator->relative_path, locator->volume_path,
                                locator->absolute_path};
  unsigned count = 0;
  size_t used, at = HEADER_LENGTH;

  format_guid(locator->linkage, linkage);
  if (!vd_vhdx_guid_is_zero(locator->linkage2))
    format_guid(locator->linkage2, linkage2);
  for (Key key = 0; key < N_KEYS; key++)
    count += values[key][0] != '\0';
  used = HEADER_LENGTH + (size_t)count * ENTRY_LENGTH;
  if (used > capacity)
    return 0;
  memset(ret_bytes, 0, used);
  memcpy(&ret_bytes[AT_TYPE], vhdx_type, sizeof vhdx_type);
  vd_put_le16(&ret_bytes[AT_COUNT], (uint16_t)count);
  for (Key key = 0; key < N_KEYS; key++) {
    size_t key_length, value_length, begin = used;

    if (values[key][0] == '\0')
      continue;
    if (!put_text(keys[key], ret_bytes, capacity, &used, &key_length) ||
        !put_text(values[key], ret_bytes, capacity, &used, &value_length))
      return 0;
    vd_put_le32(&ret_bytes[at + AT_KEY_OFFSET], (uint32_t)begin);
    vd_put_le32(&ret_bytes[at + AT_VALUE_OFFSET], (uint32_t)(begin + key_length));
    vd_put_le16(&ret_bytes[at + AT_KEY_LENGTH], (uint16_t)key_length);
    vd_put_le16(&ret_bytes[at + AT_VALUE_LENGTH], (uint16_t)value_length);
    at += ENTRY_LENGTH;
  }
  return used;
}

static bool refuse_path(const char *field, VdFormatError *ret_error)
{
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, field,
                             "VHDX parent locator: the %s path cannot be written the way of Windows", field);
}

/* A path of UNIX as Windows writes it: one that does not say that it is relative is told to be. */
bool vd_vhdx_locator_set_paths(VdVhdxLocator *locator, const char *relative, const char *absolute,
                               VdFormatError *ret_error)
{
  size_t length = relative != NULL ? strlen(relative) : 0;
  bool dotted = length > 0 && (strncmp(relative, "../", 3) == 0 || strncmp(relative, "./", 2) == 0);
  size_t prefix = length == 0 || dotted ? 0 : 2;

  if (prefix + length >= sizeof locator->relative_path ||
      (length > 0 && (relative[0] == '/' || strchr(relative, '\\') != NULL)))
    return refuse_path("relative", ret_error);
  if (absolute != NULL && strlen(absolute) >= sizeof locator->absolute_path)
    return refuse_path("absolute", ret_error);
  memset(locator->relative_path, 0, sizeof locator->relative_path);
  memset(locator->absolute_path, 0, sizeof locator->absolute_path);
  memcpy(locator->relative_path, ".\\", prefix);
  for (size_t i = 0; i < length; i++)
    locator->relative_path[prefix + i] = relative[i] == '/' ? '\\' : relative[i];
  if (absolute != NULL)
    memcpy(locator->absolute_path, absolute, strlen(absolute));
  return true;
}
