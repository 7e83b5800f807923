/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach/node.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "attach/sysfs.h"
#include "util/cleanup.h"
#include "virtdisk-error.h"

/* What the kernel makes a loop device with. */
static const VdNodeOwner default_owner = {.set = TRUE, .uid = 0, .gid = 0, .mode = 0600};

/* The mode is narrowed before the owner changes and set after it, so that nobody gets in between. */
gboolean vd_node_give(int fd, const VdNodeOwner *owner, GError **error)
{
  struct stat status;

  if (!owner->set)
    return TRUE;
  if (fstat(fd, &status) == 0 && status.st_uid == owner->uid && status.st_gid == owner->gid &&
      (status.st_mode & 07777) == (owner->mode & 07777))
    return TRUE;
  if (fchmod(fd, 0600) == 0 && fchown(fd, owner->uid, owner->gid) == 0 &&
      fchmod(fd, owner->mode & 07777) == 0)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO,
              "The device node cannot be given to user %u, group %u: %s", (unsigned)owner->uid,
              (unsigned)owner->gid, g_strerror(errno));
  return FALSE;
}

static void give_partition(const VdSysBlock *block, const VdNodeOwner *owner)
{
  g_autofree char *path = g_strconcat("/dev/", block->name, NULL);
  g_autoptr(GError) error = NULL;
  vd_autofd fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
  struct stat status;

  if (fd < 0 || fstat(fd, &status) != 0 || !S_ISBLK(status.st_mode) || status.st_rdev != block->devno)
    return;
  if (!vd_node_give(fd, owner, &error))
    g_warning("%s: %s", path, error->message);
}

void vd_node_give_partitions(const char *name, const VdNodeOwner *owner)
{
  g_autoptr(GPtrArray) blocks = NULL;

  if (!owner->set)
    return;
  blocks = vd_sysfs_list_blocks(NULL, name);
  for (guint i = 0; i < blocks->len; i++) {
    const VdSysBlock *block = g_ptr_array_index(blocks, i);

    if (block->number != 0)
      give_partition(block, owner);
  }
}

void vd_node_take_back(const char *path, const VdNodeOwner *owner)
{
  g_autofree char *link = NULL;
  vd_autofd fd = -1;
  struct stat status;

  if (!owner->set)
    return;
  /* Opening the device would make us one of its users. */
  fd = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0 || fstat(fd, &status) != 0 || !S_ISBLK(status.st_mode) || status.st_uid != owner->uid ||
      status.st_gid != owner->gid)
    return;
  link = g_strdup_printf("/proc/self/fd/%d", fd);
  if (chmod(link, default_owner.mode) != 0 ||
      fchownat(fd, "", default_owner.uid, default_owner.gid, AT_EMPTY_PATH) != 0)
    g_warning("%s cannot be taken back from user %u: %s", path, (unsigned)owner->uid, g_strerror(errno));
}
