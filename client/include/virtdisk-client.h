/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VirtdiskClient: the connection to the service, and its methods that need no handle. */
#pragma once

#include "virtdisk-types.h"

G_BEGIN_DECLS

/**
 * virtdisk_client_new_sync:
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * Connects to the service on the system bus, starting it if need be. Succeeds also where no service can be
 * started: then there are no disks (#VirtdiskClient:name-owner is %NULL) and every call fails.
 *
 * Returns: (transfer full): a new client, or %NULL with @error set (no system bus).
 */
VirtdiskClient *virtdisk_client_new_sync(GCancellable *cancellable, GError **error);

/**
 * virtdisk_client_new_async:
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called with a %NULL source object
 * @user_data: for @callback
 *
 * As virtdisk_client_new_sync(), without blocking.
 */
void virtdisk_client_new_async(GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);

/**
 * virtdisk_client_new_finish:
 * @result: what the callback got
 * @error: place for the error
 *
 * Ends virtdisk_client_new_async().
 *
 * Returns: (transfer full): a new client, or %NULL with @error set.
 */
VirtdiskClient *virtdisk_client_new_finish(GAsyncResult *result, GError **error);

/**
 * virtdisk_client_new_for_connection:
 * @connection: a message bus
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * As virtdisk_client_new_sync(), on another bus than the system's: for tests. Handles belong to @connection.
 *
 * Returns: (transfer full): a new client, or %NULL with @error set.
 */
VirtdiskClient *virtdisk_client_new_for_connection(GDBusConnection *connection, GCancellable *cancellable,
                                                   GError **error);

/**
 * virtdisk_client_new_for_connection_async:
 * @connection: a message bus
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called with a %NULL source object
 * @user_data: for @callback
 *
 * As virtdisk_client_new_for_connection(), without blocking.
 */
void virtdisk_client_new_for_connection_async(GDBusConnection *connection, GCancellable *cancellable,
                                              GAsyncReadyCallback callback, gpointer user_data);

/**
 * virtdisk_client_new_for_connection_finish:
 * @result: what the callback got
 * @error: place for the error
 *
 * Ends virtdisk_client_new_for_connection_async().
 *
 * Returns: (transfer full): a new client, or %NULL with @error set.
 */
VirtdiskClient *virtdisk_client_new_for_connection_finish(GAsyncResult *result, GError **error);

/**
 * virtdisk_client_get_connection:
 * @client: a client
 *
 * Returns: (transfer none): the bus. Any thread.
 */
GDBusConnection *virtdisk_client_get_connection(VirtdiskClient *client);

/**
 * virtdisk_client_get_interactive:
 * @client: a client
 *
 * Returns: whether the service may let polkit ask a person. Any thread.
 */
gboolean virtdisk_client_get_interactive(VirtdiskClient *client);

/**
 * virtdisk_client_set_interactive:
 * @client: a client
 * @interactive: whether the service may let polkit ask a person; %TRUE for a new client
 *
 * Where nobody may be asked, what would need it fails with %VIRTDISK_ERROR_AUTHORIZATION_REQUIRED. Any
 * thread.
 */
void virtdisk_client_set_interactive(VirtdiskClient *client, gboolean interactive);

/**
 * virtdisk_client_dup_version:
 * @client: a client
 *
 * Returns: (transfer full) (nullable): version of the service, or %NULL while there is none on the bus. Any
 * thread.
 */
char *virtdisk_client_dup_version(VirtdiskClient *client);

/**
 * virtdisk_client_dup_name_owner:
 * @client: a client
 *
 * Returns: (transfer full) (nullable): the unique bus name of the service, or %NULL while there is none. Any
 * thread.
 */
char *virtdisk_client_dup_name_owner(VirtdiskClient *client);

/**
 * virtdisk_client_get_disks:
 * @client: a client
 *
 * The disks known now, the longest attached first. Any thread.
 *
 * Returns: (transfer container) (element-type VirtdiskDisk): free with g_ptr_array_unref().
 */
GPtrArray *virtdisk_client_get_disks(VirtdiskClient *client);

/**
 * virtdisk_client_get_jobs:
 * @client: a client
 *
 * The jobs known now, the oldest first; those that have ended stay for a minute. Any thread.
 *
 * Returns: (transfer container) (element-type VirtdiskJob): free with g_ptr_array_unref().
 */
GPtrArray *virtdisk_client_get_jobs(VirtdiskClient *client);

/**
 * virtdisk_client_open_virtual_disk:
 * @client: a client
 * @path: (type filename): the image
 * @access_mask: rights of the handle; %VIRTDISK_ACCESS_NONE with version 2 and 3 parameters
 * @flags: OPEN_VIRTUAL_DISK_FLAG
 * @parameters: (nullable): %NULL is version 1 with a read-write depth of 1
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * OpenVirtualDisk. The service opens the file with the caller's rights. A path that is not UTF-8 cannot be
 * said on the bus: then the library opens the file and passes the descriptor.
 *
 * Returns: (transfer full): the handle, or %NULL with @error set. Any thread.
 */
VirtdiskHandle *virtdisk_client_open_virtual_disk(VirtdiskClient *client, const char *path,
                                                  VirtdiskAccessMask access_mask, VirtdiskOpenFlags flags,
                                                  VirtdiskOpenParameters *parameters,
                                                  GCancellable *cancellable, GError **error);

/**
 * virtdisk_client_open_virtual_disk_async:
 * @client: a client
 * @path: (type filename): the image
 * @access_mask: rights of the handle
 * @flags: OPEN_VIRTUAL_DISK_FLAG
 * @parameters: (nullable): see virtdisk_client_open_virtual_disk()
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_client_open_virtual_disk_async(VirtdiskClient *client, const char *path,
                                             VirtdiskAccessMask access_mask, VirtdiskOpenFlags flags,
                                             VirtdiskOpenParameters *parameters, GCancellable *cancellable,
                                             GAsyncReadyCallback callback, gpointer user_data);

/**
 * virtdisk_client_open_virtual_disk_finish:
 * @client: a client
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full): the handle, or %NULL with @error set.
 */
VirtdiskHandle *virtdisk_client_open_virtual_disk_finish(VirtdiskClient *client, GAsyncResult *result,
                                                         GError **error);

/**
 * virtdisk_client_create_virtual_disk:
 * @client: a client
 * @path: (type filename): the new image; must not exist
 * @access_mask: rights of the handle; %VIRTDISK_ACCESS_NONE with version 2 parameters
 * @flags: CREATE_VIRTUAL_DISK_FLAG; %VIRTDISK_CREATE_NONE makes a dynamic image, or with a parent a
 * differencing one
 * @maximum_size: size of the disk in bytes; 0 with a parent, and with a source for its size
 * @parameters: (nullable): %NULL is version 1, the format by the extension of @path
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * CreateVirtualDisk. The service makes the file with the caller's rights; it appears whole or not at all.
 * With a source or a progress function this is a job, which @cancellable cancels.
 *
 * Returns: (transfer full): an open handle, or %NULL with @error set. Any thread.
 */
VirtdiskHandle *virtdisk_client_create_virtual_disk(VirtdiskClient *client, const char *path,
                                                    VirtdiskAccessMask access_mask, VirtdiskCreateFlags flags,
                                                    guint64 maximum_size,
                                                    VirtdiskCreateParameters *parameters,
                                                    GCancellable *cancellable, GError **error);

/**
 * virtdisk_client_create_virtual_disk_async:
 * @client: a client
 * @path: (type filename): the new image
 * @access_mask: rights of the handle
 * @flags: CREATE_VIRTUAL_DISK_FLAG
 * @maximum_size: size of the disk in bytes
 * @parameters: (nullable): see virtdisk_client_create_virtual_disk()
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_client_create_virtual_disk_async(VirtdiskClient *client, const char *path,
                                               VirtdiskAccessMask access_mask, VirtdiskCreateFlags flags,
                                               guint64 maximum_size, VirtdiskCreateParameters *parameters,
                                               GCancellable *cancellable, GAsyncReadyCallback callback,
                                               gpointer user_data);

/**
 * virtdisk_client_create_virtual_disk_finish:
 * @client: a client
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full): the handle, or %NULL with @error set.
 */
VirtdiskHandle *virtdisk_client_create_virtual_disk_finish(VirtdiskClient *client, GAsyncResult *result,
                                                           GError **error);

/**
 * virtdisk_client_create_virtual_disk_job:
 * @client: a client
 * @path: (type filename): the new image; must not exist
 * @access_mask: rights of the handle; %VIRTDISK_ACCESS_NONE with version 2 parameters
 * @flags: CREATE_VIRTUAL_DISK_FLAG
 * @maximum_size: size of the disk in bytes; 0 with a parent, and with a source for its size
 * @parameters: (nullable): see virtdisk_client_create_virtual_disk()
 * @cancellable: (nullable): cancels the job while it has not begun
 * @error: place for the error
 *
 * CreateVirtualDisk in the background: returns when the job has begun. When virtdisk_job_wait() has told that
 * it succeeded, virtdisk_job_steal_handle() has the handle.
 *
 * Returns: (transfer full): the job, or %NULL with @error set. Any thread.
 */
VirtdiskJob *virtdisk_client_create_virtual_disk_job(VirtdiskClient *client, const char *path,
                                                     VirtdiskAccessMask access_mask,
                                                     VirtdiskCreateFlags flags, guint64 maximum_size,
                                                     VirtdiskCreateParameters *parameters,
                                                     GCancellable *cancellable, GError **error);

/**
 * virtdisk_client_create_virtual_disk_job_async:
 * @client: a client
 * @path: (type filename): the new image
 * @access_mask: rights of the handle
 * @flags: CREATE_VIRTUAL_DISK_FLAG
 * @maximum_size: size of the disk in bytes
 * @parameters: (nullable): see virtdisk_client_create_virtual_disk()
 * @cancellable: (nullable): cancels the job while it has not begun
 * @callback: (scope async): called when it has begun
 * @user_data: for @callback
 */
void virtdisk_client_create_virtual_disk_job_async(VirtdiskClient *client, const char *path,
                                                   VirtdiskAccessMask access_mask, VirtdiskCreateFlags flags,
                                                   guint64 maximum_size, VirtdiskCreateParameters *parameters,
                                                   GCancellable *cancellable, GAsyncReadyCallback callback,
                                                   gpointer user_data);

/**
 * virtdisk_client_create_virtual_disk_job_finish:
 * @client: a client
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full): the job, or %NULL with @error set.
 */
VirtdiskJob *virtdisk_client_create_virtual_disk_job_finish(VirtdiskClient *client, GAsyncResult *result,
                                                            GError **error);

/**
 * virtdisk_client_check_image:
 * @client: a client
 * @path: (type filename): an image
 * @flags: %VIRTDISK_CHECK_REPAIR mends what can be mended without guessing, and checks then
 * @parameters: (nullable): only the device and vendor id may be set; %NULL: the format by the extension
 * @cancellable: (nullable): ends the waiting; the service goes on
 * @error: place for the error
 *
 * Verifies every structure of an image, also of one that is too damaged to be opened. That there are faults
 * is no error. The service opens the file with the caller's rights; reading all bitmaps of a large image
 * takes its time.
 *
 * Returns: (transfer full): what was found, or %NULL with @error set: the image could not be checked. Any
 * thread.
 */
VirtdiskCheck *virtdisk_client_check_image(VirtdiskClient *client, const char *path, VirtdiskCheckFlags flags,
                                           VirtdiskOpenParameters *parameters, GCancellable *cancellable,
                                           GError **error);

/**
 * virtdisk_client_check_image_async:
 * @client: a client
 * @path: (type filename): an image
 * @flags: see virtdisk_client_check_image()
 * @parameters: (nullable): see virtdisk_client_check_image()
 * @cancellable: (nullable): ends the waiting; the service goes on
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_client_check_image_async(VirtdiskClient *client, const char *path, VirtdiskCheckFlags flags,
                                       VirtdiskOpenParameters *parameters, GCancellable *cancellable,
                                       GAsyncReadyCallback callback, gpointer user_data);

/**
 * virtdisk_client_check_image_finish:
 * @client: a client
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full): what was found, or %NULL with @error set.
 */
VirtdiskCheck *virtdisk_client_check_image_finish(VirtdiskClient *client, GAsyncResult *result,
                                                  GError **error);

/**
 * virtdisk_client_open_virtual_disk_fd:
 * @client: a client
 * @fd: a regular file, open for reading or for reading and writing; stays the caller's, who may close it
 * afterwards
 * @display_path: (type filename) (nullable): name to show for it, also tells the format by its extension
 * @access_mask: rights of the handle
 * @flags: OPEN_VIRTUAL_DISK_FLAG
 * @parameters: (nullable): see virtdisk_client_open_virtual_disk()
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * OpenVirtualDisk for a file that the caller has opened.
 *
 * Returns: (transfer full): the handle, or %NULL with @error set. Any thread.
 */
VirtdiskHandle *virtdisk_client_open_virtual_disk_fd(VirtdiskClient *client, int fd, const char *display_path,
                                                     VirtdiskAccessMask access_mask, VirtdiskOpenFlags flags,
                                                     VirtdiskOpenParameters *parameters,
                                                     GCancellable *cancellable, GError **error);

/**
 * virtdisk_client_open_virtual_disk_fd_async:
 * @client: a client
 * @fd: see virtdisk_client_open_virtual_disk_fd(); may be closed as soon as this returns
 * @display_path: (type filename) (nullable): name to show for it
 * @access_mask: rights of the handle
 * @flags: OPEN_VIRTUAL_DISK_FLAG
 * @parameters: (nullable): see virtdisk_client_open_virtual_disk()
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_client_open_virtual_disk_fd_async(VirtdiskClient *client, int fd, const char *display_path,
                                                VirtdiskAccessMask access_mask, VirtdiskOpenFlags flags,
                                                VirtdiskOpenParameters *parameters, GCancellable *cancellable,
                                                GAsyncReadyCallback callback, gpointer user_data);

/**
 * virtdisk_client_open_virtual_disk_fd_finish:
 * @client: a client
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full): the handle, or %NULL with @error set.
 */
VirtdiskHandle *virtdisk_client_open_virtual_disk_fd_finish(VirtdiskClient *client, GAsyncResult *result,
                                                            GError **error);

/**
 * virtdisk_client_attach_image:
 * @client: a client
 * @path: (type filename): the image
 * @parameters: (nullable): permanent and read-write if %NULL (an ISO is always read-only)
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * Opens and attaches in one call; no handle remains. The device is ready for use, see #VirtdiskDisk:settled.
 * A path that is not UTF-8 is opened here and attached through a handle that is then closed.
 *
 * Returns: (transfer full): the disk, or %NULL with @error set. Any thread.
 */
VirtdiskDisk *virtdisk_client_attach_image(VirtdiskClient *client, const char *path,
                                           VirtdiskAttachParameters *parameters, GCancellable *cancellable,
                                           GError **error);

/**
 * virtdisk_client_attach_image_async:
 * @client: a client
 * @path: (type filename): the image
 * @parameters: (nullable): see virtdisk_client_attach_image()
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_client_attach_image_async(VirtdiskClient *client, const char *path,
                                        VirtdiskAttachParameters *parameters, GCancellable *cancellable,
                                        GAsyncReadyCallback callback, gpointer user_data);

/**
 * virtdisk_client_attach_image_finish:
 * @client: a client
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full): the disk, or %NULL with @error set.
 */
VirtdiskDisk *virtdisk_client_attach_image_finish(VirtdiskClient *client, GAsyncResult *result,
                                                  GError **error);

/**
 * virtdisk_client_detach_image:
 * @client: a client
 * @path: (type filename): an attached image or its device
 * @parameters: (nullable): what to do if it is in use
 * @out_pending: (out) (optional): %TRUE if the disk goes later, when its last user goes
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * Ends the attachment, whoever made it.
 *
 * Returns: %TRUE, or %FALSE with @error set. Any thread.
 */
gboolean virtdisk_client_detach_image(VirtdiskClient *client, const char *path,
                                      VirtdiskDetachParameters *parameters, gboolean *out_pending,
                                      GCancellable *cancellable, GError **error);

/**
 * virtdisk_client_detach_image_async:
 * @client: a client
 * @path: (type filename): an attached image or its device
 * @parameters: (nullable): what to do if it is in use
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_client_detach_image_async(VirtdiskClient *client, const char *path,
                                        VirtdiskDetachParameters *parameters, GCancellable *cancellable,
                                        GAsyncReadyCallback callback, gpointer user_data);

/**
 * virtdisk_client_detach_image_finish:
 * @client: a client
 * @result: what the callback got
 * @out_pending: (out) (optional): see virtdisk_client_detach_image()
 * @error: place for the error
 *
 * Returns: %TRUE, or %FALSE with @error set.
 */
gboolean virtdisk_client_detach_image_finish(VirtdiskClient *client, GAsyncResult *result,
                                             gboolean *out_pending, GError **error);

/**
 * virtdisk_client_get_all_attached_virtual_disk_physical_paths:
 * @client: a client
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * GetAllAttachedVirtualDiskPhysicalPaths.
 *
 * Returns: (transfer full) (array zero-terminated=1): device nodes, maybe none; %NULL with @error set. Any
 * thread.
 */
char **virtdisk_client_get_all_attached_virtual_disk_physical_paths(VirtdiskClient *client,
                                                                    GCancellable *cancellable,
                                                                    GError **error);

/**
 * virtdisk_client_get_all_attached_virtual_disk_physical_paths_async:
 * @client: a client
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_client_get_all_attached_virtual_disk_physical_paths_async(VirtdiskClient *client,
                                                                        GCancellable *cancellable,
                                                                        GAsyncReadyCallback callback,
                                                                        gpointer user_data);

/**
 * virtdisk_client_get_all_attached_virtual_disk_physical_paths_finish:
 * @client: a client
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full) (array zero-terminated=1): device nodes, maybe none; %NULL with @error set.
 */
char **virtdisk_client_get_all_attached_virtual_disk_physical_paths_finish(VirtdiskClient *client,
                                                                           GAsyncResult *result,
                                                                           GError **error);

/**
 * virtdisk_client_get_storage_dependency_information:
 * @client: a client
 * @object: (type filename): a device node (with %VIRTDISK_DEPENDENCY_DISK_HANDLE) or any path on a volume;
 * UTF-8
 * @flags: GET_STORAGE_DEPENDENCY_FLAG
 * @version: 1 or 2: which members of #VirtdiskDependency are filled in
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * GetStorageDependencyInformation: what hosts a volume (%VIRTDISK_DEPENDENCY_HOST_VOLUMES), or what a volume
 * hosts.
 *
 * Returns: (transfer container) (element-type VirtdiskDependency): the entries, freed with the array by
 * g_ptr_array_unref(), or %NULL with @error set. Any thread.
 */
GPtrArray *virtdisk_client_get_storage_dependency_information(VirtdiskClient *client, const char *object,
                                                              VirtdiskDependencyFlags flags, guint version,
                                                              GCancellable *cancellable, GError **error);

/**
 * virtdisk_client_get_storage_dependency_information_async:
 * @client: a client
 * @object: (type filename): a device node or any path on a volume; UTF-8
 * @flags: GET_STORAGE_DEPENDENCY_FLAG
 * @version: 1 or 2
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_client_get_storage_dependency_information_async(VirtdiskClient *client, const char *object,
                                                              VirtdiskDependencyFlags flags, guint version,
                                                              GCancellable *cancellable,
                                                              GAsyncReadyCallback callback,
                                                              gpointer user_data);

/**
 * virtdisk_client_get_storage_dependency_information_finish:
 * @client: a client
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer container) (element-type VirtdiskDependency): the entries, or %NULL with @error set.
 */
GPtrArray *virtdisk_client_get_storage_dependency_information_finish(VirtdiskClient *client,
                                                                     GAsyncResult *result, GError **error);

/**
 * virtdisk_client_get_disk_for_path:
 * @client: a client
 * @path: (type filename): an image, a device node or a partition of one
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * Returns: (transfer full): the disk, or %NULL with @error set (%VIRTDISK_ERROR_NOT_FOUND: not attached). Any
 * thread.
 */
VirtdiskDisk *virtdisk_client_get_disk_for_path(VirtdiskClient *client, const char *path,
                                                GCancellable *cancellable, GError **error);

/**
 * virtdisk_client_get_disk_for_path_async:
 * @client: a client
 * @path: (type filename): an image, a device node or a partition of one
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_client_get_disk_for_path_async(VirtdiskClient *client, const char *path,
                                             GCancellable *cancellable, GAsyncReadyCallback callback,
                                             gpointer user_data);

/**
 * virtdisk_client_get_disk_for_path_finish:
 * @client: a client
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: (transfer full): the disk, or %NULL with @error set.
 */
VirtdiskDisk *virtdisk_client_get_disk_for_path_finish(VirtdiskClient *client, GAsyncResult *result,
                                                       GError **error);

G_END_DECLS
