/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Our end of the spawner, and of what it starts. One request at a time: it answers within a clone(2). */
#include "util/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "util/cleanup.h"
#include "util/spawner.h"
#include "virtdisk-error.h"

/* One for the process. */
static struct {
  GMutex lock;
  gboolean prepared;
  pid_t pid;
  int line;
} spawner = {.line = -1};

struct VdChild {
  gatomicrefcount refs;
  pid_t pid;
  int pidfd;
  GMutex lock;     /* of what follows up to status */
  gboolean reaped; /* the pid may be another's */
  siginfo_t end;   /* zeros: somebody else has waited for it */
  void (*ended)(VdChild *self, gpointer user_data);
  gpointer user_data;
};

static gboolean fail(GError **error, const char *what, int number)
{
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NO_RESOURCES, "no process can be started: %s: %s", what,
              g_strerror(number));
  return FALSE;
}

/* Under the lock. */
static gboolean prepare(GError **error)
{
  int pair[2];
  pid_t pid;

  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
    return fail(error, "socketpair", errno);
  /* No signal at its end, and no wait(2) that is not meant for it finds it. */
  pid = vd_spawner_clone(0);
  if (pid == 0)
    vd_spawner_main(pair[1]);
  close(pair[1]);
  if (pid < 0) {
    close(pair[0]);
    return fail(error, "clone", errno);
  }
  spawner.prepared = TRUE;
  spawner.pid = pid;
  spawner.line = pair[0];
  return TRUE;
}

gboolean vd_spawn_prepare(GError **error)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&spawner.lock);

  return spawner.prepared || prepare(error);
}

pid_t vd_spawn_pid(void)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&spawner.lock);

  return spawner.pid;
}

typedef struct {
  void (*lost)(gpointer user_data);
  gpointer user_data;
} Watch;

static gboolean on_hang_up(int fd, GIOCondition condition, gpointer data)
{
  const Watch *watch = data;

  watch->lost(watch->user_data);
  return G_SOURCE_REMOVE;
}

void vd_spawn_on_lost(void (*lost)(gpointer user_data), gpointer user_data)
{
  g_autoptr(GSource) source = g_unix_fd_source_new(spawner.line, G_IO_HUP);
  Watch *watch = g_new(Watch, 1);

  *watch = (Watch){lost, user_data};
  g_source_set_callback(source, G_SOURCE_FUNC(on_hang_up), watch, g_free);
  g_source_attach(source, NULL);
}

/* The request */

static gboolean compose(const char *const *arguments, VdSpawnSession session, VdSpawnRequest *request,
                        gsize *ret_size)
{
  gsize used = 0;

  request->new_session = session == VD_SPAWN_NEW_SESSION;
  for (guint i = 0; arguments[i] != NULL; i++) {
    gsize length = strlen(arguments[i]) + 1;

    if (i >= VD_SPAWN_MAX_ARGUMENTS || length > sizeof request->text - used)
      return FALSE;
    memcpy(request->text + used, arguments[i], length);
    used += length;
  }
  *ret_size = G_STRUCT_OFFSET(VdSpawnRequest, text) + used;
  return used > 0;
}

static gboolean send_request(const VdSpawnRequest *request, gsize size, int fd)
{
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {.bytes = {0}};
  struct iovec part = {(void *)request, size};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

  if (fd >= 0) {
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
  }
  return sendmsg(spawner.line, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == (gssize)size;
}

static gboolean receive_reply(VdSpawnReply *reply)
{
  gint64 deadline = g_get_monotonic_time() + (gint64)VD_SPAWN_DEADLINE_MS * 1000;
  struct pollfd answered = {.fd = spawner.line, .events = POLLIN};
  gint64 left;

  while ((left = deadline - g_get_monotonic_time()) > 0) {
    gssize n = recv(spawner.line, reply, sizeof *reply, MSG_DONTWAIT);

    if (n == sizeof *reply)
      return TRUE;
    if (n >= 0 || (errno != EAGAIN && errno != EINTR))
      return FALSE;
    poll(&answered, 1, (int)(left / 1000 + 1));
  }
  return FALSE;
}

/* Under the lock. What has not answered once may answer another's request with this one's process. */
static gboolean ask(const VdSpawnRequest *request, gsize size, int fd, VdSpawnReply *reply, GError **error)
{
  if (!spawner.prepared && !prepare(error))
    return FALSE;
  if (!send_request(request, size, fd)) {
    int saved = errno;

    /* In this state it is of use to nobody, unless the kernel may think otherwise soon. */
    if (saved != ETOOMANYREFS && saved != ENOMEM && saved != ENOBUFS)
      shutdown(spawner.line, SHUT_RDWR);
    return fail(error, "the spawner", saved);
  }
  if (!receive_reply(reply)) {
    shutdown(spawner.line, SHUT_RDWR);
    return fail(error, "the spawner gives no answer", ETIMEDOUT);
  }
  return reply->error_number == 0 || fail(error, "clone", reply->error_number);
}

/* Children */

VdChild *vd_child_ref(VdChild *self)
{
  g_atomic_ref_count_inc(&self->refs);
  return self;
}

void vd_child_unref(VdChild *self)
{
  if (!g_atomic_ref_count_dec(&self->refs))
    return;
  vd_clear_fd(&self->pidfd);
  g_mutex_clear(&self->lock);
  g_free(self);
}

pid_t vd_child_pid(VdChild *self)
{
  return self->pid;
}

int vd_child_dup_pidfd(VdChild *self)
{
  return fcntl(self->pidfd, F_DUPFD_CLOEXEC, 3);
}

void vd_child_kill(VdChild *self)
{
  syscall(SYS_pidfd_send_signal, self->pidfd, SIGKILL, NULL, 0);
}

/* __WALL: also one that has not become the program. */
static gboolean reap(VdChild *self)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&self->lock);
  siginfo_t end = {0};

  if (self->reaped)
    return TRUE;
  if (waitid(P_PIDFD, (id_t)self->pidfd, &end, WEXITED | WNOHANG | __WALL) == 0) {
    self->reaped = end.si_pid != 0;
    self->end = end;
  } else {
    self->reaped = errno == ECHILD;
  }
  return self->reaped;
}

static gboolean on_ended(int fd, GIOCondition condition, gpointer data)
{
  VdChild *self = data;

  if (!reap(self))
    return G_SOURCE_CONTINUE;
  if (self->ended != NULL)
    self->ended(self, self->user_data);
  return G_SOURCE_REMOVE;
}

void vd_child_on_end(VdChild *self, void (*ended)(VdChild *self, gpointer user_data), gpointer user_data)
{
  self->ended = ended;
  self->user_data = user_data;
}

gboolean vd_child_wait(VdChild *self, guint deadline_ms)
{
  gint64 deadline = g_get_monotonic_time() + (gint64)deadline_ms * 1000;
  struct pollfd ended = {.fd = self->pidfd, .events = POLLIN};
  gint64 left;

  while (!reap(self)) {
    left = deadline - g_get_monotonic_time();
    if (left <= 0)
      return FALSE;
    poll(&ended, 1, (int)(left / 1000 + 1));
  }
  return TRUE;
}

char *vd_child_describe_end(VdChild *self)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&self->lock);
  int status = self->end.si_status;

  if (self->end.si_code == CLD_KILLED || self->end.si_code == CLD_DUMPED)
    return g_strdup_printf("was killed by signal %d (%s)", status, g_strsignal(status));
  if (self->end.si_code == CLD_EXITED && status == VD_SPAWN_FAILED)
    return g_strdup_printf("ended with status %d: it may not have been started at all", status);
  return g_strdup_printf("ended with status %d", status);
}

static VdChild *child_new(pid_t pid, GError **error)
{
  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  g_autoptr(GSource) source = NULL;
  VdChild *self;

  if (pidfd < 0) {
    fail(error, "pidfd_open", errno);
    /* Nobody else waits for it, so it is still that process. */
    kill(pid, SIGKILL);
    waitpid(pid, NULL, __WALL);
    return NULL;
  }
  self = g_new0(VdChild, 1);
  g_atomic_ref_count_init(&self->refs);
  g_mutex_init(&self->lock);
  self->pid = pid;
  self->pidfd = pidfd;
  source = g_unix_fd_source_new(pidfd, G_IO_IN);
  g_source_set_callback(source, G_SOURCE_FUNC(on_ended), vd_child_ref(self), (GDestroyNotify)vd_child_unref);
  g_source_attach(source, g_main_context_get_thread_default());
  return self;
}

VdChild *vd_spawn(const char *const *arguments, int fd, VdSpawnSession session, GError **error)
{
  g_autofree VdSpawnRequest *request = g_new0(VdSpawnRequest, 1);
  vd_autofd taken = fd;
  VdSpawnReply reply = {0};
  gsize size;
  gboolean asked;

  if (access(arguments[0], X_OK) != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INTERNAL, "%s: %s", arguments[0], g_strerror(errno));
    return NULL;
  }
  if (!compose(arguments, session, request, &size)) {
    fail(error, arguments[0], E2BIG);
    return NULL;
  }
  g_mutex_lock(&spawner.lock);
  asked = ask(request, size, taken, &reply, error);
  g_mutex_unlock(&spawner.lock);
  return asked ? child_new(reply.pid, error) : NULL;
}
