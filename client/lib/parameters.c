/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The optional parameters: what was set, by its key on the bus. The service checks them; nothing is judged
 * here. */
#include "private.h"

#include <string.h>

/* Key (static string) to value. */
typedef GHashTable Options;

static Options *options_new(void)
{
  return g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)g_variant_unref);
}

static void options_set(Options *options, const char *key, GVariant *value)
{
  g_hash_table_replace(options, (gpointer)key, g_variant_ref_sink(value));
}

static void options_set_string(Options *options, const char *key, const char *value)
{
  if (value != NULL)
    options_set(options, key, g_variant_new_string(value));
  else
    g_hash_table_remove(options, key);
}

static guint32 options_get_uint(Options *options, const char *key)
{
  GVariant *value = g_hash_table_lookup(options, key);

  return value != NULL ? g_variant_get_uint32(value) : 0;
}

static gboolean options_get_boolean(Options *options, const char *key)
{
  GVariant *value = g_hash_table_lookup(options, key);

  return value != NULL && g_variant_get_boolean(value);
}

static void options_build(Options *options, GVariantBuilder *builder)
{
  GHashTableIter iter;
  gpointer key, value;

  g_hash_table_iter_init(&iter, options);
  while (g_hash_table_iter_next(&iter, &key, &value))
    g_variant_builder_add(builder, "{sv}", key, value);
}

static GVariant *options_to_variant(Options *options)
{
  g_auto(GVariantBuilder) builder = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_VARDICT);

  if (options != NULL)
    options_build(options, &builder);
  return g_variant_builder_end(&builder);
}

static void progress_set(VdProgress *progress, VirtdiskProgressFunc func, gpointer data,
                         GDestroyNotify destroy)
{
  VdProgress old = *progress;

  *progress = (VdProgress){.func = func, .data = data, .destroy = destroy};
  if (old.destroy != NULL)
    old.destroy(old.data);
}

/* The types differ in name and setters only, and in that some have a job. */
#define DEFINE_PARAMETERS(Type, type)                                                                        \
  struct _##Type {                                                                                           \
    GObject parent;                                                                                          \
    Options *options;                                                                                        \
    VdProgress progress;                                                                                     \
    gboolean background;                                                                                     \
  };                                                                                                         \
  G_DEFINE_FINAL_TYPE(Type, type, G_TYPE_OBJECT)                                                             \
  static void type##_finalize(GObject *object)                                                               \
  {                                                                                                          \
    progress_set(&((Type *)object)->progress, NULL, NULL, NULL);                                             \
    g_hash_table_unref(((Type *)object)->options);                                                           \
    G_OBJECT_CLASS(type##_parent_class)->finalize(object);                                                   \
  }                                                                                                          \
  static void type##_class_init(Type##Class *klass)                                                          \
  {                                                                                                          \
    G_OBJECT_CLASS(klass)->finalize = type##_finalize;                                                       \
  }                                                                                                          \
  static void type##_init(Type *self)                                                                        \
  {                                                                                                          \
    self->options = options_new();                                                                           \
  }                                                                                                          \
  Type *type##_new(void)                                                                                     \
  {                                                                                                          \
    return g_object_new(type##_get_type(), NULL);                                                            \
  }                                                                                                          \
  GVariant *type##_to_variant(Type *parameters)                                                              \
  {                                                                                                          \
    return g_variant_ref_sink(options_to_variant(parameters->options));                                      \
  }

DEFINE_PARAMETERS(VirtdiskOpenParameters, virtdisk_open_parameters)
DEFINE_PARAMETERS(VirtdiskCreateParameters, virtdisk_create_parameters)
DEFINE_PARAMETERS(VirtdiskAttachParameters, virtdisk_attach_parameters)
DEFINE_PARAMETERS(VirtdiskDetachParameters, virtdisk_detach_parameters)
DEFINE_PARAMETERS(VirtdiskOperationParameters, virtdisk_operation_parameters)

/* ---- setters ---- */

void virtdisk_open_parameters_set_version(VirtdiskOpenParameters *parameters, guint version)
{
  options_set(parameters->options, "version", g_variant_new_uint32(version));
}

void virtdisk_open_parameters_set_rw_depth(VirtdiskOpenParameters *parameters, guint rw_depth)
{
  options_set(parameters->options, "rw-depth", g_variant_new_uint32(rw_depth));
}

void virtdisk_open_parameters_set_get_info_only(VirtdiskOpenParameters *parameters, gboolean get_info_only)
{
  options_set(parameters->options, "get-info-only", g_variant_new_boolean(get_info_only));
}

void virtdisk_open_parameters_set_read_only(VirtdiskOpenParameters *parameters, gboolean read_only)
{
  options_set(parameters->options, "read-only", g_variant_new_boolean(read_only));
}

void virtdisk_open_parameters_set_device_id(VirtdiskOpenParameters *parameters, VirtdiskDeviceId device_id)
{
  options_set(parameters->options, "device-id", g_variant_new_uint32(device_id));
}

void virtdisk_open_parameters_set_vendor_id(VirtdiskOpenParameters *parameters, const char *vendor_id)
{
  options_set_string(parameters->options, "vendor-id", vendor_id);
}

void virtdisk_open_parameters_set_resiliency_guid(VirtdiskOpenParameters *parameters, const char *guid)
{
  options_set_string(parameters->options, "resiliency-guid", guid);
}

void virtdisk_open_parameters_set_snapshot_id(VirtdiskOpenParameters *parameters, const char *guid)
{
  options_set_string(parameters->options, "snapshot-id", guid);
}

void virtdisk_open_parameters_set_ignore_parent_timestamp(VirtdiskOpenParameters *parameters,
                                                          gboolean ignore_parent_timestamp)
{
  options_set(parameters->options, "ignore-parent-timestamp", g_variant_new_boolean(ignore_parent_timestamp));
}

void virtdisk_create_parameters_set_version(VirtdiskCreateParameters *parameters, guint version)
{
  options_set(parameters->options, "version", g_variant_new_uint32(version));
}

void virtdisk_create_parameters_set_device_id(VirtdiskCreateParameters *parameters,
                                              VirtdiskDeviceId device_id)
{
  options_set(parameters->options, "device-id", g_variant_new_uint32(device_id));
}

void virtdisk_create_parameters_set_vendor_id(VirtdiskCreateParameters *parameters, const char *vendor_id)
{
  options_set_string(parameters->options, "vendor-id", vendor_id);
}

void virtdisk_create_parameters_set_provider_specific_flags(VirtdiskCreateParameters *parameters, guint flags)
{
  options_set(parameters->options, "provider-specific-flags", g_variant_new_uint32(flags));
}

void virtdisk_create_parameters_set_unique_id(VirtdiskCreateParameters *parameters, const char *guid)
{
  options_set_string(parameters->options, "unique-id", guid);
}

void virtdisk_create_parameters_set_block_size(VirtdiskCreateParameters *parameters, guint block_size)
{
  options_set(parameters->options, "block-size", g_variant_new_uint32(block_size));
}

void virtdisk_create_parameters_set_sector_size(VirtdiskCreateParameters *parameters, guint sector_size)
{
  options_set(parameters->options, "sector-size", g_variant_new_uint32(sector_size));
}

void virtdisk_create_parameters_set_physical_sector_size(VirtdiskCreateParameters *parameters,
                                                         guint sector_size)
{
  options_set(parameters->options, "physical-sector-size", g_variant_new_uint32(sector_size));
}

void virtdisk_create_parameters_set_open_flags(VirtdiskCreateParameters *parameters, VirtdiskOpenFlags flags)
{
  options_set(parameters->options, "open-flags", g_variant_new_uint32(flags));
}

void virtdisk_create_parameters_set_parent_device_id(VirtdiskCreateParameters *parameters,
                                                     VirtdiskDeviceId device_id)
{
  options_set(parameters->options, "parent-device-id", g_variant_new_uint32(device_id));
}

void virtdisk_create_parameters_set_parent_vendor_id(VirtdiskCreateParameters *parameters,
                                                     const char *vendor_id)
{
  options_set_string(parameters->options, "parent-vendor-id", vendor_id);
}

void virtdisk_create_parameters_set_resiliency_guid(VirtdiskCreateParameters *parameters, const char *guid)
{
  options_set_string(parameters->options, "resiliency-guid", guid);
}

/* What is empty or cannot be said is the service's to refuse. */
static void options_set_path(Options *options, const char *key, const char *path)
{
  g_autofree char *absolute = path != NULL ? vd_path_absolute(path, NULL) : NULL;

  options_set_string(options, key,
                     absolute != NULL && vd_path_is_sayable(absolute) ? absolute
                     : path != NULL                                   ? ""
                                                                      : NULL);
}

void virtdisk_create_parameters_set_parent_path(VirtdiskCreateParameters *parameters, const char *path)
{
  options_set_path(parameters->options, "parent-path", path);
}

void virtdisk_create_parameters_set_source_path(VirtdiskCreateParameters *parameters, const char *path)
{
  options_set_path(parameters->options, "source-path", path);
}

void virtdisk_create_parameters_set_source_device_id(VirtdiskCreateParameters *parameters,
                                                     VirtdiskDeviceId device_id)
{
  options_set(parameters->options, "source-device-id", g_variant_new_uint32(device_id));
}

void virtdisk_create_parameters_set_source_vendor_id(VirtdiskCreateParameters *parameters,
                                                     const char *vendor_id)
{
  options_set_string(parameters->options, "source-vendor-id", vendor_id);
}

void virtdisk_create_parameters_set_verify(VirtdiskCreateParameters *parameters, gboolean verify)
{
  options_set(parameters->options, "verify", g_variant_new_boolean(verify));
}

void virtdisk_create_parameters_set_owner_uid(VirtdiskCreateParameters *parameters, guint uid)
{
  options_set(parameters->options, "owner-uid", g_variant_new_uint32(uid));
}

void virtdisk_create_parameters_set_owner_gid(VirtdiskCreateParameters *parameters, guint gid)
{
  options_set(parameters->options, "owner-gid", g_variant_new_uint32(gid));
}

void virtdisk_create_parameters_set_mode(VirtdiskCreateParameters *parameters, guint mode)
{
  options_set(parameters->options, "mode", g_variant_new_uint32(mode));
}

void virtdisk_create_parameters_set_job(VirtdiskCreateParameters *parameters, const char *word)
{
  options_set_string(parameters->options, "job", word);
}

void virtdisk_create_parameters_set_detach_job(VirtdiskCreateParameters *parameters, gboolean detach_job)
{
  options_set(parameters->options, "detach-job", g_variant_new_boolean(detach_job));
}

void virtdisk_create_parameters_set_progress(VirtdiskCreateParameters *parameters,
                                             VirtdiskProgressFunc progress, gpointer data,
                                             GDestroyNotify destroy)
{
  progress_set(&parameters->progress, progress, data, destroy);
}

void virtdisk_attach_parameters_set_route(VirtdiskAttachParameters *parameters, const char *route)
{
  options_set_string(parameters->options, "route", route);
}

void virtdisk_attach_parameters_set_zero_copy(VirtdiskAttachParameters *parameters, gboolean zero_copy)
{
  options_set(parameters->options, "zero-copy", g_variant_new_boolean(zero_copy));
}

void virtdisk_attach_parameters_set_read_only(VirtdiskAttachParameters *parameters, gboolean read_only)
{
  options_set(parameters->options, "read-only", g_variant_new_boolean(read_only));
}

void virtdisk_attach_parameters_set_flags(VirtdiskAttachParameters *parameters, VirtdiskAttachFlags flags)
{
  options_set(parameters->options, "flags", g_variant_new_uint32(flags));
}

void virtdisk_attach_parameters_set_open_flags(VirtdiskAttachParameters *parameters, VirtdiskOpenFlags flags)
{
  options_set(parameters->options, "open-flags", g_variant_new_uint32(flags));
}

void virtdisk_attach_parameters_set_device_id(VirtdiskAttachParameters *parameters,
                                              VirtdiskDeviceId device_id)
{
  options_set(parameters->options, "device-id", g_variant_new_uint32(device_id));
}

void virtdisk_attach_parameters_set_vendor_id(VirtdiskAttachParameters *parameters, const char *vendor_id)
{
  options_set_string(parameters->options, "vendor-id", vendor_id);
}

void virtdisk_attach_parameters_set_version(VirtdiskAttachParameters *parameters, guint version)
{
  options_set(parameters->options, "version", g_variant_new_uint32(version));
}

void virtdisk_attach_parameters_set_provider_specific_flags(VirtdiskAttachParameters *parameters, guint flags)
{
  options_set(parameters->options, "provider-specific-flags", g_variant_new_uint32(flags));
}

void virtdisk_attach_parameters_set_lifetime(VirtdiskAttachParameters *parameters, const char *lifetime)
{
  options_set_string(parameters->options, "lifetime", lifetime);
}

void virtdisk_attach_parameters_set_detach_on_unmount(VirtdiskAttachParameters *parameters,
                                                      gboolean detach_on_unmount)
{
  options_set(parameters->options, "detach-on-unmount", g_variant_new_boolean(detach_on_unmount));
}

void virtdisk_attach_parameters_set_sector_size(VirtdiskAttachParameters *parameters, guint sector_size)
{
  options_set(parameters->options, "sector-size", g_variant_new_uint32(sector_size));
}

void virtdisk_attach_parameters_set_partition_scan(VirtdiskAttachParameters *parameters,
                                                   gboolean partition_scan)
{
  options_set(parameters->options, "partition-scan", g_variant_new_boolean(partition_scan));
}

void virtdisk_attach_parameters_set_owner_uid(VirtdiskAttachParameters *parameters, guint uid)
{
  options_set(parameters->options, "owner-uid", g_variant_new_uint32(uid));
}

void virtdisk_attach_parameters_set_owner_gid(VirtdiskAttachParameters *parameters, guint gid)
{
  options_set(parameters->options, "owner-gid", g_variant_new_uint32(gid));
}

void virtdisk_attach_parameters_set_mode(VirtdiskAttachParameters *parameters, guint mode)
{
  options_set(parameters->options, "mode", g_variant_new_uint32(mode));
}

void virtdisk_attach_parameters_set_restricted_range(VirtdiskAttachParameters *parameters, guint64 offset,
                                                     guint64 length)
{
  options_set(parameters->options, "restricted-offset", g_variant_new_uint64(offset));
  options_set(parameters->options, "restricted-length", g_variant_new_uint64(length));
}

void virtdisk_detach_parameters_set_force(VirtdiskDetachParameters *parameters, gboolean force)
{
  options_set(parameters->options, "force", g_variant_new_boolean(force));
}

void virtdisk_detach_parameters_set_when_idle(VirtdiskDetachParameters *parameters, gboolean when_idle)
{
  options_set(parameters->options, "when-idle", g_variant_new_boolean(when_idle));
}

void virtdisk_detach_parameters_set_provider_specific_flags(VirtdiskDetachParameters *parameters, guint flags)
{
  options_set(parameters->options, "provider-specific-flags", g_variant_new_uint32(flags));
}

void virtdisk_operation_parameters_set_merge_depth(VirtdiskOperationParameters *parameters, guint depth)
{
  options_set(parameters->options, "version", g_variant_new_uint32(1));
  options_set(parameters->options, "merge-depth", g_variant_new_uint32(depth));
}

void virtdisk_operation_parameters_set_merge_depths(VirtdiskOperationParameters *parameters,
                                                    guint source_depth, guint target_depth)
{
  options_set(parameters->options, "version", g_variant_new_uint32(2));
  options_set(parameters->options, "merge-source-depth", g_variant_new_uint32(source_depth));
  options_set(parameters->options, "merge-target-depth", g_variant_new_uint32(target_depth));
}

void virtdisk_operation_parameters_set_file_systems(VirtdiskOperationParameters *parameters,
                                                    gboolean file_systems)
{
  options_set(parameters->options, "file-systems", g_variant_new_boolean(file_systems));
}

void virtdisk_operation_parameters_set_job(VirtdiskOperationParameters *parameters, const char *word)
{
  options_set_string(parameters->options, "job", word);
}

void virtdisk_operation_parameters_set_detach_job(VirtdiskOperationParameters *parameters,
                                                  gboolean detach_job)
{
  options_set(parameters->options, "detach-job", g_variant_new_boolean(detach_job));
}

void virtdisk_operation_parameters_set_background(VirtdiskOperationParameters *parameters,
                                                  gboolean background)
{
  parameters->background = background;
}

void virtdisk_operation_parameters_set_progress(VirtdiskOperationParameters *parameters,
                                                VirtdiskProgressFunc progress, gpointer data,
                                                GDestroyNotify destroy)
{
  progress_set(&parameters->progress, progress, data, destroy);
}

/* ---- for the calls ---- */

GVariant *vd_open_options(VirtdiskOpenParameters *parameters, const char *display_path)
{
  g_auto(GVariantBuilder) builder = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_VARDICT);

  if (parameters != NULL)
    options_build(parameters->options, &builder);
  if (display_path != NULL) {
    g_autofree char *display = vd_path_display(display_path);

    g_variant_builder_add(&builder, "{sv}", "path", g_variant_new_string(display));
  }
  return g_variant_builder_end(&builder);
}

/* With async, so that the reply comes when the job has begun. */
static GVariant *options_to_variant_of_job(Options *options)
{
  g_auto(GVariantBuilder) builder = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_VARDICT);

  if (options != NULL)
    options_build(options, &builder);
  g_variant_builder_add(&builder, "{sv}", "async", g_variant_new_boolean(TRUE));
  return g_variant_builder_end(&builder);
}

GVariant *vd_create_options(VirtdiskCreateParameters *parameters, VdReplyWhen when)
{
  Options *options = parameters != NULL ? parameters->options : NULL;

  return when == VD_REPLY_AT_BEGIN ? options_to_variant_of_job(options) : options_to_variant(options);
}

gboolean vd_create_wants_job(VirtdiskCreateParameters *parameters)
{
  return parameters != NULL &&
         (parameters->progress.func != NULL || g_hash_table_contains(parameters->options, "source-path"));
}

const VdProgress *vd_create_get_progress(VirtdiskCreateParameters *parameters)
{
  return parameters != NULL ? &parameters->progress : NULL;
}

GVariant *vd_operation_options(VirtdiskOperationParameters *parameters)
{
  return options_to_variant_of_job(parameters != NULL ? parameters->options : NULL);
}

const VdProgress *vd_operation_get_progress(VirtdiskOperationParameters *parameters)
{
  return &parameters->progress;
}

gboolean vd_operation_get_background(VirtdiskOperationParameters *parameters)
{
  return parameters->background;
}

GVariant *vd_attach_options(VirtdiskAttachParameters *parameters)
{
  return options_to_variant(parameters != NULL ? parameters->options : NULL);
}

GVariant *vd_detach_options(VirtdiskDetachParameters *parameters)
{
  return options_to_variant(parameters != NULL ? parameters->options : NULL);
}

gboolean vd_open_wants_writing(VirtdiskAccessMask access_mask, VirtdiskOpenParameters *parameters)
{
  if (parameters != NULL && options_get_uint(parameters->options, "version") >= 2)
    return !options_get_boolean(parameters->options, "read-only") &&
           !options_get_boolean(parameters->options, "get-info-only");
  return (access_mask & VIRTDISK_ACCESS_WRITABLE) != 0;
}

static void options_move(Options *from, Options *to, const char *key)
{
  GVariant *value = g_hash_table_lookup(from, key);

  if (value == NULL)
    return;
  options_set(to, key, value);
  g_hash_table_remove(from, key);
}

static gboolean is_iso(const char *path, guint32 device_id)
{
  gsize length = strlen(path);

  if (device_id != VIRTDISK_DEVICE_UNKNOWN)
    return device_id == VIRTDISK_DEVICE_ISO;
  return length >= 4 && g_ascii_strcasecmp(path + length - 4, ".iso") == 0;
}

VdSplitParameters *vd_split_parameters(const char *path, VirtdiskAttachParameters *parameters)
{
  VdSplitParameters *split = g_new0(VdSplitParameters, 1);
  Options *options;

  split->open = virtdisk_open_parameters_new();
  split->attach = virtdisk_attach_parameters_new();
  options = split->attach->options;
  if (parameters != NULL) {
    GHashTableIter iter;
    gpointer key, value;

    g_hash_table_iter_init(&iter, parameters->options);
    while (g_hash_table_iter_next(&iter, &key, &value))
      options_set(options, key, value);
  }
  split->open_flags = options_get_uint(options, "open-flags");
  split->attach_flags = options_get_uint(options, "flags");
  split->read_only = options_get_boolean(options, "read-only") ||
                     (split->attach_flags & VIRTDISK_ATTACH_READ_ONLY) != 0 ||
                     is_iso(path, options_get_uint(options, "device-id"));
  if (split->read_only)
    split->attach_flags |= VIRTDISK_ATTACH_READ_ONLY;
  if (!g_hash_table_contains(options, "lifetime") && (split->attach_flags & VIRTDISK_ATTACH_AT_BOOT) == 0)
    split->attach_flags |= VIRTDISK_ATTACH_PERMANENT_LIFETIME;
  options_move(options, split->open->options, "device-id");
  options_move(options, split->open->options, "vendor-id");
  g_hash_table_remove(options, "open-flags");
  g_hash_table_remove(options, "flags");
  g_hash_table_remove(options, "read-only");
  return split;
}

void vd_split_parameters_free(VdSplitParameters *split)
{
  g_object_unref(split->open);
  g_object_unref(split->attach);
  g_free(split);
}
