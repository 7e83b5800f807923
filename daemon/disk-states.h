/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The life of a disk as a table: every pair of state and event is either a transition or a refusal. Pure. */
#pragma once

#include <glib.h>

/* Words after VDS_VDISK_STATE (MS-VDS 2.2.2.23.1.1). */
typedef enum {
  VD_DISK_OPEN,           /* no device */
  VD_DISK_ATTACH_PENDING, /* the kernel is being asked; owed on failure: record and device undone by the
                             attaching code */
  VD_DISK_ATTACHED,
  VD_DISK_DETACHING,      /* the kernel is being asked to let go */
  VD_DISK_DETACH_PENDING, /* still held; the kernel drops the device when the last holder goes */
  VD_N_DISK_STATES
} VdDiskState;

typedef enum {
  VD_EVENT_ATTACH,   /* somebody asks for a device */
  VD_EVENT_ATTACHED, /* it is there */
  VD_EVENT_FAILED,   /* it could not be had; everything is undone already */
  VD_EVENT_ADOPT,    /* found again after a restart */
  VD_EVENT_DETACH,   /* somebody asks to let go */
  VD_EVENT_REFUSED,  /* the device is busy and stays */
  VD_EVENT_PENDING,  /* the device is busy and goes when it is not */
  VD_EVENT_GONE,     /* the kernel has dropped it, whoever asked */
  VD_N_DISK_EVENTS
} VdDiskEvent;

/* FALSE: not legal in this state; ret_next is not touched. */
gboolean vd_disk_states_next(VdDiskState state, VdDiskEvent event, VdDiskState *ret_next);
const char *vd_disk_state_name(VdDiskState state);
const char *vd_disk_event_name(VdDiskEvent event);
