/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The types of libvirtdisk. What they can do is in the header of each. */
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
 * Signals: disk-added, disk-removed, disk-changed, each with the #VirtdiskDisk; job-added, job-removed, each
 * with the #VirtdiskJob.
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

#define VIRTDISK_TYPE_JOB (virtdisk_job_get_type())
/**
 * VirtdiskJob:
 *
 * One operation that outlasts a call, as the service last described it; properties mirror org.virtdisk1.Job
 * and notify. As long as anybody holds it, the client has one object for each job. After the job was
 * forgotten the last values stay.
 */
G_DECLARE_FINAL_TYPE(VirtdiskJob, virtdisk_job, VIRTDISK, JOB, GObject)

#define VIRTDISK_TYPE_OPERATION_PARAMETERS (virtdisk_operation_parameters_get_type())
/**
 * VirtdiskOperationParameters:
 *
 * COMPACT_, EXPAND_, RESIZE_ and MERGE_VIRTUAL_DISK_PARAMETERS but for the size, and what concerns the job.
 * What is not set is not sent. Not to be changed by one thread while another uses it.
 */
G_DECLARE_FINAL_TYPE(VirtdiskOperationParameters, virtdisk_operation_parameters, VIRTDISK,
                     OPERATION_PARAMETERS, GObject)

/**
 * VirtdiskProgressFunc:
 * @job: the job
 * @data: what was given with the function
 *
 * Called when the job has begun and whenever a property of it has changed, until it has ended.
 */
typedef void (*VirtdiskProgressFunc)(VirtdiskJob *job, gpointer data);

#define VIRTDISK_TYPE_SET_INFO (virtdisk_set_info_get_type())
/**
 * VirtdiskSetInfo:
 *
 * One change of an image: one version of SET_VIRTUAL_DISK_INFO. Immutable, counted. Any thread.
 */
typedef struct _VirtdiskSetInfo VirtdiskSetInfo;

G_END_DECLS
