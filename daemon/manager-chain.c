/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parents of a leaf: each place that the image names is opened as the caller, looked at by a worker,
 * compared with what the child remembers, and locked; the first that fits is it. What an image names is
 * hostile: nothing here opens a path with the service's own rights.
 */
#include "manager-mirror.h"
#include "manager-private.h"
#include "util/offload.h"

#include <unistd.h>

typedef struct {
  VdIdentity *identity;
  VdImage *leaf;
  VdFacts leaf_facts;
  VdRights rights;
  VdChain *chain; /* what stands so far */
  /* The parent that is being looked for. */
  GPtrArray *paths; /* element char* */
  guint next;
  gboolean named; /* by the caller, not by the image: there is one place, and every failure counts */
  VdImage *image; /* the candidate */
  VdFacts *facts;
  GError *found_but; /* the first failure of a place where something was */
} Search;

static void search_free(gpointer data)
{
  Search *search = data;

  /* Of a chain that a handle goes on with, the locks stay. */
  if (search->chain != NULL && !search->named)
    vd_chain_unlock(search->chain);
  vd_chain_free(search->chain);
  g_clear_pointer(&search->identity, vd_identity_unref);
  g_clear_pointer(&search->leaf, vd_image_unref);
  g_clear_pointer(&search->paths, g_ptr_array_unref);
  g_clear_pointer(&search->image, vd_image_unref);
  g_free(search->facts);
  g_clear_error(&search->found_but);
  g_free(search);
}

static void try_next(GTask *owned);

/* The child whose parent is looked for. */
static const VdFacts *child_facts(const Search *search)
{
  return search->chain->has_head ? &search->chain->head : &search->leaf_facts;
}

static const VdImage *child_image(const Search *search)
{
  const GPtrArray *images = search->chain->images;

  return images->len > 0 ? g_ptr_array_index(images, images->len - 1) : search->leaf;
}

static gboolean wants_write(const Search *search)
{
  return search->chain->images->len + 1 < search->rights.rw_depth;
}

/* Who may not see a file is not told whether it is there. */
static gboolean means_not_there(const GError *error)
{
  return g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_NOT_FOUND) ||
         g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_PATH_NOT_FOUND) ||
         g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED) ||
         g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NAME_TOO_LONG);
}

/* Says nothing of the place: the next one would fail the same way. */
static gboolean is_ours(const GError *error)
{
  static const VirtdiskError codes[] = {VIRTDISK_ERROR_OPERATION_ABORTED, VIRTDISK_ERROR_NO_RESOURCES,
                                        VIRTDISK_ERROR_LIMIT_EXCEEDED, VIRTDISK_ERROR_INTERNAL};

  for (gsize i = 0; i < G_N_ELEMENTS(codes); i++)
    if (g_error_matches(error, VIRTDISK_ERROR, (gint)codes[i]))
      return TRUE;
  return FALSE;
}

/* Takes error: of a place, or of the caller's own. */
static void fail_place(GTask *owned, GError *error)
{
  g_autoptr(GTask) task = owned;
  Search *search = g_task_get_task_data(task);

  g_clear_pointer(&search->image, vd_image_unref);
  g_clear_pointer(&search->facts, g_free);
  if (is_ours(error)) {
    g_task_return_error(task, error);
    return;
  }
  if (search->found_but == NULL && !means_not_there(error))
    search->found_but = error;
  else
    g_error_free(error);
  try_next(g_steal_pointer(&task));
}

/* What was wrong with the file that was there; its own code says what the caller can do only if it is one of
 * chains. */
static GError *error_in_parent(GError *error, const char *parent)
{
  GError *told;

  if (error->domain == VIRTDISK_ERROR &&
      (is_ours(error) || error->code == VIRTDISK_ERROR_SHARING_VIOLATION ||
       error->code == VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED || means_not_there(error)))
    return error;
  told = g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT, "parent %s: %s",
                     parent, error->message);
  g_error_free(error);
  return told;
}

GError *vd_manager_parent_error(GError *error)
{
  VirtdiskError code = VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT;
  GError *told;

  /* Another domain: it was cancelled, and nothing is wrong with the file. */
  if (error->domain != VIRTDISK_ERROR || is_ours(error) ||
      g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION) ||
      g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_WORKER_LOST))
    return error;
  if (g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_NOT_FOUND) ||
      g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_PATH_NOT_FOUND))
    code = VIRTDISK_ERROR_VHD_PARENT_VHD_NOT_FOUND;
  else if (g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED))
    code = VIRTDISK_ERROR_VHD_PARENT_VHD_ACCESS_DENIED;
  told = g_error_new(VIRTDISK_ERROR, (gint)code, "parent: %s", error->message);
  g_error_free(error);
  return told;
}

static GError *error_not_found(const Search *search)
{
  g_autoptr(GPtrArray) places = vd_chain_places(child_facts(search));
  g_autofree char *list = NULL;

  g_ptr_array_add(places, NULL);
  list = g_strjoinv("; ", (char **)places->pdata);
  return g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_PARENT_VHD_NOT_FOUND,
                     "the parent of %s is at none of its places: %s", child_image(search)->display,
                     list[0] != '\0' ? list : "it names none");
}

/* Descriptors */

static guint count_parents(VdManager *self, uid_t uid)
{
  GHashTableIter iter;
  gpointer value;
  guint n = 0;

  g_hash_table_iter_init(&iter, self->handles);
  while (g_hash_table_iter_next(&iter, NULL, &value)) {
    const VdHandle *handle = value;

    n += handle->owner->uid == uid && handle->chain != NULL ? handle->chain->images->len : 0;
  }
  g_hash_table_iter_init(&iter, self->disks);
  while (g_hash_table_iter_next(&iter, NULL, &value)) {
    const VdDiskAttachment *a = ((VdDisk *)value)->attachment;

    n += a != NULL && a->owner->uid == uid && a->chain != NULL ? a->chain->images->len : 0;
  }
  return n;
}

/* Handles are few, and so are disks; a chain is long. pending: parents that are in no table yet. */
static gboolean has_room(VdManager *self, uid_t uid, guint pending, GError **error)
{
  if (uid == 0 || count_parents(self, uid) + pending < VD_CHAIN_MAX_PARENTS_PER_USER)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_LIMIT_EXCEEDED,
              "User %u has %d parents of images open already, the most allowed", (guint)uid,
              VD_CHAIN_MAX_PARENTS_PER_USER);
  return FALSE;
}

/* One level */

static void look_for_parent(GTask *owned)
{
  g_autoptr(GTask) task = owned;
  VdManager *self = g_task_get_source_object(task);
  Search *search = g_task_get_task_data(task);
  VdRelativePlaces relative = (search->rights.flags & VIRTDISK_OPEN_IGNORE_RELATIVE_PARENT_LOCATOR) != 0
                                  ? VD_RELATIVE_IGNORE
                                  : VD_RELATIVE_USE;
  GError *error = NULL;

  if (vd_chain_is_complete(search->chain, &search->leaf_facts)) {
    g_task_return_pointer(task, g_steal_pointer(&search->chain), NULL);
    return;
  }
  if (search->chain->images->len + 1 >= VD_CHAIN_MAX_DEPTH) {
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT,
                            "the chain of %s is longer than %d images", search->leaf->display,
                            VD_CHAIN_MAX_DEPTH);
    return;
  }
  if (!has_room(self, search->identity->uid, search->chain->images->len, &error)) {
    g_task_return_error(task, error);
    return;
  }
  g_clear_pointer(&search->paths, g_ptr_array_unref);
  search->paths =
      vd_chain_candidates(child_facts(search), child_image(search)->path, self->path_map, relative);
  search->next = 0;
  try_next(g_steal_pointer(&task));
}

static void accept_candidate(GTask *owned)
{
  g_autoptr(GTask) task = owned;
  Search *search = g_task_get_task_data(task);
  VdChain *chain = search->chain;

  if (wants_write(search))
    chain->n_write = chain->images->len + 1;
  g_ptr_array_add(chain->images, g_steal_pointer(&search->image));
  chain->head = *search->facts;
  chain->has_head = TRUE;
  g_clear_pointer(&search->facts, g_free);
  g_clear_error(&search->found_but);
  if (search->named)
    g_task_return_pointer(task, g_steal_pointer(&search->chain), NULL);
  else
    look_for_parent(g_steal_pointer(&task));
}

static void on_parent_unchanged(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  Search *search = g_task_get_task_data(task);
  GError *error = NULL;

  if (vd_image_unchanged_finish(search->image, result, &error)) {
    accept_candidate(g_steal_pointer(&task));
    return;
  }
  vd_image_unlock(search->image);
  g_task_return_error(task, error);
}

/* Locked: from here on nobody writes to it. Whether somebody has since it was looked at is seen now. */
static void on_parent_locked(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  Search *search = g_task_get_task_data(task);
  GError *error = NULL;

  if (vd_image_lock_finish(search->image, result, &error)) {
    vd_image_unchanged_async(search->image, on_parent_unchanged, g_steal_pointer(&task));
    return;
  }
  g_prefix_error(&error, "parent %s: ", search->image->display);
  g_task_return_error(task, error);
}

static void on_parent_probed(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  Search *search = g_task_get_task_data(task);
  gboolean write = wants_write(search);
  GError *error = NULL;

  search->facts = vd_worker_probe_finish(self->worker, result, &error);
  if (search->facts == NULL) {
    fail_place(g_steal_pointer(&task), error_in_parent(error, search->image->display));
  } else if (!vd_chain_match(child_facts(search), search->facts, search->image->st.st_mtim.tv_sec,
                             search->rights.ignore_parent_timestamp ? VD_TIMESTAMP_IGNORE
                                                                    : VD_TIMESTAMP_CHECK,
                             child_image(search)->display, search->image->display, &error)) {
    fail_place(g_steal_pointer(&task), error);
  } else if (!vd_manager_may_be_parent(self, search->image, write, &error)) {
    g_task_return_error(task, error);
  } else if (vd_access_is_exclusive(&search->rights)) {
    vd_image_lock_async(search->image, write, on_parent_locked, g_steal_pointer(&task));
  } else {
    accept_candidate(g_steal_pointer(&task));
  }
}

static gboolean is_same(const VdImage *a, const VdImage *b)
{
  return a->st.st_dev == b->st.st_dev && a->st.st_ino == b->st.st_ino;
}

static gboolean is_in_chain(const Search *search)
{
  for (guint i = 0; i < search->chain->images->len; i++)
    if (is_same(search->image, g_ptr_array_index(search->chain->images, i)))
      return TRUE;
  return is_same(search->image, search->leaf);
}

static void look_at_candidate(GTask *owned)
{
  g_autoptr(GTask) task = owned;
  GCancellable *cancellable = g_task_get_cancellable(task);
  VdManager *self = g_task_get_source_object(task);
  Search *search = g_task_get_task_data(task);

  if (is_in_chain(search)) {
    fail_place(g_steal_pointer(&task),
               g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED,
                           "%s is its own ancestor", search->image->display));
    return;
  }
  vd_worker_probe_async(self->worker, search->identity->uid, search->image->fd, search->image->device_id,
                        FALSE, cancellable, on_parent_probed, g_steal_pointer(&task));
}

static void on_candidate_looked_at(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  Search *search = g_task_get_task_data(task);
  GError *error = NULL;

  search->image = vd_image_new_finish(result, &error);
  if (search->image == NULL)
    fail_place(g_steal_pointer(&task),
               error_in_parent(error, search->next > 0
                                          ? (char *)g_ptr_array_index(search->paths, search->next - 1)
                                          : "that was passed"));
  else
    look_at_candidate(g_steal_pointer(&task));
}

/* Takes fd. */
static void take_candidate(GTask *owned, int fd)
{
  Search *search = g_task_get_task_data(owned);

  /* VHD in a chain of VHD, VHDX in a chain of VHDX, whatever the file is called. */
  vd_image_new_async(fd, NULL, search->leaf_facts.device_id, NULL, wants_write(search), search->rights.flags,
                     on_candidate_looked_at, owned);
}

static void on_candidate_opened(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  Search *search = g_task_get_task_data(task);
  GError *error = NULL;
  int fd = self->source.open_finish(self->source.opener, result, &error);

  if (fd >= 0) {
    take_candidate(g_steal_pointer(&task), fd);
  } else if (search->named && g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED)) {
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_PARENT_VHD_ACCESS_DENIED, "%s",
                            error->message);
    g_error_free(error);
  } else if (search->named && means_not_there(error)) {
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_PARENT_VHD_NOT_FOUND, "%s",
                            error->message);
    g_error_free(error);
  } else {
    g_autofree char *display = vd_path_to_display(g_ptr_array_index(search->paths, search->next - 1));

    fail_place(g_steal_pointer(&task), error_in_parent(error, display));
  }
}

static void try_next(GTask *owned)
{
  g_autoptr(GTask) task = owned;
  GCancellable *cancellable = g_task_get_cancellable(task);
  VdManager *self = g_task_get_source_object(task);
  Search *search = g_task_get_task_data(task);
  const char *path;

  if (search->paths == NULL || search->next >= search->paths->len) {
    g_task_return_error(task, search->found_but != NULL ? g_steal_pointer(&search->found_but)
                                                        : error_not_found(search));
    return;
  }
  path = g_ptr_array_index(search->paths, search->next++);
  self->source.open_async(self->source.opener, search->identity, path,
                          wants_write(search) ? VD_SOURCE_WRITE : VD_SOURCE_READ, cancellable,
                          on_candidate_opened, g_steal_pointer(&task));
}

/* The whole chain, when a leaf is opened. */

static GTask *search_new(VdManager *self, VdIdentity *identity, VdImage *leaf, const VdFacts *facts,
                         const VdRights *rights, GCancellable *cancellable, GAsyncReadyCallback callback,
                         gpointer user_data)
{
  GTask *task = g_task_new(self, cancellable, callback, user_data);
  Search *search = g_new0(Search, 1);

  /* A chain that is found holds locks; it is never dropped with the answer. */
  g_task_set_check_cancellable(task, FALSE);
  search->identity = vd_identity_ref(identity);
  search->leaf = vd_image_ref(leaf);
  search->leaf_facts = *facts;
  search->rights = *rights;
  g_task_set_task_data(task, search, search_free);
  return task;
}

void vd_manager_find_chain_async(VdManager *self, VdIdentity *identity, VdImage *leaf, const VdFacts *facts,
                                 const VdRights *rights, GCancellable *cancellable,
                                 GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = search_new(self, identity, leaf, facts, rights, cancellable, callback, user_data);

  ((Search *)g_task_get_task_data(task))->chain = vd_chain_new(FALSE);
  look_for_parent(task);
}

VdChain *vd_manager_find_chain_finish(VdManager *self, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

/* Whether child would be its own ancestor. */

void vd_manager_check_cycle_async(VdManager *self, VdIdentity *identity, VdImage *child,
                                  const VdFacts *child_facts, VdImage *parent, const VdFacts *parent_facts,
                                  GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
  const VdRights rights = {.version = 1, .ignore_parent_timestamp = TRUE};
  GTask *task = search_new(self, identity, child, child_facts, &rights, cancellable, callback, user_data);
  Search *search = g_task_get_task_data(task);

  search->chain = vd_chain_new(FALSE);
  g_ptr_array_add(search->chain->images, vd_image_ref(parent));
  search->chain->head = *parent_facts;
  search->chain->has_head = TRUE;
  look_for_parent(task);
}

/* An ancestor that is not to be found is no cycle yet, and hinders nobody in mending a chain from its leaf.
 */
gboolean vd_manager_check_cycle_finish(VdManager *self, GAsyncResult *result, GError **error)
{
  g_autoptr(GError) failure = NULL;
  VdChain *chain = g_task_propagate_pointer(G_TASK(result), &failure);

  vd_chain_free(chain);
  if (failure == NULL ||
      (!is_ours(failure) &&
       !g_error_matches(failure, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED)))
    return TRUE;
  g_propagate_error(error, g_steal_pointer(&failure));
  return FALSE;
}

/* AddVirtualDiskParent */

static void on_parent_added(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdHandle *handle = g_task_get_task_data(task);
  GError *error = NULL;
  VdChain *chain = g_task_propagate_pointer(G_TASK(result), &error);

  handle->adding_parent = FALSE;
  if (chain == NULL) {
    g_task_return_error(task, error);
  } else if (handle->closed) {
    vd_chain_unlock(chain);
    vd_chain_free(chain);
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_HANDLE, "the handle is closed");
  } else {
    vd_chain_free(handle->chain);
    handle->chain = chain;
    g_task_return_boolean(task, TRUE);
  }
}

static gboolean may_add_parent(VdManager *self, VdHandle *handle, GError **error)
{
  VirtdiskError code = VIRTDISK_ERROR_VHD_INVALID_STATE;
  const char *wrong = NULL;

  if ((handle->rights.flags & VIRTDISK_OPEN_CUSTOM_DIFF_CHAIN) == 0 || handle->rights.version == 1) {
    code = VIRTDISK_ERROR_INVALID_PARAMETER;
    wrong = "was not opened with version 2 and CUSTOM_DIFF_CHAIN";
  } else if (handle->rights.get_info_only) {
    code = VIRTDISK_ERROR_ACCESS_DENIED;
    wrong = "was opened to get information only";
  } else if (handle->image == NULL || handle->disk->attachment != NULL) {
    wrong = "is attached";
  } else if (handle->adding_parent) {
    wrong = "is being given a parent by another call";
  } else if (handle->chain == NULL || vd_chain_is_complete(handle->chain, &handle->disk->facts)) {
    code = VIRTDISK_ERROR_VHD_INVALID_TYPE;
    wrong = "has a chain that ends in an image without a parent";
  } else if (handle->chain->images->len + 1 >= VD_CHAIN_MAX_DEPTH) {
    code = VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT;
    wrong = "has a chain as long as one may be";
  }
  if (wrong == NULL)
    return has_room(self, handle->owner->uid, 0, error);
  g_set_error(error, VIRTDISK_ERROR, code, "%s %s", handle->disk->display, wrong);
  return FALSE;
}

/* A search in which the caller names the parent; NULL if that cannot be (task has ended). */
static GTask *add_parent_new(VdManager *self, VdIdentity *identity, VdHandle *handle,
                             GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(self, cancellable, callback, user_data);
  GError *error = NULL;
  Search *search;
  GTask *inner;

  g_task_set_check_cancellable(task, FALSE);
  g_task_set_task_data(task, vd_handle_ref(handle), (GDestroyNotify)vd_handle_unref);
  if (!may_add_parent(self, handle, &error)) {
    g_task_return_error(task, error);
    return NULL;
  }
  handle->adding_parent = TRUE;
  inner = search_new(self, identity, handle->image, &handle->disk->facts, &handle->rights, cancellable,
                     on_parent_added, g_steal_pointer(&task));
  search = g_task_get_task_data(inner);
  search->named = TRUE;
  search->chain = vd_chain_copy(handle->chain);
  return inner;
}

void vd_manager_add_parent_async(VdManager *self, VdIdentity *identity, VdHandle *handle, const char *path,
                                 GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *inner = add_parent_new(self, identity, handle, cancellable, callback, user_data);
  Search *search;

  if (inner == NULL)
    return;
  search = g_task_get_task_data(inner);
  search->paths = g_ptr_array_new_with_free_func(g_free);
  g_ptr_array_add(search->paths, g_strdup(path));
  try_next(inner);
}

void vd_manager_add_parent_fd_async(VdManager *self, VdIdentity *identity, VdHandle *handle, int fd,
                                    GCancellable *cancellable, GAsyncReadyCallback callback,
                                    gpointer user_data)
{
  GTask *inner = add_parent_new(self, identity, handle, cancellable, callback, user_data);

  if (inner != NULL)
    take_candidate(inner, fd);
  else
    vd_offload_close(fd);
}

gboolean vd_manager_add_parent_finish(VdManager *self, GAsyncResult *result, GError **error)
{
  return g_task_propagate_boolean(G_TASK(result), error);
}

/* Who else uses a file, by our own tables: the locks tell the rest, where a file system has locks. */

static gboolean refuse_use(const VdImage *image, const char *what, GError **error)
{
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION, "%s %s", image->display, what);
  return FALSE;
}

gboolean vd_manager_may_be_parent(VdManager *self, const VdImage *image, gboolean write, GError **error)
{
  VdDisk *disk = vd_manager_lookup(self, image->st.st_dev, image->st.st_ino);

  for (guint i = 0; disk != NULL && i < disk->handles->len; i++) {
    const VdRights *rights = &((VdHandle *)g_ptr_array_index(disk->handles, i))->rights;

    if (vd_access_is_exclusive(rights) && (write || rights->write))
      return refuse_use(image, "is a parent, and open by itself", error);
  }
  if (disk != NULL && disk->attachment != NULL && (write || !disk->attachment->plan.read_only))
    return refuse_use(image, "is a parent, and attached by itself", error);
  return vd_manager_may_use(self, image, write, error);
}

static gboolean is_used(const VdParent *parent, const VdImage *image, gboolean write)
{
  return parent->dev == image->st.st_dev && parent->ino == image->st.st_ino && (write || parent->write);
}

static gboolean chain_uses(const VdChain *chain, const VdImage *image, gboolean write)
{
  for (guint i = 0; chain != NULL && i < chain->images->len; i++)
    if (is_same(image, g_ptr_array_index(chain->images, i)) && (write || i < chain->n_write))
      return TRUE;
  return FALSE;
}

gboolean vd_manager_is_no_mirror(VdManager *self, const VdImage *image, GError **error)
{
  GHashTableIter iter;
  gpointer value;

  g_hash_table_iter_init(&iter, self->disks);
  while (g_hash_table_iter_next(&iter, NULL, &value)) {
    const VdImage *mirror = vd_mirror_get_image(((VdDisk *)value)->attachment);

    if (mirror != NULL && is_same(image, mirror))
      return refuse_use(image, "is the mirror of an image that is attached", error);
  }
  return TRUE;
}

gboolean vd_manager_may_use(VdManager *self, const VdImage *image, gboolean write, GError **error)
{
  GHashTableIter iter;
  gpointer value;

  g_hash_table_iter_init(&iter, self->handles);
  while (g_hash_table_iter_next(&iter, NULL, &value))
    if (chain_uses(((VdHandle *)value)->chain, image, write))
      return refuse_use(image, "is the parent of an image that is open", error);
  g_hash_table_iter_init(&iter, self->disks);
  while (g_hash_table_iter_next(&iter, NULL, &value)) {
    const VdDiskAttachment *a = ((VdDisk *)value)->attachment;

    for (guint i = 0; a != NULL && a->parents != NULL && i < a->parents->len; i++)
      if (is_used(g_ptr_array_index(a->parents, i), image, write))
        return refuse_use(image, "is the parent of an image that is attached", error);
  }
  return vd_manager_is_no_mirror(self, image, error);
}
