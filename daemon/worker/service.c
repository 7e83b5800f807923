/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The line to a serving worker. Whoever waits and the main loop read the same line, under one lock: each
 * message changes the state, and who waits looks at the state. Nothing that a worker says is believed
 * unchecked; one that breaks the protocol is ended, which is safe, since what it has acknowledged is in the
 * file.
 */
#include "worker/service-private.h"

#include <errno.h>
#include <glib-unix.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "util/cleanup.h"
#include "util/offload.h"
#include "virtdisk-error.h"
#include "worker/said.h"

/* Unasked: that it is ready, that it failed, that it has closed. */
#define UNASKED 3

VdService *vd_service_new_on_line(int line, int pidfd, pid_t pid)
{
  VdService *self = g_new0(VdService, 1);
  int on = 1;

  g_atomic_ref_count_init(&self->refs);
  g_mutex_init(&self->lock);
  self->line = line;
  self->pidfd = pidfd;
  self->pid = pid;
  self->due = UNASKED;
  /* Of every message, so that receive() knows what room is left for descriptors. */
  setsockopt(line, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
  return self;
}

VdService *vd_service_ref(VdService *self)
{
  g_atomic_ref_count_inc(&self->refs);
  return self;
}

/* Its file may be one whose server takes its time over a close. */
static void close_elsewhere(int *fd)
{
  if (*fd >= 0)
    vd_offload_close(vd_steal_fd(fd));
}

static void close_given(GArray *given)
{
  for (guint i = 0; i < given->len; i++)
    close_elsewhere(&g_array_index(given, int, i));
  g_array_unref(given);
}

void vd_service_unref(VdService *self)
{
  if (!g_atomic_ref_count_dec(&self->refs))
    return;
  vd_clear_fd(&self->line);
  vd_clear_fd(&self->pidfd);
  g_clear_error(&self->said);
  g_clear_error(&self->mirror_error);
  g_clear_pointer(&self->given, close_given);
  g_clear_pointer(&self->faults, g_array_unref);
  g_mutex_clear(&self->lock);
  g_free(self);
}

const VdServeReport *vd_service_report(VdService *self)
{
  return &self->report;
}

pid_t vd_service_pid(VdService *self)
{
  return self->pid;
}

static void send_signal(VdService *self, int number)
{
  if (self->pidfd >= 0)
    syscall(SYS_pidfd_send_signal, self->pidfd, number, NULL, 0);
}

void vd_service_rest(VdService *self)
{
  send_signal(self, SIGTERM);
}

void vd_service_kill(VdService *self)
{
  send_signal(self, SIGKILL);
}

/* Receiving */

typedef struct {
  union {
    VdServeHeader header;
    VdServeReport report;
    VdServeFile file;
    VdServeFault fault;
    VdServeChecked checked;
    VdServeProgress progress;
    VdServeResult result;
  };
  gssize length;
  int flags;
  int fd; /* owned */
  pid_t sender;
} Message;

static void message_clear(Message *message)
{
  close_elsewhere(&message->fd);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Message, message_clear)

/* There is room for one descriptor at most. */
static void take_control(Message *message, struct msghdr *header)
{
  for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
      memcpy(&message->fd, CMSG_DATA(c), sizeof(int));
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS) {
      struct ucred credentials;

      memcpy(&credentials, CMSG_DATA(c), sizeof credentials);
      message->sender = credentials.pid;
    }
  }
}

/* Room for the sender, and for one descriptor while any is expected: the kernel closes what goes beyond, and
 * says so. CMSG_LEN, not CMSG_SPACE: the padding would have room for a second one, which would be lost here.
 */
static void receive(int line, gboolean takes_files, Message *message)
{
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec part = {message, G_STRUCT_OFFSET(Message, length)};
  struct msghdr header = {.msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = &control,
                          .msg_controllen =
                              CMSG_SPACE(sizeof(struct ucred)) + (takes_files ? CMSG_LEN(sizeof(int)) : 0)};

  do
    message->length = recvmsg(line, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (message->length < 0 && errno == EINTR);
  if (message->length <= 0)
    return;
  message->flags = header.msg_flags;
  take_control(message, &header);
}

static gboolean is_report(guint32 kind)
{
  return kind == VD_SERVE_READY || kind == VD_SERVE_FAILED || kind == VD_SERVE_STATUS_REPLY ||
         kind == VD_SERVE_CLOSED;
}

/* It is done once it has said how many there are, and told as many as are to be told. */
static const char *find_fault_in_check(const VdService *self, const Message *message)
{
  const VdCheckSummary *summary = &message->checked.summary;
  guint64 all = 0;

  if (message->header.kind == VD_SERVE_FAULT && message->length == sizeof(VdServeFault))
    return self->faults->len >= VD_CHECK_MAX_FAULTS       ? "told of more faults than it may"
           : !vd_worker_said_fault(&message->fault.fault) ? "told of a fault that there cannot be"
                                                          : NULL;
  if (message->header.kind != VD_SERVE_CHECKED || message->length != sizeof(VdServeChecked))
    return "sent a message that was not expected";
  for (gsize i = 0; i < G_N_ELEMENTS(summary->counts); i++)
    if (!g_uint64_checked_add(&all, all, summary->counts[i]))
      return "counted more faults than there can be";
  return MIN(all, VD_CHECK_MAX_FAULTS) == self->faults->len && message->checked.repaired <= 1
             ? NULL
             : "counted other faults than it told of";
}

static const char *find_fault_in_progress(const VdServeProgress *progress)
{
  return progress->current <= progress->completion ? NULL : "is further than there is to go";
}

/* While it goes on; and what it has to tell, once. */
static const char *find_fault_in_task(const VdService *self, const Message *message)
{
  if (message->header.kind == VD_SERVE_PROGRESS && message->length == sizeof(VdServeProgress))
    return find_fault_in_progress(&message->progress);
  if (message->header.kind != VD_SERVE_RESULT || message->length != sizeof(VdServeResult) ||
      self->result.header.kind != 0)
    return "sent a message that was not expected";
  return vd_worker_said_text(message->result.note, sizeof message->result.note)
             ? NULL
             : "told of a result that there cannot be";
}

static gboolean is_of_mirror(const VdService *self, const Message *message)
{
  guint32 kind = message->header.kind;

  return self->mirrors && ((kind == VD_SERVE_PROGRESS && message->length == sizeof(VdServeProgress)) ||
                           (message->length == sizeof(VdServeReport) &&
                            (kind == VD_SERVE_MIRRORED || (kind == VD_SERVE_BROKEN && self->breaking))));
}

static const char *find_fault_in_message(const VdService *self, const Message *message)
{
  const VdServeHeader *header = &message->header;

  if (message->length < (gssize)sizeof *header || (message->flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
      header->magic != VD_SERVE_MAGIC)
    return "sent what is no message";
  /* Nothing but the header is known of other versions. */
  if (header->version != VD_SERVE_VERSION)
    return NULL;
  if ((gssize)header->size != message->length)
    return "sent a message of the wrong length";
  if (is_report(header->kind) && message->length == sizeof(VdServeReport))
    return NULL;
  if (header->kind == VD_SERVE_GIVEN && message->length == sizeof(VdServeFile) && self->given != NULL)
    return NULL;
  if (is_of_mirror(self, message))
    return header->kind == VD_SERVE_PROGRESS ? find_fault_in_progress(&message->progress) : NULL;
  if (self->faults != NULL && self->checked.header.kind == 0)
    return find_fault_in_check(self, message);
  if (self->is_long)
    return find_fault_in_task(self, message);
  return "sent a message that was not expected";
}

/* What is told of a check has ceilings of its own; of how far a task is it may tell for as long as somebody
 * waits for it, in a thread. */
static gboolean is_of_task(const VdService *self, const VdServeHeader *header)
{
  return !self->mirrors && header->version == VD_SERVE_VERSION &&
         (header->kind == VD_SERVE_FAULT || header->kind == VD_SERVE_CHECKED ||
          header->kind == VD_SERVE_PROGRESS || header->kind == VD_SERVE_RESULT);
}

/* Who talks without end would keep the main loop listening. */
static const char *find_fault(VdService *self, const Message *message)
{
  const char *fault = find_fault_in_message(self, message);

  if (fault != NULL || is_of_task(self, &message->header))
    return fault;
  if (self->due == 0)
    return "sent more than it was asked for";
  self->due--;
  return NULL;
}

static void complain(VdService *self, GError *error)
{
  g_clear_error(&self->said);
  self->said = error;
}

/* Places: 0 is the transport, images follow. */
static void take_given(VdService *self, Message *message)
{
  guint index = message->file.role == VD_ROLE_TRANSPORT ? 0
                : message->file.index < VD_IO_MAX_FILES ? 1 + message->file.index
                                                        : G_MAXUINT;

  if (index >= self->given->len || message->file.role == VD_ROLE_LISTEN || message->fd < 0)
    return;
  close_elsewhere(&g_array_index(self->given, int, index));
  g_array_index(self->given, int, index) = vd_steal_fd(&message->fd);
}

/* What it said last counts: it may be mirrored first, and lost later. */
static void take_mirror(VdService *self, const VdServeReport *report)
{
  gboolean good = report->error.code == -1;

  self->words++;
  g_clear_error(&self->mirror_error);
  if (!good)
    self->mirror_error = vd_worker_said_error(&report->error);
  if (report->header.kind == VD_SERVE_MIRRORED)
    self->mirrored = good;
  else
    self->broken = good;
}

static void take_message(VdService *self, Message *message)
{
  self->sender = message->sender;
  if (message->header.version != VD_SERVE_VERSION) {
    self->report.header = message->header;
    self->replied = TRUE;
    return;
  }
  if (message->header.kind == VD_SERVE_GIVEN) {
    take_given(self, message);
    return;
  }
  if (message->header.kind == VD_SERVE_FAULT) {
    g_array_append_val(self->faults, message->fault.fault);
    return;
  }
  if (message->header.kind == VD_SERVE_CHECKED) {
    self->checked = message->checked;
    return;
  }
  if (message->header.kind == VD_SERVE_PROGRESS) {
    self->progress = message->progress;
    self->words++;
    return;
  }
  if (message->header.kind == VD_SERVE_RESULT) {
    self->result = message->result;
    return;
  }
  if (is_of_mirror(self, message)) {
    take_mirror(self, &message->report);
    return;
  }
  self->report = message->report;
  switch ((VdServeKind)message->header.kind) {
  case VD_SERVE_READY:
    self->ready = TRUE;
    break;
  case VD_SERVE_STATUS_REPLY:
    self->replied = TRUE;
    break;
  case VD_SERVE_FAILED:
    complain(self, vd_worker_said_error(&message->report.error));
    break;
  default:
    self->closed = message->report.error.code == -1;
    if (!self->closed)
      complain(self, vd_worker_said_error(&message->report.error));
  }
}

/* Under the lock. */
static void drain(VdService *self)
{
  while (!self->gone) {
    g_auto(Message) message = {.fd = -1};
    const char *fault;

    receive(self->line, self->given != NULL, &message);
    if (message.length < 0 && errno == EAGAIN)
      return;
    self->gone = message.length <= 0;
    if (self->gone)
      return;
    fault = find_fault(self, &message);
    if (fault != NULL) {
      complain(self, vd_worker_lost(fault));
      self->gone = TRUE;
      vd_service_kill(self);
      return;
    }
    take_message(self, &message);
  }
}

void vd_service_expect(VdService *self, guint n)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&self->lock);

  self->due += n;
}

static gboolean check(VdService *self, VdServiceDone done)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&self->lock);

  drain(self);
  return self->gone || (done != NULL && done(self));
}

gboolean vd_service_await(VdService *self, VdServiceDone done, guint deadline_ms, GCancellable *cancellable,
                          GError **error)
{
  gint64 deadline = g_get_monotonic_time() + (gint64)deadline_ms * 1000;
  GPollFD fds[2] = {{.fd = self->line, .events = G_IO_IN}};
  gboolean cancels = g_cancellable_make_pollfd(cancellable, &fds[1]);
  gboolean reached;
  gint64 left = 0;

  while (!(reached = check(self, done)) && !g_cancellable_is_cancelled(cancellable) &&
         (left = deadline - g_get_monotonic_time()) > 0)
    g_poll(fds, cancels ? 2 : 1, (int)(left / 1000 + 1));
  if (cancels)
    g_cancellable_release_fd(cancellable);
  if (reached)
    return TRUE;
  if (g_cancellable_is_cancelled(cancellable))
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED,
                "Waiting for virtdisk-worker was "
                "cancelled");
  else
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_TIMED_OUT,
                "virtdisk-worker (pid %d) gave no answer within %u ms", (int)self->pid, deadline_ms);
  return FALSE;
}

GError *vd_service_complaint(VdService *self, const char *what)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&self->lock);

  return self->said != NULL ? g_error_copy(self->said) : vd_worker_lost(what);
}

/* Sending */

void vd_service_fill_header(VdServeHeader *header, VdServeKind kind, gsize size)
{
  *header = (VdServeHeader){VD_SERVE_MAGIC, VD_SERVE_VERSION, kind, (guint32)size};
}

static gboolean try_send(VdService *self, const VdServeHeader *message, int fd)
{
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {{0}};
  struct iovec part = {(void *)message, message->size};
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
  gssize sent;

  if (fd >= 0) {
    struct cmsghdr *c = &control.align;

    header.msg_control = &control;
    header.msg_controllen = sizeof control;
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(int));
  }
  do
    sent = sendmsg(self->line, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  return sent == (gssize)message->size;
}

gboolean vd_service_send(VdService *self, const VdServeHeader *message, int fd, guint deadline_ms,
                         GError **error)
{
  gint64 deadline = g_get_monotonic_time() + (gint64)deadline_ms * 1000;

  while (!try_send(self, message, fd)) {
    gint64 left = deadline - g_get_monotonic_time();
    struct pollfd waiting = {.fd = self->line, .events = POLLOUT};

    if (errno == EMFILE || errno == ENFILE || errno == ETOOMANYREFS) {
      g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NO_RESOURCES,
                  "virtdisk-worker cannot be given a file: %s", g_strerror(errno));
      return FALSE;
    }
    if (errno != EAGAIN) {
      check(self, NULL);
      g_propagate_error(error, vd_service_complaint(self, "ended before it had all it needs"));
      return FALSE;
    }
    if (left <= 0) {
      g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_TIMED_OUT,
                  "virtdisk-worker (pid %d) took no message for %u ms", (int)self->pid, deadline_ms);
      return FALSE;
    }
    poll(&waiting, 1, (int)(left / 1000 + 1));
  }
  return TRUE;
}

GArray *vd_service_take_faults(VdService *self, VdCheckSummary *ret_summary, gboolean *ret_repaired,
                               GError **error)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&self->lock);

  if (self->checked.header.kind == 0 || self->faults == NULL) {
    g_propagate_error(error, vd_worker_lost("ended without saying what it found"));
    return NULL;
  }
  *ret_summary = self->checked.summary;
  *ret_repaired = self->checked.repaired == 1;
  return g_steal_pointer(&self->faults);
}

gboolean vd_service_get_result(VdService *self, VdServeResult *ret_result, GError **error)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&self->lock);

  if (self->result.header.kind == 0) {
    g_propagate_error(error, vd_worker_lost("ended without saying what it did"));
    return FALSE;
  }
  *ret_result = self->result;
  return TRUE;
}

/* The mirror */

void vd_service_get_mirror(VdService *self, VdServiceMirror *ret_mirror, GError **ret_error)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&self->lock);

  *ret_mirror = (VdServiceMirror){self->progress.current, self->progress.completion, self->mirrored,
                                  self->mirror_error != NULL};
  if (ret_error != NULL)
    *ret_error = self->mirror_error != NULL ? g_error_copy(self->mirror_error) : NULL;
}

static gboolean is_broken(const VdService *self)
{
  return self->broken || self->mirror_error != NULL;
}

gboolean vd_service_break_mirror(VdService *self, guint deadline_ms, GError **error)
{
  VdServeHeader order;
  gboolean broken;

  g_mutex_lock(&self->lock);
  self->due++;
  self->breaking = TRUE;
  g_mutex_unlock(&self->lock);
  vd_service_fill_header(&order, VD_SERVE_BREAK, sizeof order);
  if (!vd_service_send(self, &order, -1, deadline_ms, error) ||
      !vd_service_await(self, is_broken, deadline_ms, NULL, error))
    return FALSE;
  g_mutex_lock(&self->lock);
  broken = self->broken;
  if (!broken && self->mirror_error != NULL && error != NULL)
    *error = g_error_copy(self->mirror_error);
  g_mutex_unlock(&self->lock);
  if (!broken && error != NULL && *error == NULL)
    *error = vd_service_complaint(self, "ended before its mirror was whole");
  return broken;
}

/* Ends */

gboolean vd_service_is_gone(VdService *self)
{
  return check(self, NULL);
}

gboolean vd_service_wait(VdService *self, guint deadline_ms, GCancellable *cancellable, GError **error)
{
  gboolean closed;

  if (!vd_service_await(self, NULL, deadline_ms, cancellable, error))
    return FALSE;
  g_mutex_lock(&self->lock);
  closed = self->closed;
  g_mutex_unlock(&self->lock);
  if (!closed)
    g_propagate_error(error, vd_service_complaint(self, "ended without closing the image"));
  return closed;
}

gboolean vd_service_stop(VdService *self, guint deadline_ms, GError **error)
{
  VdServeHeader stop;

  vd_service_fill_header(&stop, VD_SERVE_STOP, sizeof stop);
  if (!vd_service_is_gone(self) && !vd_service_send(self, &stop, -1, deadline_ms, error))
    return FALSE;
  return vd_service_wait(self, deadline_ms, NULL, error);
}

/* What was told is consumed. */
static void tell_news(VdService *self)
{
  g_autoptr(VdService) alive = vd_service_ref(self);
  guint64 words;

  g_mutex_lock(&self->lock);
  words = self->words;
  self->words = 0;
  g_mutex_unlock(&self->lock);
  if (words > 0 && self->news_func != NULL)
    self->news_func(self, self->news_data);
}

/* Before anybody watched. */
static gboolean on_early_news(gpointer user_data)
{
  VdService *self = user_data;

  if (self->source != NULL)
    tell_news(self);
  return G_SOURCE_REMOVE;
}

void vd_service_set_news_func(VdService *self, VdServiceNewsFunc func, gpointer user_data)
{
  self->news_func = func;
  self->news_data = user_data;
}

static gboolean on_line(int fd, GIOCondition condition, gpointer user_data)
{
  VdService *self = user_data;
  VdServiceGoneFunc func = self->func;

  if (!vd_service_is_gone(self)) {
    tell_news(self);
    return G_SOURCE_CONTINUE;
  }
  vd_service_ref(self);
  g_clear_pointer(&self->source, g_source_unref);
  self->func = NULL;
  if (func != NULL)
    func(self, self->closed, self->said, self->func_data);
  vd_service_unref(self);
  return G_SOURCE_REMOVE;
}

void vd_service_watch(VdService *self, VdServiceGoneFunc func, gpointer user_data)
{
  if (self->source != NULL) {
    g_source_destroy(self->source);
    g_clear_pointer(&self->source, g_source_unref);
  }
  self->func = func;
  self->func_data = user_data;
  if (func == NULL) {
    vd_service_set_news_func(self, NULL, NULL);
    return;
  }
  self->source = g_unix_fd_source_new(self->line, G_IO_IN);
  g_source_set_callback(self->source, G_SOURCE_FUNC(on_line), vd_service_ref(self),
                        (GDestroyNotify)vd_service_unref);
  g_source_attach(self->source, g_main_context_get_thread_default());
  if (self->news_func != NULL)
    g_idle_add_full(G_PRIORITY_DEFAULT, on_early_news, vd_service_ref(self),
                    (GDestroyNotify)vd_service_unref);
}
