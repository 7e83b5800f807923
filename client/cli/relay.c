/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "relay.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

/* Bytes under way in one direction; a large request in a few pieces. */
#define BUFFER_SIZE (256 << 10)
#define MAX_STOPS 2

/* One direction. */
typedef struct {
  int from, to;
  guint8 *buffer;
  gsize start, end; /* what was read and not written yet */
  gboolean ended;   /* from has no more */
  gboolean broken;  /* to takes no more */
} Pipe;

static gboolean is_passing(gssize n)
{
  return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static void fill(Pipe *pipe)
{
  gssize n = recv(pipe->from, pipe->buffer, BUFFER_SIZE, MSG_DONTWAIT);

  if (is_passing(n))
    return;
  pipe->start = 0;
  pipe->end = n > 0 ? (gsize)n : 0;
  if (n > 0)
    return;
  pipe->ended = TRUE;
  shutdown(pipe->to, SHUT_WR);
}

static void drain(Pipe *pipe)
{
  gssize n = send(pipe->to, pipe->buffer + pipe->start, pipe->end - pipe->start, MSG_DONTWAIT | MSG_NOSIGNAL);

  if (n > 0)
    pipe->start += (gsize)n;
  else if (!is_passing(n))
    pipe->broken = TRUE;
}

static void step(Pipe *pipe)
{
  if (!pipe->ended && !pipe->broken && pipe->start == pipe->end)
    fill(pipe);
  if (!pipe->broken && pipe->start < pipe->end)
    drain(pipe);
}

/* Full: until there is room; else until there is more. */
static struct pollfd wish(const Pipe *pipe)
{
  if (pipe->broken || (pipe->ended && pipe->start == pipe->end))
    return (struct pollfd){-1, 0, 0};
  return pipe->start < pipe->end ? (struct pollfd){pipe->to, POLLOUT, 0}
                                 : (struct pollfd){pipe->from, POLLIN, 0};
}

VdRelayEnd vd_relay_run(int client, int server, const int *stop, gsize n)
{
  g_autofree guint8 *there = g_malloc(BUFFER_SIZE), *back = g_malloc(BUFFER_SIZE);
  Pipe request = {.from = client, .to = server, .buffer = there};
  Pipe answer = {.from = server, .to = client, .buffer = back};

  while (!answer.broken && !(answer.ended && answer.start == answer.end)) {
    struct pollfd fds[2 + MAX_STOPS] = {wish(&request), wish(&answer)};

    for (gsize i = 0; i < MIN(n, MAX_STOPS); i++)
      fds[2 + i] = (struct pollfd){stop[i], POLLIN, 0};
    if (poll(fds, 2 + MIN(n, MAX_STOPS), -1) < 0 && errno != EINTR)
      break;
    for (gsize i = 0; i < MIN(n, MAX_STOPS); i++)
      if (fds[2 + i].revents != 0)
        return VD_RELAY_STOPPED;
    step(&request);
    step(&answer);
  }
  return VD_RELAY_OVER;
}
