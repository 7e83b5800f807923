/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "formats/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checker.h"
#include "formats/registry.h"
#include "virtdisk-enums.h"

void vd_checker_tell(VdChecker *self, VdFaultKind kind, VdRepairable repairable, const VdFormatError *error)
{
  VdFault fault = {.kind = kind, .repairable = repairable == VD_CAN_REPAIR, .error = *error};

  self->summary->counts[kind]++;
  self->summary->repairable += fault.repairable;
  if (self->told++ < VD_CHECK_MAX_FAULTS)
    self->sink(self->user, &fault);
}

void vd_checker_say(VdChecker *self, VdFaultKind kind, VdRepairable repairable, uint64_t offset,
                    const char *field, const char *format, ...)
{
  VdFormatError error;
  char text[sizeof error.text];
  va_list args;

  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  vd_format_error_set(&error, VIRTDISK_ERROR_FILE_CORRUPT, offset, field, "%s", text);
  vd_checker_tell(self, kind, repairable, &error);
}

static void free_facts(VdFacts **facts)
{
  free(*facts);
}

/* A format of one piece: what its probe says is all there is to check. */
static bool check_by_probe(const VdReader *reader, uint32_t device_id, VdFaultSink sink, void *user,
                           VdCheckSummary *summary)
{
  VdChecker checker = {.sink = sink, .user = user, .summary = summary};
  const VdFormat *format = vd_format_lookup(device_id);
  VdFacts *facts __attribute__((cleanup(free_facts))) = calloc(1, sizeof *facts);
  VdFormatError error;

  if (facts != NULL && !format->probe(reader, facts, &error))
    vd_checker_tell(&checker, VD_FAULT_SERIOUS, VD_CANNOT_REPAIR, &error);
  return facts != NULL;
}

bool vd_check(const VdReader *reader, uint32_t device_id, VdFaultSink sink, void *user,
              VdCheckSummary *ret_summary, VdFormatError *ret_error)
{
  memset(ret_summary, 0, sizeof *ret_summary);
  switch (device_id) {
  case VIRTDISK_DEVICE_VHD:
    return vd_vhd_check(reader, sink, user, ret_summary, ret_error);
  case VIRTDISK_DEVICE_VHDX:
    return vd_vhdx_check(reader, sink, user, ret_summary, ret_error);
  case VIRTDISK_DEVICE_ISO:
  case VIRTDISK_DEVICE_RAW:
    return check_by_probe(reader, device_id, sink, user, ret_summary) ||
           vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory to check the image");
  default:
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_PROVIDER_NOT_FOUND, 0, "",
                               "device id %u is not served by this version", device_id);
  }
}

bool vd_check_repair(int fd, uint32_t device_id, VdFormatError *ret_error)
{
  if (device_id == VIRTDISK_DEVICE_VHD)
    return vd_vhd_repair(fd, ret_error);
  if (device_id == VIRTDISK_DEVICE_VHDX)
    return vd_vhdx_repair(fd, ret_error);
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_NOT_SUPPORTED, 0, "",
                             "device id %u has nothing that could be repaired", device_id);
}
