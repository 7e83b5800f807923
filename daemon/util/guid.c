/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/guid.h"

void vd_guid_format(const uint8_t bytes[16], char ret_text[37])
{
  static const char digits[] = "0123456789abcdef";
  char *out = ret_text;

  for (int i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10)
      *out++ = '-';
    *out++ = digits[bytes[i] >> 4];
    *out++ = digits[bytes[i] & 15];
  }
  *out = '\0';
}

static int digit(char c)
{
  if (c >= '0' && c <= '9')
    return c - '0';
  if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
    return (c | 0x20) - 'a' + 10;
  return -1;
}

bool vd_guid_parse(const char *text, uint8_t ret_bytes[16])
{
  uint8_t bytes[16];

  for (int i = 0; i < 16; i++, text += 2) {
    if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
      return false;
    if (digit(text[0]) < 0 || digit(text[1]) < 0)
      return false;
    bytes[i] = (uint8_t)(digit(text[0]) << 4 | digit(text[1]));
  }
  for (int i = 0; i < 16; i++)
    ret_bytes[i] = bytes[i];
  return *text == '\0';
}
