/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The service of the desktop: one for each user, on the session bus, started when it is needed. It remembers
 * what was opened through it, speaks of it, and ends some seconds after there is nothing left to speak of.
 * Disks outlast it: they belong to the login session (open.c says where not).
 */
#pragma once

#include <gio/gio.h>

#define VD_DESKTOP_NAME "org.virtdisk1.Desktop"

/* flags: G_APPLICATION_IS_SERVICE, or G_APPLICATION_IS_LAUNCHER for who only sends a command line. (transfer
 * full) */
GApplication *vd_desktop_application_new(GApplicationFlags flags);
/* Makes the application carry out what it is sent; ends with it. */
void vd_desktop_serve(GApplication *application);
