/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The locks of an image, as QEMU's block/file-posix.c lays them: for each permission in use a shared lock on
 * byte 100 + permission, for each one not granted to others on byte 200 + permission; then a look whether
 * anybody holds an opposite byte. Besides them a BSD lock, for tools that know no other.
 * A shared lock that is taken first and a look afterwards: two who race may both lose, never both win.
 */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/sysmacros.h>

#include "virtdisk-error.h"

#define USED_BASE 100
#define UNSHARED_BASE 200

enum { PERM_CONSISTENT_READ, PERM_WRITE, PERM_WRITE_UNCHANGED, PERM_RESIZE, N_PERMS };

/* A set of lock bytes: bit p is byte 100 + p, bit 8 + p is byte 200 + p. */
#define USED(p) (1u << (p))
#define UNSHARED(p) (1u << (8 + (p)))
#define READER (USED(PERM_CONSISTENT_READ) | UNSHARED(PERM_WRITE) | UNSHARED(PERM_RESIZE))
#define WRITER (READER | USED(PERM_WRITE) | USED(PERM_RESIZE))
#define N_BITS 16

/* Looked through to put a name to a refusal; each is one read of /proc. */
#define MAX_FDINFO 16384

typedef enum { LOCK_TAKEN, LOCK_CONFLICT, LOCK_FAILED } LockResult;

static off_t byte_of_bit(int bit)
{
  return bit < 8 ? USED_BASE + bit : UNSHARED_BASE + bit - 8;
}

/* The bytes that must be free of others' locks: 100 + p where we do not share p, 200 + p where we use it. */
static guint opposite_of(guint set)
{
  return ((set >> 8) | (set << 8)) & 0xffff;
}

static gboolean means_no_locks(int number)
{
  return number == ENOLCK || number == EOPNOTSUPP || number == ENOSYS;
}

static int set_byte(int fd, int bit, short type)
{
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte_of_bit(bit), .l_len = 1};

  return fcntl(fd, F_OFD_SETLK, &lock);
}

static void release_bytes(int fd, guint set)
{
  for (int bit = 0; bit < N_BITS; bit++)
    if (set & (1u << bit))
      set_byte(fd, bit, F_UNLCK);
}

/* ret_bit: the one that somebody else holds exclusively. errno is set with LOCK_FAILED. */
static LockResult take_bytes(int fd, guint set, int *ret_bit)
{
  for (int bit = 0; bit < N_BITS; bit++) {
    *ret_bit = bit;
    if (!(set & (1u << bit)) || set_byte(fd, bit, F_RDLCK) == 0 || means_no_locks(errno))
      continue;
    return errno == EAGAIN || errno == EACCES ? LOCK_CONFLICT : LOCK_FAILED;
  }
  return LOCK_TAKEN;
}

static LockResult test_bytes(int fd, guint set, int *ret_bit)
{
  for (int bit = 0; bit < N_BITS; bit++) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte_of_bit(bit), .l_len = 1};

    *ret_bit = bit;
    if (!(set & (1u << bit)))
      continue;
    if (fcntl(fd, F_OFD_GETLK, &lock) == 0) {
      if (lock.l_type != F_UNLCK)
        return LOCK_CONFLICT;
    } else if (!means_no_locks(errno)) {
      return LOCK_FAILED;
    }
  }
  return LOCK_TAKEN;
}

static LockResult take_bsd(const VdImage *self, guint set)
{
  int operation = set == 0 ? LOCK_UN : set & USED(PERM_WRITE) ? LOCK_EX : LOCK_SH;

  /* NFS and SMB turn a BSD lock into a byte range lock on the whole file, which would cover QEMU's bytes and
   * make two readers on two hosts refuse each other. */
  if (self->remote || flock(self->fd, operation | LOCK_NB) == 0 || means_no_locks(errno))
    return LOCK_TAKEN;
  return errno == EWOULDBLOCK ? LOCK_CONFLICT : LOCK_FAILED;
}

/* The file as the tables of locks name it: on btrfs and overlayfs not by the number that stat(2) tells. */
typedef struct {
  unsigned major, minor;
  guint64 inode;
} FileKey;

typedef struct {
  char type[16]; /* OFDLCK, POSIX, FLOCK */
  int pid;       /* -1 for OFDLCK */
  FileKey file;
  guint64 start, end;
} LockLine;

/* A line of /proc/locks, or what follows "lock:" in fdinfo (proc(5)). */
static gboolean parse_lock_line(const char *line, LockLine *ret_lock)
{
  char end[24];

  if (sscanf(line, "%*d: %15s %*15s %*15s %d %x:%x:%" SCNu64 " %" SCNu64 " %23s", ret_lock->type,
             &ret_lock->pid, &ret_lock->file.major, &ret_lock->file.minor, &ret_lock->file.inode,
             &ret_lock->start, end) != 7)
    return FALSE;
  ret_lock->end = g_str_equal(end, "EOF") ? G_MAXUINT64 : g_ascii_strtoull(end, NULL, 10);
  return TRUE;
}

/* What is looked for. bit -1: a BSD lock. */
typedef struct {
  FileKey file;
  int bit;
} Wanted;

static gboolean fits(const LockLine *lock, const Wanted *wanted)
{
  guint64 byte;

  if (lock->file.major != wanted->file.major || lock->file.minor != wanted->file.minor ||
      lock->file.inode != wanted->file.inode)
    return FALSE;
  if (wanted->bit < 0 || g_str_equal(lock->type, "FLOCK"))
    return wanted->bit < 0 && g_str_equal(lock->type, "FLOCK");
  byte = (guint64)byte_of_bit(wanted->bit);
  return lock->start <= byte && byte <= lock->end;
}

/* The first lock in the text of an fdinfo file that pleases fits (or any, with wanted NULL). */
static gboolean find_in_fdinfo(const char *path, const Wanted *wanted, LockLine *ret_lock)
{
  g_autofree char *text = NULL;

  if (!g_file_get_contents(path, &text, NULL, NULL))
    return FALSE;
  for (const char *line = strstr(text, "lock:"); line; line = strstr(line, "lock:")) {
    line += strlen("lock:");
    if (parse_lock_line(line, ret_lock) && (!wanted || fits(ret_lock, wanted)))
      return TRUE;
  }
  return FALSE;
}

/* Our own locks tell the kernel's name of the file; without any, stat's number has to do. */
static FileKey key_of(const VdImage *self)
{
  g_autofree char *path = g_strdup_printf("/proc/self/fdinfo/%d", self->fd);
  LockLine lock;

  if (find_in_fdinfo(path, NULL, &lock))
    return lock.file;
  return (FileKey){major(self->st.st_dev), minor(self->st.st_dev), self->st.st_ino};
}

/* FALSE when the process has no such lock, or *budget is used up. */
static gboolean process_holds(const char *pid, const Wanted *wanted, guint *budget)
{
  g_autofree char *folder = g_build_filename("/proc", pid, "fdinfo", NULL);
  g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
  const char *name;
  LockLine lock;

  while (dir && *budget > 0 && (name = g_dir_read_name(dir))) {
    g_autofree char *path = g_build_filename(folder, name, NULL);

    --*budget;
    if (find_in_fdinfo(path, wanted, &lock))
      return TRUE;
  }
  return FALSE;
}

/* Sees the owners of OFD locks too, of processes that we may look into. 0: none found. */
static int find_in_processes(const Wanted *wanted)
{
  g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
  guint budget = MAX_FDINFO;
  const char *name;

  while (proc && (name = g_dir_read_name(proc)))
    if (g_ascii_isdigit(*name) && process_holds(name, wanted, &budget))
      return (int)g_ascii_strtoll(name, NULL, 10);
  return 0;
}

static int find_in_table(const Wanted *wanted)
{
  g_autofree char *text = NULL;
  g_auto(GStrv) lines = NULL;
  LockLine lock;

  if (!g_file_get_contents("/proc/locks", &text, NULL, NULL))
    return 0;
  lines = g_strsplit(text, "\n", -1);
  for (char **line = lines; *line; line++)
    if (parse_lock_line(*line, &lock) && lock.pid > 0 && fits(&lock, wanted))
      return lock.pid;
  return 0;
}

/* "qemu-nbd (process 4711)". (transfer full) */
static char *name_of_holder(const Wanted *wanted)
{
  int pid = find_in_processes(wanted);
  g_autofree char *path = NULL, *comm = NULL, *display = NULL;

  if (pid == 0)
    pid = find_in_table(wanted);
  if (pid == 0)
    return g_strdup("another process");
  path = g_strdup_printf("/proc/%d/comm", pid);
  if (!g_file_get_contents(path, &comm, NULL, NULL))
    return g_strdup_printf("process %d", pid);
  /* A process names itself as it likes. */
  display = vd_path_to_display(g_strchomp(comm));
  return g_strdup_printf("%s (process %d)", display, pid);
}

static const char *deed_of_bit(int bit)
{
  switch (bit) {
  case PERM_CONSISTENT_READ:
    return "reads it";
  case PERM_WRITE:
    return "writes to it";
  case PERM_RESIZE:
    return "may resize it";
  case 8 + PERM_CONSISTENT_READ:
    return "lets nobody else read it";
  case 8 + PERM_WRITE:
  case 8 + PERM_RESIZE:
    return "lets nobody else write to it";
  default:
    return "holds a lock on it";
  }
}

/* Nothing of ours may be held any more: who passed the descriptor has the same locks. */
static void describe_conflict(const VdImage *self, const Wanted *wanted, GError **error)
{
  g_autofree char *holder = name_of_holder(wanted);

  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION, "“%s” is in use: %s %s", self->display,
              holder, deed_of_bit(wanted->bit));
}

static LockResult take_all(VdImage *self, guint set, int *ret_bit)
{
  LockResult result = take_bytes(self->fd, set & ~self->locked, ret_bit);

  if (result == LOCK_TAKEN)
    result = test_bytes(self->fd, opposite_of(set), ret_bit);
  if (result != LOCK_TAKEN)
    return result;
  *ret_bit = -1;
  return take_bsd(self, set);
}

gboolean vd_image_lock(VdImage *self, gboolean write, GError **error)
{
  guint set = write ? WRITER : READER;
  Wanted wanted;
  LockResult result;
  int number;

  g_return_val_if_fail(self->writable || !write, FALSE);
  result = take_all(self, set, &wanted.bit);
  number = errno;
  if (result == LOCK_TAKEN) {
    release_bytes(self->fd, self->locked & ~set);
    self->locked = set;
    return TRUE;
  }
  wanted.file = key_of(self);
  release_bytes(self->fd, set & ~self->locked);
  /* A refused change of mode has lost the BSD lock that was (flock(2)). */
  if (self->locked)
    take_bsd(self, self->locked);
  if (result == LOCK_CONFLICT)
    describe_conflict(self, &wanted, error);
  else
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "Cannot lock “%s”: %s", self->display,
                g_strerror(number));
  return FALSE;
}

typedef struct {
  VdImage *image;
  guint set;
} Unlock;

static void unlock(VdImage *image, guint set)
{
  release_bytes(image->fd, set);
  take_bsd(image, 0);
}

static gpointer unlock_in_thread(gpointer data)
{
  g_autofree Unlock *work = data;

  unlock(work->image, work->set);
  vd_image_unref(work->image);
  return NULL;
}

/* Who serves the file is asked, and need not answer. */
static void unlock_beside(VdImage *image, guint set)
{
  Unlock *work = g_new(Unlock, 1);
  GThread *thread;

  *work = (Unlock){vd_image_ref(image), set};
  thread = g_thread_try_new("virtdisk-unlock", unlock_in_thread, work, NULL);
  if (thread != NULL) {
    g_thread_unref(thread);
    return;
  }
  g_warning("no thread could be started to let go of the locks of %s, which go when it is closed",
            image->display);
  vd_image_unref(work->image);
  g_free(work);
}

void vd_image_unlock(VdImage *self)
{
  guint set = self->locked;

  /* Another image may share the description, and have locks on it. */
  if (!set)
    return;
  self->locked = 0;
  if (self->may_hang)
    unlock_beside(self, set);
  else
    unlock(self, set);
}
