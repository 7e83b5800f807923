/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ctrl-C and SIGTERM: cancel what is under way, so that it is undone; a second one ends the process at once.
 */
#pragma once

#include <gio/gio.h>

/* Call once, before anything else starts a thread. cancellable is cancelled from a thread of its own. */
void vd_interrupt_watch(GCancellable *cancellable);
/* The signal that came, or 0. Any thread. */
int vd_interrupt_get(void);
