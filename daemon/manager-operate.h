/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is done to an image through a handle, by a worker. Main loop only.
 *
 * What changes an image is done one at a time for each disk, with the disk detached, and its facts are learnt
 * anew afterwards. What only looks at it keeps nobody waiting, since whoever may read a file could keep its
 * owner from it: such operations run beside each other, and beside an attachment for reading. One that
 * changes the image, or an attachment for writing, overtakes them: it begins at once, they are told to end,
 * and whatever they have read is thrown away; they fail with VHD_INVALID_STATE, as if they had come later.
 */
#pragma once

#include "jobs/job.h"
#include "manager.h"

/* User metadata: bytes of an item, and items (MS-VHDX 2.6.1). */
#define VD_OPERATION_MAX_ITEM (1U << 20)
#define VD_OPERATION_MAX_ITEMS 1024
/* VIRTUAL_DISK_MAXIMUM_CHANGE_TRACKING_ID_LENGTH. */
#define VD_OPERATION_MAX_CHANGE_TRACKING_ID 256
/* QueryChangesVirtualDisk: ranges of one answer. */
#define VD_OPERATION_MAX_RANGES 65536

typedef enum {
  VD_OPERATION_COMPACT,
  VD_OPERATION_EXPAND,
  VD_OPERATION_RESIZE,
  VD_OPERATION_MERGE,
  VD_OPERATION_SET_PARENT,  /* from a file that is looked at */
  VD_OPERATION_SET_LOCATOR, /* as it is given */
  VD_OPERATION_SET_IDENTIFIER,
  VD_OPERATION_SET_PHYSICAL_SECTOR_SIZE,
  VD_OPERATION_SET_VIRTUAL_DISK_ID,
  VD_OPERATION_ENUMERATE_METADATA,
  VD_OPERATION_GET_METADATA,
  VD_OPERATION_SET_METADATA,
  VD_OPERATION_DELETE_METADATA,
  VD_OPERATION_MEASURE,
  VD_OPERATION_MIRROR, /* of a disk that is attached */
  VD_OPERATION_SET_CHANGE_TRACKING,
  VD_OPERATION_CHANGE_TRACKING_STATE,
  VD_OPERATION_QUERY_CHANGES,
  VD_N_OPERATIONS
} VdOperationKind;

/* Parameters as they came; each kind has its own. */
typedef struct {
  VdOperationKind kind;
  guint32 flags;        /* COMPACT: VD_COMPACT_*; RESIZE, EXPAND, MIRROR: VirtdiskResizeFlags and the like */
  guint64 new_size;     /* EXPAND, RESIZE: bytes */
  guint32 version;      /* MERGE: 1, 2 */
  guint32 source_depth; /* MERGE: the leaf is 1 */
  guint32 target_depth; /* MERGE */
  guint32 child_depth;  /* SET_PARENT, SET_LOCATOR: the leaf is 1 */
  const char *path;     /* SET_PARENT, MIRROR: absolute. SET_LOCATOR: or relative to the image's folder */
  guint8 guid[16];      /* as printed: the id to be set, the item */
  guint32 value;        /* SET_PHYSICAL_SECTOR_SIZE: bytes. SET_CHANGE_TRACKING: VdChangesCall. QUERY_CHANGES:
                           most ranges */
  guint64 offset, length; /* QUERY_CHANGES: bytes */
  const char *id;         /* QUERY_CHANGES */
  GBytes *data;           /* SET_METADATA */
} VdOperation;

typedef struct {
  guint64 size, copied, given_back; /* bytes */
  guint64 smallest_safe_size;       /* MEASURE: bytes; 0: not known */
  guint32 fragmentation, fell_back; /* MEASURE: percent. COMPACT: file systems */
  char note[256];                   /* plain. CHANGE_TRACKING_STATE: id of the newest point, or empty */
  GBytes *data;      /* ENUMERATE (ids, 16 bytes each), GET; QUERY_CHANGES (VdServeResult); else NULL */
  guint64 processed; /* QUERY_CHANGES: bytes */
  guint32 changes;   /* CHANGE_TRACKING_STATE: VD_CHANGES_ENABLED, NEWER */
} VdOperationResult;

void vd_operation_result_free(VdOperationResult *self);

/*
 * What can be said before a job begins. Errors: INVALID_HANDLE, ACCESS_DENIED (rights of the handle),
 * INVALID_PARAMETER, VHD_INVALID_TYPE (not for such an image), VHD_INVALID_STATE (attached, or another
 * operation changes the image).
 */
gboolean vd_manager_may_operate(VdManager *self, VdHandle *handle, const VdOperation *operation,
                                GError **error);
/*
 * job: or NULL; told of its progress, and ended by whoever called, in callback. What it points to is copied.
 * Errors: those of before; SHARING_VIOLATION (the handle was opened while the disk was attached, and others
 * use the file since it is not); the worker's; of RESIZE VHD_RESIZE_WOULD_TRUNCATE_DATA,
 * VHD_COULD_NOT_COMPUTE_MINIMUM_VIRTUAL_SIZE, VHD_ALREADY_AT_OR_BELOW_MINIMUM_VIRTUAL_SIZE; of SET_PARENT
 * VHD_PARENT_VHD_NOT_FOUND, VHD_PARENT_VHD_ACCESS_DENIED, VHD_CHILD_PARENT_SIZE_MISMATCH,
 * VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED, VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT; of SET_CHANGE_TRACKING
 * CTLOG_INVALID_TRACKING_STATE, CTLOG_VHD_CHANGED_OFFLINE, CTLOG_LOGFILE_SIZE_EXCEEDED_MAXSIZE, the opener's;
 * of QUERY_CHANGES VHD_INVALID_CHANGE_TRACKING_ID, VHD_CHANGE_TRACKING_DISABLED,
 * VHD_MISSING_CHANGE_TRACKING_INFORMATION; of these and CHANGE_TRACKING_STATE
 * CTLOG_INCONSISTENT_TRACKING_FILE.
 */
void vd_manager_operate_async(VdManager *self, VdIdentity *identity, VdHandle *handle,
                              const VdOperation *operation, VdJob *job, GCancellable *cancellable,
                              GAsyncReadyCallback callback, gpointer user_data);
/* (transfer full) */
VdOperationResult *vd_manager_operate_finish(VdManager *self, GAsyncResult *result, GError **error);

/*
 * BreakMirrorVirtualDisk: the mirror takes the image's place, and the job of the mirror ends. handle: the one
 * that it was begun through, or another one of the same user. Errors: INVALID_PARAMETER (of version 1),
 * VHD_INVALID_STATE (there is no mirror, or it is not complete), ACCESS_DENIED (somebody else's); those that
 * end the mirror, which leaves the image in its place: DISK_FULL, IO, WORKER_LOST, TIMED_OUT.
 */
void vd_manager_break_mirror_async(VdManager *self, VdHandle *handle, GAsyncReadyCallback callback,
                                   gpointer user_data);
gboolean vd_manager_break_mirror_finish(VdManager *self, GAsyncResult *result, GError **error);

/* (transfer none) */
VdJobs *vd_manager_get_jobs(VdManager *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdOperationResult, vd_operation_result_free)
