/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.virtdisk1.Manager: unpack, call the core, answer. */
#include "bus/call.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "dependency.h"
#include "names.h"
#include "util/offload.h"

static const VdOption open_options[] = {
    VD_OPTION(VdCall, "device-id", U32, open.device_id),
    VD_OPTION(VdCall, "vendor-id", STRING, open.vendor),
    VD_OPTION(VdCall, "version", U32, open.version),
    VD_OPTION_HAS(VdCall, "rw-depth", U32, open.rw_depth, open.has_rw_depth),
    VD_OPTION_HAS(VdCall, "get-info-only", BOOL, open.get_info_only, open.has_get_info_only),
    VD_OPTION_HAS(VdCall, "read-only", BOOL, open.read_only, open.has_read_only),
    VD_OPTION_HAS(VdCall, "resiliency-guid", STRING, open.resiliency_guid, open.has_resiliency_guid),
    VD_OPTION_HAS(VdCall, "snapshot-id", STRING, open.snapshot_id, open.has_snapshot_id),
    VD_OPTION(VdCall, "ignore-parent-timestamp", BOOL, open.ignore_parent_timestamp),
    VD_OPTION(VdCall, "path", STRING, path), /* OpenVirtualDiskFd only */
};

static const char *keep(VdCall *call, char *text)
{
  g_ptr_array_add(call->arena, text);
  return text;
}

/* OpenVirtualDisk, OpenVirtualDiskFd */

static void on_opened(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;
  g_autoptr(VdHandle) handle = vd_manager_open_finish(VD_MANAGER(source), result, &error);
  g_autofree char *path = NULL;

  if (handle == NULL) {
    vd_call_fail(call, error);
    return;
  }
  path = g_strconcat(VD_HANDLE_PATH_PREFIX, handle->id, NULL);
  vd_call_return(call, g_variant_new("(o)", path));
}

static void open_image(VdCall *call, VdImage *image)
{
  GError *error = NULL;
  VdCharge *charge = vd_quota_charge(call->service->quota, call->identity->uid, VD_QUOTA_HANDLES, &error);

  if (charge == NULL) {
    vd_call_fail(call, error);
    return;
  }
  vd_manager_open_async(call->service->manager, call->identity, image, &call->rights, charge,
                        (GDestroyNotify)vd_charge_free, call->cancellable, on_opened, call);
}

static void on_found_to_open(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;

  call->image = vd_manager_find_finish(VD_MANAGER(source), result, &error);
  if (call->image == NULL)
    vd_call_fail(call, error);
  else
    open_image(call, call->image);
}

static void perform_open(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  GError *error = NULL;

  call->open.version = 1;
  g_variant_get(call->parameters, "(&suu@a{sv})", &call->path, &call->open.mask, &call->open.flags, &options);
  if (!vd_options_parse(options, open_options, G_N_ELEMENTS(open_options) - 1, call, call->arena, &error) ||
      !vd_access_open(&call->open, call->path, &call->device_id, &call->rights, &error))
    vd_call_fail(call, error);
  else
    vd_manager_find_async(call->service->manager, call->identity, call->path, &call->open, &call->rights,
                          call->cancellable, on_found_to_open, call);
}

/* A name the descriptor has in the kernel: for display, and for its extension. */
static const char *name_of_fd(VdCall *call, int fd)
{
  g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
  char *target = g_file_read_link(link, NULL);

  return target != NULL ? keep(call, target) : "";
}

static void on_fd_looked_at(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;

  call->image = vd_image_new_finish(result, &error);
  if (call->image == NULL)
    vd_call_fail(call, error);
  else
    open_image(call, call->image);
}

static void perform_open_fd(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  GError *error = NULL;
  gint32 index;
  int fd;

  call->open.version = 1;
  g_variant_get(call->parameters, "(huu@a{sv})", &index, &call->open.mask, &call->open.flags, &options);
  if (!vd_options_parse(options, open_options, G_N_ELEMENTS(open_options), call, call->arena, &error)) {
    vd_call_fail(call, error);
    return;
  }
  fd = vd_call_take_fd(call, index, &error);
  if (fd < 0) {
    vd_call_fail(call, error);
    return;
  }
  if (!vd_access_open(&call->open, call->path != NULL ? call->path : name_of_fd(call, fd), &call->device_id,
                      &call->rights, &error)) {
    vd_offload_close(fd);
    vd_call_fail(call, error);
    return;
  }
  /* The kernel's name of the file, never the client's word, is what others get to see. */
  vd_image_new_async(fd, NULL, call->device_id, call->open.vendor, call->rights.write, call->open.flags,
                     on_fd_looked_at, call);
}

/* AttachImage */

static void resolve_attach_flags(VdCall *call)
{
  VdLifetime word;

  if (call->option.read_only || call->device_id == VIRTDISK_DEVICE_ISO)
    call->attach.flags |= VIRTDISK_ATTACH_READ_ONLY;
  if (call->attach.has_range) {
    call->attach.flags |= VIRTDISK_ATTACH_RESTRICTED_RANGE;
    call->attach.version = 2;
  }
  /* "One call: open + permanent attach", unless a word says otherwise. */
  if (call->attach.lifetime == NULL && (call->attach.flags & VIRTDISK_ATTACH_AT_BOOT) == 0)
    call->attach.flags |= VIRTDISK_ATTACH_PERMANENT_LIFETIME;
  else if (vd_lifetime_from_string(call->attach.lifetime, &word) && word == VD_LIFETIME_PERMANENT)
    call->attach.flags |= VIRTDISK_ATTACH_PERMANENT_LIFETIME;
}

static gboolean resolve_attach_image(VdCall *call, VdLifetime *ret_lifetime, gboolean *ret_read_only,
                                     GError **error)
{
  call->open.version = 1;
  call->open.mask = VIRTDISK_ACCESS_READ;
  if (!vd_access_open(&call->open, call->path, &call->device_id, &call->rights, error))
    return FALSE;
  resolve_attach_flags(call);
  if (!vd_access_attach_flags(&call->attach, call->device_id, ret_lifetime, ret_read_only, error))
    return FALSE;
  if (*ret_lifetime == VD_LIFETIME_HANDLE) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                        "AttachImage leaves no handle that the attachment could live with");
    return FALSE;
  }
  if (*ret_read_only)
    return TRUE;
  call->open.mask = VIRTDISK_ACCESS_ATTACH_RW | VIRTDISK_ACCESS_DETACH | VIRTDISK_ACCESS_GET_INFO;
  return vd_access_open(&call->open, call->path, &call->device_id, &call->rights, error);
}

static void on_found_to_attach(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;

  call->image = vd_manager_find_finish(VD_MANAGER(source), result, &error);
  if (call->image == NULL || !vd_manager_may_attach(VD_MANAGER(source), call->image, &call->rights, &error)) {
    vd_call_fail(call, error);
    return;
  }
  call->ask.path = call->image->display;
  call->ask.origin_url = call->image->origin_url;
  call->ask.file_owner = call->image->st.st_uid;
  vd_call_examined(call);
}

static void examine_attach_image(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  VdLifetime lifetime;
  gboolean read_only;
  GError *error = NULL;

  g_variant_get(call->parameters, "(&s@a{sv})", &call->path, &options);
  if (!vd_call_parse_attach_options(call, options, TRUE, &error) ||
      !resolve_attach_image(call, &lifetime, &read_only, &error)) {
    vd_call_fail(call, error);
    return;
  }
  vd_call_ask_attach(call, NULL, NULL, VD_UID_INVALID, lifetime, read_only);
  call->ask.format = vd_device_id_to_format(call->device_id);
  vd_manager_find_async(call->service->manager, call->identity, call->path, &call->open, &call->rights,
                        call->cancellable, on_found_to_attach, call);
}

static void on_image_closed(GObject *source, GAsyncResult *result, gpointer user_data)
{
  vd_manager_close_finish(VD_MANAGER(source), result, NULL);
}

static void on_image_attached(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;
  g_autoptr(VdDisk) disk = vd_manager_attach_finish(VD_MANAGER(source), result, &error);
  g_autofree char *path = NULL;

  if (!call->handle->closed)
    vd_manager_close_async(VD_MANAGER(source), call->handle, on_image_closed, NULL);
  if (disk == NULL || disk->attachment == NULL) {
    if (error == NULL)
      error = g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_DEVICE_NOT_EXIST,
                                  "the device was taken away as soon as it was there");
    vd_call_fail(call, error);
    return;
  }
  path = vd_bus_service_disk_path(disk);
  vd_call_return(call, g_variant_new("(os@a{sv})", path, vd_device_get_info(disk->attachment->device)->path,
                                     vd_call_attach_results(disk)));
}

static void on_image_opened(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;
  VdCharge *charge;

  call->handle = vd_manager_open_finish(VD_MANAGER(source), result, &error);
  if (call->handle == NULL) {
    vd_call_fail(call, error);
    return;
  }
  vd_manager_withhold_handle(call->service->manager, call->handle);
  charge = vd_quota_charge(call->service->quota, call->identity->uid, VD_QUOTA_DISKS, &error);
  if (charge == NULL) {
    vd_manager_close_async(VD_MANAGER(source), call->handle, on_image_closed, NULL);
    vd_call_fail(call, error);
    return;
  }
  vd_manager_attach_async(VD_MANAGER(source), call->handle, &call->attach, call->session, charge,
                          (GDestroyNotify)vd_charge_free, call->cancellable, on_image_attached, call);
}

static void attach_image_with_session(VdCall *call)
{
  GError *error = NULL;
  VdCharge *charge = vd_quota_charge(call->service->quota, call->identity->uid, VD_QUOTA_HANDLES, &error);

  if (charge == NULL) {
    vd_call_fail(call, error);
    return;
  }
  vd_manager_open_async(call->service->manager, call->identity, call->image, &call->rights, charge,
                        (GDestroyNotify)vd_charge_free, call->cancellable, on_image_opened, call);
}

static void on_still_the_same(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  VdLifetime lifetime = VD_LIFETIME_PERMANENT;
  GError *error = NULL;

  if (!vd_image_unchanged_finish(call->image, result, &error) ||
      !vd_manager_may_attach(call->service->manager, call->image, &call->rights, &error)) {
    vd_call_fail(call, error);
    return;
  }
  vd_lifetime_from_string(call->ask.lifetime, &lifetime);
  vd_call_find_session(call, lifetime, attach_image_with_session);
}

/* A person may have thought about it for long. */
static void perform_attach_image(VdCall *call)
{
  vd_image_unchanged_async(call->image, on_still_the_same, call);
}

/* What a path stands for: the caller's own look at it, which needs no right to the file itself. */

typedef struct {
  VdCall *call;
  void (*next)(VdCall *call, const struct stat *st);
} Locate;

/* What is known at once, since a server or a user's FUSE process may take its time over fstat(2). */
static void look_at(int fd, struct stat *ret_st)
{
  const guint wanted = STATX_TYPE | STATX_INO;
  struct statx stx;

  memset(ret_st, 0, sizeof *ret_st);
  if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, wanted, &stx) < 0)
    return;
  ret_st->st_mode = stx.stx_mode;
  ret_st->st_ino = stx.stx_ino;
  ret_st->st_dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
  ret_st->st_rdev = makedev(stx.stx_rdev_major, stx.stx_rdev_minor);
}

static void on_located(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autofree Locate *locate = user_data;
  VdCall *call = locate->call;
  GError *error = NULL;
  int fd = vd_opener_open_finish(call->service->opener, result, &error);
  struct stat st;

  if (fd < 0) {
    vd_call_fail(call, error);
    return;
  }
  look_at(fd, &st);
  close(fd); /* O_PATH: its file system is not told */
  locate->next(call, &st);
}

static void locate_path(VdCall *call, void (*next)(VdCall *call, const struct stat *st))
{
  Locate *locate = g_new(Locate, 1);

  *locate = (Locate){call, next};
  vd_opener_open_async(call->service->opener, call->identity, call->path, VD_OPEN_LOCATE, call->cancellable,
                       on_located, locate);
}

static gboolean find_disk(VdCall *call, const struct stat *st)
{
  VdDisk *disk = vd_manager_find_by_stat(call->service->manager, st);

  if (disk == NULL) {
    vd_call_fail(call, g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND,
                                   "%s is neither an attached image nor the "
                                   "device of one",
                                   call->path));
    return FALSE;
  }
  call->disk = vd_disk_ref(disk);
  return TRUE;
}

/* DetachImage */

static void examine_detach_located(VdCall *call, const struct stat *st)
{
  if (!find_disk(call, st))
    return;
  vd_call_ask_detach(call, call->disk);
  vd_call_examined(call);
}

static void examine_detach_image(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  GError *error = NULL;

  g_variant_get(call->parameters, "(&s@a{sv})", &call->path, &options);
  if (!vd_call_parse_detach_options(call, options, FALSE, &error))
    vd_call_fail(call, error);
  else
    locate_path(call, examine_detach_located);
}

/* GetDiskForPath */

static void answer_disk(VdCall *call, const struct stat *st)
{
  g_autofree char *path = NULL;

  if (!find_disk(call, st))
    return;
  path = vd_bus_service_disk_path(call->disk);
  vd_call_return(call, g_variant_new("(o)", path));
}

static void perform_get_disk(VdCall *call)
{
  g_autoptr(GVariant) options = NULL;
  GError *error = NULL;

  g_variant_get(call->parameters, "(&s@a{sv})", &call->path, &options);
  if (!vd_options_parse(options, NULL, 0, call, call->arena, &error))
    vd_call_fail(call, error);
  else
    locate_path(call, answer_disk);
}

/* GetAllAttachedVirtualDiskPhysicalPaths */

static void perform_get_all(VdCall *call)
{
  g_autoptr(GVariant) options = g_variant_get_child_value(call->parameters, 0);
  g_autoptr(GPtrArray) list = vd_manager_list(call->service->manager);
  GVariantBuilder paths;
  GError *error = NULL;

  if (!vd_options_parse(options, NULL, 0, call, call->arena, &error)) {
    vd_call_fail(call, error);
    return;
  }
  g_variant_builder_init(&paths, G_VARIANT_TYPE_STRING_ARRAY);
  for (guint i = 0; i < list->len; i++) {
    VdDisk *disk = g_ptr_array_index(list, i);
    const char *path = vd_device_get_info(disk->attachment->device)->path;

    if (*path != '\0')
      g_variant_builder_add(&paths, "s", path);
  }
  vd_call_return(call, g_variant_new("(as)", &paths));
}

/* GetStorageDependencyInformation */

static GVariant *dependency_to_variant(const VdDependency *d, guint32 version)
{
  GVariantBuilder b;

  g_variant_builder_init(&b, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add(&b, "{sv}", "dependency-type-flags", g_variant_new_uint32(d->flags));
  g_variant_builder_add(&b, "{sv}", "provider-specific-flags", g_variant_new_uint32(0));
  g_variant_builder_add(&b, "{sv}", "device-id", g_variant_new_uint32(d->device_id));
  g_variant_builder_add(&b, "{sv}", "vendor-id", g_variant_new_string(d->vendor));
  if (version == 1)
    return g_variant_builder_end(&b);
  g_variant_builder_add(&b, "{sv}", "ancestor-level", g_variant_new_uint32(d->ancestor_level));
  g_variant_builder_add(&b, "{sv}", "dependency-device-name", g_variant_new_string(d->device));
  g_variant_builder_add(&b, "{sv}", "host-volume-name",
                        g_variant_new_take_string(vd_path_to_display(d->host_volume)));
  g_variant_builder_add(&b, "{sv}", "dependent-volume-name", g_variant_new_string(d->dependent_volume));
  g_variant_builder_add(&b, "{sv}", "dependent-volume-relative-path",
                        g_variant_new_take_string(vd_path_to_display(d->relative_path)));
  return g_variant_builder_end(&b);
}

static void answer_dependencies(VdCall *call, const struct stat *st)
{
  g_autoptr(GPtrArray) found = NULL;
  GVariantBuilder entries;
  GError *error = NULL;
  guint32 flags;

  g_variant_get_child(call->parameters, 1, "u", &flags);
  found = vd_dependency_find(call->service->manager, st, flags, &error);
  if (found == NULL) {
    vd_call_fail(call, error);
    return;
  }
  g_variant_builder_init(&entries, G_VARIANT_TYPE("aa{sv}"));
  for (guint i = 0; i < found->len; i++)
    g_variant_builder_add_value(&entries,
                                dependency_to_variant(g_ptr_array_index(found, i), call->option.version));
  vd_call_return(call, g_variant_new("(aa{sv})", &entries));
}

static void perform_get_dependencies(VdCall *call)
{
  static const VdOption options_table[] = {VD_OPTION(VdCall, "version", U32, option.version)};
  g_autoptr(GVariant) options = NULL;
  GError *error = NULL;
  guint32 flags;

  call->option.version = 2;
  g_variant_get(call->parameters, "(&su@a{sv})", &call->path, &flags, &options);
  if (!vd_options_parse(options, options_table, 1, call, call->arena, &error)) {
    vd_call_fail(call, error);
  } else if (call->option.version != 1 && call->option.version != 2) {
    vd_call_fail(call, g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                                   "version %u is not 1 or 2", call->option.version));
  } else if ((flags & ~(guint32)VIRTDISK_DEPENDENCY_ALL_FLAGS) != 0) {
    vd_call_fail(call, g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                                   "unknown dependency flags 0x%08x",
                                   flags & ~(guint32)VIRTDISK_DEPENDENCY_ALL_FLAGS));
  } else {
    locate_path(call, answer_dependencies);
  }
}

const VdMethod vd_manager_methods[] = {
    {VD_IFACE_MANAGER, "OpenVirtualDisk", NULL, perform_open},
    {VD_IFACE_MANAGER, "OpenVirtualDiskFd", NULL, perform_open_fd},
    {VD_IFACE_MANAGER, "CreateVirtualDisk", vd_call_examine_create, vd_call_perform_create},
    {VD_IFACE_MANAGER, "AttachImage", examine_attach_image, perform_attach_image},
    {VD_IFACE_MANAGER, "DetachImage", examine_detach_image, vd_call_perform_detach},
    {VD_IFACE_MANAGER, "GetAllAttachedVirtualDiskPhysicalPaths", NULL, perform_get_all},
    {VD_IFACE_MANAGER, "GetStorageDependencyInformation", NULL, perform_get_dependencies},
    {VD_IFACE_MANAGER, "GetDiskForPath", NULL, perform_get_disk},
    {VD_IFACE_MANAGER, "CheckImage", NULL, vd_call_perform_check},
    {NULL},
};
