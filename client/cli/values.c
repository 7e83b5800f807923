/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "values.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>

static gboolean bad_value(const char *option, const char *text, const char *expected, GError **error)
{
  g_autofree char *shown = vd_value_printable(text);

  g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "\"%s\" is no value for %s; expected %s",
              shown, option, expected);
  return FALSE;
}

/* 0: no such suffix. Powers of 1024 are the default, as in mount(8) and truncate(1). */
static guint64 size_factor(const char *suffix)
{
  static const char letters[] = "KMGTPE";
  const char *letter;
  guint64 base, factor = 1;

  if (*suffix == '\0' || g_str_equal(suffix, "B"))
    return 1;
  letter = strchr(letters, g_ascii_toupper(*suffix));
  if (letter == NULL)
    return 0;
  if (suffix[1] == '\0' || g_str_equal(suffix + 1, "iB"))
    base = 1024;
  else if (g_str_equal(suffix + 1, "B"))
    base = 1000;
  else
    return 0;
  for (const char *l = letters; l <= letter; l++)
    factor *= base;
  return factor;
}

gboolean vd_value_parse_size(const char *option, const char *text, guint64 *ret, GError **error)
{
  char *end = NULL;
  guint64 number, factor;

  errno = 0;
  number = g_ascii_strtoull(text, &end, 10);
  factor = size_factor(end);
  if (!g_ascii_isdigit(*text) || errno != 0 || factor == 0 || number > G_MAXUINT64 / factor)
    return bad_value(option, text, "a size such as 1048576, 512K or 10GiB", error);
  *ret = number * factor;
  return TRUE;
}

gboolean vd_value_parse_mode(const char *option, const char *text, guint32 *ret, GError **error)
{
  char *end = NULL;
  guint64 number;

  errno = 0;
  number = g_ascii_strtoull(text, &end, 8);
  if (!g_ascii_isdigit(*text) || *end != '\0' || errno != 0 || number > 0777)
    return bad_value(option, text, "octal permissions such as 0660", error);
  *ret = (guint32)number;
  return TRUE;
}

/* The last id is what chown(2) takes for "leave it". */
static gboolean parse_id(const char *text, guint32 *ret)
{
  guint64 number;

  if (!g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT32 - 1, &number, NULL))
    return FALSE;
  *ret = (guint32)number;
  return TRUE;
}

gboolean vd_value_parse_user(const char *option, const char *text, guint32 *ret, GError **error)
{
  const struct passwd *entry = getpwnam(text);

  if (entry != NULL)
    *ret = entry->pw_uid;
  else if (!parse_id(text, ret))
    return bad_value(option, text, "a user", error);
  return TRUE;
}

gboolean vd_value_parse_group(const char *option, const char *text, guint32 *ret, GError **error)
{
  const struct group *entry = getgrnam(text);

  if (entry != NULL)
    *ret = entry->gr_gid;
  else if (!parse_id(text, ret))
    return bad_value(option, text, "a group", error);
  return TRUE;
}

gboolean vd_value_parse_format(const char *option, const char *text, VirtdiskDeviceId *ret,
                               const char **ret_vendor, GError **error)
{
  static const struct {
    const char *word;
    VirtdiskDeviceId id;
    const char *vendor;
  } formats[] = {
      {"auto", VIRTDISK_DEVICE_UNKNOWN, NULL},
      {"iso", VIRTDISK_DEVICE_ISO, VIRTDISK_VENDOR_MICROSOFT},
      {"raw", VIRTDISK_DEVICE_RAW, VIRTDISK_VENDOR_VIRTDISK},
      {"vhd", VIRTDISK_DEVICE_VHD, VIRTDISK_VENDOR_MICROSOFT},
      {"vhdx", VIRTDISK_DEVICE_VHDX, VIRTDISK_VENDOR_MICROSOFT},
  };

  for (gsize i = 0; i < G_N_ELEMENTS(formats); i++)
    if (g_ascii_strcasecmp(text, formats[i].word) == 0) {
      *ret = formats[i].id;
      *ret_vendor = formats[i].vendor;
      return TRUE;
    }
  return bad_value(option, text, "auto, iso, raw, vhd or vhdx", error);
}

gboolean vd_value_check_lifetime(const char *option, const char *text, GError **error)
{
  static const char *const words[] = {"session", "permanent", "boot", NULL};

  return g_strv_contains(words, text) || bad_value(option, text, "session, permanent or boot", error);
}

gboolean vd_value_check_route(const char *option, const char *text, GError **error)
{
  static const char *const words[] = {"loop", "ublk", "fuse", NULL};

  return g_strv_contains(words, text) || bad_value(option, text, "loop, ublk or fuse", error);
}

char *vd_value_absolute(const char *path)
{
  g_autofree char *here = g_get_current_dir();

  if (g_path_is_absolute(path))
    return g_strdup(path);
  while (g_str_has_prefix(path, "./") && path[2] != '\0' && path[2] != '/')
    path += 2;
  return g_build_filename(here, path, NULL);
}

char *vd_value_format_size(guint64 bytes)
{
  static const char letters[] = "KMGTPE";
  guint64 unit = 1024, tenths;
  gsize i = 0;

  if (bytes < 1024)
    return g_strdup_printf("%" G_GUINT64_FORMAT "B", bytes);
  for (; letters[i + 1] != '\0' && bytes / unit >= 1024; i++)
    unit *= 1024;
  /* Rounded down: a disk is never shown larger than it is. */
  tenths = bytes % unit / (unit / 1024) * 10 / 1024;
  if (tenths == 0)
    return g_strdup_printf("%" G_GUINT64_FORMAT "%ciB", bytes / unit, letters[i]);
  return g_strdup_printf("%" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT "%ciB", bytes / unit, tenths, letters[i]);
}

char *vd_value_printable(const char *text)
{
  GString *out = g_string_new(NULL);

  while (*text != '\0') {
    gunichar c = g_utf8_get_char_validated(text, -1);

    if (c == (gunichar)-1 || c == (gunichar)-2) {
      g_string_append_printf(out, "\\x%02x", (guchar)*text++);
      continue;
    }
    for (const char *next = g_utf8_next_char(text); text < next; text++) {
      if (g_unichar_iscntrl(c) || g_unichar_type(c) == G_UNICODE_FORMAT)
        g_string_append_printf(out, "\\x%02x", (guchar)*text);
      else
        g_string_append_c(out, *text);
    }
  }
  return g_string_free(out, FALSE);
}

char *vd_value_to_utf8(const char *text)
{
  return g_utf8_validate(text, -1, NULL) ? g_strdup(text) : vd_value_printable(text);
}
