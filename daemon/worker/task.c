/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the long operations have in common: which there are, how they tell of their progress, and how they
 * hear that they are to end. */
#include "worker/task.h"

#include <errno.h>
#include <sys/socket.h>
#include <time.h>

#include "worker/protocol.h"

/* Milliseconds between two messages. */
#define INTERVAL_MS 200

typedef bool (*Task)(VdServer *server, VdServeResult *result, VdFormatError *ret_error);

/* By VdTask. */
static const Task tasks[VD_TASK_LAST + 1] = {
    [VD_TASK_NONE] = NULL,
    [VD_TASK_RESIZE] = vd_task_resize,
    [VD_TASK_EDIT] = vd_task_edit,
    [VD_TASK_METADATA] = vd_task_metadata,
    [VD_TASK_MEASURE] = vd_task_measure,
    [VD_TASK_COMPACT] = vd_task_compact,
    [VD_TASK_MERGE] = vd_task_merge,
    [VD_TASK_COPY] = vd_task_copy,
    [VD_TASK_CHANGES] = vd_task_changes,
};

static int64_t now_ms(void)
{
  struct timespec now;

  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* STOP, a line that has closed, and whatever else the daemon should not say now. */
static bool is_told_to_end(void)
{
  VdServeHeader message;
  ssize_t n;

  do
    n = recv(VD_WORKER_SOCKET_FD, &message, sizeof message, MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  return n >= 0 || errno != EAGAIN;
}

bool vd_task_step(VdServer *server, uint64_t current, uint64_t completion, VdFormatError *ret_error)
{
  VdServeProgress progress = {
      {VD_SERVE_MAGIC, VD_SERVE_VERSION, VD_SERVE_PROGRESS, sizeof progress}, current, completion};
  int64_t now = now_ms();

  if (is_told_to_end())
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_OPERATION_ABORTED, 0, "",
                               "the operation was cancelled");
  if (server->told_ms != 0 && now - server->told_ms < INTERVAL_MS)
    return true;
  server->told_ms = now;
  return vd_serve_send(&progress.header) ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_OPERATION_ABORTED, 0, "", "nobody waits any more");
}

bool vd_task_run(VdServer *server, VdFormatError *ret_error)
{
  static VdServeResult result;
  Task task = tasks[server->order.setup.task];

  if (!task)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INTERNAL, 0, "task",
                               "the order to the worker: task is %u", server->order.setup.task);
  if (!task(server, &result, ret_error))
    return false;
  result.header = (VdServeHeader){VD_SERVE_MAGIC, VD_SERVE_VERSION, VD_SERVE_RESULT, sizeof result};
  return vd_serve_send(&result.header) ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, 0, "", "the result could not be told");
}
