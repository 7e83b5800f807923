/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The core: the table of disks and handles, and everything that changes it. Knows the domain; knows no D-Bus
 * and no polkit: whoever calls has been allowed to. Main loop only.
 */
#pragma once

#include <gio/gio.h>

#include "access.h"
#include "chain.h"
#include "create.h"
#include "disk.h"
#include "handle.h"
#include "image.h"
#include "jobs/job.h"
#include "formats/fault.h"
#include "worker/client.h"

#define VD_TYPE_MANAGER (vd_manager_get_type())
G_DECLARE_FINAL_TYPE(VdManager, vd_manager, VD, MANAGER, GObject)

/* How a path becomes a descriptor: as the identity, by the opener. Set by main; the core does not know how it
 * is done. */
typedef enum {
  VD_SOURCE_READ,
  VD_SOURCE_WRITE,
  VD_SOURCE_LOCATE,
  VD_SOURCE_DEVICE,           /* a block device, for reading */
  VD_SOURCE_DEVICE_EXCLUSIVE, /* one that nobody else claims meanwhile */
  VD_SOURCE_SIDE_READ,        /* a file beside an image: never through a link of that name */
  VD_SOURCE_SIDE_WRITE,
} VdSourceMode;
typedef struct {
  gpointer opener;
  void (*open_async)(gpointer opener, VdIdentity *identity, const char *path, VdSourceMode mode,
                     GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
  int (*open_finish)(gpointer opener, GAsyncResult *result, GError **error);
  /* A new file at path, of the identity, that appears when it is published and goes unless it is kept. */
  void (*create_async)(gpointer opener, VdIdentity *identity, const char *path, GCancellable *cancellable,
                       GAsyncReadyCallback callback, gpointer user_data);
  gpointer (*create_finish)(gpointer opener, GAsyncResult *result, int *ret_fd, GError **error);
  /* Before it is published; all ones: as it is. */
  void (*set_owner)(gpointer file, uid_t uid, gid_t gid, mode_t mode);
  void (*publish_async)(gpointer file, GAsyncReadyCallback callback, gpointer user_data);
  gboolean (*publish_finish)(gpointer file, GAsyncResult *result, GError **error);
  void (*keep)(gpointer file);
  void (*free_file)(gpointer file);
} VdSource;

typedef struct {
  const char *rundir;   /* /run/virtdisk */
  const char *statedir; /* /var/lib/virtdisk */
  VdSource source;
  VdWorkerClient *worker;
  VdPathMap *path_map; /* taken; NULL: empty */
} VdManagerConfig;

/*
 * Signals (all on the main loop):
 *  "disk-added"   (VdDisk*): attached and usable
 *  "disk-changed" (VdDisk*): state, lifetime or handles of an attached disk changed
 *  "disk-removed" (VdDisk*): no longer attached; its attachment is still readable
 */
VdManager *vd_manager_new(const VdManagerConfig *config);

/* Path -> image, as identity. params have been checked by vd_access_open(). Errors: the opener's and
 * vd_image_new()'s. */
void vd_manager_find_async(VdManager *self, VdIdentity *identity, const char *path,
                           const VdOpenParams *params, const VdRights *rights, GCancellable *cancellable,
                           GAsyncReadyCallback callback, gpointer user_data);
VdImage *vd_manager_find_finish(VdManager *self, GAsyncResult *result, GError **error);

/* The early look of AttachImage, before anybody is asked: sharing and state only. */
gboolean vd_manager_may_attach(VdManager *self, VdImage *image, const VdRights *rights, GError **error);
/* The same for a handle. Errors: BAD_COMMAND (attached through it already), SHARING_VIOLATION. */
gboolean vd_manager_may_attach_handle(VdManager *self, VdHandle *handle, GError **error);

/*
 * Image -> handle: sharing, locks, what the worker says. charge belongs to the handle from here on (also on
 * failure). Errors: SHARING_VIOLATION, ACCESS_DENIED (reopen rules), the format's, the worker's; those of a
 * differencing image's parents: VHD_PARENT_VHD_NOT_FOUND, VHD_CHILD_PARENT_*, VHD_DIFFERENCING_CHAIN_*. A
 * handle may be got although it was cancelled, and closed already by its owner's end.
 */
void vd_manager_open_async(VdManager *self, VdIdentity *owner, VdImage *image, const VdRights *rights,
                           gpointer charge, GDestroyNotify free_charge, GCancellable *cancellable,
                           GAsyncReadyCallback callback, gpointer user_data);
VdHandle *vd_manager_open_finish(VdManager *self, GAsyncResult *result, GError **error);

/*
 * CreateVirtualDisk: the file is made as owner, written by a worker, given its name when it is whole, and
 * opened. job: or NULL; told of the progress, and ended by whoever called, in callback. charge as in open. On
 * failure, and when it is cancelled, there is no such file. Errors: vd_create_check()'s, FILE_EXISTS,
 * DISK_FULL, VHD_PARENT_VHD_NOT_FOUND, VHD_PARENT_VHD_ACCESS_DENIED, VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT,
 * of a source SHARING_VIOLATION, FILE_CHANGED, DISK_ALREADY_OWNED, DISK_ONLINE_AND_WRITABLE; ACCESS_DENIED
 * (an owner, a group or a mode that the caller cannot give it, or could not open it with), the opener's, the
 * worker's.
 */
void vd_manager_create_async(VdManager *self, VdIdentity *owner, const char *path,
                             const VdCreateParams *params, VdJob *job, gpointer charge,
                             GDestroyNotify free_charge, GCancellable *cancellable,
                             GAsyncReadyCallback callback, gpointer user_data);
VdHandle *vd_manager_create_finish(VdManager *self, GAsyncResult *result, GError **error);
/* Bytes that came from the source, without its zeros. */
guint64 vd_manager_create_get_copied(GAsyncResult *result);

/*
 * Checking an image, and repairing it: looked at as it is, without being opened first, since nothing that is
 * badly damaged can be. Nobody else may write to it meanwhile; for a repair nobody may use it at all.
 */
typedef enum { VD_CHECK_LOOK, VD_CHECK_REPAIR } VdCheckMode;

typedef struct {
  GArray *faults; /* VdFault, at most VD_CHECK_MAX_FAULTS; the summary counts all */
  VdCheckSummary summary;
  gboolean repaired; /* the file was written to */
} VdCheckResult;

void vd_check_result_free(VdCheckResult *self);

/*
 * open: only device_id, vendor and flags count, checked by vd_access_open(). identity opens path, for writing
 * if it is to be repaired. Not every fault can be repaired: look at the result. Errors: NOT_SUPPORTED (a
 * format in which nothing can be repaired), SHARING_VIOLATION, the opener's, the worker's; TIMED_OUT.
 */
void vd_manager_check_async(VdManager *self, VdIdentity *identity, const char *path, const VdOpenParams *open,
                            VdCheckMode mode, gpointer charge, GDestroyNotify free_charge,
                            GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
VdCheckResult *vd_manager_check_finish(VdManager *self, GAsyncResult *result, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdCheckResult, vd_check_result_free)

/*
 * AddVirtualDiskParent: one more image at the root end of the chain of a handle that was opened with
 * CUSTOM_DIFF_CHAIN; identity opens path, fd is taken. Errors: INVALID_PARAMETER (another kind of handle),
 * VHD_INVALID_TYPE (the chain is complete), VHD_INVALID_STATE (attached), VHD_PARENT_VHD_NOT_FOUND,
 * VHD_PARENT_VHD_ACCESS_DENIED, and those of a parent that does not fit.
 */
void vd_manager_add_parent_async(VdManager *self, VdIdentity *identity, VdHandle *handle, const char *path,
                                 GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
void vd_manager_add_parent_fd_async(VdManager *self, VdIdentity *identity, VdHandle *handle, int fd,
                                    GCancellable *cancellable, GAsyncReadyCallback callback,
                                    gpointer user_data);
gboolean vd_manager_add_parent_finish(VdManager *self, GAsyncResult *result, GError **error);

/* Closing the last handle of a handle-lifetime disk detaches it; the call ends when that is done or pending.
 */
void vd_manager_close_async(VdManager *self, VdHandle *handle, GAsyncReadyCallback callback,
                            gpointer user_data);
gboolean vd_manager_close_finish(VdManager *self, GAsyncResult *result, GError **error);

/* The caller closes it again within its call: nobody gets it, and a restart of the service does not bring it
 * back. */
void vd_manager_withhold_handle(VdManager *self, VdHandle *handle);

/* (transfer none) or NULL. */
VdHandle *vd_manager_get_handle(VdManager *self, const char *id);

/*
 * Handle -> device. params checked by vd_access_attach() once more here. session: for VD_LIFETIME_SESSION.
 * Errors: BAD_COMMAND (this handle has attached already), SHARING_VIOLATION (attached, or in use by others
 * since the attachment that the handle was opened beside has ended), FILE_CHANGED, the device's.
 */
void vd_manager_attach_async(VdManager *self, VdHandle *handle, const VdAttachParams *params,
                             const char *session, gpointer charge, GDestroyNotify free_charge,
                             GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
VdDisk *vd_manager_attach_finish(VdManager *self, GAsyncResult *result, GError **error);

/*
 * handle: the one that asks, or NULL. Errors: NOT_FOUND (not attached), BUSY (other handles, nested images,
 * holders; all named), INVALID_STATE (a detach is under way).
 */
void vd_manager_detach_async(VdManager *self, VdDisk *disk, VdHandle *handle, VdDetachMode mode,
                             GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
gboolean vd_manager_detach_finish(VdManager *self, GAsyncResult *result, gboolean *ret_pending,
                                  GError **error);

/* Attached disks. (transfer container) (element VdDisk*, borrowed) */
GPtrArray *vd_manager_list(VdManager *self);
/* st of a block node (device or partition) or of an image file. NULL: none of ours is attached there. */
VdDisk *vd_manager_find_by_stat(VdManager *self, const struct stat *st);

/* The client with this name has left the bus, or this login session has ended. */
void vd_manager_owner_gone(VdManager *self, const char *bus_name);
void vd_manager_session_gone(VdManager *self, const char *session);
/* Names that own handles or handle-lifetime disks, and sessions that own disks: to be asked about after a
 * restart. (transfer full) */
GStrv vd_manager_owner_names(VdManager *self);
GStrv vd_manager_sessions(VdManager *self);

/* Before restore: the machine goes down. What is detached comes back at the next boot if it was to, and
 * restore ends no attachment by itself. */
void vd_manager_set_ending(VdManager *self);
/* Reads /run, adopts what is there, undoes what was not finished. bus_id: of the bus owner names belong to,
 * or NULL. */
void vd_manager_restore(VdManager *self, const char *bus_id);
/* The service ends and the disks go on. */
void vd_manager_relinquish(VdManager *self);
