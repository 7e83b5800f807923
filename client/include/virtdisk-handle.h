/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VirtdiskHandle: one open image. */
#pragma once

#include "virtdisk-types.h"

G_BEGIN_DECLS

/**
 * virtdisk_handle_get_client:
 * @handle: a handle
 *
 * Returns: (transfer none): the client it was opened with. Any thread.
 */
VirtdiskClient *virtdisk_handle_get_client(VirtdiskHandle *handle);

/**
 * virtdisk_handle_get_object_path:
 * @handle: a handle
 *
 * Returns: (transfer none): its path on the bus. Any thread.
 */
const char *virtdisk_handle_get_object_path(VirtdiskHandle *handle);

/**
 * virtdisk_handle_attach_virtual_disk:
 * @handle: a handle
 * @flags: ATTACH_VIRTUAL_DISK_FLAG
 * @parameters: (nullable): of handle lifetime if %NULL and @flags do not say otherwise
 * @out_settled: (out) (optional): %FALSE if udev had not processed the device and its partitions in time
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * AttachVirtualDisk.
 *
 * Returns: %TRUE, or %FALSE with @error set. Any thread.
 */
gboolean virtdisk_handle_attach_virtual_disk(VirtdiskHandle *handle, VirtdiskAttachFlags flags,
                                             VirtdiskAttachParameters *parameters, gboolean *out_settled,
                                             GCancellable *cancellable, GError **error);

/**
 * virtdisk_handle_attach_virtual_disk_async:
 * @handle: a handle
 * @flags: ATTACH_VIRTUAL_DISK_FLAG
 * @parameters: (nullable): see virtdisk_handle_attach_virtual_disk()
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_attach_virtual_disk_async(VirtdiskHandle *handle, VirtdiskAttachFlags flags,
                                               VirtdiskAttachParameters *parameters,
                                               GCancellable *cancellable, GAsyncReadyCallback callback,
                                               gpointer user_data);

/**
 * virtdisk_handle_attach_virtual_disk_finish:
 * @handle: a handle
 * @result: what the callback got
 * @out_settled: (out) (optional): see virtdisk_handle_attach_virtual_disk()
 * @error: place for the error
 *
 * Returns: %TRUE, or %FALSE with @error set.
 */
gboolean virtdisk_handle_attach_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                    gboolean *out_settled, GError **error);

/**
 * virtdisk_handle_open_nbd:
 * @handle: a handle
 * @flags: ATTACH_VIRTUAL_DISK_FLAG; NO_LOCAL_HOST is implied
 * @parameters: (nullable): version and restricted range mean something here
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * AttachVirtualDisk with NO_LOCAL_HOST: no device appears. What is read and written through the descriptor, a
 * connected stream socket, is the disk in the NBD protocol (fixed newstyle, one export, without a name).
 * Where the connection ends the disk is detached, and closing the handle or detaching the disk ends the
 * connection.
 *
 * Returns: a descriptor that is the caller's to close, or -1 with @error set. Any thread.
 */
int virtdisk_handle_open_nbd(VirtdiskHandle *handle, VirtdiskAttachFlags flags,
                             VirtdiskAttachParameters *parameters, GCancellable *cancellable, GError **error);

/**
 * virtdisk_handle_open_nbd_async:
 * @handle: a handle
 * @flags: ATTACH_VIRTUAL_DISK_FLAG; NO_LOCAL_HOST is implied
 * @parameters: (nullable): see virtdisk_handle_open_nbd()
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_open_nbd_async(VirtdiskHandle *handle, VirtdiskAttachFlags flags,
                                    VirtdiskAttachParameters *parameters, GCancellable *cancellable,
                                    GAsyncReadyCallback callback, gpointer user_data);

/**
 * virtdisk_handle_open_nbd_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: see virtdisk_handle_open_nbd(), or -1 with @error set.
 */
int virtdisk_handle_open_nbd_finish(VirtdiskHandle *handle, GAsyncResult *result, GError **error);

/**
 * virtdisk_handle_detach_virtual_disk:
 * @handle: a handle
 * @flags: %VIRTDISK_DETACH_NONE
 * @parameters: (nullable): what to do if the disk is in use
 * @out_pending: (out) (optional): %TRUE if the disk goes later, when its last user goes
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * DetachVirtualDisk. The handle stays open.
 *
 * Returns: %TRUE, or %FALSE with @error set. Any thread.
 */
gboolean virtdisk_handle_detach_virtual_disk(VirtdiskHandle *handle, VirtdiskDetachFlags flags,
                                             VirtdiskDetachParameters *parameters, gboolean *out_pending,
                                             GCancellable *cancellable, GError **error);

/**
 * virtdisk_handle_detach_virtual_disk_async:
 * @handle: a handle
 * @flags: %VIRTDISK_DETACH_NONE
 * @parameters: (nullable): what to do if the disk is in use
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_detach_virtual_disk_async(VirtdiskHandle *handle, VirtdiskDetachFlags flags,
                                               VirtdiskDetachParameters *parameters,
                                               GCancellable *cancellable, GAsyncReadyCallback callback,
                                               gpointer user_data);

/**
 * virtdisk_handle_detach_virtual_disk_finish:
 * @handle: a handle
 * @result: what the callback got
 * @out_pending: (out) (optional): see virtdisk_handle_detach_virtual_disk()
 * @error: place for the error
 *
 * Returns: %TRUE, or %FALSE with @error set.
 */
gboolean virtdisk_handle_detach_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                    gboolean *out_pending, GError **error);

/**
 * virtdisk_handle_get_virtual_disk_physical_path:
 * @handle: a handle
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * GetVirtualDiskPhysicalPath.
 *
 * Returns: (transfer full) (type filename): the device node, or %NULL with @error set
 * (%VIRTDISK_ERROR_DEVICE_NOT_EXIST: not attached). Any thread.
 */
char *virtdisk_handle_get_virtual_disk_physical_path(VirtdiskHandle *handle, GCancellable *cancellable,
                                                     GError **error);

/**
 * virtdisk_handle_get_virtual_disk_physical_path_async:
 * @handle: a handle
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_get_virtual_disk_physical_path_async(VirtdiskHandle *handle, GCancellable *cancellable,
                                                          GAsyncReadyCallback callback, gpointer user_data);

/**
 * virtdisk_handle_get_virtual_disk_physical_path_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full) (type filename): the device node, or %NULL with @error set.
 */
char *virtdisk_handle_get_virtual_disk_physical_path_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                            GError **error);

/**
 * virtdisk_handle_get_virtual_disk_information:
 * @handle: a handle
 * @version: what is asked for
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * GetVirtualDiskInformation.
 *
 * Returns: (transfer full): the answer, or %NULL with @error set. Any thread.
 */
VirtdiskInfo *virtdisk_handle_get_virtual_disk_information(VirtdiskHandle *handle,
                                                           VirtdiskInfoVersion version,
                                                           GCancellable *cancellable, GError **error);

/**
 * virtdisk_handle_get_virtual_disk_information_async:
 * @handle: a handle
 * @version: what is asked for
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_get_virtual_disk_information_async(VirtdiskHandle *handle, VirtdiskInfoVersion version,
                                                        GCancellable *cancellable,
                                                        GAsyncReadyCallback callback, gpointer user_data);

/**
 * virtdisk_handle_get_virtual_disk_information_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full): the answer, or %NULL with @error set.
 */
VirtdiskInfo *virtdisk_handle_get_virtual_disk_information_finish(VirtdiskHandle *handle,
                                                                  GAsyncResult *result, GError **error);

/**
 * virtdisk_handle_add_virtual_disk_parent:
 * @handle: a handle that was opened with %VIRTDISK_OPEN_CUSTOM_DIFF_CHAIN, read-only, version 2
 * @path: (type filename): the next image of the chain, nearest first
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * AddVirtualDiskParent. The images themselves are not changed.
 *
 * Returns: %TRUE, or %FALSE with @error set. Any thread.
 */
gboolean virtdisk_handle_add_virtual_disk_parent(VirtdiskHandle *handle, const char *path,
                                                 GCancellable *cancellable, GError **error);

/**
 * virtdisk_handle_add_virtual_disk_parent_async:
 * @handle: a handle
 * @path: (type filename): the next image of the chain, nearest first
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_add_virtual_disk_parent_async(VirtdiskHandle *handle, const char *path,
                                                   GCancellable *cancellable, GAsyncReadyCallback callback,
                                                   gpointer user_data);

/**
 * virtdisk_handle_add_virtual_disk_parent_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: %TRUE, or %FALSE with @error set.
 */
gboolean virtdisk_handle_add_virtual_disk_parent_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                        GError **error);

/**
 * virtdisk_handle_add_virtual_disk_parent_fd:
 * @handle: a handle that was opened with %VIRTDISK_OPEN_CUSTOM_DIFF_CHAIN, read-only, version 2
 * @fd: a descriptor of it, open for reading; stays the caller's
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * AddVirtualDiskParent for a file that the caller opened.
 *
 * Returns: %TRUE, or %FALSE with @error set. Any thread.
 */
gboolean virtdisk_handle_add_virtual_disk_parent_fd(VirtdiskHandle *handle, int fd, GCancellable *cancellable,
                                                    GError **error);

/**
 * virtdisk_handle_add_virtual_disk_parent_fd_async:
 * @handle: a handle
 * @fd: a descriptor of it, open for reading; stays the caller's
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_add_virtual_disk_parent_fd_async(VirtdiskHandle *handle, int fd,
                                                      GCancellable *cancellable, GAsyncReadyCallback callback,
                                                      gpointer user_data);

/**
 * virtdisk_handle_add_virtual_disk_parent_fd_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: %TRUE, or %FALSE with @error set.
 */
gboolean virtdisk_handle_add_virtual_disk_parent_fd_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                           GError **error);

/**
 * virtdisk_handle_close:
 * @handle: a handle
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * CloseHandle. Later calls fail with %VIRTDISK_ERROR_INVALID_HANDLE, a second close too. An unclosed handle
 * is closed by its last unref, without waiting.
 *
 * Returns: %TRUE, or %FALSE with @error set. Any thread.
 */
gboolean virtdisk_handle_close(VirtdiskHandle *handle, GCancellable *cancellable, GError **error);

/**
 * virtdisk_handle_close_async:
 * @handle: a handle
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_close_async(VirtdiskHandle *handle, GCancellable *cancellable,
                                 GAsyncReadyCallback callback, gpointer user_data);

/**
 * virtdisk_handle_close_finish:
 * @handle: a handle
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: %TRUE, or %FALSE with @error set.
 */
gboolean virtdisk_handle_close_finish(VirtdiskHandle *handle, GAsyncResult *result, GError **error);

G_END_DECLS
