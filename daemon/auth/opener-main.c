/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtdisk-opener: takes on the rights it is told, opens one path, hands the descriptor back and exits. Plain
 * libc. It must never open anything named by the request before it has become the caller and made sure of it,
 * and never open anything but a regular file for I/O. One that makes a file stays until it is told that the
 * file is to be kept, and takes it away if it is not told.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "auth/opener-protocol.h"

#define NO_ID UINT32_MAX

/* What root's own open(2) rests on; everything else root could do goes. */
#define ROOT_CAPABILITIES ((UINT64_C(1) << CAP_DAC_OVERRIDE) | (UINT64_C(1) << CAP_DAC_READ_SEARCH))
/* A file that root makes may be for somebody else. */
#define ROOT_MAKES_CAPABILITIES (ROOT_CAPABILITIES | (UINT64_C(1) << CAP_CHOWN) | (UINT64_C(1) << CAP_FOWNER))

/* The process opens one file and exits, so what it holds is global and freed by the kernel. */
static struct {
  VdOpenerRequest header;
  uint32_t groups[VD_OPENER_MAX_GROUPS];
  char path[VD_OPENER_MAX_PATH + 1];
} request;

static int proc_fds = -1; /* /proc/self/fd, or -1 where there is no proc */

static bool send_reply(VdOpenerStage stage, int error_number, uint32_t detail, int fd)
{
  VdOpenerReply answer = {VD_OPENER_MAGIC, stage, error_number, detail};
  struct iovec iov = {&answer, sizeof answer};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {.bytes = {0}};
  struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

  if (fd >= 0) {
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
  }
  return sendmsg(VD_OPENER_SOCKET, &message, MSG_NOSIGNAL) == sizeof answer;
}

static _Noreturn void reply(VdOpenerStage stage, int error_number, uint32_t detail, int fd)
{
  _exit(send_reply(stage, error_number, detail, fd) ? 0 : 1);
}

static _Noreturn void fail(VdOpenerStage stage, int error_number)
{
  reply(stage, error_number, 0, -1);
}

/* Whatever the parent's state was: nothing of it reaches the lookup. */
static void start_clean(void)
{
  static const struct rlimit no_core = {0, 0};
  sigset_t none;
  struct statfs fs;

  clearenv();
  umask(077);
  for (int number = 1; number < NSIG; number++)
    signal(number, SIG_DFL);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  setrlimit(RLIMIT_CORE, &no_core);
  if (syscall(SYS_close_range, VD_OPENER_SOCKET + 1, ~0U, 0) < 0)
    fail(VD_OPENER_AT_REQUEST, errno);
  /* Held from before the change of rights: hidepid= must not matter. Never named by a request. */
  proc_fds = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (proc_fds >= 0 && (fstatfs(proc_fds, &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC)) {
    close(proc_fds);
    proc_fds = -1;
  }
}

static void receive(void *bytes, size_t length)
{
  char *at = bytes;

  while (length > 0) {
    ssize_t n = read(VD_OPENER_SOCKET, at, length);

    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0) /* virtdiskd is gone or has given up: nobody to answer */
      _exit(1);
    at += n;
    length -= (size_t)n;
  }
}

static void receive_request(void)
{
  const VdOpenerRequest *header = &request.header;

  receive(&request.header, sizeof request.header);
  if (header->magic != VD_OPENER_MAGIC || header->mode > VD_OPEN_LAST || header->uid == NO_ID ||
      header->n_groups > VD_OPENER_MAX_GROUPS || header->path_length == 0 ||
      header->path_length > VD_OPENER_MAX_PATH)
    fail(VD_OPENER_AT_REQUEST, EINVAL);
  receive(request.groups, header->n_groups * sizeof *request.groups);
  receive(request.path, header->path_length);
  request.path[header->path_length] = '\0';
  if (request.path[0] != '/' || strlen(request.path) != header->path_length)
    fail(VD_OPENER_AT_REQUEST, EINVAL);
}

static bool has_group(gid_t gid)
{
  for (uint32_t i = 0; i < request.header.n_groups; i++) {
    if (request.groups[i] == gid)
      return true;
  }
  return false;
}

/* errno values that getpwuid(3) lists for "no such user". */
static bool means_unknown(int error_number)
{
  return error_number == 0 || error_number == ENOENT || error_number == ESRCH || error_number == EBADF ||
         error_number == EPERM;
}

static void take_groups_of(const struct passwd *user)
{
  int n = VD_OPENER_MAX_GROUPS;

  _Static_assert(sizeof(gid_t) == sizeof *request.groups, "gid_t is 32 bits wide");
  request.header.gid = user->pw_gid;
  if (getgrouplist(user->pw_name, user->pw_gid, request.groups, &n) < 0)
    fail(VD_OPENER_AT_USER, ERANGE);
  request.header.n_groups = (uint32_t)n;
}

/* The bus tells which groups a peer is in, not which of them is the primary one. */
static void take_primary_of(const struct passwd *user)
{
  request.header.gid = user != NULL && has_group(user->pw_gid) ? user->pw_gid : request.groups[0];
}

static void complete_groups(void)
{
  const struct passwd *user;

  if (request.header.gid != NO_ID)
    return;
  errno = 0;
  user = getpwuid(request.header.uid);
  if (request.header.n_groups > 0)
    take_primary_of(user);
  else if (user != NULL)
    take_groups_of(user);
  else if (means_unknown(errno))
    request.header.gid = VD_OPENER_NO_GID;
  else
    fail(VD_OPENER_AT_USER, errno);
}

static void set_capabilities(uint64_t wanted)
{
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {{0}}, check[2] = {{0}};

  if (syscall(SYS_capget, &header, data) < 0)
    fail(VD_OPENER_AT_IDENTITY, errno);
  for (int i = 0; i < 2; i++) {
    data[i].permitted &= (uint32_t)(wanted >> (32 * i));
    data[i].effective = data[i].permitted;
    data[i].inheritable = 0;
  }
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
      syscall(SYS_capset, &header, data) < 0 || syscall(SYS_capget, &header, check) < 0)
    fail(VD_OPENER_AT_IDENTITY, errno);
  if (memcmp(data, check, sizeof data) != 0)
    fail(VD_OPENER_AT_IDENTITY, EPERM);
}

static void verify_identity(uid_t uid, gid_t gid)
{
  uid_t real_uid, effective_uid, saved_uid;
  gid_t real_gid, effective_gid, saved_gid;

  if (getresuid(&real_uid, &effective_uid, &saved_uid) < 0 ||
      getresgid(&real_gid, &effective_gid, &saved_gid) < 0)
    fail(VD_OPENER_AT_IDENTITY, errno);
  if (real_uid != uid || effective_uid != uid || saved_uid != uid || real_gid != gid ||
      effective_gid != gid || saved_gid != gid || (uid_t)setfsuid((uid_t)-1) != uid ||
      (gid_t)setfsgid((gid_t)-1) != gid)
    fail(VD_OPENER_AT_IDENTITY, EPERM);
}

static void become_caller(void)
{
  uid_t uid = request.header.uid;
  gid_t gid = request.header.gid;

  if (geteuid() == 0) {
    if (setgroups(request.header.n_groups, request.groups) < 0 || setresgid(gid, gid, gid) < 0 ||
        setresuid(uid, uid, uid) < 0)
      fail(VD_OPENER_AT_IDENTITY, errno);
  } else {
    /* An unprivileged service serves its own user, whose rights these are already, and nobody else. */
    gid = getegid();
  }
  verify_identity(uid, gid);
  set_capabilities(uid != 0                                ? 0
                   : request.header.mode == VD_OPEN_CREATE ? ROOT_MAKES_CAPABILITIES
                                                           : ROOT_CAPABILITIES);
  /* Both are undone by a change of rights, so they come after it. Not dumpable: the user whose uid this is
   * must not reach in. */
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
      prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
    fail(VD_OPENER_AT_IDENTITY, errno);
}

static int open_path(const char *path, int flags)
{
  struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC), .resolve = RESOLVE_NO_MAGICLINKS};

  return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
}

/* Tells a missing file from a missing directory; asked as the caller, so it reveals what stat(2) would. */
static _Noreturn void fail_not_found(void)
{
  char *end = request.path + strlen(request.path);

  while (end > request.path + 1 && end[-1] == '/')
    *--end = '\0';
  end = strrchr(request.path, '/');
  end[end == request.path ? 1 : 0] = '\0';
  if (open_path(request.path, O_PATH | O_DIRECTORY) < 0)
    fail(VD_OPENER_AT_PARENT, errno);
  fail(VD_OPENER_AT_FILE, ENOENT);
}

/* Beside a file of somebody's a link may lie that leads to one of another's. */
static bool is_side(void)
{
  return request.header.mode == VD_OPEN_SIDE_READ || request.header.mode == VD_OPEN_SIDE_WRITE;
}

static int locate(void)
{
  int fd = open_path(request.path, O_PATH | (is_side() ? O_NOFOLLOW : 0));

  if (fd < 0 && errno == ENOENT)
    fail_not_found();
  if (fd < 0)
    fail(VD_OPENER_AT_FILE, errno);
  return fd;
}

/* Without proc the name is looked up again, so it must lead to the same file again. */
static int open_again(const struct stat *located, int flags)
{
  int fd = open_path(request.path, flags | (is_side() ? O_NOFOLLOW : 0));
  struct stat st;

  if (fd < 0)
    fail(VD_OPENER_AT_FILE, errno);
  if (fstat(fd, &st) < 0)
    fail(VD_OPENER_AT_FILE, errno);
  if (st.st_dev != located->st_dev || st.st_ino != located->st_ino ||
      (st.st_mode & S_IFMT) != (located->st_mode & S_IFMT))
    fail(VD_OPENER_AT_FILE, ESTALE);
  return fd;
}

/* Through the descriptor in proc, the very inode that was looked at is opened, with a full check of rights.
 */
static int open_located(int located_fd, const struct stat *located)
{
  bool writes = request.header.mode == VD_OPEN_WRITE || request.header.mode == VD_OPEN_SIDE_WRITE;
  int flags = (writes ? O_RDWR : O_RDONLY) | (request.header.mode == VD_OPEN_DEVICE_EXCLUSIVE ? O_EXCL : 0) |
              O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  char number[16];
  int fd;

  if (proc_fds < 0)
    return open_again(located, flags);
  snprintf(number, sizeof number, "%d", located_fd);
  fd = openat(proc_fds, number, flags);
  if (fd < 0)
    fail(VD_OPENER_AT_FILE, errno);
  return fd;
}

/* A new file */

static struct {
  int folder;
  const char *name; /* what it is to be called */
  int fd;
  bool published;
  char temporary[40]; /* its name until then, where a file cannot be without one; else empty */
  VdOpenerOwner owner;
} new_file = {-1, NULL, -1, false, "", {VD_OPENER_UNCHANGED, VD_OPENER_UNCHANGED, VD_OPENER_UNCHANGED}};

/* Splits the path; a file is not made through a name that ends in a slash or in dots. */
static void open_folder(void)
{
  char *slash = strrchr(request.path, '/');

  new_file.name = slash + 1;
  if (new_file.name[0] == '\0' || strcmp(new_file.name, ".") == 0 || strcmp(new_file.name, "..") == 0)
    fail(VD_OPENER_AT_FILE, EISDIR);
  *slash = '\0';
  new_file.folder = open_path(slash == request.path ? "/" : request.path, O_PATH | O_DIRECTORY);
  if (new_file.folder < 0)
    fail(errno == ENOENT ? VD_OPENER_AT_PARENT : VD_OPENER_AT_FILE, errno);
}

static int make_named(void)
{
  uint64_t number;

  if (getrandom(&number, sizeof number, 0) != sizeof number)
    return -1;
  snprintf(new_file.temporary, sizeof new_file.temporary, ".virtdisk-%016llx.new",
           (unsigned long long)number);
  return openat(new_file.folder, new_file.temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                0600);
}

static void make_file(void)
{
  struct stat st;

  if (fstatat(new_file.folder, new_file.name, &st, AT_SYMLINK_NOFOLLOW) == 0)
    fail(VD_OPENER_AT_FILE, EEXIST);
  new_file.fd = proc_fds < 0 ? -1 : openat(new_file.folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (new_file.fd < 0 &&
      (proc_fds < 0 || errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL || errno == ENOENT))
    new_file.fd = make_named();
  if (new_file.fd < 0)
    fail(VD_OPENER_AT_FILE, errno);
}

static bool is_new_file(const char *name)
{
  struct stat named, st;

  return fstatat(new_file.folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(new_file.fd, &st) == 0 &&
         named.st_dev == st.st_dev && named.st_ino == st.st_ino;
}

static void take_away(const char *name)
{
  if (name[0] != '\0' && is_new_file(name))
    unlinkat(new_file.folder, name, 0);
}

/* Never over a file that is there; where the file system has no such call the name is claimed first. */
static int rename_new(void)
{
  int claim, cause;

  if (renameat2(new_file.folder, new_file.temporary, new_file.folder, new_file.name, RENAME_NOREPLACE) == 0)
    return 0;
  if (errno != EINVAL && errno != ENOSYS)
    return -1;
  claim = openat(new_file.folder, new_file.name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (claim < 0)
    return -1;
  close(claim);
  if (renameat(new_file.folder, new_file.temporary, new_file.folder, new_file.name) == 0)
    return 0;
  cause = errno;
  unlinkat(new_file.folder, new_file.name, 0);
  errno = cause;
  return -1;
}

static int give_name(void)
{
  char number[16];

  if (new_file.temporary[0] != '\0')
    return rename_new();
  snprintf(number, sizeof number, "%d", new_file.fd);
  return linkat(proc_fds, number, new_file.folder, new_file.name, AT_SYMLINK_FOLLOW);
}

/* The name is to survive a power cut like the content. A folder that may be written but not read cannot be
 * asked for that. */
static void sync_folder(void)
{
  int fd = openat(new_file.folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  if (fd < 0)
    return;
  fsync(fd);
  close(fd);
}

/* The mode first: who gives a file away can change it no longer. */
static int give_away(void)
{
  const VdOpenerOwner *owner = &new_file.owner;

  if (owner->mode != VD_OPENER_UNCHANGED && fchmod(new_file.fd, owner->mode & 0777) < 0)
    return -1;
  if (owner->uid == VD_OPENER_UNCHANGED && owner->gid == VD_OPENER_UNCHANGED)
    return 0;
  return fchown(new_file.fd, owner->uid, owner->gid);
}

static void publish(void)
{
  if (new_file.published || give_away() < 0 || give_name() < 0) {
    send_reply(VD_OPENER_AT_FILE, new_file.published ? EEXIST : errno, 0, -1);
    return;
  }
  new_file.published = true;
  new_file.temporary[0] = '\0';
  sync_folder();
  send_reply(VD_OPENER_DONE, 0, 0, -1);
}

static bool next_words(void *words, size_t size)
{
  ssize_t n;

  do
    n = recv(VD_OPENER_SOCKET, words, size, MSG_WAITALL);
  while (n < 0 && errno == EINTR);
  return n == (ssize_t)size;
}

/* 0: the line has ended. */
static uint32_t next_command(void)
{
  uint32_t command;

  while (next_words(&command, sizeof command)) {
    if (command != VD_OPENER_OWN)
      return command;
    if (!next_words(&new_file.owner, sizeof new_file.owner))
      break;
  }
  return 0;
}

static _Noreturn void create(void)
{
  uint32_t command = VD_OPENER_PUBLISH;

  open_folder();
  make_file();
  /* Who is killed takes nothing away; the end of the line tells as well that the service has gone. */
  prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
  if (!send_reply(VD_OPENER_DONE, 0, 0, new_file.fd))
    command = 0;
  while (command == VD_OPENER_PUBLISH) {
    command = next_command();
    if (command == VD_OPENER_PUBLISH)
      publish();
  }
  if (command != VD_OPENER_KEEP || !new_file.published)
    take_away(new_file.published ? new_file.name : new_file.temporary);
  _exit(0);
}

int main(void)
{
  struct stat st;
  int fd, flags;

  start_clean();
  receive_request();
  complete_groups();
  become_caller();
  if (request.header.mode == VD_OPEN_CREATE)
    create();
  fd = locate();
  if (request.header.mode == VD_OPEN_LOCATE)
    reply(VD_OPENER_DONE, 0, 0, fd);
  if (fstat(fd, &st) < 0)
    fail(VD_OPENER_AT_FILE, errno);
  if ((st.st_mode & S_IFMT) != (request.header.mode >= VD_OPEN_DEVICE ? S_IFBLK : S_IFREG))
    reply(VD_OPENER_AT_TYPE, 0, st.st_mode & S_IFMT, -1);
  fd = open_located(fd, &st);
  flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
    fail(VD_OPENER_AT_FILE, errno);
  reply(VD_OPENER_DONE, 0, 0, fd);
}
