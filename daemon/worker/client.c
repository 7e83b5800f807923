/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One process per question. A probe has two lives: the question, which ends with exactly one answer to the
 * caller, and the process, which ends when it has been waited for; the second may outlast the first (a killed
 * worker that hangs in the kernel still counts against the ceiling, but nobody waits for it). Nothing in here
 * blocks, and nothing that a worker says is believed unchecked.
 */
#include "worker/client.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gunixfdlist.h>
#include <glib-unix.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "util/cleanup.h"
#include "util/offload.h"
#include "util/spawn.h"
#include "virtdisk-enums.h"
#include "virtdisk-error.h"
#include "worker/protocol.h"
#include "worker/said.h"

G_STATIC_ASSERT(VD_WORKER_SOCKET_FD == VD_SPAWN_FD);

struct VdWorkerClient {
  guint refs;
  char *program;
  char *user_argument; /* UID:GID, or NULL to stay as it is */
  GError *user_error;  /* why there is no account; then nothing is ever started */
  guint deadline_ms;
  guint running;     /* processes not yet waited for, without those that hang */
  GHashTable *users; /* uid -> User; one that has no process is dropped */
  GQueue waiting;    /* Probe, owned by the question */
};

typedef struct {
  guint processes; /* not yet waited for */
  guint hanging;   /* of these */
} User;

typedef struct {
  VdWorkerClient *client;
  uid_t uid;
  GTask *task; /* NULL: answered */
  int image_fd;
  int line;
  guint64 file_size; /* bytes; when the question was sent */
  guint32 device_id;
  VdWorkerContent content;
  guint64 device_size; /* bytes; OF_DEVICE only */
  guint32 sector_size;
  VdChild *process; /* NULL: in line */
  GSource *line_source;
  GSource *deadline_source;
  GSource *cancel_source;
  GSource *linger_source; /* from the answer to the end of the process */
  gboolean hangs;
} Probe;

static void start_next(VdWorkerClient *self);

static gboolean find_account(VdWorkerClient *self, const char *user, GError **error)
{
  struct passwd *entry;

  errno = 0;
  entry = getpwnam(user);
  if (entry == NULL || entry->pw_uid == 0 || entry->pw_gid == 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INTERNAL, "the worker's account \"%s\" %s", user,
                entry != NULL ? "is root"
                : errno != 0  ? g_strerror(errno)
                              : "does not exist");
    return FALSE;
  }
  self->user_argument = g_strdup_printf("%u:%u", (guint)entry->pw_uid, (guint)entry->pw_gid);
  return TRUE;
}

VdWorkerClient *vd_worker_client_new(const char *program, const char *user, guint deadline_ms)
{
  VdWorkerClient *self = g_new0(VdWorkerClient, 1);

  self->refs = 1;
  self->program = g_strdup(program);
  self->deadline_ms = deadline_ms != 0 ? deadline_ms : VD_WORKER_PROBE_DEADLINE_MS;
  self->users = g_hash_table_new_full(NULL, NULL, NULL, g_free);
  g_queue_init(&self->waiting);
  if (user != NULL && *user != '\0')
    find_account(self, user, &self->user_error);
  return self;
}

VdWorkerClient *vd_worker_client_ref(VdWorkerClient *self)
{
  self->refs++;
  return self;
}

void vd_worker_client_unref(VdWorkerClient *self)
{
  if (--self->refs > 0)
    return;
  g_hash_table_unref(self->users);
  g_free(self->program);
  g_free(self->user_argument);
  g_clear_error(&self->user_error);
  g_free(self);
}

const char *vd_worker_client_get_program(VdWorkerClient *self)
{
  return self->program;
}

const char *vd_worker_client_get_user_argument(VdWorkerClient *self)
{
  return self->user_argument;
}

static void clear_source(GSource **source)
{
  if (*source == NULL)
    return;
  g_source_destroy(*source);
  g_clear_pointer(source, g_source_unref);
}

/* What is known at once: the image's server, which may be a user's program, is not asked on the main loop. */
static gboolean size_of(int fd, guint64 *ret_size)
{
  struct statx stx;

  if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE, &stx) < 0)
    return FALSE;
  *ret_size = stx.stx_size;
  return TRUE;
}

/* Ends what the question holds; the process may go on for a moment. */
static void close_question(Probe *probe)
{
  clear_source(&probe->line_source);
  clear_source(&probe->deadline_source);
  clear_source(&probe->cancel_source);
  vd_clear_fd(&probe->line);
  /* A user's FUSE server is asked by a close, and need not answer. */
  if (probe->image_fd >= 0)
    vd_offload_close(vd_steal_fd(&probe->image_fd));
}

static void probe_clear(Probe *probe)
{
  close_question(probe);
  clear_source(&probe->linger_source);
  g_clear_pointer(&probe->process, vd_child_unref);
  g_clear_pointer(&probe->client, vd_worker_client_unref);
}

static void probe_release(Probe *probe)
{
  g_rc_box_release_full(probe, (GDestroyNotify)probe_clear);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Probe, probe_release)

/* The processes of a user */

static User *user_of(VdWorkerClient *self, uid_t uid)
{
  return g_hash_table_lookup(self->users, GUINT_TO_POINTER(uid));
}

static gboolean is_at_ceiling(VdWorkerClient *self, uid_t uid)
{
  const User *user = user_of(self, uid);

  return user != NULL && user->processes >= VD_WORKER_MAX_PER_UID;
}

static void count_process(Probe *probe)
{
  User *user = user_of(probe->client, probe->uid);

  if (user == NULL) {
    user = g_new0(User, 1);
    g_hash_table_insert(probe->client->users, GUINT_TO_POINTER(probe->uid), user);
  }
  user->processes++;
  probe->client->running++;
}

static void uncount_process(Probe *probe)
{
  User *user = user_of(probe->client, probe->uid);

  if (probe->hangs)
    user->hanging--;
  else
    probe->client->running--;
  if (--user->processes == 0)
    g_hash_table_remove(probe->client->users, GUINT_TO_POINTER(probe->uid));
}

/* The one way to the caller; gives the question's reference up. Takes facts and error. */
static void probe_answer(Probe *probe, VdFacts *facts, GError *error);

static gboolean all_hang(VdWorkerClient *self, uid_t uid)
{
  const User *user = user_of(self, uid);

  return user != NULL && user->hanging >= VD_WORKER_MAX_PER_UID;
}

static void refuse(Probe *probe)
{
  probe_answer(probe, NULL,
               g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_LIMIT_EXCEEDED,
                           "%d workers that looked at images for user %u do not end: the file systems of "
                           "these images do not answer",
                           VD_WORKER_MAX_PER_UID, (guint)probe->uid));
}

/* From the head each time: who is answered may ask anew at once. */
static void refuse_waiting(VdWorkerClient *self, uid_t uid)
{
  GList *link = self->waiting.head;

  while (link != NULL) {
    Probe *probe = link->data;

    if (probe->uid != uid) {
      link = link->next;
      continue;
    }
    g_queue_delete_link(&self->waiting, link);
    refuse(probe);
    link = self->waiting.head;
  }
}

/* It takes a place of its user's, and nobody else's any longer. */
static gboolean on_lingering(gpointer user_data)
{
  Probe *probe = user_data;

  clear_source(&probe->linger_source);
  probe->hangs = TRUE;
  user_of(probe->client, probe->uid)->hanging++;
  probe->client->running--;
  if (all_hang(probe->client, probe->uid))
    refuse_waiting(probe->client, probe->uid);
  start_next(probe->client);
  return G_SOURCE_REMOVE;
}

static void watch_end(Probe *probe)
{
  probe->linger_source = g_timeout_source_new(VD_WORKER_LINGER_MS);
  g_source_set_callback(probe->linger_source, on_lingering, probe, NULL);
  g_source_attach(probe->linger_source, g_main_context_get_thread_default());
}

static void probe_answer(Probe *probe, VdFacts *facts, GError *error)
{
  g_autoptr(GTask) task = g_steal_pointer(&probe->task);

  close_question(probe);
  if (probe->process != NULL) {
    vd_child_kill(probe->process);
    watch_end(probe);
  }
  probe_release(probe);
  if (error != NULL)
    g_task_return_error(task, error);
  else
    g_task_return_pointer(task, facts, g_free);
}

static gboolean check_size_unchanged(Probe *probe, GError **error)
{
  guint64 size;

  if (size_of(probe->image_fd, &size) && size == probe->file_size)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_CHANGED,
              "the image's size changed from %" G_GUINT64_FORMAT " bytes while it was being looked at",
              probe->file_size);
  return FALSE;
}

static void take_reply(Probe *probe, const VdWorkerReply *reply, gssize length, gboolean whole)
{
  g_autofree VdFacts *facts = NULL;
  GError *error = NULL;

  if (length != (gssize)sizeof *reply || !whole || reply->magic != VD_WORKER_MAGIC ||
      reply->version != VD_WORKER_VERSION || reply->size != sizeof *reply || reply->failed > 1)
    return probe_answer(probe, NULL, vd_worker_lost("gave an answer of the wrong shape"));
  if (!check_size_unchanged(probe, &error))
    return probe_answer(probe, NULL, error);
  if (reply->failed)
    return probe_answer(probe, NULL, vd_worker_said_error(&reply->error));
  if (!(probe->content == VD_WORKER_CONTENT_OF_DEVICE
            ? vd_facts_check_contents(&reply->facts, probe->device_size, &error)
            : vd_facts_check(&reply->facts, probe->device_id, probe->file_size, &error)))
    return probe_answer(probe, NULL, error);
  facts = g_memdup2(&reply->facts, sizeof reply->facts);
  probe_answer(probe, g_steal_pointer(&facts), NULL);
}

typedef enum {
  LINE_QUIET,
  LINE_ANSWERED,
  LINE_CLOSED,
} Line;

/* No room for control data is offered: the kernel closes descriptors that a worker sends, and says so. */
static Line read_line(Probe *probe)
{
  g_autofree VdWorkerReply *reply = g_new0(VdWorkerReply, 1);
  struct iovec part = {reply, sizeof *reply};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  gssize length;

  do
    length = recvmsg(probe->line, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (length < 0 && errno == EINTR);
  if (length < 0 && errno == EAGAIN)
    return LINE_QUIET;
  if (length <= 0)
    return LINE_CLOSED;
  take_reply(probe, reply, length, (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0);
  return LINE_ANSWERED;
}

static gboolean on_line(int fd, GIOCondition condition, gpointer user_data)
{
  Probe *probe = user_data;

  /* Closed without an answer: on_exited() will know why, or the deadline ends it. */
  if (read_line(probe) == LINE_CLOSED)
    clear_source(&probe->line_source);
  return G_SOURCE_CONTINUE;
}

static gboolean on_deadline(gpointer user_data)
{
  Probe *probe = user_data;

  if (probe->process != NULL) {
    probe_answer(probe, NULL,
                 g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_TIMED_OUT,
                             "virtdisk-worker gave no answer within %u ms and was killed",
                             probe->client->deadline_ms));
    return G_SOURCE_REMOVE;
  }
  g_queue_remove(&probe->client->waiting, probe);
  probe_answer(probe, NULL,
               g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_NO_RESOURCES,
                           "all %d workers, or the %d of user %u, were busy for %d ms", VD_WORKER_MAX_PROBES,
                           VD_WORKER_MAX_PER_UID, (guint)probe->uid, VD_WORKER_QUEUE_DEADLINE_MS));
  return G_SOURCE_REMOVE;
}

static gboolean on_cancelled(GCancellable *cancellable, gpointer user_data)
{
  Probe *probe = user_data;

  g_queue_remove(&probe->client->waiting, probe);
  probe_answer(probe, NULL,
               g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED,
                                   "looking at the image was cancelled"));
  return G_SOURCE_REMOVE;
}

static GError *obituary(VdChild *process)
{
  g_autofree char *end = vd_child_describe_end(process);
  g_autofree char *what = g_strdup_printf("%s before it answered", end);

  return vd_worker_lost(what);
}

/* The process has been waited for. Its answer may still lie in the socket. */
static void on_exited(VdChild *process, gpointer user_data)
{
  g_autoptr(Probe) probe = user_data;
  g_autoptr(VdWorkerClient) client = vd_worker_client_ref(probe->client);

  uncount_process(probe);
  if (probe->task != NULL && read_line(probe) != LINE_ANSWERED)
    probe_answer(probe, NULL, obituary(probe->process));
  clear_source(&probe->linger_source);
  start_next(client);
}

static gboolean fail_start(GError **error, const char *what, int error_number)
{
  gboolean passing = error_number == EMFILE || error_number == ENFILE || error_number == ENOMEM ||
                     error_number == EAGAIN || error_number == ENOBUFS || error_number == ETOOMANYREFS;

  g_set_error(error, VIRTDISK_ERROR, passing ? VIRTDISK_ERROR_NO_RESOURCES : VIRTDISK_ERROR_INTERNAL,
              "starting virtdisk-worker: %s: %s", what, g_strerror(error_number));
  return FALSE;
}

static gboolean send_question(Probe *probe, GError **error)
{
  VdWorkerRequest request = {.magic = VD_WORKER_MAGIC,
                             .version = VD_WORKER_VERSION,
                             .size = sizeof request,
                             .device_id = probe->device_id,
                             .content = probe->content,
                             .sector_size = probe->sector_size,
                             .device_size = probe->device_size};
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {{0}};
  struct iovec part = {&request, sizeof request};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);

  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &probe->image_fd, sizeof(int));
  if (sendmsg(probe->line, &message, MSG_NOSIGNAL | MSG_DONTWAIT) != (gssize)sizeof request)
    return fail_start(error, "the question", errno);
  return TRUE;
}

static VdChild *spawn(VdWorkerClient *client, int line, GError **error)
{
  const char *full[] = {client->program, "--user", client->user_argument, NULL};
  const char *unprivileged[] = {client->program, "--unprivileged-test", NULL};
  VdChild *process =
      vd_spawn(client->user_argument != NULL ? full : unprivileged, line, VD_SPAWN_IN_SESSION, error);

  if (process == NULL)
    g_prefix_error(error, "starting virtdisk-worker: ");
  return process;
}

static gboolean start_process(Probe *probe, GError **error)
{
  int pair[2];
  vd_autofd theirs = -1;

  if (!size_of(probe->image_fd, &probe->file_size))
    return fail_start(error, "the image's size", errno);
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
    return fail_start(error, "socketpair", errno);
  probe->line = pair[0];
  theirs = pair[1];
  if (!send_question(probe, error))
    return FALSE;
  probe->process = spawn(probe->client, vd_steal_fd(&theirs), error);
  return probe->process != NULL;
}

static void set_deadline(Probe *probe, guint milliseconds)
{
  clear_source(&probe->deadline_source);
  probe->deadline_source = g_timeout_source_new(milliseconds);
  g_source_set_callback(probe->deadline_source, on_deadline, probe, NULL);
  g_source_attach(probe->deadline_source, g_main_context_get_thread_default());
}

static void probe_start(Probe *probe)
{
  GError *error = NULL;

  if (!start_process(probe, &error)) {
    probe_answer(probe, NULL, error);
    return;
  }
  count_process(probe);
  vd_child_on_end(probe->process, on_exited, g_rc_box_acquire(probe));
  probe->line_source = g_unix_fd_source_new(probe->line, G_IO_IN);
  g_source_set_callback(probe->line_source, G_SOURCE_FUNC(on_line), probe, NULL);
  g_source_attach(probe->line_source, g_main_context_get_thread_default());
  set_deadline(probe, probe->client->deadline_ms);
}

static void start_next(VdWorkerClient *self)
{
  GList *link = self->waiting.head;

  while (self->running < VD_WORKER_MAX_PROBES && link != NULL) {
    Probe *probe = link->data;

    if (is_at_ceiling(self, probe->uid)) {
      link = link->next;
      continue;
    }
    g_queue_delete_link(&self->waiting, link);
    probe_start(probe);
    link = self->waiting.head;
  }
}

static void watch_cancellable(Probe *probe, GCancellable *cancellable)
{
  if (cancellable == NULL)
    return;
  probe->cancel_source = g_cancellable_source_new(cancellable);
  g_source_set_callback(probe->cancel_source, G_SOURCE_FUNC(on_cancelled), probe, NULL);
  g_source_attach(probe->cancel_source, g_main_context_get_thread_default());
}

static Probe *probe_new(VdWorkerClient *self, uid_t uid, guint32 device_id, VdWorkerContent content,
                        GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
  Probe *probe = g_rc_box_new0(Probe);

  probe->client = vd_worker_client_ref(self);
  probe->uid = uid;
  probe->task = g_task_new(NULL, cancellable, callback, user_data);
  g_task_set_source_tag(probe->task, vd_worker_probe_async);
  g_task_set_check_cancellable(probe->task, FALSE);
  probe->line = -1;
  probe->image_fd = -1;
  probe->device_id = device_id;
  probe->content = content;
  return probe;
}

/* fd: borrowed. */
static void probe_queue(Probe *probe, int image_fd, GCancellable *cancellable)
{
  VdWorkerClient *self = probe->client;
  GError *error = NULL;

  probe->image_fd = fcntl(image_fd, F_DUPFD_CLOEXEC, 3);
  if (self->user_error != NULL) {
    probe_answer(probe, NULL, g_error_copy(self->user_error));
    return;
  }
  if (probe->image_fd < 0) {
    fail_start(&error, "the image's descriptor", errno);
    probe_answer(probe, NULL, error);
    return;
  }
  if (all_hang(self, probe->uid)) {
    refuse(probe);
    return;
  }
  watch_cancellable(probe, cancellable);
  set_deadline(probe, VD_WORKER_QUEUE_DEADLINE_MS);
  g_queue_push_tail(&self->waiting, probe);
  start_next(self);
}

void vd_worker_probe_async(VdWorkerClient *self, uid_t uid, int image_fd, guint32 required_device,
                           gboolean content, GCancellable *cancellable, GAsyncReadyCallback callback,
                           gpointer user_data)
{
  Probe *probe =
      probe_new(self, uid, required_device, content ? VD_WORKER_CONTENT_TOO : VD_WORKER_CONTENT_NONE,
                cancellable, callback, user_data);

  probe_queue(probe, image_fd, cancellable);
}

void vd_worker_look_inside_async(VdWorkerClient *self, uid_t uid, int device_fd, guint64 size,
                                 guint32 sector_size, GCancellable *cancellable, GAsyncReadyCallback callback,
                                 gpointer user_data)
{
  Probe *probe = probe_new(self, uid, VIRTDISK_DEVICE_RAW, VD_WORKER_CONTENT_OF_DEVICE, cancellable, callback,
                           user_data);

  probe->device_size = size;
  probe->sector_size = sector_size;
  probe_queue(probe, device_fd, cancellable);
}

VdFacts *vd_worker_probe_finish(VdWorkerClient *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail(g_task_is_valid(result, NULL), NULL);
  return g_task_propagate_pointer(G_TASK(result), error);
}
