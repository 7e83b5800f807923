/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The attachments of lifetime "boot", made again early at boot: no bus, no polkit (it was asked when they
 * were made). */
#pragma once

#include "manager.h"

/* How long an image may take to appear if nobody says otherwise, in seconds: its own file system may still be
 * about to be mounted. */
#define VD_BOOT_WAIT_SECONDS 60

/*
 * Attaches every boot record that is not attached already. done is called once, when each is attached or
 * given up; failed: how many were given up (each is logged). wait: seconds.
 */
void vd_boot_attach(VdManager *manager, const char *statedir, guint wait,
                    void (*done)(guint failed, gpointer user_data), gpointer user_data);
