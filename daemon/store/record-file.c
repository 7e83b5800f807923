/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. A temporary file begins with a dot, which no record's name does. */
#include "store/record-file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "util/cleanup.h"
#include "virtdisk-error.h"

#define NAME_MAX_LENGTH 64

static gboolean fail(GError **error, const char *what, const char *name)
{
  int number = errno;

  g_set_error(error, VIRTDISK_ERROR,
              number == ENOSPC || number == EDQUOT ? VIRTDISK_ERROR_DISK_FULL : VIRTDISK_ERROR_IO,
              "Cannot %s %s: %s", what, name, g_strerror(number));
  return FALSE;
}

gboolean vd_record_name_is_valid(const char *name)
{
  gsize length = strspn(name, "0123456789abcdef");

  return length > 0 && length <= NAME_MAX_LENGTH && name[length] == '\0';
}

/* name: within folder, or a path with AT_FDCWD. */
static int open_folder(int folder, const char *name, GError **error)
{
  vd_autofd fd = -1;
  struct stat st;

  if (mkdirat(folder, name, 0700) < 0 && errno != EEXIST) {
    fail(error, "make the folder", name);
    return -1;
  }
  fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &st) < 0) {
    fail(error, "open the folder", name);
    return -1;
  }
  if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH))) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO,
                "The folder %s belongs to user %u with mode %04o; others could forge records there", name,
                st.st_uid, st.st_mode & 07777);
    return -1;
  }
  return vd_steal_fd(&fd);
}

int vd_record_folder_open(const char *base, const char *name, GError **error)
{
  vd_autofd base_fd = open_folder(AT_FDCWD, base, error);

  return base_fd < 0 ? -1 : open_folder(base_fd, name, error);
}

static gboolean write_all(int fd, const char *text, gsize length)
{
  while (length > 0) {
    ssize_t written = write(fd, text, length);

    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return FALSE;
    text += written;
    length -= (gsize)written;
  }
  return TRUE;
}

/* A file that vanishes with the scope, unless it was renamed: its name is then gone. */
typedef struct {
  int folder;
  char name[NAME_MAX_LENGTH + 16];
} Temporary;

static void temporary_clear(Temporary *self)
{
  if (*self->name)
    unlinkat(self->folder, self->name, 0);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Temporary, temporary_clear)

static int temporary_open(Temporary *self, const char *name)
{
  int fd;

  do {
    g_snprintf(self->name, sizeof self->name, ".%s.%08x", name, g_random_int());
    fd = openat(self->folder, self->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  } while (fd < 0 && errno == EEXIST);
  if (fd < 0)
    *self->name = '\0';
  return fd;
}

gboolean vd_record_write(int folder, const char *name, const char *text, gsize length,
                         VdDurability durability, GError **error)
{
  g_auto(Temporary) temporary = {.folder = folder};
  vd_autofd fd = -1;

  g_return_val_if_fail(vd_record_name_is_valid(name), FALSE);
  fd = temporary_open(&temporary, name);
  if (fd < 0)
    return fail(error, "make the record", name);
  if (!write_all(fd, text, length))
    return fail(error, "write the record", name);
  if (durability == VD_RECORD_DURABLE && fsync(fd) < 0)
    return fail(error, "flush the record", name);
  if (renameat(folder, temporary.name, folder, name) < 0)
    return fail(error, "replace the record", name);
  *temporary.name = '\0';
  if (durability == VD_RECORD_DURABLE && fsync(folder) < 0)
    return fail(error, "flush the folder of", name);
  return TRUE;
}

gboolean vd_record_unlink(int folder, const char *name, VdDurability durability, GError **error)
{
  g_return_val_if_fail(vd_record_name_is_valid(name), FALSE);
  if (unlinkat(folder, name, 0) < 0 && errno != ENOENT)
    return fail(error, "remove the record", name);
  if (durability == VD_RECORD_DURABLE && fsync(folder) < 0)
    return fail(error, "flush the folder of", name);
  return TRUE;
}

/* NULL with error set. (transfer full) */
static char *read_record(int folder, const char *name, gsize ceiling, gsize *ret_length, GError **error)
{
  /* O_NONBLOCK: a pipe in the way must not hold us. */
  vd_autofd fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  g_autofree char *text = NULL;
  gsize length = 0;
  struct stat st;

  if (fd < 0 || fstat(fd, &st) < 0) {
    fail(error, "open", name);
    return NULL;
  }
  if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_size < 0 || (guint64)st.st_size > ceiling) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO,
                "not a file of ours of at most %" G_GSIZE_FORMAT " bytes", ceiling);
    return NULL;
  }
  text = g_malloc((gsize)st.st_size + 1);
  while (length < (gsize)st.st_size) {
    ssize_t got = read(fd, text + length, (gsize)st.st_size - length);

    if (got < 0 && errno != EINTR) {
      fail(error, "read", name);
      return NULL;
    }
    if (got == 0)
      break;
    length += got > 0 ? (gsize)got : 0;
  }
  text[length] = '\0';
  *ret_length = length;
  return g_steal_pointer(&text);
}

static gboolean load_one(int folder, const char *name, gsize ceiling, VdRecordFunc each, gpointer user_data,
                         GError **error)
{
  g_autofree char *text = NULL;
  gsize length;

  if (!vd_record_name_is_valid(name)) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "not the name of a record");
    return FALSE;
  }
  text = read_record(folder, name, ceiling, &length, error);
  return text && each(name, text, length, user_data, error);
}

gboolean vd_record_read(int folder, const char *name, gsize ceiling, VdRecordFunc each, gpointer user_data,
                        GError **error)
{
  if (faccessat(folder, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
    return TRUE;
  return load_one(folder, name, ceiling, each, user_data, error);
}

static DIR *list_folder(int folder)
{
  vd_autofd fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);

  if (dir)
    vd_steal_fd(&fd);
  return dir;
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DIR, closedir)

void vd_record_foreach(int folder, gsize ceiling, VdRecordBroken broken, VdRecordFunc each,
                       gpointer user_data)
{
  g_autoptr(DIR) dir = list_folder(folder);
  struct dirent *entry;
  guint seen = 0;

  while (dir && (entry = readdir(dir))) {
    g_autoptr(GError) error = NULL;
    g_autofree char *display = g_strescape(entry->d_name, NULL);

    if (g_str_equal(entry->d_name, ".") || g_str_equal(entry->d_name, ".."))
      continue;
    if (*entry->d_name == '.') {
      unlinkat(folder, entry->d_name, 0);
      continue;
    }
    if (++seen > VD_MAX_RECORDS) {
      g_warning("More than %d records; the rest is left out", VD_MAX_RECORDS);
      return;
    }
    if (load_one(folder, entry->d_name, ceiling, each, user_data, &error))
      continue;
    g_warning("Record %s is left out: %s", display, error->message);
    if (broken == VD_RECORD_REMOVE_BROKEN)
      unlinkat(folder, entry->d_name, 0);
  }
}
