/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach/settle.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "util/cleanup.h"
#include "virtdisk-error.h"

#define UDEV_CONTROL "/run/udev/control"

struct VdSettle {
  VdUevents *events;
  GHashTable *awaited; /* char*: kernel names that udev has not processed yet */
  guint64 diskseq;
  GTask *task; /* while waiting */
  GSource *deadline, *cancelled;
};

/* The socket outlives an udevd that was killed, so only an answer counts. */
gboolean vd_settle_udev_runs(void)
{
  struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = UDEV_CONTROL};
  vd_autofd fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

  return fd >= 0 && (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EAGAIN);
}

VdSettle *vd_settle_new(GError **error)
{
  g_autoptr(VdUevents) events = vd_uevents_new(VD_UEVENTS_UDEV, error);
  VdSettle *self;

  if (events == NULL)
    return NULL;
  self = g_new0(VdSettle, 1);
  self->events = g_steal_pointer(&events);
  self->awaited = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
  return self;
}

static void drop_source(GSource **source)
{
  if (*source == NULL)
    return;
  g_source_destroy(*source);
  g_clear_pointer(source, g_source_unref);
}

void vd_settle_free(VdSettle *self)
{
  if (self == NULL)
    return;
  drop_source(&self->deadline);
  drop_source(&self->cancelled);
  g_clear_pointer(&self->events, vd_uevents_free);
  g_hash_table_unref(self->awaited);
  g_free(self);
}

/* The caller may free self from its callback, so nothing is touched afterwards. */
static void finish(VdSettle *self, gboolean settled)
{
  g_autoptr(GTask) task = g_steal_pointer(&self->task);

  drop_source(&self->deadline);
  drop_source(&self->cancelled);
  g_clear_pointer(&self->events, vd_uevents_free);
  g_task_return_boolean(task, settled);
}

/* Kernels before 6.4 do not put the sequence number into the event of a partition. */
static void on_event(const VdUevent *event, gpointer user_data)
{
  VdSettle *self = user_data;

  if (event == NULL || g_strcmp0(event->action, "remove") == 0)
    return;
  if (event->diskseq != 0 && event->diskseq != self->diskseq)
    return;
  g_hash_table_remove(self->awaited, event->name);
  if (g_hash_table_size(self->awaited) == 0)
    finish(self, TRUE);
}

static gboolean on_deadline(gpointer user_data)
{
  finish(user_data, FALSE);
  return G_SOURCE_REMOVE;
}

static gboolean on_cancelled(GCancellable *cancellable, gpointer user_data)
{
  VdSettle *self = user_data;
  g_autoptr(GTask) task = g_steal_pointer(&self->task);

  drop_source(&self->deadline);
  drop_source(&self->cancelled);
  g_clear_pointer(&self->events, vd_uevents_free);
  g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED,
                          "Waiting for udev was cancelled");
  return G_SOURCE_REMOVE;
}

static GSource *attach_source(GSource *source, GSourceFunc func, VdSettle *self)
{
  g_source_set_callback(source, func, self, NULL);
  g_source_attach(source, g_main_context_get_thread_default());
  return source;
}

void vd_settle_wait_async(VdSettle *self, const char *name, guint64 diskseq, const char *const *partitions,
                          guint deadline_ms, GCancellable *cancellable, GAsyncReadyCallback callback,
                          gpointer user_data)
{
  g_return_if_fail(self->events != NULL && self->task == NULL);
  self->task = g_task_new(NULL, cancellable, callback, user_data);
  g_task_set_check_cancellable(self->task, FALSE);
  self->diskseq = diskseq;
  g_hash_table_add(self->awaited, g_strdup(name));
  for (; partitions != NULL && *partitions != NULL; partitions++)
    g_hash_table_add(self->awaited, g_strdup(*partitions));
  if (!vd_settle_udev_runs()) {
    finish(self, TRUE);
    return;
  }
  vd_uevents_attach(self->events, on_event, self);
  self->deadline = attach_source(g_timeout_source_new(deadline_ms), on_deadline, self);
  if (cancellable != NULL)
    self->cancelled = attach_source(g_cancellable_source_new(cancellable), G_SOURCE_FUNC(on_cancelled), self);
}

gboolean vd_settle_wait_finish(VdSettle *self, GAsyncResult *result, gboolean *ret_settled, GError **error)
{
  g_autoptr(GError) failure = NULL;

  *ret_settled = g_task_propagate_boolean(G_TASK(result), &failure);
  if (failure == NULL)
    return TRUE;
  g_propagate_error(error, g_steal_pointer(&failure));
  return FALSE;
}
