/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/identity.h"

VdIdentity *vd_identity_new(const char *bus_name, uid_t uid, gid_t gid, const gid_t *groups, gsize n_groups,
                            pid_t pid)
{
  VdIdentity *self;

  g_return_val_if_fail(uid != VD_UID_INVALID, NULL);
  g_return_val_if_fail(n_groups <= VD_MAX_GROUPS, NULL);
  self = g_new0(VdIdentity, 1);
  g_atomic_ref_count_init(&self->refs);
  self->bus_name = g_strdup(bus_name);
  self->uid = uid;
  self->gid = gid;
  self->groups = g_memdup2(groups, n_groups * sizeof *groups);
  self->n_groups = n_groups;
  self->pid = pid;
  return self;
}

VdIdentity *vd_identity_ref(VdIdentity *self)
{
  g_atomic_ref_count_inc(&self->refs);
  return self;
}

void vd_identity_unref(VdIdentity *self)
{
  if (!g_atomic_ref_count_dec(&self->refs))
    return;
  g_free(self->bus_name);
  g_free(self->groups);
  g_free(self);
}
