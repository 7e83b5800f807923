/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one way a parser reports: leaf code never logs. */
#include "formats/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool vd_format_error_set(VdFormatError *ret_error, VirtdiskError code, uint64_t offset, const char *field,
                         const char *format, ...)
{
  va_list args;

  memset(ret_error, 0, sizeof *ret_error);
  ret_error->code = (int32_t)code;
  ret_error->offset = offset;
  snprintf(ret_error->field, sizeof ret_error->field, "%s", field);
  va_start(args, format);
  vsnprintf(ret_error->text, sizeof ret_error->text, format, args);
  va_end(args);
  return false;
}
