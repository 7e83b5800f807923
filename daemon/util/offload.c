/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/offload.h"

#include <unistd.h>

#include "virtdisk-error.h"

typedef struct {
  GTask *task;
  GTaskThreadFunc func;
} Work;

static gpointer work_in_thread(gpointer data)
{
  g_autofree Work *work = data;

  work->func(work->task, g_task_get_source_object(work->task), g_task_get_task_data(work->task),
             g_task_get_cancellable(work->task));
  g_object_unref(work->task);
  return NULL;
}

void vd_offload(GTask *task, GTaskThreadFunc func)
{
  Work *work = g_new(Work, 1);
  g_autoptr(GError) error = NULL;
  GThread *thread;

  *work = (Work){g_object_ref(task), func};
  thread = g_thread_try_new("virtdisk-io", work_in_thread, work, &error);
  if (thread != NULL) {
    g_thread_unref(thread);
    return;
  }
  g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_NO_RESOURCES, "no thread could be started: %s",
                          error->message);
  g_object_unref(work->task);
  g_free(work);
}

typedef struct {
  int *fds;
  gsize n;
} Close;

static gpointer close_all_in_thread(gpointer data)
{
  g_autofree Close *work = data;

  for (gsize i = 0; i < work->n; i++)
    if (work->fds[i] >= 0)
      close(work->fds[i]);
  g_free(work->fds);
  return NULL;
}

void vd_offload_close_all(int *fds, gsize n)
{
  Close *work = g_new(Close, 1);
  GThread *thread;

  *work = (Close){fds, n};
  thread = g_thread_try_new("virtdisk-close", close_all_in_thread, work, NULL);
  if (thread != NULL) {
    g_thread_unref(thread);
    return;
  }
  /* The main loop would wait for as long as the files' server likes. Descriptors are the lesser loss. */
  g_warning("no thread could be started to close %" G_GSIZE_FORMAT " descriptors, which stay open", n);
  g_free(fds);
  g_free(work);
}

void vd_offload_close(int fd)
{
  int *fds = g_new(int, 1);

  *fds = fd;
  vd_offload_close_all(fds, 1);
}
