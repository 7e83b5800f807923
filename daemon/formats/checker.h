/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the checkers of the formats share: telling of a fault, and counting it. */
#pragma once

#include "formats/check.h"

typedef struct {
  VdFaultSink sink;
  void *user;
  VdCheckSummary *summary;
  uint64_t told;
} VdChecker;

typedef enum { VD_CANNOT_REPAIR, VD_CAN_REPAIR } VdRepairable;

/* Beyond VD_CHECK_MAX_FAULTS it only counts. */
void vd_checker_tell(VdChecker *self, VdFaultKind kind, VdRepairable repairable, const VdFormatError *error);
void vd_checker_say(VdChecker *self, VdFaultKind kind, VdRepairable repairable, uint64_t offset,
                    const char *field, const char *format, ...) __attribute__((format(printf, 6, 7)));
