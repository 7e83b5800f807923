/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one client of the process. It lives in a thread of its own, whose main context takes up the signals. */
#include "win32.h"

static GMutex lock;
static GCond made;
static VirtdiskClient *client; /* under lock; kept until the process ends */

typedef struct {
  gboolean done;
  GError *error;
} Making;

static gpointer run_in_thread(gpointer data)
{
  Making *making = data;
  g_autoptr(GMainContext) context = g_main_context_new();
  GError *error = NULL;
  VirtdiskClient *mine;

  g_main_context_push_thread_default(context);
  mine = virtdisk_client_new_sync(NULL, &error);
  g_mutex_lock(&lock);
  client = mine;
  making->error = error;
  making->done = TRUE;
  g_cond_signal(&made);
  g_mutex_unlock(&lock);
  while (mine != NULL)
    g_main_context_iteration(context, TRUE);
  g_main_context_pop_thread_default(context);
  return NULL;
}

VirtdiskClient *vd_win32_client(GError **error)
{
  static GMutex one_at_a_time;
  G_GNUC_UNUSED g_autoptr(GMutexLocker) first = g_mutex_locker_new(&one_at_a_time);
  G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  Making making = {FALSE, NULL};

  if (client != NULL)
    return client;
  g_thread_unref(g_thread_new("virtdisk-win32", run_in_thread, &making));
  while (!making.done)
    g_cond_wait(&made, &lock);
  if (making.error != NULL)
    g_propagate_error(error, making.error);
  return client;
}

DWORD vd_win32_code(GError *error)
{
  g_autoptr(GError) owned = error;

  if (owned == NULL)
    return ERROR_SUCCESS;
  if (owned->domain == VIRTDISK_ERROR)
    return virtdisk_error_to_win32((VirtdiskError)owned->code);
  return g_error_matches(owned, G_IO_ERROR, G_IO_ERROR_CANCELLED) ? ERROR_OPERATION_ABORTED
                                                                  : ERROR_INTERNAL_ERROR;
}
