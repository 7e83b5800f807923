/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the manager's own files share: table (manager.c), attach, detach, lifetime, restore. */
#pragma once

#include "attach/mounts.h"
#include "jobs/job.h"
#include "manager.h"
#include "store/runstate.h"

struct _VdManager {
  GObject parent;
  char *rundir;
  char *statedir;
  VdSource source;
  VdWorkerClient *worker;
  VdPathMap *path_map;
  VdJobs *jobs;
  GHashTable *disks;         /* ImageKey* -> VdDisk* (owned) */
  GHashTable *handles;       /* id -> VdHandle* (owned) */
  VdMountWatch *mount_watch; /* while a disk wants detach-on-unmount */
  char *instance; /* 8 hex digits: first part of every tag, so that two services do not adopt each other's
                     devices */
  char *bus_id;
  gboolean ending; /* the machine goes down */
};

enum { VD_SIGNAL_DISK_ADDED, VD_SIGNAL_DISK_CHANGED, VD_SIGNAL_DISK_REMOVED, VD_N_SIGNALS };

void vd_manager_emit(VdManager *self, guint signal, gpointer subject);

/* manager.c */
VdDisk *vd_manager_lookup(VdManager *self, dev_t dev, ino_t ino);
void vd_manager_insert(VdManager *self, VdDisk *disk);
/* It is the disk of another file from now on. */
void vd_manager_set_image(VdManager *self, VdDisk *disk, const VdImage *image);
/* Drops a disk that has neither handle nor attachment. */
void vd_manager_collect(VdManager *self, VdDisk *disk);
void vd_manager_add_handle(VdManager *self, VdHandle *handle);
/* Out of the tables; the disk stays to the caller. */
void vd_manager_remove_handle(VdManager *self, VdHandle *handle);
/* Opened while the attachment's locks stood for its own, and the disk is detached: before the file is used
 * the handle takes the locks of its rights, and keeps them as others do. */
gboolean vd_manager_needs_lock(const VdHandle *handle);
char *vd_manager_random_id(void);

/* manager-chain.c */
/* The parents of leaf, each found, fitting and, for exclusive rights, locked. (transfer full) */
void vd_manager_find_chain_async(VdManager *self, VdIdentity *identity, VdImage *leaf, const VdFacts *facts,
                                 const VdRights *rights, GCancellable *cancellable,
                                 GAsyncReadyCallback callback, gpointer user_data);
VdChain *vd_manager_find_chain_finish(VdManager *self, GAsyncResult *result, GError **error);
/* Errors: SHARING_VIOLATION, by our own tables. may_use: nobody has it as a parent in a way that excludes
 * this use; may_be_parent: nor open or attached by itself. */
gboolean vd_manager_may_use(VdManager *self, const VdImage *image, gboolean write, GError **error);
/* Not even for looking at it: it is to become the image of a disk. */
gboolean vd_manager_is_no_mirror(VdManager *self, const VdImage *image, GError **error);
gboolean vd_manager_may_be_parent(VdManager *self, const VdImage *image, gboolean write, GError **error);
/* Takes error: what was wrong with the file that the caller named as parent (transfer full). */
GError *vd_manager_parent_error(GError *error);

/* The ancestors of parent, as far as they can be found. Errors: VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED (child
 * is one of them). */
void vd_manager_check_cycle_async(VdManager *self, VdIdentity *identity, VdImage *child,
                                  const VdFacts *child_facts, VdImage *parent, const VdFacts *parent_facts,
                                  GCancellable *cancellable, GAsyncReadyCallback callback,
                                  gpointer user_data);
gboolean vd_manager_check_cycle_finish(VdManager *self, GAsyncResult *result, GError **error);

/* manager-operate.c */
/* Errors: VHD_INVALID_STATE (an operation changes the image). */
gboolean vd_manager_is_idle(const VdDisk *disk, GError **error);
/* FILE_CHANGED: its facts are from before a change. */
void vd_manager_refuse_unknown(const VdDisk *disk, GError **error);
/* The image is about to change: operations that look at it end, see manager-operate.h. */
void vd_manager_overtake(VdDisk *disk);
/* FALSE: nothing is under way. Else the handle is closed when that has ended, and task with it; one that goes
 * on without its caller is not waited for. */
gboolean vd_manager_close_later(VdManager *self, VdHandle *handle, GTask *task);

/* manager-changes.c */
/* Where the changes of what is being attached are kept, open for writing (the caller's); -1: they are not
 * tracked. */
void vd_manager_find_changes_async(VdManager *self, VdHandle *handle, GCancellable *cancellable,
                                   GAsyncReadyCallback callback, gpointer user_data);
int vd_manager_find_changes_finish(VdManager *self, GAsyncResult *result);

/* manager-contents.c */
/* File systems and partitions of a disk that has just got its device (path, name, number), where they could
 * not be told before: a worker begins to look, while udev has yet to settle. NULL: there is nothing to look
 * for. */
typedef struct VdContents VdContents;
VdContents *vd_manager_look_inside(VdManager *self, VdDisk *disk, const char *path, const char *name,
                                   dev_t number, GCancellable *cancellable);
void vd_contents_unref(VdContents *contents);
/* The device is settled: waits until it was looked at; the disk's facts have what was found then. contents
 * may be NULL. At most once. */
void vd_manager_learn_contents_async(VdManager *self, VdContents *contents, GAsyncReadyCallback callback,
                                     gpointer user_data);
void vd_manager_learn_contents_finish(VdManager *self, GAsyncResult *result);

/* manager-record.c */
gboolean vd_manager_save_record(VdManager *self, VdDisk *disk, VdRunPhase phase, GError **error);
/* After a change of handles of an attached disk; failure is logged. */
void vd_manager_update_record(VdManager *self, VdDisk *disk);

/* manager-attach.c */
/* The device is gone or was never there: record, boot record, tables, signal. by_request: somebody asked for
 * it. */
void vd_manager_forget_attachment(VdManager *self, VdDisk *disk);
void vd_manager_watch_device(VdManager *self, VdDisk *disk);

/* manager-served.c */
/* Disks of one user, who is not root, that workers serve: each of them locks up to 48 MiB. */
#define VD_MAX_SERVED_PER_USER 16
/* route: as wanted, or NULL. */
gboolean vd_manager_will_be_served(const VdDisk *disk, const char *route);
/* One more. Errors: LIMIT_EXCEEDED. */
gboolean vd_manager_may_serve(VdManager *self, uid_t uid, GError **error);

/* manager-lifetime.c */
void vd_manager_watch_mounts(VdManager *self);
/* Ends an attachment whose reason is over: now, or when the holders go; while it is being attached or
 * detached, by the next vd_manager_catch_up(). */
void vd_manager_release(VdManager *self, VdDisk *disk, const char *why);
/* After a detach that came to nothing, and after the attach: what ended the attachment meanwhile. */
void vd_manager_catch_up(VdManager *self, VdDisk *disk);
