/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "disk-states.h"

#define REFUSED (-1)

/* Rows are states, columns events: ATTACH, ATTACHED, FAILED, ADOPT, DETACH, REFUSED, PENDING, GONE. */
static const gint8 table[VD_N_DISK_STATES][VD_N_DISK_EVENTS] = {
    [VD_DISK_OPEN] = {VD_DISK_ATTACH_PENDING, REFUSED, REFUSED, VD_DISK_ATTACHED, REFUSED, REFUSED, REFUSED,
                      REFUSED},
    [VD_DISK_ATTACH_PENDING] = {REFUSED, VD_DISK_ATTACHED, VD_DISK_OPEN, REFUSED, REFUSED, REFUSED, REFUSED,
                                REFUSED},
    [VD_DISK_ATTACHED] = {REFUSED, REFUSED, REFUSED, REFUSED, VD_DISK_DETACHING, REFUSED, REFUSED,
                          VD_DISK_OPEN},
    [VD_DISK_DETACHING] = {REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, VD_DISK_ATTACHED,
                           VD_DISK_DETACH_PENDING, VD_DISK_OPEN},
    [VD_DISK_DETACH_PENDING] = {REFUSED, REFUSED, REFUSED, REFUSED, VD_DISK_DETACHING, REFUSED, REFUSED,
                                VD_DISK_OPEN},
};

gboolean vd_disk_states_next(VdDiskState state, VdDiskEvent event, VdDiskState *ret_next)
{
  g_return_val_if_fail((guint)state < VD_N_DISK_STATES && (guint)event < VD_N_DISK_EVENTS, FALSE);
  if (table[state][event] == REFUSED)
    return FALSE;
  *ret_next = (VdDiskState)table[state][event];
  return TRUE;
}

const char *vd_disk_state_name(VdDiskState state)
{
  static const char *const names[] = {"open", "attach-pending", "attached", "detaching", "detach-pending"};

  G_STATIC_ASSERT(G_N_ELEMENTS(names) == VD_N_DISK_STATES);
  return (guint)state < G_N_ELEMENTS(names) ? names[state] : "?";
}

const char *vd_disk_event_name(VdDiskEvent event)
{
  static const char *const names[] = {"attach", "attached", "failed",  "adopt",
                                      "detach", "refused",  "pending", "gone"};

  G_STATIC_ASSERT(G_N_ELEMENTS(names) == VD_N_DISK_EVENTS);
  return (guint)event < G_N_ELEMENTS(names) ? names[event] : "?";
}
