/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who asks: the rights a file is opened with and the account a resource is charged to. Immutable once made.
 */
#pragma once

#include <gio/gio.h>
#include <sys/types.h>

#define VD_UID_INVALID ((uid_t)-1)
#define VD_GID_INVALID ((gid_t)-1)
/* Ceiling of supplementary groups taken over (Linux' NGROUPS_MAX). */
#define VD_MAX_GROUPS 65536

typedef struct VdIdentity VdIdentity;

struct VdIdentity {
  gatomicrefcount refs;
  char *bus_name; /* unique name on the bus; NULL for the service itself (boot) */
  uid_t uid;      /* never VD_UID_INVALID */
  gid_t gid;      /* VD_GID_INVALID: the opener takes the user database's */
  gid_t *groups;  /* NULL with n_groups 0 and gid VD_GID_INVALID: the opener asks the user database */
  gsize n_groups;
  pid_t pid; /* for display and for finding the login session; never for a decision. 0: unknown */
};

/* bus_name may be NULL; groups is copied. Any thread. */
VdIdentity *vd_identity_new(const char *bus_name, uid_t uid, gid_t gid, const gid_t *groups, gsize n_groups,
                            pid_t pid);
VdIdentity *vd_identity_ref(VdIdentity *self);
void vd_identity_unref(VdIdentity *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdIdentity, vd_identity_unref)
