/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The array of formats and the one way in. */
#include "formats/registry.h"

#include <string.h>

#include "formats/content.h"

/* Order does not matter: the caller names the format. */
static const VdFormat *const formats[] = {&vd_format_iso, &vd_format_vhd, &vd_format_vhdx, &vd_format_raw};

const VdFormat *vd_format_lookup(uint32_t device_id)
{
  for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
    if (formats[i]->device_id == device_id)
      return formats[i];
  return NULL;
}

bool vd_format_probe(int fd, uint32_t device_id, VdContentWish wish, VdFacts *ret_facts,
                     VdFormatError *ret_error)
{
  const VdFormat *format = vd_format_lookup(device_id);
  VdReader reader;

  if (format == NULL)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_PROVIDER_NOT_FOUND, 0, "",
                               "device id %u is not served by this version", device_id);
  if (!vd_reader_init(&reader, fd, ret_error))
    return false;
  memset(ret_facts, 0, sizeof *ret_facts);
  ret_facts->device_id = device_id;
  ret_facts->file_size = reader.size;
  if (!format->probe(&reader, ret_facts, ret_error))
    return false;
  /* What lies behind a map is looked at once it is a device. */
  if (wish == VD_CONTENT_LOOK && ret_facts->linear != 0)
    vd_content_scan(fd, format->scan, ret_facts);
  return true;
}
