/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The access model of the API as pure functions: what the parameters of OpenVirtualDisk and AttachVirtualDisk
 * mean, what a handle may do with them, and which handles may stand side by side. No state, no file is looked
 * at. Sources: OpenVirtualDisk, AttachVirtualDisk, VIRTUAL_DISK_ACCESS_MASK pages of the Virtual Disk API.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "virtdisk-enums.h"
#include "virtdisk-error.h"
#include "worker/facts.h"

/* Parameters of OpenVirtualDisk as they came. */
typedef struct {
  guint32 device_id;
  const char *vendor; /* GUID text or NULL */
  guint32 mask;
  guint32 flags;
  guint32 version; /* 1, 2, 3 */
  gboolean has_rw_depth, has_get_info_only, has_read_only, has_resiliency_guid, has_snapshot_id;
  guint32 rw_depth;
  gboolean get_info_only;
  gboolean read_only;
  const char *resiliency_guid;
  const char *snapshot_id;
  gboolean ignore_parent_timestamp; /* our own: a parent that was copied has another time, and the same id */
} VdOpenParams;

/* What a handle may do. */
typedef struct {
  guint32 version;
  guint32 mask;  /* VirtdiskAccessMask; for version 2 and 3 what the booleans grant */
  guint32 flags; /* VirtdiskOpenFlags */
  gboolean get_info_only;
  gboolean write;   /* the file is opened for writing */
  guint32 rw_depth; /* files of the chain, from the leaf, that are opened for writing; 0 if not write */
  gboolean ignore_parent_timestamp;
} VdRights;

/*
 * Checks the parameters and says what they grant. path names the image, for its extension only.
 * ret_device_id: resolved format. Errors: INVALID_PARAMETER, NOT_SUPPORTED, PROVIDER_NOT_FOUND.
 */
gboolean vd_access_open(const VdOpenParams *params, const char *path, guint32 *ret_device_id,
                        VdRights *ret_rights, GError **error);

/* TRUE if a handle with these rights excludes every other one but those of DETACH and GET_INFO. */
gboolean vd_access_is_exclusive(const VdRights *rights);

/*
 * May a handle with wanted stand beside those that are open (n of them)? Errors: SHARING_VIOLATION.
 */
gboolean vd_access_share(const VdRights *wanted, const VdRights *const *open, gsize n, GError **error);

typedef enum { VD_LIFETIME_HANDLE, VD_LIFETIME_SESSION, VD_LIFETIME_PERMANENT, VD_LIFETIME_BOOT } VdLifetime;

const char *vd_lifetime_to_string(VdLifetime lifetime);
gboolean vd_lifetime_from_string(const char *word, VdLifetime *ret_lifetime);

/* Re-opening a disk that is attached for longer than a handle lives. Errors: ACCESS_DENIED,
 * SHARING_VIOLATION. */
gboolean vd_access_reopen(const VdRights *wanted, VdLifetime lifetime, gboolean attached_from_read_only,
                          GError **error);

/* Parameters of AttachVirtualDisk as they came. */
typedef struct {
  guint32 flags;
  guint32 version; /* 1, 2 */
  guint32 provider_flags;
  const char *lifetime; /* or NULL: from flags */
  gboolean detach_on_unmount;
  gboolean has_sector_size, has_partition_scan, has_uid, has_gid, has_mode, has_range;
  guint32 sector_size;
  gboolean partition_scan;
  guint32 uid, gid, mode;
  guint64 restricted_offset, restricted_length;
  const char *route; /* "loop", "ublk", "fuse", "nbd", or NULL: the best there is */
  gboolean zero_copy;
} VdAttachParams;

/* What they come to for one image. */
typedef struct {
  guint32 flags;
  VdLifetime lifetime;
  gboolean read_only;
  gboolean direct_io;
  gboolean partition_scan;
  gboolean detach_on_unmount;
  guint32 sector_size;
  guint64 offset;    /* bytes in the file */
  guint64 size;      /* bytes */
  gboolean whole;    /* the device shows the whole virtual disk, so facts->contents apply as they are */
  guint64 skip;      /* bytes of the virtual disk before the first byte shown */
  const char *route; /* static; NULL: the best there is */
  gboolean zero_copy;
  uid_t uid; /* VD_UID_INVALID: the system's default */
  gid_t gid;
  mode_t mode;
} VdAttachPlan;

/*
 * First half, before the image is looked at: flags, words, what the format allows. Errors: INVALID_PARAMETER,
 * NOT_SUPPORTED.
 */
gboolean vd_access_attach_flags(const VdAttachParams *params, guint32 device_id, VdLifetime *ret_lifetime,
                                gboolean *ret_read_only, GError **error);
/*
 * The whole: rights of the handle, the range, the node's owner (file_uid, file_gid, file_mode are the
 * image's; caller_uid may give the node away only if it is root). Errors: also ACCESS_DENIED.
 */
gboolean vd_access_attach(const VdAttachParams *params, const VdRights *rights, const VdFacts *facts,
                          uid_t caller_uid, uid_t file_uid, gid_t file_gid, mode_t file_mode,
                          VdAttachPlan *ret_plan, GError **error);
