/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "util/cleanup.h"
#include "virtdisk-error.h"

#define MOUNTINFO "/proc/self/mountinfo"

void vd_mount_free(VdMount *self)
{
  if (self == NULL)
    return;
  g_free(self->root);
  g_free(self->point);
  g_free(self->fs_type);
  g_free(self->source);
  g_free(self->super_options);
  g_free(self);
}

gboolean vd_mount_names_device(const VdMount *self)
{
  return major(self->number) == 0 &&
         (g_str_equal(self->fs_type, "btrfs") || g_str_equal(self->fs_type, "bcachefs")) &&
         g_str_has_prefix(self->source, "/dev/") && strstr(self->source, "/..") == NULL;
}

gboolean vd_mount_is_of_user(const VdMount *self, const char *user)
{
  static const char *const folders[] = {"/run/media/", "/media/"};

  for (guint i = 0; i < G_N_ELEMENTS(folders); i++) {
    const char *rest = self->point + strlen(folders[i]);

    if (g_str_has_prefix(self->point, folders[i]) && *user != '\0' && g_str_has_prefix(rest, user) &&
        rest[strlen(user)] == '/')
      return TRUE;
  }
  return FALSE;
}

static gboolean is_octal(char c)
{
  return c >= '0' && c <= '7';
}

/* The kernel writes space, tab, newline, backslash and '#' as a backslash and three octal digits. */
static char *unescape(const char *text)
{
  char *plain = g_malloc(strlen(text) + 1), *out = plain;

  while (*text != '\0') {
    if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && is_octal(text[2]) && is_octal(text[3])) {
      *out++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
      text += 4;
    } else {
      *out++ = *text++;
    }
  }
  *out = '\0';
  return plain;
}

/* Fields: id, parent, major:minor, root, point, options, optional ones..., "-", type, source, super options.
 */
static VdMount *parse_line(const char *line)
{
  g_auto(GStrv) fields = g_strsplit(line, " ", -1);
  guint n = g_strv_length(fields), dash = 6;
  unsigned int maj, min;
  VdMount *mount;
  char end;

  while (dash < n && !g_str_equal(fields[dash], "-"))
    dash++;
  if (dash + 3 >= n || sscanf(fields[2], "%u:%u%c", &maj, &min, &end) != 2)
    return NULL;
  mount = g_new0(VdMount, 1);
  mount->id = (guint)g_ascii_strtoull(fields[0], NULL, 10);
  mount->number = makedev(maj, min);
  mount->root = unescape(fields[3]);
  mount->point = unescape(fields[4]);
  mount->fs_type = unescape(fields[dash + 1]);
  mount->source = unescape(fields[dash + 2]);
  mount->super_options = unescape(fields[dash + 3]);
  return mount;
}

GPtrArray *vd_mounts_parse(const char *text)
{
  GPtrArray *mounts = g_ptr_array_new_with_free_func((GDestroyNotify)vd_mount_free);

  while (*text != '\0') {
    size_t length = strcspn(text, "\n");
    g_autofree char *line = g_strndup(text, length);
    VdMount *mount = parse_line(line);

    if (mount != NULL)
      g_ptr_array_add(mounts, mount);
    text += length + (text[length] == '\n');
  }
  return mounts;
}

GPtrArray *vd_mounts_read(GError **error)
{
  g_autoptr(GError) failure = NULL;
  g_autofree char *text = NULL;

  if (!g_file_get_contents(MOUNTINFO, &text, NULL, &failure)) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "The table of mounts cannot be read: %s",
                failure->message);
    return NULL;
  }
  return vd_mounts_parse(text);
}

struct VdMountWatch {
  void (*changed)(gpointer user_data);
  gpointer user_data;
  int fd;
  GSource *source;
};

/* The kernel takes the mark back as soon as it was polled; nothing needs to be read. */
static gboolean on_mounts_changed(int fd, GIOCondition condition, gpointer user_data)
{
  VdMountWatch *self = user_data;

  self->changed(self->user_data);
  return G_SOURCE_CONTINUE;
}

VdMountWatch *vd_mount_watch_new(void (*changed)(gpointer user_data), gpointer user_data, GError **error)
{
  int fd = open(MOUNTINFO, O_RDONLY | O_CLOEXEC);
  VdMountWatch *self;

  if (fd < 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "The table of mounts cannot be watched: %s",
                g_strerror(errno));
    return NULL;
  }
  self = g_new0(VdMountWatch, 1);
  self->changed = changed;
  self->user_data = user_data;
  self->fd = fd;
  self->source = g_unix_fd_source_new(fd, G_IO_PRI | G_IO_ERR);
  g_source_set_callback(self->source, G_SOURCE_FUNC(on_mounts_changed), self, NULL);
  g_source_attach(self->source, g_main_context_get_thread_default());
  return self;
}

void vd_mount_watch_free(VdMountWatch *self)
{
  if (self == NULL)
    return;
  g_source_destroy(self->source);
  g_source_unref(self->source);
  vd_clear_fd(&self->fd);
  g_free(self);
}
