/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CreateVirtualDisk as pure functions: what its parameters mean, and what a worker is to write. No file is
 * looked at. Source: the pages of CreateVirtualDisk and CREATE_VIRTUAL_DISK_PARAMETERS.
 */
#pragma once

#include "access.h"
#include "chain.h"
#include "formats/create.h"

/* Bytes: the smallest virtual disk of all, and the largest of VHD. */
#define VD_CREATE_MIN_SIZE (G_GUINT64_CONSTANT(3) << 20)
#define VD_CREATE_MAX_VHD_SIZE (G_GUINT64_CONSTANT(2040) << 30)

/* Bytes of a virtual disk, by format. */
guint64 vd_create_smallest_size(guint32 device_id);
guint64 vd_create_largest_size(guint32 device_id);

/* Parameters as they came. */
typedef struct {
  guint32 device_id;
  const char *vendor; /* GUID text or NULL */
  guint32 mask;
  guint32 flags;   /* VirtdiskCreateFlags */
  guint32 version; /* 1, 2 */
  guint32 provider_flags;
  guint64 maximum_size;                                  /* bytes */
  const char *unique_id;                                 /* GUID text or NULL */
  guint32 block_size, sector_size, physical_sector_size; /* bytes; 0: the default */
  const char *parent_path;                               /* absolute, or NULL */
  const char *source_path;                               /* absolute, or NULL */
  gboolean has_physical_sector_size, has_open_flags, has_parent_type, has_source_type, has_resiliency_guid;
  guint32 open_flags;
  guint32 parent_device_id;
  const char *parent_vendor;
  guint32 source_device_id;
  const char *source_vendor;
  dev_t source_device; /* the block device that whoever calls has found at source_path, and has been allowed
                          to copy; 0: no device */
  const char *resiliency_guid;
  /* Our own. */
  gboolean verify; /* what was copied is read back and compared */
  gboolean has_owner_uid, has_owner_gid, has_mode;
  guint32 owner_uid, owner_gid, mode; /* of the new file */
} VdCreateParams;

/*
 * Checks the parameters. path: of the new file, for its extension. ret_spec: without what a parent says;
 * random ids where none is given. ret_open: how the new image is opened then. Errors: INVALID_PARAMETER,
 * NOT_SUPPORTED, PROVIDER_NOT_FOUND, VHD_INVALID_SIZE (above what the format can).
 */
gboolean vd_create_check(const VdCreateParams *params, const char *path, VdCreateSpec *ret_spec,
                         VdOpenParams *ret_open, VdRights *ret_rights, GError **error);

/*
 * A child of parent: size, sectors and ids from it, and where it lies. folder: of the new file, parent_path:
 * of the parent, both as the kernel names them. Errors: INVALID_PARAMETER (a path that an image cannot hold).
 */
gboolean vd_create_from_parent(const VdCreateParams *params, const VdFacts *parent, const char *folder,
                               const char *parent_path, const VdPathMap *map, VdCreateSpec *spec,
                               GError **error);

/*
 * A copy of source, as large or larger: size and sectors from it where none were asked for. Errors:
 * INVALID_PARAMETER (smaller than the source), VHD_INVALID_SIZE (more than the format can),
 * UNSUPPORTED_DISK_SECTOR_SIZE (a VHD, and the source has larger sectors).
 */
gboolean vd_create_from_source(const VdCreateParams *params, const VdFacts *source, VdCreateSpec *spec,
                               GError **error);

/*
 * An empty image like the one that original tells of, with its identity, to take its place one day. folder:
 * of the new file; parent_path: of the parent, or NULL; both as the kernel names them. Errors:
 * INVALID_PARAMETER (a path that an image cannot hold).
 */
gboolean vd_create_from_original(const VdFacts *original, const char *folder, const char *parent_path,
                                 const VdPathMap *map, VdCreateSpec *ret_spec, GError **error);

/*
 * What an image in folder says of where its parent lies; each 1024 bytes. absolute: as Windows has it, or
 * empty. Errors: INVALID_PARAMETER (a path that an image cannot hold).
 */
gboolean vd_create_place(const char *folder, const char *parent_path, const VdPathMap *map, char *relative,
                         char *absolute, GError **error);

/* From a folder to a file, both absolute and without dots: "../x/p.vhdx". (transfer full) */
char *vd_relative_path(const char *folder, const char *path);
