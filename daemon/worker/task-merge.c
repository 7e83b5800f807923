/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* MERGE: engine/merge.h, as the daemon orders it. */
#include "engine/merge.h"

#include "worker/task.h"

static bool step(void *user, uint64_t current, uint64_t completion, VdFormatError *ret_error)
{
  return vd_task_step(user, current, completion, ret_error);
}

bool vd_task_merge(VdServer *server, VdServeResult *result, VdFormatError *ret_error)
{
  const VdServeSetup *setup = &server->order.setup;
  VdMerge merge = {.io = server->io,
                   .fds = server->order.images,
                   .n_images = server->order.n_images,
                   .device_id = setup->device_id,
                   .source_depth = setup->order.source_depth,
                   .target_depth = setup->order.target_depth,
                   .cache_size = setup->cache_size != 0 ? setup->cache_size : VD_SERVE_CACHE_SIZE,
                   .step = step,
                   .user = server};

  return vd_merge(&merge, &result->copied, ret_error);
}
