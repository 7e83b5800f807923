/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ring of a serving worker: every descriptor that it will ever carry is put into it, then it is narrowed
 * to the operations that serving needs. seccomp does not see what goes through a ring; this list does.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "worker/protocol.h"
#include "worker/serve.h"

/* Submissions of one batch: more is handed over in pieces. */
#define RING_ENTRIES 256
#define MAX_OPERATIONS 16

static bool refuse_ring(VdFormatError *ret_error, int error)
{
  if (error == EPERM)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NOT_SUPPORTED, 0, "",
                               "io_uring is switched off on this system (sysctl kernel.io_uring_disabled)");
  if (error == ENOSYS)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NOT_SUPPORTED, 0, "", "this kernel has no io_uring");
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "the worker: io_uring: %s",
                             strerrordesc_np(error));
}

/* Whether a file may be waited for is looked at when it comes into the table. */
static int set_transport(VdServer *server)
{
  int fd = server->order.transport_fd;

  if (fd < 0)
    return 0;
  if (server->transport->blocking == VD_SERVE_NONBLOCKING &&
      fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
    return -errno;
  return vd_ring_set_file(server->ring, VD_SLOT_TRANSPORT, fd);
}

static int set_control(VdServer *server)
{
  return server->lines.control_fd < 0
             ? 0
             : vd_ring_set_file(server->ring, VD_SLOT_CONTROL, server->lines.control_fd);
}

/* Nothing is done with it through the ring. But a ring keeps its files until its last request has ended,
 * which is after the end of the process: as long as somebody listens, writes of ours may still arrive in the
 * image (vd_service_await_end()). Of a task the line itself tells: it is not closed before that. */
static int set_listener(VdServer *server)
{
  int fd = server->transport ? server->order.listen_fd : VD_WORKER_SOCKET_FD;

  return fd < 0 ? 0 : vd_ring_set_file(server->ring, VD_SLOT_LISTEN, fd);
}

/* Addresses that nothing else has, and that nobody can read or write by mistake. */
static uint8_t *reserve(size_t size)
{
  void *area = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

  if (area == MAP_FAILED)
    return NULL;
  munlock(area, size);
  return area;
}

/* Images, and the log of their changes behind them. */
static unsigned count_files(const VdServeOrder *order)
{
  return order->n_images + (order->changes_fd >= 0 ? 1 : 0);
}

/* The kernel puts the pages of each request into a table of buffers of the ring. Zeros, for what the image
 * does not have, come from where there are nothing but zeros. */
static int set_up_zero_copy(VdServer *server)
{
  const VdServeSetup *setup = &server->order.setup;
  unsigned zero_slot = VD_SLOT_IMAGES + count_files(&server->order);
  int zeros, result;

  if ((setup->flags & VD_SERVE_ZERO_COPY) == 0)
    return 0;
  server->remote = reserve((size_t)setup->depth * setup->max_io);
  zeros = server->remote ? open("/dev/zero", O_RDONLY | O_CLOEXEC) : -1;
  if (zeros < 0)
    return -errno;
  result = vd_ring_set_file(server->ring, zero_slot, zeros);
  close(zeros);
  if (result == 0)
    result = io_uring_register_buffers_sparse(vd_ring_uring(server->ring), setup->depth);
  if (result == 0)
    vd_ring_io_set_remote(server->io, server->remote, setup->max_io, setup->depth, zero_slot);
  return result;
}

static int narrow_ring(VdServer *server)
{
  static const uint8_t basic[] = {IORING_OP_NOP,   IORING_OP_READ,      IORING_OP_WRITE,
                                  IORING_OP_FSYNC, IORING_OP_FALLOCATE, IORING_OP_POLL_ADD};
  uint8_t all[MAX_OPERATIONS];
  unsigned n = sizeof basic;

  memcpy(all, basic, n);
  for (unsigned i = 0; server->transport && i < server->transport->n_operations; i++)
    all[n++] = server->transport->operations[i];
  if (server->remote) {
    all[n++] = IORING_OP_READ_FIXED;
    all[n++] = IORING_OP_WRITE_FIXED;
  }
  return vd_ring_restrict(server->ring, all, n);
}

/* Files, from the first on. */
static unsigned count_written(const VdServeSetup *setup)
{
  if ((setup->flags & VD_SERVE_WRITABLE) == 0)
    return 0;
  return setup->n_written > 1 ? setup->n_written : 1;
}

bool vd_serve_make_ring(VdServer *server, VdFormatError *ret_error)
{
  const VdServeOrder *order = &server->order;
  const VdServeSetup *setup = &order->setup;
  int files[VD_IO_MAX_FILES], result;
  unsigned n = count_files(order);

  memcpy(files, order->images, order->n_images * sizeof *files);
  if (n > order->n_images)
    files[order->n_images] = order->changes_fd;
  server->ring = vd_ring_new(RING_ENTRIES, VD_SLOT_IMAGES + n + 1);
  if (!server->ring)
    return refuse_ring(ret_error, errno);
  server->io = vd_ring_io_new(server->ring, files, n, VD_SLOT_IMAGES, count_written(setup),
                              setup->sector_size, (setup->flags & VD_SERVE_DIRECT) != 0);
  if (!server->io)
    return refuse_ring(ret_error, errno);
  result = set_transport(server);
  if (result == 0)
    result = set_control(server);
  if (result == 0)
    result = set_listener(server);
  if (result == 0)
    result = set_up_zero_copy(server);
  if (result == 0)
    result = narrow_ring(server);
  return result == 0 || refuse_ring(ret_error, -result);
}
