/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads /proc and /sys only; never opens the device, never writes. What cannot be read (a process that ended,
 * one we may not look into) is left out: an answer is a help for people, the kernel decides what is busy.
 */
#include "attach/inuse.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "attach/mounts.h"
#include "attach/sysfs.h"

/* Ceilings: bytes of a maps file looked at, mount namespaces looked into. */
#define MAX_MAPS_BYTES (4 * 1024 * 1024)
#define MAX_NAMESPACES 1024

typedef struct {
  const char *proc_root, *sys_root;
  gboolean real;      /* the machine's own /proc: links may be followed */
  GPtrArray *blocks;  /* VdSysBlock: the disk and its partitions */
  GPtrArray *mounts;  /* VdMount: those of the blocks, of all mount namespaces */
  GPtrArray *devices; /* char*: node of the block that the mount of the same index is of */
  GPtrArray *holders;
} Search;

void vd_holder_free(VdHolder *self)
{
  if (self == NULL)
    return;
  g_free(self->command);
  g_free(self->where);
  g_free(self->device);
  g_free(self);
}

static gboolean is_known(const Search *search, VdHolderKind kind, pid_t pid, const char *where,
                         const char *device)
{
  for (guint i = 0; i < search->holders->len; i++) {
    const VdHolder *holder = g_ptr_array_index(search->holders, i);

    if (holder->kind == kind && holder->pid == pid && g_str_equal(holder->where, where) &&
        g_str_equal(holder->device, device))
      return TRUE;
  }
  return FALSE;
}

static void add_holder(Search *search, VdHolderKind kind, pid_t pid, const char *command, const char *where,
                       const char *device)
{
  VdHolder *holder;

  if (search->holders->len >= VD_MAX_HOLDERS || is_known(search, kind, pid, where, device))
    return;
  holder = g_new0(VdHolder, 1);
  holder->kind = kind;
  holder->pid = pid;
  holder->command = g_strdup(command);
  holder->where = g_strdup(where);
  holder->device = g_strdup(device);
  g_ptr_array_add(search->holders, holder);
}

static char *node_of(const char *kernel_name)
{
  return g_strconcat("/dev/", kernel_name, NULL);
}

static const VdSysBlock *find_block(const Search *search, dev_t devno)
{
  for (guint i = 0; i < search->blocks->len; i++) {
    const VdSysBlock *block = g_ptr_array_index(search->blocks, i);

    if (block->devno == devno)
      return block;
  }
  return NULL;
}

static const VdSysBlock *find_block_by_node(const Search *search, const char *node)
{
  if (!g_str_has_prefix(node, "/dev/"))
    return NULL;
  for (guint i = 0; i < search->blocks->len; i++) {
    const VdSysBlock *block = g_ptr_array_index(search->blocks, i);

    if (g_str_equal(block->name, node + strlen("/dev/")))
      return block;
  }
  return NULL;
}

/* btrfs and other file systems of more than one disk have a device number of their own (major 0). */
static const VdSysBlock *block_of_mount(const Search *search, const VdMount *mount)
{
  const VdSysBlock *block = find_block(search, mount->number);

  if (block == NULL && vd_mount_names_device(mount))
    block = find_block_by_node(search, mount->source);
  return block;
}

static void take_mounts(Search *search, const char *mountinfo)
{
  g_autofree char *text = NULL;
  g_autoptr(GPtrArray) mounts = NULL;

  if (!g_file_get_contents(mountinfo, &text, NULL, NULL))
    return;
  mounts = vd_mounts_parse(text);
  for (guint i = 0; i < mounts->len;) {
    const VdMount *mount = g_ptr_array_index(mounts, i);
    const VdSysBlock *block = block_of_mount(search, mount);

    if (block == NULL || search->mounts->len >= VD_MAX_HOLDERS) {
      i++;
      continue;
    }
    g_ptr_array_add(search->devices, node_of(block->name));
    add_holder(search, VD_HOLDER_MOUNT, 0, NULL, mount->point,
               g_ptr_array_index(search->devices, search->devices->len - 1));
    g_ptr_array_add(search->mounts, g_ptr_array_steal_index(mounts, i));
  }
}

static GPtrArray *list_pids(const Search *search)
{
  g_autoptr(GDir) dir = g_dir_open(search->proc_root, 0, NULL);
  GPtrArray *pids = g_ptr_array_new_with_free_func(g_free);
  const char *entry;

  while (dir != NULL && (entry = g_dir_read_name(dir)) != NULL)
    if (g_ascii_isdigit(entry[0]))
      g_ptr_array_add(pids, g_strdup(entry));
  return pids;
}

static char *read_link(const Search *search, const char *pid, const char *entry)
{
  g_autofree char *path = g_build_filename(search->proc_root, pid, entry, NULL);

  return g_file_read_link(path, NULL);
}

/* Other mount namespaces: one table each, of the first process seen in it. */
static void find_mounts(Search *search, GPtrArray *pids)
{
  g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
  g_autofree char *own = g_build_filename(search->proc_root, "self", "mountinfo", NULL);
  char *namespace = read_link(search, "self", "ns/mnt");

  if (namespace != NULL)
    g_hash_table_add(seen, namespace);
  take_mounts(search, own);
  for (guint i = 0; i < pids->len && g_hash_table_size(seen) < MAX_NAMESPACES; i++) {
    const char *pid = g_ptr_array_index(pids, i);
    g_autofree char *table = g_build_filename(search->proc_root, pid, "mountinfo", NULL);

    namespace = read_link(search, pid, "ns/mnt");
    if (namespace != NULL && g_hash_table_add(seen, namespace))
      take_mounts(search, table);
  }
}

static void find_stacked(Search *search)
{
  const char *disk = ((VdSysBlock *)g_ptr_array_index(search->blocks, 0))->name;

  for (guint i = 0; i < search->blocks->len; i++) {
    const VdSysBlock *block = g_ptr_array_index(search->blocks, i);
    g_autofree char *directory =
        block->number == 0 ? g_strdup("holders") : g_build_filename(block->name, "holders", NULL);
    g_autoptr(GPtrArray) above = vd_sysfs_list(search->sys_root, disk, directory);
    g_autofree char *device = node_of(block->name);

    for (guint j = 0; j < above->len; j++) {
      const char *upper = g_ptr_array_index(above, j);
      g_autofree char *dm_name = vd_sysfs_read(search->sys_root, upper, "dm/name");
      g_autofree char *where =
          dm_name ? g_strdup_printf("/dev/%s (%s)", upper, dm_name) : g_strdup_printf("/dev/%s", upper);

      add_holder(search, VD_HOLDER_STACKED, 0, NULL, where, device);
    }
  }
}

/* Index of the mount that the path lies on, or -1. Paths are compared as text. */
static int mount_of_path(const Search *search, const char *path)
{
  for (guint i = 0; i < search->mounts->len; i++) {
    const VdMount *mount = g_ptr_array_index(search->mounts, i);
    size_t length = strlen(mount->point);

    if (strncmp(path, mount->point, length) == 0 && (path[length] == '/' || path[length] == '\0'))
      return (int)i;
  }
  return -1;
}

static int mount_of_device(const Search *search, dev_t devno)
{
  for (guint i = 0; i < search->mounts->len; i++)
    if (((VdMount *)g_ptr_array_index(search->mounts, i))->number == devno)
      return (int)i;
  return -1;
}

/* A hanging network file system must not hang us: no attribute is fetched anew. */
static gboolean look_at_file(const char *path, struct statx *ret_status)
{
  return statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, ret_status) == 0;
}

static int mount_of_file(const Search *search, const char *path)
{
  struct statx status;

  if (search->real && look_at_file(path, &status))
    return mount_of_device(search, makedev(status.stx_dev_major, status.stx_dev_minor));
  return mount_of_path(search, path);
}

/* A loop device keeps its backing file, be that our node or a file on our file system, without a process. */
static void find_loops(Search *search)
{
  g_autoptr(GPtrArray) names = vd_sysfs_list(search->sys_root, NULL, NULL);
  const char *disk = ((VdSysBlock *)g_ptr_array_index(search->blocks, 0))->name;

  for (guint i = 0; i < names->len; i++) {
    const char *name = g_ptr_array_index(names, i);
    g_autofree char *backing = NULL;
    g_autofree char *where = node_of(name);
    int on;

    if (!g_str_has_prefix(name, "loop") || g_str_equal(name, disk))
      continue;
    backing = vd_sysfs_read(search->sys_root, name, "loop/backing_file");
    if (backing == NULL)
      continue;
    if (find_block_by_node(search, backing) != NULL)
      add_holder(search, VD_HOLDER_LOOP, 0, NULL, where, backing);
    else if ((on = mount_of_file(search, backing)) >= 0)
      add_holder(search, VD_HOLDER_LOOP, 0, NULL, where, g_ptr_array_index(search->devices, on));
  }
}

static void find_swaps(Search *search)
{
  g_autofree char *path = g_build_filename(search->proc_root, "swaps", NULL);
  g_autofree char *text = NULL;
  g_auto(GStrv) lines = NULL;

  if (!g_file_get_contents(path, &text, NULL, NULL))
    return;
  lines = g_strsplit(text, "\n", -1);
  for (guint i = 0; lines[i] != NULL; i++) {
    lines[i][strcspn(lines[i], " \t")] = '\0';
    if (find_block_by_node(search, lines[i]) != NULL)
      add_holder(search, VD_HOLDER_SWAP, 0, NULL, lines[i], lines[i]);
  }
}

typedef struct {
  Search *search;
  pid_t pid;
  const char *command;
  gboolean transient; /* holds the node for a moment only */
} Process;

static void note_node(const Process *process, const char *node)
{
  if (!process->transient)
    add_holder(process->search, VD_HOLDER_PROCESS, process->pid, process->command, node, node);
}

static void note_mount(const Process *process, guint index)
{
  const VdMount *mount = g_ptr_array_index(process->search->mounts, index);

  add_holder(process->search, VD_HOLDER_PROCESS, process->pid, process->command, mount->point,
             g_ptr_array_index(process->search->devices, index));
}

/* By what the link leads to; FALSE: nobody can say. */
static gboolean note_followed(const Process *process, const char *path)
{
  const Search *search = process->search;
  const VdSysBlock *block;
  struct statx status;
  int on;

  if (!look_at_file(path, &status))
    return FALSE;
  block = S_ISBLK(status.stx_mode) ? find_block(search, makedev(status.stx_rdev_major, status.stx_rdev_minor))
                                   : NULL;
  on = mount_of_device(search, makedev(status.stx_dev_major, status.stx_dev_minor));
  if (block != NULL) {
    g_autofree char *node = node_of(block->name);
    note_node(process, node);
  } else if (on >= 0) {
    note_mount(process, (guint)on);
  }
  return TRUE;
}

static void look_at_link(const Process *process, const char *path)
{
  g_autofree char *target = g_file_read_link(path, NULL);
  const VdSysBlock *block;
  int on;

  if (target == NULL || target[0] != '/')
    return;
  if (process->search->real && note_followed(process, path))
    return;
  block = find_block_by_node(process->search, target);
  on = mount_of_path(process->search, target);
  if (block != NULL)
    note_node(process, target);
  else if (on >= 0)
    note_mount(process, (guint)on);
}

/* Mapped files: their device number stands in the fourth column, in hexadecimal. */
static void look_at_maps(const Process *process, const char *path)
{
  g_autofree char *line = NULL;
  size_t size = 0, seen = 0;
  ssize_t length;
  FILE *file = fopen(path, "re");

  if (file == NULL)
    return;
  while (seen < MAX_MAPS_BYTES && (length = getline(&line, &size, file)) > 0) {
    unsigned int maj, min;
    unsigned long long inode;
    int on;

    seen += (size_t)length;
    if (sscanf(line, "%*s %*s %*s %x:%x %llu", &maj, &min, &inode) != 3 || inode == 0)
      continue;
    on = mount_of_device(process->search, makedev(maj, min));
    if (on >= 0)
      note_mount(process, (guint)on);
  }
  fclose(file);
}

static void look_at_process(Search *search, const char *pid)
{
  static const char *const links[] = {"cwd", "root", "exe"};
  g_autofree char *base = g_build_filename(search->proc_root, pid, NULL);
  g_autofree char *comm_path = g_build_filename(base, "comm", NULL);
  g_autofree char *fds_path = g_build_filename(base, "fd", NULL);
  g_autofree char *maps_path = g_build_filename(base, "maps", NULL);
  g_autofree char *comm = NULL;
  g_autoptr(GDir) fds = g_dir_open(fds_path, 0, NULL);
  Process process = {.search = search, .pid = (pid_t)strtol(pid, NULL, 10)};
  const char *entry;

  if (!g_file_get_contents(comm_path, &comm, NULL, NULL))
    return;
  g_strchomp(comm);
  process.command = comm;
  process.transient = g_str_equal(comm, "systemd-udevd") || g_str_equal(comm, "(udev-worker)") ||
                      (search->real && process.pid == getpid());
  while (fds != NULL && (entry = g_dir_read_name(fds)) != NULL) {
    g_autofree char *path = g_build_filename(fds_path, entry, NULL);
    look_at_link(&process, path);
  }
  for (guint i = 0; i < G_N_ELEMENTS(links); i++) {
    g_autofree char *path = g_build_filename(base, links[i], NULL);
    look_at_link(&process, path);
  }
  if (search->mounts->len > 0)
    look_at_maps(&process, maps_path);
}

GPtrArray *vd_inuse_find(const char *name, const char *proc_root, const char *sys_root)
{
  Search search = {.proc_root = proc_root ? proc_root : "/proc",
                   .sys_root = sys_root ? sys_root : "/sys",
                   .real = proc_root == NULL,
                   .holders = g_ptr_array_new_with_free_func((GDestroyNotify)vd_holder_free)};
  g_autoptr(GPtrArray) blocks = search.blocks = vd_sysfs_list_blocks(search.sys_root, name);
  g_autoptr(GPtrArray) mounts = search.mounts = g_ptr_array_new_with_free_func((GDestroyNotify)vd_mount_free);
  g_autoptr(GPtrArray) devices = search.devices = g_ptr_array_new_with_free_func(g_free);
  g_autoptr(GPtrArray) pids = list_pids(&search);

  if (blocks->len == 0)
    return search.holders;
  find_mounts(&search, pids);
  find_stacked(&search);
  find_loops(&search);
  find_swaps(&search);
  for (guint i = 0; i < pids->len && search.holders->len < VD_MAX_HOLDERS; i++)
    look_at_process(&search, g_ptr_array_index(pids, i));
  return search.holders;
}

/* Names come from others: they must neither break a line nor the encoding of a message. */
static char *printable(const char *text)
{
  char *valid = g_utf8_make_valid(text, -1);

  for (char *c = valid; *c != '\0'; c++)
    if (g_ascii_iscntrl(*c))
      *c = '?';
  return valid;
}

static void describe_one(const VdHolder *holder, GString *out)
{
  g_autofree char *where = printable(holder->where);
  g_autofree char *command = printable(holder->command ? holder->command : "");

  switch (holder->kind) {
  case VD_HOLDER_MOUNT:
    g_string_append_printf(out, "%s is mounted on %s", holder->device, where);
    break;
  case VD_HOLDER_STACKED:
    g_string_append_printf(out, "%s is built on %s", where, holder->device);
    break;
  case VD_HOLDER_LOOP:
    g_string_append_printf(out, "%s has its backing file on %s", where, holder->device);
    break;
  case VD_HOLDER_SWAP:
    g_string_append_printf(out, "%s is used as swap space", where);
    break;
  case VD_HOLDER_PROCESS:
    if (g_str_equal(holder->where, holder->device))
      g_string_append_printf(out, "%s is open in %s (pid %d)", holder->device, command, (int)holder->pid);
    else
      g_string_append_printf(out, "%s is in use by %s (pid %d)", where, command, (int)holder->pid);
    break;
  }
}

char *vd_inuse_describe(GPtrArray *holders)
{
  GString *out = g_string_new(NULL);

  for (guint i = 0; i < holders->len; i++) {
    if (i > 0)
      g_string_append(out, "; ");
    describe_one(g_ptr_array_index(holders, i), out);
  }
  return g_string_free(out, FALSE);
}
