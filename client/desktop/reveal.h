/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Showing folders in the user's file manager. Main loop only, never blocks. */
#pragma once

#include <gio/gio.h>

/* folders: element char*, absolute paths. startup_id: of what the user pressed, or "". context: for a file
 * manager that is not on the bus. Ends in callback; a
 * failure is G_IO_ERROR or G_DBUS_ERROR: no file manager at all. */
void vd_reveal_async(GDBusConnection *session, GPtrArray *folders, const char *startup_id,
                     GAppLaunchContext *context, GAsyncReadyCallback callback, gpointer user_data);
gboolean vd_reveal_finish(GAsyncResult *result, GError **error);
