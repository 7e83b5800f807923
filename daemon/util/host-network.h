/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The host's network, for a moment. The unit keeps the service out of it (PrivateNetwork=), but only there
 * does udev tell what it does, and only there are the host's addresses. A socket stays in the network that it
 * was opened in. Must never be held over anything but opening a socket or listing addresses.
 */
#pragma once

/*
 * Moves the calling thread to the network of process 1. Returns a descriptor of the network to go back to,
 * for vd_host_network_leave(); or -1 if the thread is there already, or may not go there (then a warning is
 * logged, and the caller goes on where it is). Any thread; affects that thread only.
 */
int vd_host_network_enter(void);
/* Moves the calling thread back and closes *back; -1 is fine. Ends the process if there is no way back. */
void vd_host_network_leave(int *back);

/* vd_in_host_network back = vd_host_network_enter(); holds until the end of the scope. */
#define vd_in_host_network __attribute__((cleanup(vd_host_network_leave), unused)) int
