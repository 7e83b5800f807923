/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The Manager's methods that concern attached disks. D-Bus cannot carry a path that is not UTF-8: such an
 * image is attached through a descriptor and found again by its bytes.
 */
#include "private.h"

#include <unistd.h>

#include "names.h"

static GTask *client_task_new(VirtdiskClient *client, gpointer tag, GCancellable *cancellable,
                              GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new(client, cancellable, callback, user_data);

  g_task_set_source_tag(task, tag);
  return task;
}

static VdCall manager_call(const char *method, GVariant *arguments, const char *reply,
                           VdCallPatience patience)
{
  return (VdCall){.object_path = VD_ROOT_PATH,
                  .interface_name = VD_IFACE_MANAGER,
                  .method = method,
                  .arguments = arguments,
                  .reply = reply,
                  .patience = patience,
                  .missing = VIRTDISK_ERROR_NOT_SUPPORTED};
}

/* Takes @task. */
static void task_fail(GTask *task, GError *error)
{
  g_task_return_error(task, error);
  g_object_unref(task);
}

/* ---- GetDiskForPath ---- */

/* The reply starts with the object path of a disk. */
static void disk_told(GObject *connection, GAsyncResult *result, gpointer data)
{
  GTask *task = data;
  GError *error = NULL;
  g_autoptr(GVariant) reply = vd_call_finish(connection, result, VIRTDISK_ERROR_NOT_SUPPORTED, &error);

  if (reply == NULL) {
    task_fail(task, error);
  } else {
    g_autoptr(GVariant) object_path = g_variant_get_child_value(reply, 0);

    vd_find_disk_at(task, g_task_get_source_object(task), g_variant_get_string(object_path, NULL));
  }
}

/* Takes @task; gives it a VirtdiskDisk. */
static void ask_for_disk(GTask *task, const char *path)
{
  VdCall call = manager_call("GetDiskForPath", g_variant_new("(sa{sv})", path, NULL), "(o)", VD_CALL_BRIEF);

  vd_call(g_task_get_source_object(task), &call, g_task_get_cancellable(task), disk_told, task);
}

static void disk_found_by_bytes(GObject *source, GAsyncResult *result, gpointer data)
{
  VirtdiskClient *client = VIRTDISK_CLIENT(source);
  g_autoptr(GTask) task = data;
  GError *error = NULL;
  g_autoptr(VdFound) found = g_task_propagate_pointer(G_TASK(result), &error);

  if (found == NULL)
    g_task_return_error(task, error);
  else
    g_task_return_pointer(task, vd_client_take_disk(client, found->object_path, found->properties),
                          g_object_unref);
}

void virtdisk_client_get_disk_for_path_async(VirtdiskClient *client, const char *path,
                                             GCancellable *cancellable, GAsyncReadyCallback callback,
                                             gpointer user_data)
{
  GTask *task =
      client_task_new(client, virtdisk_client_get_disk_for_path_async, cancellable, callback, user_data);
  GError *error = NULL;
  g_autofree char *absolute = vd_path_absolute(path, &error);

  if (absolute == NULL)
    task_fail(task, error);
  else if (vd_path_is_sayable(absolute))
    ask_for_disk(task, absolute);
  else
    vd_find_by_bytes(g_task_new(client, cancellable, disk_found_by_bytes, task), client, absolute);
}

VirtdiskDisk *virtdisk_client_get_disk_for_path_finish(VirtdiskClient *client, GAsyncResult *result,
                                                       GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

VirtdiskDisk *virtdisk_client_get_disk_for_path(VirtdiskClient *client, const char *path,
                                                GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_client_get_disk_for_path_async(client, path, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_client_get_disk_for_path_finish(client, result, error);
}

/* ---- AttachImage ---- */

/* An image whose path cannot be said: open here, attach permanently through a handle, ask for the disk,
 * close. */
typedef struct {
  VdSplitParameters *split;
  VirtdiskHandle *handle;
} Unsayable;

static void unsayable_free(gpointer data)
{
  Unsayable *unsayable = data;

  vd_split_parameters_free(unsayable->split);
  g_clear_object(&unsayable->handle);
  g_free(unsayable);
}

static void unsayable_located(GObject *source, GAsyncResult *result, gpointer data)
{
  GTask *task = data;
  Unsayable *unsayable = g_task_get_task_data(task);
  GError *error = NULL;
  g_autofree char *device =
      virtdisk_handle_get_virtual_disk_physical_path_finish(VIRTDISK_HANDLE(source), result, &error);

  g_clear_object(&unsayable->handle);
  if (device == NULL)
    task_fail(task, error);
  else
    ask_for_disk(task, device);
}

static void unsayable_attached(GObject *source, GAsyncResult *result, gpointer data)
{
  GTask *task = data;
  GError *error = NULL;

  if (!virtdisk_handle_attach_virtual_disk_finish(VIRTDISK_HANDLE(source), result, NULL, &error))
    task_fail(task, error);
  else
    virtdisk_handle_get_virtual_disk_physical_path_async(
        VIRTDISK_HANDLE(source), g_task_get_cancellable(task), unsayable_located, task);
}

static void unsayable_opened(GObject *source, GAsyncResult *result, gpointer data)
{
  GTask *task = data;
  Unsayable *unsayable = g_task_get_task_data(task);
  GError *error = NULL;

  unsayable->handle = virtdisk_client_open_virtual_disk_fd_finish(VIRTDISK_CLIENT(source), result, &error);
  if (unsayable->handle == NULL)
    task_fail(task, error);
  else
    virtdisk_handle_attach_virtual_disk_async(unsayable->handle, unsayable->split->attach_flags,
                                              unsayable->split->attach, g_task_get_cancellable(task),
                                              unsayable_attached, task);
}

/* Takes @task. */
static void attach_unsayable(GTask *task, const char *path, VirtdiskAttachParameters *parameters)
{
  Unsayable *unsayable = g_new0(Unsayable, 1);
  VdSplitParameters *split = unsayable->split = vd_split_parameters(path, parameters);
  guint mask =
      VIRTDISK_ACCESS_GET_INFO | (split->read_only ? VIRTDISK_ACCESS_ATTACH_RO : VIRTDISK_ACCESS_ATTACH_RW);
  GError *error = NULL;
  int fd = vd_path_open(path, !split->read_only, &error);

  g_task_set_task_data(task, unsayable, unsayable_free);
  if (fd < 0) {
    task_fail(task, error);
    return;
  }
  virtdisk_client_open_virtual_disk_fd_async(g_task_get_source_object(task), fd, path,
                                             (VirtdiskAccessMask)mask, split->open_flags, split->open,
                                             g_task_get_cancellable(task), unsayable_opened, task);
  close(fd);
}

void virtdisk_client_attach_image_async(VirtdiskClient *client, const char *path,
                                        VirtdiskAttachParameters *parameters, GCancellable *cancellable,
                                        GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = client_task_new(client, virtdisk_client_attach_image_async, cancellable, callback, user_data);
  GError *error = NULL;
  g_autofree char *absolute = vd_path_absolute(path, &error);

  if (absolute == NULL) {
    task_fail(task, error);
  } else if (!vd_path_is_sayable(absolute)) {
    attach_unsayable(task, absolute, parameters);
  } else {
    VdCall call =
        manager_call("AttachImage", g_variant_new("(s@a{sv})", absolute, vd_attach_options(parameters)),
                     "(osa{sv})", VD_CALL_MAY_ASK);

    vd_call(client, &call, cancellable, disk_told, task);
  }
}

VirtdiskDisk *virtdisk_client_attach_image_finish(VirtdiskClient *client, GAsyncResult *result,
                                                  GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

VirtdiskDisk *virtdisk_client_attach_image(VirtdiskClient *client, const char *path,
                                           VirtdiskAttachParameters *parameters, GCancellable *cancellable,
                                           GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_client_attach_image_async(client, path, parameters, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_client_attach_image_finish(client, result, error);
}

/* ---- DetachImage ---- */

/* Takes @task; gives it the reply. */
static void ask_to_detach(GTask *task, const char *path, GVariant *options)
{
  VdCall call =
      manager_call("DetachImage", g_variant_new("(s@a{sv})", path, options), "(a{sv})", VD_CALL_MAY_ASK);

  vd_call_for_task(task, g_task_get_source_object(task), &call);
}

static void detach_found_by_bytes(GObject *source, GAsyncResult *result, gpointer data)
{
  GTask *task = data;
  GError *error = NULL;
  g_autoptr(VdFound) found = g_task_propagate_pointer(G_TASK(result), &error);
  const char *device = "";

  if (found == NULL) {
    task_fail(task, error);
    return;
  }
  g_variant_lookup(found->properties, "Device", "&s", &device);
  ask_to_detach(task, device, g_task_get_task_data(task));
}

void virtdisk_client_detach_image_async(VirtdiskClient *client, const char *path,
                                        VirtdiskDetachParameters *parameters, GCancellable *cancellable,
                                        GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = client_task_new(client, virtdisk_client_detach_image_async, cancellable, callback, user_data);
  GError *error = NULL;
  g_autofree char *absolute = vd_path_absolute(path, &error);

  g_task_set_task_data(task, g_variant_ref_sink(vd_detach_options(parameters)),
                       (GDestroyNotify)g_variant_unref);
  if (absolute == NULL)
    task_fail(task, error);
  else if (vd_path_is_sayable(absolute))
    ask_to_detach(task, absolute, g_task_get_task_data(task));
  else
    vd_find_by_bytes(g_task_new(client, cancellable, detach_found_by_bytes, task), client, absolute);
}

gboolean virtdisk_client_detach_image_finish(VirtdiskClient *client, GAsyncResult *result,
                                             gboolean *out_pending, GError **error)
{
  g_autoptr(GVariant) reply = g_task_propagate_pointer(G_TASK(result), error);
  g_autoptr(GVariant) results = NULL;
  gboolean pending = FALSE;

  if (reply == NULL)
    return FALSE;
  results = g_variant_get_child_value(reply, 0);
  g_variant_lookup(results, "pending", "b", &pending);
  if (out_pending != NULL)
    *out_pending = pending;
  return TRUE;
}

gboolean virtdisk_client_detach_image(VirtdiskClient *client, const char *path,
                                      VirtdiskDetachParameters *parameters, gboolean *out_pending,
                                      GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_client_detach_image_async(client, path, parameters, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_client_detach_image_finish(client, result, out_pending, error);
}

/* ---- GetAllAttachedVirtualDiskPhysicalPaths ---- */

void virtdisk_client_get_all_attached_virtual_disk_physical_paths_async(VirtdiskClient *client,
                                                                        GCancellable *cancellable,
                                                                        GAsyncReadyCallback callback,
                                                                        gpointer user_data)
{
  VdCall call = manager_call("GetAllAttachedVirtualDiskPhysicalPaths", g_variant_new("(a{sv})", NULL), "(as)",
                             VD_CALL_BRIEF);

  vd_call_for_task(client_task_new(client, virtdisk_client_get_all_attached_virtual_disk_physical_paths_async,
                                   cancellable, callback, user_data),
                   client, &call);
}

char **virtdisk_client_get_all_attached_virtual_disk_physical_paths_finish(VirtdiskClient *client,
                                                                           GAsyncResult *result,
                                                                           GError **error)
{
  g_autoptr(GVariant) reply = g_task_propagate_pointer(G_TASK(result), error);
  char **paths = NULL;

  if (reply != NULL)
    g_variant_get(reply, "(^as)", &paths);
  return paths;
}

char **virtdisk_client_get_all_attached_virtual_disk_physical_paths(VirtdiskClient *client,
                                                                    GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_client_get_all_attached_virtual_disk_physical_paths_async(client, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_client_get_all_attached_virtual_disk_physical_paths_finish(client, result, error);
}

/* ---- GetStorageDependencyInformation ---- */

void virtdisk_client_get_storage_dependency_information_async(VirtdiskClient *client, const char *object,
                                                              VirtdiskDependencyFlags flags, guint version,
                                                              GCancellable *cancellable,
                                                              GAsyncReadyCallback callback,
                                                              gpointer user_data)
{
  GTask *task = client_task_new(client, virtdisk_client_get_storage_dependency_information_async, cancellable,
                                callback, user_data);
  GError *error = NULL;
  g_autofree char *absolute = vd_path_absolute(object, &error);
  GVariantDict options = G_VARIANT_DICT_INIT(NULL);
  VdCall call;

  if (absolute == NULL) {
    task_fail(task, error);
    return;
  }
  if (!vd_path_is_sayable(absolute)) {
    g_autofree char *display = vd_path_display(absolute);

    task_fail(task,
              g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                          "%s is not UTF-8 and cannot be passed over the bus; name the volume by its device "
                          "or mount point",
                          display));
    return;
  }
  g_variant_dict_insert(&options, "version", "u", version);
  call = manager_call("GetStorageDependencyInformation",
                      g_variant_new("(su@a{sv})", absolute, (guint32)flags, g_variant_dict_end(&options)),
                      "(aa{sv})", VD_CALL_BRIEF);
  vd_call_for_task(task, client, &call);
}

GPtrArray *virtdisk_client_get_storage_dependency_information_finish(VirtdiskClient *client,
                                                                     GAsyncResult *result, GError **error)
{
  g_autoptr(GVariant) reply = g_task_propagate_pointer(G_TASK(result), error);
  g_autoptr(GVariant) entries = NULL;
  GPtrArray *dependencies;

  if (reply == NULL)
    return NULL;
  entries = g_variant_get_child_value(reply, 0);
  dependencies = g_ptr_array_new_with_free_func((GDestroyNotify)virtdisk_dependency_free);
  for (gsize i = 0; i < g_variant_n_children(entries); i++) {
    g_autoptr(GVariant) entry = g_variant_get_child_value(entries, i);

    g_ptr_array_add(dependencies, vd_dependency_new(entry));
  }
  return dependencies;
}

GPtrArray *virtdisk_client_get_storage_dependency_information(VirtdiskClient *client, const char *object,
                                                              VirtdiskDependencyFlags flags, guint version,
                                                              GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_client_get_storage_dependency_information_async(client, object, flags, version, cancellable,
                                                           vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_client_get_storage_dependency_information_finish(client, result, error);
}
