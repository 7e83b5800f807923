/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between us and the spawner: one request, one reply, over a SOCK_SEQPACKET pair, in turns. */
#pragma once

#include <stdint.h>

#include "util/spawn.h"

/* The first size - offsetof(text) bytes of text count: arguments, each with its NUL. A descriptor may come
 * along. */
typedef struct {
  uint32_t new_session;
  char text[VD_SPAWN_MAX_TEXT];
} VdSpawnRequest;

typedef struct {
  int32_t error_number; /* positive errno, or 0 */
  int32_t pid;          /* a child of ours, not of the spawner's */
} VdSpawnReply;

/* In a fresh child of ours: never returns. Only calls that are safe between fork and exec. */
_Noreturn void vd_spawner_main(int line);
/* clone(2) that goes on on the same stack, as fork(2) does; flags without an exit signal. */
int vd_spawner_clone(unsigned long flags);
