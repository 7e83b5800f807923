/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every name on the wire, and the words for enumerations there. */
#pragma once

#define VD_BUS_NAME "org.virtdisk1"
#define VD_ROOT_PATH "/org/virtdisk1"
#define VD_DISK_PATH_PREFIX "/org/virtdisk1/disk/"
#define VD_HANDLES_PATH "/org/virtdisk1/handle"
#define VD_HANDLE_PATH_PREFIX "/org/virtdisk1/handle/"
#define VD_JOB_PATH_PREFIX "/org/virtdisk1/job/"
#define VD_IFACE_MANAGER "org.virtdisk1.Manager"
#define VD_IFACE_DISK "org.virtdisk1.Disk"
#define VD_IFACE_HANDLE "org.virtdisk1.Handle"
#define VD_IFACE_JOB "org.virtdisk1.Job"
#define VD_ERROR_PREFIX "org.virtdisk1.Error."

#define VD_ACTION_ATTACH_READ_ONLY "org.virtdisk1.attach-read-only"
#define VD_ACTION_MANAGE_VOLUME "org.virtdisk1.manage-volume"
#define VD_ACTION_ATTACH_AT_BOOT "org.virtdisk1.attach-at-boot"
#define VD_ACTION_MANAGE_OTHERS "org.virtdisk1.manage-others"
#define VD_ACTION_USE_PHYSICAL_DISK "org.virtdisk1.use-physical-disk"

/* Fields of the journal. */
#define VD_LOG_DISK "VIRTDISK_DISK"
#define VD_LOG_IMAGE "VIRTDISK_IMAGE"
#define VD_LOG_DEVICE "VIRTDISK_DEVICE"
#define VD_LOG_UID "VIRTDISK_UID"
#define VD_LOG_ERROR "VIRTDISK_ERROR"
