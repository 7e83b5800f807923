/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a blocking function waits for its async sister: in a main context that nobody else knows, so that no
 * callback of the program runs meanwhile. A call that was cancelled but whose answer still matters (a handle
 * that nobody would close) holds the wait; then a thread runs the context until the answer has come.
 */
#include "private.h"

struct VdWait {
  GMainContext *context;
  GAsyncResult *result;
  VdWait *outer;
  gint holds; /* touched only by the thread that runs the context */
};

static GPrivate current_wait;

static void wait_clear(gpointer data)
{
  VdWait *wait = data;

  g_clear_object(&wait->result);
  g_main_context_unref(wait->context);
}

VdWait *vd_wait_begin(void)
{
  VdWait *wait = g_atomic_rc_box_new0(VdWait);

  wait->context = g_main_context_new();
  wait->outer = g_private_get(&current_wait);
  g_main_context_push_thread_default(wait->context);
  g_private_set(&current_wait, wait);
  return wait;
}

void vd_wait_done(GObject *source, GAsyncResult *result, gpointer data)
{
  VdWait *wait = data;

  wait->result = g_object_ref(result);
}

static gpointer drain_in_thread(gpointer data)
{
  VdWait *wait = data;

  g_main_context_push_thread_default(wait->context);
  while (wait->holds > 0)
    g_main_context_iteration(wait->context, TRUE);
  g_main_context_pop_thread_default(wait->context);
  g_atomic_rc_box_release_full(wait, wait_clear);
  return NULL;
}

GAsyncResult *vd_wait_end(VdWait *wait)
{
  GAsyncResult *result;

  while (wait->result == NULL)
    g_main_context_iteration(wait->context, TRUE);
  result = g_steal_pointer(&wait->result);
  /* What the call left behind (the unreference of its source) is run now rather than dropped with the
   * context. */
  while (g_main_context_iteration(wait->context, FALSE))
    ;
  g_private_set(&current_wait, wait->outer);
  g_main_context_pop_thread_default(wait->context);
  if (wait->holds > 0)
    g_thread_unref(g_thread_new("virtdisk-late", drain_in_thread, wait));
  else
    g_atomic_rc_box_release_full(wait, wait_clear);
  return result;
}

VdWait *vd_wait_hold(void)
{
  VdWait *wait = g_private_get(&current_wait);

  if (wait == NULL || g_main_context_get_thread_default() != wait->context)
    return NULL;
  wait->holds++;
  return g_atomic_rc_box_acquire(wait);
}

void vd_wait_release(VdWait *wait)
{
  if (wait == NULL)
    return;
  wait->holds--;
  g_atomic_rc_box_release_full(wait, wait_clear);
}
