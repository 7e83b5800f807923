/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unmounting by force: every mount of a disk and its partitions, in every mount namespace that can be
 * entered; the service's own may be another one than its users'. Never lazily: a file system that stays in
 * use stays mounted. */
#pragma once

#include <glib.h>

/* Blocking: writes back what is dirty. Returns how many mounts were undone. Any thread (it makes its own). */
guint vd_unmount_all(const char *name);
