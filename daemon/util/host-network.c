/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/host-network.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include "util/cleanup.h"

static gboolean is_same_file(int a, int b)
{
  struct stat first, second;

  return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

int vd_host_network_enter(void)
{
  vd_autofd own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  vd_autofd host = open("/proc/1/ns/net", O_RDONLY | O_CLOEXEC);

  /* Without privilege (tests) nobody has put us anywhere else. */
  if (own < 0 || host < 0 || is_same_file(own, host))
    return -1;
  if (setns(host, CLONE_NEWNET) < 0) {
    g_warning("Cannot enter the host's network, so what udev says is not heard: %s", g_strerror(errno));
    return -1;
  }
  return vd_steal_fd(&own);
}

void vd_host_network_leave(int *back)
{
  vd_autofd own = *back;

  *back = -1;
  if (own >= 0 && setns(own, CLONE_NEWNET) < 0)
    g_error("Cannot leave the host's network: %s", g_strerror(errno));
}
