/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.virtdisk1.Disk: the properties of an attached disk, renewed from the core's object. */
#include "bus/call.h"
#include "names.h"
#include "util/guid.h"
#include "vd-dbus.h"

/*
 * The generated skeleton, which remembers its properties as one value: GetManagedObjects asks each disk for
 * all of them, and making them one by one takes most of its time.
 */
typedef VdDBusDiskSkeleton VdDiskSkeleton;
typedef VdDBusDiskSkeletonClass VdDiskSkeletonClass;
static GType vd_disk_skeleton_get_type(void);
G_DEFINE_FINAL_TYPE(VdDiskSkeleton, vd_disk_skeleton, VD_DBUS_TYPE_DISK_SKELETON)

static GQuark properties_quark(void)
{
  return g_quark_from_static_string("virtdisk-properties");
}

static GVariant *vd_disk_skeleton_get_properties(GDBusInterfaceSkeleton *skeleton)
{
  GVariant *known = g_object_get_qdata(G_OBJECT(skeleton), properties_quark());

  if (known == NULL) {
    known = g_variant_ref_sink(
        G_DBUS_INTERFACE_SKELETON_CLASS(vd_disk_skeleton_parent_class)->get_properties(skeleton));
    g_object_set_qdata_full(G_OBJECT(skeleton), properties_quark(), known, (GDestroyNotify)g_variant_unref);
  }
  return g_variant_ref(known);
}

static void vd_disk_skeleton_notify(GObject *object, GParamSpec *property)
{
  g_object_set_qdata(object, properties_quark(), NULL);
  if (G_OBJECT_CLASS(vd_disk_skeleton_parent_class)->notify != NULL)
    G_OBJECT_CLASS(vd_disk_skeleton_parent_class)->notify(object, property);
}

static void vd_disk_skeleton_class_init(VdDiskSkeletonClass *klass)
{
  G_DBUS_INTERFACE_SKELETON_CLASS(klass)->get_properties = vd_disk_skeleton_get_properties;
  G_OBJECT_CLASS(klass)->notify = vd_disk_skeleton_notify;
}

static void vd_disk_skeleton_init(VdDiskSkeleton *self) {}

char *vd_bus_service_disk_path(VdDisk *disk)
{
  return g_strconcat(VD_DISK_PATH_PREFIX, disk->attachment->tag, NULL);
}

static void add_string(GVariantBuilder *b, const char *key, const char *value)
{
  g_variant_builder_add(b, "{sv}", key, g_variant_new_string(value));
}

static GVariant *content_to_variant(VdDisk *disk, const VdContent *content)
{
  g_autofree char *device = vd_device_partition_path(disk->attachment->device, content->partition);
  const char *path = content->partition == 0 ? vd_device_get_info(disk->attachment->device)->path : device;
  GVariantBuilder b;

  g_variant_builder_init(&b, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add(&b, "{sv}", "partition", g_variant_new_uint32(content->partition));
  g_variant_builder_add(&b, "{sv}", "offset", g_variant_new_uint64(content->offset));
  g_variant_builder_add(&b, "{sv}", "size", g_variant_new_uint64(content->size));
  add_string(&b, "usage", content->usage);
  add_string(&b, "type", content->type);
  add_string(&b, "label", content->label);
  add_string(&b, "uuid", content->uuid);
  add_string(&b, "part-type", content->part_type);
  add_string(&b, "part-uuid", content->part_uuid);
  add_string(&b, "part-name", content->part_name);
  add_string(&b, "device", path != NULL ? path : "");
  return g_variant_builder_end(&b);
}

GVariant *vd_bus_service_file_systems(VdDisk *disk)
{
  GVariantBuilder b;

  g_variant_builder_init(&b, G_VARIANT_TYPE("aa{sv}"));
  for (guint i = 0; disk->attachment->plan.whole && i < disk->facts.n_contents; i++)
    g_variant_builder_add_value(&b, content_to_variant(disk, &disk->facts.contents[i]));
  return g_variant_builder_end(&b);
}

static void set_image(VdDBusDisk *object, VdDisk *disk)
{
  const VdFacts *facts = &disk->facts;
  char identifier[37] = "";

  if (facts->has_identifier)
    vd_guid_format(facts->identifier, identifier);
  vd_dbus_disk_set_path(object, disk->display);
  vd_dbus_disk_set_path_bytes(object, disk->path);
  vd_dbus_disk_set_format(object, vd_disk_format(disk));
  vd_dbus_disk_set_device_id(object, disk->device_id);
  vd_dbus_disk_set_vendor_id(object, vd_device_id_to_vendor(disk->device_id));
  vd_dbus_disk_set_subtype(object, facts->subtype);
  vd_dbus_disk_set_physical_size(object, vd_disk_physical_size(disk));
  vd_dbus_disk_set_block_size(object, facts->block_size);
  vd_dbus_disk_set_sector_size(object, facts->sector_size);
  vd_dbus_disk_set_physical_sector_size(object, facts->physical_sector_size);
  vd_dbus_disk_set_identifier(object, identifier);
  vd_dbus_disk_set_origin_url(object, disk->origin_url != NULL ? disk->origin_url : "");
}

static void set_chain(VdDBusDisk *object, const GPtrArray *parents)
{
  g_autoptr(GPtrArray) names = g_ptr_array_new();

  for (guint i = 0; parents != NULL && i < parents->len; i++)
    g_ptr_array_add(names, ((VdParent *)g_ptr_array_index(parents, i))->display);
  vd_dbus_disk_set_depth(object, names->len + 1);
  g_ptr_array_add(names, NULL);
  vd_dbus_disk_set_parents(object, (const char *const *)names->pdata);
}

static void set_device(VdDBusDisk *object, const VdDeviceInfo *info)
{
  vd_dbus_disk_set_device(object, info->path);
  vd_dbus_disk_set_device_number(object, info->number);
  vd_dbus_disk_set_disk_sequence(object, info->diskseq);
  vd_dbus_disk_set_read_only(object, info->read_only);
  vd_dbus_disk_set_route(object, info->route);
  vd_dbus_disk_set_route_reason(object, info->reason);
  vd_dbus_disk_set_direct_io(object, info->direct_io);
  vd_dbus_disk_set_settled(object, info->settled);
}

void vd_disk_object_update(GDBusObjectSkeleton *skeleton, VdDisk *disk)
{
  g_autoptr(VdDBusDisk) object = vd_dbus_object_get_disk(VD_DBUS_OBJECT(skeleton));
  const VdDiskAttachment *a = disk->attachment;

  vd_dbus_disk_set_lifetime(object, vd_lifetime_to_string(a->plan.lifetime));
  vd_dbus_disk_set_detach_on_unmount(object, a->plan.detach_on_unmount);
  vd_dbus_disk_set_state(object, vd_disk_state_word(disk));
  vd_dbus_disk_set_virtual_size(object, disk->facts.virtual_size);
  /* Its mirror has taken its place. */
  if (g_strcmp0(vd_dbus_disk_get_path_bytes(object), disk->path) != 0)
    set_image(object, disk);
}

GDBusObjectSkeleton *vd_disk_object_new(VdDisk *disk)
{
  g_autofree char *path = vd_bus_service_disk_path(disk);
  VdDBusObjectSkeleton *skeleton = vd_dbus_object_skeleton_new(path);
  g_autoptr(VdDBusDisk) object = g_object_new(vd_disk_skeleton_get_type(), NULL);

  set_chain(object, disk->attachment->parents);
  set_device(object, vd_device_get_info(disk->attachment->device));
  vd_dbus_disk_set_file_systems(object, vd_bus_service_file_systems(disk));
  vd_dbus_disk_set_owner_uid(object, disk->attachment->owner->uid);
  vd_dbus_disk_set_session(object, disk->attachment->session != NULL ? disk->attachment->session : "");
  vd_dbus_disk_set_attached_at(object, disk->attachment->attached_at);
  vd_dbus_object_skeleton_set_disk(skeleton, object);
  vd_disk_object_update(G_DBUS_OBJECT_SKELETON(skeleton), disk);
  return G_DBUS_OBJECT_SKELETON(skeleton);
}
