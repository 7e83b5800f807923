/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The attachments of lifetime "boot", made again early at boot: no bus, no polkit (it was asked when they
 * were made). */
#pragma once

#include "manager.h"

/* How long an image may take to appear, in milliseconds: its own file system may still be about to be
 * mounted. */
#define VD_BOOT_IMAGE_DEADLINE_MS 60000

/*
 * Attaches every boot record that is not attached already. done is called once, when each is attached or
 * given up; failed: how many were given up (each is logged).
 */
void vd_boot_attach(VdManager *manager, const char *statedir, void (*done)(guint failed, gpointer user_data),
                    gpointer user_data);
