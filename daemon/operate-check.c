/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What operations on a handle need: rights, and an image of the right kind. No state is changed. */
#include "operate-private.h"
#include <string.h>

typedef struct {
  const char *doing; /* "the image is being ..." */
  gboolean writes;
  gboolean is_for_version_2;
} Row;

static const Row rows[VD_N_OPERATIONS] = {
    [VD_OPERATION_COMPACT] = {"compacted", TRUE, FALSE},
    [VD_OPERATION_EXPAND] = {"expanded", TRUE, FALSE},
    [VD_OPERATION_RESIZE] = {"resized", TRUE, TRUE},
    [VD_OPERATION_MERGE] = {"merged", TRUE, FALSE},
    [VD_OPERATION_SET_PARENT] = {"given another parent", TRUE, FALSE},
    [VD_OPERATION_SET_LOCATOR] = {"given another parent", TRUE, FALSE},
    [VD_OPERATION_SET_IDENTIFIER] = {"given another identifier", TRUE, FALSE},
    [VD_OPERATION_SET_PHYSICAL_SECTOR_SIZE] = {"given another sector size", TRUE, FALSE},
    [VD_OPERATION_SET_VIRTUAL_DISK_ID] = {"given another identifier", TRUE, FALSE},
    [VD_OPERATION_ENUMERATE_METADATA] = {"asked for its metadata", FALSE, TRUE},
    [VD_OPERATION_GET_METADATA] = {"asked for its metadata", FALSE, TRUE},
    [VD_OPERATION_SET_METADATA] = {"given metadata", TRUE, TRUE},
    [VD_OPERATION_DELETE_METADATA] = {"given metadata", TRUE, TRUE},
    [VD_OPERATION_MEASURE] = {"measured", FALSE, FALSE},
    [VD_OPERATION_MIRROR] = {"mirrored", TRUE, TRUE},
    [VD_OPERATION_SET_CHANGE_TRACKING] = {"told whether to track its changes", TRUE, FALSE},
    [VD_OPERATION_CHANGE_TRACKING_STATE] = {"asked for its changes", FALSE, FALSE},
    [VD_OPERATION_QUERY_CHANGES] = {"asked for its changes", FALSE, FALSE},
};

const char *vd_operate_describe(VdOperationKind kind)
{
  return rows[kind].doing;
}

gboolean vd_operate_writes(VdOperationKind kind)
{
  return rows[kind].writes;
}

static gboolean refuse(GError **error, VirtdiskError code, const char *text)
{
  g_set_error_literal(error, VIRTDISK_ERROR, (gint)code, text);
  return FALSE;
}

static gboolean check_rights(const VdRights *rights, const Row *row, GError **error)
{
  guint32 needed = row->writes ? VIRTDISK_ACCESS_METAOPS : VIRTDISK_ACCESS_GET_INFO;

  if (row->is_for_version_2 && rights->version == 1)
    return refuse(error, VIRTDISK_ERROR_INVALID_PARAMETER,
                  "this is for handles that were opened with version 2");
  if ((rights->mask & needed) == 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                "the handle was opened without %s (its access is 0x%08x)",
                row->writes ? "METAOPS" : "GET_INFO", rights->mask);
    return FALSE;
  }
  if (row->writes && !rights->write)
    return refuse(error, VIRTDISK_ERROR_ACCESS_DENIED, "the handle was opened for reading only");
  return TRUE;
}

static gboolean invalid_type(const VdHandle *handle, const char *what, GError **error)
{
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_TYPE, "%s: %s (format %s, subtype %u)",
              handle->disk->display, what, vd_disk_format(handle->disk), handle->disk->facts.subtype);
  return FALSE;
}

static gboolean has_blocks(const VdFacts *facts)
{
  return facts->subtype == VIRTDISK_SUBTYPE_DYNAMIC || facts->subtype == VIRTDISK_SUBTYPE_DIFFERENCING;
}

static gboolean has_whole_chain(const VdHandle *handle)
{
  const VdFacts *facts = &handle->disk->facts;

  return !facts->has_parent || (handle->chain != NULL && vd_chain_is_complete(handle->chain, facts));
}

static gboolean check_compact(const VdHandle *handle, GError **error)
{
  if (!has_blocks(&handle->disk->facts))
    return invalid_type(handle, "only what is dynamic or differencing can be compacted", error);
  if (!has_whole_chain(handle))
    return refuse(error, VIRTDISK_ERROR_INVALID_PARAMETER,
                  "the handle was opened without the parents, which say what a block hides");
  return TRUE;
}

static gboolean check_size(const VdHandle *handle, const VdOperation *op, GError **error)
{
  const VdFacts *facts = &handle->disk->facts;
  guint64 current = facts->virtual_size, new_size = op->new_size;
  guint64 smallest_size = vd_create_smallest_size(handle->disk->device_id);
  guint64 largest = vd_create_largest_size(handle->disk->device_id);
  gboolean smallest =
      op->kind == VD_OPERATION_RESIZE && (op->flags & VIRTDISK_RESIZE_TO_SMALLEST_SAFE_VIRTUAL_SIZE) != 0;

  if (facts->has_parent)
    return invalid_type(handle, "the size of a differencing image is that of its parent", error);
  if (handle->disk->device_id == VIRTDISK_DEVICE_VHD && (smallest || new_size < current) &&
      op->kind == VD_OPERATION_RESIZE)
    return invalid_type(handle, "a VHD cannot be made smaller", error);
  if (smallest)
    return new_size == 0 || refuse(error, VIRTDISK_ERROR_INVALID_PARAMETER,
                                   "new_size must be 0 with RESIZE_TO_SMALLEST_SAFE_VIRTUAL_SIZE");
  if (new_size % facts->sector_size != 0 || new_size < smallest_size) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                "new_size is %" G_GUINT64_FORMAT ": not a multiple of %u, or less than %" G_GUINT64_FORMAT,
                new_size, facts->sector_size, smallest_size);
    return FALSE;
  }
  if (op->kind == VD_OPERATION_EXPAND && new_size <= current) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                "new_size is %" G_GUINT64_FORMAT ", and the disk has %" G_GUINT64_FORMAT " bytes already",
                new_size, current);
    return FALSE;
  }
  if (new_size > largest) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_SIZE,
                "new_size %" G_GUINT64_FORMAT " is more than the format can have (%" G_GUINT64_FORMAT
                " bytes)",
                new_size, largest);
    return FALSE;
  }
  return TRUE;
}

static gboolean check_merge(const VdHandle *handle, const VdOperation *op, GError **error)
{
  guint32 depth = 1 + (handle->chain != NULL ? handle->chain->images->len : 0);

  if (!handle->disk->facts.has_parent)
    return invalid_type(handle, "only a differencing image has something to merge into", error);
  if (!has_whole_chain(handle))
    return refuse(error, VIRTDISK_ERROR_INVALID_PARAMETER, "the handle was opened without the parents");
  if (op->source_depth < 1 || op->source_depth >= op->target_depth || op->target_depth > depth) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                "a merge from depth %u to depth %u cannot be done in a chain of %u images", op->source_depth,
                op->target_depth, depth);
    return FALSE;
  }
  if (op->version == 1 && handle->rights.rw_depth < op->target_depth) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                "the handle was opened with rw-depth %u: merging into %u parents needs %u",
                handle->rights.rw_depth, op->target_depth - 1, op->target_depth);
    return FALSE;
  }
  return TRUE;
}

static gboolean check_child(const VdHandle *handle, const VdOperation *op, GError **error)
{
  guint32 n_writable = 1 + (handle->chain != NULL ? handle->chain->n_write : 0);
  guint32 depth = 1 + (handle->chain != NULL ? handle->chain->images->len : 0);

  if (op->child_depth < 1 || op->child_depth > depth) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                "ChildDepth is %u, and the handle has %u images open", op->child_depth, depth);
    return FALSE;
  }
  if (op->child_depth > n_writable) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                "ChildDepth is %u, and the handle may write to %u images: open it with a larger rw-depth",
                op->child_depth, n_writable);
    return FALSE;
  }
  if (op->child_depth == 1 && !handle->disk->facts.has_parent)
    return invalid_type(handle, "it has no parent", error);
  if (op->kind == VD_OPERATION_SET_PARENT && op->path[0] != '/')
    return refuse(error, VIRTDISK_ERROR_INVALID_PARAMETER, "ParentFilePath is not absolute");
  if (op->path[0] == '\0')
    return refuse(error, VIRTDISK_ERROR_INVALID_PARAMETER, "ParentFilePath is empty");
  return TRUE;
}

/* The other flags are hints: how the bytes travel is the file system's business here. */
static gboolean check_mirror(const VdOperation *op, GError **error)
{
  if ((op->flags & VIRTDISK_MIRROR_SKIP_MIRROR_ACTIVATION) != 0)
    return refuse(error, VIRTDISK_ERROR_NOT_SUPPORTED, "SKIP_MIRROR_ACTIVATION is not supported");
  return op->path[0] == '/' ||
         refuse(error, VIRTDISK_ERROR_INVALID_PARAMETER, "MirrorVirtualDiskPath is not absolute");
}

static gboolean is_null(const guint8 id[16])
{
  static const guint8 none[16] = {0};

  return memcmp(id, none, sizeof none) == 0;
}

static gboolean check_vhdx(const VdHandle *handle, const VdOperation *op, GError **error)
{
  guint32 logical = handle->disk->facts.sector_size;

  if (handle->disk->device_id != VIRTDISK_DEVICE_VHDX)
    return invalid_type(handle, "only a VHDX has this", error);
  if (op->kind == VD_OPERATION_SET_PHYSICAL_SECTOR_SIZE &&
      ((op->value != 512 && op->value != 4096) || op->value < logical)) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                "VhdPhysicalSectorSize is %u: not 512 or 4096, or less than the %u bytes of a sector",
                op->value, logical);
    return FALSE;
  }
  if ((op->kind == VD_OPERATION_GET_METADATA || op->kind == VD_OPERATION_SET_METADATA ||
       op->kind == VD_OPERATION_DELETE_METADATA) &&
      is_null(op->guid))
    return refuse(error, VIRTDISK_ERROR_INVALID_PARAMETER, "item is the null GUID");
  return op->data == NULL || g_bytes_get_size(op->data) <= VD_OPERATION_MAX_ITEM ||
         refuse(error, VIRTDISK_ERROR_INVALID_PARAMETER, "data is longer than 1048576 bytes");
}

static gboolean check_identifier(const VdHandle *handle, const VdOperation *op, GError **error)
{
  if (handle->disk->device_id != VIRTDISK_DEVICE_VHD && handle->disk->device_id != VIRTDISK_DEVICE_VHDX)
    return invalid_type(handle, "it has no identifier", error);
  return !is_null(op->guid) ||
         refuse(error, VIRTDISK_ERROR_INVALID_PARAMETER, "UniqueIdentifier is the null GUID");
}

static gboolean check_changes(const VdHandle *handle, const VdOperation *op, GError **error)
{
  guint64 size = handle->disk->facts.virtual_size;

  if (handle->disk->device_id == VIRTDISK_DEVICE_ISO)
    return invalid_type(handle, "it never changes", error);
  if (op->kind != VD_OPERATION_QUERY_CHANGES)
    return TRUE;
  if (strlen(op->id) > VD_OPERATION_MAX_CHANGE_TRACKING_ID)
    return refuse(error, VIRTDISK_ERROR_VHD_INVALID_CHANGE_TRACKING_ID,
                  "ChangeTrackingId is longer than 256 characters");
  if (op->offset > size || op->length > size - op->offset) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                "%" G_GUINT64_FORMAT " bytes from %" G_GUINT64_FORMAT
                " are not within the disk's %" G_GUINT64_FORMAT,
                op->length, op->offset, size);
    return FALSE;
  }
  return TRUE;
}

gboolean vd_operate_check(VdHandle *handle, const VdOperation *op, GError **error)
{
  if (!check_rights(&handle->rights, &rows[op->kind], error))
    return FALSE;
  switch (op->kind) {
  case VD_OPERATION_COMPACT:
    return check_compact(handle, error);
  case VD_OPERATION_EXPAND:
  case VD_OPERATION_RESIZE:
    return check_size(handle, op, error);
  case VD_OPERATION_MERGE:
    return check_merge(handle, op, error);
  case VD_OPERATION_SET_PARENT:
  case VD_OPERATION_SET_LOCATOR:
    return check_child(handle, op, error);
  case VD_OPERATION_SET_IDENTIFIER:
    return check_identifier(handle, op, error);
  case VD_OPERATION_MIRROR:
    return check_mirror(op, error);
  case VD_OPERATION_SET_CHANGE_TRACKING:
  case VD_OPERATION_CHANGE_TRACKING_STATE:
  case VD_OPERATION_QUERY_CHANGES:
    return check_changes(handle, op, error);
  case VD_OPERATION_MEASURE:
    return handle->disk->device_id != VIRTDISK_DEVICE_ISO ||
           invalid_type(handle, "it has no blocks, and no partitions to be kept", error);
  default:
    return check_vhdx(handle, op, error);
  }
}

gboolean vd_operate_guard_size(const VdOperation *op, guint64 virtual_size, guint64 smallest,
                               guint64 *ret_size, GError **error)
{
  gboolean to_smallest = (op->flags & VIRTDISK_RESIZE_TO_SMALLEST_SAFE_VIRTUAL_SIZE) != 0;

  if (smallest == 0)
    return refuse(error, VIRTDISK_ERROR_VHD_COULD_NOT_COMPUTE_MINIMUM_VIRTUAL_SIZE,
                  "there is no partition table that says how small the disk may be");
  smallest = MAX(smallest, VD_CREATE_MIN_SIZE);
  if (to_smallest && smallest >= virtual_size) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_ALREADY_AT_OR_BELOW_MINIMUM_VIRTUAL_SIZE,
                "the disk has %" G_GUINT64_FORMAT " bytes, and needs %" G_GUINT64_FORMAT, virtual_size,
                smallest);
    return FALSE;
  }
  if (!to_smallest && op->new_size < smallest) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_RESIZE_WOULD_TRUNCATE_DATA,
                "partitions reach to %" G_GUINT64_FORMAT ", and new_size is %" G_GUINT64_FORMAT, smallest,
                op->new_size);
    return FALSE;
  }
  *ret_size = to_smallest ? smallest : op->new_size;
  return TRUE;
}
