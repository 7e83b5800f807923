/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One operation on its way: checked (operate-check.c), prepared (manager-reparent.c, manager-merge.c), worked
 * on in a thread (operate-work.c), and ended (manager-operate.c). */
#pragma once

#include "manager-operate.h"
#include "manager-private.h"
#include "worker/service.h"

typedef struct {
  VdManager *manager; /* borrowed: the task has it */
  VdIdentity *identity;
  VdHandle *handle;
  VdOperation op;
  char *path;   /* op's */
  GBytes *data; /* op's */
  char *id;     /* op's */
  VdJob *job;   /* or NULL */
  char *program, *user_argument;
  guint64 virtual_size; /* bytes, before */
  gboolean online;      /* the disk is attached */
  /* What only looks at the image. */
  GCancellable *reading; /* its caller's, or somebody else's */
  gulong caller_left;    /* handler of the caller's own */
  gboolean overtaken;    /* the image has begun to change: what was read counts for nothing */
  gboolean grown;        /* online: the image has, whatever else fails */
  guint64 file_size;     /* online: bytes, afterwards */
  /* SET_PARENT */
  VdImage *child;       /* whose parent is set; borrowed from the handle */
  VdFacts *child_facts; /* owned */
  VdImage *parent;
  VdFacts *parent_facts;
  gboolean parent_locked;
  /* For the worker. */
  VdTaskOrder order;
  int *fds;              /* borrowed from images of the handle */
  int changes_fd;        /* -1: none */
  gpointer changes_file; /* of the source, which changes_fd is borrowed from; NULL: it is ours */
  guint n_fds, n_written;
  VdOperationResult *result;
  GPtrArray *closers; /* element GTask*: those who wait to close the handle */
} Operate;

/* operate-check.c */
/* Only what the parameters and the image say; not who else uses it. */
gboolean vd_operate_check(VdHandle *handle, const VdOperation *op, GError **error);
gboolean vd_operate_writes(VdOperationKind kind);
/* What is being done, in the passive. */
const char *vd_operate_describe(VdOperationKind kind);
/* After the smallest safe size is known: what the size is to be. */
gboolean vd_operate_guard_size(const VdOperation *op, guint64 virtual_size, guint64 smallest,
                               guint64 *ret_size, GError **error);

/* manager-operate.c. The end of an operation; takes both. error NULL: it is done, and operate->result holds.
 */
void vd_operate_finish(GTask *task, GError *error);
/* What the handle knows of its parents is from before, or nobody holds them for it any more. */
void vd_operate_forget_chain(VdHandle *handle);

/* operate-work.c */
void vd_operate_fill(Operate *operate);
/* Blocking, in a thread. */
gboolean vd_operate_work(Operate *operate, GCancellable *cancellable, GError **error);
void vd_operate_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable);

/* manager-reparent.c. func(task, error): error NULL when the order is filled. Takes nothing. */
typedef void (*VdOperateNext)(GTask *task, GError *error);
void vd_operate_find_parent(GTask *task, VdOperateNext next);
/* manager-online.c */
/* Whether it can be done while the disk is attached. */
gboolean vd_operate_is_online(const VdDisk *disk, const VdOperation *op);
/* Takes the task of the work (its data: Operate), and returns it. */
void vd_operate_online(GTask *owned);
/* manager-changes.c */
gboolean vd_operate_is_of_changes(VdOperationKind kind);
/* Where the changes are kept, or a new file for them; or what is wrong. */
void vd_operate_open_changes(GTask *task, VdOperateNext next);
/* The work is done. */
void vd_operate_publish_changes(GTask *task, VdOperateNext next);
void vd_operate_clear_changes(Operate *operate);
/* manager-merge.c */
void vd_operate_open_targets(GTask *task, VdOperateNext next);
