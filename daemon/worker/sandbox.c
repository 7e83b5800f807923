/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sandbox of virtdisk-worker: one list of steps (at the end), one list of system calls. Whoever takes the
 * parser over finds an account of its own, an empty read-only root, no network, no descriptor but the image
 * (for reading) and the line to the daemon, and no call that could open, start, signal or trace anything.
 */
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MEMORY_CEILING (256UL << 20)
#define CPU_SECONDS 4
/* Where the empty root is mounted before it becomes the root; any directory that is always there. */
#define STAGING "/tmp"

#ifdef VD_SANITIZED
/* Sanitizers reserve terabytes of address space and report on standard error. */
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static int drop_groups(const VdSandboxPlan *plan)
{
  return setgroups(0, NULL);
}

/* Mounts and network only: what IPC, UTS and cgroup namespaces would hide, no allowed system call reaches,
 * and the unit need not allow their making (data/systemd/hardening.conf). */
static int new_namespaces(const VdSandboxPlan *plan)
{
  return unshare(CLONE_NEWNS | CLONE_NEWNET);
}

/* An empty read-only file system that no path leads to (Linux 5.2): its descriptor, or -1. */
static int detached_tmpfs(void)
{
  static const char *const options[][2] = {{"mode", "0555"}, {"nr_inodes", "2"}, {"size", "4k"}};
  int context = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC), mount_fd = -1;
  long result = context < 0 ? -1 : 0;

  for (size_t i = 0; result >= 0 && i < sizeof options / sizeof options[0]; i++)
    result = syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, options[i][0], options[i][1], 0);
  if (result >= 0)
    result = syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
  if (result >= 0)
    mount_fd = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC,
                            MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  if (context >= 0)
    close(context);
  return mount_fd;
}

/* The empty file system becomes the root, and the old root, stacked under it, is taken off. */
static int replace_root(void)
{
  if (mount("none", STAGING, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
            "mode=0555,nr_inodes=2,size=4k") < 0 ||
      chdir(STAGING) < 0)
    return -1;
  if (syscall(SYS_pivot_root, ".", ".") == 0)
    return umount2(".", MNT_DETACH) < 0 ? -1 : chdir("/");
  /* Where / is the kernel's first root file system pivot_root() refuses: there the empty one moves over it.
   */
  if (errno != EINVAL || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
    return -1;
  return chdir("/");
}

/* Where / is no mount at all (a chroot) there is nothing to replace: the root is moved to the empty file
 * system, and with CAP_SYS_CHROOT and every descriptor of a folder gone, nothing leads back. */
static int move_root(void)
{
  int root = detached_tmpfs(), result;

  if (root < 0)
    return -1;
  result = fchdir(root) < 0 || chroot(".") < 0 ? -1 : 0;
  close(root);
  return result;
}

static int empty_root(const VdSandboxPlan *plan)
{
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
    return replace_root();
  return errno == EINVAL ? move_root() : -1;
}

static int drop_bounding_set(const VdSandboxPlan *plan)
{
  for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
      return -1;
  return 0;
}

static int take_account(const VdSandboxPlan *plan)
{
  if (plan->uid == 0 || plan->gid == 0) {
    errno = EINVAL;
    return -1;
  }
  return setresgid(plan->gid, plan->gid, plan->gid) < 0 ? -1 : setresuid(plan->uid, plan->uid, plan->uid);
}

static int drop_capabilities(const VdSandboxPlan *plan)
{
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
    return -1;
  return (int)syscall(SYS_capset, &header, none);
}

static int no_new_privileges(const VdSandboxPlan *plan)
{
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int not_dumpable(const VdSandboxPlan *plan)
{
  return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static int die_with_daemon(const VdSandboxPlan *plan)
{
  return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

static int close_others(const VdSandboxPlan *plan)
{
  unsigned from = SANITIZED ? 3 : 0;

  if ((unsigned)plan->first_fd > from && syscall(SYS_close_range, from, (unsigned)plan->first_fd - 1, 0) < 0)
    return -1;
  return (int)syscall(SYS_close_range, (unsigned)plan->last_fd + 1, ~0U, 0);
}

static int limit_resources(const VdSandboxPlan *plan)
{
  const struct {
    int resource;
    rlim_t most;
  } limits[] = {
      {RLIMIT_AS, SANITIZED ? RLIM_INFINITY : MEMORY_CEILING}, /* a table that claims gigabytes */
      {RLIMIT_CPU, CPU_SECONDS},                  /* an endless loop, should the daemon be gone */
      {RLIMIT_NOFILE, (rlim_t)plan->last_fd + 1}, /* not one descriptor more than given */
      {RLIMIT_FSIZE, 0},                          /* no file grows */
      {RLIMIT_CORE, 0},                           /* no copy of the image's bytes on disk */
      {RLIMIT_NPROC, 0},                          /* no child */
      {RLIMIT_MEMLOCK, 0},                        /* no memory is pinned */
      {RLIMIT_MSGQUEUE, 0},                       /* no message queue */
  };

  for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
    struct rlimit limit = {limits[i].most, limits[i].most};

    if (limits[i].most != RLIM_INFINITY && setrlimit((__rlimit_resource_t)limits[i].resource, &limit) < 0)
      return -1;
  }
  return 0;
}

/* What may be called without looking at the arguments. Names that an architecture lacks are left out. */
static const char *const allowed_calls[] = {
    "read",
    "pread64",
    "lseek",
    "_llseek", /* the image */
    "fstat",
    "fstat64", /* its size */
    "fadvise64",
    "fadvise64_64",
    "arm_fadvise64_64", /* libblkid says that it jumps about */
    "brk",
    "munmap",
    "mremap",
    "madvise",   /* malloc, free */
    "close",     /* nothing to gain by keeping one open */
    "getrandom", /* malloc's key */
    "clock_gettime",
    "clock_gettime64", /* where the vDSO cannot */
    "rt_sigreturn",
    "restart_syscall", /* after a stop and go on */
    "exit",
    "exit_group", /* the end */
#ifdef VD_SANITIZED
    "futex",
    "sigaltstack",
    "gettid",
    "getpid",
    "tgkill",
    "rt_sigaction",
    "rt_sigprocmask",
    "sched_yield",
    "readlink",
    "prctl",
    "getrlimit",
    "prlimit64",
    "openat",
    "sched_getaffinity",
#endif
};

/* Calls that are allowed with some arguments only. */
typedef enum {
  ON_ANY,
  ON_LINE, /* the line to the daemon */
} On;

static const struct {
  const char *name;
  struct scmp_arg_cmp arg;
  On on;
} allowed_with[] = {
    /* the answer; the question was received before */
    {"sendmsg", {0, SCMP_CMP_EQ, 0, 0}, ON_LINE},
    /* glibc's fstat(); with nothing to look up by name but the empty root */
    {"newfstatat", {3, SCMP_CMP_EQ, AT_EMPTY_PATH, 0}},
    {"fstatat64", {3, SCMP_CMP_EQ, AT_EMPTY_PATH, 0}},
    {"statx", {2, SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH}},
    /* libblkid asks whether the descriptor is for writing */
    {"fcntl", {1, SCMP_CMP_EQ, F_GETFL, 0}},
    {"fcntl64", {1, SCMP_CMP_EQ, F_GETFL, 0}},
#ifdef VD_SANITIZED
    {"write", {0, SCMP_CMP_EQ, STDERR_FILENO, 0}},
#endif
    /* memory, never with code in it */
    {"mprotect", {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
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

static int fill_filter(scmp_filter_ctx filter, int socket_fd)
{
  int result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

  for (size_t i = 0; result >= 0 && i < sizeof allowed_calls / sizeof allowed_calls[0]; i++)
    result = add_rule(filter, SCMP_ACT_ALLOW, allowed_calls[i], 0, NULL);
  for (size_t i = 0; result >= 0 && i < sizeof allowed_with / sizeof allowed_with[0]; i++) {
    struct scmp_arg_cmp arg = allowed_with[i].arg;

    if (allowed_with[i].on == ON_LINE)
      arg.datum_a = (scmp_datum_t)socket_fd;
    result = add_rule(filter, SCMP_ACT_ALLOW, allowed_with[i].name, 1, &arg);
  }
  if (result >= 0)
    result = allow_anonymous_memory(filter);
  /* libblkid asks block devices questions that a file has no answer to. */
  if (result >= 0)
    result = add_rule(filter, SCMP_ACT_ERRNO(ENOTTY), "ioctl", 0, NULL);
  return result;
}

static int filter_calls(const VdSandboxPlan *plan)
{
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
  int result = filter == NULL ? -ENOMEM : fill_filter(filter, plan->first_fd);

  if (result >= 0)
    result = seccomp_load(filter);
  if (filter != NULL)
    seccomp_release(filter);
  errno = result < 0 ? -result : 0;
  return result < 0 ? -1 : 0;
}

typedef enum {
  NEEDS_NOTHING,
  NEEDS_ROOT,
} Needs;

/* The list. Order matters: what needs a privilege comes before that privilege goes, the filter is last. */
static const struct {
  const char *name;
  Needs needs;
  int (*act)(const VdSandboxPlan *plan);
} steps[] = {
    {"close descriptors", NEEDS_NOTHING, close_others}, /* nothing of the daemon's may come along */
    {"namespaces", NEEDS_ROOT, new_namespaces},         /* no network, own mounts */
    {"empty root", NEEDS_ROOT, empty_root},             /* no file to name, not even /proc or /dev/null */
    {"supplementary groups", NEEDS_ROOT, drop_groups},  /* no file opens by way of a group */
    {"bounding set", NEEDS_ROOT, drop_bounding_set},    /* nothing gives a capability back */
    {"account", NEEDS_ROOT, take_account},              /* no process of another's can be signalled */
    {"capabilities", NEEDS_NOTHING, drop_capabilities}, /* those that survived the change of account */
    {"no new privileges", NEEDS_NOTHING,
     no_new_privileges},                                 /* set-uid programs do nothing; seccomp needs it */
    {"not dumpable", NEEDS_NOTHING, not_dumpable},       /* a sibling of the same account cannot trace it */
    {"death signal", NEEDS_NOTHING, die_with_daemon},    /* no worker outlives the one who asks */
    {"resource limits", NEEDS_NOTHING, limit_resources}, /* memory, time, files */
    {"system calls", NEEDS_NOTHING, filter_calls},       /* all but reading, memory and one answer */
};

const char *vd_sandbox_enter(const VdSandboxPlan *plan)
{
  for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
    if ((plan->level == VD_SANDBOX_FULL || steps[i].needs == NEEDS_NOTHING) && steps[i].act(plan) < 0)
      return steps[i].name;
  return NULL;
}
