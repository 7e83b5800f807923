/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the worker gives up before it reads a byte of an image. The list stands in sandbox.c, with reasons. */
#pragma once

#include <sys/types.h>

typedef enum {
  VD_SANDBOX_FULL,         /* every step must succeed; needs root */
  VD_SANDBOX_UNPRIVILEGED, /* leaves out the steps that need root; for tests and sanitizers only */
} VdSandboxLevel;

typedef struct {
  VdSandboxLevel level;
  uid_t uid; /* account of the worker; never 0. Not used with VD_SANDBOX_UNPRIVILEGED. */
  gid_t gid;
  int first_fd; /* descriptors that stay open: first_fd to last_fd */
  int last_fd;
} VdSandboxPlan;

/*
 * Irreversible, for the calling process, which must have one thread. Returns NULL, or the name of the step
 * that failed, with errno: the process must then not go on.
 */
const char *vd_sandbox_enter(const VdSandboxPlan *plan);
