/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which parts of a disk are changed, noted in its log (formats/ctlog.h) while somebody writes. It stands in
 * front of an engine: a request that changes something goes on only when the marks of all it touches are
 * durable, and durable too is that somebody writes. So whatever is in the image after a kill or a power cut
 * is marked; what is marked may not have been written. Each granule costs one wait for the disk, and never
 * another one until a new point; those that come together wait together.
 *
 * Where the log cannot be written, requests that need it fail with that error; others go on.
 *
 * One thread, that of the engine, and its io; no allocation after vd_tracker_new().
 */
#pragma once

#include "engine/engine.h"
#include "formats/ctlog.h"

typedef struct VdTracker VdTracker;

typedef struct {
  VdIo *io;
  unsigned file; /* of the log, in io; nobody else's */
  VdCtlog log;   /* as it was read; trusted */
  /* Of the image, as it is now and as its first change makes it: ids of a VHDX; else zeros. */
  uint8_t id[16], session_id[16];
  uint16_t *marks; /* as they were read; taken, from malloc(), also on failure */
  /* What may go on. */
  void (*forward)(VdRequest *request, void *user);
  void *user;
} VdTrackerOptions;

/* NULL with errno. */
VdTracker *vd_tracker_new(const VdTrackerOptions *options);
/* In the place of vd_engine_submit(). What is refused is told of by done of the request, never from here. */
void vd_tracker_submit(VdTracker *self, VdRequest *request);
/* Nothing waits here. */
bool vd_tracker_is_idle(const VdTracker *self);
/* Nothing waits, and the image is closed: the log is tied to what it is now. Runs the io. 0 or -errno: the
 * log says that somebody writes. */
int vd_tracker_close(VdTracker *self, const VdCtlogTie *tie);
/* A log that is no good: durably so. Runs the io. 0 or -errno. */
int vd_tracker_break(VdIo *io, unsigned file, const VdCtlog *log);
void vd_tracker_free(VdTracker *self);
