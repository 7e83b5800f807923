/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach/fuse-mount.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "util/cleanup.h"

#define DEVICE "/dev/fuse"

int vd_fuse_open(void)
{
  return open(DEVICE, O_RDWR | O_CLOEXEC);
}

static gboolean set_string(int context, const char *key, const char *value)
{
  return syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, key, value, 0) == 0;
}

static gboolean set_options(int context, int fuse_fd)
{
  char number[16];

  snprintf(number, sizeof number, "%d", fuse_fd);
  return set_string(context, "source", "virtdisk") && set_string(context, "fd", number) &&
         set_string(context, "rootmode", "40000") && set_string(context, "user_id", "0") &&
         set_string(context, "group_id", "0");
}

int vd_fuse_mount(int fuse_fd, const char **ret_step)
{
  vd_autofd context = (int)syscall(SYS_fsopen, "fuse", FSOPEN_CLOEXEC);

  *ret_step = "fsopen";
  if (context < 0)
    return -1;
  *ret_step = "fsconfig";
  if (!set_options(context, fuse_fd) ||
      syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
    return -1;
  *ret_step = "fsmount";
  return (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC,
                      MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

gboolean vd_fuse_forget_attributes(int fuse_fd, guint64 node)
{
  struct {
    struct fuse_out_header header;
    struct fuse_notify_inval_inode_out inode;
  } notice = {{.len = sizeof notice, .error = FUSE_NOTIFY_INVAL_INODE},
              {.ino = node, .off = -1}}; /* the attributes alone */

  return write(fuse_fd, &notice, sizeof notice) == (gssize)sizeof notice;
}

int vd_fuse_clone(int fuse_fd)
{
  vd_autofd clone = vd_fuse_open();
  guint32 original = (guint32)fuse_fd;

  if (clone < 0 || ioctl(clone, FUSE_DEV_IOC_CLONE, &original) != 0)
    return -1;
  return vd_steal_fd(&clone);
}

gboolean vd_fuse_can_resend(void)
{
  struct utsname name;
  unsigned int version, level;

  return uname(&name) == 0 && sscanf(name.release, "%u.%u", &version, &level) == 2 &&
         (version > 6 || (version == 6 && level >= 9));
}
