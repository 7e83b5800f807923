/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * After a device of ours has ended by other hands than ours. The loop driver lets everybody who has the node
 * open clear it, so its owner can leave it unbound and open it once more while the node is still theirs. Such
 * a descriptor would show, and write, what is bound to the device next. So the device is made anew, which the
 * kernel does only if nobody has it open; and otherwise kept occupied, by nothing, until the last descriptor
 * is closed.
 */
#include "attach/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "attach/hints.h"
#include "util/cleanup.h"

#define VACANT_BYTES 4096

/* A file without a name and without contents, or -1. */
static int open_vacant(const char *rundir)
{
  g_autofree char *path = g_strdup_printf("%s/vacant.%08x", rundir, g_random_int());
  vd_autofd fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

  if (fd < 0)
    return -1;
  if (truncate(path, VACANT_BYTES) != 0)
    g_warning("%s: %s", path, g_strerror(errno));
  unlink(path);
  return vd_steal_fd(&fd);
}

/* LO_FLAGS_AUTOCLEAR: the kernel ends it when the last one who has it open closes it. */
static void occupy(const VdAttachment *attachment)
{
  vd_autofd vacant = open_vacant(attachment->rundir);
  vd_autofd fd = open(attachment->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  struct loop_config config = {.fd = (guint32)vacant};

  config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
  if (vacant < 0 || fd < 0 || ioctl(fd, LOOP_CONFIGURE, &config) != 0) {
    if (errno != EBUSY && errno != ENXIO)
      g_warning("%s stays open to user %u: %s", attachment->path, (unsigned)attachment->owner.uid,
                g_strerror(errno));
    return;
  }
  g_message("%s, which user %u keeps open, is out of use until it is closed", attachment->path,
            (unsigned)attachment->owner.uid);
}

/* LOOP_CHANGE_FD puts another file under a read-only device; the kernel then counts it as another disk. */
static void clear_exchanged(const VdAttachment *attachment)
{
  vd_autofd fd = open(attachment->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  struct loop_info64 info = {0};
  g_autofree char *tag = NULL;

  if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) != 0)
    return;
  tag = vd_loop_read_tag(&info);
  if (tag != NULL && g_strcmp0(tag, attachment->tag) == 0)
    ioctl(fd, LOOP_CLR_FD);
}

/* TRUE: nobody has it open any more. */
static gboolean make_anew(const char *name)
{
  vd_autofd control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
  int number;

  if (control < 0 || sscanf(name, "loop%d", &number) != 1 || ioctl(control, LOOP_CTL_REMOVE, number) < 0)
    return FALSE;
  ioctl(control, LOOP_CTL_ADD, number);
  return TRUE;
}

void vd_loop_reclaim(const VdAttachment *attachment)
{
  if (!g_str_has_prefix(attachment->name, "loop"))
    return;
  if (attachment->owner.set && !vd_loop_is_live(attachment)) {
    clear_exchanged(attachment);
    vd_node_take_back(attachment->path, &attachment->owner);
    if (!make_anew(attachment->name))
      occupy(attachment);
  }
  /* While it is there nobody of us takes the device (vd_hints_are_public()). */
  vd_hints_remove(attachment->rundir, attachment->name, attachment->diskseq);
}
