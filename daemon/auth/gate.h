/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The only file that knows polkit. Deny by default: an error, no polkit on the bus, a vanished caller are all
 * "no", except for uid 0, which is not asked. No lock is held and no state changed while a person thinks;
 * whoever asks looks everything up again afterwards. Main loop only, never blocks.
 */
#pragma once

#include <gio/gio.h>

#include "auth/quota.h"
#include "util/identity.h"

typedef struct VdGate VdGate;

/* What is to be done, for the actions asked and for polkit's details: an administrator's rule can decide on
 * each. */
typedef struct {
  const char *actions[4]; /* NULL-terminated; all must be granted */
  const char *path;       /* display form */
  const char *format;     /* iso, raw, vhd */
  const char *access;     /* read-only, read-write */
  const char *lifetime;   /* handle, session, permanent, boot */
  const char *device;     /* when there is one, else NULL */
  const char *origin_url; /* or NULL */
  uid_t file_owner;       /* VD_UID_INVALID: no file */
} VdAsk;

/* quota must live as long as the gate. */
VdGate *vd_gate_new(GDBusConnection *connection, VdQuota *quota);
/* Who still asks is told OPERATION_ABORTED. */
void vd_gate_free(VdGate *self);

/*
 * ask is copied; it names at least one action (none is denied, too: an examiner that needs nothing does not
 * ask). polkit is first asked without interaction, and again with it only if that would change the answer.
 * The question is withdrawn when the caller leaves the bus. interactive: the caller's message carried
 * ALLOW_INTERACTIVE_AUTHORIZATION. Errors: VIRTDISK_ERROR PRIVILEGE_NOT_HELD, AUTHORIZATION_REQUIRED (would
 * be granted after a question that was not allowed), AUTHORIZATION_DISMISSED, LIMIT_EXCEEDED (too many open
 * prompts), OPERATION_ABORTED. Each names the action.
 */
void vd_gate_ask_async(VdGate *self, VdIdentity *identity, const VdAsk *ask, gboolean interactive,
                       GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
gboolean vd_gate_ask_finish(VdGate *self, GAsyncResult *result, GError **error);
