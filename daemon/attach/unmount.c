/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach/unmount.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "attach/mounts.h"
#include "attach/sysfs.h"
#include "util/cleanup.h"

/* Undoing a mount in one namespace may free another; more rounds than this only with mounts that come back.
 */
#define MAX_ROUNDS 4
#define MAX_NAMESPACES 1024

static gboolean is_of_disk(const VdMount *mount, GPtrArray *blocks)
{
  for (guint i = 0; i < blocks->len; i++) {
    const VdSysBlock *block = g_ptr_array_index(blocks, i);

    if (block->devno == mount->number)
      return TRUE;
    if (vd_mount_names_device(mount) && g_str_equal(mount->source + strlen("/dev/"), block->name))
      return TRUE;
  }
  return FALSE;
}

static int open_folder(const char *path)
{
  struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                         .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};

  return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
}

/* The folder above may be its user's, who can put something else in the way at any time: no link is followed,
 * and what is mounted over it stays. Changes the working directory, which is the thread's. */
static gboolean unmount_one(const VdMount *mount)
{
  g_autofree char *parent = g_path_get_dirname(mount->point);
  g_autofree char *name = g_path_get_basename(mount->point);
  vd_autofd folder = open_folder(parent);
  struct statx stx;
  gboolean done;

  if (folder < 0 || fchdir(folder) != 0)
    return FALSE;
  vd_clear_fd(&folder); /* it may be on another file system of the disk */
  done = statx(AT_FDCWD, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_MNT_ID,
               &stx) == 0 &&
         ((stx.stx_mask & STATX_MNT_ID) == 0 || stx.stx_mnt_id == mount->id) &&
         umount2(name, UMOUNT_NOFOLLOW) == 0;
  return chdir("/") == 0 && done;
}

/* Latest first: what was mounted below another comes off before it. */
static guint unmount_listed(GPtrArray *mounts, GPtrArray *blocks)
{
  guint undone = 0;

  for (guint i = mounts->len; i-- > 0;) {
    const VdMount *mount = g_ptr_array_index(mounts, i);

    if (is_of_disk(mount, blocks) && unmount_one(mount))
      undone++;
  }
  return undone;
}

static gboolean has_any(GPtrArray *mounts, GPtrArray *blocks)
{
  for (guint i = 0; i < mounts->len; i++)
    if (is_of_disk(g_ptr_array_index(mounts, i), blocks))
      return TRUE;
  return FALSE;
}

static GPtrArray *read_table(const char *pid)
{
  g_autofree char *path = g_build_filename("/proc", pid, "mountinfo", NULL);
  g_autofree char *text = NULL;

  return g_file_get_contents(path, &text, NULL, NULL) ? vd_mounts_parse(text) : NULL;
}

typedef struct {
  int fd;   /* of the namespace */
  int root; /* what / is there to the process that was asked: mount points are told from there (a chroot) */
  GPtrArray *mounts;
} Namespace;

static void namespace_free(gpointer data)
{
  Namespace *self = data;

  vd_clear_fd(&self->fd);
  vd_clear_fd(&self->root);
  g_ptr_array_unref(self->mounts);
  g_free(self);
}

static void collect_namespace_of(GPtrArray *namespaces, const char *pid, GPtrArray *blocks)
{
  g_autofree char *path = g_build_filename("/proc", pid, "ns/mnt", NULL);
  g_autofree char *root_path = g_build_filename("/proc", pid, "root", NULL);
  g_autoptr(GPtrArray) mounts = read_table(pid);
  vd_autofd fd = -1, root = -1;
  Namespace *found;

  if (mounts == NULL || !has_any(mounts, blocks))
    return;
  fd = open(path, O_RDONLY | O_CLOEXEC);
  root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || root < 0)
    return;
  found = g_new0(Namespace, 1);
  found->fd = vd_steal_fd(&fd);
  found->root = vd_steal_fd(&root);
  found->mounts = g_steal_pointer(&mounts);
  g_ptr_array_add(namespaces, found);
}

/* Those with mounts of the disk. Complete before the first is entered: in there /proc may be another one. */
static GPtrArray *collect_namespaces(GPtrArray *blocks)
{
  GPtrArray *namespaces = g_ptr_array_new_with_free_func(namespace_free);
  g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr(GDir) dir = g_dir_open("/proc", 0, NULL);
  const char *entry;

  while (dir != NULL && (entry = g_dir_read_name(dir)) != NULL) {
    g_autofree char *path = g_build_filename("/proc", entry, "ns/mnt", NULL);
    char *name = g_ascii_isdigit(entry[0]) ? g_file_read_link(path, NULL) : NULL;

    if (name != NULL && g_hash_table_size(seen) < MAX_NAMESPACES && g_hash_table_add(seen, name))
      collect_namespace_of(namespaces, entry, blocks);
  }
  return namespaces;
}

/* setns(2) sets / to the root of the namespace, which need not be the one that its processes have. */
static gboolean enter(int space, int root)
{
  return setns(space, CLONE_NEWNS) == 0 && fchdir(root) == 0 && chroot(".") == 0;
}

static guint unmount_round(int home, int home_root, GPtrArray *blocks)
{
  g_autoptr(GPtrArray) namespaces = collect_namespaces(blocks);
  guint undone = 0;

  for (guint i = 0; i < namespaces->len; i++) {
    const Namespace *space = g_ptr_array_index(namespaces, i);

    if (enter(space->fd, space->root))
      undone += unmount_listed(space->mounts, blocks);
  }
  return enter(home, home_root) ? undone : 0;
}

/* A thread of its own, since it leaves the process' view of the file system for a while. */
static gpointer unmount_in_thread(gpointer data)
{
  g_autoptr(GPtrArray) blocks = vd_sysfs_list_blocks(NULL, data);
  g_autoptr(GPtrArray) own = read_table("thread-self");
  vd_autofd home = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
  vd_autofd home_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  guint total = 0, undone = 1;

  if (home < 0 || home_root < 0 || unshare(CLONE_FS) != 0)
    return GUINT_TO_POINTER(0);
  if (own != NULL)
    total = unmount_listed(own, blocks);
  for (guint i = 0; i < MAX_ROUNDS && undone > 0; i++) {
    undone = unmount_round(home, home_root, blocks);
    total += undone;
  }
  return GUINT_TO_POINTER(total);
}

guint vd_unmount_all(const char *name)
{
  g_autofree char *copy = g_strdup(name);
  GThread *thread = g_thread_new("vd-unmount", unmount_in_thread, copy);

  return GPOINTER_TO_UINT(g_thread_join(thread));
}
