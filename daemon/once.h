/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One attachment made or ended for mount.virtdisk(8) while there is no bus: early at boot and late in a
 * shutdown. No polkit: only root starts it. Main loop only. */
#pragma once

#include "manager.h"

/* How long another virtdiskd without a bus may have the run directory to itself, in seconds; within the time
 * that systemd gives a mount. */
#define VD_ONCE_WAIT_SECONDS 60

typedef struct {
  const char *path; /* absolute, bytes; borrowed until done is called, as is route */
  gboolean read_only;
  gboolean cached;     /* CACHED_IO */
  guint32 device_id;   /* 0: by the extension */
  guint32 sector_size; /* 0: the image's */
  const char *route;   /* or NULL */
} VdOnceWishes;

/* disk: borrowed, NULL with error (borrowed too). added: it was not attached before. */
typedef void (*VdOnceAttached)(VdDisk *disk, gboolean added, const GError *error, gpointer user_data);
/* Attaches until the last file system of the disk is unmounted; what is attached already is found. */
void vd_once_attach(VdManager *manager, const VdOnceWishes *wishes, VdOnceAttached done, gpointer user_data);

/* Ends an attachment that was to last until its last file system is unmounted, if it was; leaves every other
 * one. error: NULL if it is gone, or is to stay. Errors: BUSY, NOT_FOUND (no disk of ours) and others of
 * detaching. */
typedef void (*VdOnceDetached)(const GError *error, gpointer user_data);
void vd_once_detach(VdManager *manager, const char *device, VdOnceDetached done, gpointer user_data);
