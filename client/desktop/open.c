/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening: the file with the user's rights, the disk attached until the login session ends. Where there are
 * no login sessions it is attached while its handle is open, which the service of the desktop then keeps.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "work.h"

static gboolean refuse(GError **error, VirtdiskError code, const char *what)
{
  g_set_error_literal(error, VIRTDISK_ERROR, code, what);
  return FALSE;
}

static gboolean set_open_error(GError **error, int number)
{
  switch (number) {
  case ENOENT:
  case ENOTDIR:
    return refuse(error, VIRTDISK_ERROR_FILE_NOT_FOUND, "There is no such file");
  case EACCES:
  case EPERM:
    return refuse(error, VIRTDISK_ERROR_ACCESS_DENIED, "The file is not yours to open");
  case EROFS:
  case ETXTBSY:
    return refuse(error, VIRTDISK_ERROR_WRITE_PROTECT, "The file is on a disk that can only be read");
  default:
    return refuse(error, VIRTDISK_ERROR_IO, g_strerror(number));
  }
}

/* A file that may be read and not written to is protected, not hidden. */
static int open_number(const char *path, int flags)
{
  int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

  if (fd < 0 && errno == EACCES && (flags & O_ACCMODE) == O_RDWR && access(path, R_OK) == 0)
    errno = EROFS;
  return fd;
}

/* -1 with error set. */
static int open_image(const char *path, VdDeed deed, GError **error)
{
  int fd = open_number(path, deed == VD_DEED_OPEN_WRITABLE ? O_RDWR : O_RDONLY);
  struct stat st;

  if (fd < 0) {
    set_open_error(error, errno);
    return -1;
  }
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
    return fd;
  close(fd);
  refuse(error, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "It is not a regular file");
  return -1;
}

/* For reading as it suits every format: an ISO image knows no parameters of version 2. */
static VirtdiskHandle *open_handle(VirtdiskClient *client, const char *path, VdDeed deed, GError **error)
{
  g_autoptr(VirtdiskOpenParameters) parameters = virtdisk_open_parameters_new();
  gboolean writable = deed == VD_DEED_OPEN_WRITABLE;
  int fd = open_image(path, deed, error);
  VirtdiskHandle *handle;

  if (fd < 0)
    return NULL;
  virtdisk_open_parameters_set_version(parameters, writable ? 2 : 1);
  handle = virtdisk_client_open_virtual_disk_fd(client, fd, path,
                                                writable ? VIRTDISK_ACCESS_NONE : VIRTDISK_ACCESS_READ,
                                                VIRTDISK_OPEN_NONE, parameters, NULL, error);
  close(fd);
  return handle;
}

static gboolean attach_with_lifetime(VirtdiskHandle *handle, VdDeed deed, const char *lifetime,
                                     GError **error)
{
  g_autoptr(VirtdiskAttachParameters) parameters = virtdisk_attach_parameters_new();
  VirtdiskAttachFlags flags = deed == VD_DEED_OPEN ? VIRTDISK_ATTACH_READ_ONLY : VIRTDISK_ATTACH_NONE;

  virtdisk_attach_parameters_set_lifetime(parameters, lifetime);
  virtdisk_attach_parameters_set_detach_on_unmount(parameters, TRUE);
  return virtdisk_handle_attach_virtual_disk(handle, flags, parameters, NULL, NULL, error);
}

/* Keeps the handle in the outcome only where the attachment depends on it. */
static gboolean attach(VirtdiskHandle *handle, VdDeed deed, VdOutcome *outcome, GError **error)
{
  g_autoptr(GError) cause = NULL;

  if (attach_with_lifetime(handle, deed, "session", &cause))
    return TRUE;
  if (!g_error_matches(cause, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND) &&
      !g_error_matches(cause, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED)) {
    g_propagate_error(error, g_steal_pointer(&cause));
    return FALSE;
  }
  if (!attach_with_lifetime(handle, deed, "handle", error))
    return FALSE;
  outcome->handle = g_object_ref(handle);
  return TRUE;
}

static VirtdiskDisk *find_attached(VirtdiskClient *client, VirtdiskHandle *handle, GError **error)
{
  g_autofree char *device = virtdisk_handle_get_virtual_disk_physical_path(handle, NULL, error);

  return device != NULL ? virtdisk_client_get_disk_for_path(client, device, NULL, error) : NULL;
}

static VirtdiskDisk *open_and_attach(VirtdiskClient *client, VdDeed deed, VdOutcome *outcome, GError **error)
{
  g_autoptr(VirtdiskHandle) handle = open_handle(client, outcome->path, deed, error);
  g_autoptr(VirtdiskDisk) disk = NULL;

  if (handle == NULL || !attach(handle, deed, outcome, error))
    return NULL;
  disk = find_attached(client, handle, error);
  if (disk == NULL)
    return NULL;
  if (outcome->handle == NULL && !virtdisk_handle_close(handle, NULL, error))
    return NULL;
  return g_steal_pointer(&disk);
}

static gboolean is_mine(VirtdiskDisk *disk)
{
  return virtdisk_disk_get_owner_uid(disk) == getuid();
}

/* Nothing of it is to be seen or unlocked: it would only be in the way. */
static void take_back(VirtdiskClient *client, VdOutcome *outcome)
{
  g_autoptr(GError) error = NULL;

  if (!virtdisk_client_detach_image(client, outcome->device, NULL, NULL, NULL, &error))
    g_debug("%s stays attached: %s", outcome->device, error->message);
  g_clear_pointer(&outcome->device, g_free);
  g_clear_object(&outcome->handle);
}

static gboolean leaves_nothing_to_see(VdSaying saying)
{
  return saying == VD_SAYING_NO_FILE_SYSTEM || saying == VD_SAYING_NOT_MOUNTED ||
         saying == VD_SAYING_MOUNT_REFUSED;
}

/* Of a disk that was open before: what is not mounted any more is mounted again, and all of it shown. */
static void show_again(VirtdiskClient *client, VirtdiskDisk *disk, VdDeed deed, VdOutcome *outcome)
{
  vd_work_mount(client, disk, outcome);
  if (deed == VD_DEED_OPEN_WRITABLE && virtdisk_disk_get_read_only(disk))
    outcome->saying = VD_SAYING_OPEN_READ_ONLY;
}

void vd_work_open(VirtdiskClient *client, VdDeed deed, VdOutcome *outcome)
{
  g_autoptr(VirtdiskDisk) disk = virtdisk_client_get_disk_for_path(client, outcome->path, NULL, NULL);
  GError *error = NULL;

  if (disk != NULL && is_mine(disk)) {
    show_again(client, disk, deed, outcome);
    return;
  }
  g_clear_object(&disk);
  disk = open_and_attach(client, deed, outcome, &error);
  if (disk == NULL) {
    vd_outcome_fail(outcome, error);
    return;
  }
  vd_work_mount(client, disk, outcome);
  if (leaves_nothing_to_see(outcome->saying))
    take_back(client, outcome);
}
