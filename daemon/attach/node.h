/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Owner, group and mode of device nodes. A node that was ours goes back to root before another can get it. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
  gboolean set; /* FALSE: the node keeps the system's defaults */
  uid_t uid;
  gid_t gid;
  mode_t mode;
} VdNodeOwner;

/* fd: of the node itself. Errors: IO. Any thread. */
gboolean vd_node_give(int fd, const VdNodeOwner *owner, GError **error);
/* Of the nodes of all partitions of the disk; one that has just gone is left out. */
void vd_node_give_partitions(const char *name, const VdNodeOwner *owner);
/* Back to root, who alone may use a device of unknown content. Only if the owner is still the given one. */
void vd_node_take_back(const char *path, const VdNodeOwner *owner);
