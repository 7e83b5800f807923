/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a serving worker is to do: one SETUP message and the descriptors that follow, each number checked. The
 * daemon is trusted more than we are; the checks find a mix-up of versions before it can do harm.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/checked.h"
#include "worker/serve.h"

#define KNOWN_FLAGS                                                                                          \
  (VD_SERVE_WRITABLE | VD_SERVE_DIRECT | VD_SERVE_TAKEOVER | VD_SERVE_ZERO_COPY | VD_SERVE_RESEND |          \
   VD_SERVE_MIRROR | VD_SERVE_MIRROR_OLD)
/* A FUSE connection wants 8 KiB at least for one request. */
#define MIN_IO 8192
/* Metadata cache, bytes. */
#define MAX_CACHE (UINT64_C(1) << 30)

static bool refuse(VdFormatError *ret_error, const char *field, uint64_t value)
{
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_INTERNAL, 0, field,
                             "the order to the worker: %s is %llu", field, (unsigned long long)value);
}

/* One message of exactly size bytes, with a descriptor if ret_fd is not NULL. */
static bool receive(int line, VdServeHeader *message, size_t size, VdServeKind kind, int *ret_fd)
{
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec part = {message, size};
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
  const struct cmsghdr *rights;
  ssize_t n;

  if (ret_fd) {
    header.msg_control = &control;
    header.msg_controllen = sizeof control;
  }
  do
    n = recvmsg(line, &header, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n != (ssize_t)size || (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
      message->magic != VD_SERVE_MAGIC || message->version != VD_SERVE_VERSION || message->size != size ||
      message->kind != kind)
    return false;
  if (!ret_fd)
    return true;
  rights = CMSG_FIRSTHDR(&header);
  if (!rights || rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS ||
      rights->cmsg_len != CMSG_LEN(sizeof(int)))
    return false;
  memcpy(ret_fd, CMSG_DATA(rights), sizeof *ret_fd);
  return true;
}

static bool check_transport(const VdServeSetup *setup, VdFormatError *ret_error)
{
  if (setup->depth == 0 || setup->depth > VD_SERVE_MAX_DEPTH)
    return refuse(ret_error, "depth", setup->depth);
  if (setup->max_io < MIN_IO || setup->max_io > VD_SERVE_MAX_IO || setup->max_io % VD_IO_ALIGNMENT != 0)
    return refuse(ret_error, "max_io", setup->max_io);
  if (!vd_is_power_of_two(setup->sector_size) || setup->sector_size < 512 ||
      setup->sector_size > VD_IO_ALIGNMENT)
    return refuse(ret_error, "sector_size", setup->sector_size);
  if ((setup->flags & VD_SERVE_ZERO_COPY) != 0 && setup->transport != VD_TRANSPORT_UBLK)
    return refuse(ret_error, "flags", setup->flags);
  if (setup->size == 0 || setup->size > VD_MAX_RAW_SIZE || setup->size % setup->sector_size != 0)
    return refuse(ret_error, "size", setup->size);
  if (setup->offset > VD_MAX_RAW_SIZE || setup->offset % setup->sector_size != 0)
    return refuse(ret_error, "offset", setup->offset);
  return true;
}

static bool mirrors(const VdServeSetup *setup)
{
  return setup->transport != VD_TRANSPORT_NONE && (setup->flags & VD_SERVE_MIRROR) != 0;
}

static unsigned most_written(const VdServeSetup *setup)
{
  return setup->task == VD_TASK_MERGE ? VD_IO_MAX_FILES : mirrors(setup) ? 2 : 1;
}

static bool check_setup(const VdServeSetup *setup, VdFormatError *ret_error)
{
  if (setup->transport > VD_TRANSPORT_LAST)
    return refuse(ret_error, "transport", setup->transport);
  if (setup->task > VD_TASK_LAST || (setup->task == VD_TASK_NONE) != (setup->transport != VD_TRANSPORT_NONE))
    return refuse(ret_error, "task", setup->task);
  if ((setup->flags & ~KNOWN_FLAGS) != 0)
    return refuse(ret_error, "flags", setup->flags);
  if (setup->n_files == 0 || setup->n_files > VD_IO_MAX_FILES + 4)
    return refuse(ret_error, "n_files", setup->n_files);
  if (setup->cache_size > MAX_CACHE)
    return refuse(ret_error, "cache_size", setup->cache_size);
  if (setup->n_written > most_written(setup))
    return refuse(ret_error, "n_written", setup->n_written);
  if (mirrors(setup) && (setup->n_written != 2 || (setup->flags & VD_SERVE_WRITABLE) == 0))
    return refuse(ret_error, "flags", setup->flags);
  return setup->transport == VD_TRANSPORT_NONE || check_transport(setup, ret_error);
}

/* Where the sandbox does not close it. */
static int move_up(int fd, int line)
{
  int higher;

  if (fd > line)
    return fd;
  higher = fcntl(fd, F_DUPFD_CLOEXEC, line + 1);
  close(fd);
  return higher;
}

static int *place_of(VdServeOrder *order, const VdServeFile *file)
{
  switch (file->role) {
  case VD_ROLE_LISTEN:
    return &order->listen_fd;
  case VD_ROLE_TRANSPORT:
    return &order->transport_fd;
  case VD_ROLE_IMAGE:
    return file->index < VD_IO_MAX_FILES ? &order->images[file->index] : NULL;
  case VD_ROLE_BLOB:
    return order->setup.transport == VD_TRANSPORT_NONE ? &order->blob_fd : NULL;
  case VD_ROLE_CHANGES:
    return &order->changes_fd;
  }
  return NULL;
}

static bool receive_file(int line, VdServeOrder *order, VdFormatError *ret_error)
{
  VdServeFile file;
  int fd, *place;

  if (!receive(line, &file.header, sizeof file, VD_SERVE_FILE, &fd))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INTERNAL, 0, "",
                               "the order to the worker: no descriptor where one was announced");
  place = place_of(order, &file);
  if (!place || *place >= 0)
    return refuse(ret_error, "role", file.role);
  *place = move_up(fd, line);
  if (*place < 0)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no descriptor is free: %s",
                               strerrordesc_np(errno));
  return true;
}

/* Those of the others look at one file, or write it. */
static bool takes_chain(uint32_t task)
{
  return task == VD_TASK_NONE || task == VD_TASK_COPY || task == VD_TASK_COMPACT || task == VD_TASK_MERGE ||
         task == VD_TASK_MEASURE;
}

static bool check_files(VdServeOrder *order, VdFormatError *ret_error)
{
  bool serves = order->setup.transport != VD_TRANSPORT_NONE;

  while (order->n_images < VD_IO_MAX_FILES && order->images[order->n_images] >= 0)
    order->n_images++;
  for (unsigned i = order->n_images; i < VD_IO_MAX_FILES; i++)
    if (order->images[i] >= 0)
      return refuse(ret_error, "index", i);
  if (order->n_images == 0 || (!takes_chain(order->setup.task) && order->n_images != 1))
    return refuse(ret_error, "images", order->n_images);
  if (order->changes_fd >= 0 && order->n_images == VD_IO_MAX_FILES)
    return refuse(ret_error, "images", order->n_images);
  if (order->setup.n_written > order->n_images)
    return refuse(ret_error, "n_written", order->setup.n_written);
  if ((order->transport_fd >= 0) != serves || (order->listen_fd >= 0 && !serves))
    return refuse(ret_error, "transport", order->setup.transport);
  return true;
}

/* What was not read when we end would take our answer with it. */
static void drain(int line)
{
  char byte;

  shutdown(line, SHUT_RD);
  while (recv(line, &byte, 1, MSG_DONTWAIT) > 0)
    continue;
}

static bool receive_all(int line, VdServeOrder *order, VdFormatError *ret_error)
{
  if (!receive(line, &order->setup.header, sizeof order->setup, VD_SERVE_SETUP, NULL))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INTERNAL, 0, "",
                               "the order to the worker: no set-up");
  if (!check_setup(&order->setup, ret_error))
    return false;
  for (unsigned i = 0; i < order->setup.n_files; i++)
    if (!receive_file(line, order, ret_error))
      return false;
  return check_files(order, ret_error);
}

bool vd_serve_receive_order(int line, VdServeOrder *ret_order, VdFormatError *ret_error)
{
  ret_order->listen_fd = ret_order->transport_fd = ret_order->blob_fd = ret_order->changes_fd = -1;
  ret_order->n_images = 0;
  for (unsigned i = 0; i < VD_IO_MAX_FILES; i++)
    ret_order->images[i] = -1;
  if (receive_all(line, ret_order, ret_error))
    return true;
  drain(line);
  return false;
}
