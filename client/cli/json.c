/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON for programs. Sizes are bytes; names are the service's in lower case with hyphens. */
#include <stdio.h>
#include <string.h>

#include "mounts.h"
#include "output.h"
#include "values.h"

void vd_output_json(JsonNode *node, VdJsonStyle style)
{
  g_autoptr(JsonGenerator) generator = json_generator_new();
  g_autofree char *text = NULL;

  json_generator_set_root(generator, node);
  json_generator_set_pretty(generator, style == VD_JSON_PRETTY);
  text = json_generator_to_data(generator, NULL);
  puts(text);
  json_node_unref(node);
}

char *vd_output_key(const char *name)
{
  GString *out = g_string_new(NULL);

  for (gsize i = 0; name[i] != '\0'; i++) {
    /* A hump begins a word: after a small letter or digit, or before one inside a run of capitals (DirectIO).
     */
    gboolean hump = i > 0 && g_ascii_isupper(name[i]) && g_ascii_isalnum(name[i - 1]) &&
                    (!g_ascii_isupper(name[i - 1]) || g_ascii_islower(name[i + 1]));

    if (hump)
      g_string_append_c(out, '-');
    g_string_append_c(out, name[i] == '_' ? '-' : g_ascii_tolower(name[i]));
  }
  return g_string_free(out, FALSE);
}

static JsonNode *array_to_json(GVariant *value)
{
  JsonNode *node = json_node_alloc();
  JsonArray *array = json_array_new();

  for (gsize i = 0; i < g_variant_n_children(value); i++) {
    g_autoptr(GVariant) child = g_variant_get_child_value(value, i);

    json_array_add_element(array, vd_output_variant_to_json(child));
  }
  json_node_init_array(node, array);
  json_array_unref(array);
  return node;
}

static JsonNode *dictionary_to_json(GVariant *value)
{
  JsonNode *node = json_node_alloc();
  JsonObject *object = json_object_new();
  GVariantIter iter;
  const char *key;
  GVariant *child;

  g_variant_iter_init(&iter, value);
  while (g_variant_iter_next(&iter, "{&sv}", &key, &child)) {
    g_autoptr(GVariant) owned = child;
    g_autofree char *name = vd_output_key(key);

    json_object_set_member(object, name, vd_output_variant_to_json(owned));
  }
  json_node_init_object(node, object);
  json_object_unref(object);
  return node;
}

JsonNode *vd_output_variant_to_json(GVariant *value)
{
  if (g_variant_is_of_type(value, G_VARIANT_TYPE_VARIANT)) {
    g_autoptr(GVariant) inner = g_variant_get_variant(value);

    return vd_output_variant_to_json(inner);
  }
  if (g_variant_is_of_type(value, G_VARIANT_TYPE_VARDICT))
    return dictionary_to_json(value);
  if (g_variant_is_of_type(value, G_VARIANT_TYPE_ARRAY))
    return array_to_json(value);
  return json_gvariant_serialize(value);
}

void vd_output_json_set_path(JsonObject *object, const char *file_name)
{
  g_autofree char *shown = NULL;
  g_autofree char *exact = NULL;

  if (g_utf8_validate(file_name, -1, NULL)) {
    json_object_set_string_member(object, "path", file_name);
    return;
  }
  shown = vd_value_printable(file_name);
  exact = g_base64_encode((const guchar *)file_name, strlen(file_name));
  json_object_set_string_member(object, "path", shown);
  json_object_set_string_member(object, "path-base64", exact);
}

static void set_size(JsonObject *object, const char *name, guint64 value)
{
  json_object_set_int_member(object, name, (gint64)MIN(value, (guint64)G_MAXINT64));
}

static JsonArray *strings_to_json(char **strings)
{
  JsonArray *array = json_array_new();

  for (gsize i = 0; strings[i] != NULL; i++)
    json_array_add_string_element(array, strings[i]);
  return array;
}

static void add_image(JsonObject *object, VirtdiskDisk *disk)
{
  g_auto(GStrv) parents = virtdisk_disk_dup_parents(disk);

  json_object_set_string_member(object, "format", virtdisk_disk_get_format(disk));
  json_object_set_int_member(object, "device-id", virtdisk_disk_get_device_id(disk));
  json_object_set_string_member(object, "vendor-id", virtdisk_disk_get_vendor_id(disk));
  json_object_set_int_member(object, "subtype", virtdisk_disk_get_subtype(disk));
  set_size(object, "virtual-size", virtdisk_disk_get_virtual_size(disk));
  set_size(object, "physical-size", virtdisk_disk_get_physical_size(disk));
  set_size(object, "block-size", virtdisk_disk_get_block_size(disk));
  set_size(object, "sector-size", virtdisk_disk_get_sector_size(disk));
  set_size(object, "physical-sector-size", virtdisk_disk_get_physical_sector_size(disk));
  json_object_set_string_member(object, "identifier", virtdisk_disk_get_identifier(disk));
  json_object_set_int_member(object, "depth", virtdisk_disk_get_depth(disk));
  json_object_set_array_member(object, "parents", strings_to_json(parents));
  json_object_set_string_member(object, "origin-url", virtdisk_disk_get_origin_url(disk));
}

static void add_attachment(JsonObject *object, VirtdiskDisk *disk)
{
  set_size(object, "device-number", virtdisk_disk_get_device_number(disk));
  set_size(object, "disk-sequence", virtdisk_disk_get_disk_sequence(disk));
  json_object_set_boolean_member(object, "read-only", virtdisk_disk_get_read_only(disk));
  json_object_set_string_member(object, "lifetime", virtdisk_disk_get_lifetime(disk));
  json_object_set_boolean_member(object, "detach-on-unmount", virtdisk_disk_get_detach_on_unmount(disk));
  json_object_set_int_member(object, "owner-uid", virtdisk_disk_get_owner_uid(disk));
  json_object_set_string_member(object, "session", virtdisk_disk_get_session(disk));
  json_object_set_string_member(object, "state", virtdisk_disk_get_state(disk));
  json_object_set_string_member(object, "route", virtdisk_disk_get_route(disk));
  json_object_set_string_member(object, "route-reason", virtdisk_disk_get_route_reason(disk));
  json_object_set_boolean_member(object, "direct-io", virtdisk_disk_get_direct_io(disk));
  json_object_set_boolean_member(object, "settled", virtdisk_disk_get_settled(disk));
  set_size(object, "attached-at", virtdisk_disk_get_attached_at(disk));
}

static JsonArray *mounts_to_json(const char *device)
{
  g_autoptr(GPtrArray) mounts = vd_mounts_of(device, VD_MOUNTS_DISK);
  JsonArray *array = json_array_new();

  for (guint i = 0; i < mounts->len; i++) {
    const VdMount *mount = g_ptr_array_index(mounts, i);
    JsonObject *each = json_object_new();
    g_autofree char *point = vd_value_to_utf8(mount->mountpoint);

    json_object_set_string_member(each, "device", mount->source);
    json_object_set_string_member(each, "mountpoint", point);
    json_array_add_object_element(array, each);
  }
  return array;
}

JsonObject *vd_output_disk_to_json(VirtdiskDisk *disk)
{
  JsonObject *object = json_object_new();
  g_autoptr(GVariant) file_systems = virtdisk_disk_get_file_systems(disk);

  json_object_set_string_member(object, "device", virtdisk_disk_get_device(disk));
  json_object_set_string_member(object, "disk", virtdisk_disk_get_object_path(disk));
  vd_output_json_set_path(object, virtdisk_disk_get_file_name(disk));
  add_image(object, disk);
  add_attachment(object, disk);
  json_object_set_member(object, "file-systems", vd_output_variant_to_json(file_systems));
  json_object_set_array_member(object, "mounts", mounts_to_json(virtdisk_disk_get_device(disk)));
  return object;
}
