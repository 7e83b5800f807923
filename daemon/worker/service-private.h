/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside the daemon's end of the line to a serving worker: service.c has the line, service-start.c the ways
 * to get one. */
#pragma once

#include "worker/service.h"

struct VdService {
  gatomicrefcount refs;
  int line;  /* closed with the last reference */
  int pidfd; /* -1: not known */
  pid_t pid;
  GMutex lock; /* of all that follows up to the watch */
  VdServeReport report;
  gboolean ready, replied, closed, gone;
  guint due;              /* reports that it may still send; one more ends it */
  pid_t sender;           /* of the last message, from the kernel; 0 where it was not asked for */
  GError *said;           /* the last complaint */
  GArray *given;          /* int; NULL: none is expected, and what comes is closed */
  GArray *faults;         /* VdFault; NULL: none are expected */
  VdServeChecked checked; /* its kind is 0 until it was said */
  gboolean is_long;       /* a task that tells of its progress */
  guint64 words;          /* of it */
  VdServeProgress progress;
  VdServeResult result; /* its kind is 0 until it was said */
  gboolean mirrors;     /* a worker that serves tells of its mirror; words and progress are of it */
  gboolean mirrored, breaking, broken;
  GError *mirror_error; /* why there is none any more, or why it could not take the image's place */
  /* Main loop only. */
  GSource *source;
  VdServiceGoneFunc func;
  gpointer func_data;
  VdServiceNewsFunc news_func;
  gpointer news_data;
};

/* Takes line and pidfd. */
VdService *vd_service_new_on_line(int line, int pidfd, pid_t pid);
/* Reads what is there. Whether done() holds then, or the line has closed. */
typedef gboolean (*VdServiceDone)(const VdService *self);
/* Errors: TIMED_OUT, OPERATION_ABORTED. TRUE also when the line closes: look at the state. */
gboolean vd_service_await(VdService *self, VdServiceDone done, guint deadline_ms, GCancellable *cancellable,
                          GError **error);
/* fd -1: none goes along. Errors: TIMED_OUT, WORKER_LOST. */
gboolean vd_service_send(VdService *self, const VdServeHeader *message, int fd, guint deadline_ms,
                         GError **error);
/* It was asked for n messages more. */
void vd_service_expect(VdService *self, guint n);
/* What it said last, else WORKER_LOST with what. (transfer full) */
GError *vd_service_complaint(VdService *self, const char *what);
void vd_service_fill_header(VdServeHeader *header, VdServeKind kind, gsize size);

/* A process that serves goes on when ours ends: in a scope of its own where systemd runs. In a thread of its
 * own; a failure is logged. */
void vd_scope_request(pid_t pid);
