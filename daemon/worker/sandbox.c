/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sandbox of virtdisk-worker: one list of steps (at the end), one list of system calls
 * (sandbox-calls.c). Whoever takes the parser over finds an account of its own, an empty read-only root, no
 * network, no descriptor but those given and the line to the daemon, and no call that could open, start,
 * signal or trace anything.
 */
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker/sandbox-calls.h"

#define PROBE_MEMORY (256UL << 20)
#define PROBE_CPU_SECONDS 4
/* io_uring's kernel threads count as processes of the account, those of every worker together: per worker
 * four for each CPU, and one for each slow call. The filter has no call that makes a process. */
#define SERVE_PROCESSES 32768
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

/* One that serves outlives the daemon: that is what it is for. */
static int die_with_daemon(const VdSandboxPlan *plan)
{
  if (plan->purpose != VD_SANDBOX_PROBE)
    return 0;
  return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

static int close_others(const VdSandboxPlan *plan)
{
  unsigned from = SANITIZED ? 3 : 0;

  if ((unsigned)plan->first_fd > from && syscall(SYS_close_range, from, (unsigned)plan->first_fd - 1, 0) < 0)
    return -1;
  return (int)syscall(SYS_close_range, (unsigned)plan->last_fd + 1, ~0U, 0);
}

typedef struct {
  int resource;
  rlim_t most;
} Limit;

/* What is there already is never widened without the right to, and need not be. */
static int apply_limit(const Limit *limit)
{
  __rlimit_resource_t resource = (__rlimit_resource_t)limit->resource;
  struct rlimit wanted = {limit->most, limit->most}, now;

  if (limit->most == RLIM_INFINITY || setrlimit(resource, &wanted) == 0)
    return 0;
  if (errno != EPERM || getrlimit(resource, &now) < 0 || now.rlim_max > limit->most)
    return -1;
  return 0;
}

static int apply_limits(const Limit *limits, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (apply_limit(&limits[i]) < 0)
      return -1;
  return 0;
}

static int limit_probe(const VdSandboxPlan *plan)
{
  const Limit limits[] = {
      {RLIMIT_AS, SANITIZED ? RLIM_INFINITY : PROBE_MEMORY}, /* a table that claims gigabytes */
      {RLIMIT_CPU, PROBE_CPU_SECONDS},                       /* an endless loop, should the daemon be gone */
      {RLIMIT_NOFILE, (rlim_t)plan->last_fd + 1},            /* not one descriptor more than given */
      {RLIMIT_FSIZE, 0},                                     /* no file grows */
      {RLIMIT_CORE, 0},                                      /* no copy of the image's bytes on disk */
      {RLIMIT_NPROC, 0},                                     /* no child */
      {RLIMIT_MEMLOCK, 0},                                   /* no memory is pinned */
      {RLIMIT_MSGQUEUE, 0},                                  /* no message queue */
  };

  return apply_limits(limits, sizeof limits / sizeof limits[0]);
}

static int limit_serving(const VdSandboxPlan *plan)
{
  rlim_t memory = SANITIZED ? RLIM_INFINITY : (rlim_t)plan->memory;
  const Limit limits[] = {
      {RLIMIT_AS, memory},      /* a table that claims gigabytes */
      {RLIMIT_MEMLOCK, memory}, /* all of it is locked, so that serving never waits for the disk it serves */
      {RLIMIT_NOFILE, (rlim_t)plan->last_fd + 1 + plan->spare_fds}, /* and the lines that come */
      {RLIMIT_FSIZE, plan->files == VD_SANDBOX_FILES_WRITTEN ? RLIM_INFINITY : 0}, /* images grow, or not */
      {RLIMIT_CORE, 0},                /* no copy of the image's bytes on disk */
      {RLIMIT_NPROC, SERVE_PROCESSES}, /* see there */
      {RLIMIT_MSGQUEUE, 0},            /* no message queue */
  };

  return apply_limits(limits, sizeof limits / sizeof limits[0]);
}

static int limit_resources(const VdSandboxPlan *plan)
{
  return plan->purpose == VD_SANDBOX_PROBE ? limit_probe(plan) : limit_serving(plan);
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
    {"close descriptors", NEEDS_NOTHING, close_others},  /* nothing of the daemon's may come along */
    {"namespaces", NEEDS_ROOT, new_namespaces},          /* no network, own mounts */
    {"empty root", NEEDS_ROOT, empty_root},              /* no file to name, not even /proc or /dev/null */
    {"supplementary groups", NEEDS_ROOT, drop_groups},   /* no file opens by way of a group */
    {"resource limits", NEEDS_NOTHING, limit_resources}, /* memory, time, files */
    {"bounding set", NEEDS_ROOT, drop_bounding_set},     /* nothing gives a capability back */
    {"account", NEEDS_ROOT, take_account},               /* no process of another's can be signalled */
    {"capabilities", NEEDS_NOTHING, drop_capabilities},  /* those that survived the change of account */
    {"no new privileges", NEEDS_NOTHING,
     no_new_privileges},                              /* set-uid programs do nothing; seccomp needs it */
    {"not dumpable", NEEDS_NOTHING, not_dumpable},    /* a sibling of the same account cannot trace it */
    {"death signal", NEEDS_NOTHING, die_with_daemon}, /* no worker outlives the one who asks */
    {"system calls", NEEDS_NOTHING, vd_sandbox_filter_calls}, /* all but those in sandbox-calls.c */
};

const char *vd_sandbox_enter(const VdSandboxPlan *plan)
{
  for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
    if ((plan->level == VD_SANDBOX_FULL || steps[i].needs == NEEDS_NOTHING) && steps[i].act(plan) < 0)
      return steps[i].name;
  return NULL;
}
