/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "known.h"

#include "mounts.h"
#include "output.h"
#include "values.h"

static const char *const kind_names[VD_INFO_N_KINDS] = {
    [VIRTDISK_INFO_SIZE] = "size",
    [VIRTDISK_INFO_IDENTIFIER] = "identifier",
    [VIRTDISK_INFO_PARENT_LOCATION] = "parent-location",
    [VIRTDISK_INFO_PARENT_IDENTIFIER] = "parent-identifier",
    [VIRTDISK_INFO_PARENT_TIMESTAMP] = "parent-timestamp",
    [VIRTDISK_INFO_VIRTUAL_STORAGE_TYPE] = "virtual-storage-type",
    [VIRTDISK_INFO_PROVIDER_SUBTYPE] = "provider-subtype",
    [VIRTDISK_INFO_IS_4K_ALIGNED] = "is-4k-aligned",
    [VIRTDISK_INFO_PHYSICAL_DISK] = "physical-disk",
    [VIRTDISK_INFO_VHD_PHYSICAL_SECTOR_SIZE] = "vhd-physical-sector-size",
    [VIRTDISK_INFO_SMALLEST_SAFE_VIRTUAL_SIZE] = "smallest-safe-virtual-size",
    [VIRTDISK_INFO_FRAGMENTATION] = "fragmentation",
    [VIRTDISK_INFO_IS_LOADED] = "is-loaded",
    [VIRTDISK_INFO_VIRTUAL_DISK_ID] = "virtual-disk-id",
    [VIRTDISK_INFO_CHANGE_TRACKING_STATE] = "change-tracking-state",
};

void vd_known_clear(VdKnown *self)
{
  g_free(self->path);
  g_free(self->unopened);
  g_free(self->parents_missing);
  g_clear_object(&self->disk);
  g_clear_pointer(&self->dependencies, g_ptr_array_unref);
  for (gsize i = 0; i < VD_INFO_N_KINDS; i++)
    g_clear_pointer(&self->kinds[i], virtdisk_info_unref);
}

static void show_size(const char *name, guint64 bytes)
{
  g_autofree char *size = vd_value_format_size(bytes);
  g_autofree char *text = bytes < 1024 ? g_strdup_printf("%" G_GUINT64_FORMAT " bytes", bytes)
                                       : g_strdup_printf("%s (%" G_GUINT64_FORMAT " bytes)", size, bytes);

  vd_output_pair(name, text);
}

static void show_bool(const char *name, gboolean value)
{
  vd_output_pair(name, value ? "yes" : "no");
}

static const char *format_name(VirtdiskDeviceId id)
{
  switch (id) {
  case VIRTDISK_DEVICE_ISO:
    return "iso";
  case VIRTDISK_DEVICE_VHD:
    return "vhd";
  case VIRTDISK_DEVICE_VHDX:
    return "vhdx";
  case VIRTDISK_DEVICE_VHDSET:
    return "vhds";
  case VIRTDISK_DEVICE_RAW:
    return "raw";
  default:
    return "unknown";
  }
}

static const char *subtype_name(VirtdiskSubtype subtype)
{
  switch (subtype) {
  case VIRTDISK_SUBTYPE_FIXED:
    return "fixed";
  case VIRTDISK_SUBTYPE_DYNAMIC:
    return "dynamic";
  case VIRTDISK_SUBTYPE_DIFFERENCING:
    return "differencing";
  default:
    return NULL;
  }
}

static void show_storage(const VdKnown *self)
{
  VirtdiskInfo *const *kinds = self->kinds;

  if (kinds[VIRTDISK_INFO_VIRTUAL_STORAGE_TYPE] != NULL)
    vd_output_pair("Format",
                   format_name(virtdisk_info_get_device_id(kinds[VIRTDISK_INFO_VIRTUAL_STORAGE_TYPE])));
  else if (self->disk != NULL)
    vd_output_pair("Format", virtdisk_disk_get_format(self->disk));
  if (kinds[VIRTDISK_INFO_PROVIDER_SUBTYPE] != NULL)
    vd_output_pair("Kind",
                   subtype_name(virtdisk_info_get_provider_subtype(kinds[VIRTDISK_INFO_PROVIDER_SUBTYPE])));
  if (kinds[VIRTDISK_INFO_IDENTIFIER] != NULL)
    vd_output_pair("Identifier", virtdisk_info_get_identifier(kinds[VIRTDISK_INFO_IDENTIFIER]));
  if (kinds[VIRTDISK_INFO_VIRTUAL_DISK_ID] != NULL)
    vd_output_pair("Disk identifier",
                   virtdisk_info_get_virtual_disk_id(kinds[VIRTDISK_INFO_VIRTUAL_DISK_ID]));
}

/* seconds: since 2000; 0 where the format remembers none. */
static void show_timestamp(guint seconds)
{
  g_autoptr(GDateTime) epoch = g_date_time_new_utc(2000, 1, 1, 0, 0, 0);
  g_autoptr(GDateTime) time = g_date_time_add_seconds(epoch, seconds);
  g_autofree char *text = g_date_time_format_iso8601(time);

  if (seconds != 0)
    vd_output_pair("Parent changed at", text);
}

/* The whole chain of an attached disk; else the parent, or where it was looked for. */
static void show_parents(const VdKnown *self)
{
  VirtdiskInfo *location = self->kinds[VIRTDISK_INFO_PARENT_LOCATION];
  VirtdiskInfo *identifier = self->kinds[VIRTDISK_INFO_PARENT_IDENTIFIER];
  VirtdiskInfo *timestamp = self->kinds[VIRTDISK_INFO_PARENT_TIMESTAMP];
  g_auto(GStrv) paths = NULL;
  gboolean found = TRUE;

  if (self->disk != NULL && virtdisk_disk_get_depth(self->disk) > 1) {
    paths = virtdisk_disk_dup_parents(self->disk);
  } else if (location != NULL) {
    paths = virtdisk_info_dup_parent_locations(location);
    found = virtdisk_info_get_parent_resolved(location);
  }
  for (gsize i = 0; paths != NULL && paths[i] != NULL; i++)
    vd_output_pair(found ? "Parent" : "Parent expected at", paths[i]);
  if (identifier != NULL)
    vd_output_pair("Parent identifier", virtdisk_info_get_parent_identifier(identifier));
  if (timestamp != NULL)
    show_timestamp(virtdisk_info_get_parent_timestamp(timestamp));
  vd_output_pair("Parents missing", self->parents_missing);
}

static void show_sizes(const VdKnown *self)
{
  VirtdiskInfo *size = self->kinds[VIRTDISK_INFO_SIZE];
  VirtdiskDisk *disk = self->disk;

  if (size == NULL && disk == NULL)
    return;
  show_size("Size",
            size != NULL ? virtdisk_info_get_virtual_size(size) : virtdisk_disk_get_virtual_size(disk));
  show_size("Space taken",
            size != NULL ? virtdisk_info_get_physical_size(size) : virtdisk_disk_get_physical_size(disk));
  if ((size != NULL ? virtdisk_info_get_block_size(size) : virtdisk_disk_get_block_size(disk)) != 0)
    show_size("Block size",
              size != NULL ? virtdisk_info_get_block_size(size) : virtdisk_disk_get_block_size(disk));
  show_size("Sector size",
            size != NULL ? virtdisk_info_get_sector_size(size) : virtdisk_disk_get_sector_size(disk));
}

static void show_other_kinds(const VdKnown *self)
{
  VirtdiskInfo *const *kinds = self->kinds;

  if (kinds[VIRTDISK_INFO_VHD_PHYSICAL_SECTOR_SIZE] != NULL)
    show_size("Physical sector size",
              virtdisk_info_get_vhd_physical_sector_size(kinds[VIRTDISK_INFO_VHD_PHYSICAL_SECTOR_SIZE]));
  if (kinds[VIRTDISK_INFO_SMALLEST_SAFE_VIRTUAL_SIZE] != NULL)
    show_size("Smallest safe size",
              virtdisk_info_get_smallest_safe_virtual_size(kinds[VIRTDISK_INFO_SMALLEST_SAFE_VIRTUAL_SIZE]));
  if (kinds[VIRTDISK_INFO_IS_4K_ALIGNED] != NULL)
    show_bool("4K aligned", virtdisk_info_get_is_4k_aligned(kinds[VIRTDISK_INFO_IS_4K_ALIGNED]));
  if (kinds[VIRTDISK_INFO_PHYSICAL_DISK] != NULL) {
    g_autofree char *sectors = g_strdup_printf(
        "%u/%u bytes", virtdisk_info_get_logical_sector_size(kinds[VIRTDISK_INFO_PHYSICAL_DISK]),
        virtdisk_info_get_physical_sector_size(kinds[VIRTDISK_INFO_PHYSICAL_DISK]));

    vd_output_pair("Sectors of the host", sectors);
    show_bool("On another machine", virtdisk_info_get_is_remote(kinds[VIRTDISK_INFO_PHYSICAL_DISK]));
  }
  if (kinds[VIRTDISK_INFO_FRAGMENTATION] != NULL) {
    g_autofree char *text = g_strdup_printf(
        "%u%%", virtdisk_info_get_fragmentation_percentage(kinds[VIRTDISK_INFO_FRAGMENTATION]));

    vd_output_pair("Fragmentation", text);
  }
  if (kinds[VIRTDISK_INFO_IS_LOADED] != NULL)
    show_bool("In use", virtdisk_info_get_is_loaded(kinds[VIRTDISK_INFO_IS_LOADED]));
}

static void show_attachment(VirtdiskDisk *disk)
{
  g_autoptr(GDateTime) since = g_date_time_new_from_unix_local((gint64)virtdisk_disk_get_attached_at(disk));
  g_autofree char *when = since != NULL ? g_date_time_format_iso8601(since) : NULL;
  g_autofree char *owner = g_strdup_printf("%u", virtdisk_disk_get_owner_uid(disk));
  g_autofree char *route =
      g_strdup_printf("%s (%s)", virtdisk_disk_get_route(disk), virtdisk_disk_get_route_reason(disk));
  g_autofree char *sequence = g_strdup_printf("%" G_GUINT64_FORMAT, virtdisk_disk_get_disk_sequence(disk));

  vd_output_pair("Device", virtdisk_disk_get_device(disk));
  vd_output_pair("State", virtdisk_disk_get_state(disk));
  vd_output_pair("Access", virtdisk_disk_get_read_only(disk) ? "read-only" : "read-write");
  vd_output_pair("Lifetime", virtdisk_disk_get_lifetime(disk));
  show_bool("Detach on unmount", virtdisk_disk_get_detach_on_unmount(disk));
  vd_output_pair("Owner", owner);
  vd_output_pair("Session", virtdisk_disk_get_session(disk));
  vd_output_pair("Attached at", when);
  vd_output_pair("Route", route);
  show_bool("Direct I/O", virtdisk_disk_get_direct_io(disk));
  vd_output_pair("Disk sequence", sequence);
  vd_output_pair("Downloaded from", virtdisk_disk_get_origin_url(disk));
}

static char *mountpoints_of(const char *device)
{
  g_autoptr(GPtrArray) mounts = vd_mounts_of(device, VD_MOUNTS_ONLY);
  GString *text = g_string_new(NULL);

  for (guint i = 0; i < mounts->len; i++)
    g_string_append_printf(text, "%s%s", i > 0 ? " " : "",
                           ((VdMount *)g_ptr_array_index(mounts, i))->mountpoint);
  return g_string_free(text, FALSE);
}

static void add_file_system(VdTable *table, GVariant *entry)
{
  guint32 partition = 0;
  guint64 size = 0;
  const char *type = "", *label = "", *uuid = "", *device = "";
  g_autofree char *number = NULL, *shown = NULL, *mountpoints = NULL;

  g_variant_lookup(entry, "partition", "u", &partition);
  g_variant_lookup(entry, "size", "t", &size);
  g_variant_lookup(entry, "type", "&s", &type);
  g_variant_lookup(entry, "label", "&s", &label);
  g_variant_lookup(entry, "uuid", "&s", &uuid);
  g_variant_lookup(entry, "device", "&s", &device);
  number = g_strdup_printf("%u", partition);
  shown = vd_value_format_size(size);
  mountpoints = mountpoints_of(device);
  vd_table_add(table, (const char *const[]){number, device, shown, type, label, uuid, mountpoints});
}

static void show_file_systems(VirtdiskDisk *disk)
{
  static const char *const columns[] = {"<PARTITION", "DEVICE", "<SIZE",      "TYPE",
                                        "LABEL",      "UUID",   "MOUNTED ON", NULL};
  g_autoptr(GVariant) entries_found = virtdisk_disk_get_file_systems(disk);
  g_autoptr(VdTable) table = vd_table_new(columns);

  if (g_variant_n_children(entries_found) == 0)
    return;
  for (gsize i = 0; i < g_variant_n_children(entries_found); i++) {
    g_autoptr(GVariant) entry = g_variant_get_child_value(entries_found, i);

    add_file_system(table, entry);
  }
  vd_output_line("");
  vd_table_print(table);
}

static void show_dependencies(GPtrArray *dependencies)
{
  static const char *const columns[] = {"<LEVEL", "DEVICE", "VOLUME", "FORMAT", "IMAGE", NULL};
  g_autoptr(VdTable) table = vd_table_new(columns);

  if (dependencies->len == 0)
    return;
  for (guint i = 0; i < dependencies->len; i++) {
    const VirtdiskDependency *each = g_ptr_array_index(dependencies, i);
    g_autofree char *level = g_strdup_printf("%u", each->ancestor_level);

    vd_table_add(table, (const char *const[]){level, each->dependency_device_name, each->host_volume_name,
                                              format_name((VirtdiskDeviceId)each->device_id),
                                              each->dependent_volume_relative_path});
  }
  vd_output_line("");
  vd_table_print(table);
}

void vd_known_show_text(const VdKnown *self)
{
  vd_output_pair("Image", self->path);
  show_storage(self);
  show_parents(self);
  show_sizes(self);
  show_other_kinds(self);
  vd_output_pair("Not opened", self->unopened);
  show_bool("Attached", self->disk != NULL);
  if (self->disk == NULL)
    return;
  show_attachment(self->disk);
  show_file_systems(self->disk);
  if (self->dependencies != NULL)
    show_dependencies(self->dependencies);
}

/* ---- for programs ---- */

static JsonObject *kinds_to_json(const VdKnown *self)
{
  JsonObject *object = json_object_new();

  for (gsize i = 0; i < VD_INFO_N_KINDS; i++)
    if (self->kinds[i] != NULL) {
      g_autoptr(GVariant) members = virtdisk_info_to_variant(self->kinds[i]);

      json_object_set_member(object, kind_names[i], vd_output_variant_to_json(members));
    }
  return object;
}

static JsonArray *dependencies_to_json(GPtrArray *dependencies)
{
  JsonArray *array = json_array_new();

  for (guint i = 0; i < dependencies->len; i++) {
    const VirtdiskDependency *each = g_ptr_array_index(dependencies, i);
    JsonObject *object = json_object_new();

    json_object_set_int_member(object, "dependency-type-flags", each->dependency_type_flags);
    json_object_set_int_member(object, "provider-specific-flags", each->provider_specific_flags);
    json_object_set_int_member(object, "device-id", each->device_id);
    json_object_set_string_member(object, "vendor-id", each->vendor_id);
    json_object_set_int_member(object, "ancestor-level", each->ancestor_level);
    json_object_set_string_member(object, "dependency-device-name", each->dependency_device_name);
    json_object_set_string_member(object, "host-volume-name", each->host_volume_name);
    json_object_set_string_member(object, "dependent-volume-name", each->dependent_volume_name);
    json_object_set_string_member(object, "dependent-volume-relative-path",
                                  each->dependent_volume_relative_path);
    json_array_add_object_element(array, object);
  }
  return array;
}

void vd_known_show_json(const VdKnown *self)
{
  JsonObject *object = json_object_new();

  vd_output_json_set_path(object, self->path);
  json_object_set_boolean_member(object, "attached", self->disk != NULL);
  json_object_set_object_member(object, "information", kinds_to_json(self));
  if (self->parents_missing != NULL)
    json_object_set_string_member(object, "parents-missing", self->parents_missing);
  if (self->unopened != NULL)
    json_object_set_string_member(object, "not-opened", self->unopened);
  if (self->disk != NULL)
    json_object_set_object_member(object, "disk", vd_output_disk_to_json(self->disk));
  if (self->dependencies != NULL)
    json_object_set_array_member(object, "dependencies", dependencies_to_json(self->dependencies));
  vd_output_json(json_node_init_object(json_node_alloc(), object), VD_JSON_PRETTY);
  json_object_unref(object);
}
