/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One table from errno to error. It must never make a file that is there differ from one that is not where
 * the caller may see neither. */
#include "auth/opener-errors.h"

#include <errno.h>
#include <sys/stat.h>

#include "util/display.h"
#include "virtdisk-error.h"

typedef struct {
  int number;
  VirtdiskError code;
  const char *text; /* what follows the path; NULL: strerror's words */
} ErrnoRow;

static const ErrnoRow rows[] = {
    {ENOENT, VIRTDISK_ERROR_FILE_NOT_FOUND, "does not exist"},
    {ENOTDIR, VIRTDISK_ERROR_PATH_NOT_FOUND, "leads through something that is not a directory"},
    {ELOOP, VIRTDISK_ERROR_PATH_NOT_FOUND,
     "leads through symbolic links without end, or through links of /proc"},
    {ENAMETOOLONG, VIRTDISK_ERROR_NAME_TOO_LONG, "has a name that is too long for its file system"},
    {EEXIST, VIRTDISK_ERROR_FILE_EXISTS, "exists already"},
    {ENOSPC, VIRTDISK_ERROR_DISK_FULL, "does not fit: its file system is full"},
    {EDQUOT, VIRTDISK_ERROR_DISK_FULL, "does not fit into your quota of disk space"},
    {EROFS, VIRTDISK_ERROR_WRITE_PROTECT, "is on a file system that is mounted read-only"},
    {ETXTBSY, VIRTDISK_ERROR_SHARING_VIOLATION, "is a program that runs or a swap area in use"},
    {EAGAIN, VIRTDISK_ERROR_SHARING_VIOLATION, "is under a lease that another program holds"},
    {EBUSY, VIRTDISK_ERROR_SHARING_VIOLATION, "is in use"},
    {EISDIR, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "is a directory, not a regular file"},
    {ENXIO, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "is a device, a socket or a FIFO, not a regular file"},
    {ENODEV, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "is a device, not a regular file"},
    {ESTALE, VIRTDISK_ERROR_FILE_CHANGED, "was replaced while it was being opened"},
    {EMFILE, VIRTDISK_ERROR_NO_RESOURCES, NULL},
    {ENFILE, VIRTDISK_ERROR_NO_RESOURCES, NULL},
    {ENOMEM, VIRTDISK_ERROR_NO_RESOURCES, NULL},
    {ENOSYS, VIRTDISK_ERROR_NOT_SUPPORTED, "cannot be opened: this kernel has no openat2"},
    {ETIMEDOUT, VIRTDISK_ERROR_TIMED_OUT, NULL},
};

static const char *type_name(uint32_t type)
{
  switch (type) {
  case S_IFDIR:
    return "a directory";
  case S_IFIFO:
    return "a FIFO";
  case S_IFSOCK:
    return "a socket";
  case S_IFBLK:
    return "a block device";
  case S_IFCHR:
    return "a character device";
  default:
    return "of an unknown type";
  }
}

static GError *file_error(int number, const char *display)
{
  if (number == EACCES || number == EPERM)
    return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED, "You have no permission to open %s",
                       display);
  for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
    if (rows[i].number == number)
      return g_error_new(VIRTDISK_ERROR, rows[i].code, "%s %s%s", display,
                         rows[i].text != NULL ? rows[i].text : "cannot be opened: ",
                         rows[i].text != NULL ? "" : g_strerror(number));
  }
  return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s cannot be opened: %s (errno %d)", display,
                     g_strerror(number), number);
}

static GError *parent_error(int number, const char *display)
{
  if (number != ENOENT)
    return file_error(number, display);
  return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_PATH_NOT_FOUND, "The directory of %s does not exist",
                     display);
}

GError *vd_opener_error(const VdOpenerReply *answer, const char *path, uid_t uid)
{
  g_autofree char *display = vd_text_to_display(path);

  switch ((VdOpenerStage)answer->stage) {
  case VD_OPENER_AT_FILE:
    return file_error(answer->error_number, display);
  case VD_OPENER_AT_PARENT:
    return parent_error(answer->error_number, display);
  case VD_OPENER_AT_TYPE:
    return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "%s is %s, not a regular file",
                       display, type_name(answer->detail));
  case VD_OPENER_AT_USER:
    return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_IO,
                       "The user database does not tell the groups of user %u: %s", (guint)uid,
                       g_strerror(answer->error_number));
  case VD_OPENER_AT_IDENTITY:
    return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED, "The opener cannot act as user %u: %s",
                       (guint)uid, g_strerror(answer->error_number));
  default:
    return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_INTERNAL, "The opener refused its request: %s",
                       g_strerror(answer->error_number));
  }
}
