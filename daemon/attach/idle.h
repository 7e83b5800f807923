/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When a disk may have lost its last holder. The kernel tells of closed nodes, and of mounts that go in our
 * own mount namespace; of the rest it tells nothing, so there is a look now and then as well. Main loop only.
 */
#pragma once

#include <glib.h>

/* Milliseconds between looks that nothing has asked for. */
#define VD_IDLE_LOOK_MS 2000

typedef struct VdIdleWatch VdIdleWatch;

/* func is called once, and may free the watch. name: kernel name of the disk. */
VdIdleWatch *vd_idle_watch_new(const char *name, void (*func)(gpointer user_data), gpointer user_data);
void vd_idle_watch_free(VdIdleWatch *self);
