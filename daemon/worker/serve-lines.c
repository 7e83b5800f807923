/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lines to the daemon while a worker serves: the one given at birth, and those of a daemon that comes
 * back. Never waits: what a peer does not take at once it loses, with its line. A message that does not hold
 * closes that line and nothing else.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/serve.h"

/* Which of the sources an event is of: a line's number, the socket where new ones come in, or SIGTERM. */
enum { LISTEN = VD_SERVE_MAX_LINES, SIGNAL, N_SOURCES };

static bool watch(VdServeLines *self, int operation, int fd, uint32_t source, uint32_t events)
{
  struct epoll_event event = {.events = events, .data.u32 = source};

  return epoll_ctl(self->control_fd, operation, fd, &event) == 0;
}

static void hang_up(VdServeLine *line)
{
  close(line->fd);
  *line = (VdServeLine){.fd = -1};
}

typedef enum { SENT, FULL, LOST } Sending;

static Sending send_message(int line, const void *message, size_t size, int fd)
{
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct iovec part = {(void *)message, size};
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

  if (fd >= 0) {
    header.msg_control = &control;
    header.msg_controllen = sizeof control;
    control.align = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.align), &fd, sizeof fd);
  }
  if (sendmsg(line, &header, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size)
    return SENT;
  return errno == EAGAIN ? FULL : LOST;
}

static void answer(VdServeLine *line, const VdServeHeader *message)
{
  if (send_message(line->fd, message, message->size, -1) != SENT)
    hang_up(line);
}

/* /dev/ublkcN stays with us: with a second holder no recovery would begin when we die. */
static bool gives_transport(const VdServer *server)
{
  return server->order.setup.transport == VD_TRANSPORT_FUSE;
}

unsigned vd_serve_count_files(const VdServer *server)
{
  return (gives_transport(server) ? 1 : 0) + server->order.n_images;
}

static Sending give_one(const VdServer *server, int line, unsigned i)
{
  VdServeFile file = {{VD_SERVE_MAGIC, VD_SERVE_VERSION, VD_SERVE_GIVEN, sizeof file}, VD_ROLE_TRANSPORT, 0};

  if (gives_transport(server)) {
    if (i == 0)
      return send_message(line, &file, sizeof file, server->order.transport_fd);
    i--;
  }
  file.role = VD_ROLE_IMAGE;
  file.index = i;
  return send_message(line, &file, sizeof file, server->order.images[i]);
}

/* As much as the line takes; the rest when it has room again. */
static void give(VdServeLines *self, VdServeLine *line)
{
  Sending sending = SENT;

  while (line->give_next < line->give_n && sending == SENT) {
    sending = give_one(self->server, line->fd, line->give_next);
    if (sending == SENT)
      line->give_next++;
  }
  if (sending == LOST || !watch(self, EPOLL_CTL_MOD, line->fd, (uint32_t)(line - self->lines),
                                line->give_next < line->give_n ? EPOLLIN | EPOLLOUT : EPOLLIN))
    hang_up(line);
}

static void handle_message(VdServeLines *self, VdServeLine *line, const VdServeHeader *header, size_t size)
{
  VdServeReport report;

  /* STOP is understood in every version. */
  if (size < sizeof *header || header->magic != VD_SERVE_MAGIC || header->size != size ||
      (header->version != VD_SERVE_VERSION && header->kind != VD_SERVE_STOP)) {
    hang_up(line);
    return;
  }
  switch (header->kind) {
  case VD_SERVE_STATUS:
    vd_serve_report(self->server, VD_SERVE_STATUS_REPLY, NULL, &report);
    answer(line, &report.header);
    break;
  case VD_SERVE_GIVE:
    line->give_next = 0;
    line->give_n = vd_serve_count_files(self->server);
    give(self, line);
    break;
  case VD_SERVE_STOP:
    vd_server_stop(self->server);
    break;
  case VD_SERVE_BREAK:
    vd_serve_mirror_break(self->server);
    break;
  default:
    hang_up(line);
    break;
  }
}

static void handle_line(VdServeLines *self, VdServeLine *line)
{
  VdServeHeader header;
  struct iovec part = {&header, sizeof header};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  ssize_t n = recvmsg(line->fd, &message, MSG_DONTWAIT);

  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  /* Descriptors have nothing to do here; the kernel has closed them for want of room. */
  if (n <= 0 || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
    hang_up(line);
  else
    handle_message(self, line, &header, (size_t)n);
}

static bool is_daemon(const VdServeLines *self, int fd)
{
  struct ucred peer;
  socklen_t size = sizeof peer;

  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && size == sizeof peer &&
         peer.uid == self->daemon;
}

static bool add_line(VdServeLines *self, int fd)
{
  for (uint32_t i = 0; i < VD_SERVE_MAX_LINES; i++)
    if (self->lines[i].fd < 0 && watch(self, EPOLL_CTL_ADD, fd, i, EPOLLIN)) {
      self->lines[i] = (VdServeLine){.fd = fd};
      return true;
    }
  return false;
}

static void handle_listen(VdServeLines *self)
{
  int fd = accept4(self->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

  if (fd >= 0 && (!is_daemon(self, fd) || !add_line(self, fd)))
    close(fd);
}

static void handle_event(VdServeLines *self, const struct epoll_event *event)
{
  VdServeLine *line = &self->lines[event->data.u32 % VD_SERVE_MAX_LINES];

  if (event->data.u32 == LISTEN) {
    handle_listen(self);
    return;
  }
  if (event->data.u32 == SIGNAL) {
    self->server->dismissed = true;
    vd_server_dismiss(self->server);
    return;
  }
  if (line->fd >= 0 && (event->events & EPOLLOUT) != 0)
    give(self, line);
  if (line->fd >= 0 && (event->events & ~(uint32_t)EPOLLOUT) != 0)
    handle_line(self, line);
}

static void on_control(VdRingOp *op, int result, uint32_t flags)
{
  VdServeLines *self = (VdServeLines *)((char *)op - offsetof(VdServeLines, poll));
  struct epoll_event events[N_SOURCES];
  int n;

  if (result < 0)
    return;
  n = epoll_wait(self->control_fd, events, N_SOURCES, 0);
  for (int i = 0; i < n; i++)
    handle_event(self, &events[i]);
  vd_serve_lines_start(self);
}

void vd_serve_lines_start(VdServeLines *self)
{
  struct io_uring_sqe *sqe = vd_ring_sqe(self->server->ring, &self->poll);
  uint64_t data = sqe->user_data;

  io_uring_prep_poll_add(sqe, VD_SLOT_CONTROL, POLLIN);
  sqe->user_data = data;
  sqe->flags |= IOSQE_FIXED_FILE;
}

/* It stays pending, and is told of once: there is nothing more to it. */
static bool watch_signal(VdServeLines *self)
{
  sigset_t heard;

  sigemptyset(&heard);
  sigaddset(&heard, SIGTERM);
  self->signal_fd = signalfd(-1, &heard, SFD_CLOEXEC | SFD_NONBLOCK);
  return self->signal_fd >= 0 && watch(self, EPOLL_CTL_ADD, self->signal_fd, SIGNAL, EPOLLIN | EPOLLONESHOT);
}

bool vd_serve_lines_init(VdServeLines *self, VdServer *server, int first)
{
  struct ucred daemon;
  socklen_t size = sizeof daemon;

  self->server = server;
  self->poll.done = on_control;
  self->listen_fd = server->order.listen_fd;
  for (unsigned i = 0; i < VD_SERVE_MAX_LINES; i++)
    self->lines[i].fd = -1;
  if (getsockopt(first, SOL_SOCKET, SO_PEERCRED, &daemon, &size) < 0)
    return false;
  self->daemon = daemon.uid;
  self->control_fd = epoll_create1(EPOLL_CLOEXEC);
  if (self->control_fd < 0 || !add_line(self, first) || !watch_signal(self))
    return false;
  return self->listen_fd < 0 || watch(self, EPOLL_CTL_ADD, self->listen_fd, LISTEN, EPOLLIN);
}

void vd_serve_lines_tell(VdServeLines *self, const VdServeHeader *message)
{
  for (unsigned i = 0; i < VD_SERVE_MAX_LINES; i++)
    if (self->lines[i].fd >= 0)
      answer(&self->lines[i], message);
}
