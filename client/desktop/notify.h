/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Notifications, one for each image: what is said later of the same image takes the place of what was said
 * before. Main loop only, never blocks; a desktop without notifications is told nothing.
 */
#pragma once

#include <gio/gio.h>

#include "work.h"

typedef struct VdNotifier VdNotifier;

/* A button was pressed on the notification of this image. */
typedef void (*VdNotifierFunc)(const char *path, VdNext next, gpointer user_data);

VdNotifier *vd_notifier_new(GDBusConnection *session, VdNotifierFunc pressed, gpointer user_data);
void vd_notifier_free(VdNotifier *self);
/* outcome is not kept. */
void vd_notifier_say(VdNotifier *self, const VdOutcome *outcome);
/* There is nothing to do about this image any more. */
void vd_notifier_withdraw(VdNotifier *self, const char *path);
/* Notifications with a button that are on screen still, or on their way there. */
guint vd_notifier_count_open(VdNotifier *self);
/* Called with user_data whenever that number may have changed. */
void vd_notifier_set_changed(VdNotifier *self, void (*changed)(gpointer user_data));
