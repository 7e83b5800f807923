/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* New raw images: a file of that size, with its space or with a hole. */
#include <inttypes.h>
#include <stdlib.h>

#include "formats/builder.h"
#include "formats/create-file.h"
#include "virtdisk-enums.h"
#include "worker/facts.h"

#define SECTOR_SIZE 512

typedef struct {
  VdBuilder base; /* first member */
  int fd;
} RawBuilder;

static bool place(VdBuilder *base, uint64_t offset, uint64_t *ret_place, VdFormatError *ret_error)
{
  *ret_place = offset;
  return true;
}

static bool finish(VdBuilder *base, VdFormatError *ret_error)
{
  return vd_create_file_sync(((RawBuilder *)base)->fd, ret_error);
}

static void release(VdBuilder *base)
{
  free(base);
}

static bool check_spec(const VdCreateSpec *spec, VdFormatError *ret_error)
{
  if (spec->subtype != VIRTDISK_SUBTYPE_FIXED && spec->subtype != VIRTDISK_SUBTYPE_DYNAMIC)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "subtype",
                               "the new raw image: subtype %u is neither fixed nor dynamic", spec->subtype);
  if (spec->block_size != 0)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "block_size",
                               "the new raw image: block_size is given, it has no blocks");
  if (spec->size < SECTOR_SIZE || spec->size % SECTOR_SIZE != 0 || spec->size > VD_MAX_RAW_SIZE)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_SIZE, 0, "size",
                               "the new raw image: size %" PRIu64 " is not a positive multiple of %d up to "
                               "%" PRIu64,
                               spec->size, SECTOR_SIZE, VD_MAX_RAW_SIZE);
  return true;
}

VdBuilder *vd_raw_builder_new(int fd, const VdCreateSpec *spec, VdFormatError *ret_error)
{
  static const VdBuilderOps ops = {.place = place, .finish = finish, .free = release};
  bool whole = spec->subtype == VIRTDISK_SUBTYPE_FIXED && spec->whole != 0;
  RawBuilder *self;

  if (!check_spec(spec, ret_error) || !vd_create_file_check_empty(fd, ret_error) ||
      !vd_create_file_resize(fd, spec->size, ret_error) ||
      (whole && !vd_create_file_allocate(fd, 0, spec->size, ret_error)))
    return NULL;
  self = calloc(1, sizeof *self);
  if (self == NULL) {
    vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory for a new raw image");
    return NULL;
  }
  *self = (RawBuilder){.base = {.ops = &ops, .size = spec->size, .whole = whole}, .fd = fd};
  return &self->base;
}
