/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The spawner: starts what it is told to, as a child of its parent. It may be the child of a process with
 * threads and never execs, so it calls nothing but the kernel. It must never open a file or wait for
 * anybody but its parent.
 */
#include "util/spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int vd_spawner_clone(unsigned long flags)
{
#if defined __s390__
  return (int)syscall(SYS_clone, 0UL, flags, NULL, NULL, 0UL);
#else
  return (int)syscall(SYS_clone, flags, 0UL, NULL, NULL, 0UL);
#endif
}

/* Nothing of the parent's goes along but 0, 1 and 2, which are nothing, and the line. */
static bool keep_line_only(int *line)
{
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);

  if (null < 0)
    return false;
  for (int fd = 0; fd <= 2; fd++)
    if (dup2(null, fd) < 0)
      return false;
  *line = *line == VD_SPAWN_FD ? *line : dup3(*line, VD_SPAWN_FD, O_CLOEXEC);
  return *line == VD_SPAWN_FD && syscall(SYS_close_range, VD_SPAWN_FD + 1, ~0U, 0) == 0 && chdir("/") == 0;
}

/* Bytes, 0 at the end of the line, or -1. *ret_fd is -1 or owned. */
static ssize_t receive(int line, VdSpawnRequest *request, int *ret_fd)
{
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec part = {request, sizeof *request};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t n;

  *ret_fd = -1;
  do
    n = recvmsg(line, &message, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n > 0 && CMSG_FIRSTHDR(&message) != NULL && control.header.cmsg_level == SOL_SOCKET &&
      control.header.cmsg_type == SCM_RIGHTS)
    memcpy(ret_fd, CMSG_DATA(&control.header), sizeof *ret_fd);
  return n;
}

/* Points at the arguments in request. */
static bool split(VdSpawnRequest *request, ssize_t n, char **arguments)
{
  char *at = request->text, *end = (char *)request + n;
  unsigned i = 0;

  if (n <= (ssize_t)offsetof(VdSpawnRequest, text) || end[-1] != '\0')
    return false;
  for (; at < end && i < VD_SPAWN_MAX_ARGUMENTS; at += strlen(at) + 1)
    arguments[i++] = at;
  arguments[i] = NULL;
  return at == end;
}

static _Noreturn void become(char **arguments, int fd, bool new_session)
{
  char *environment[] = {(char *)"LC_ALL=C", NULL};
  sigset_t none;

  for (int number = 1; number < NSIG; number++)
    signal(number, SIG_DFL);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  if (new_session)
    setsid();
  /* In the place of the line. All else is closed by exec(2), like the line where there is no descriptor. */
  if (fd < 0 || dup2(fd, VD_SPAWN_FD) == VD_SPAWN_FD)
    execve(arguments[0], arguments, environment);
  _exit(VD_SPAWN_FAILED);
}

static VdSpawnReply start(VdSpawnRequest *request, ssize_t n, int fd)
{
  char *arguments[VD_SPAWN_MAX_ARGUMENTS + 1];
  VdSpawnReply reply = {.error_number = EINVAL};

  if (!split(request, n, arguments))
    return reply;
  reply.pid = vd_spawner_clone(CLONE_PARENT);
  reply.error_number = reply.pid < 0 ? errno : 0;
  if (reply.pid == 0)
    become(arguments, fd, request->new_session != 0);
  return reply;
}

void vd_spawner_main(int line)
{
  static VdSpawnRequest request;
  ssize_t n;
  int fd;

  /* A signal to the process group is the parent's to answer; the end of the line ends this one. */
  for (int number = 1; number < NSIG; number++)
    signal(number, number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGPIPE ? SIG_IGN
                                                                                                  : SIG_DFL);
  prctl(PR_SET_NAME, "virtdisk-spawn", 0, 0, 0);
  if (!keep_line_only(&line))
    _exit(1);
  while ((n = receive(line, &request, &fd)) > 0) {
    VdSpawnReply reply = start(&request, n, fd);

    if (fd >= 0)
      close(fd);
    if (send(line, &reply, sizeof reply, MSG_NOSIGNAL) != sizeof reply)
      break;
  }
  _exit(0);
}
