/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The end of all attachments when the machine goes down, after the service has ended and file systems were
 * unmounted: no bus, no polkit. */
#pragma once

#include "manager.h"

/*
 * Detaches every disk, inner ones before those on which their images lie. What is still mounted on one is
 * unmounted; nothing else that holds a disk is ended. done is called once, when no more can be detached;
 * left: how many stay (each is logged, and its worker prepared for being killed). Boot records stay. To be
 * called after vd_manager_set_ending() and vd_manager_restore().
 */
void vd_detach_all(VdManager *manager, void (*done)(guint left, gpointer user_data), gpointer user_data);
