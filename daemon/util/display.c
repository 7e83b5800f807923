/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/display.h"

/* The joiners of Persian and of emoji look like format characters, and stay. */
gboolean vd_is_harmless(gunichar character)
{
  if (character == 0x200C || character == 0x200D)
    return TRUE;
  switch (g_unichar_type(character)) {
  case G_UNICODE_CONTROL:
  case G_UNICODE_FORMAT:
  case G_UNICODE_LINE_SEPARATOR:
  case G_UNICODE_PARAGRAPH_SEPARATOR:
  case G_UNICODE_PRIVATE_USE:
  case G_UNICODE_SURROGATE:
  case G_UNICODE_UNASSIGNED:
    return FALSE;
  default:
    return TRUE;
  }
}

static char *to_display(const char *bytes, const char *backslash)
{
  g_autoptr(GString) text = g_string_new(NULL);

  for (const char *at = bytes; *at != '\0';) {
    gunichar character = g_utf8_get_char_validated(at, -1);
    gboolean valid = character != (gunichar)-1 && character != (gunichar)-2;
    gsize length = valid ? (gsize)g_unichar_to_utf8(character, NULL) : 1;

    if (valid && character == '\\')
      g_string_append(text, backslash);
    else if (valid && vd_is_harmless(character))
      g_string_append_len(text, at, (gssize)length);
    else
      for (gsize i = 0; i < length; i++)
        g_string_append_printf(text, "\\x%02x", (guchar)at[i]);
    at += length;
  }
  return g_string_free(g_steal_pointer(&text), FALSE);
}

char *vd_text_to_display(const char *text)
{
  return to_display(text, "\\");
}

char *vd_path_to_display(const char *path)
{
  return to_display(path, "\\\\");
}

void vd_text_cut(const char *text, char *target, gsize size)
{
  g_autofree char *display = vd_text_to_display(text);
  const char *end = display;

  while (*end != '\0' && (gsize)(g_utf8_next_char(end) - display) < size)
    end = g_utf8_next_char(end);
  g_strlcpy(target, display, (gsize)(end - display) + 1);
}
