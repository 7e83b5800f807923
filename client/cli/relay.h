/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two sockets made one: what comes in at one goes out at the other, in both directions. */
#pragma once

#include <glib.h>

typedef enum {
  VD_RELAY_OVER,    /* the server's end has no more to say, or the client is gone */
  VD_RELAY_STOPPED, /* there was something to read at one of the others */
} VdRelayEnd;

/* Blocks. client, server: stream sockets, borrowed. stop: n descriptors (at most 2), of which -1 is none. */
VdRelayEnd vd_relay_run(int client, int server, const int *stop, gsize n);
