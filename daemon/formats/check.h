/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The checker: goes through every structure of an image, read-only, and tells of each fault instead of
 * stopping at the first. What a parser refuses it reports with the parser's own words. The counterpart of
 * Test-VHD; also the judge of the crash tests.
 */
#pragma once

#include "formats/fault.h"
#include "formats/reader.h"

typedef void (*VdFaultSink)(void *user, const VdFault *fault);

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
