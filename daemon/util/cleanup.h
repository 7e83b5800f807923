/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Scope guards that GLib 2.74 lacks. The undo is owned before the act: declare the guard, then acquire. */
#pragma once

#include <glib.h>
#include <errno.h>
#include <unistd.h>

/* Closes *fd if it is open and sets it to -1; errno is kept. */
static inline void vd_clear_fd(int *fd)
{
  int saved = errno;

  if (*fd >= 0)
    close(*fd);
  *fd = -1;
  errno = saved;
}

/* Gives the descriptor away: returns it and leaves -1 behind. */
static inline int vd_steal_fd(int *fd)
{
  int stolen = *fd;

  *fd = -1;
  return stolen;
}

#define vd_autofd __attribute__((cleanup(vd_clear_fd))) int
