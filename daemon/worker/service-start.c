/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a serving worker comes to be, and how one that serves already is found again. A worker that does not
 * get ready is killed and its socket removed. Nothing of the daemon's environment goes along.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/major.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/offload.h"
#include "util/spawn.h"
#include "virtdisk-error.h"
#include "worker/protocol.h"
#include "worker/said.h"
#include "worker/service-private.h"

/* A worker that listens answers at once, or it is stuck in an operation on a file. */
#define ANSWER_DEADLINE_MS 2000
/* From the end of the line to the end of the process. */
#define EXIT_DEADLINE_MS 2000
/* Whoever connects is this service: one at a time, and one that is being replaced. */
#define BACKLOG 4
/* Of one mirror: its progress, that it is whole, and that it failed later. */
#define MIRROR_WORDS (VD_SERVE_MIRROR_STEPS + 2)
/* Documentation/admin-guide/devices.txt */
#define FUSE_MINOR 229
/* It is the last that is given up: who waits for its disk would wait for ever. */
#define OOM_SCORE "-1000"

static gboolean fail(GError **error, const char *what, int number)
{
  gboolean passing = number == EMFILE || number == ENFILE || number == ENOMEM || number == EAGAIN ||
                     number == ENOBUFS || number == ETOOMANYREFS;

  g_set_error(error, VIRTDISK_ERROR, passing ? VIRTDISK_ERROR_NO_RESOURCES : VIRTDISK_ERROR_INTERNAL,
              "starting virtdisk-worker: %s: %s", what, g_strerror(number));
  return FALSE;
}

/* A path of any length is short through its folder's descriptor. */
static gboolean make_address(const char *path, struct sockaddr_un *ret_address, int *ret_folder)
{
  g_autofree char *folder = g_path_get_dirname(path);
  g_autofree char *base = g_path_get_basename(path);

  ret_address->sun_family = AF_UNIX;
  *ret_folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
  return *ret_folder >= 0 &&
         g_snprintf(ret_address->sun_path, sizeof ret_address->sun_path, "/proc/self/fd/%d/%s", *ret_folder,
                    base) < (int)sizeof ret_address->sun_path;
}

static int make_listener(const char *path, GError **error)
{
  struct sockaddr_un address = {0};
  vd_autofd folder = -1;
  vd_autofd fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

  unlink(path);
  /* The mode is set before anybody can connect. */
  if (fd < 0 || !make_address(path, &address, &folder) ||
      bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || fchmodat(AT_FDCWD, path, 0600, 0) != 0 ||
      listen(fd, BACKLOG) != 0) {
    fail(error, path, errno);
    return -1;
  }
  return vd_steal_fd(&fd);
}

static VdChild *spawn(const VdServiceSpec *spec, int line, GError **error)
{
  const char *full[] = {spec->program, "--user", spec->user_argument, "--serve", NULL};
  const char *unprivileged[] = {spec->program, "--unprivileged-test", "--serve", NULL};
  VdChild *process =
      vd_spawn(spec->user_argument != NULL ? full : unprivileged, line, VD_SPAWN_NEW_SESSION, error);

  if (process == NULL)
    g_prefix_error(error, "starting virtdisk-worker: ");
  return process;
}

/* Before it is sent anything, since it grows by what it is sent. */
static void protect_from_oom(pid_t pid)
{
  g_autofree char *path = g_strdup_printf("/proc/%d/oom_score_adj", (int)pid);
  vd_autofd fd = open(path, O_WRONLY | O_CLOEXEC);

  if (fd < 0 || write(fd, OOM_SCORE, strlen(OOM_SCORE)) < 0)
    g_debug("virtdisk-worker (pid %d) can be killed for want of memory: %s", (int)pid, g_strerror(errno));
}

static gboolean send_file(VdService *self, VdRole role, unsigned index, int fd, GError **error)
{
  VdServeFile message = {.role = role, .index = index};

  if (fd < 0)
    return TRUE;
  vd_service_fill_header(&message.header, VD_SERVE_FILE, sizeof message);
  return vd_service_send(self, &message.header, fd, VD_SERVICE_READY_DEADLINE_MS, error);
}

static gboolean send_all(VdService *self, const VdServiceSpec *spec, int listener, GError **error)
{
  g_autofree VdServeSetup *setup = g_memdup2(&spec->setup, sizeof spec->setup);

  vd_service_fill_header(&setup->header, VD_SERVE_SETUP, sizeof *setup);
  setup->n_files = spec->n_images + (listener >= 0 ? 1 : 0) + (spec->transport_fd >= 0 ? 1 : 0) +
                   (spec->blob_fd > 0 ? 1 : 0) + (spec->changes_fd > 0 ? 1 : 0);
  if (!vd_service_send(self, &setup->header, -1, VD_SERVICE_READY_DEADLINE_MS, error) ||
      !send_file(self, VD_ROLE_LISTEN, 0, listener, error) ||
      !send_file(self, VD_ROLE_TRANSPORT, 0, spec->transport_fd, error) ||
      !send_file(self, VD_ROLE_BLOB, 0, spec->blob_fd > 0 ? spec->blob_fd : -1, error) ||
      !send_file(self, VD_ROLE_CHANGES, 0, spec->changes_fd > 0 ? spec->changes_fd : -1, error))
    return FALSE;
  for (unsigned i = 0; i < spec->n_images; i++)
    if (!send_file(self, VD_ROLE_IMAGE, i, spec->images[i], error))
      return FALSE;
  return TRUE;
}

static gboolean has_said(const VdService *self)
{
  return self->ready || self->closed || self->said != NULL;
}

static gboolean has_ended(const VdService *self)
{
  return self->closed || self->said != NULL;
}

/* The progress that was told is consumed: one word more is news. */
static gboolean has_news(const VdService *self)
{
  return has_said(self) || self->words > 0;
}

static void tell_progress(VdService *self, const VdServiceSpec *spec)
{
  VdServeProgress progress;

  g_mutex_lock(&self->lock);
  progress = self->progress;
  self->words = 0;
  g_mutex_unlock(&self->lock);
  if (spec->progress != NULL)
    spec->progress(spec->progress_user, progress.current, progress.completion);
}

static gboolean is_over(VdService *self)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&self->lock);

  return self->gone || has_said(self);
}

/* It leaves the image in a better state than one that is killed. */
static void abort_task(VdService *self)
{
  VdServeHeader stop;

  vd_service_fill_header(&stop, VD_SERVE_STOP, sizeof stop);
  if (vd_service_send(self, &stop, -1, VD_SERVICE_ABORT_DEADLINE_MS, NULL))
    vd_service_await(self, NULL, VD_SERVICE_ABORT_DEADLINE_MS, NULL, NULL);
}

static gboolean is_done(VdService *self)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&self->lock);

  return self->ready && self->closed && self->said == NULL && self->result.header.kind != 0;
}

/* Until it says how it ended. */
static gboolean await_task(VdService *self, guint deadline_ms, const VdServiceSpec *spec,
                           GCancellable *cancellable, GError **error)
{
  do {
    g_autoptr(GError) cause = NULL;

    if (!vd_service_await(self, has_news, deadline_ms, cancellable, &cause)) {
      if (g_cancellable_is_cancelled(cancellable))
        abort_task(self);
      /* Too late: what is in the image is not to be told as undone. */
      if (is_done(self))
        return TRUE;
      g_propagate_error(error, g_steal_pointer(&cause));
      return FALSE;
    }
    tell_progress(self, spec);
  } while (!is_over(self));
  return TRUE;
}

/* Its status is known once it has been waited for. */
static GError *obituary(VdService *self, VdChild *process)
{
  g_autofree char *end = NULL, *what = NULL;

  if (self->said != NULL)
    return vd_service_complaint(self, "ended before it was ready");
  if (!vd_child_wait(process, EXIT_DEADLINE_MS)) {
    vd_service_kill(self);
    if (!vd_child_wait(process, EXIT_DEADLINE_MS))
      return vd_worker_lost("hangs in the kernel, and was not ready before");
  }
  end = vd_child_describe_end(process);
  what = g_strdup_printf("%s before it was ready", end);
  return vd_worker_lost(what);
}

static gboolean await_ready(VdService *self, VdChild *process, const VdServiceSpec *spec,
                            GCancellable *cancellable, GError **error)
{
  guint deadline_ms = spec->deadline_ms != 0 ? spec->deadline_ms : VD_SERVICE_READY_DEADLINE_MS;
  VdTransport transport = (VdTransport)spec->setup.transport;

  if (self->is_long ? !await_task(self, deadline_ms, spec, cancellable, error)
                    : !vd_service_await(self, has_said, deadline_ms, cancellable, error))
    return FALSE;
  /* A task is over when it has said so, or nothing more. */
  if (transport == VD_TRANSPORT_NONE && self->ready && !has_ended(self) &&
      !vd_service_await(self, has_ended, VD_SERVICE_READY_DEADLINE_MS, cancellable, error))
    return FALSE;
  if (self->said == NULL && (self->ready || (transport == VD_TRANSPORT_NONE && self->closed)))
    return TRUE;
  g_propagate_error(error, obituary(self, process));
  return FALSE;
}

/* What a failure leaves nothing of. */
typedef struct {
  VdService *service;
  const char *socket_path;
} StartGuard;

static void start_guard_clear(StartGuard *guard)
{
  if (guard->service != NULL) {
    vd_service_kill(guard->service);
    /* Its line closes when none of its writes can arrive any more (serve-ring.c): who comes next may begin.
     */
    if (guard->service->is_long)
      vd_service_await(guard->service, NULL, EXIT_DEADLINE_MS, NULL, NULL);
    vd_service_unref(guard->service);
  }
  if (guard->socket_path != NULL)
    unlink(guard->socket_path);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(StartGuard, start_guard_clear)

static VdService *spawn_on_line(const VdServiceSpec *spec, VdChild **ret_process, GError **error)
{
  int pair[2];
  vd_autofd ours = -1, theirs = -1;

  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
    fail(error, "socketpair", errno);
    return NULL;
  }
  ours = pair[0];
  theirs = pair[1];
  *ret_process = spawn(spec, vd_steal_fd(&theirs), error);
  if (*ret_process == NULL)
    return NULL;
  return vd_service_new_on_line(vd_steal_fd(&ours), vd_child_dup_pidfd(*ret_process),
                                vd_child_pid(*ret_process));
}

VdService *vd_service_start(const VdServiceSpec *spec, GCancellable *cancellable, GError **error)
{
  g_auto(StartGuard) guard = {0};
  g_autoptr(VdChild) process = NULL;
  g_autoptr(GError) cause = NULL;
  vd_autofd listener = -1;

  if (spec->socket_path != NULL) {
    guard.socket_path = spec->socket_path;
    listener = make_listener(spec->socket_path, error);
    if (listener < 0)
      return NULL;
  }
  guard.service = spawn_on_line(spec, &process, error);
  if (guard.service == NULL)
    return NULL;
  if (spec->setup.task == VD_TASK_CHECK || spec->setup.task == VD_TASK_REPAIR)
    guard.service->faults = g_array_new(FALSE, FALSE, sizeof(VdFault));
  guard.service->is_long = spec->setup.task > VD_TASK_REPAIR;
  guard.service->mirrors =
      spec->setup.transport != VD_TRANSPORT_NONE && (spec->setup.flags & VD_SERVE_MIRROR) != 0;
  if (guard.service->mirrors)
    vd_service_expect(guard.service, MIRROR_WORDS);
  if (spec->setup.transport != VD_TRANSPORT_NONE && guard.service->pid > 0) {
    protect_from_oom(guard.service->pid);
    vd_scope_request(guard.service->pid);
  }
  if (!send_all(guard.service, spec, listener, &cause)) {
    /* A line that broke means that it has ended, and how is the better thing to say. */
    g_propagate_error(error, g_error_matches(cause, VIRTDISK_ERROR, VIRTDISK_ERROR_WORKER_LOST)
                                 ? obituary(guard.service, process)
                                 : g_steal_pointer(&cause));
    return NULL;
  }
  if (!await_ready(guard.service, process, spec, cancellable, error))
    return NULL;
  guard.socket_path = NULL;
  return g_steal_pointer(&guard.service);
}

/* Finding one again */

static gboolean is_answered(const VdService *self)
{
  return self->replied;
}

/* Who listens was recorded when the socket was made, by another process; who answers is told by the kernel
 * with the answer. */
static gboolean meet(VdService *self, GError **error)
{
  VdServeHeader status;

  vd_service_fill_header(&status, VD_SERVE_STATUS, sizeof status);
  vd_service_expect(self, 1);
  if (!vd_service_send(self, &status, -1, ANSWER_DEADLINE_MS, error) ||
      !vd_service_await(self, is_answered, ANSWER_DEADLINE_MS, NULL, error))
    return FALSE;
  if (!self->replied) {
    g_propagate_error(error, vd_service_complaint(self, "ended while it was asked for its state"));
    return FALSE;
  }
  self->pid = self->sender;
  self->pidfd = self->pid > 0 ? (int)syscall(SYS_pidfd_open, self->pid, 0) : -1;
  return TRUE;
}

VdService *vd_service_connect(const char *socket_path, GError **error)
{
  struct sockaddr_un address = {0};
  vd_autofd folder = -1;
  /* It must not block where the queue of a stuck worker is full. */
  vd_autofd fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  int on = 1;
  g_autoptr(VdService) self = NULL;

  /* Before it connects: from the first message on. */
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) {
    fail(error, "socket", errno);
    return NULL;
  }
  if (!make_address(socket_path, &address, &folder) ||
      connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    g_set_error(error, VIRTDISK_ERROR,
                errno == ENOENT || errno == ECONNREFUSED ? VIRTDISK_ERROR_NOT_FOUND
                                                         : VIRTDISK_ERROR_WORKER_LOST,
                "no worker answers at %s: %s", socket_path, g_strerror(errno));
    return NULL;
  }
  self = vd_service_new_on_line(vd_steal_fd(&fd), -1, 0);
  /* Whether it mirrors is not known; one that does tells of it on every line, and was told by an earlier
   * service that the mirror is to take over. */
  self->mirrors = self->breaking = TRUE;
  vd_service_expect(self, MIRROR_WORDS);
  return meet(self, error) ? g_steal_pointer(&self) : NULL;
}

gboolean vd_service_await_end(const char *socket_path, guint deadline_ms)
{
  struct sockaddr_un address = {0};
  vd_autofd folder = -1;
  vd_autofd fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  GPollFD end = {.fd = fd};

  /* Nobody accepts the connection; it breaks with the last reference to the listening socket. */
  if (fd < 0 || !make_address(socket_path, &address, &folder) ||
      connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
    return errno == ENOENT || errno == ECONNREFUSED;
  return g_poll(&end, 1, (gint)deadline_ms) > 0;
}

gboolean vd_service_is_foreign(VdService *self)
{
  return self->report.header.version != VD_SERVE_VERSION;
}

static gboolean has_all_files(const VdService *self)
{
  guint n = 0;

  for (guint i = 0; i < self->given->len; i++)
    n += g_array_index(self->given, int, i) >= 0;
  return n >= self->report.n_files;
}

/* The number of /dev/fuse. What is kept in its place would be given to the successor, and kept open: the end
 * of the worker's own line, say, whose closing tells of its death. */
static gboolean is_connection(int fd)
{
  struct stat st;

  return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(MISC_MAJOR, FUSE_MINOR);
}

gboolean vd_service_take_files(VdService *self, int *ret_transport, int *ret_images, unsigned n_images,
                               GError **error)
{
  VdServeHeader give;
  gboolean whole;

  vd_service_fill_header(&give, VD_SERVE_GIVE, sizeof give);
  g_return_val_if_fail(self->given == NULL && self->source == NULL && n_images <= VD_IO_MAX_FILES, FALSE);
  self->given = g_array_sized_new(FALSE, FALSE, sizeof(int), n_images + 1);
  for (guint i = 0, none = -1; i < n_images + 1; i++)
    g_array_append_val(self->given, none);
  vd_service_expect(self, VD_IO_MAX_FILES + 1);
  whole = vd_service_send(self, &give, -1, ANSWER_DEADLINE_MS, error) &&
          vd_service_await(self, has_all_files, ANSWER_DEADLINE_MS, NULL, error);
  if (ret_transport != NULL)
    *ret_transport = is_connection(g_array_index(self->given, int, 0))
                         ? vd_steal_fd(&g_array_index(self->given, int, 0))
                         : -1;
  for (guint i = 0; i < n_images; i++)
    ret_images[i] = vd_steal_fd(&g_array_index(self->given, int, i + 1));
  for (guint i = 0; i < self->given->len; i++)
    if (g_array_index(self->given, int, i) >= 0)
      vd_offload_close(vd_steal_fd(&g_array_index(self->given, int, i)));
  g_clear_pointer(&self->given, g_array_unref);
  return whole;
}
