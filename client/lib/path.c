/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* File names: absolute, sayable on the bus or not, and opened here when they are not. */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

char *vd_path_absolute(const char *path, GError **error)
{
  g_autofree char *here = NULL;

  if (path[0] == '\0') {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "The path is empty");
    return NULL;
  }
  if (g_path_is_absolute(path))
    return g_strdup(path);
  /* Nothing is resolved: "a/.." is another directory if a is a symbolic link. */
  while (g_str_has_prefix(path, "./") && path[2] != '\0' && path[2] != '/')
    path += 2;
  here = g_get_current_dir();
  return g_build_filename(here, path, NULL);
}

char *vd_path_display(const char *path)
{
  GString *text = g_string_new(NULL);
  const char *bad;

  while (!g_utf8_validate(path, -1, &bad)) {
    g_string_append_len(text, path, bad - path);
    g_string_append_printf(text, "\\x%02x", (guchar)*bad);
    path = bad + 1;
  }
  g_string_append(text, path);
  return g_string_free(text, FALSE);
}

gboolean vd_path_is_sayable(const char *path)
{
  return g_utf8_validate(path, -1, NULL);
}

static VirtdiskError code_of_errno(int number)
{
  switch (number) {
  case ENOENT:
    return VIRTDISK_ERROR_FILE_NOT_FOUND;
  case ENOTDIR:
  case ELOOP:
    return VIRTDISK_ERROR_PATH_NOT_FOUND;
  case EACCES:
  case EPERM:
    return VIRTDISK_ERROR_ACCESS_DENIED;
  case EROFS:
    return VIRTDISK_ERROR_WRITE_PROTECT;
  case EISDIR:
  case ENXIO:
    return VIRTDISK_ERROR_NOT_A_REGULAR_FILE;
  case ETXTBSY:
    return VIRTDISK_ERROR_SHARING_VIOLATION;
  case ENAMETOOLONG:
    return VIRTDISK_ERROR_NAME_TOO_LONG;
  case EMFILE:
  case ENFILE:
  case ENOMEM:
    return VIRTDISK_ERROR_NO_RESOURCES;
  default:
    return VIRTDISK_ERROR_IO;
  }
}

int vd_path_open(const char *path, gboolean writable, GError **error)
{
  int fd;

  do
    fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) {
    int number = errno;
    g_autofree char *display = vd_path_display(path);

    g_set_error(error, VIRTDISK_ERROR, code_of_errno(number), "Cannot open %s: %s", display,
                g_strerror(number));
    return -1;
  }
  /* O_NONBLOCK was for a FIFO in the way; a regular file is passed on without it. */
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  return fd;
}
