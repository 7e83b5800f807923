/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The checker: goes through every structure of an image, read-only, and tells of each fault instead of
 * stopping at the first. What a parser refuses it reports with the parser's own words. The counterpart of
 * Test-VHD; also the judge of the crash tests.
 */
#pragma once

#include "formats/reader.h"

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

typedef void (*VdFaultSink)(void *user, const VdFault *fault);

typedef struct {
  uint64_t counts[VD_FAULT_SERIOUS + 1];
  uint64_t blocks, allocated_blocks; /* of the disk */
  uint64_t leaked;                   /* bytes */
  uint32_t repairable;               /* faults that a repair would mend */
  uint32_t unused;
} VdCheckSummary;

/* device_id: VirtdiskDeviceId. Returns false only if nothing could be checked at all (IO, no such format). */
bool vd_check(const VdReader *reader, uint32_t device_id, VdFaultSink sink, void *user,
              VdCheckSummary *ret_summary, VdFormatError *ret_error);
bool vd_vhd_check(const VdReader *reader, VdFaultSink sink, void *user, VdCheckSummary *ret_summary,
                  VdFormatError *ret_error);
bool vd_vhdx_check(const VdReader *reader, VdFaultSink sink, void *user, VdCheckSummary *ret_summary,
                   VdFormatError *ret_error);

/* What the specification lets one repair: the second copy of a structure from the good one, a lost VHD
 * trailer, a VHDX log replayed. Never guesses at a block's place. fd: borrowed, writable; blocking writes,
 * durable on return. */
bool vd_check_repair(int fd, uint32_t device_id, VdFormatError *ret_error);
bool vd_vhd_repair(int fd, VdFormatError *ret_error);
bool vd_vhdx_repair(int fd, VdFormatError *ret_error);
