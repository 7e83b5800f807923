/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "info.h"

#include "hostfile.h"
#include "util/guid.h"
#include "worker/serve-protocol.h"

static gboolean invalid_type(VdDisk *disk, guint32 version, GError **error)
{
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_TYPE,
              "information %u does not exist for %s (format %s, subtype %u)", version, disk->display,
              vd_disk_format(disk), disk->facts.subtype);
  return FALSE;
}

static gboolean get_size(VdDisk *disk, VdInfo *info)
{
  info->size.virtual_size = disk->facts.virtual_size;
  info->size.physical_size = vd_disk_physical_size(disk);
  info->size.block_size = disk->facts.block_size;
  info->size.sector_size = disk->facts.sector_size;
  return TRUE;
}

/* "Compare parent.IDENTIFIER with child.PARENT_IDENTIFIER": what a child of it stores. */
static gboolean get_identifier(VdDisk *disk, VdInfo *info, GError **error)
{
  const VdFacts *facts = &disk->facts;

  if (!facts->has_linkage && !facts->has_identifier)
    return invalid_type(disk, info->version, error);
  vd_guid_format(facts->has_linkage ? facts->linkage : facts->identifier, info->identifier);
  return TRUE;
}

static gboolean get_virtual_disk_id(VdDisk *disk, VdInfo *info, GError **error)
{
  if (disk->device_id != VIRTDISK_DEVICE_VHDX || !disk->facts.has_identifier)
    return invalid_type(disk, info->version, error);
  vd_guid_format(disk->facts.identifier, info->identifier);
  return TRUE;
}

/* NULL: not known to this handle. */
static const char *find_parent(const VdHandle *handle)
{
  const GPtrArray *parents = handle->disk->attachment != NULL ? handle->disk->attachment->parents : NULL;

  if (handle->chain != NULL)
    return handle->chain->images->len > 0 ? ((VdImage *)g_ptr_array_index(handle->chain->images, 0))->display
                                          : NULL;
  if ((handle->rights.flags & VIRTDISK_OPEN_NO_PARENTS) != 0 || parents == NULL || parents->len == 0)
    return NULL;
  return ((VdParent *)g_ptr_array_index(parents, 0))->display;
}

static gboolean get_parent_location(const VdHandle *handle, VdInfo *info)
{
  const char *parent = find_parent(handle);
  g_autoptr(GPtrArray) places = NULL;

  info->parent_resolved = parent != NULL;
  if (parent != NULL) {
    places = g_ptr_array_new();
    g_ptr_array_add(places, g_strdup(parent));
  } else {
    places = vd_chain_places(&handle->disk->facts);
  }
  g_ptr_array_add(places, NULL);
  g_ptr_array_set_free_func(places, NULL);
  info->parent_locations = (GStrv)g_ptr_array_free(g_steal_pointer(&places), FALSE);
  return TRUE;
}

static gboolean get_for_child(const VdHandle *handle, VdInfo *info, GError **error)
{
  VdDisk *disk = handle->disk;

  if (!disk->facts.has_parent ||
      (info->version == VIRTDISK_INFO_PARENT_TIMESTAMP && disk->device_id != VIRTDISK_DEVICE_VHD))
    return invalid_type(disk, info->version, error);
  if (info->version == VIRTDISK_INFO_PARENT_LOCATION)
    return get_parent_location(handle, info);
  if (info->version == VIRTDISK_INFO_PARENT_IDENTIFIER)
    vd_guid_format(disk->facts.parent_id, info->identifier);
  else
    info->parent_timestamp = disk->facts.parent_timestamp;
  return TRUE;
}

void vd_info_clear(VdInfo *info)
{
  g_clear_pointer(&info->parent_locations, g_strfreev);
}

static gboolean get_physical_disk(VdDisk *disk, VdInfo *info)
{
  gboolean removable;

  vd_hostfile_host_disk(disk->image_dev, &info->physical_disk.logical_sector_size,
                        &info->physical_disk.physical_sector_size, &removable);
  info->physical_disk.is_remote = disk->remote;
  return TRUE;
}

static gboolean no_smallest(VdDisk *disk, GError **error)
{
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_COULD_NOT_COMPUTE_MINIMUM_VIRTUAL_SIZE,
              "%s has no partition table that says what is safe", disk->display);
  return FALSE;
}

static gboolean get_smallest(VdDisk *disk, VdInfo *info, GError **error)
{
  if (disk->device_id == VIRTDISK_DEVICE_ISO)
    return invalid_type(disk, info->version, error);
  if (disk->facts.smallest_safe_size == 0)
    return no_smallest(disk, error);
  info->smallest_safe_virtual_size = disk->facts.smallest_safe_size;
  return TRUE;
}

/* While somebody writes, what is known of its partitions is what there is. */
gboolean vd_info_needs_measure(const VdHandle *handle, guint32 version)
{
  const VdDisk *disk = handle->disk;

  if (version == VIRTDISK_INFO_CHANGE_TRACKING_STATE)
    return TRUE;
  if (disk->facts.linear || disk->device_id == VIRTDISK_DEVICE_ISO)
    return FALSE;
  return version == VIRTDISK_INFO_FRAGMENTATION ||
         (version == VIRTDISK_INFO_SMALLEST_SAFE_VIRTUAL_SIZE && disk->attachment == NULL);
}

gboolean vd_info_of_measured(VdHandle *handle, const VdOperationResult *measured, VdInfo *ret_info,
                             GError **error)
{
  if (ret_info->version == VIRTDISK_INFO_CHANGE_TRACKING_STATE) {
    ret_info->change_tracking.enabled = (measured->changes & VD_CHANGES_ENABLED) != 0;
    ret_info->change_tracking.newer_changes = (measured->changes & VD_CHANGES_NEWER) != 0;
    g_strlcpy(ret_info->change_tracking.most_recent_id, measured->note,
              sizeof ret_info->change_tracking.most_recent_id);
    return TRUE;
  }
  if (ret_info->version == VIRTDISK_INFO_FRAGMENTATION) {
    ret_info->fragmentation_percentage = measured->fragmentation;
    return TRUE;
  }
  if (measured->smallest_safe_size == 0)
    return no_smallest(handle->disk, error);
  ret_info->smallest_safe_virtual_size = measured->smallest_safe_size;
  return TRUE;
}

static gboolean get_for_vhd(VdDisk *disk, VdInfo *info, GError **error)
{
  if (disk->device_id == VIRTDISK_DEVICE_ISO)
    return invalid_type(disk, info->version, error);
  switch (info->version) {
  case VIRTDISK_INFO_PROVIDER_SUBTYPE:
    info->provider_subtype = disk->facts.subtype;
    return TRUE;
  case VIRTDISK_INFO_IS_4K_ALIGNED:
    info->is_4k_aligned = disk->facts.is_4k_aligned != 0;
    return TRUE;
  case VIRTDISK_INFO_VHD_PHYSICAL_SECTOR_SIZE:
    info->vhd_physical_sector_size = disk->facts.physical_sector_size;
    return TRUE;
  default:
    /* One run of its file. */
    info->fragmentation_percentage = 0;
    return TRUE;
  }
}

gboolean vd_info_get(VdHandle *handle, guint32 version, VdInfo *ret_info, GError **error)
{
  VdDisk *disk = handle->disk;

  *ret_info = (VdInfo){.version = version};
  if ((handle->rights.mask & VIRTDISK_ACCESS_GET_INFO) == 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                "the handle was opened without GET_INFO (its access is 0x%08x)", handle->rights.mask);
    return FALSE;
  }
  switch (version) {
  case VIRTDISK_INFO_SIZE:
    return get_size(disk, ret_info);
  case VIRTDISK_INFO_IDENTIFIER:
    return get_identifier(disk, ret_info, error);
  case VIRTDISK_INFO_VIRTUAL_STORAGE_TYPE:
    ret_info->type.device_id = disk->device_id;
    ret_info->type.vendor = vd_device_id_to_vendor(disk->device_id);
    return TRUE;
  case VIRTDISK_INFO_PROVIDER_SUBTYPE:
  case VIRTDISK_INFO_IS_4K_ALIGNED:
  case VIRTDISK_INFO_VHD_PHYSICAL_SECTOR_SIZE:
  case VIRTDISK_INFO_FRAGMENTATION:
    return get_for_vhd(disk, ret_info, error);
  case VIRTDISK_INFO_PHYSICAL_DISK:
    return get_physical_disk(disk, ret_info);
  case VIRTDISK_INFO_SMALLEST_SAFE_VIRTUAL_SIZE:
    return get_smallest(disk, ret_info, error);
  case VIRTDISK_INFO_IS_LOADED:
    ret_info->is_loaded = disk->attachment != NULL && disk->attachment->device != NULL;
    return TRUE;
  case VIRTDISK_INFO_PARENT_LOCATION:
  case VIRTDISK_INFO_PARENT_IDENTIFIER:
  case VIRTDISK_INFO_PARENT_TIMESTAMP:
    return get_for_child(handle, ret_info, error);
  case VIRTDISK_INFO_VIRTUAL_DISK_ID:
    return get_virtual_disk_id(disk, ret_info, error);
  default:
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "information %u is not 1 to 15",
                version);
    return FALSE;
  }
}
