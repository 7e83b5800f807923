/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtdisk-worker: with --serve it serves a disk (serve.c). Without, it takes one question and one
 * descriptor, shuts itself in, looks at the image's bytes, answers, ends. Started by virtdiskd with a socket
 * as descriptor 3. It opens nothing but the image's own descriptor anew, and that before the sandbox closes;
 * it must never read a byte of an image outside it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/content.h"
#include "formats/registry.h"
#include "worker/protocol.h"
#include "worker/sandbox.h"
#include "worker/serve.h"

#define USAGE "usage: virtdisk-worker --user UID:GID [--serve] | --unprivileged-test [--serve]\n"
enum { EXIT_USAGE = 2, EXIT_LINE = 3 };

typedef enum { WORK_PROBE, WORK_SERVE } Work;

static bool parse_id(const char *text, char end, unsigned *ret_id, const char **ret_rest)
{
  char *rest;
  unsigned long value;

  errno = 0;
  value = strtoul(text, &rest, 10);
  /* 0 is root, the highest number means "unchanged" to the kernel. */
  if (text[0] < '0' || text[0] > '9' || errno != 0 || *rest != end || value == 0 || value >= UINT32_MAX)
    return false;
  *ret_id = (unsigned)value;
  *ret_rest = rest;
  return true;
}

static bool parse_arguments(int argc, char **argv, VdSandboxPlan *ret_plan, Work *ret_work)
{
  unsigned uid, gid;
  const char *rest;

  *ret_work = argc > 2 && strcmp(argv[argc - 1], "--serve") == 0 ? WORK_SERVE : WORK_PROBE;
  if (*ret_work == WORK_SERVE)
    argc--;
  ret_plan->first_fd = VD_WORKER_SOCKET_FD;
  ret_plan->last_fd = VD_WORKER_IMAGE_FD;
  if (argc == 2 && strcmp(argv[1], "--unprivileged-test") == 0) {
    ret_plan->level = VD_SANDBOX_UNPRIVILEGED;
    return true;
  }
  if (argc != 3 || strcmp(argv[1], "--user") != 0 || !parse_id(argv[2], ':', &uid, &rest) ||
      !parse_id(rest + 1, '\0', &gid, &rest))
    return false;
  ret_plan->level = VD_SANDBOX_FULL;
  ret_plan->uid = uid;
  ret_plan->gid = gid;
  return true;
}

/* Returns the descriptor that came with the question, or -1. */
static int receive(VdWorkerRequest *ret_request)
{
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec part = {ret_request, sizeof *ret_request};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  const struct cmsghdr *header;
  ssize_t n;
  int fd;

  do
    n = recvmsg(VD_WORKER_SOCKET_FD, &message, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  header = n == (ssize_t)sizeof *ret_request ? CMSG_FIRSTHDR(&message) : NULL;
  if (header == NULL || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
      header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
      header->cmsg_len != CMSG_LEN(sizeof(int)) || ret_request->magic != VD_WORKER_MAGIC ||
      ret_request->version != VD_WORKER_VERSION || ret_request->size != sizeof *ret_request)
    return -1;
  memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return fd;
}

/*
 * A new open file description of the same file, for reading only: the worker can then neither write the image
 * nor move the position that others share. Done in this process and not in the daemon, since an open may hang
 * on the file system of an ill-willed owner. Where it is refused (a network file system that does not trust
 * root, no /proc) the given one has to do; the sandbox has no call that writes.
 */
static int reopen_read_only(int fd)
{
  char path[32];
  struct stat given, opened;
  int fresh;

  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  fresh = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fresh < 0)
    return fd;
  if (fstat(fd, &given) < 0 || fstat(fresh, &opened) < 0 || given.st_dev != opened.st_dev ||
      given.st_ino != opened.st_ino) {
    close(fresh);
    return fd;
  }
  close(fd);
  return fresh;
}

static bool put_in_place(int fd)
{
  return fd == VD_WORKER_IMAGE_FD || dup3(fd, VD_WORKER_IMAGE_FD, O_CLOEXEC) == VD_WORKER_IMAGE_FD;
}

static bool answer(const VdWorkerReply *reply)
{
  struct iovec part = {(void *)reply, sizeof *reply};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  ssize_t n;

  do
    n = sendmsg(VD_WORKER_SOCKET_FD, &message, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n == (ssize_t)sizeof *reply;
}

/* The whole device is the disk. */
static void look_inside(const VdWorkerRequest *request, VdFacts *facts)
{
  facts->device_id = request->device_id;
  facts->linear = 1;
  facts->virtual_size = request->device_size;
  facts->sector_size = request->sector_size;
  vd_content_scan(VD_WORKER_IMAGE_FD, VD_SCAN_PARTITIONS, facts);
}

static void look(const VdSandboxPlan *plan, const VdWorkerRequest *request, VdWorkerReply *reply)
{
  const char *failed_step = vd_sandbox_enter(plan);
  VdContentWish wish = request->content != 0 ? VD_CONTENT_LOOK : VD_CONTENT_SKIP;

  if (failed_step != NULL) {
    vd_format_error_set(&reply->error, VIRTDISK_ERROR_INTERNAL, 0, "", "the worker's sandbox: %s: %s",
                        failed_step, strerrordesc_np(errno));
    reply->failed = 1;
    return;
  }
  if (request->content == VD_WORKER_CONTENT_OF_DEVICE) {
    look_inside(request, &reply->facts);
    return;
  }
  reply->failed =
      !vd_format_probe(VD_WORKER_IMAGE_FD, request->device_id, wish, &reply->facts, &reply->error);
  if (reply->failed)
    memset(&reply->facts, 0, sizeof reply->facts);
}

int main(int argc, char **argv)
{
  static VdWorkerReply reply = {.magic = VD_WORKER_MAGIC, .version = VD_WORKER_VERSION, .size = sizeof reply};
  VdWorkerRequest request;
  VdSandboxPlan plan = {0};
  Work work;
  int fd;

  if (!parse_arguments(argc, argv, &plan, &work)) {
    (void)!write(STDERR_FILENO, USAGE, sizeof USAGE - 1);
    return EXIT_USAGE;
  }
  if (work == WORK_SERVE)
    _exit(vd_serve_main(&plan));
  fd = receive(&request);
  if (fd < 0 || !put_in_place(reopen_read_only(fd)))
    return EXIT_LINE;
  if (request.content == VD_WORKER_CONTENT_OF_DEVICE)
    plan.object = VD_SANDBOX_OF_DEVICE;
  look(&plan, &request, &reply);
  /* _exit: no handler of a library runs after the filter is in place. */
  _exit(answer(&reply) ? EXIT_SUCCESS : EXIT_LINE);
}
