/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* UTF-16 and UTF-8, GUIDs as structures and as text. */
#include <stdio.h>
#include <string.h>

#include "win32.h"

char *vd_text_from_utf16(PCWSTR text)
{
  return text != NULL ? g_utf16_to_utf8((const gunichar2 *)text, -1, NULL, NULL, NULL) : NULL;
}

static DWORD copy_out(const void *bytes, gsize needed, PULONG size, void *out)
{
  gboolean fits = out != NULL && *size >= needed;

  *size = (ULONG)needed;
  if (!fits)
    return ERROR_INSUFFICIENT_BUFFER;
  memcpy(out, bytes, needed);
  return ERROR_SUCCESS;
}

DWORD vd_text_block_to_utf16(const char *text, gsize length, PULONG size, PWSTR out)
{
  glong units = 0;
  g_autofree gunichar2 *converted = NULL;
  g_autoptr(GByteArray) all = g_byte_array_new();

  for (const char *part = text; part < text + length; part += strlen(part) + 1) {
    g_free(g_steal_pointer(&converted));
    converted = g_utf8_to_utf16(part, -1, NULL, &units, NULL);
    if (converted == NULL)
      return ERROR_INTERNAL_ERROR;
    g_byte_array_append(all, (const guint8 *)converted, (guint)(units + 1) * 2);
  }
  return copy_out(all->data, all->len, size, out);
}

DWORD vd_text_to_utf16(const char *text, PULONG size, PWSTR out)
{
  return vd_text_block_to_utf16(text, strlen(text) + 1, size, out);
}

DWORD vd_text_to_utf8(const char *text, PULONG size, char *out)
{
  return copy_out(text, strlen(text) + 1, size, out);
}

char *vd_text_join(char **strings, gsize *ret_length)
{
  GString *out = g_string_new(NULL);

  for (; *strings != NULL; strings++)
    g_string_append_len(out, *strings, (gssize)strlen(*strings) + 1);
  g_string_append_c(out, '\0');
  *ret_length = out->len;
  return g_string_free(out, FALSE);
}

char *vd_text_from_guid(const GUID *guid)
{
  const uint8_t *d = guid->Data4;

  return g_strdup_printf("%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", guid->Data1, guid->Data2,
                         guid->Data3, d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]);
}

GUID vd_text_to_guid(const char *text)
{
  GUID guid = {0};
  uint8_t *d = guid.Data4;

  if (text == NULL ||
      sscanf(text, "%8x-%4hx-%4hx-%2hhx%2hhx-%2hhx%2hhx%2hhx%2hhx%2hhx%2hhx", &guid.Data1, &guid.Data2,
             &guid.Data3, &d[0], &d[1], &d[2], &d[3], &d[4], &d[5], &d[6], &d[7]) != 11)
    memset(&guid, 0, sizeof guid);
  return guid;
}

gboolean vd_text_is_null_guid(const GUID *guid)
{
  return memcmp(guid, &VIRTUAL_STORAGE_TYPE_VENDOR_UNKNOWN, sizeof *guid) == 0;
}
