/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CompactVirtualDisk: the file of a dynamic or differencing image becomes smaller (engine/compact.h). What
 * the disk holds stays, but for what its file systems call free, if they are to be asked. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "worker/task-compact.h"

typedef struct {
  VdServer *server;
  VdFormatError *error; /* of a step that says no */
} Run;

static bool on_step(void *user, uint64_t current, uint64_t completion)
{
  Run *run = user;

  return vd_task_step(run->server, current, completion, run->error);
}

static uint64_t file_size(const VdServer *server)
{
  struct stat stat;

  return fstat(server->order.images[0], &stat) == 0 ? (uint64_t)stat.st_size : 0;
}

static bool open_images(VdServer *server, VdFormatError *ret_error)
{
  static VdLayer *layers[VD_IO_MAX_FILES];
  VdEngineOptions options = {0};

  if (!vd_serve_make_pages(server, ret_error) ||
      !vd_serve_open_chain(server, 0, true, server->order.setup.device_id, layers, ret_error))
    return false;
  options.pages = server->pages;
  server->engine = vd_engine_new(server->io, layers, server->order.n_images, &options);
  return server->engine ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory to compact an image");
}

static bool fail(VdFormatError *ret_error, int error)
{
  switch (error) {
  case -EMEDIUMTYPE:
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_TYPE, 0, "type",
                               "the image is neither dynamic nor differencing: its file has one size");
  case -EBUSY:
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_STATE, 0, "saved_state",
                               "a machine whose state was saved depends on what is in the image");
  case -ENOMEM:
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "",
                               "no memory to compact an image");
  case -ENOSPC:
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_DISK_FULL, 0, "",
                               "the image could not be compacted: its file system has no room for what is "
                               "moved; the image is whole");
  default:
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, 0, "", "the image could not be compacted: %s",
                               strerrordesc_np(-error));
  }
}

/* The end of the file is cut now, also of a run that was told to end. */
static int close_images(VdServer *server)
{
  VdEngine *engine = server->engine;
  int error = vd_engine_close(engine);

  server->engine = NULL;
  vd_engine_free(engine);
  return error;
}

static bool has_any(const VdFreeBlocks *blocks)
{
  for (uint64_t i = 0; i < (blocks->blocks + 7) / 8; i++)
    if (blocks->bits[i] != 0)
      return true;
  return false;
}

/* -ECANCELED: ret_error is filled. */
static int run_plan(VdServer *server, VdCompactPlan *plan, VdCompactResult *ret_found, VdServeResult *result,
                    VdFormatError *ret_error)
{
  bool ask = (server->order.setup.order.flags & VD_COMPACT_FILE_SYSTEMS) != 0;
  VdFreeBlocks blocks = {0};
  int error = 0;

  if (ask && vd_engine_block_size(server->engine) != 0) {
    if (!vd_task_compact_free(server, &blocks, result, ret_error))
      error = -ECANCELED;
    else if (has_any(&blocks))
      plan->unneeded = &blocks;
  }
  if (error == 0)
    error = vd_engine_compact(server->engine, plan, ret_found);
  free(blocks.bits);
  return error;
}

bool vd_task_compact(VdServer *server, VdServeResult *result, VdFormatError *ret_error)
{
  const VdTaskOrder *order = &server->order.setup.order;
  Run run = {server, ret_error};
  VdCompactPlan plan = {.step = on_step, .user = &run};
  uint64_t before = file_size(server), after;
  VdCompactResult found = {0};
  int error, closed;

  plan.zeros = order->flags & VD_COMPACT_NO_ZERO_SCAN ? VD_COMPACT_TRUST_MAP : VD_COMPACT_SCAN;
  plan.moves = order->flags & VD_COMPACT_NO_BLOCK_MOVES ? VD_COMPACT_STAY : VD_COMPACT_MOVE;
  if (!open_images(server, ret_error))
    return false;
  error = run_plan(server, &plan, &found, result, ret_error);
  closed = close_images(server);
  if (error == -ECANCELED)
    return false;
  if (error < 0 || closed < 0)
    return fail(ret_error, error < 0 ? error : closed);
  after = file_size(server);
  result->given_back = before > after ? before - after : 0;
  result->copied = found.moved;
  return true;
}
