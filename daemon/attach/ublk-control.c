/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel keeps the address of a command's buffer until the command completes, so a buffer is freed only
 * then; what is given up is leaked on purpose, and the ring with it.
 */
#include "attach/ublk-control.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <string.h>

#include "util/cleanup.h"
#include "virtdisk-error.h"

#define KERNEL_ENOTSUPP 524

int (*vd_ublk_command_hook)(guint32 operation, VdUblkCommand *command);

struct VdUblkControl {
  int fd;
  struct io_uring *ring; /* leaked once given_up */
  guint64 features;
  gboolean given_up;
};

/* FNV-1a: tags are random, this only has to keep them apart. */
guint64 vd_ublk_mark(const char *tag)
{
  guint64 hash = UINT64_C(0xcbf29ce484222325);

  for (; *tag != '\0'; tag++)
    hash = (hash ^ (guint8)*tag) * UINT64_C(0x100000001b3);
  return VD_UBLK_MAGIC << 48 | (hash & ((UINT64_C(1) << 48) - 1));
}

void vd_ublk_encode(struct io_uring_sqe *sqe, int control_fd, guint32 operation, const VdUblkCommand *command)
{
  /* Older versions of liburing leave the second half as it was. */
  memset(sqe, 0, 2 * sizeof *sqe);
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->fd = control_fd;
  sqe->cmd_op = operation;
  memcpy((char *)sqe + VD_UBLK_SQE_COMMAND, command, sizeof *command);
}

enum { USER_COMMAND = 1, USER_CANCEL = 2 };

/* FALSE: the deadline passed. */
static gboolean await_command(VdUblkControl *self, guint timeout_ms, int *ret_result)
{
  gint64 deadline = g_get_monotonic_time() + (gint64)timeout_ms * 1000;
  gint64 left;

  while ((left = deadline - g_get_monotonic_time()) > 0) {
    struct __kernel_timespec timeout = {.tv_sec = left / G_USEC_PER_SEC,
                                        .tv_nsec = left % G_USEC_PER_SEC * 1000};
    struct io_uring_cqe *cqe;
    int waited = io_uring_wait_cqe_timeout(self->ring, &cqe, &timeout);
    gboolean is_ours;

    if (waited == -EINTR || waited == -ETIME || waited == -EAGAIN)
      continue;
    if (waited < 0)
      return FALSE;
    is_ours = cqe->user_data == USER_COMMAND;
    *ret_result = cqe->res;
    io_uring_cqe_seen(self->ring, cqe);
    if (is_ours)
      return TRUE;
  }
  return FALSE;
}

static void cancel(VdUblkControl *self)
{
  struct io_uring_sqe *sqe = io_uring_get_sqe(self->ring);

  if (sqe == NULL)
    return;
  memset(sqe, 0, 2 * sizeof *sqe);
  sqe->opcode = IORING_OP_ASYNC_CANCEL;
  sqe->fd = -1;
  sqe->addr = USER_COMMAND;
  sqe->user_data = USER_CANCEL;
  io_uring_submit(self->ring);
}

static int submit_and_wait(VdUblkControl *self, guint32 operation, const VdUblkCommand *command,
                           guint timeout_ms)
{
  struct io_uring_sqe *sqe = io_uring_get_sqe(self->ring);
  int result;

  if (self->given_up || sqe == NULL)
    return -ETIME;
  vd_ublk_encode(sqe, self->fd, operation, command);
  sqe->user_data = USER_COMMAND;
  result = io_uring_submit(self->ring);
  if (result < 0)
    return result;
  if (await_command(self, timeout_ms, &result))
    return result;
  cancel(self);
  if (await_command(self, VD_UBLK_CANCEL_MS, &result))
    return result < 0 ? -ETIME : result;
  self->given_up = TRUE;
  return -ETIME;
}

/* buffer: in and out, or NULL. */
static int run(VdUblkControl *self, guint32 operation, VdUblkCommand *command, gpointer buffer, guint16 size,
               guint timeout_ms)
{
  gpointer copy = buffer != NULL ? g_memdup2(buffer, size) : NULL;
  int result;

  command->queue_id = VD_UBLK_NO_QUEUE;
  command->addr = (guint64)(guintptr)copy;
  command->len = size;
  if (vd_ublk_command_hook != NULL)
    result = vd_ublk_command_hook(operation, command);
  else
    result = submit_and_wait(self, operation, command, timeout_ms);
  if (self->given_up)
    return result;
  if (copy != NULL && result >= 0)
    memcpy(buffer, copy, size);
  g_free(copy);
  return result < 0 ? result : 0;
}

static int run_plain(VdUblkControl *self, guint32 operation, guint32 id, guint64 data, guint timeout_ms)
{
  VdUblkCommand command = {.dev_id = id, .data = data};

  return run(self, operation, &command, NULL, 0, timeout_ms);
}

static gboolean open_ring(VdUblkControl *self, GError **error)
{
  struct io_uring_params params = {.flags = IORING_SETUP_SQE128};
  int result;

  self->fd = open(VD_UBLK_CONTROL_PATH, O_RDWR | O_CLOEXEC);
  if (self->fd < 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED, "%s",
                errno == ENOENT ? "this kernel has no ublk driver" : "the ublk driver cannot be reached");
    return FALSE;
  }
  self->ring = g_new0(struct io_uring, 1);
  result = io_uring_queue_init_params(4, self->ring, &params);
  if (result == 0)
    return TRUE;
  g_clear_pointer(&self->ring, g_free);
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
              result == -EPERM ? "kernel.io_uring_disabled forbids io_uring" : "io_uring cannot be had: %s",
              g_strerror(-result));
  return FALSE;
}

VdUblkControl *vd_ublk_control_open(GError **error)
{
  g_autoptr(VdUblkControl) self = g_new0(VdUblkControl, 1);
  VdUblkCommand command = {.dev_id = VD_UBLK_ANY_ID};

  self->fd = -1;
  if (vd_ublk_command_hook == NULL && !open_ring(self, error))
    return NULL;
  /* Linux 6.4 has all that is needed and no way to ask; what it grants is seen when a device is added. */
  if (run(self, VD_UBLK_CMD_GET_FEATURES, &command, &self->features, sizeof self->features,
          VD_UBLK_QUICK_MS) < 0)
    self->features = VD_UBLK_F_USER_RECOVERY | VD_UBLK_F_USER_RECOVERY_REISSUE | VD_UBLK_F_CMD_IOCTL_ENCODE;
  return g_steal_pointer(&self);
}

void vd_ublk_control_free(VdUblkControl *self)
{
  if (self == NULL)
    return;
  if (self->ring != NULL && !self->given_up) {
    io_uring_queue_exit(self->ring);
    g_free(self->ring);
  }
  vd_clear_fd(&self->fd);
  g_free(self);
}

guint64 vd_ublk_control_features(VdUblkControl *self)
{
  return self->features;
}

int vd_ublk_get_info(VdUblkControl *self, guint32 id, VdUblkInfo *ret_info)
{
  VdUblkCommand command = {.dev_id = id};

  memset(ret_info, 0, sizeof *ret_info);
  return run(self, VD_UBLK_CMD_GET_DEV_INFO, &command, ret_info, sizeof *ret_info, VD_UBLK_QUICK_MS);
}

int vd_ublk_add(VdUblkControl *self, VdUblkInfo *info)
{
  VdUblkCommand command = {.dev_id = info->dev_id};

  return run(self, VD_UBLK_CMD_ADD_DEV, &command, info, sizeof *info, VD_UBLK_QUICK_MS);
}

int vd_ublk_set_params(VdUblkControl *self, guint32 id, VdUblkParams *params)
{
  VdUblkCommand command = {.dev_id = id};

  params->len = sizeof *params;
  return run(self, VD_UBLK_CMD_SET_PARAMS, &command, params, sizeof *params, VD_UBLK_QUICK_MS);
}

int vd_ublk_start(VdUblkControl *self, guint32 id, pid_t opener)
{
  return run_plain(self, VD_UBLK_CMD_START_DEV, id, (guint64)opener, VD_UBLK_START_MS);
}

int vd_ublk_stop(VdUblkControl *self, guint32 id)
{
  return run_plain(self, VD_UBLK_CMD_STOP_DEV, id, 0, VD_UBLK_STOP_MS);
}

int vd_ublk_try_stop(VdUblkControl *self, guint32 id)
{
  return run_plain(self, VD_UBLK_CMD_TRY_STOP_DEV, id, 0, VD_UBLK_STOP_MS);
}

int vd_ublk_delete(VdUblkControl *self, guint32 id)
{
  int result = run_plain(self, VD_UBLK_CMD_DEL_DEV_ASYNC, id, 0, VD_UBLK_QUICK_MS);

  /* Unknown to older drivers, some of which say so with a number that programs never see otherwise. */
  if (result != -EOPNOTSUPP && result != -KERNEL_ENOTSUPP && result != -EINVAL)
    return result;
  return run_plain(self, VD_UBLK_CMD_DEL_DEV, id, 0, VD_UBLK_QUICK_MS);
}

int vd_ublk_start_recovery(VdUblkControl *self, guint32 id)
{
  return run_plain(self, VD_UBLK_CMD_START_USER_RECOVERY, id, 0, VD_UBLK_QUICK_MS);
}

int vd_ublk_end_recovery(VdUblkControl *self, guint32 id, pid_t opener)
{
  return run_plain(self, VD_UBLK_CMD_END_USER_RECOVERY, id, (guint64)opener, VD_UBLK_START_MS);
}

int vd_ublk_update_size(VdUblkControl *self, guint32 id, guint64 size)
{
  return run_plain(self, VD_UBLK_CMD_UPDATE_SIZE, id, size / 512, VD_UBLK_QUICK_MS);
}

int vd_ublk_quiesce(VdUblkControl *self, guint32 id)
{
  /* The kernel keeps the deadline; ours is for a kernel that does not. */
  return run_plain(self, VD_UBLK_CMD_QUIESCE_DEV, id, VD_UBLK_QUIESCE_MS,
                   VD_UBLK_QUIESCE_MS + VD_UBLK_QUICK_MS);
}
