/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a name on the bus to a VdIdentity, and to a login session. Main loop only. */
#pragma once

#include <gio/gio.h>

#include "util/identity.h"

/*
 * Asks the bus (GetConnectionCredentials): uid, pid, and UnixGroupIDs where the bus knows them (else gid is
 * VD_GID_INVALID and the opener takes the user database's groups). Remembers an answer until the name leaves
 * the bus. Fails closed: no uid, no identity. Errors: VIRTDISK_ERROR ACCESS_DENIED.
 */
void vd_caller_lookup_async(GDBusConnection *connection, const char *bus_name, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer user_data);
/* (transfer full) */
VdIdentity *vd_caller_lookup_finish(GAsyncResult *result, GError **error);

/* The logind session of the caller ("c2"). Errors: NOT_SUPPORTED (no logind on the bus), NOT_FOUND (no
 * session). */
void vd_caller_session_async(GDBusConnection *connection, VdIdentity *identity, GCancellable *cancellable,
                             GAsyncReadyCallback callback, gpointer user_data);
/* (transfer full) */
char *vd_caller_session_finish(GAsyncResult *result, GError **error);
