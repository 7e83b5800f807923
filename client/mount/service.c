/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount/service.h"

#include <string.h>
#include <unistd.h>

#include "config.h"
#include "exit.h"
#include "mounts.h"

struct VdMountService {
  VirtdiskClient *client; /* NULL: no bus, or no service that it could start */
  GCancellable *cancellable;
};

typedef struct {
  GMainLoop *loop;
  GCancellable *cancellable; /* of the connecting alone */
  VirtdiskClient *client;
} Connect;

static void on_connected(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Connect *connect = user_data;
  g_autoptr(GError) error = NULL;

  connect->client = virtdisk_client_new_finish(result, &error);
  if (error != NULL)
    g_debug("No bus: %s", error->message);
  g_main_loop_quit(connect->loop);
}

static gboolean on_deadline(gpointer user_data)
{
  Connect *connect = user_data;

  g_cancellable_cancel(connect->cancellable);
  return G_SOURCE_CONTINUE;
}

static void on_interrupted(GCancellable *cancellable, gpointer user_data)
{
  g_cancellable_cancel(user_data);
}

static VirtdiskClient *connect_client(GCancellable *cancellable)
{
  Connect connect = {.loop = g_main_loop_new(NULL, FALSE), .cancellable = g_cancellable_new()};
  gulong id = g_cancellable_connect(cancellable, G_CALLBACK(on_interrupted), connect.cancellable, NULL);
  guint deadline = g_timeout_add_seconds(VD_MOUNT_BUS_DEADLINE, on_deadline, &connect);
  g_autofree char *owner = NULL;

  virtdisk_client_new_async(connect.cancellable, on_connected, &connect);
  g_main_loop_run(connect.loop);
  g_source_remove(deadline);
  g_cancellable_disconnect(cancellable, id);
  g_object_unref(connect.cancellable);
  g_main_loop_unref(connect.loop);
  if (connect.client != NULL)
    owner = virtdisk_client_dup_name_owner(connect.client);
  if (owner == NULL)
    g_clear_object(&connect.client);
  return connect.client;
}

VdMountService *vd_mount_service_new(GCancellable *cancellable)
{
  VdMountService *self = g_new0(VdMountService, 1);

  self->cancellable = g_object_ref(cancellable);
  self->client = connect_client(cancellable);
  if (self->client != NULL)
    virtdisk_client_set_interactive(self->client, FALSE);
  return self;
}

void vd_mount_service_free(VdMountService *self)
{
  g_clear_object(&self->client);
  g_object_unref(self->cancellable);
  g_free(self);
}

void vd_mount_disk_free(VdMountDisk *self)
{
  g_free(self->device);
  g_clear_pointer(&self->file_systems, g_variant_unref);
  g_free(self);
}

/* Without the service */

/* org.virtdisk1.Error.FileNotFound: what happened */
static void set_error_of(const char *text, GError **error)
{
  for (int code = 0; code < VIRTDISK_N_ERRORS; code++) {
    const char *name = virtdisk_error_to_dbus_name(code);

    if (g_str_has_prefix(text, name) && g_str_has_prefix(text + strlen(name), ": ")) {
      g_set_error_literal(error, VIRTDISK_ERROR, code, text + strlen(name) + 2);
      return;
    }
  }
  g_set_error(error, VD_EXIT_ERROR, VD_EXIT_NOT_AVAILABLE, "There is no service, and without it: %s",
              *text != '\0' ? text : "virtdiskd failed");
}

/* What it printed, (transfer full), or NULL. */
static char *run_virtdiskd(VdMountService *self, GPtrArray *arguments, GError **error)
{
  g_autoptr(GSubprocess) child = NULL;
  g_autofree char *output = NULL;
  g_autofree char *complaint = NULL;

  g_ptr_array_insert(arguments, 0, g_strdup(VD_LIBEXECDIR "/virtdiskd"));
  g_ptr_array_add(arguments, NULL);
  child = g_subprocess_newv((const char *const *)arguments->pdata,
                            G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE, error);
  /* Not cancellable: halfway it could not be undone, and each of its steps has a deadline. */
  if (child == NULL || !g_subprocess_communicate_utf8(child, NULL, NULL, &output, &complaint, error))
    return NULL;
  if (g_subprocess_get_successful(child))
    return g_steal_pointer(&output);
  set_error_of(g_strchomp(complaint), error);
  return NULL;
}

static VdMountDisk *parse_disk(const char *text, GError **error)
{
  g_autoptr(GVariant) answer = g_variant_parse(G_VARIANT_TYPE("(sbbaa{sv})"), text, NULL, NULL, error);
  VdMountDisk *disk;

  if (answer == NULL)
    return NULL;
  disk = g_new0(VdMountDisk, 1);
  g_variant_get(answer, "(sbb@aa{sv})", &disk->device, &disk->read_only, &disk->added, &disk->file_systems);
  return disk;
}

static VdMountDisk *attach_directly(VdMountService *self, const char *path, const VdMountOptions *options,
                                    VdMountAccess access, GError **error)
{
  g_autoptr(GPtrArray) arguments = g_ptr_array_new_with_free_func(g_free);
  g_autofree char *text = NULL;

  g_ptr_array_add(arguments, g_strdup_printf("--attach=%s", path));
  g_ptr_array_add(arguments, g_strdup_printf("--device-id=%u", options->device_id));
  g_ptr_array_add(arguments, g_strdup_printf("--sector-size=%u", options->sector_size));
  if (access == VD_MOUNT_READ_ONLY)
    g_ptr_array_add(arguments, g_strdup("--read-only"));
  if (options->cached)
    g_ptr_array_add(arguments, g_strdup("--cached-io"));
  if (options->route != NULL)
    g_ptr_array_add(arguments, g_strdup_printf("--route=%s", options->route));
  text = run_virtdiskd(self, arguments, error);
  return text != NULL ? parse_disk(text, error) : NULL;
}

static gboolean detach_directly(VdMountService *self, const char *device, GError **error)
{
  g_autoptr(GPtrArray) arguments = g_ptr_array_new_with_free_func(g_free);
  g_autofree char *text = NULL;

  g_ptr_array_add(arguments, g_strdup_printf("--detach=%s", device));
  text = run_virtdiskd(self, arguments, error);
  return text != NULL;
}

/* With it */

static gboolean is_not_attached(const GError *error)
{
  return g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND) ||
         g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_VIRTUAL_DISK) ||
         g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_DEVICE_NOT_EXIST);
}

static VdMountDisk *describe(VirtdiskDisk *disk, gboolean added)
{
  VdMountDisk *self = g_new0(VdMountDisk, 1);

  self->device = g_strdup(virtdisk_disk_get_device(disk));
  self->read_only = virtdisk_disk_get_read_only(disk);
  self->added = added;
  self->file_systems = virtdisk_disk_get_file_systems(disk);
  return self;
}

static VirtdiskAttachParameters *make_parameters(const VdMountOptions *options, VdMountAccess access)
{
  VirtdiskAttachParameters *parameters = virtdisk_attach_parameters_new();

  virtdisk_attach_parameters_set_detach_on_unmount(parameters, TRUE);
  if (access == VD_MOUNT_READ_ONLY)
    virtdisk_attach_parameters_set_read_only(parameters, TRUE);
  if (options->cached)
    virtdisk_attach_parameters_set_open_flags(parameters, VIRTDISK_OPEN_CACHED_IO);
  if (options->route != NULL)
    virtdisk_attach_parameters_set_route(parameters, options->route);
  if (options->sector_size != 0)
    virtdisk_attach_parameters_set_sector_size(parameters, options->sector_size);
  if (options->vendor != NULL) {
    virtdisk_attach_parameters_set_device_id(parameters, options->device_id);
    virtdisk_attach_parameters_set_vendor_id(parameters, options->vendor);
  }
  return parameters;
}

/* What a user attached goes when he likes, and shows what he likes: nothing for the system to stand on. */
static gboolean is_lasting(VirtdiskDisk *disk, GError **error)
{
  const char *lifetime = virtdisk_disk_get_lifetime(disk);
  guint owner = virtdisk_disk_get_owner_uid(disk);

  if ((g_str_equal(lifetime, "permanent") || g_str_equal(lifetime, "boot")) &&
      (owner == 0 || owner == geteuid()))
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION,
              "the image is attached as %s by user %u with lifetime \"%s\"; it has to be detached first",
              virtdisk_disk_get_device(disk), owner, lifetime);
  return FALSE;
}

static VdMountDisk *find(VdMountService *self, const char *path, GError **error)
{
  g_autoptr(VirtdiskDisk) disk =
      virtdisk_client_get_disk_for_path(self->client, path, self->cancellable, error);

  return disk != NULL && is_lasting(disk, error) ? describe(disk, FALSE) : NULL;
}

/* Somebody, such as another line of fstab, may attach it between the look and the call. */
static VdMountDisk *attach_by_service(VdMountService *self, const char *path, const VdMountOptions *options,
                                      VdMountAccess access, GError **error)
{
  g_autoptr(VirtdiskAttachParameters) parameters = make_parameters(options, access);
  g_autoptr(VirtdiskDisk) disk = NULL;
  g_autoptr(GError) cause = NULL, why = NULL;
  VdMountDisk *found = find(self, path, &cause);

  if (found != NULL)
    return found;
  if (!is_not_attached(cause)) {
    g_propagate_error(error, g_steal_pointer(&cause));
    return NULL;
  }
  g_clear_error(&cause);
  disk = virtdisk_client_attach_image(self->client, path, parameters, self->cancellable, &cause);
  if (disk != NULL)
    return describe(disk, TRUE);
  if (g_error_matches(cause, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION))
    found = find(self, path, &why);
  if (found == NULL && why != NULL && !is_not_attached(why))
    g_propagate_error(error, g_steal_pointer(&why));
  else if (found == NULL)
    g_propagate_error(error, g_steal_pointer(&cause));
  return found;
}

VdMountDisk *vd_mount_service_attach(VdMountService *self, const char *path, const VdMountOptions *options,
                                     VdMountAccess access, GError **error)
{
  return self->client != NULL ? attach_by_service(self, path, options, access, error)
                              : attach_directly(self, path, options, access, error);
}

static gboolean is_mounted(const char *device)
{
  g_autoptr(GPtrArray) mounts = vd_mounts_of(device, VD_MOUNTS_DISK);

  return mounts->len > 0;
}

static gboolean is_to_go(VirtdiskDisk *disk, VdMountWhy why)
{
  return why == VD_MOUNT_UNDO ||
         (virtdisk_disk_get_detach_on_unmount(disk) && !is_mounted(virtdisk_disk_get_device(disk)));
}

static gboolean detach_by_service(VdMountService *self, const char *device, VdMountWhy why, GError **error)
{
  g_autoptr(VirtdiskDisk) disk = virtdisk_client_get_disk_for_path(self->client, device, NULL, error);

  return disk != NULL &&
         (!is_to_go(disk, why) || virtdisk_client_detach_image(self->client, virtdisk_disk_get_device(disk),
                                                               NULL, NULL, NULL, error));
}

gboolean vd_mount_service_detach(VdMountService *self, const char *device, VdMountWhy why, GError **error)
{
  g_autoptr(GError) cause = NULL;

  if (self->client == NULL ? detach_directly(self, device, &cause)
                           : detach_by_service(self, device, why, &cause))
    return TRUE;
  /* The service sees the last unmount too, and may be first. */
  if (is_not_attached(cause) || g_error_matches(cause, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_NOT_FOUND) ||
      g_error_matches(cause, VIRTDISK_ERROR, VIRTDISK_ERROR_BUSY) ||
      g_error_matches(cause, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_STATE))
    return TRUE;
  g_propagate_error(error, g_steal_pointer(&cause));
  return FALSE;
}
