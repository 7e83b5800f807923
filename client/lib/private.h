/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the library share; nothing here is exported. */
#pragma once

#include "virtdisk.h"

G_BEGIN_DECLS

/* ---- call.c: one method call on the service ---- */

typedef enum {
  VD_CALL_BRIEF,   /* ends after 60 seconds */
  VD_CALL_MAY_ASK, /* a person may have to answer first, or a large file to be read: no limit */
} VdCallPatience;

typedef struct {
  const char *object_path;
  const char *interface_name;
  const char *method;
  GVariant *arguments;  /* floating */
  const char *reply;    /* type string */
  GUnixFDList *fd_list; /* or NULL */
  VdCallPatience patience;
  VirtdiskError missing; /* error if the object or the method does not exist */
} VdCall;

/* Starts @call in the thread-default main context; @done gets a result for vd_call_finish(). @cancellable may
 * be NULL. */
void vd_call(VirtdiskClient *client, const VdCall *call, GCancellable *cancellable, GAsyncReadyCallback done,
             gpointer data);
/* Returns the reply, or NULL with an error in VIRTDISK_ERROR (or G_IO_ERROR_CANCELLED). */
GVariant *vd_call_finish(GObject *connection, GAsyncResult *result, VirtdiskError missing, GError **error);
/* Runs @call with the task's cancellable and gives the task the reply (GVariant) or the error. Takes @task.
 */
void vd_call_for_task(GTask *task, VirtdiskClient *client, const VdCall *call);
/* Turns whatever the bus said into VIRTDISK_ERROR; G_IO_ERROR_CANCELLED stays. Takes @error_in. */
void vd_error_translate(GError *error_in, VirtdiskError missing, GError **error);

/* ---- wait.c: how a blocking function waits for its async sister ---- */

typedef struct VdWait VdWait;

/* Makes a main context of its own this thread's default, until vd_wait_end(). */
VdWait *vd_wait_begin(void);
/* GAsyncReadyCallback; data is the VdWait. */
void vd_wait_done(GObject *source, GAsyncResult *result, gpointer wait);
/* Blocks until vd_wait_done() was called; returns its result. Frees @wait. */
GAsyncResult *vd_wait_end(VdWait *wait);
/* The wait this thread is in, referenced, or NULL. Whoever holds one keeps its context running, in a thread
 * of its own if need be, until vd_wait_release(). */
VdWait *vd_wait_hold(void);
void vd_wait_release(VdWait *wait);

/* ---- path.c ---- */

/* The absolute form of @path; NULL with INVALID_PARAMETER if it is empty. */
char *vd_path_absolute(const char *path, GError **error);
/* UTF-8 for display; other bytes become \xNN. */
char *vd_path_display(const char *path);
gboolean vd_path_is_sayable(const char *path);
/* Opens with the caller's rights, never blocking on a FIFO. Returns the descriptor or -1. */
int vd_path_open(const char *path, gboolean writable, GError **error);

/* ---- client.c ---- */

GDBusCallFlags vd_client_call_flags(VirtdiskClient *client);
/* The disk at @object_path, made if need be, brought up to date with @properties (a{sv}). Transfer full. */
VirtdiskDisk *vd_client_take_disk(VirtdiskClient *client, const char *object_path, GVariant *properties);

/* As vd_client_take_disk(); @properties may be NULL. Transfer full. */
VirtdiskJob *vd_client_take_job(VirtdiskClient *client, const char *object_path, GVariant *properties);

/* ---- find.c: reading one disk ---- */

/* Reads the properties of the disk at @object_path; gives the task a VirtdiskDisk. Takes @task. */
void vd_find_disk_at(GTask *task, VirtdiskClient *client, const char *object_path);

typedef struct {
  char *object_path;
  GVariant *properties; /* a{sv} */
} VdFound;
void vd_found_free(VdFound *found);
/* Looks for a disk whose image is @path, byte by byte: for paths the bus cannot carry. Gives the task a
 * VdFound. */
void vd_find_by_bytes(GTask *task, VirtdiskClient *client, const char *path);

/* ---- disk.c ---- */

/* @context is where property changes are notified; @properties (a{sv}) its first values. */
VirtdiskDisk *vd_disk_new(const char *object_path, GMainContext *context, GVariant *properties);
/* Takes over the values that @properties has. Any thread. */
void vd_disk_update(VirtdiskDisk *disk, GVariant *properties);
/* The state becomes "detached". */
void vd_disk_set_gone(VirtdiskDisk *disk);

/* ---- job.c ---- */

/* @context is where property changes are notified. */
VirtdiskJob *vd_job_new(VirtdiskClient *client, const char *object_path, GMainContext *context);
/* Takes over the values that @properties has. Any thread. */
void vd_job_update(VirtdiskJob *job, GVariant *properties);
/* What Wait said; @results (a{sv}) or @error is NULL. Any thread. */
void vd_job_set_ended(VirtdiskJob *job, GVariant *results, const GError *error);
/* Cancels without waiting and without starting a service. */
void vd_job_cancel_later(VirtdiskJob *job);

/* ---- run.c: an operation and its job ---- */

typedef struct {
  VirtdiskProgressFunc func; /* or NULL */
  gpointer data;
  GDestroyNotify destroy; /* or NULL */
} VdProgress;

typedef enum { VD_RUN_TO_END, VD_RUN_TO_BEGIN } VdRunHow;

/* Makes @call, whose reply is the object path of a job, and follows the job. Gives the task a VirtdiskJob.
 * Takes @task. @progress may be NULL, else it belongs to @keep, a GObject that is kept meanwhile. */
void vd_run(GTask *task, VirtdiskClient *client, const VdCall *call, const VdProgress *progress,
            gpointer keep, VdRunHow how);

/* ---- handle.c ---- */

/* One call on a handle; what the task then holds is the reply. Take @task, whose source is the handle. */
GTask *vd_handle_task_new(VirtdiskHandle *handle, gpointer tag, GCancellable *cancellable,
                          GAsyncReadyCallback callback, gpointer user_data);
void vd_handle_call(GTask *task, const char *method, GVariant *arguments, const char *reply,
                    VdCallPatience patience);
/* FALSE: the handle is closed; then the task has its error and is gone. */
gboolean vd_handle_check_open(GTask *task);

VirtdiskHandle *vd_handle_new(VirtdiskClient *client, const char *object_path);
/* Closes without waiting and without starting a service. */
void vd_handle_close_path(VirtdiskClient *client, const char *object_path);

/* ---- parameters.c ---- */

/* Floating a{sv}; empty for NULL. @display_path may be NULL. */
GVariant *vd_open_options(VirtdiskOpenParameters *parameters, const char *display_path);
typedef enum { VD_REPLY_AT_END, VD_REPLY_AT_BEGIN } VdReplyWhen;
GVariant *vd_create_options(VirtdiskCreateParameters *parameters, VdReplyWhen when);
GVariant *vd_attach_options(VirtdiskAttachParameters *parameters);
GVariant *vd_detach_options(VirtdiskDetachParameters *parameters);
const VdProgress *vd_create_get_progress(VirtdiskCreateParameters *parameters);
/* Whether making the image is a job for us: it is told of, or takes long. */
gboolean vd_create_wants_job(VirtdiskCreateParameters *parameters);
/* With async, so that the reply comes when the job has begun. */
GVariant *vd_operation_options(VirtdiskOperationParameters *parameters);
const VdProgress *vd_operation_get_progress(VirtdiskOperationParameters *parameters);
gboolean vd_operation_get_background(VirtdiskOperationParameters *parameters);
/* Whether a handle opened so may write, that is whether a file must be opened for writing. */
gboolean vd_open_wants_writing(VirtdiskAccessMask access_mask, VirtdiskOpenParameters *parameters);

/* AttachImage cut in two, for a file that only a handle can attach. */
typedef struct {
  gboolean read_only;
  VirtdiskOpenFlags open_flags;
  VirtdiskAttachFlags attach_flags;
  VirtdiskOpenParameters *open;     /* owned */
  VirtdiskAttachParameters *attach; /* owned */
} VdSplitParameters;
VdSplitParameters *vd_split_parameters(const char *path, VirtdiskAttachParameters *parameters);
void vd_split_parameters_free(VdSplitParameters *split);

/* ---- info.c ---- */

VirtdiskInfo *vd_info_new(VirtdiskInfoVersion version, GVariant *members);
VirtdiskDependency *vd_dependency_new(GVariant *entry);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdFound, vd_found_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdSplitParameters, vd_split_parameters_free)

G_END_DECLS
