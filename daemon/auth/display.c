/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names that others chose, made fit to be read. For people only: what is opened is always the bytes. */
#include "auth/display.h"

/* Characters that steer a terminal or reorder a line of text. */
static gboolean is_plain(gunichar c)
{
  switch (g_unichar_type(c)) {
  case G_UNICODE_CONTROL:
  case G_UNICODE_FORMAT:
  case G_UNICODE_UNASSIGNED:
  case G_UNICODE_PRIVATE_USE:
  case G_UNICODE_LINE_SEPARATOR:
  case G_UNICODE_PARAGRAPH_SEPARATOR:
    return FALSE;
  default:
    return TRUE;
  }
}

char *vd_display_path(const char *path)
{
  GString *text = g_string_new(NULL);

  for (const char *at = path; *at != '\0';) {
    gunichar c = g_utf8_get_char_validated(at, -1);
    gsize length = (gint32)c < 0 ? 1 : (gsize)(g_utf8_next_char(at) - at);

    if ((gint32)c >= 0 && is_plain(c))
      g_string_append_len(text, at, (gssize)length);
    else
      for (gsize i = 0; i < length; i++)
        g_string_append_printf(text, "\\x%02x", (guint8)at[i]);
    at += length;
  }
  return g_string_free(text, FALSE);
}
