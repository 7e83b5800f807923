/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount/unit-name.h"

#include <string.h>

char *vd_unit_name_from_path(const char *path)
{
  GString *name = g_string_new(NULL);
  gboolean slash = FALSE;

  for (const char *c = path; *c != '\0'; c++) {
    if (*c == '/') {
      slash = TRUE;
      continue;
    }
    if (slash && name->len > 0)
      g_string_append_c(name, '-');
    slash = FALSE;
    if (g_ascii_isalnum(*c) || *c == ':' || *c == '_' || (*c == '.' && name->len > 0))
      g_string_append_c(name, *c);
    else
      g_string_append_printf(name, "\\x%02x", (guchar)*c);
  }
  if (name->len == 0)
    g_string_append_c(name, '-');
  return g_string_free(name, FALSE);
}

char *vd_unit_quote(const char *path)
{
  GString *text = g_string_new("\"");

  for (const char *c = path; *c != '\0'; c++) {
    if (*c == '%')
      g_string_append(text, "%%");
    else if (strchr("\"\\", *c) != NULL || g_ascii_iscntrl(*c))
      g_string_append_printf(text, "\\x%02x", (guchar)*c);
    else
      g_string_append_c(text, *c);
  }
  g_string_append_c(text, '"');
  return g_string_free(text, FALSE);
}
