/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What changes an image: operations, which have a job each, and small changes, which have none.
 *
 * virtdisk_handle_x_virtual_disk() returns when the operation has ended, its _async() form calls back then.
 * Cancelling the GCancellable cancels the job and waits for that: the image is as before, or the operation
 * can be begun again. With virtdisk_operation_parameters_set_background() they return when the job has begun;
 * then virtdisk_job_wait() tells of its end.
 */
#pragma once

#include "virtdisk-types.h"

G_BEGIN_DECLS

/* ---- VirtdiskOperationParameters ---- */

/**
 * virtdisk_operation_parameters_new:
 * Returns: (transfer full): parameters with nothing set.
 */
VirtdiskOperationParameters *virtdisk_operation_parameters_new(void);
/**
 * virtdisk_operation_parameters_set_merge_depth:
 * @parameters: the parameters
 * @depth: how many parents, counted from the leaf, take up what lies above them. Version 1; merge only. The
 * handle's read-write depth must be greater
 */
void virtdisk_operation_parameters_set_merge_depth(VirtdiskOperationParameters *parameters, guint depth);
/**
 * virtdisk_operation_parameters_set_merge_depths:
 * @parameters: the parameters
 * @source_depth: the image merged from, 1 is the leaf
 * @target_depth: the image merged into, greater than @source_depth
 *
 * Version 2; merge only.
 */
void virtdisk_operation_parameters_set_merge_depths(VirtdiskOperationParameters *parameters,
                                                    guint source_depth, guint target_depth);
/**
 * virtdisk_operation_parameters_set_file_systems:
 * @parameters: the parameters
 * @file_systems: also what the file systems on the disk call free is given back. Compact only
 */
void virtdisk_operation_parameters_set_file_systems(VirtdiskOperationParameters *parameters,
                                                    gboolean file_systems);
/**
 * virtdisk_operation_parameters_set_job:
 * @parameters: the parameters
 * @word: (nullable): part of the job's object path: letters a to z, digits and underscores. By default the
 * service chooses
 */
void virtdisk_operation_parameters_set_job(VirtdiskOperationParameters *parameters, const char *word);
/**
 * virtdisk_operation_parameters_set_detach_job:
 * @parameters: the parameters
 * @detach_job: the job goes on when the handle is closed and when this process ends
 */
void virtdisk_operation_parameters_set_detach_job(VirtdiskOperationParameters *parameters,
                                                  gboolean detach_job);
/**
 * virtdisk_operation_parameters_set_background:
 * @parameters: the parameters
 * @background: return when the job has begun, not when it has ended
 */
void virtdisk_operation_parameters_set_background(VirtdiskOperationParameters *parameters,
                                                  gboolean background);
/**
 * virtdisk_operation_parameters_set_progress:
 * @parameters: the parameters
 * @progress: (nullable) (scope notified) (closure data) (destroy destroy): told how far it is
 * @data: for @progress
 * @destroy: (nullable): frees @data
 *
 * @progress is called by the blocking functions in the thread that they block, by the others in the
 * thread-default main context of the thread that called them.
 */
void virtdisk_operation_parameters_set_progress(VirtdiskOperationParameters *parameters,
                                                VirtdiskProgressFunc progress, gpointer data,
                                                GDestroyNotify destroy);
/**
 * virtdisk_operation_parameters_to_variant:
 * @parameters: the parameters
 * Returns: (transfer full): what goes over the bus, a value of type a{sv}.
 */
GVariant *virtdisk_operation_parameters_to_variant(VirtdiskOperationParameters *parameters);

/* ---- operations ---- */
/**
 * virtdisk_handle_compact_virtual_disk:
 * @handle: a handle
 * @flags: COMPACT_VIRTUAL_DISK_FLAG
 * @parameters: (nullable): what else there is to say
 * @cancellable: (nullable): cancels the job
 * @error: place for the error
 *
 * CompactVirtualDisk: gives back the space of the file that holds nothing. The disk must be dynamic or
 * differencing, and detached.
 *
 * Returns: (transfer full): the job, which has ended (in the background: begun), or %NULL with @error set.
 * Any thread.
 */
VirtdiskJob *virtdisk_handle_compact_virtual_disk(VirtdiskHandle *handle, VirtdiskCompactFlags flags,
                                                  VirtdiskOperationParameters *parameters,
                                                  GCancellable *cancellable, GError **error);
/**
 * virtdisk_handle_compact_virtual_disk_async:
 * @handle: a handle
 * @flags: COMPACT_VIRTUAL_DISK_FLAG
 * @parameters: (nullable): what else there is to say
 * @cancellable: (nullable): cancels the job
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_compact_virtual_disk_async(VirtdiskHandle *handle, VirtdiskCompactFlags flags,
                                                VirtdiskOperationParameters *parameters,
                                                GCancellable *cancellable, GAsyncReadyCallback callback,
                                                gpointer user_data);
/**
 * virtdisk_handle_compact_virtual_disk_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full): the job, or %NULL with @error set.
 */
VirtdiskJob *virtdisk_handle_compact_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                         GError **error);

/**
 * virtdisk_handle_expand_virtual_disk:
 * @handle: a handle
 * @flags: how
 * @new_size: size of the disk in bytes, larger than now
 * @parameters: (nullable): what else there is to say
 * @cancellable: (nullable): cancels the job
 * @error: place for the error
 *
 * ExpandVirtualDisk: makes the disk larger. Images that have it as their parent are lost.
 *
 * Returns: (transfer full): the job, which has ended (in the background: begun), or %NULL with @error set.
 * Any thread.
 */
VirtdiskJob *virtdisk_handle_expand_virtual_disk(VirtdiskHandle *handle, VirtdiskExpandFlags flags,
                                                 guint64 new_size, VirtdiskOperationParameters *parameters,
                                                 GCancellable *cancellable, GError **error);
/**
 * virtdisk_handle_expand_virtual_disk_async:
 * @handle: a handle
 * @flags: how
 * @new_size: size of the disk in bytes, larger than now
 * @parameters: (nullable): what else there is to say
 * @cancellable: (nullable): cancels the job
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_expand_virtual_disk_async(VirtdiskHandle *handle, VirtdiskExpandFlags flags,
                                               guint64 new_size, VirtdiskOperationParameters *parameters,
                                               GCancellable *cancellable, GAsyncReadyCallback callback,
                                               gpointer user_data);
/**
 * virtdisk_handle_expand_virtual_disk_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full): the job, or %NULL with @error set.
 */
VirtdiskJob *virtdisk_handle_expand_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                        GError **error);

/**
 * virtdisk_handle_resize_virtual_disk:
 * @handle: a handle
 * @flags: RESIZE_VIRTUAL_DISK_FLAG
 * @new_size: size of the disk in bytes; 0 with
 * %VIRTDISK_RESIZE_TO_SMALLEST_SAFE_VIRTUAL_SIZE
 * @parameters: (nullable): what else there is to say
 * @cancellable: (nullable): cancels the job
 * @error: place for the error
 *
 * ResizeVirtualDisk: makes the disk larger or, a VHDX, smaller. Version 2 handles only.
 *
 * Returns: (transfer full): the job, which has ended (in the background: begun), or %NULL with @error set.
 * Any thread.
 */
VirtdiskJob *virtdisk_handle_resize_virtual_disk(VirtdiskHandle *handle, VirtdiskResizeFlags flags,
                                                 guint64 new_size, VirtdiskOperationParameters *parameters,
                                                 GCancellable *cancellable, GError **error);
/**
 * virtdisk_handle_resize_virtual_disk_async:
 * @handle: a handle
 * @flags: RESIZE_VIRTUAL_DISK_FLAG
 * @new_size: size of the disk in bytes; 0 with
 * %VIRTDISK_RESIZE_TO_SMALLEST_SAFE_VIRTUAL_SIZE
 * @parameters: (nullable): what else there is to say
 * @cancellable: (nullable): cancels the job
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_resize_virtual_disk_async(VirtdiskHandle *handle, VirtdiskResizeFlags flags,
                                               guint64 new_size, VirtdiskOperationParameters *parameters,
                                               GCancellable *cancellable, GAsyncReadyCallback callback,
                                               gpointer user_data);
/**
 * virtdisk_handle_resize_virtual_disk_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full): the job, or %NULL with @error set.
 */
VirtdiskJob *virtdisk_handle_resize_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                        GError **error);

/**
 * virtdisk_handle_merge_virtual_disk:
 * @handle: a handle
 * @flags: %VIRTDISK_MERGE_NONE
 * @parameters: (nullable): what else there is to say
 * @cancellable: (nullable): cancels the job
 * @error: place for the error
 *
 * MergeVirtualDisk: moves what the source image has into the target, which then shows what the source showed.
 * Which: virtdisk_operation_parameters_set_merge_depth() or
 * virtdisk_operation_parameters_set_merge_depths(). The files merged from are not deleted and of no use
 * afterwards; images above them must be given the target as their parent.
 *
 * Returns: (transfer full): the job, which has ended (in the background: begun), or %NULL with @error set.
 * Any thread.
 */
VirtdiskJob *virtdisk_handle_merge_virtual_disk(VirtdiskHandle *handle, VirtdiskMergeFlags flags,
                                                VirtdiskOperationParameters *parameters,
                                                GCancellable *cancellable, GError **error);
/**
 * virtdisk_handle_merge_virtual_disk_async:
 * @handle: a handle
 * @flags: %VIRTDISK_MERGE_NONE
 * @parameters: (nullable): what else there is to say
 * @cancellable: (nullable): cancels the job
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_merge_virtual_disk_async(VirtdiskHandle *handle, VirtdiskMergeFlags flags,
                                              VirtdiskOperationParameters *parameters,
                                              GCancellable *cancellable, GAsyncReadyCallback callback,
                                              gpointer user_data);
/**
 * virtdisk_handle_merge_virtual_disk_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full): the job, or %NULL with @error set.
 */
VirtdiskJob *virtdisk_handle_merge_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                       GError **error);

/**
 * virtdisk_handle_mirror_virtual_disk:
 * @handle: a version 2 handle
 * @flags: MIRROR_VIRTUAL_DISK_FLAG
 * @path: (type filename): the file that the disk is mirrored to
 * @parameters: (nullable): what else there is to say
 * @cancellable: (nullable): cancels the job
 * @error: place for the error
 *
 * MirrorVirtualDisk: copies a disk that is attached, and in use, to another file; what is written meanwhile
 * goes to both. It does not end by itself: when the job's progress is 1 both hold the same, and then either
 * virtdisk_handle_break_mirror_virtual_disk() ends it, or it is cancelled, which leaves the image in its
 * place and takes a file that was made for it away. A worker must serve the disk (route ublk or fuse).
 *
 * Returns: (transfer full): the job, which has ended (in the background: begun), or %NULL with @error set.
 * Any thread.
 */
VirtdiskJob *virtdisk_handle_mirror_virtual_disk(VirtdiskHandle *handle, VirtdiskMirrorFlags flags,
                                                 const char *path, VirtdiskOperationParameters *parameters,
                                                 GCancellable *cancellable, GError **error);
/**
 * virtdisk_handle_mirror_virtual_disk_async:
 * @handle: a version 2 handle
 * @flags: MIRROR_VIRTUAL_DISK_FLAG
 * @path: (type filename): the file that the disk is mirrored to
 * @parameters: (nullable): what else there is to say
 * @cancellable: (nullable): cancels the job
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_mirror_virtual_disk_async(VirtdiskHandle *handle, VirtdiskMirrorFlags flags,
                                               const char *path, VirtdiskOperationParameters *parameters,
                                               GCancellable *cancellable, GAsyncReadyCallback callback,
                                               gpointer user_data);
/**
 * virtdisk_handle_mirror_virtual_disk_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full): the job, or %NULL with @error set.
 */
VirtdiskJob *virtdisk_handle_mirror_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                        GError **error);

/**
 * virtdisk_handle_break_mirror_virtual_disk:
 * @handle: the handle of the mirror, or another one of the same user
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * BreakMirrorVirtualDisk: the mirror takes the image's place, for whoever uses the disk without a gap, and
 * the job of the mirror ends. The image's file stays.
 *
 * Returns: %TRUE, or %FALSE with @error set. Any thread.
 */
gboolean virtdisk_handle_break_mirror_virtual_disk(VirtdiskHandle *handle, GCancellable *cancellable,
                                                   GError **error);
/**
 * virtdisk_handle_break_mirror_virtual_disk_async:
 * @handle: the handle of the mirror, or another one of the same user
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_break_mirror_virtual_disk_async(VirtdiskHandle *handle, GCancellable *cancellable,
                                                     GAsyncReadyCallback callback, gpointer user_data);
/**
 * virtdisk_handle_break_mirror_virtual_disk_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: %TRUE, or %FALSE with @error set.
 */
gboolean virtdisk_handle_break_mirror_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                          GError **error);

/**
 * virtdisk_handle_get_virtual_disk_operation_progress:
 * @handle: a handle
 * @out_status: (out) (optional): the Win32 code: 997 (ERROR_IO_PENDING) while it runs, 0 after success
 * @out_current: (out) (optional): how far it is
 * @out_completion: (out) (optional): how far it has to go; both are for percentages only
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * GetVirtualDiskOperationProgress, of the newest job of the handle.
 *
 * Returns: %TRUE, or %FALSE with @error set (%VIRTDISK_ERROR_NOT_FOUND: it had no job). Any thread.
 */
gboolean virtdisk_handle_get_virtual_disk_operation_progress(VirtdiskHandle *handle, guint *out_status,
                                                             guint64 *out_current, guint64 *out_completion,
                                                             GCancellable *cancellable, GError **error);
/**
 * virtdisk_handle_get_virtual_disk_operation_progress_async:
 * @handle: a handle
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_get_virtual_disk_operation_progress_async(VirtdiskHandle *handle,
                                                               GCancellable *cancellable,
                                                               GAsyncReadyCallback callback,
                                                               gpointer user_data);
/**
 * virtdisk_handle_get_virtual_disk_operation_progress_finish:
 * @handle: a handle
 * @result: what the callback got
 * @out_status: (out) (optional): see virtdisk_handle_get_virtual_disk_operation_progress()
 * @out_current: (out) (optional): how far it is
 * @out_completion: (out) (optional): how far it has to go
 * @error: place for the error
 *
 * Returns: %TRUE, or %FALSE with @error set.
 */
gboolean virtdisk_handle_get_virtual_disk_operation_progress_finish(VirtdiskHandle *handle,
                                                                    GAsyncResult *result, guint *out_status,
                                                                    guint64 *out_current,
                                                                    guint64 *out_completion, GError **error);

/* ---- small changes ---- */

GType virtdisk_set_info_get_type(void);
/**
 * virtdisk_set_info_new_parent_path:
 * @path: (type filename): the new parent; its identifier and time are read from it
 *
 * %VIRTDISK_SET_INFO_PARENT_PATH: another parent.
 *
 * Returns: (transfer full): what virtdisk_handle_set_virtual_disk_information() takes.
 */
VirtdiskSetInfo *virtdisk_set_info_new_parent_path(const char *path);
/**
 * virtdisk_set_info_new_identifier:
 * @guid: the new identifier
 *
 * %VIRTDISK_SET_INFO_IDENTIFIER: another identifier, of which the images above do not know.
 *
 * Returns: (transfer full): what virtdisk_handle_set_virtual_disk_information() takes.
 */
VirtdiskSetInfo *virtdisk_set_info_new_identifier(const char *guid);
/**
 * virtdisk_set_info_new_parent_path_with_depth:
 * @depth: the image of the chain whose parent it is, 1 is the leaf
 * @path: (type filename): the new parent
 *
 * %VIRTDISK_SET_INFO_PARENT_PATH_WITH_DEPTH: another parent of an image further up the chain.
 *
 * Returns: (transfer full): what virtdisk_handle_set_virtual_disk_information() takes.
 */
VirtdiskSetInfo *virtdisk_set_info_new_parent_path_with_depth(guint depth, const char *path);
/**
 * virtdisk_set_info_new_physical_sector_size:
 * @sector_size: 512 or 4096
 *
 * %VIRTDISK_SET_INFO_PHYSICAL_SECTOR_SIZE: VHDX only.
 *
 * Returns: (transfer full): what virtdisk_handle_set_virtual_disk_information() takes.
 */
VirtdiskSetInfo *virtdisk_set_info_new_physical_sector_size(guint sector_size);
/**
 * virtdisk_set_info_new_virtual_disk_id:
 * @guid: the new identity of the disk
 *
 * %VIRTDISK_SET_INFO_VIRTUAL_DISK_ID: VHDX only.
 *
 * Returns: (transfer full): what virtdisk_handle_set_virtual_disk_information() takes.
 */
VirtdiskSetInfo *virtdisk_set_info_new_virtual_disk_id(const char *guid);
/**
 * virtdisk_set_info_new_change_tracking:
 * @enabled: whether changes are to be tracked
 *
 * %VIRTDISK_SET_INFO_CHANGE_TRACKING_STATE: on begins a first point.
 *
 * Returns: (transfer full): what virtdisk_handle_set_virtual_disk_information() takes.
 */
VirtdiskSetInfo *virtdisk_set_info_new_change_tracking(gboolean enabled);
/**
 * virtdisk_set_info_new_change_tracking_point:
 *
 * %VIRTDISK_SET_INFO_CHANGE_TRACKING_STATE: a new point begins; tracking is on already.
 *
 * Returns: (transfer full): what virtdisk_handle_set_virtual_disk_information() takes.
 */
VirtdiskSetInfo *virtdisk_set_info_new_change_tracking_point(void);
/**
 * virtdisk_set_info_new_parent_locator:
 * @linkage_id: GUID that the parent has to have
 * @path: (type filename): where it is to be looked for
 *
 * %VIRTDISK_SET_INFO_PARENT_LOCATOR: the link to the parent as it is said here, without looking at the
 * parent.
 *
 * Returns: (transfer full): what virtdisk_handle_set_virtual_disk_information() takes.
 */
VirtdiskSetInfo *virtdisk_set_info_new_parent_locator(const char *linkage_id, const char *path);
/**
 * virtdisk_set_info_ref:
 * @info: a change
 * Returns: (transfer full): @info.
 */
VirtdiskSetInfo *virtdisk_set_info_ref(VirtdiskSetInfo *info);
/**
 * virtdisk_set_info_unref:
 * @info: (transfer full): a change
 */
void virtdisk_set_info_unref(VirtdiskSetInfo *info);
/**
 * virtdisk_set_info_get_version:
 * @info: a change
 * Returns: which it is.
 */
VirtdiskSetInfoVersion virtdisk_set_info_get_version(VirtdiskSetInfo *info);
/**
 * virtdisk_set_info_to_variant:
 * @info: a change
 * Returns: (transfer full): what goes over the bus, a value of type a{sv}.
 */
GVariant *virtdisk_set_info_to_variant(VirtdiskSetInfo *info);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirtdiskSetInfo, virtdisk_set_info_unref)

/**
 * virtdisk_handle_set_virtual_disk_information:
 * @handle: a handle
 * @info: the change
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * SetVirtualDiskInformation. The disk must be detached.
 *
 * Returns: %TRUE, or %FALSE with @error set. Any thread.
 */
gboolean virtdisk_handle_set_virtual_disk_information(VirtdiskHandle *handle, VirtdiskSetInfo *info,
                                                      GCancellable *cancellable, GError **error);
/**
 * virtdisk_handle_set_virtual_disk_information_async:
 * @handle: a handle
 * @info: the change
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_set_virtual_disk_information_async(VirtdiskHandle *handle, VirtdiskSetInfo *info,
                                                        GCancellable *cancellable,
                                                        GAsyncReadyCallback callback, gpointer user_data);
/**
 * virtdisk_handle_set_virtual_disk_information_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: %TRUE, or %FALSE with @error set.
 */
gboolean virtdisk_handle_set_virtual_disk_information_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                             GError **error);

/**
 * virtdisk_handle_enumerate_virtual_disk_metadata:
 * @handle: a handle
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * EnumerateVirtualDiskMetadata: the user metadata of a VHDX.
 *
 * Returns: (transfer full) (array zero-terminated=1): the GUIDs of the items, or %NULL with @error set. Any
 * thread.
 */
char **virtdisk_handle_enumerate_virtual_disk_metadata(VirtdiskHandle *handle, GCancellable *cancellable,
                                                       GError **error);
/**
 * virtdisk_handle_enumerate_virtual_disk_metadata_async:
 * @handle: a handle
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_enumerate_virtual_disk_metadata_async(VirtdiskHandle *handle, GCancellable *cancellable,
                                                           GAsyncReadyCallback callback, gpointer user_data);
/**
 * virtdisk_handle_enumerate_virtual_disk_metadata_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full) (array zero-terminated=1): the GUIDs of the items, or %NULL with @error set.
 */
char **virtdisk_handle_enumerate_virtual_disk_metadata_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                              GError **error);

/**
 * virtdisk_handle_get_virtual_disk_metadata:
 * @handle: a handle
 * @item: GUID
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * GetVirtualDiskMetadata.
 *
 * Returns: (transfer full): its data, or %NULL with @error set. Any thread.
 */
GBytes *virtdisk_handle_get_virtual_disk_metadata(VirtdiskHandle *handle, const char *item,
                                                  GCancellable *cancellable, GError **error);
/**
 * virtdisk_handle_get_virtual_disk_metadata_async:
 * @handle: a handle
 * @item: GUID
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_get_virtual_disk_metadata_async(VirtdiskHandle *handle, const char *item,
                                                     GCancellable *cancellable, GAsyncReadyCallback callback,
                                                     gpointer user_data);
/**
 * virtdisk_handle_get_virtual_disk_metadata_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full): its data, or %NULL with @error set.
 */
GBytes *virtdisk_handle_get_virtual_disk_metadata_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                         GError **error);

/**
 * virtdisk_handle_set_virtual_disk_metadata:
 * @handle: a handle
 * @item: GUID
 * @data: at most 1 MiB
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * SetVirtualDiskMetadata: makes the item, or replaces its data.
 *
 * Returns: %TRUE, or %FALSE with @error set. Any thread.
 */
gboolean virtdisk_handle_set_virtual_disk_metadata(VirtdiskHandle *handle, const char *item, GBytes *data,
                                                   GCancellable *cancellable, GError **error);
/**
 * virtdisk_handle_set_virtual_disk_metadata_async:
 * @handle: a handle
 * @item: GUID
 * @data: at most 1 MiB
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_set_virtual_disk_metadata_async(VirtdiskHandle *handle, const char *item, GBytes *data,
                                                     GCancellable *cancellable, GAsyncReadyCallback callback,
                                                     gpointer user_data);
/**
 * virtdisk_handle_set_virtual_disk_metadata_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: %TRUE, or %FALSE with @error set.
 */
gboolean virtdisk_handle_set_virtual_disk_metadata_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                          GError **error);

/**
 * virtdisk_handle_delete_virtual_disk_metadata:
 * @handle: a handle
 * @item: GUID
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * DeleteVirtualDiskMetadata.
 *
 * Returns: %TRUE, or %FALSE with @error set. Any thread.
 */
gboolean virtdisk_handle_delete_virtual_disk_metadata(VirtdiskHandle *handle, const char *item,
                                                      GCancellable *cancellable, GError **error);
/**
 * virtdisk_handle_delete_virtual_disk_metadata_async:
 * @handle: a handle
 * @item: GUID
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_delete_virtual_disk_metadata_async(VirtdiskHandle *handle, const char *item,
                                                        GCancellable *cancellable,
                                                        GAsyncReadyCallback callback, gpointer user_data);
/**
 * virtdisk_handle_delete_virtual_disk_metadata_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: %TRUE, or %FALSE with @error set.
 */
gboolean virtdisk_handle_delete_virtual_disk_metadata_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                             GError **error);

G_END_DECLS
