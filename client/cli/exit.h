/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Exit codes: the one table, also printed by --help; virtdisk(1) explains them. */
#pragma once

#include <glib.h>

typedef enum {
  VD_EXIT_OK = 0,
  VD_EXIT_FAILURE = 1,
  VD_EXIT_USAGE = 2,
  VD_EXIT_NOT_AUTHORISED = 3,
  VD_EXIT_NOT_FOUND = 4,
  VD_EXIT_BUSY = 5,
  VD_EXIT_NOT_AVAILABLE = 6,
  VD_EXIT_UNUSABLE_IMAGE = 7,
  VD_EXIT_MINOR_FAULTS = 8,
  VD_EXIT_SERIOUS_FAULTS = 9,
  VD_EXIT_SIGINT = 130,
  VD_EXIT_SIGTERM = 143,
} VdExit;

typedef struct {
  VdExit code;
  const char *meaning; /* begins as in virtdisk(1) */
} VdExitRow;

/* Errors of the command itself; the code is a VdExit. */
#define VD_EXIT_ERROR (vd_exit_error_quark())
GQuark vd_exit_error_quark(void);

const VdExitRow *vd_exit_get_table(gsize *ret_n);
/* error: of any domain, not NULL. */
VdExit vd_exit_from_error(const GError *error);
