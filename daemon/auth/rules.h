/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may call what: one row per method. A method without a row is refused. */
#pragma once

#include <glib.h>

typedef enum {
  VD_MAY_ANYONE,    /* file rights only, checked by the opener or by the descriptor */
  VD_MAY_OWNER,     /* the handle's owner, nobody else */
  VD_MAY_JOB_OWNER, /* the user whose job it is; others where the row has an action, which they need */
} VdMay;

typedef struct {
  const char *interface;
  const char *method;
  VdMay may;
  gboolean counted; /* charges VD_QUOTA_REQUESTS while in flight */
  /* Every polkit action that the call may need, NULL-terminated; which of them, its examiner says (bus/).
   * Empty: none. */
  const char *actions[4];
} VdRule;

const VdRule *vd_rules_get(gsize *ret_n);
/* NULL: no such row, so the call is refused. */
const VdRule *vd_rules_find(const char *interface, const char *method);
