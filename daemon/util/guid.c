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
