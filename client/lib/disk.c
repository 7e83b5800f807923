/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One attached disk: the values that the service last told, by property. It asks for nothing itself; the
 * client feeds it, from any thread, and properties notify in the client's main context.
 */
#include "private.h"

#include <string.h>

enum {
  PROP_0,
  PROP_PATH,
  PROP_PATH_BYTES,
  PROP_FORMAT,
  PROP_DEVICE_ID,
  PROP_VENDOR_ID,
  PROP_SUBTYPE,
  PROP_VIRTUAL_SIZE,
  PROP_PHYSICAL_SIZE,
  PROP_BLOCK_SIZE,
  PROP_SECTOR_SIZE,
  PROP_PHYSICAL_SECTOR_SIZE,
  PROP_IDENTIFIER,
  PROP_DEPTH,
  PROP_PARENTS,
  PROP_DEVICE,
  PROP_DEVICE_NUMBER,
  PROP_DISK_SEQUENCE,
  PROP_READ_ONLY,
  PROP_LIFETIME,
  PROP_DETACH_ON_UNMOUNT,
  PROP_OWNER_UID,
  PROP_SESSION,
  PROP_STATE,
  PROP_FILE_SYSTEMS,
  PROP_ROUTE,
  PROP_ROUTE_REASON,
  PROP_DIRECT_IO,
  PROP_SETTLED,
  PROP_ORIGIN_URL,
  PROP_ATTACHED_AT,
  N_MIRRORED,
  PROP_OBJECT_PATH = N_MIRRORED,
  N_PROPS
};

static const struct {
  const char *name;
  const char *bus_name;
  const char *type;
} mirrored[N_MIRRORED] = {
    [PROP_PATH] = {"path", "Path", "s"},
    [PROP_PATH_BYTES] = {"path-bytes", "PathBytes", "ay"},
    [PROP_FORMAT] = {"format", "Format", "s"},
    [PROP_DEVICE_ID] = {"device-id", "DeviceId", "u"},
    [PROP_VENDOR_ID] = {"vendor-id", "VendorId", "s"},
    [PROP_SUBTYPE] = {"subtype", "Subtype", "u"},
    [PROP_VIRTUAL_SIZE] = {"virtual-size", "VirtualSize", "t"},
    [PROP_PHYSICAL_SIZE] = {"physical-size", "PhysicalSize", "t"},
    [PROP_BLOCK_SIZE] = {"block-size", "BlockSize", "u"},
    [PROP_SECTOR_SIZE] = {"sector-size", "SectorSize", "u"},
    [PROP_PHYSICAL_SECTOR_SIZE] = {"physical-sector-size", "PhysicalSectorSize", "u"},
    [PROP_IDENTIFIER] = {"identifier", "Identifier", "s"},
    [PROP_DEPTH] = {"depth", "Depth", "u"},
    [PROP_PARENTS] = {"parents", "Parents", "as"},
    [PROP_DEVICE] = {"device", "Device", "s"},
    [PROP_DEVICE_NUMBER] = {"device-number", "DeviceNumber", "t"},
    [PROP_DISK_SEQUENCE] = {"disk-sequence", "DiskSequence", "t"},
    [PROP_READ_ONLY] = {"read-only", "ReadOnly", "b"},
    [PROP_LIFETIME] = {"lifetime", "Lifetime", "s"},
    [PROP_DETACH_ON_UNMOUNT] = {"detach-on-unmount", "DetachOnUnmount", "b"},
    [PROP_OWNER_UID] = {"owner-uid", "OwnerUid", "u"},
    [PROP_SESSION] = {"session", "Session", "s"},
    [PROP_STATE] = {"state", "State", "s"},
    [PROP_FILE_SYSTEMS] = {"file-systems", "FileSystems", "aa{sv}"},
    [PROP_ROUTE] = {"route", "Route", "s"},
    [PROP_ROUTE_REASON] = {"route-reason", "RouteReason", "s"},
    [PROP_DIRECT_IO] = {"direct-io", "DirectIO", "b"},
    [PROP_SETTLED] = {"settled", "Settled", "b"},
    [PROP_ORIGIN_URL] = {"origin-url", "OriginUrl", "s"},
    [PROP_ATTACHED_AT] = {"attached-at", "AttachedAt", "t"},
};

struct _VirtdiskDisk {
  GObject parent;
  char *object_path;
  GMainContext *context;
  GMutex lock;
  GVariant *values[N_MIRRORED]; /* under lock; NULL until told */
};

G_DEFINE_FINAL_TYPE(VirtdiskDisk, virtdisk_disk, G_TYPE_OBJECT)

static GParamSpec *specs[N_PROPS];

/* ---- reading ---- */

static GVariant *disk_dup(VirtdiskDisk *disk, guint property)
{
  GVariant *value;

  g_mutex_lock(&disk->lock);
  value = disk->values[property] != NULL ? g_variant_ref(disk->values[property]) : NULL;
  g_mutex_unlock(&disk->lock);
  return value;
}

static const char *disk_string(VirtdiskDisk *disk, guint property)
{
  g_autoptr(GVariant) value = disk_dup(disk, property);

  /* The text belongs to the value that the disk keeps. */
  return value != NULL ? g_variant_get_string(value, NULL) : "";
}

static guint disk_uint(VirtdiskDisk *disk, guint property)
{
  g_autoptr(GVariant) value = disk_dup(disk, property);

  return value != NULL ? g_variant_get_uint32(value) : 0;
}

static guint64 disk_uint64(VirtdiskDisk *disk, guint property)
{
  g_autoptr(GVariant) value = disk_dup(disk, property);

  return value != NULL ? g_variant_get_uint64(value) : 0;
}

static gboolean disk_boolean(VirtdiskDisk *disk, guint property)
{
  g_autoptr(GVariant) value = disk_dup(disk, property);

  return value != NULL && g_variant_get_boolean(value);
}

static void disk_get_value(VirtdiskDisk *disk, guint property, GValue *ret_value)
{
  g_autoptr(GVariant) value = disk_dup(disk, property);

  if (value == NULL)
    return;
  if (G_VALUE_HOLDS_BOXED(ret_value))
    g_value_take_boxed(ret_value, g_variant_get_data_as_bytes(value));
  else if (G_VALUE_HOLDS_VARIANT(ret_value))
    g_value_set_variant(ret_value, value);
  else if (G_VALUE_HOLDS_STRING(ret_value))
    g_value_set_string(ret_value, g_variant_get_string(value, NULL));
  else if (G_VALUE_HOLDS_UINT(ret_value))
    g_value_set_uint(ret_value, g_variant_get_uint32(value));
  else if (G_VALUE_HOLDS_UINT64(ret_value))
    g_value_set_uint64(ret_value, g_variant_get_uint64(value));
  else
    g_value_set_boolean(ret_value, g_variant_get_boolean(value));
}

static void virtdisk_disk_get_property(GObject *object, guint id, GValue *value, GParamSpec *spec)
{
  VirtdiskDisk *disk = VIRTDISK_DISK(object);

  if (id == PROP_OBJECT_PATH)
    g_value_set_string(value, disk->object_path);
  else if (id < N_MIRRORED)
    disk_get_value(disk, id, value);
  else
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
}

/* ---- writing ---- */

typedef struct {
  VirtdiskDisk *disk;
  gboolean changed[N_MIRRORED];
} Change;

static void change_free(gpointer data)
{
  Change *change = data;

  g_object_unref(change->disk);
  g_free(change);
}

static gboolean on_changed(gpointer data)
{
  Change *change = data;

  g_object_freeze_notify(G_OBJECT(change->disk));
  for (guint i = 1; i < N_MIRRORED; i++)
    if (change->changed[i])
      g_object_notify_by_pspec(G_OBJECT(change->disk), specs[i]);
  g_object_thaw_notify(G_OBJECT(change->disk));
  return G_SOURCE_REMOVE;
}

static gboolean disk_set(VirtdiskDisk *disk, guint property, GVariant *value)
{
  g_autoptr(GVariant) old = NULL;
  gboolean is_new;

  g_mutex_lock(&disk->lock);
  is_new = disk->values[property] == NULL || !g_variant_equal(disk->values[property], value);
  if (is_new) {
    old = disk->values[property];
    disk->values[property] = g_variant_ref_sink(value);
  }
  g_mutex_unlock(&disk->lock);
  return is_new;
}

static gboolean disk_store(VirtdiskDisk *disk, GVariant *properties, gboolean *changed)
{
  gboolean any = FALSE;

  for (guint i = 1; i < N_MIRRORED; i++) {
    g_autoptr(GVariant) value =
        g_variant_lookup_value(properties, mirrored[i].bus_name, G_VARIANT_TYPE(mirrored[i].type));

    if (value != NULL)
      any |= changed[i] = disk_set(disk, i, value);
  }
  return any;
}

/* Inside a blocking call the default context is another one: handlers of the program must not start calls in
 * it. */
static void change_notify(Change *change)
{
  g_autoptr(GMainContext) here = g_main_context_ref_thread_default();
  GMainContext *context = change->disk->context;
  g_autoptr(GSource) source = NULL;

  if (here == context && g_main_context_is_owner(context)) {
    on_changed(change);
    change_free(change);
    return;
  }
  source = g_idle_source_new();
  g_source_set_priority(source, G_PRIORITY_DEFAULT);
  g_source_set_callback(source, on_changed, change, change_free);
  g_source_attach(source, context);
}

void vd_disk_update(VirtdiskDisk *disk, GVariant *properties)
{
  Change *change = g_new0(Change, 1);

  change->disk = g_object_ref(disk);
  if (disk_store(disk, properties, change->changed))
    change_notify(change);
  else
    change_free(change);
}

void vd_disk_set_gone(VirtdiskDisk *disk)
{
  g_autoptr(GVariant) gone = g_variant_ref_sink(g_variant_new_parsed("{'State': <'detached'>}"));

  vd_disk_update(disk, gone);
}

VirtdiskDisk *vd_disk_new(const char *object_path, GMainContext *context, GVariant *properties)
{
  VirtdiskDisk *disk = g_object_new(VIRTDISK_TYPE_DISK, NULL);
  gboolean changed[N_MIRRORED];

  disk->object_path = g_strdup(object_path);
  disk->context = g_main_context_ref(context);
  disk_store(disk, properties, changed);
  return disk;
}

/* ---- the type ---- */

static void virtdisk_disk_finalize(GObject *object)
{
  VirtdiskDisk *disk = VIRTDISK_DISK(object);

  for (guint i = 0; i < N_MIRRORED; i++)
    g_clear_pointer(&disk->values[i], g_variant_unref);
  g_clear_pointer(&disk->context, g_main_context_unref);
  g_free(disk->object_path);
  g_mutex_clear(&disk->lock);
  G_OBJECT_CLASS(virtdisk_disk_parent_class)->finalize(object);
}

static GParamSpec *spec_new(const char *name, const char *type)
{
  GParamFlags flags = G_PARAM_READABLE | G_PARAM_EXPLICIT_NOTIFY | G_PARAM_STATIC_STRINGS;

  switch (type[0]) {
  case 's':
    return g_param_spec_string(name, NULL, NULL, "", flags);
  case 'u':
    return g_param_spec_uint(name, NULL, NULL, 0, G_MAXUINT, 0, flags);
  case 't':
    return g_param_spec_uint64(name, NULL, NULL, 0, G_MAXUINT64, 0, flags);
  case 'b':
    return g_param_spec_boolean(name, NULL, NULL, FALSE, flags);
  default:
    if (strcmp(type, "ay") == 0)
      return g_param_spec_boxed(name, NULL, NULL, G_TYPE_BYTES, flags);
    return g_param_spec_variant(name, NULL, NULL, G_VARIANT_TYPE(type), NULL, flags);
  }
}

static void virtdisk_disk_class_init(VirtdiskDiskClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS(klass);

  object_class->get_property = virtdisk_disk_get_property;
  object_class->finalize = virtdisk_disk_finalize;
  for (guint i = 1; i < N_MIRRORED; i++)
    specs[i] = spec_new(mirrored[i].name, mirrored[i].type);
  specs[PROP_OBJECT_PATH] = spec_new("object-path", "s");
  g_object_class_install_properties(object_class, N_PROPS, specs);
}

static void virtdisk_disk_init(VirtdiskDisk *disk)
{
  g_mutex_init(&disk->lock);
}

/* ---- getters ---- */

const char *virtdisk_disk_get_object_path(VirtdiskDisk *disk)
{
  return disk->object_path;
}

const char *virtdisk_disk_get_path(VirtdiskDisk *disk)
{
  return disk_string(disk, PROP_PATH);
}

const char *virtdisk_disk_get_file_name(VirtdiskDisk *disk)
{
  g_autoptr(GVariant) value = disk_dup(disk, PROP_PATH_BYTES);

  /* An array without the NUL that the service promises reads as empty. */
  return value != NULL ? g_variant_get_bytestring(value) : "";
}

const char *virtdisk_disk_get_format(VirtdiskDisk *disk)
{
  return disk_string(disk, PROP_FORMAT);
}

VirtdiskDeviceId virtdisk_disk_get_device_id(VirtdiskDisk *disk)
{
  return (VirtdiskDeviceId)disk_uint(disk, PROP_DEVICE_ID);
}

const char *virtdisk_disk_get_vendor_id(VirtdiskDisk *disk)
{
  return disk_string(disk, PROP_VENDOR_ID);
}

VirtdiskSubtype virtdisk_disk_get_subtype(VirtdiskDisk *disk)
{
  return (VirtdiskSubtype)disk_uint(disk, PROP_SUBTYPE);
}

guint64 virtdisk_disk_get_virtual_size(VirtdiskDisk *disk)
{
  return disk_uint64(disk, PROP_VIRTUAL_SIZE);
}

guint64 virtdisk_disk_get_physical_size(VirtdiskDisk *disk)
{
  return disk_uint64(disk, PROP_PHYSICAL_SIZE);
}

guint virtdisk_disk_get_block_size(VirtdiskDisk *disk)
{
  return disk_uint(disk, PROP_BLOCK_SIZE);
}

guint virtdisk_disk_get_sector_size(VirtdiskDisk *disk)
{
  return disk_uint(disk, PROP_SECTOR_SIZE);
}

guint virtdisk_disk_get_physical_sector_size(VirtdiskDisk *disk)
{
  return disk_uint(disk, PROP_PHYSICAL_SECTOR_SIZE);
}

const char *virtdisk_disk_get_identifier(VirtdiskDisk *disk)
{
  return disk_string(disk, PROP_IDENTIFIER);
}

guint virtdisk_disk_get_depth(VirtdiskDisk *disk)
{
  return disk_uint(disk, PROP_DEPTH);
}

char **virtdisk_disk_dup_parents(VirtdiskDisk *disk)
{
  g_autoptr(GVariant) value = disk_dup(disk, PROP_PARENTS);

  return value != NULL ? g_variant_dup_strv(value, NULL) : g_new0(char *, 1);
}

const char *virtdisk_disk_get_device(VirtdiskDisk *disk)
{
  return disk_string(disk, PROP_DEVICE);
}

guint64 virtdisk_disk_get_device_number(VirtdiskDisk *disk)
{
  return disk_uint64(disk, PROP_DEVICE_NUMBER);
}

guint64 virtdisk_disk_get_disk_sequence(VirtdiskDisk *disk)
{
  return disk_uint64(disk, PROP_DISK_SEQUENCE);
}

gboolean virtdisk_disk_get_read_only(VirtdiskDisk *disk)
{
  return disk_boolean(disk, PROP_READ_ONLY);
}

const char *virtdisk_disk_get_lifetime(VirtdiskDisk *disk)
{
  return disk_string(disk, PROP_LIFETIME);
}

gboolean virtdisk_disk_get_detach_on_unmount(VirtdiskDisk *disk)
{
  return disk_boolean(disk, PROP_DETACH_ON_UNMOUNT);
}

guint virtdisk_disk_get_owner_uid(VirtdiskDisk *disk)
{
  return disk_uint(disk, PROP_OWNER_UID);
}

const char *virtdisk_disk_get_session(VirtdiskDisk *disk)
{
  return disk_string(disk, PROP_SESSION);
}

const char *virtdisk_disk_get_state(VirtdiskDisk *disk)
{
  return disk_string(disk, PROP_STATE);
}

GVariant *virtdisk_disk_get_file_systems(VirtdiskDisk *disk)
{
  GVariant *value = disk_dup(disk, PROP_FILE_SYSTEMS);

  return value != NULL ? value : g_variant_ref_sink(g_variant_new("aa{sv}", NULL));
}

const char *virtdisk_disk_get_route(VirtdiskDisk *disk)
{
  return disk_string(disk, PROP_ROUTE);
}

const char *virtdisk_disk_get_route_reason(VirtdiskDisk *disk)
{
  return disk_string(disk, PROP_ROUTE_REASON);
}

gboolean virtdisk_disk_get_direct_io(VirtdiskDisk *disk)
{
  return disk_boolean(disk, PROP_DIRECT_IO);
}

gboolean virtdisk_disk_get_settled(VirtdiskDisk *disk)
{
  return disk_boolean(disk, PROP_SETTLED);
}

const char *virtdisk_disk_get_origin_url(VirtdiskDisk *disk)
{
  return disk_string(disk, PROP_ORIGIN_URL);
}

guint64 virtdisk_disk_get_attached_at(VirtdiskDisk *disk)
{
  return disk_uint64(disk, PROP_ATTACHED_AT);
}
