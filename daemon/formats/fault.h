/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a checker finds: plain structs without pointers, so that they can cross a socket. No GLib in here. */
#pragma once

#include "formats/error.h"

/* Ceiling of the faults that are told one by one; the rest is counted. */
#define VD_CHECK_MAX_FAULTS 1000

typedef enum {
  VD_FAULT_NOTE,   /* legal, but worth knowing: a log to replay, the gap that a power cut left */
  VD_FAULT_LEAK,   /* space that nothing refers to */
  VD_FAULT_MINOR,  /* wrong, but nothing of the disk is lost: one of two copies is damaged */
  VD_FAULT_SERIOUS /* data of the disk cannot be trusted, or the image cannot be opened */
} VdFaultKind;

typedef struct {
  uint32_t kind;       /* VdFaultKind */
  uint32_t repairable; /* 1: vd_check_repair() mends it */
  VdFormatError error; /* offset, field, text */
} VdFault;

typedef struct {
  uint64_t counts[VD_FAULT_SERIOUS + 1];
  uint64_t blocks, allocated_blocks; /* of the disk */
  uint64_t leaked;                   /* bytes */
  uint32_t repairable;               /* faults that a repair would mend */
  uint32_t unused;
} VdCheckSummary;
