/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. Values are written and read raw: nothing in them needs GKeyFile's own escapes. */
#include "store/fields.h"

#include <sys/types.h>

#include "virtdisk-error.h"

G_STATIC_ASSERT(sizeof(dev_t) == sizeof(guint64) && sizeof(ino_t) == sizeof(guint64));
G_STATIC_ASSERT(sizeof(uid_t) == sizeof(guint32) && sizeof(gid_t) == sizeof(guint32));
G_STATIC_ASSERT(sizeof(pid_t) == sizeof(gint32) && sizeof(gboolean) == sizeof(gint32));

char *vd_bytes_to_text(const char *bytes)
{
  return g_uri_escape_bytes((const guint8 *)bytes, strlen(bytes), G_URI_RESERVED_CHARS_ALLOWED_IN_PATH);
}

char *vd_bytes_from_text(const char *text)
{
  return g_uri_unescape_string(text, NULL);
}

static char *value_of(const VdField *field, const void *member)
{
  switch (field->type) {
  case VD_FIELD_BYTES:
  case VD_FIELD_OPTIONAL_BYTES:
    return *(char *const *)member ? vd_bytes_to_text(*(char *const *)member) : NULL;
  case VD_FIELD_BOOLEAN:
    return g_strdup(*(const gboolean *)member ? "true" : "false");
  case VD_FIELD_U32:
    return g_strdup_printf("%" G_GUINT32_FORMAT, *(const guint32 *)member);
  case VD_FIELD_S32:
    return g_strdup_printf("%" G_GINT32_FORMAT, *(const gint32 *)member);
  case VD_FIELD_U64:
    return g_strdup_printf("%" G_GUINT64_FORMAT, *(const guint64 *)member);
  case VD_FIELD_S64:
    return g_strdup_printf("%" G_GINT64_FORMAT, *(const gint64 *)member);
  }
  g_assert_not_reached();
}

void vd_fields_save(GKeyFile *file, const char *group, const VdField *fields, gsize n, const void *base)
{
  for (gsize i = 0; i < n; i++) {
    g_autofree char *value = value_of(&fields[i], (const char *)base + fields[i].offset);

    if (value)
      g_key_file_set_value(file, group, fields[i].key, value);
  }
}

static gboolean parse_bytes(const char *text, char **member)
{
  *member = vd_bytes_from_text(text);
  return *member != NULL;
}

static gboolean parse_boolean(const char *text, gboolean *member)
{
  *member = g_str_equal(text, "true");
  return *member || g_str_equal(text, "false");
}

static gboolean parse_unsigned(const char *text, guint64 max, guint64 *ret_value)
{
  return g_ascii_string_to_unsigned(text, 10, 0, max, ret_value, NULL);
}

static gboolean parse_value(const VdField *field, const char *text, void *member)
{
  guint64 number;
  gint64 signed_number;

  switch (field->type) {
  case VD_FIELD_BYTES:
  case VD_FIELD_OPTIONAL_BYTES:
    return parse_bytes(text, member);
  case VD_FIELD_BOOLEAN:
    return parse_boolean(text, member);
  case VD_FIELD_U32:
    if (!parse_unsigned(text, G_MAXUINT32, &number))
      return FALSE;
    *(guint32 *)member = (guint32)number;
    return TRUE;
  case VD_FIELD_S32:
    if (!g_ascii_string_to_signed(text, 10, G_MININT32, G_MAXINT32, &signed_number, NULL))
      return FALSE;
    *(gint32 *)member = (gint32)signed_number;
    return TRUE;
  case VD_FIELD_U64:
    return parse_unsigned(text, G_MAXUINT64, member);
  case VD_FIELD_S64:
    return g_ascii_string_to_signed(text, 10, G_MININT64, G_MAXINT64, member, NULL);
  }
  g_assert_not_reached();
}

gboolean vd_fields_load(GKeyFile *file, const char *group, const VdField *fields, gsize n, void *base,
                        GError **error)
{
  for (gsize i = 0; i < n; i++) {
    g_autofree char *text = g_key_file_get_value(file, group, fields[i].key, NULL);

    if (!text && fields[i].type == VD_FIELD_OPTIONAL_BYTES)
      continue;
    if (!text || !parse_value(&fields[i], text, (char *)base + fields[i].offset)) {
      g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "key %s of [%s] is %s", fields[i].key, group,
                  text ? "not what it should be" : "missing");
      return FALSE;
    }
  }
  return TRUE;
}
