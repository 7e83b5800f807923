/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors that come with messages. A close asks the file system (FUSE_FLUSH), which may be a user's
 * process that does not answer; GDBus closes what is left of a message on the main loop or in the thread that
 * reads the bus, and anybody may add descriptors to any message. So they are taken from each message as it
 * comes, and closed in threads.
 */
#pragma once

#include <gio/gio.h>

/* Takes them from all messages that come from now on. Returns: for g_dbus_connection_remove_filter(). */
guint vd_descriptors_take_over(GDBusConnection *connection);

/* The one with this number, the caller's to close (vd_offload_close()); each is had once. Errors:
 * INVALID_PARAMETER. */
int vd_descriptors_take(GDBusMessage *message, gint32 number, GError **error);
