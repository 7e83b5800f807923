/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A worker that was told to end (SIGTERM) while its disk is in use: it serves on, for the kernel's page cache
 * may still have to be written. But whoever sent that will not be so polite the next time. So whenever nobody
 * has wanted anything for a moment, the images are closed, which leaves a clean leaf, and opened again: being
 * killed then harms nothing. Requests that come meanwhile are held.
 */
#include <errno.h>

#include "worker/serve.h"

/* Between two writes of one burst there is less. */
#define QUIET_MS 100

static bool wants_rest(const VdServer *server)
{
  return server->dismissed && server->changed && server->busy == 0 && !server->ended &&
         !server->mirror.engine && vd_engine_is_idle(server->engine);
}

void vd_serve_release_held(VdServer *server)
{
  VdRequest *first = NULL;

  while (server->held) {
    VdRequest *request = server->held;

    server->held = request->next;
    request->next = first;
    first = request;
  }
  while (first) {
    VdRequest *request = first;

    first = request->next;
    vd_serve_changes_submit(server, request);
  }
}

static void on_flushed(VdRequest *request, int result)
{
  *(int *)request->user = result;
}

/* -errno of the ring, which is the end. */
static int flush(VdServer *server, int *ret_result)
{
  VdRequest request = {.op = VD_OP_FLUSH, .done = on_flushed, .user = ret_result};
  int wait = 0;

  *ret_result = 1;
  vd_engine_submit(server->engine, &request);
  while (*ret_result > 0 && wait >= 0)
    wait = vd_ring_wait(server->ring);
  return wait < 0 ? wait : 0;
}

/*
 * What was acknowledged is made durable first. Where that fails the engine stays as it is: it fails each
 * FLUSH from then on, and one that was opened anew would know nothing of what was lost. Images that cannot be
 * opened any more are the end: a successor may have more luck.
 */
static int rest(VdServer *server)
{
  VdFormatError error;
  int flushed, result = flush(server, &flushed);

  if (result < 0)
    return result;
  if (flushed == 0 && !wants_rest(server))
    return 0;
  server->changed = false;
  if (flushed < 0)
    return 0;
  vd_serve_close_images(server);
  if (!vd_serve_open_images(server, &error))
    return -EIO;
  vd_serve_release_held(server);
  return 0;
}

int vd_serve_wait(VdServer *server)
{
  int result;

  if (!wants_rest(server))
    return vd_ring_wait(server->ring);
  result = vd_ring_wait_for(server->ring, QUIET_MS);
  return result == -ETIME ? rest(server) : result;
}
