/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The change tracking of a worker that serves: a log that comes along and is tied to the image is kept. One
 * that is not says so from now on; whatever is wrong with it, the disk is served.
 */
#include <stdlib.h>
#include <string.h>

#include "virtdisk-enums.h"
#include "worker/serve.h"

static unsigned file_of(const VdServer *server)
{
  return server->order.n_images;
}

static void forward(VdRequest *request, void *user)
{
  vd_server_forward(user, request);
}

void vd_serve_changes_submit(VdServer *server, VdRequest *request)
{
  if (server->changes.tracker)
    vd_tracker_submit(server->changes.tracker, request);
  else
    vd_serve_mirror_submit(server, request);
}

void vd_serve_changes_look(VdServer *server)
{
  VdFormatError ignored;

  server->changes.has_tie =
      server->order.changes_fd >= 0 &&
      vd_ctlog_look(server->order.images[0], server->order.setup.device_id, &server->changes.tie, &ignored);
}

/* A predecessor's word that nobody else had the image meanwhile is as good as a tie. */
static bool is_trusted(const VdServer *server, const VdCtlog *log, const VdLayer *leaf)
{
  const VdServeSetup *setup = &server->order.setup;

  if (log->device_id != setup->device_id || log->size != leaf->size || log->state == VD_CTLOG_BROKEN)
    return false;
  return (setup->flags & VD_SERVE_TAKEOVER) != 0 ||
         (server->changes.has_tie && vd_ctlog_is_tied(log, &server->changes.tie));
}

static VdTracker *make_tracker(VdServer *server, const VdReader *reader, const VdCtlog *log,
                               const VdLayer *leaf)
{
  VdTrackerOptions options = {
      .io = server->io, .file = file_of(server), .log = *log, .forward = forward, .user = server};
  VdFormatError ignored;

  memcpy(options.id, leaf->identity, sizeof options.id);
  memcpy(options.session_id, leaf->next_identity, sizeof options.session_id);
  options.marks = calloc(vd_ctlog_count_granules(log), sizeof *options.marks);
  if (options.marks && vd_ctlog_read_marks(reader, log, options.marks, &ignored))
    return vd_tracker_new(&options);
  free(options.marks);
  return NULL;
}

void vd_serve_changes_open(VdServer *server, const VdLayer *leaf)
{
  VdFormatError ignored;
  VdReader reader;
  VdCtlog log;

  if (server->order.changes_fd < 0 || !vd_reader_init(&reader, server->order.changes_fd, &ignored) ||
      !vd_ctlog_read(&reader, &log, &ignored))
    return;
  if (is_trusted(server, &log, leaf))
    server->changes.tracker = make_tracker(server, &reader, &log, leaf);
  if (!server->changes.tracker && log.state != VD_CTLOG_BROKEN)
    vd_tracker_break(server->io, file_of(server), &log);
}

void vd_serve_changes_close(VdServer *server, int closed)
{
  VdTracker *tracker = server->changes.tracker;
  VdFormatError ignored;
  VdCtlogTie tie;

  if (!tracker)
    return;
  if (closed == 0 && vd_ctlog_look(server->order.images[0], server->order.setup.device_id, &tie, &ignored))
    vd_tracker_close(tracker, &tie);
  server->changes.tracker = NULL;
  vd_tracker_free(tracker);
}
