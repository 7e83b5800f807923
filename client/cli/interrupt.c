/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "interrupt.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static gint received; /* atomic */

static sigset_t watched_signals(void)
{
  sigset_t set;

  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

/* Calls block the main thread, so the signals are awaited here; nothing runs in a handler. */
static gpointer wait_in_thread(gpointer data)
{
  g_autoptr(GCancellable) cancellable = data;
  sigset_t set = watched_signals();
  int number;

  while (sigwait(&set, &number) == 0) {
    if (!g_atomic_int_compare_and_exchange(&received, 0, number))
      _exit(128 + number);
    g_cancellable_cancel(cancellable);
  }
  return NULL;
}

void vd_interrupt_watch(GCancellable *cancellable)
{
  sigset_t set = watched_signals();

  pthread_sigmask(SIG_BLOCK, &set, NULL);
  g_thread_unref(g_thread_new("signals", wait_in_thread, g_object_ref(cancellable)));
}

int vd_interrupt_get(void)
{
  return g_atomic_int_get(&received);
}
