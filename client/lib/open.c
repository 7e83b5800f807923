/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * OpenVirtualDisk, OpenVirtualDiskFd and CreateVirtualDisk. A cancelled open is not withdrawn from the
 * service, it is only not waited for; the handle that may still come of it would belong to nobody, so it is
 * closed when it comes.
 */
#include "private.h"

#include <errno.h>
#include <unistd.h>

#include <gio/gunixfdlist.h>

#include "names.h"

typedef struct {
  GTask *task; /* NULL once returned */
  VirtdiskClient *client;
  GSource *cancelled; /* or NULL */
  VdWait *wait;       /* or NULL */
} Opening;

static void opening_return(Opening *opening)
{
  if (opening->cancelled != NULL)
    g_source_destroy(opening->cancelled);
  g_clear_pointer(&opening->cancelled, g_source_unref);
  g_clear_object(&opening->task);
}

static gboolean on_cancelled(GCancellable *cancellable, gpointer data)
{
  Opening *opening = data;

  g_task_return_error_if_cancelled(opening->task);
  opening_return(opening);
  return G_SOURCE_REMOVE;
}

static void opened(GObject *connection, GAsyncResult *result, gpointer data)
{
  g_autofree Opening *opening = data;
  g_autoptr(VirtdiskClient) client = opening->client;
  GError *error = NULL;
  g_autoptr(GVariant) reply = vd_call_finish(connection, result, VIRTDISK_ERROR_NOT_SUPPORTED, &error);
  /* Nobody waiting: this object's end closes the handle. */
  g_autoptr(VirtdiskHandle) handle = NULL;

  if (reply != NULL) {
    const char *object_path;

    g_variant_get(reply, "(&o)", &object_path);
    handle = vd_handle_new(client, object_path);
  }
  if (opening->task == NULL)
    g_clear_error(&error);
  else if (handle != NULL)
    g_task_return_pointer(opening->task, g_steal_pointer(&handle), g_object_unref);
  else
    g_task_return_error(opening->task, error);
  opening_return(opening);
  vd_wait_release(opening->wait);
}

/* Takes @task. */
static void open_call(GTask *task, const VdCall *call)
{
  GCancellable *cancellable = g_task_get_cancellable(task);
  Opening *opening;

  if (g_task_return_error_if_cancelled(task)) {
    g_variant_unref(g_variant_ref_sink(call->arguments));
    g_object_unref(task);
    return;
  }
  opening = g_new0(Opening, 1);
  opening->task = task;
  opening->client = g_object_ref(g_task_get_source_object(task));
  opening->wait = vd_wait_hold();
  if (cancellable != NULL) {
    opening->cancelled = g_cancellable_source_new(cancellable);
    g_source_set_callback(opening->cancelled, G_SOURCE_FUNC(on_cancelled), opening, NULL);
    g_source_attach(opening->cancelled, g_task_get_context(task));
  }
  vd_call(opening->client, call, NULL, opened, opening);
}

/* Takes @task; @fd stays the caller's. */
static void open_fd(GTask *task, int fd, const char *display_path, VirtdiskAccessMask access_mask,
                    VirtdiskOpenFlags flags, VirtdiskOpenParameters *parameters)
{
  g_autoptr(GUnixFDList) fd_list = g_unix_fd_list_new();
  g_autoptr(GError) error = NULL;
  VdCall call = {.object_path = VD_ROOT_PATH,
                 .interface_name = VD_IFACE_MANAGER,
                 .method = "OpenVirtualDiskFd",
                 .reply = "(o)",
                 .fd_list = fd_list,
                 .patience = VD_CALL_MAY_ASK,
                 .missing = VIRTDISK_ERROR_NOT_SUPPORTED};

  if (fd < 0 || g_unix_fd_list_append(fd_list, fd, &error) < 0) {
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_HANDLE,
                            "%d is not a descriptor that can be passed on%s%s", fd, error != NULL ? ": " : "",
                            error != NULL ? error->message : "");
    g_object_unref(task);
    return;
  }
  call.arguments = g_variant_new("(huu@a{sv})", 0, (guint32)access_mask, (guint32)flags,
                                 vd_open_options(parameters, display_path));
  open_call(task, &call);
}

static void open_unsayable(GTask *task, const char *path, VirtdiskAccessMask access_mask,
                           VirtdiskOpenFlags flags, VirtdiskOpenParameters *parameters)
{
  GError *error = NULL;
  int fd = vd_path_open(path, vd_open_wants_writing(access_mask, parameters), &error);

  if (fd < 0) {
    g_task_return_error(task, error);
    g_object_unref(task);
    return;
  }
  open_fd(task, fd, path, access_mask, flags, parameters);
  close(fd);
}

void virtdisk_client_open_virtual_disk_async(VirtdiskClient *client, const char *path,
                                             VirtdiskAccessMask access_mask, VirtdiskOpenFlags flags,
                                             VirtdiskOpenParameters *parameters, GCancellable *cancellable,
                                             GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new(client, cancellable, callback, user_data);
  GError *error = NULL;
  g_autofree char *absolute = vd_path_absolute(path, &error);
  VdCall call = {.object_path = VD_ROOT_PATH,
                 .interface_name = VD_IFACE_MANAGER,
                 .method = "OpenVirtualDisk",
                 .reply = "(o)",
                 .patience = VD_CALL_MAY_ASK,
                 .missing = VIRTDISK_ERROR_NOT_SUPPORTED};

  g_task_set_source_tag(task, virtdisk_client_open_virtual_disk_async);
  if (absolute == NULL) {
    g_task_return_error(task, error);
    g_object_unref(task);
  } else if (!vd_path_is_sayable(absolute)) {
    open_unsayable(task, absolute, access_mask, flags, parameters);
  } else {
    call.arguments = g_variant_new("(suu@a{sv})", absolute, (guint32)access_mask, (guint32)flags,
                                   vd_open_options(parameters, NULL));
    open_call(task, &call);
  }
}

VirtdiskHandle *virtdisk_client_open_virtual_disk_finish(VirtdiskClient *client, GAsyncResult *result,
                                                         GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

VirtdiskHandle *virtdisk_client_open_virtual_disk(VirtdiskClient *client, const char *path,
                                                  VirtdiskAccessMask access_mask, VirtdiskOpenFlags flags,
                                                  VirtdiskOpenParameters *parameters,
                                                  GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_client_open_virtual_disk_async(client, path, access_mask, flags, parameters, cancellable,
                                          vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_client_open_virtual_disk_finish(client, result, error);
}

void virtdisk_client_open_virtual_disk_fd_async(VirtdiskClient *client, int fd, const char *display_path,
                                                VirtdiskAccessMask access_mask, VirtdiskOpenFlags flags,
                                                VirtdiskOpenParameters *parameters, GCancellable *cancellable,
                                                GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new(client, cancellable, callback, user_data);

  g_task_set_source_tag(task, virtdisk_client_open_virtual_disk_fd_async);
  open_fd(task, fd, display_path, access_mask, flags, parameters);
}

VirtdiskHandle *virtdisk_client_open_virtual_disk_fd_finish(VirtdiskClient *client, GAsyncResult *result,
                                                            GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

VirtdiskHandle *virtdisk_client_open_virtual_disk_fd(VirtdiskClient *client, int fd, const char *display_path,
                                                     VirtdiskAccessMask access_mask, VirtdiskOpenFlags flags,
                                                     VirtdiskOpenParameters *parameters,
                                                     GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_client_open_virtual_disk_fd_async(client, fd, display_path, access_mask, flags, parameters,
                                             cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_client_open_virtual_disk_fd_finish(client, result, error);
}

/* ---- CreateVirtualDisk ---- */

/* What is asked for; copied by whoever calls. */
typedef struct {
  const char *path;
  VirtdiskAccessMask access_mask;
  VirtdiskCreateFlags flags;
  guint64 maximum_size;
  VirtdiskCreateParameters *parameters; /* or NULL */
} Creation;

/* Floating arguments of the method, or NULL; then the task has its error and is gone. */
static GVariant *creation_arguments(GTask *task, const Creation *creation, VdReplyWhen when)
{
  GError *error = NULL;
  g_autofree char *absolute = vd_path_absolute(creation->path, &error);

  if (absolute != NULL && !vd_path_is_sayable(absolute)) {
    g_autofree char *display = vd_path_display(absolute);

    error = g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
                        "%s: an image can be created under a name in UTF-8 only", display);
  }
  if (error != NULL) {
    g_task_return_error(task, error);
    g_object_unref(task);
    return NULL;
  }
  return g_variant_new("(suut@a{sv})", absolute, (guint32)creation->access_mask, (guint32)creation->flags,
                       creation->maximum_size, vd_create_options(creation->parameters, when));
}

static VdCall creation_call(GVariant *arguments)
{
  return (VdCall){.object_path = VD_ROOT_PATH,
                  .interface_name = VD_IFACE_MANAGER,
                  .method = "CreateVirtualDisk",
                  .arguments = arguments,
                  .reply = "(o)",
                  .patience = VD_CALL_MAY_ASK,
                  .missing = VIRTDISK_ERROR_NOT_SUPPORTED};
}

/* Takes @task; gives it a VirtdiskJob. */
static void creation_run(GTask *task, const Creation *creation, VdRunHow how)
{
  GVariant *arguments = creation_arguments(task, creation, VD_REPLY_AT_BEGIN);
  VdCall call = creation_call(arguments);

  if (arguments != NULL)
    vd_run(task, g_task_get_source_object(task), &call, vd_create_get_progress(creation->parameters),
           creation->parameters, how);
}

static void created_by_job(GObject *source, GAsyncResult *result, gpointer data)
{
  g_autoptr(GTask) task = data;
  GError *error = NULL;
  g_autoptr(VirtdiskJob) job = g_task_propagate_pointer(G_TASK(result), &error);
  g_autoptr(VirtdiskHandle) handle = job != NULL ? virtdisk_job_steal_handle(job) : NULL;

  if (job != NULL && handle == NULL)
    error = g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_INTERNAL,
                                "The service made the image but gave no handle");
  if (error != NULL)
    g_task_return_error(task, error);
  else
    g_task_return_pointer(task, g_steal_pointer(&handle), g_object_unref);
}

static void create_by_job(GTask *task, const Creation *creation)
{
  GTask *inner =
      g_task_new(g_task_get_source_object(task), g_task_get_cancellable(task), created_by_job, task);

  g_task_set_source_tag(inner, creation_run);
  /* Cancelled too late, the image is there. */
  g_task_set_check_cancellable(task, FALSE);
  creation_run(inner, creation, VD_RUN_TO_END);
}

void virtdisk_client_create_virtual_disk_async(VirtdiskClient *client, const char *path,
                                               VirtdiskAccessMask access_mask, VirtdiskCreateFlags flags,
                                               guint64 maximum_size, VirtdiskCreateParameters *parameters,
                                               GCancellable *cancellable, GAsyncReadyCallback callback,
                                               gpointer user_data)
{
  GTask *task = g_task_new(client, cancellable, callback, user_data);
  Creation creation = {path, access_mask, flags, maximum_size, parameters};
  GVariant *arguments;
  VdCall call;

  g_task_set_source_tag(task, virtdisk_client_create_virtual_disk_async);
  if (vd_create_wants_job(parameters)) {
    create_by_job(task, &creation);
    return;
  }
  arguments = creation_arguments(task, &creation, VD_REPLY_AT_END);
  call = creation_call(arguments);
  if (arguments != NULL)
    open_call(task, &call);
}

VirtdiskHandle *virtdisk_client_create_virtual_disk_finish(VirtdiskClient *client, GAsyncResult *result,
                                                           GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

VirtdiskHandle *virtdisk_client_create_virtual_disk(VirtdiskClient *client, const char *path,
                                                    VirtdiskAccessMask access_mask, VirtdiskCreateFlags flags,
                                                    guint64 maximum_size,
                                                    VirtdiskCreateParameters *parameters,
                                                    GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_client_create_virtual_disk_async(client, path, access_mask, flags, maximum_size, parameters,
                                            cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_client_create_virtual_disk_finish(client, result, error);
}

void virtdisk_client_create_virtual_disk_job_async(VirtdiskClient *client, const char *path,
                                                   VirtdiskAccessMask access_mask, VirtdiskCreateFlags flags,
                                                   guint64 maximum_size, VirtdiskCreateParameters *parameters,
                                                   GCancellable *cancellable, GAsyncReadyCallback callback,
                                                   gpointer user_data)
{
  GTask *task = g_task_new(client, cancellable, callback, user_data);
  Creation creation = {path, access_mask, flags, maximum_size, parameters};

  g_task_set_source_tag(task, virtdisk_client_create_virtual_disk_job_async);
  creation_run(task, &creation, VD_RUN_TO_BEGIN);
}

VirtdiskJob *virtdisk_client_create_virtual_disk_job_finish(VirtdiskClient *client, GAsyncResult *result,
                                                            GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

VirtdiskJob *virtdisk_client_create_virtual_disk_job(VirtdiskClient *client, const char *path,
                                                     VirtdiskAccessMask access_mask,
                                                     VirtdiskCreateFlags flags, guint64 maximum_size,
                                                     VirtdiskCreateParameters *parameters,
                                                     GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_client_create_virtual_disk_job_async(client, path, access_mask, flags, maximum_size, parameters,
                                                cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_client_create_virtual_disk_job_finish(client, result, error);
}
