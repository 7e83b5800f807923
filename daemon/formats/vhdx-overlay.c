/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The effects of a log in their order, kept beside the file. Few they are: a lookup goes through them all. */
#include "formats/vhdx-log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "util/checked.h"

typedef struct {
  uint64_t offset, length; /* bytes */
  uint8_t *page;           /* NULL: zeros */
} Effect;

struct VdVhdxOverlay {
  Effect *effects;
  unsigned n_effects;
  uint64_t kept; /* bytes of pages */
  uint64_t end;  /* bytes: where the file must end at least */
};

void vd_vhdx_overlay_free(VdVhdxOverlay *self)
{
  if (self == NULL)
    return;
  for (unsigned i = 0; i < self->n_effects; i++)
    free(self->effects[i].page);
  free(self->effects);
  free(self);
}

static void overlay_clear(VdVhdxOverlay **self)
{
  vd_vhdx_overlay_free(*self);
}

static bool no_memory(uint64_t offset, VdFormatError *ret_error)
{
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, offset, "",
                             "no memory for what the VHDX log writes at offset %" PRIu64, offset);
}

/* Room for one more; grows by doubling. */
static bool make_room(VdVhdxOverlay *self)
{
  Effect *more;

  if (self->n_effects != 0 && (self->n_effects < 64 || (self->n_effects & (self->n_effects - 1)) != 0))
    return true;
  more = realloc(self->effects, (self->n_effects == 0 ? 64 : self->n_effects * 2) * sizeof *more);
  if (more != NULL)
    self->effects = more;
  return more != NULL;
}

static bool keep(void *user, uint64_t offset, uint64_t length, const uint8_t *data, VdFormatError *ret_error)
{
  VdVhdxOverlay *self = user;
  uint8_t *page = NULL;

  if (self->n_effects == VD_VHDX_MAX_OVERLAY_EFFECTS || self->kept > VD_VHDX_MAX_OVERLAY - VD_VHDX_PAGE)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NOT_SUPPORTED, offset, "",
                               "the VHDX log has more to replay than the %" PRIu64
                               " MiB that a read-only open keeps in memory",
                               VD_VHDX_MAX_OVERLAY / VD_VHDX_MIB);
  if (!make_room(self))
    return no_memory(offset, ret_error);
  if (data != NULL) {
    page = malloc(VD_VHDX_PAGE);
    if (page == NULL)
      return no_memory(offset, ret_error);
    memcpy(page, data, VD_VHDX_PAGE);
    self->kept += VD_VHDX_PAGE;
    self->end = self->end < offset + VD_VHDX_PAGE ? offset + VD_VHDX_PAGE : self->end;
  }
  self->effects[self->n_effects++] = (Effect){offset, length, page};
  return true;
}

VdVhdxOverlay *vd_vhdx_overlay_new(const VdReader *reader, const VdVhdxHeader *header,
                                   VdFormatError *ret_error)
{
  VdVhdxOverlay *self __attribute__((cleanup(overlay_clear))) = calloc(1, sizeof *self), *done;
  VdVhdxLogSummary summary;

  if (self == NULL) {
    no_memory(header->log_offset, ret_error);
    return NULL;
  }
  if (!vd_vhdx_log_replay(reader, header, keep, self, &summary, ret_error))
    return NULL;
  if (self->end < summary.last_file_offset)
    self->end = summary.last_file_offset;
  done = self;
  self = NULL;
  return done;
}

void vd_vhdx_overlay_apply(const VdVhdxOverlay *self, uint64_t offset, uint8_t *data, size_t length)
{
  uint64_t end = offset + length;

  for (unsigned i = 0; self != NULL && i < self->n_effects; i++) {
    const Effect *effect = &self->effects[i];
    uint64_t from = effect->offset > offset ? effect->offset : offset;
    uint64_t to = effect->offset + effect->length < end ? effect->offset + effect->length : end;

    if (from >= to)
      continue;
    if (effect->page != NULL)
      memcpy(&data[from - offset], &effect->page[from - effect->offset], to - from);
    else
      memset(&data[from - offset], 0, to - from);
  }
}

uint64_t vd_vhdx_overlay_next(const VdVhdxOverlay *self, uint64_t offset)
{
  uint64_t next = UINT64_MAX;

  for (unsigned i = 0; self != NULL && i < self->n_effects; i++) {
    const Effect *effect = &self->effects[i];
    uint64_t from = effect->offset > offset ? effect->offset : offset;

    if (effect->offset + effect->length > offset && from < next)
      next = from;
  }
  return next;
}

uint64_t vd_vhdx_overlay_file_size(const VdVhdxOverlay *self, uint64_t file_size)
{
  return self != NULL && self->end > file_size ? self->end : file_size;
}

bool vd_vhdx_overlay_read(const VdVhdxOverlay *self, const VdReader *reader, const char *structure,
                          uint64_t offset, uint8_t *buffer, size_t length, VdSpan *ret_span,
                          VdFormatError *ret_error)
{
  size_t there = length;

  if (self == NULL)
    return vd_reader_read(reader, structure, offset, buffer, length, ret_span, ret_error);
  if (vd_range_within(offset, length, vd_vhdx_overlay_file_size(self, reader->size)) &&
      !vd_range_within(offset, length, reader->size))
    there = offset < reader->size ? reader->size - offset : 0;
  if (there > 0 && !vd_reader_read(reader, structure, offset, buffer, there, ret_span, ret_error))
    return false;
  memset(&buffer[there], 0, length - there);
  vd_vhdx_overlay_apply(self, offset, buffer, length);
  *ret_span = (VdSpan){.structure = structure, .data = buffer, .length = length, .file_offset = offset};
  return true;
}
