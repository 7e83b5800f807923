/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A worker that mirrors its disk: what comes for one image goes to another too, until that one is told to
 * take the first one's place. The mirror may fail; the disk goes on as if there had been none.
 */
#include <errno.h>
#include <string.h>

#include "worker/serve.h"

static void tell_report(VdServer *server, VdServeKind kind, const VdFormatError *error)
{
  VdServeReport report;

  vd_serve_report(server, kind, error, &report);
  vd_serve_lines_tell(&server->lines, &report.header);
}

static void fail(VdServer *server, VdServeKind kind, int result)
{
  VdFormatError error;

  vd_format_error_set(&error, result == -ENOSPC ? VIRTDISK_ERROR_DISK_FULL : VIRTDISK_ERROR_IO, 0, "",
                      "the mirror: %s", strerrordesc_np(-result));
  tell_report(server, kind, &error);
}

/* As it is asked whenever something has ended. */
static void tell_progress(VdServer *server)
{
  VdServeProgress progress = {
      .header = {VD_SERVE_MAGIC, VD_SERVE_VERSION, VD_SERVE_PROGRESS, sizeof progress}};
  unsigned step;

  vd_mirror_state(server->mirror.mirror, &progress.current, NULL);
  progress.completion = vd_engine_size(server->engine);
  step = (unsigned)((double)progress.current / (double)progress.completion * VD_SERVE_MIRROR_STEPS);
  if (step <= server->mirror.told)
    return;
  server->mirror.told = step;
  vd_serve_lines_tell(&server->lines, &progress.header);
}

static void on_changed(VdMirror *mirror, void *user)
{
  VdServer *server = user;
  int error;

  if (vd_mirror_state(mirror, NULL, &error) == VD_MIRROR_MIRRORED) {
    tell_progress(server);
    tell_report(server, VD_SERVE_MIRRORED, NULL);
  } else if (error < 0) {
    fail(server, VD_SERVE_MIRRORED, error);
  }
}

static bool open_engine(VdServer *server, VdFormatError *ret_error)
{
  static VdLayer *layers[VD_IO_MAX_FILES];
  const VdServeSetup *setup = &server->order.setup;
  VdEngineOptions options = {.pages = server->pages};
  unsigned n;

  if (!vd_serve_open_chain_over(server, 1, 2, true, setup->device_id, layers, &n, ret_error))
    return false;
  server->mirror.engine = vd_engine_new(server->io, layers, n, &options);
  return server->mirror.engine || vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "",
                                                      "the mirror: %s", strerrordesc_np(errno));
}

static bool start(VdServer *server, VdFormatError *ret_error)
{
  VdMirrorTarget over =
      (server->order.setup.flags & VD_SERVE_MIRROR_OLD) != 0 ? VD_MIRROR_OVER_OLD : VD_MIRROR_OVER_NEW;

  if (!open_engine(server, ret_error))
    return false;
  server->mirror.mirror = vd_mirror_new(server->engine, server->mirror.engine, over, on_changed, server);
  return server->mirror.mirror ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "",
                             "the mirror: it is not a disk like the one that it is to mirror");
}

static void drop(VdServer *server)
{
  vd_mirror_free(server->mirror.mirror);
  vd_engine_free(server->mirror.engine);
  server->mirror = (VdServeMirror){0};
}

void vd_serve_mirror_start(VdServer *server)
{
  VdFormatError error;

  if ((server->order.setup.flags & VD_SERVE_MIRROR) == 0)
    return;
  if (start(server, &error)) {
    vd_mirror_start(server->mirror.mirror);
    return;
  }
  drop(server);
  tell_report(server, VD_SERVE_MIRRORED, &error);
}

void vd_serve_mirror_submit(VdServer *server, VdRequest *request)
{
  if (server->mirror.mirror)
    vd_mirror_submit(server->mirror.mirror, request);
  else
    vd_engine_submit(server->engine, request);
}

static bool is_mirrored(const VdServer *server)
{
  return server->mirror.mirror && vd_mirror_state(server->mirror.mirror, NULL, NULL) == VD_MIRROR_MIRRORED;
}

void vd_serve_mirror_break(VdServer *server)
{
  VdFormatError error;

  if (is_mirrored(server)) {
    server->mirror.breaking = true;
    return;
  }
  vd_format_error_set(&error, VIRTDISK_ERROR_OPERATION_ABORTED, 0, "",
                      server->mirror.mirror ? "the mirror is not complete" : "there is no mirror");
  tell_report(server, VD_SERVE_BROKEN, &error);
}

static void on_flushed(VdRequest *request, int result)
{
  *(int *)request->user = result;
}

/* Durable, and in its clean form. What is under way when the ring fails stays so. */
static int finish(VdServer *server)
{
  static VdRequest request;
  static int flushed;
  int wait = 0;

  flushed = 1;
  request = (VdRequest){.op = VD_OP_FLUSH, .done = on_flushed, .user = &flushed};
  vd_engine_submit(server->mirror.engine, &request);
  while (flushed > 0 && wait >= 0)
    wait = vd_ring_wait(server->ring);
  if (wait < 0)
    return wait;
  return flushed < 0 ? flushed : vd_engine_close(server->mirror.engine);
}

/* All that was begun has ended; what came since is held, for us or for a successor. */
static bool is_quiet(const VdServer *server)
{
  return vd_mirror_is_idle(server->mirror.mirror) && vd_engine_is_idle(server->engine) &&
         vd_engine_is_idle(server->mirror.engine);
}

/* What the kernel or the ring still has an operation of is not given back. */
static void let_go(VdServer *server)
{
  if (is_quiet(server))
    drop(server);
  else
    server->mirror = (VdServeMirror){0};
}

static void go_on_without(VdServer *server, int result)
{
  vd_mirror_stop(server->mirror.mirror);
  let_go(server);
  fail(server, VD_SERVE_BROKEN, result);
  vd_serve_release_held(server);
}

bool vd_serve_mirror_is_broken(VdServer *server)
{
  int result;

  if (!server->mirror.mirror)
    return false;
  tell_progress(server);
  if (!server->mirror.breaking && is_quiet(server) &&
      vd_mirror_state(server->mirror.mirror, NULL, NULL) == VD_MIRROR_FAILED)
    drop(server);
  if (!server->mirror.breaking || !is_quiet(server))
    return false;
  result = is_mirrored(server) ? finish(server) : -EIO;
  if (result < 0) {
    go_on_without(server, result);
    return false;
  }
  /* The image that is left behind has all that was acknowledged; its clean form is a courtesy. */
  vd_serve_changes_close(server, vd_engine_close(server->engine));
  tell_report(server, VD_SERVE_BROKEN, NULL);
  return true;
}

void vd_serve_mirror_end(VdServer *server)
{
  if (!server->mirror.mirror)
    return;
  vd_mirror_stop(server->mirror.mirror);
  while (!is_quiet(server) && vd_ring_wait(server->ring) >= 0)
    continue;
  if (is_quiet(server))
    vd_engine_close(server->mirror.engine);
  let_go(server);
}
