/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirtdisk: the Windows Virtual Disk API on Linux, for GLib programs and, through introspection, for
 * others.
 *
 * VirtdiskClient is the connection to the service, VirtdiskHandle one open image, VirtdiskDisk one attached
 * disk.
 *
 * Every method of the service comes three times: virtdisk_x() blocks the calling thread, virtdisk_x_async()
 * and virtdisk_x_finish() do not. The blocking ones may be called from any thread; they run no foreign main
 * context, so signals are not delivered meanwhile.
 *
 * Errors: whatever the service, the bus or the library refuses is in the domain VIRTDISK_ERROR; only a call
 * ended by its GCancellable gives G_IO_ERROR_CANCELLED. No service on the bus and none that can be started is
 * VIRTDISK_ERROR_NO_RESOURCES; a service that leaves before it answers is VIRTDISK_ERROR_OPERATION_ABORTED.
 * Cancelling ends the waiting; what the service has begun it may still complete. A handle that arrives after
 * that is closed by the library.
 *
 * Calls that may ask a person (open, attach, detach) wait without limit, the others for 60 seconds.
 *
 * Paths are file names: any bytes but NUL, relative ones count from the current directory of this process.
 */
#pragma once

#include <gio/gio.h>

#include "virtdisk-enums.h"
#include "virtdisk-error.h"

G_BEGIN_DECLS

#define VIRTDISK_TYPE_CLIENT (virtdisk_client_get_type())
/**
 * VirtdiskClient:
 *
 * The connection to the service. Signals and property changes arrive in the thread-default main context of
 * the thread that made the client.
 *
 * Properties: connection, interactive, version, name-owner.
 * Signals: disk-added, disk-removed, disk-changed, each with the #VirtdiskDisk.
 */
G_DECLARE_FINAL_TYPE(VirtdiskClient, virtdisk_client, VIRTDISK, CLIENT, GObject)

#define VIRTDISK_TYPE_HANDLE (virtdisk_handle_get_type())
/**
 * VirtdiskHandle:
 *
 * One open image. It is closed by virtdisk_handle_close(), by its last unref, or when the process leaves the
 * bus; an attachment of handle lifetime ends with it.
 */
G_DECLARE_FINAL_TYPE(VirtdiskHandle, virtdisk_handle, VIRTDISK, HANDLE, GObject)

#define VIRTDISK_TYPE_DISK (virtdisk_disk_get_type())
/**
 * VirtdiskDisk:
 *
 * One attached disk as the service last described it; properties mirror org.virtdisk1.Disk and notify. The
 * client has one object for each disk, however it was obtained. After the disk has gone the last values stay
 * and #VirtdiskDisk:state is "detached".
 */
G_DECLARE_FINAL_TYPE(VirtdiskDisk, virtdisk_disk, VIRTDISK, DISK, GObject)

#define VIRTDISK_TYPE_OPEN_PARAMETERS (virtdisk_open_parameters_get_type())
/**
 * VirtdiskOpenParameters:
 *
 * OPEN_VIRTUAL_DISK_PARAMETERS and VIRTUAL_STORAGE_TYPE. What is not set is not sent, so that the service's
 * default holds. Not to be changed by one thread while another uses it.
 */
G_DECLARE_FINAL_TYPE(VirtdiskOpenParameters, virtdisk_open_parameters, VIRTDISK, OPEN_PARAMETERS, GObject)

#define VIRTDISK_TYPE_CREATE_PARAMETERS (virtdisk_create_parameters_get_type())
/**
 * VirtdiskCreateParameters:
 *
 * CREATE_VIRTUAL_DISK_PARAMETERS but for the size, and VIRTUAL_STORAGE_TYPE. What is not set is not sent, so
 * that the service's default holds. Not to be changed by one thread while another uses it.
 */
G_DECLARE_FINAL_TYPE(VirtdiskCreateParameters, virtdisk_create_parameters, VIRTDISK, CREATE_PARAMETERS,
                     GObject)

#define VIRTDISK_TYPE_ATTACH_PARAMETERS (virtdisk_attach_parameters_get_type())
/**
 * VirtdiskAttachParameters:
 *
 * ATTACH_VIRTUAL_DISK_PARAMETERS, the lifetime, and what takes the place of the security descriptor. What is
 * not set is not sent. The same object serves virtdisk_client_attach_image() and
 * virtdisk_handle_attach_virtual_disk(); setters that only one of them knows say so, the other refuses them
 * with %VIRTDISK_ERROR_INVALID_PARAMETER.
 */
G_DECLARE_FINAL_TYPE(VirtdiskAttachParameters, virtdisk_attach_parameters, VIRTDISK, ATTACH_PARAMETERS,
                     GObject)

#define VIRTDISK_TYPE_DETACH_PARAMETERS (virtdisk_detach_parameters_get_type())
/**
 * VirtdiskDetachParameters:
 *
 * How to detach a disk that is in use. Without: refused with %VIRTDISK_ERROR_BUSY, naming the holders.
 */
G_DECLARE_FINAL_TYPE(VirtdiskDetachParameters, virtdisk_detach_parameters, VIRTDISK, DETACH_PARAMETERS,
                     GObject)

#define VIRTDISK_TYPE_INFO (virtdisk_info_get_type())
/**
 * VirtdiskInfo:
 *
 * Answer of virtdisk_handle_get_virtual_disk_information(): one version of GET_VIRTUAL_DISK_INFO. Immutable,
 * counted; a getter that does not belong to the version gives 0, %FALSE or %NULL. Any thread.
 */
typedef struct _VirtdiskInfo VirtdiskInfo;

#define VIRTDISK_TYPE_DEPENDENCY (virtdisk_dependency_get_type())
/**
 * VirtdiskDependency:
 * @dependency_type_flags: #VirtdiskDependentDiskFlags
 * @provider_specific_flags: 0
 * @device_id: #VirtdiskDeviceId
 * @vendor_id: GUID, such as %VIRTDISK_VENDOR_MICROSOFT
 * @ancestor_level: 0 for the image itself, 1 for its parent; version 2 only
 * @dependency_device_name: device node, or empty; version 2 only
 * @host_volume_name: volume the image file lies on, or empty; version 2 only
 * @dependent_volume_name: volume that lies on the disk, or empty; version 2 only
 * @dependent_volume_relative_path: path of the image file on its volume, or empty; version 2 only
 *
 * One entry of STORAGE_DEPENDENCY_INFO. No string is %NULL.
 */
typedef struct {
  guint32 dependency_type_flags;
  guint32 provider_specific_flags;
  guint32 device_id;
  char *vendor_id;
  guint32 ancestor_level;
  char *dependency_device_name;
  char *host_volume_name;
  char *dependent_volume_name;
  char *dependent_volume_relative_path;
} VirtdiskDependency;

#define VIRTDISK_TYPE_CHECK (virtdisk_check_get_type())
/**
 * VirtdiskCheck:
 *
 * What virtdisk_client_check_image() found. Immutable, counted. Any thread.
 */
typedef struct _VirtdiskCheck VirtdiskCheck;

#define VIRTDISK_TYPE_FAULT (virtdisk_fault_get_type())
/**
 * VirtdiskFault:
 * @kind: how bad it is
 * @repairable: whether %VIRTDISK_CHECK_REPAIR would mend it
 * @offset: where it lies in the file, in bytes
 * @field: name of the field that is wrong, or empty
 * @message: a sentence with the numbers
 *
 * One fault of an image. No string is %NULL.
 */
typedef struct {
  VirtdiskFaultKind kind;
  gboolean repairable;
  guint64 offset;
  char *field;
  char *message;
} VirtdiskFault;

/* ---- VirtdiskClient ---- */

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
 * @maximum_size: size of the disk in bytes; 0 with a parent
 * @parameters: (nullable): %NULL is version 1, the format by the extension of @path
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * CreateVirtualDisk. The service makes the file with the caller's rights; it appears whole or not at all.
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

/* ---- VirtdiskHandle ---- */

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

/* ---- VirtdiskDisk: as org.virtdisk1.Disk has it. Strings are never NULL ("" if not known) and are valid
 * until the disk changes, that is until the client's main context runs; other threads use g_object_get(),
 * which copies. ---- */

/**
 * virtdisk_disk_get_object_path:
 * @disk: a disk
 * Returns: (transfer none): its path on the bus.
 */
const char *virtdisk_disk_get_object_path(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_path:
 * @disk: a disk
 * Returns: (transfer none): the image for display; bytes that are not UTF-8 are escaped.
 */
const char *virtdisk_disk_get_path(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_file_name:
 * @disk: a disk
 * Returns: (transfer none) (type filename): the image, exactly as the file system has it.
 */
const char *virtdisk_disk_get_file_name(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_format:
 * @disk: a disk
 * Returns: (transfer none): "iso", "raw", "vhd" or "vhdx".
 */
const char *virtdisk_disk_get_format(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_device_id:
 * @disk: a disk
 * Returns: the format by number.
 */
VirtdiskDeviceId virtdisk_disk_get_device_id(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_vendor_id:
 * @disk: a disk
 * Returns: (transfer none): GUID, such as %VIRTDISK_VENDOR_MICROSOFT.
 */
const char *virtdisk_disk_get_vendor_id(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_subtype:
 * @disk: a disk
 * Returns: fixed, dynamic or differencing.
 */
VirtdiskSubtype virtdisk_disk_get_subtype(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_virtual_size:
 * @disk: a disk
 * Returns: size of the disk in bytes.
 */
guint64 virtdisk_disk_get_virtual_size(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_physical_size:
 * @disk: a disk
 * Returns: what the image takes on its file system, in bytes.
 */
guint64 virtdisk_disk_get_physical_size(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_block_size:
 * @disk: a disk
 * Returns: the format's allocation unit in bytes, 0 if it has none.
 */
guint virtdisk_disk_get_block_size(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_sector_size:
 * @disk: a disk
 * Returns: logical sector in bytes.
 */
guint virtdisk_disk_get_sector_size(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_physical_sector_size:
 * @disk: a disk
 * Returns: physical sector in bytes.
 */
guint virtdisk_disk_get_physical_sector_size(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_identifier:
 * @disk: a disk
 * Returns: (transfer none): GUID of the image, or "".
 */
const char *virtdisk_disk_get_identifier(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_depth:
 * @disk: a disk
 * Returns: images of its chain; 1 without a parent.
 */
guint virtdisk_disk_get_depth(VirtdiskDisk *disk);
/**
 * virtdisk_disk_dup_parents:
 * @disk: a disk
 * Returns: (transfer full) (array zero-terminated=1): its parents for display, nearest first. Free with
 * g_strfreev().
 */
char **virtdisk_disk_dup_parents(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_device:
 * @disk: a disk
 * Returns: (transfer none): the device node.
 */
const char *virtdisk_disk_get_device(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_device_number:
 * @disk: a disk
 * Returns: its dev_t.
 */
guint64 virtdisk_disk_get_device_number(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_disk_sequence:
 * @disk: a disk
 * Returns: the kernel's disk sequence number, never used twice until the machine starts again.
 */
guint64 virtdisk_disk_get_disk_sequence(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_read_only:
 * @disk: a disk
 * Returns: whether it was attached read-only.
 */
gboolean virtdisk_disk_get_read_only(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_lifetime:
 * @disk: a disk
 * Returns: (transfer none): "handle", "session", "permanent" or "boot".
 */
const char *virtdisk_disk_get_lifetime(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_detach_on_unmount:
 * @disk: a disk
 * Returns: whether it goes some seconds after its last mount.
 */
gboolean virtdisk_disk_get_detach_on_unmount(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_owner_uid:
 * @disk: a disk
 * Returns: the user who attached it.
 */
guint virtdisk_disk_get_owner_uid(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_session:
 * @disk: a disk
 * Returns: (transfer none): login session it ends with, or "".
 */
const char *virtdisk_disk_get_session(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_state:
 * @disk: a disk
 * Returns: (transfer none): "attach-pending", "attached", "attached-not-open", "detach-pending", or
 * "detached" when it has gone.
 */
const char *virtdisk_disk_get_state(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_file_systems:
 * @disk: a disk
 *
 * What was found on the disk: an array of dictionaries with the keys partition u (0: the whole disk), offset
 * t, size t, usage s, type s, label s, uuid s, part-type s, part-uuid s, part-name s, device s.
 *
 * Returns: (transfer full): a value of type aa{sv}.
 */
GVariant *virtdisk_disk_get_file_systems(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_route:
 * @disk: a disk
 * Returns: (transfer none): how its data travel, such as "loop".
 */
const char *virtdisk_disk_get_route(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_route_reason:
 * @disk: a disk
 * Returns: (transfer none): why that route was taken, for people.
 */
const char *virtdisk_disk_get_route_reason(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_direct_io:
 * @disk: a disk
 * Returns: whether the host's page cache is passed by.
 */
gboolean virtdisk_disk_get_direct_io(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_settled:
 * @disk: a disk
 * Returns: whether udev has processed the device and its partitions.
 */
gboolean virtdisk_disk_get_settled(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_origin_url:
 * @disk: a disk
 * Returns: (transfer none): where the image was downloaded from, or "".
 */
const char *virtdisk_disk_get_origin_url(VirtdiskDisk *disk);
/**
 * virtdisk_disk_get_attached_at:
 * @disk: a disk
 * Returns: seconds since 1970-01-01 00:00 UTC.
 */
guint64 virtdisk_disk_get_attached_at(VirtdiskDisk *disk);

/* ---- VirtdiskOpenParameters ---- */

/**
 * virtdisk_open_parameters_new:
 * Returns: (transfer full): parameters with nothing set.
 */
VirtdiskOpenParameters *virtdisk_open_parameters_new(void);
/**
 * virtdisk_open_parameters_set_version:
 * @parameters: the parameters
 * @version: 1 (the service's default), 2 or 3
 */
void virtdisk_open_parameters_set_version(VirtdiskOpenParameters *parameters, guint version);
/**
 * virtdisk_open_parameters_set_rw_depth:
 * @parameters: the parameters
 * @rw_depth: how many files of the chain, counted from the leaf, are opened for writing; version 1
 */
void virtdisk_open_parameters_set_rw_depth(VirtdiskOpenParameters *parameters, guint rw_depth);
/**
 * virtdisk_open_parameters_set_get_info_only:
 * @parameters: the parameters
 * @get_info_only: the handle may only ask; versions 2 and 3
 */
void virtdisk_open_parameters_set_get_info_only(VirtdiskOpenParameters *parameters, gboolean get_info_only);
/**
 * virtdisk_open_parameters_set_read_only:
 * @parameters: the parameters
 * @read_only: the files are opened for reading; versions 2 and 3
 */
void virtdisk_open_parameters_set_read_only(VirtdiskOpenParameters *parameters, gboolean read_only);
/**
 * virtdisk_open_parameters_set_device_id:
 * @parameters: the parameters
 * @device_id: the format; %VIRTDISK_DEVICE_UNKNOWN lets the file name's extension decide
 */
void virtdisk_open_parameters_set_device_id(VirtdiskOpenParameters *parameters, VirtdiskDeviceId device_id);
/**
 * virtdisk_open_parameters_set_vendor_id:
 * @parameters: the parameters
 * @vendor_id: GUID, such as %VIRTDISK_VENDOR_MICROSOFT
 */
void virtdisk_open_parameters_set_vendor_id(VirtdiskOpenParameters *parameters, const char *vendor_id);
/**
 * virtdisk_open_parameters_set_resiliency_guid:
 * @parameters: the parameters
 * @guid: ResiliencyGuid; versions 2 and 3
 */
void virtdisk_open_parameters_set_resiliency_guid(VirtdiskOpenParameters *parameters, const char *guid);
/**
 * virtdisk_open_parameters_set_snapshot_id:
 * @parameters: the parameters
 * @guid: SnapshotId; version 3
 */
void virtdisk_open_parameters_set_snapshot_id(VirtdiskOpenParameters *parameters, const char *guid);
/**
 * virtdisk_open_parameters_set_ignore_parent_timestamp:
 * @parameters: the parameters
 * @ignore_parent_timestamp: take a parent with the right id also if its time is another than the child
 * remembers, as after copying it
 */
void virtdisk_open_parameters_set_ignore_parent_timestamp(VirtdiskOpenParameters *parameters,
                                                          gboolean ignore_parent_timestamp);
/**
 * virtdisk_open_parameters_to_variant:
 * @parameters: the parameters
 * Returns: (transfer full): what goes over the bus, a value of type a{sv}.
 */
GVariant *virtdisk_open_parameters_to_variant(VirtdiskOpenParameters *parameters);

/* ---- VirtdiskCreateParameters ---- */

/**
 * virtdisk_create_parameters_new:
 * Returns: (transfer full): parameters with nothing set.
 */
VirtdiskCreateParameters *virtdisk_create_parameters_new(void);
/**
 * virtdisk_create_parameters_set_version:
 * @parameters: the parameters
 * @version: 1 (the service's default) or 2
 */
void virtdisk_create_parameters_set_version(VirtdiskCreateParameters *parameters, guint version);
/**
 * virtdisk_create_parameters_set_device_id:
 * @parameters: the parameters
 * @device_id: the format, %VIRTDISK_DEVICE_VHD or %VIRTDISK_DEVICE_VHDX; by default the extension says it
 */
void virtdisk_create_parameters_set_device_id(VirtdiskCreateParameters *parameters,
                                              VirtdiskDeviceId device_id);
/**
 * virtdisk_create_parameters_set_vendor_id:
 * @parameters: the parameters
 * @vendor_id: (nullable): GUID
 */
void virtdisk_create_parameters_set_vendor_id(VirtdiskCreateParameters *parameters, const char *vendor_id);
/**
 * virtdisk_create_parameters_set_provider_specific_flags:
 * @parameters: the parameters
 * @flags: 0
 */
void virtdisk_create_parameters_set_provider_specific_flags(VirtdiskCreateParameters *parameters,
                                                            guint flags);
/**
 * virtdisk_create_parameters_set_unique_id:
 * @parameters: the parameters
 * @guid: (nullable): identifier of the image; by default a random one
 */
void virtdisk_create_parameters_set_unique_id(VirtdiskCreateParameters *parameters, const char *guid);
/**
 * virtdisk_create_parameters_set_block_size:
 * @parameters: the parameters
 * @block_size: bytes, 0 for the format's default
 */
void virtdisk_create_parameters_set_block_size(VirtdiskCreateParameters *parameters, guint block_size);
/**
 * virtdisk_create_parameters_set_sector_size:
 * @parameters: the parameters
 * @sector_size: logical sector in bytes, 512 or 4096
 */
void virtdisk_create_parameters_set_sector_size(VirtdiskCreateParameters *parameters, guint sector_size);
/**
 * virtdisk_create_parameters_set_physical_sector_size:
 * @parameters: the parameters
 * @sector_size: physical sector in bytes; version 2
 */
void virtdisk_create_parameters_set_physical_sector_size(VirtdiskCreateParameters *parameters,
                                                         guint sector_size);
/**
 * virtdisk_create_parameters_set_open_flags:
 * @parameters: the parameters
 * @flags: OPEN_VIRTUAL_DISK_FLAG of the handle; version 2
 */
void virtdisk_create_parameters_set_open_flags(VirtdiskCreateParameters *parameters, VirtdiskOpenFlags flags);
/**
 * virtdisk_create_parameters_set_parent_device_id:
 * @parameters: the parameters
 * @device_id: the format of the parent; version 2
 */
void virtdisk_create_parameters_set_parent_device_id(VirtdiskCreateParameters *parameters,
                                                     VirtdiskDeviceId device_id);
/**
 * virtdisk_create_parameters_set_parent_vendor_id:
 * @parameters: the parameters
 * @vendor_id: (nullable): GUID; version 2
 */
void virtdisk_create_parameters_set_parent_vendor_id(VirtdiskCreateParameters *parameters,
                                                     const char *vendor_id);
/**
 * virtdisk_create_parameters_set_resiliency_guid:
 * @parameters: the parameters
 * @guid: (nullable): resiliency GUID; version 2
 */
void virtdisk_create_parameters_set_resiliency_guid(VirtdiskCreateParameters *parameters, const char *guid);
/**
 * virtdisk_create_parameters_set_parent_path:
 * @parameters: the parameters
 * @path: (nullable) (type filename): the parent, which makes a differencing image
 */
void virtdisk_create_parameters_set_parent_path(VirtdiskCreateParameters *parameters, const char *path);
/**
 * virtdisk_create_parameters_to_variant:
 * @parameters: the parameters
 * Returns: (transfer full): the options as they go over the bus, of type a{sv}.
 */
GVariant *virtdisk_create_parameters_to_variant(VirtdiskCreateParameters *parameters);

/* ---- VirtdiskAttachParameters ---- */

/**
 * virtdisk_attach_parameters_new:
 * Returns: (transfer full): parameters with nothing set.
 */
VirtdiskAttachParameters *virtdisk_attach_parameters_new(void);
/**
 * virtdisk_attach_parameters_set_read_only:
 * @parameters: the parameters
 * @read_only: attach read-only. virtdisk_client_attach_image() only; with a handle use
 * %VIRTDISK_ATTACH_READ_ONLY
 */
void virtdisk_attach_parameters_set_read_only(VirtdiskAttachParameters *parameters, gboolean read_only);
/**
 * virtdisk_attach_parameters_set_flags:
 * @parameters: the parameters
 * @flags: ATTACH_VIRTUAL_DISK_FLAG. virtdisk_client_attach_image() only
 */
void virtdisk_attach_parameters_set_flags(VirtdiskAttachParameters *parameters, VirtdiskAttachFlags flags);
/**
 * virtdisk_attach_parameters_set_open_flags:
 * @parameters: the parameters
 * @flags: OPEN_VIRTUAL_DISK_FLAG. virtdisk_client_attach_image() only
 */
void virtdisk_attach_parameters_set_open_flags(VirtdiskAttachParameters *parameters, VirtdiskOpenFlags flags);
/**
 * virtdisk_attach_parameters_set_device_id:
 * @parameters: the parameters
 * @device_id: the format. virtdisk_client_attach_image() only
 */
void virtdisk_attach_parameters_set_device_id(VirtdiskAttachParameters *parameters,
                                              VirtdiskDeviceId device_id);
/**
 * virtdisk_attach_parameters_set_vendor_id:
 * @parameters: the parameters
 * @vendor_id: GUID. virtdisk_client_attach_image() only
 */
void virtdisk_attach_parameters_set_vendor_id(VirtdiskAttachParameters *parameters, const char *vendor_id);
/**
 * virtdisk_attach_parameters_set_version:
 * @parameters: the parameters
 * @version: 1 (the service's default) or 2. virtdisk_handle_attach_virtual_disk() only
 */
void virtdisk_attach_parameters_set_version(VirtdiskAttachParameters *parameters, guint version);
/**
 * virtdisk_attach_parameters_set_provider_specific_flags:
 * @parameters: the parameters
 * @flags: 0. virtdisk_handle_attach_virtual_disk() only
 */
void virtdisk_attach_parameters_set_provider_specific_flags(VirtdiskAttachParameters *parameters,
                                                            guint flags);
/**
 * virtdisk_attach_parameters_set_lifetime:
 * @parameters: the parameters
 * @lifetime: "handle" (with a handle only), "session", "permanent" or "boot"
 */
void virtdisk_attach_parameters_set_lifetime(VirtdiskAttachParameters *parameters, const char *lifetime);
/**
 * virtdisk_attach_parameters_set_detach_on_unmount:
 * @parameters: the parameters
 * @detach_on_unmount: detach some seconds after the last mount has gone
 */
void virtdisk_attach_parameters_set_detach_on_unmount(VirtdiskAttachParameters *parameters,
                                                      gboolean detach_on_unmount);
/**
 * virtdisk_attach_parameters_set_sector_size:
 * @parameters: the parameters
 * @sector_size: logical sector of the device in bytes, for formats that do not say
 */
void virtdisk_attach_parameters_set_sector_size(VirtdiskAttachParameters *parameters, guint sector_size);
/**
 * virtdisk_attach_parameters_set_partition_scan:
 * @parameters: the parameters
 * @partition_scan: whether partitions become devices
 */
void virtdisk_attach_parameters_set_partition_scan(VirtdiskAttachParameters *parameters,
                                                   gboolean partition_scan);
/**
 * virtdisk_attach_parameters_set_owner_uid:
 * @parameters: the parameters
 * @uid: owner of the device node
 */
void virtdisk_attach_parameters_set_owner_uid(VirtdiskAttachParameters *parameters, guint uid);
/**
 * virtdisk_attach_parameters_set_owner_gid:
 * @parameters: the parameters
 * @gid: group of the device node
 */
void virtdisk_attach_parameters_set_owner_gid(VirtdiskAttachParameters *parameters, guint gid);
/**
 * virtdisk_attach_parameters_set_mode:
 * @parameters: the parameters
 * @mode: permission bits of the device node, such as 0600
 */
void virtdisk_attach_parameters_set_mode(VirtdiskAttachParameters *parameters, guint mode);
/**
 * virtdisk_attach_parameters_set_restricted_range:
 * @parameters: the parameters
 * @offset: first byte of the disk that the device shows
 * @length: how many bytes it shows
 *
 * Goes with %VIRTDISK_ATTACH_RESTRICTED_RANGE.
 */
void virtdisk_attach_parameters_set_restricted_range(VirtdiskAttachParameters *parameters, guint64 offset,
                                                     guint64 length);
/**
 * virtdisk_attach_parameters_set_route:
 * @parameters: the parameters
 * @route: (nullable): "loop", "ublk" or "fuse", and no other way; by default the best there is
 */
void virtdisk_attach_parameters_set_route(VirtdiskAttachParameters *parameters, const char *route);
/**
 * virtdisk_attach_parameters_set_zero_copy:
 * @parameters: the parameters
 * @zero_copy: with ublk: data do not pass through the worker's memory, where the kernel can
 */
void virtdisk_attach_parameters_set_zero_copy(VirtdiskAttachParameters *parameters, gboolean zero_copy);
/**
 * virtdisk_attach_parameters_to_variant:
 * @parameters: the parameters
 * Returns: (transfer full): what goes over the bus, a value of type a{sv}.
 */
GVariant *virtdisk_attach_parameters_to_variant(VirtdiskAttachParameters *parameters);

/* ---- VirtdiskDetachParameters ---- */

/**
 * virtdisk_detach_parameters_new:
 * Returns: (transfer full): parameters with nothing set.
 */
VirtdiskDetachParameters *virtdisk_detach_parameters_new(void);
/**
 * virtdisk_detach_parameters_set_force:
 * @parameters: the parameters
 * @force: unmount what is mounted, then detach
 */
void virtdisk_detach_parameters_set_force(VirtdiskDetachParameters *parameters, gboolean force);
/**
 * virtdisk_detach_parameters_set_when_idle:
 * @parameters: the parameters
 * @when_idle: if the disk is in use, detach it when its last user goes
 */
void virtdisk_detach_parameters_set_when_idle(VirtdiskDetachParameters *parameters, gboolean when_idle);
/**
 * virtdisk_detach_parameters_set_provider_specific_flags:
 * @parameters: the parameters
 * @flags: 0. virtdisk_handle_detach_virtual_disk() only
 */
void virtdisk_detach_parameters_set_provider_specific_flags(VirtdiskDetachParameters *parameters,
                                                            guint flags);
/**
 * virtdisk_detach_parameters_to_variant:
 * @parameters: the parameters
 * Returns: (transfer full): what goes over the bus, a value of type a{sv}.
 */
GVariant *virtdisk_detach_parameters_to_variant(VirtdiskDetachParameters *parameters);

/* ---- VirtdiskInfo ---- */

GType virtdisk_info_get_type(void);
/**
 * virtdisk_info_ref:
 * @info: an answer
 * Returns: (transfer full): @info.
 */
VirtdiskInfo *virtdisk_info_ref(VirtdiskInfo *info);
/**
 * virtdisk_info_unref:
 * @info: (transfer full): an answer
 */
void virtdisk_info_unref(VirtdiskInfo *info);
/**
 * virtdisk_info_get_version:
 * @info: an answer
 * Returns: what was asked for.
 */
VirtdiskInfoVersion virtdisk_info_get_version(VirtdiskInfo *info);
/**
 * virtdisk_info_to_variant:
 * @info: an answer
 * Returns: (transfer full): all members by their names in virtdisk.h (VirtualSize, Is4kAligned), a value of
 * type a{sv}.
 */
GVariant *virtdisk_info_to_variant(VirtdiskInfo *info);
/**
 * virtdisk_info_get_virtual_size:
 * @info: an answer to %VIRTDISK_INFO_SIZE
 * Returns: size of the disk in bytes.
 */
guint64 virtdisk_info_get_virtual_size(VirtdiskInfo *info);
/**
 * virtdisk_info_get_physical_size:
 * @info: an answer to %VIRTDISK_INFO_SIZE
 * Returns: what the image takes on its file system, in bytes.
 */
guint64 virtdisk_info_get_physical_size(VirtdiskInfo *info);
/**
 * virtdisk_info_get_block_size:
 * @info: an answer to %VIRTDISK_INFO_SIZE
 * Returns: the format's allocation unit in bytes, 0 if it has none.
 */
guint virtdisk_info_get_block_size(VirtdiskInfo *info);
/**
 * virtdisk_info_get_sector_size:
 * @info: an answer to %VIRTDISK_INFO_SIZE
 * Returns: logical sector in bytes.
 */
guint virtdisk_info_get_sector_size(VirtdiskInfo *info);
/**
 * virtdisk_info_get_identifier:
 * @info: an answer to %VIRTDISK_INFO_IDENTIFIER
 * Returns: (transfer none) (nullable): GUID.
 */
const char *virtdisk_info_get_identifier(VirtdiskInfo *info);
/**
 * virtdisk_info_get_parent_resolved:
 * @info: an answer to %VIRTDISK_INFO_PARENT_LOCATION
 * Returns: whether the parent was found.
 */
gboolean virtdisk_info_get_parent_resolved(VirtdiskInfo *info);
/**
 * virtdisk_info_dup_parent_locations:
 * @info: an answer to %VIRTDISK_INFO_PARENT_LOCATION
 * Returns: (transfer full) (nullable) (array zero-terminated=1): the parent, or all places it was looked for.
 */
char **virtdisk_info_dup_parent_locations(VirtdiskInfo *info);
/**
 * virtdisk_info_get_parent_identifier:
 * @info: an answer to %VIRTDISK_INFO_PARENT_IDENTIFIER
 * Returns: (transfer none) (nullable): GUID.
 */
const char *virtdisk_info_get_parent_identifier(VirtdiskInfo *info);
/**
 * virtdisk_info_get_parent_timestamp:
 * @info: an answer to %VIRTDISK_INFO_PARENT_TIMESTAMP
 * Returns: seconds since 2000-01-01 00:00 UTC.
 */
guint virtdisk_info_get_parent_timestamp(VirtdiskInfo *info);
/**
 * virtdisk_info_get_device_id:
 * @info: an answer to %VIRTDISK_INFO_VIRTUAL_STORAGE_TYPE
 * Returns: the format.
 */
VirtdiskDeviceId virtdisk_info_get_device_id(VirtdiskInfo *info);
/**
 * virtdisk_info_get_vendor_id:
 * @info: an answer to %VIRTDISK_INFO_VIRTUAL_STORAGE_TYPE
 * Returns: (transfer none) (nullable): GUID.
 */
const char *virtdisk_info_get_vendor_id(VirtdiskInfo *info);
/**
 * virtdisk_info_get_provider_subtype:
 * @info: an answer to %VIRTDISK_INFO_PROVIDER_SUBTYPE
 * Returns: fixed, dynamic or differencing.
 */
VirtdiskSubtype virtdisk_info_get_provider_subtype(VirtdiskInfo *info);
/**
 * virtdisk_info_get_is_4k_aligned:
 * @info: an answer to %VIRTDISK_INFO_IS_4K_ALIGNED
 * Returns: whether payload lies at multiples of 4096 in the file.
 */
gboolean virtdisk_info_get_is_4k_aligned(VirtdiskInfo *info);
/**
 * virtdisk_info_get_logical_sector_size:
 * @info: an answer to %VIRTDISK_INFO_PHYSICAL_DISK
 * Returns: logical sector of the host's disk in bytes.
 */
guint virtdisk_info_get_logical_sector_size(VirtdiskInfo *info);
/**
 * virtdisk_info_get_physical_sector_size:
 * @info: an answer to %VIRTDISK_INFO_PHYSICAL_DISK
 * Returns: physical sector of the host's disk in bytes.
 */
guint virtdisk_info_get_physical_sector_size(VirtdiskInfo *info);
/**
 * virtdisk_info_get_is_remote:
 * @info: an answer to %VIRTDISK_INFO_PHYSICAL_DISK
 * Returns: whether the image lies on another machine.
 */
gboolean virtdisk_info_get_is_remote(VirtdiskInfo *info);
/**
 * virtdisk_info_get_vhd_physical_sector_size:
 * @info: an answer to %VIRTDISK_INFO_VHD_PHYSICAL_SECTOR_SIZE
 * Returns: physical sector that the disk reports, in bytes.
 */
guint virtdisk_info_get_vhd_physical_sector_size(VirtdiskInfo *info);
/**
 * virtdisk_info_get_smallest_safe_virtual_size:
 * @info: an answer to %VIRTDISK_INFO_SMALLEST_SAFE_VIRTUAL_SIZE
 * Returns: the smallest size that keeps all partitions, in bytes.
 */
guint64 virtdisk_info_get_smallest_safe_virtual_size(VirtdiskInfo *info);
/**
 * virtdisk_info_get_fragmentation_percentage:
 * @info: an answer to %VIRTDISK_INFO_FRAGMENTATION
 * Returns: 0 to 100.
 */
guint virtdisk_info_get_fragmentation_percentage(VirtdiskInfo *info);
/**
 * virtdisk_info_get_is_loaded:
 * @info: an answer to %VIRTDISK_INFO_IS_LOADED
 * Returns: whether the disk is attached and in use.
 */
gboolean virtdisk_info_get_is_loaded(VirtdiskInfo *info);
/**
 * virtdisk_info_get_virtual_disk_id:
 * @info: an answer to %VIRTDISK_INFO_VIRTUAL_DISK_ID
 * Returns: (transfer none) (nullable): GUID.
 */
const char *virtdisk_info_get_virtual_disk_id(VirtdiskInfo *info);

/* ---- VirtdiskDependency ---- */

GType virtdisk_dependency_get_type(void);
/**
 * virtdisk_dependency_copy:
 * @dependency: an entry
 * Returns: (transfer full): a copy.
 */
VirtdiskDependency *virtdisk_dependency_copy(const VirtdiskDependency *dependency);
/**
 * virtdisk_dependency_free:
 * @dependency: (transfer full) (nullable): an entry
 */
void virtdisk_dependency_free(VirtdiskDependency *dependency);

/* ---- VirtdiskCheck ---- */

GType virtdisk_check_get_type(void);
/**
 * virtdisk_check_ref:
 * @check: what was found
 * Returns: (transfer full): @check.
 */
VirtdiskCheck *virtdisk_check_ref(VirtdiskCheck *check);
/**
 * virtdisk_check_unref:
 * @check: (transfer full): what was found
 */
void virtdisk_check_unref(VirtdiskCheck *check);
/**
 * virtdisk_check_get_faults:
 * @check: what was found
 * Returns: (transfer none) (element-type VirtdiskFault): the faults, of very many only the first.
 */
GPtrArray *virtdisk_check_get_faults(VirtdiskCheck *check);
/**
 * virtdisk_check_get_count:
 * @check: what was found
 * @kind: a kind
 * Returns: how many faults of that kind there are, told or not.
 */
guint64 virtdisk_check_get_count(VirtdiskCheck *check, VirtdiskFaultKind kind);
/**
 * virtdisk_check_get_repairable:
 * @check: what was found
 * Returns: how many of the faults %VIRTDISK_CHECK_REPAIR would mend.
 */
guint virtdisk_check_get_repairable(VirtdiskCheck *check);
/**
 * virtdisk_check_get_repaired:
 * @check: what was found
 * Returns: whether the file was written to; the faults are those that are left.
 */
gboolean virtdisk_check_get_repaired(VirtdiskCheck *check);
/**
 * virtdisk_check_get_blocks:
 * @check: what was found
 * Returns: blocks of the disk; 0 where the format has none, or they could not be read.
 */
guint64 virtdisk_check_get_blocks(VirtdiskCheck *check);
/**
 * virtdisk_check_get_allocated_blocks:
 * @check: what was found
 * Returns: blocks of the disk that have space in the file.
 */
guint64 virtdisk_check_get_allocated_blocks(VirtdiskCheck *check);
/**
 * virtdisk_check_get_leaked:
 * @check: what was found
 * Returns: bytes of the file that belong to nothing.
 */
guint64 virtdisk_check_get_leaked(VirtdiskCheck *check);
/**
 * virtdisk_check_to_variant:
 * @check: what was found
 * Returns: (transfer full): all of it as it came over the bus, a value of type a{sv}.
 */
GVariant *virtdisk_check_to_variant(VirtdiskCheck *check);

/* ---- VirtdiskFault ---- */

GType virtdisk_fault_get_type(void);
/**
 * virtdisk_fault_copy:
 * @fault: a fault
 * Returns: (transfer full): a copy.
 */
VirtdiskFault *virtdisk_fault_copy(const VirtdiskFault *fault);
/**
 * virtdisk_fault_free:
 * @fault: (transfer full) (nullable): a fault
 */
void virtdisk_fault_free(VirtdiskFault *fault);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirtdiskInfo, virtdisk_info_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirtdiskDependency, virtdisk_dependency_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirtdiskCheck, virtdisk_check_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirtdiskFault, virtdisk_fault_free)

G_END_DECLS
