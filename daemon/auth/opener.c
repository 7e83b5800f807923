/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Our end of the opener: starts the child, sends it the request, takes the descriptor, kills it at its
 * deadline. Never opens a path itself and never waits for the child on the main loop.
 */
#include "auth/opener.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "auth/opener-errors.h"
#include "util/cleanup.h"
#include "util/display.h"
#include "util/offload.h"
#include "util/spawn.h"
#include "virtdisk-error.h"

G_STATIC_ASSERT(VD_OPENER_SOCKET == VD_SPAWN_FD);

struct VdOpener {
  char *program;
  guint deadline_ms;
  GHashTable *running; /* uid -> number of children that have not been reaped */
};

/* One place under the ceiling of a uid. Held until the child is reaped, not merely until it has answered: an
 * open that cannot be killed goes on counting. */
typedef struct {
  VdOpener *opener;
  uid_t uid;
} Slot;

typedef struct {
  char *path;
  VdOpenMode mode;
  uid_t uid;
  guint deadline_ms;
  GBytes *request;
  VdChild *child;
  GSocketConnection *connection;
  GSource *sources[3]; /* answer, deadline, cancellable */
} Call;

static void opener_clear(gpointer box)
{
  VdOpener *self = box;

  g_free(self->program);
  g_hash_table_unref(self->running);
}

VdOpener *vd_opener_new(const char *program)
{
  VdOpener *self = g_rc_box_new0(VdOpener);

  self->program = g_strdup(program);
  self->deadline_ms = VD_OPENER_DEADLINE_MS;
  self->running = g_hash_table_new(NULL, NULL);
  return self;
}

VdOpener *vd_opener_ref(VdOpener *self)
{
  return g_rc_box_acquire(self);
}

void vd_opener_unref(VdOpener *self)
{
  g_rc_box_release_full(self, opener_clear);
}

void vd_opener_set_deadline(VdOpener *self, guint deadline_ms)
{
  self->deadline_ms = deadline_ms;
}

static guint running_of(VdOpener *self, uid_t uid)
{
  return GPOINTER_TO_UINT(g_hash_table_lookup(self->running, GUINT_TO_POINTER(uid)));
}

static void set_running(VdOpener *self, uid_t uid, guint n)
{
  if (n == 0)
    g_hash_table_remove(self->running, GUINT_TO_POINTER(uid));
  else
    g_hash_table_insert(self->running, GUINT_TO_POINTER(uid), GUINT_TO_POINTER(n));
}

static Slot *slot_take(VdOpener *self, uid_t uid, GError **error)
{
  guint n = running_of(self, uid);
  Slot *slot;

  if (n >= VD_OPENER_MAX_PER_UID) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_LIMIT_EXCEEDED,
                "User %u has %u files being opened already, the most allowed", (guint)uid, n);
    return NULL;
  }
  set_running(self, uid, n + 1);
  slot = g_new0(Slot, 1);
  slot->opener = vd_opener_ref(self);
  slot->uid = uid;
  return slot;
}

static void slot_free(Slot *slot)
{
  set_running(slot->opener, slot->uid, running_of(slot->opener, slot->uid) - 1);
  vd_opener_unref(slot->opener);
  g_free(slot);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Slot, slot_free)

static void drop_sources(Call *call)
{
  for (gsize i = 0; i < G_N_ELEMENTS(call->sources); i++) {
    if (call->sources[i] != NULL)
      g_source_destroy(call->sources[i]);
    g_clear_pointer(&call->sources[i], g_source_unref);
  }
}

static void call_free(gpointer data)
{
  Call *call = data;

  drop_sources(call);
  g_clear_object(&call->connection);
  if (call->child != NULL)
    vd_child_kill(call->child); /* nothing happens if it has ended */
  g_clear_pointer(&call->child, vd_child_unref);
  g_bytes_unref(call->request);
  g_free(call->path);
  g_free(call);
}

/* Ends the call; the child, if it still runs, is of no use to anybody. */
static void fail(GTask *task, GError *error)
{
  Call *call = g_task_get_task_data(task);

  drop_sources(call);
  vd_child_kill(call->child);
  g_task_return_error(task, error);
}

static gboolean on_deadline(gpointer user_data)
{
  g_autoptr(GTask) task = g_object_ref(user_data);
  Call *call = g_task_get_task_data(task);
  g_autofree char *display = vd_text_to_display(call->path);

  fail(task, g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_TIMED_OUT, "%s did not open within %u ms", display,
                         call->deadline_ms));
  return G_SOURCE_REMOVE;
}

static gboolean on_cancelled(GCancellable *cancellable, gpointer user_data)
{
  g_autoptr(GTask) task = g_object_ref(user_data);

  fail(task, g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED,
                                 "Opening the file was cancelled"));
  return G_SOURCE_REMOVE;
}

/* Takes the answer from the socket. Returns the bytes received, 0 when the child closed its end, -1 and
 * errno; *ret_fd is -1 or belongs to the caller. */
static ssize_t take_answer(int socket_fd, VdOpenerReply *ret_answer, int *ret_fd)
{
  struct iovec iov = {ret_answer, sizeof *ret_answer};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {.bytes = {0}};
  /* CMSG_LEN, not CMSG_SPACE: the padding has room for a second descriptor, which would be lost here. */
  struct msghdr message = {
      .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_LEN(sizeof(int))};
  ssize_t n = recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

  *ret_fd = -1;
  if (n > 0 && message.msg_controllen >= CMSG_LEN(sizeof(int)) && control.header.cmsg_level == SOL_SOCKET &&
      control.header.cmsg_type == SCM_RIGHTS)
    memcpy(ret_fd, CMSG_DATA(&control.header), sizeof *ret_fd);
  return n;
}

/* The descriptor is what was asked for; the child is believed in nothing that can be seen without waiting. */
static gboolean is_as_asked(int fd, VdOpenMode mode)
{
  int flags = fcntl(fd, F_GETFL);

  if (flags < 0)
    return FALSE;
  if (mode == VD_OPEN_LOCATE)
    return (flags & O_PATH) != 0;
  return (flags & (O_PATH | O_APPEND | O_NONBLOCK)) == 0 &&
         (flags & O_ACCMODE) == (mode == VD_OPEN_WRITE || mode == VD_OPEN_CREATE || mode == VD_OPEN_SIDE_WRITE
                                     ? O_RDWR
                                     : O_RDONLY);
}

static gboolean on_answer(GSocket *socket, GIOCondition condition, gpointer user_data)
{
  g_autoptr(GTask) task = g_object_ref(user_data);
  Call *call = g_task_get_task_data(task);
  VdOpenerReply answer;
  int fd = -1;
  ssize_t n = take_answer(g_socket_get_fd(socket), &answer, &fd);

  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return G_SOURCE_CONTINUE;
  if (n != sizeof answer || answer.magic != VD_OPENER_MAGIC || answer.stage >= VD_OPENER_N_STAGES ||
      (answer.stage == VD_OPENER_DONE) != (fd >= 0) || (fd >= 0 && !is_as_asked(fd, call->mode))) {
    if (fd >= 0)
      vd_offload_close(fd);
    fail(task, g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_INTERNAL,
                           "The opener ended without a usable answer (%zd of %zu bytes)", MAX(n, 0),
                           sizeof answer));
  } else if (fd < 0) {
    fail(task, vd_opener_error(&answer, call->path, call->uid));
  } else {
    drop_sources(call);
    g_task_return_int(task, fd);
  }
  return G_SOURCE_REMOVE;
}

/* A request that could not be written means a dead child, which the end of its socket tells better. */
static void request_done(GObject *stream, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;

  g_output_stream_write_all_finish(G_OUTPUT_STREAM(stream), result, NULL, NULL);
}

static void on_child_ended(VdChild *child, gpointer user_data)
{
  slot_free(user_data);
}

static GBytes *request_new(VdIdentity *identity, const char *path, VdOpenMode mode)
{
  VdOpenerRequest header = {.magic = VD_OPENER_MAGIC,
                            .mode = mode,
                            .uid = identity->uid,
                            .gid = identity->gid,
                            .n_groups = identity->n_groups,
                            .path_length = strlen(path)};
  GByteArray *bytes = g_byte_array_new();

  g_byte_array_append(bytes, (const guint8 *)&header, sizeof header);
  if (identity->n_groups > 0)
    g_byte_array_append(bytes, (const guint8 *)identity->groups,
                        identity->n_groups * sizeof *identity->groups);
  g_byte_array_append(bytes, (const guint8 *)path, header.path_length);
  return g_byte_array_free_to_bytes(bytes);
}

/* Starts the child with one end of a socket pair and nothing else. */
static gboolean start_child(VdOpener *self, Call *call, GError **error)
{
  const char *arguments[] = {self->program, NULL};
  g_autoptr(GSocket) socket = NULL;
  vd_autofd theirs = -1;
  int ends[2];

  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
    int saved = errno;

    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(saved), "socketpair: %s", g_strerror(saved));
    return FALSE;
  }
  theirs = ends[1];
  socket = g_socket_new_from_fd(ends[0], error);
  if (socket == NULL) {
    close(ends[0]);
    return FALSE;
  }
  call->connection = g_socket_connection_factory_create_connection(socket);
  call->child = vd_spawn(arguments, vd_steal_fd(&theirs), VD_SPAWN_IN_SESSION, error);
  return call->child != NULL;
}

/* A source holds the task and the task its sources: drop_sources(), on every way out, cuts the ring. */
static void add_source(GTask *task, guint index, GSource *source, GSourceFunc callback)
{
  Call *call = g_task_get_task_data(task);

  g_source_set_callback(source, callback, g_object_ref(task), g_object_unref);
  g_source_attach(source, g_task_get_context(task));
  call->sources[index] = source;
}

static void converse(GTask *task)
{
  Call *call = g_task_get_task_data(task);
  GSocket *socket = g_socket_connection_get_socket(call->connection);
  GCancellable *cancellable = g_task_get_cancellable(task);
  gsize length;
  const void *bytes = g_bytes_get_data(call->request, &length);

  add_source(task, 0, g_socket_create_source(socket, G_IO_IN, NULL), G_SOURCE_FUNC(on_answer));
  add_source(task, 1, g_timeout_source_new(call->deadline_ms), on_deadline);
  if (cancellable != NULL)
    add_source(task, 2, g_cancellable_source_new(cancellable), G_SOURCE_FUNC(on_cancelled));
  g_output_stream_write_all_async(g_io_stream_get_output_stream(G_IO_STREAM(call->connection)), bytes, length,
                                  G_PRIORITY_DEFAULT, NULL, request_done, g_object_ref(task));
}

static gboolean check_path(const char *path, GError **error)
{
  if (path == NULL || path[0] != '/') {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                path == NULL || path[0] == '\0' ? "The path is empty" : "The path is not absolute");
    return FALSE;
  }
  if (strlen(path) > VD_OPENER_MAX_PATH) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NAME_TOO_LONG, "The path has %zu bytes; the most is %d",
                strlen(path), VD_OPENER_MAX_PATH);
    return FALSE;
  }
  return TRUE;
}

static void start_call(GTask *owned, VdOpener *self, VdIdentity *identity, const char *path, VdOpenMode mode)
{
  g_autoptr(GTask) task = owned;
  GError *error = NULL;
  g_autoptr(GError) why = NULL;
  g_autoptr(Slot) slot = NULL;
  Call *call;

  g_task_set_check_cancellable(task, FALSE); /* an open descriptor must never be dropped with the answer */
  if (!check_path(path, &error) || (slot = slot_take(self, identity->uid, &error)) == NULL) {
    g_task_return_error(task, error);
    return;
  }
  call = g_new0(Call, 1);
  g_task_set_task_data(task, call, call_free);
  call->path = g_strdup(path);
  call->mode = mode;
  call->uid = identity->uid;
  call->deadline_ms = self->deadline_ms;
  call->request = request_new(identity, path, mode);
  if (!start_child(self, call, &why)) {
    g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_NO_RESOURCES, "Cannot start %s: %s",
                            self->program, why->message);
    return;
  }
  vd_child_on_end(call->child, on_child_ended, g_steal_pointer(&slot));
  converse(task);
}

void vd_opener_open_async(VdOpener *self, VdIdentity *identity, const char *path, VdOpenMode mode,
                          GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new(NULL, cancellable, callback, user_data);

  g_task_set_source_tag(task, vd_opener_open_async);
  start_call(task, self, identity, path, mode);
}

int vd_opener_open_finish(VdOpener *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail(g_task_is_valid(result, NULL), -1);
  return (int)g_task_propagate_int(G_TASK(result), error);
}

/* New files */

struct VdNewFile {
  int fd;
  char *path;
  uid_t uid;
  guint deadline_ms;
  GSocketConnection *connection; /* its end tells the child to end, and to take the file away */
  GTask *publishing;
  GSource *sources[2]; /* answer, deadline */
};

void vd_opener_create_async(VdOpener *self, VdIdentity *identity, const char *path, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new(NULL, cancellable, callback, user_data);

  g_task_set_source_tag(task, vd_opener_create_async);
  start_call(task, self, identity, path, VD_OPEN_CREATE);
}

VdNewFile *vd_opener_create_finish(VdOpener *self, GAsyncResult *result, GError **error)
{
  GTask *task = G_TASK(result);
  Call *call = g_task_get_task_data(task);
  int fd = (int)g_task_propagate_int(task, error);
  VdNewFile *file;

  if (fd < 0)
    return NULL;
  file = g_new0(VdNewFile, 1);
  file->fd = fd;
  file->path = g_strdup(call->path);
  file->uid = call->uid;
  file->deadline_ms = call->deadline_ms;
  /* The child is ours no longer: it ends with its line. */
  file->connection = g_steal_pointer(&call->connection);
  g_clear_pointer(&call->child, vd_child_unref);
  return file;
}

int vd_new_file_get_fd(VdNewFile *self)
{
  return self->fd;
}

static void drop_file_sources(VdNewFile *self)
{
  for (gsize i = 0; i < G_N_ELEMENTS(self->sources); i++) {
    if (self->sources[i] != NULL)
      g_source_destroy(self->sources[i]);
    g_clear_pointer(&self->sources[i], g_source_unref);
  }
}

void vd_new_file_free(VdNewFile *self)
{
  if (self == NULL)
    return;
  drop_file_sources(self);
  g_clear_object(&self->publishing);
  g_clear_object(&self->connection);
  vd_offload_close(self->fd);
  g_free(self->path);
  g_free(self);
}

static int line_of(VdNewFile *self)
{
  return g_socket_get_fd(g_socket_connection_get_socket(self->connection));
}

/* Four bytes into an empty line: they fit. */
static gboolean command(VdNewFile *self, guint32 word)
{
  return send(line_of(self), &word, sizeof word, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof word;
}

void vd_new_file_keep(VdNewFile *self)
{
  command(self, VD_OPENER_KEEP);
}

/* Sixteen bytes at most wait in the line. */
void vd_new_file_set_owner(VdNewFile *self, uid_t uid, gid_t gid, mode_t mode)
{
  const struct {
    guint32 command;
    VdOpenerOwner owner;
  } message = {VD_OPENER_OWN, {uid, gid, mode}};

  (void)!send(line_of(self), &message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Takes error. */
static void end_publishing(VdNewFile *self, GError *error)
{
  g_autoptr(GTask) task = g_steal_pointer(&self->publishing);

  drop_file_sources(self);
  if (error != NULL)
    g_task_return_error(task, error);
  else
    g_task_return_boolean(task, TRUE);
}

static gboolean on_published(GSocket *socket, GIOCondition condition, gpointer user_data)
{
  VdNewFile *self = user_data;
  VdOpenerReply answer;
  vd_autofd stray = -1;
  ssize_t n = take_answer(g_socket_get_fd(socket), &answer, &stray);

  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return G_SOURCE_CONTINUE;
  if (n != sizeof answer || answer.magic != VD_OPENER_MAGIC || answer.stage >= VD_OPENER_N_STAGES)
    end_publishing(self, g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_INTERNAL,
                                             "The opener ended before the new file had its name"));
  else if (answer.stage != VD_OPENER_DONE)
    end_publishing(self, vd_opener_error(&answer, self->path, self->uid));
  else
    end_publishing(self, NULL);
  return G_SOURCE_REMOVE;
}

static gboolean on_publish_deadline(gpointer user_data)
{
  VdNewFile *self = user_data;

  end_publishing(self, g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_TIMED_OUT,
                                   "The new file did not get its name within %u ms", self->deadline_ms));
  return G_SOURCE_REMOVE;
}

void vd_new_file_publish_async(VdNewFile *self, GAsyncReadyCallback callback, gpointer user_data)
{
  GSocket *socket = g_socket_connection_get_socket(self->connection);

  self->publishing = g_task_new(NULL, NULL, callback, user_data);
  self->sources[0] = g_socket_create_source(socket, G_IO_IN, NULL);
  g_source_set_callback(self->sources[0], G_SOURCE_FUNC(on_published), self, NULL);
  g_source_attach(self->sources[0], NULL);
  self->sources[1] = g_timeout_source_new(self->deadline_ms);
  g_source_set_callback(self->sources[1], on_publish_deadline, self, NULL);
  g_source_attach(self->sources[1], NULL);
  /* A line that has ended is readable, and says so. */
  command(self, VD_OPENER_PUBLISH);
}

gboolean vd_new_file_publish_finish(VdNewFile *self, GAsyncResult *result, GError **error)
{
  return g_task_propagate_boolean(G_TASK(result), error);
}
