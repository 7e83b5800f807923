/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach/fuse-mount.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "util/cleanup.h"

#define DEVICE "/dev/fuse"
/* The last of a file that a notice carries, bytes: a page, so that no page is read for the rest of it. */
#define TAIL 4096

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

/* Answers to GETATTR are dropped by the kernel when any other request has ended since it was sent
 * (fuse_aio_complete), so under load they need not arrive. What is stored in a file counts at once. */
static gboolean store_tail(int fuse_fd, guint64 node, guint64 size)
{
  static const guint8 zeros[TAIL] = {0};
  struct {
    struct fuse_out_header header;
    struct fuse_notify_store_out store;
  } notice = {{.error = FUSE_NOTIFY_STORE}, {.nodeid = node}};

  notice.store.offset = (size - 1) / TAIL * TAIL;
  notice.store.size = (guint32)(size - notice.store.offset);
  notice.header.len = (guint32)sizeof notice + notice.store.size;
  struct iovec parts[] = {{&notice, sizeof notice}, {(void *)zeros, notice.store.size}};
  return writev(fuse_fd, parts, G_N_ELEMENTS(parts)) == (gssize)notice.header.len;
}

/* Pages as well: those of store_tail() hold nothing that anybody wrote. */
static gboolean forget(int fuse_fd, guint64 node)
{
  struct {
    struct fuse_out_header header;
    struct fuse_notify_inval_inode_out inode;
  } notice = {{.len = sizeof notice, .error = FUSE_NOTIFY_INVAL_INODE}, {.ino = node}};

  return write(fuse_fd, &notice, sizeof notice) == (gssize)sizeof notice;
}

gboolean vd_fuse_file_has_grown(int fuse_fd, guint64 node, guint64 size)
{
  return store_tail(fuse_fd, node, size) && forget(fuse_fd, node);
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
