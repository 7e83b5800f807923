/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach/hints.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#include "util/identity.h"
#include "virtdisk-error.h"

char *vd_hints_file_name(const char *name, guint64 diskseq)
{
  return g_strdup_printf("%s.%" G_GUINT64_FORMAT, name, diskseq);
}

static char *public_path(const char *rundir, const char *name, guint64 diskseq)
{
  g_autofree char *file = vd_hints_file_name(name, diskseq);

  return g_build_filename(rundir, "udev", file, NULL);
}

/* diskseq 0: of a device that is being made, which the lock on its node keeps to one at a time. */
static char *hidden_path(const char *rundir, const char *name, guint64 diskseq)
{
  if (diskseq == 0)
    return g_strdup_printf("%s/udev/.%s", rundir, name);
  return g_strdup_printf("%s/udev/.%s.%" G_GUINT64_FORMAT, rundir, name, diskseq);
}

static gboolean is_property(const char *line)
{
  const char *c = line;

  while (g_ascii_isupper(*c) || *c == '_' || (c > line && g_ascii_isdigit(*c)))
    c++;
  return c > line && *c == '=';
}

/* udev takes off one pair of quotes at the ends and looks for none inside; a line ends the value. */
static void append_property(GString *text, const char *line)
{
  const char *value = strchr(line, '=') + 1;
  gsize at;

  g_string_append_len(text, line, value - line);
  g_string_append_c(text, '"');
  at = text->len;
  g_string_append(text, value);
  for (; at < text->len; at++)
    if (g_ascii_iscntrl(text->str[at]))
      text->str[at] = '_';
  g_string_append(text, "\"\n");
}

static GString *compose(const VdAttachSpec *spec, GError **error)
{
  g_autoptr(GString) text = g_string_new(NULL);

  g_string_append_printf(text, "VIRTDISK_TAG=\"%s\"\n", spec->tag);
  if (spec->uid != VD_UID_INVALID)
    g_string_append_printf(text, "VIRTDISK_UID=\"%u\"\nVIRTDISK_GID=\"%u\"\nVIRTDISK_MODE=\"%04o\"\n",
                           (unsigned)spec->uid, (unsigned)spec->gid, (unsigned)spec->mode & 07777);
  for (const char *const *line = spec->udev_env; line != NULL && *line != NULL; line++) {
    if (!is_property(*line)) {
      g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INTERNAL, "Not a udev property: %s", *line);
      return NULL;
    }
    append_property(text, *line);
  }
  return g_steal_pointer(&text);
}

static gboolean set_io_error(GError **error, const char *path, int number)
{
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s cannot be written: %s", path, g_strerror(number));
  return FALSE;
}

gboolean vd_hints_prepare(const VdAttachSpec *spec, const char *name, GError **error)
{
  g_autofree char *directory = g_build_filename(spec->rundir, "udev", NULL);
  g_autofree char *path = hidden_path(spec->rundir, name, 0);
  g_autoptr(GString) text = compose(spec, error);
  g_autoptr(GError) failure = NULL;

  if (text == NULL)
    return FALSE;
  if (g_mkdir_with_parents(directory, 0755) != 0)
    return set_io_error(error, directory, errno);
  if (!g_file_set_contents_full(path, text->str, (gssize)text->len, G_FILE_SET_CONTENTS_NONE, 0644,
                                &failure)) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s", failure->message);
    return FALSE;
  }
  return TRUE;
}

gboolean vd_hints_publish(const char *rundir, const char *name, guint64 diskseq, GError **error)
{
  g_autofree char *hidden = hidden_path(rundir, name, diskseq);
  g_autofree char *prepared = hidden_path(rundir, name, 0);
  g_autofree char *to = public_path(rundir, name, diskseq);

  return g_rename(hidden, to) == 0 || g_rename(prepared, to) == 0 || set_io_error(error, to, errno);
}

gboolean vd_hints_number(const char *rundir, const char *name, guint64 diskseq, GError **error)
{
  g_autofree char *from = public_path(rundir, name, 0);
  g_autofree char *to = public_path(rundir, name, diskseq);

  return g_rename(from, to) == 0 || set_io_error(error, to, errno);
}

void vd_hints_hide(const char *rundir, const char *name, guint64 diskseq)
{
  g_autofree char *from = public_path(rundir, name, diskseq);
  g_autofree char *to = hidden_path(rundir, name, diskseq);

  g_rename(from, to);
}

void vd_hints_remove(const char *rundir, const char *name, guint64 diskseq)
{
  g_autofree char *hidden = hidden_path(rundir, name, diskseq);
  g_autofree char *path = public_path(rundir, name, diskseq);

  g_unlink(path);
  g_unlink(hidden);
}

gboolean vd_hints_exist(const char *rundir, const char *name, guint64 diskseq)
{
  g_autofree char *path = public_path(rundir, name, diskseq);

  return g_file_test(path, G_FILE_TEST_EXISTS);
}

static gboolean find_number(char **lines, const char *key, guint base, guint64 *ret_value)
{
  for (; *lines != NULL; lines++) {
    if (g_str_has_prefix(*lines, key)) {
      g_autofree char *digits = g_strdup(*lines + strlen(key));
      size_t length = strlen(digits);

      if (length > 0)
        digits[length - 1] = '\0';
      return g_ascii_string_to_unsigned(digits, base, 0, G_MAXUINT32, ret_value, NULL);
    }
  }
  return FALSE;
}

gboolean vd_hints_read_owner(const char *rundir, const char *name, guint64 diskseq, uid_t *ret_uid,
                             gid_t *ret_gid, mode_t *ret_mode)
{
  g_autofree char *path = public_path(rundir, name, diskseq);
  g_autofree char *text = NULL;
  g_auto(GStrv) lines = NULL;
  guint64 uid, gid, mode;

  if (!g_file_get_contents(path, &text, NULL, NULL))
    return FALSE;
  lines = g_strsplit(text, "\n", -1);
  if (!find_number(lines, "VIRTDISK_UID=\"", 10, &uid) || !find_number(lines, "VIRTDISK_GID=\"", 10, &gid) ||
      !find_number(lines, "VIRTDISK_MODE=\"", 8, &mode))
    return FALSE;
  *ret_uid = (uid_t)uid;
  *ret_gid = (gid_t)gid;
  *ret_mode = (mode_t)mode;
  return TRUE;
}

/* FALSE: not <kernel-name>.<number>. */
static gboolean split_file_name(const char *entry, char **ret_name, guint64 *ret_diskseq)
{
  const char *dot = strchr(entry, '.');

  if (dot == NULL || dot == entry ||
      !g_ascii_string_to_unsigned(dot + 1, 10, 0, G_MAXUINT64, ret_diskseq, NULL))
    return FALSE;
  *ret_name = g_strndup(entry, (gsize)(dot - entry));
  return TRUE;
}

gboolean vd_hints_are_public(const char *rundir, const char *name)
{
  g_autofree char *directory = g_build_filename(rundir, "udev", NULL);
  g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
  const char *entry;
  guint64 diskseq;

  while (dir != NULL && (entry = g_dir_read_name(dir)) != NULL) {
    g_autofree char *found = NULL;

    if (split_file_name(entry, &found, &diskseq) && g_str_equal(found, name))
      return TRUE;
  }
  return FALSE;
}

void vd_hints_sweep(const char *rundir, GPtrArray *live,
                    void (*each)(const char *rundir, const char *name, guint64 diskseq))
{
  g_autofree char *directory = g_build_filename(rundir, "udev", NULL);
  g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
  const char *entry;

  while (dir != NULL && (entry = g_dir_read_name(dir)) != NULL) {
    g_autofree char *path = g_build_filename(directory, entry, NULL);

    g_autofree char *name = NULL;
    guint64 diskseq;

    if (g_ptr_array_find_with_equal_func(live, entry, g_str_equal, NULL))
      continue;
    if (each != NULL && split_file_name(entry, &name, &diskseq))
      each(rundir, name, diskseq);
    g_unlink(path);
  }
}
