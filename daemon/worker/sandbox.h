/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the worker gives up before it reads a byte of an image. The lists stand in sandbox.c and
 * sandbox-calls.c, with reasons. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

typedef enum {
  VD_SANDBOX_FULL,         /* every step must succeed; needs root */
  VD_SANDBOX_UNPRIVILEGED, /* leaves out the steps that need root; for tests and sanitizers only */
} VdSandboxLevel;

typedef enum {
  VD_SANDBOX_PROBE, /* reads one image, answers once */
  VD_SANDBOX_SERVE, /* an io_uring that was narrowed before, and lines to the daemon */
  VD_SANDBOX_TASK,  /* as SERVE, and plain writing calls on its files; one answer */
} VdSandboxPurpose;

typedef enum { VD_SANDBOX_OF_FILE, VD_SANDBOX_OF_DEVICE } VdSandboxObject;

typedef enum { VD_SANDBOX_FILES_READ, VD_SANDBOX_FILES_WRITTEN } VdSandboxFiles;

typedef struct {
  VdSandboxLevel level;
  uid_t uid; /* account of the worker; never 0. Not used with VD_SANDBOX_UNPRIVILEGED. */
  gid_t gid;
  int first_fd; /* descriptors that stay open: first_fd (the first line to the daemon) to last_fd */
  int last_fd;
  VdSandboxPurpose purpose;
  VdSandboxObject object; /* of PROBE: what is looked at */
  /* The rest is not of PROBE. */
  VdSandboxFiles files;
  uint64_t memory;    /* bytes of address space, all of which may be locked */
  unsigned spare_fds; /* lines that may be accepted */
  int listen_fd;      /* -1: none */
  int control_fd;     /* epoll; -1: none */
} VdSandboxPlan;

/*
 * Irreversible, for the calling process, which must have one thread (those of io_uring do not count). Returns
 * NULL, or the name of the step that failed, with errno: the process must then not go on.
 */
const char *vd_sandbox_enter(const VdSandboxPlan *plan);
