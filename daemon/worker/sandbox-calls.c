/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The system calls that a worker keeps, by what it is for; any other kills it. seccomp sees no operation that
 * goes through io_uring: the ring is narrowed by its own list (serve.c) before the sandbox closes.
 */
#include "worker/sandbox-calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Who may. WRITER: whoever writes a file, or changes its length, outside of the ring. */
enum {
  PROBE = 1U << 0,
  SERVE = 1U << 1,
  TASK = 1U << 2,
  WRITER = 1U << 3,
  ALL = PROBE | SERVE | TASK,
};

/* What may be called without looking at the arguments. Names that an architecture lacks are left out. */
static const struct {
  const char *name;
  unsigned who;
} allowed_calls[] = {
    {"read", PROBE | TASK}, /* libblkid's; of a task: from a file in memory */
    {"pread64", ALL},
    {"lseek", ALL},
    {"_llseek", ALL}, /* the image */
    {"fstat", ALL},
    {"fstat64", ALL}, /* its size */
    {"fadvise64", PROBE | TASK},
    {"fadvise64_64", PROBE | TASK},
    {"arm_fadvise64_64", PROBE | TASK}, /* libblkid jumps about; what is read back comes from the disk */
    {"io_uring_enter", SERVE | TASK},   /* the one ring there is; none can be made */
    {"recvmsg", SERVE},
    {"sendmsg", SERVE}, /* lines: whatever else has a descriptor here is no socket */
    /* files in memory, which a ring hands to a thread; the new image of a task, and what it has to tell */
    {"pwrite64", WRITER},
    {"fdatasync", SERVE | TASK}, /* the same, durable */
    {"fsync", TASK},             /* with its name */
    {"fallocate", TASK},         /* and takes its space */
    {"ftruncate", WRITER},       /* the tail that is cut when an image is closed */
    {"ftruncate64", WRITER},     /* the same */
    {"sysinfo", ALL}, /* qsort() of older glibc, of more than a KiB, asks how much memory there is */
    {"brk", ALL},
    {"munmap", ALL},
    {"mremap", ALL},
    {"madvise", ALL},        /* malloc, free */
    {"close", ALL},          /* nothing to gain by keeping one open */
    {"getrandom", ALL},      /* malloc's key; new GUIDs */
    {"rt_sigprocmask", ALL}, /* around getrandom(), which glibc 2.41 and newer answer by themselves */
    {"clock_gettime", ALL},
    {"clock_gettime64", ALL}, /* where the vDSO cannot */
    {"rt_sigreturn", ALL},
    {"restart_syscall", ALL}, /* after a stop and go on */
    {"exit", ALL},
    {"exit_group", ALL}, /* the end */
#ifdef VD_SANITIZED
    {"futex", ALL},
    {"sigaltstack", ALL},
    {"gettid", ALL},
    {"getpid", ALL},
    {"tgkill", ALL},
    {"rt_sigaction", ALL},
    {"sched_yield", ALL},
    {"readlink", ALL},
    {"prctl", ALL},
    {"getrlimit", ALL},
    {"prlimit64", ALL},
    {"openat", ALL},
    {"sched_getaffinity", ALL},
#endif
};

/* Calls that are allowed with some arguments only; of which descriptor. */
typedef enum {
  ON_ANY,
  ON_LINE,    /* the first line to the daemon */
  ON_LISTEN,  /* where further lines come in */
  ON_CONTROL, /* what waits for them */
} On;

static const struct {
  const char *name;
  unsigned who;
  struct scmp_arg_cmp arg;
  On on;
} allowed_with[] = {
    /* the answer; the question was received before */
    {"sendmsg", PROBE | TASK, {0, SCMP_CMP_EQ, 0, 0}, ON_LINE},
    /* a task is told to end */
    {"recv", TASK, {0, SCMP_CMP_EQ, 0, 0}, ON_LINE},
    {"recvfrom", TASK, {0, SCMP_CMP_EQ, 0, 0}, ON_LINE},
    /* the daemon comes back */
    {"accept4", SERVE, {0, SCMP_CMP_EQ, 0, 0}, ON_LISTEN},
    {"epoll_ctl", SERVE, {0, SCMP_CMP_EQ, 0, 0}, ON_CONTROL},
    {"epoll_wait", SERVE, {0, SCMP_CMP_EQ, 0, 0}, ON_CONTROL},
    {"epoll_pwait", SERVE, {0, SCMP_CMP_EQ, 0, 0}, ON_CONTROL},
    /* who it is that connected */
    {"getsockopt", SERVE, {2, SCMP_CMP_EQ, SO_PEERCRED, 0}},
    /* glibc's fstat(); with nothing to look up by name but the empty root */
    {"newfstatat", ALL, {3, SCMP_CMP_EQ, AT_EMPTY_PATH, 0}},
    {"fstatat64", ALL, {3, SCMP_CMP_EQ, AT_EMPTY_PATH, 0}},
    {"statx", ALL, {2, SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH}},
    /* libblkid asks whether the descriptor is for writing */
    {"fcntl", ALL, {1, SCMP_CMP_EQ, F_GETFL, 0}},
    {"fcntl64", ALL, {1, SCMP_CMP_EQ, F_GETFL, 0}},
    /* a copy shares its space with what it was copied from */
    {"ioctl", TASK, {1, SCMP_CMP_EQ, FICLONERANGE, 0}},
    /* direct I/O is given up where the file system turns out to refuse it */
    {"fcntl", SERVE | TASK, {1, SCMP_CMP_EQ, F_SETFL, 0}},
    {"fcntl64", SERVE | TASK, {1, SCMP_CMP_EQ, F_SETFL, 0}},
#ifdef VD_SANITIZED
    {"write", ALL, {0, SCMP_CMP_EQ, STDERR_FILENO, 0}},
#endif
    /* memory, never with code in it */
    {"mprotect", ALL, {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
};

static int add_rule(scmp_filter_ctx filter, uint32_t action, const char *name, unsigned n_args,
                    const struct scmp_arg_cmp *args)
{
  int call = seccomp_syscall_resolve_name(name);

  return call == __NR_SCMP_ERROR || call < 0 ? 0 : seccomp_rule_add_array(filter, action, call, n_args, args);
}

/* Anonymous memory without code: an image is never mapped. */
static int allow_anonymous_memory(scmp_filter_ctx filter)
{
  const struct scmp_arg_cmp args[] = {{2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0},
                                      {3, SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS}};
  int result = add_rule(filter, SCMP_ACT_ALLOW, "mmap", 2, args);

  return result < 0 ? result : add_rule(filter, SCMP_ACT_ALLOW, "mmap2", 2, args);
}

static unsigned who_is(const VdSandboxPlan *plan)
{
  switch (plan->purpose) {
  case VD_SANDBOX_SERVE:
    return SERVE | (plan->files == VD_SANDBOX_FILES_WRITTEN ? WRITER : 0);
  case VD_SANDBOX_TASK:
    return TASK | (plan->files == VD_SANDBOX_FILES_WRITTEN ? WRITER : 0);
  case VD_SANDBOX_PROBE:
    break;
  }
  return PROBE;
}

/* False: there is no such descriptor. */
static bool descriptor_of(const VdSandboxPlan *plan, On on, int *ret_fd)
{
  *ret_fd = on == ON_LINE ? plan->first_fd : on == ON_LISTEN ? plan->listen_fd : plan->control_fd;
  return *ret_fd >= 0;
}

static int allow_with(scmp_filter_ctx filter, const VdSandboxPlan *plan, size_t i)
{
  struct scmp_arg_cmp arg = allowed_with[i].arg;
  int fd;

  if (allowed_with[i].on != ON_ANY) {
    if (!descriptor_of(plan, allowed_with[i].on, &fd))
      return 0;
    arg.datum_a = (scmp_datum_t)fd;
  }
  return add_rule(filter, SCMP_ACT_ALLOW, allowed_with[i].name, 1, &arg);
}

#ifndef VD_SANITIZED
/* Of a block device libblkid wants to know from /sys what it belongs to. There is no /sys. */
static int answer_lookups(scmp_filter_ctx filter)
{
  static const char *const names[] = {"open",   "openat",    "readlink",  "readlinkat",
                                      "access", "faccessat", "faccessat2"};
  int result = 0;

  for (size_t i = 0; result >= 0 && i < sizeof names / sizeof names[0]; i++)
    result = add_rule(filter, SCMP_ACT_ERRNO(ENOENT), names[i], 0, NULL);
  return result;
}
#endif

/* libblkid asks block devices questions that a file has no answer to. One that has an end is asked for it:
 * else libblkid would look for the end by reading, again and again. */
static int answer_questions(scmp_filter_ctx filter, const VdSandboxPlan *plan)
{
  const struct scmp_arg_cmp size = {1, SCMP_CMP_EQ, BLKGETSIZE64, 0},
                            other = {1, SCMP_CMP_NE, BLKGETSIZE64, 0};
  int result;

  if (plan->object == VD_SANDBOX_OF_FILE)
    return add_rule(filter, SCMP_ACT_ERRNO(ENOTTY), "ioctl", 0, NULL);
  result = add_rule(filter, SCMP_ACT_ALLOW, "ioctl", 1, &size);
  return result < 0 ? result : add_rule(filter, SCMP_ACT_ERRNO(ENOTTY), "ioctl", 1, &other);
}

static int fill_filter(scmp_filter_ctx filter, const VdSandboxPlan *plan)
{
  int result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  unsigned who = who_is(plan);

  for (size_t i = 0; result >= 0 && i < sizeof allowed_calls / sizeof allowed_calls[0]; i++)
    if ((allowed_calls[i].who & who) != 0)
      result = add_rule(filter, SCMP_ACT_ALLOW, allowed_calls[i].name, 0, NULL);
  for (size_t i = 0; result >= 0 && i < sizeof allowed_with / sizeof allowed_with[0]; i++)
    if ((allowed_with[i].who & who) != 0)
      result = allow_with(filter, plan, i);
  if (result >= 0)
    result = allow_anonymous_memory(filter);
  if (result >= 0 && plan->purpose == VD_SANDBOX_PROBE)
    result = answer_questions(filter, plan);
#ifndef VD_SANITIZED
  if (result >= 0 && plan->purpose == VD_SANDBOX_PROBE && plan->object == VD_SANDBOX_OF_DEVICE)
    result = answer_lookups(filter);
#endif
  return result;
}

int vd_sandbox_filter_calls(const VdSandboxPlan *plan)
{
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
  int result = filter == NULL ? -ENOMEM : fill_filter(filter, plan);

  if (result >= 0)
    result = seccomp_load(filter);
  if (filter != NULL)
    seccomp_release(filter);
  errno = result < 0 ? -result : 0;
  return result < 0 ? -1 : 0;
}
