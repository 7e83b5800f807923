/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two answers of the service as types: what a handle tells of its image, and one storage dependency. */
#include "private.h"

struct _VirtdiskInfo {
  VirtdiskInfoVersion version;
  GVariant *members; /* a{sv} */
};

G_DEFINE_BOXED_TYPE(VirtdiskInfo, virtdisk_info, virtdisk_info_ref, virtdisk_info_unref)
G_DEFINE_BOXED_TYPE(VirtdiskDependency, virtdisk_dependency, virtdisk_dependency_copy,
                    virtdisk_dependency_free)

VirtdiskInfo *vd_info_new(VirtdiskInfoVersion version, GVariant *members)
{
  VirtdiskInfo *info = g_atomic_rc_box_new0(VirtdiskInfo);

  info->version = version;
  info->members = g_variant_ref_sink(members);
  return info;
}

VirtdiskInfo *virtdisk_info_ref(VirtdiskInfo *info)
{
  return g_atomic_rc_box_acquire(info);
}

static void info_clear(gpointer data)
{
  g_variant_unref(((VirtdiskInfo *)data)->members);
}

void virtdisk_info_unref(VirtdiskInfo *info)
{
  g_atomic_rc_box_release_full(info, info_clear);
}

VirtdiskInfoVersion virtdisk_info_get_version(VirtdiskInfo *info)
{
  return info->version;
}

GVariant *virtdisk_info_to_variant(VirtdiskInfo *info)
{
  return g_variant_ref(info->members);
}

static guint64 info_uint64(VirtdiskInfo *info, const char *key)
{
  guint64 value = 0;

  g_variant_lookup(info->members, key, "t", &value);
  return value;
}

static guint info_uint(VirtdiskInfo *info, const char *key)
{
  guint32 value = 0;

  g_variant_lookup(info->members, key, "u", &value);
  return value;
}

static gboolean info_boolean(VirtdiskInfo *info, const char *key)
{
  gboolean value = FALSE;

  g_variant_lookup(info->members, key, "b", &value);
  return value;
}

static const char *info_string(VirtdiskInfo *info, const char *key)
{
  const char *value = NULL;

  g_variant_lookup(info->members, key, "&s", &value);
  return value;
}

guint64 virtdisk_info_get_virtual_size(VirtdiskInfo *info)
{
  return info_uint64(info, "VirtualSize");
}

guint64 virtdisk_info_get_physical_size(VirtdiskInfo *info)
{
  return info_uint64(info, "PhysicalSize");
}

guint virtdisk_info_get_block_size(VirtdiskInfo *info)
{
  return info_uint(info, "BlockSize");
}

guint virtdisk_info_get_sector_size(VirtdiskInfo *info)
{
  return info_uint(info, "SectorSize");
}

const char *virtdisk_info_get_identifier(VirtdiskInfo *info)
{
  return info_string(info, "Identifier");
}

gboolean virtdisk_info_get_parent_resolved(VirtdiskInfo *info)
{
  return info_boolean(info, "ParentResolved");
}

char **virtdisk_info_dup_parent_locations(VirtdiskInfo *info)
{
  char **locations = NULL;

  g_variant_lookup(info->members, "ParentLocationBuffer", "^as", &locations);
  return locations;
}

const char *virtdisk_info_get_parent_identifier(VirtdiskInfo *info)
{
  return info_string(info, "ParentIdentifier");
}

guint virtdisk_info_get_parent_timestamp(VirtdiskInfo *info)
{
  return info_uint(info, "ParentTimestamp");
}

VirtdiskDeviceId virtdisk_info_get_device_id(VirtdiskInfo *info)
{
  return (VirtdiskDeviceId)info_uint(info, "DeviceId");
}

const char *virtdisk_info_get_vendor_id(VirtdiskInfo *info)
{
  return info_string(info, "VendorId");
}

VirtdiskSubtype virtdisk_info_get_provider_subtype(VirtdiskInfo *info)
{
  return (VirtdiskSubtype)info_uint(info, "ProviderSubtype");
}

gboolean virtdisk_info_get_is_4k_aligned(VirtdiskInfo *info)
{
  return info_boolean(info, "Is4kAligned");
}

guint virtdisk_info_get_logical_sector_size(VirtdiskInfo *info)
{
  return info_uint(info, "LogicalSectorSize");
}

guint virtdisk_info_get_physical_sector_size(VirtdiskInfo *info)
{
  return info_uint(info, "PhysicalSectorSize");
}

gboolean virtdisk_info_get_is_remote(VirtdiskInfo *info)
{
  return info_boolean(info, "IsRemote");
}

guint virtdisk_info_get_vhd_physical_sector_size(VirtdiskInfo *info)
{
  return info_uint(info, "VhdPhysicalSectorSize");
}

guint64 virtdisk_info_get_smallest_safe_virtual_size(VirtdiskInfo *info)
{
  return info_uint64(info, "SmallestSafeVirtualSize");
}

guint virtdisk_info_get_fragmentation_percentage(VirtdiskInfo *info)
{
  return info_uint(info, "FragmentationPercentage");
}

gboolean virtdisk_info_get_change_tracking_enabled(VirtdiskInfo *info)
{
  return info_boolean(info, "Enabled");
}

gboolean virtdisk_info_get_newer_changes(VirtdiskInfo *info)
{
  return info_boolean(info, "NewerChanges");
}

const char *virtdisk_info_get_most_recent_id(VirtdiskInfo *info)
{
  return info_string(info, "MostRecentId");
}

gboolean virtdisk_info_get_is_loaded(VirtdiskInfo *info)
{
  return info_boolean(info, "IsLoaded");
}

const char *virtdisk_info_get_virtual_disk_id(VirtdiskInfo *info)
{
  return info_string(info, "VirtualDiskId");
}

static char *dup_member(GVariant *entry, const char *key)
{
  char *value = NULL;

  return g_variant_lookup(entry, key, "s", &value) ? value : g_strdup("");
}

VirtdiskDependency *vd_dependency_new(GVariant *entry)
{
  VirtdiskDependency *dependency = g_new0(VirtdiskDependency, 1);

  g_variant_lookup(entry, "dependency-type-flags", "u", &dependency->dependency_type_flags);
  g_variant_lookup(entry, "provider-specific-flags", "u", &dependency->provider_specific_flags);
  g_variant_lookup(entry, "device-id", "u", &dependency->device_id);
  g_variant_lookup(entry, "ancestor-level", "u", &dependency->ancestor_level);
  dependency->vendor_id = dup_member(entry, "vendor-id");
  dependency->dependency_device_name = dup_member(entry, "dependency-device-name");
  dependency->host_volume_name = dup_member(entry, "host-volume-name");
  dependency->dependent_volume_name = dup_member(entry, "dependent-volume-name");
  dependency->dependent_volume_relative_path = dup_member(entry, "dependent-volume-relative-path");
  return dependency;
}

VirtdiskDependency *virtdisk_dependency_copy(const VirtdiskDependency *dependency)
{
  VirtdiskDependency *copy = g_new0(VirtdiskDependency, 1);

  *copy = *dependency;
  copy->vendor_id = g_strdup(dependency->vendor_id);
  copy->dependency_device_name = g_strdup(dependency->dependency_device_name);
  copy->host_volume_name = g_strdup(dependency->host_volume_name);
  copy->dependent_volume_name = g_strdup(dependency->dependent_volume_name);
  copy->dependent_volume_relative_path = g_strdup(dependency->dependent_volume_relative_path);
  return copy;
}

void virtdisk_dependency_free(VirtdiskDependency *dependency)
{
  if (dependency == NULL)
    return;
  g_free(dependency->vendor_id);
  g_free(dependency->dependency_device_name);
  g_free(dependency->host_volume_name);
  g_free(dependency->dependent_volume_name);
  g_free(dependency->dependent_volume_relative_path);
  g_free(dependency);
}
