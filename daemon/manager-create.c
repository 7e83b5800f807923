/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CreateVirtualDisk: parent looked at and locked, file made as the caller, bytes written by a worker, name
 * given, handle opened. Whichever step fails, the file goes with what made it.
 */
#include "manager-source.h"
#include "util/offload.h"
#include "worker/service.h"

#include <sys/stat.h>

/* Milliseconds between two words of a worker that copies. At the end it waits, silent, for all of it to be
 * durable. */
#define COPY_DEADLINE_MS (15 * 60 * 1000)

typedef struct {
  VdIdentity *owner;
  char *path;
  VdCreateParams params; /* strings in arena */
  GPtrArray *arena;
  VdCreateSpec spec;
  VdOpenParams open;
  VdRights rights;
  VdImage *parent; /* locked against writers until the child stands, or NULL */
  VdFacts *parent_facts;
  VdCopySource *copied; /* what it is filled from, or NULL */
  guint64 n_copied;     /* bytes */
  VdJob *job;           /* or NULL */
  gpointer file;        /* the source's */
  int fd;               /* file's */
  char *program, *user_argument;
  VdHandle *handle;
  gpointer charge;
  GDestroyNotify free_charge;
} Create;

static void create_free(gpointer data)
{
  Create *create = data;

  if (create->charge != NULL)
    create->free_charge(create->charge);
  if (create->parent != NULL)
    vd_image_unlock(create->parent);
  g_clear_pointer(&create->parent, vd_image_unref);
  g_clear_pointer(&create->copied, vd_copy_source_free);
  g_clear_object(&create->job);
  g_clear_pointer(&create->handle, vd_handle_unref);
  g_clear_pointer(&create->owner, vd_identity_unref);
  g_free(create->parent_facts);
  g_ptr_array_unref(create->arena);
  g_free(create->program);
  g_free(create->user_argument);
  g_free(create->path);
  g_free(create);
}

/* Takes owned and error. */
static void fail(GTask *owned, GError *error)
{
  g_autoptr(GTask) task = owned;
  VdManager *self = g_task_get_source_object(task);
  Create *create = g_task_get_task_data(task);

  g_clear_pointer(&create->file, self->source.free_file);
  g_task_return_error(task, error);
}

static void fail_unwanted(GTask *owned)
{
  fail(owned, g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED, "the caller has gone"));
}

/* The handle */

static void on_handle_closed(GObject *source, GAsyncResult *result, gpointer user_data)
{
  vd_manager_close_finish(VD_MANAGER(source), result, NULL);
}

static void on_created_opened(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = VD_MANAGER(source);
  Create *create = g_task_get_task_data(task);
  GError *error = NULL;

  create->handle = vd_manager_open_finish(self, result, &error);
  if (create->handle == NULL) {
    fail(g_steal_pointer(&task), error);
    return;
  }
  if (g_cancellable_is_cancelled(g_task_get_cancellable(task)) && !create->handle->closed)
    vd_manager_close_async(self, create->handle, on_handle_closed, NULL);
  /* Also by others than its caller's end. */
  if (create->handle->closed) {
    fail_unwanted(g_steal_pointer(&task));
    return;
  }
  self->source.keep(create->file);
  g_clear_pointer(&create->file, self->source.free_file);
  g_task_return_pointer(task, g_steal_pointer(&create->handle), (GDestroyNotify)vd_handle_unref);
}

/* What the name stands for now is what was made, or somebody was quick. */
static gboolean check_found(const Create *create, const VdImage *image, GError **error)
{
  struct stat st;

  if (fstat(create->fd, &st) == 0 && st.st_dev == image->st.st_dev && st.st_ino == image->st.st_ino)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_CHANGED,
              "%s was replaced as soon as it had been made", image->display);
  return FALSE;
}

static void on_created_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  GCancellable *cancellable = g_task_get_cancellable(task);
  VdManager *self = VD_MANAGER(source);
  Create *create = g_task_get_task_data(task);
  GError *error = NULL;
  g_autoptr(VdImage) image = vd_manager_find_finish(self, result, &error);

  if (image == NULL || !check_found(create, image, &error)) {
    fail(g_steal_pointer(&task), error);
    return;
  }
  /* The chain takes locks of its own now. */
  vd_manager_open_async(self, create->owner, image, &create->rights, g_steal_pointer(&create->charge),
                        create->free_charge, cancellable, on_created_opened, g_steal_pointer(&task));
}

static void on_created_published(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  GCancellable *cancellable = g_task_get_cancellable(task);
  VdManager *self = g_task_get_source_object(task);
  Create *create = g_task_get_task_data(task);
  GError *error = NULL;

  if (!self->source.publish_finish(create->file, result, &error)) {
    fail(g_steal_pointer(&task), error);
    return;
  }
  if (g_cancellable_is_cancelled(cancellable))
    fail_unwanted(g_steal_pointer(&task));
  else
    vd_manager_find_async(self, create->owner, create->path, &create->open, &create->rights, cancellable,
                          on_created_found, g_steal_pointer(&task));
}

/* The bytes */

static void on_written(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  GCancellable *cancellable = g_task_get_cancellable(task);
  VdManager *self = g_task_get_source_object(task);
  Create *create = g_task_get_task_data(task);
  GError *error = NULL;

  if (!g_task_propagate_boolean(G_TASK(result), &error))
    fail(g_steal_pointer(&task), error);
  else if (g_cancellable_is_cancelled(cancellable))
    fail_unwanted(g_steal_pointer(&task));
  else
    self->source.publish_async(create->file, on_created_published, g_steal_pointer(&task));
}

static VdService *fill_from_source(Create *create, VdServiceSpec *spec, GCancellable *cancellable,
                                   GError **error)
{
  g_autoptr(GArray) files = vd_copy_source_files(create->copied);
  VdServeResult result;
  g_autoptr(VdService) service = NULL;

  g_array_prepend_val(files, create->fd);
  spec->setup.task = VD_TASK_COPY;
  spec->setup.order.source_device_id = create->copied->facts.device_id;
  spec->setup.order.flags = create->params.verify ? VD_COPY_VERIFY : 0;
  spec->images = (const int *)(void *)files->data;
  spec->n_images = files->len;
  spec->deadline_ms = COPY_DEADLINE_MS;
  if (create->job != NULL) {
    spec->progress = vd_job_tell;
    spec->progress_user = create->job;
  }
  service = vd_service_start(spec, cancellable, error);
  if (service == NULL || !vd_service_get_result(service, &result, error) ||
      !vd_copy_source_unchanged(create->copied, error))
    return NULL;
  create->n_copied = result.copied;
  return g_steal_pointer(&service);
}

/* create outlives the thread: the task that waits for it owns it. */
static void write_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Create *create = data;
  VdServiceSpec spec = {
      .program = create->program,
      .user_argument = create->user_argument,
      .setup = {.task = VD_TASK_CREATE,
                .flags = VD_SERVE_WRITABLE,
                .device_id = create->spec.device_id,
                .create = create->spec},
      .transport_fd = -1,
      .images = &create->fd,
      .n_images = 1,
  };
  GError *error = NULL;
  g_autoptr(VdService) service = create->copied != NULL ? fill_from_source(create, &spec, cancellable, &error)
                                                        : vd_service_start(&spec, cancellable, &error);

  if (service != NULL)
    g_task_return_boolean(task, TRUE);
  else
    g_task_return_error(task, error);
}

static void write_bytes(GTask *owned)
{
  Create *create = g_task_get_task_data(owned);
  g_autoptr(GTask) writing = g_task_new(NULL, g_task_get_cancellable(owned), on_written, owned);

  g_task_set_check_cancellable(writing, FALSE);
  g_task_set_task_data(writing, create, NULL);
  vd_offload(writing, write_in_thread);
}

/* Where the kernel says that the file without a name, or under its first one, lies. (transfer full) */
static char *folder_of_file(const Create *create)
{
  g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", create->fd);
  g_autofree char *target = g_file_read_link(link, NULL);

  return g_path_get_dirname(target != NULL && target[0] == '/' ? target : create->path);
}

static void set_owner(VdManager *self, const Create *create)
{
  const VdCreateParams *p = &create->params;

  if (p->has_owner_uid || p->has_owner_gid || p->has_mode)
    self->source.set_owner(create->file, p->has_owner_uid ? p->owner_uid : (uid_t)-1,
                           p->has_owner_gid ? p->owner_gid : (gid_t)-1, p->has_mode ? p->mode : (mode_t)-1);
}

static void on_file_made(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  Create *create = g_task_get_task_data(task);
  g_autofree char *folder = NULL;
  GError *error = NULL;

  create->file = self->source.create_finish(self->source.opener, result, &create->fd, &error);
  if (create->file == NULL) {
    fail(g_steal_pointer(&task), error);
    return;
  }
  set_owner(self, create);
  folder = folder_of_file(create);
  if (create->parent != NULL &&
      !vd_create_from_parent(&create->params, create->parent_facts, folder, create->parent->path,
                             self->path_map, &create->spec, &error))
    fail(g_steal_pointer(&task), error);
  else
    write_bytes(g_steal_pointer(&task));
}

static void make_file(GTask *owned)
{
  VdManager *self = g_task_get_source_object(owned);
  Create *create = g_task_get_task_data(owned);

  self->source.create_async(self->source.opener, create->owner, create->path, g_task_get_cancellable(owned),
                            on_file_made, owned);
}

/* The source */

static void on_source_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  Create *create = g_task_get_task_data(task);
  GError *error = NULL;

  create->copied = vd_manager_find_source_finish(VD_MANAGER(source), result, &error);
  if (create->copied == NULL) {
    g_prefix_error(&error, "source: ");
    fail(g_steal_pointer(&task), error);
  } else if (!vd_create_from_source(&create->params, &create->copied->facts, &create->spec, &error)) {
    fail(g_steal_pointer(&task), error);
  } else {
    make_file(g_steal_pointer(&task));
  }
}

static void find_source(GTask *owned)
{
  VdManager *self = g_task_get_source_object(owned);
  Create *create = g_task_get_task_data(owned);

  vd_manager_find_source_async(self, create->owner, &create->params, create->open.flags,
                               g_task_get_cancellable(owned), on_source_found, owned);
}

/* The parent */

static void fail_parent(GTask *owned, GError *error)
{
  fail(owned, vd_manager_parent_error(error));
}

static void on_parent_looked_into(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  Create *create = g_task_get_task_data(task);
  GError *error = NULL;

  create->parent_facts = vd_worker_probe_finish(self->worker, result, &error);
  if (create->parent_facts == NULL)
    fail_parent(g_steal_pointer(&task), error);
  else if (!create->parent_facts->has_linkage)
    fail_parent(g_steal_pointer(&task), g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_TYPE,
                                                    "%s has no id to be known by", create->parent->display));
  else
    make_file(g_steal_pointer(&task));
}

static void on_parent_held(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  GCancellable *cancellable = g_task_get_cancellable(task);
  VdManager *self = g_task_get_source_object(task);
  Create *create = g_task_get_task_data(task);
  GError *error = NULL;

  if (vd_image_lock_finish(create->parent, result, &error))
    vd_worker_probe_async(self->worker, create->owner->uid, create->parent->fd, create->parent->device_id,
                          FALSE, cancellable, on_parent_looked_into, g_steal_pointer(&task));
  else
    fail_parent(g_steal_pointer(&task), error);
}

static void on_parent_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = VD_MANAGER(source);
  Create *create = g_task_get_task_data(task);
  GError *error = NULL;

  create->parent = vd_manager_find_finish(self, result, &error);
  if (create->parent == NULL || !vd_manager_may_be_parent(self, create->parent, FALSE, &error))
    fail_parent(g_steal_pointer(&task), error);
  else
    vd_image_lock_async(create->parent, FALSE, on_parent_held, g_steal_pointer(&task));
}

static void find_parent(GTask *owned)
{
  VdManager *self = g_task_get_source_object(owned);
  Create *create = g_task_get_task_data(owned);
  const VdOpenParams open = {.device_id = create->params.parent_device_id,
                             .vendor = create->params.parent_vendor,
                             .version = 1,
                             .flags = create->open.flags};
  const VdRights rights = {.version = 1};

  vd_manager_find_async(self, create->owner, create->params.parent_path, &open, &rights,
                        g_task_get_cancellable(owned), on_parent_found, owned);
}

static const char *keep(Create *create, const char *text)
{
  char *copy = g_strdup(text);

  if (copy != NULL)
    g_ptr_array_add(create->arena, copy);
  return copy;
}

static Create *create_new(VdManager *self, VdIdentity *owner, const char *path, const VdCreateParams *params)
{
  Create *create = g_new0(Create, 1);

  create->owner = vd_identity_ref(owner);
  create->path = g_strdup(path);
  create->arena = g_ptr_array_new_with_free_func(g_free);
  create->fd = -1;
  create->program = g_strdup(vd_worker_client_get_program(self->worker));
  create->user_argument = g_strdup(vd_worker_client_get_user_argument(self->worker));
  create->params = *params;
  create->params.vendor = keep(create, params->vendor);
  create->params.unique_id = keep(create, params->unique_id);
  create->params.parent_path = keep(create, params->parent_path);
  create->params.parent_vendor = keep(create, params->parent_vendor);
  create->params.source_path = keep(create, params->source_path);
  create->params.source_vendor = keep(create, params->source_vendor);
  create->params.resiliency_guid = keep(create, params->resiliency_guid);
  return create;
}

static gboolean has_group(const VdIdentity *owner, gid_t gid)
{
  for (gsize i = 0; i < owner->n_groups; i++)
    if (owner->groups[i] == gid)
      return TRUE;
  /* Whose groups are not known is refused when the file is given away. */
  return owner->gid == gid || (owner->gid == VD_GID_INVALID && owner->groups == NULL);
}

/* What the kernel would refuse when everything has been written. */
static gboolean may_give_away(const Create *create, GError **error)
{
  const VdIdentity *owner = create->owner;
  const VdCreateParams *p = &create->params;
  mode_t needed = create->rights.write ? S_IRUSR | S_IWUSR : S_IRUSR;

  if (owner->uid == 0)
    return TRUE;
  if (p->has_owner_uid && p->owner_uid != owner->uid)
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                "owner-uid %u is not the caller's own: only root gives files away", p->owner_uid);
  else if (p->has_owner_gid && !has_group(owner, p->owner_gid))
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                "owner-gid %u is no group of the caller's: only root gives files away", p->owner_gid);
  else if (p->has_mode && (p->mode & needed) != needed)
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                "with mode 0%03o the caller could not open the new image: 0%03o is the least", p->mode,
                needed);
  else
    return TRUE;
  return FALSE;
}

void vd_manager_create_async(VdManager *self, VdIdentity *owner, const char *path,
                             const VdCreateParams *params, VdJob *job, gpointer charge,
                             GDestroyNotify free_charge, GCancellable *cancellable,
                             GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new(self, cancellable, callback, user_data);
  Create *create = create_new(self, owner, path, params);
  GError *error = NULL;

  g_task_set_check_cancellable(task, FALSE);
  g_task_set_task_data(task, create, create_free);
  create->job = job != NULL ? g_object_ref(job) : NULL;
  create->charge = charge;
  create->free_charge = free_charge;
  if (!vd_create_check(&create->params, path, &create->spec, &create->open, &create->rights, &error) ||
      !may_give_away(create, &error))
    fail(task, error);
  else if (create->params.source_path != NULL)
    find_source(task);
  else if (create->params.parent_path != NULL)
    find_parent(task);
  else
    make_file(task);
}

VdHandle *vd_manager_create_finish(VdManager *self, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

guint64 vd_manager_create_get_copied(GAsyncResult *result)
{
  return ((Create *)g_task_get_task_data(G_TASK(result)))->n_copied;
}
