/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a log does to the file, kept beside it. A log may say the same over and over, so its effects are made
 * to lie beside each other before anything is looked up. */
#include "formats/vhdx-log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "util/checked.h"

typedef struct {
  uint64_t offset, length; /* bytes, multiples of VD_VHDX_PAGE */
  uint8_t *page;           /* NULL: zeros */
} Effect;

struct VdVhdxOverlay {
  Effect *effects; /* in the log's order; once all are there by offset, and none over another */
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

/* The file between the edges of all effects. */
typedef struct {
  uint64_t *edges; /* bytes, ascending */
  unsigned n_edges;
  unsigned *owner; /* of the stretch behind each edge: its effect, or NOBODY */
  unsigned *next;  /* the first stretch from there on that may have no owner yet */
} Stretches;

#define NOBODY UINT32_MAX

static void stretches_clear(Stretches *self)
{
  free(self->edges);
  free(self->owner);
  free(self->next);
}

static int compare_edges(const void *a, const void *b)
{
  const uint64_t *one = a, *other = b;

  return (*one > *other) - (*one < *other);
}

static bool stretches_init(Stretches *self, const VdVhdxOverlay *overlay)
{
  unsigned n = 2 * overlay->n_effects;

  self->edges = calloc(n, sizeof *self->edges);
  self->owner = calloc(n, sizeof *self->owner);
  self->next = calloc(n, sizeof *self->next);
  if (self->edges == NULL || self->owner == NULL || self->next == NULL)
    return false;
  for (unsigned i = 0; i < overlay->n_effects; i++) {
    self->edges[2 * i] = overlay->effects[i].offset;
    self->edges[2 * i + 1] = overlay->effects[i].offset + overlay->effects[i].length;
  }
  qsort(self->edges, n, sizeof *self->edges, compare_edges);
  for (unsigned i = 0; i < n; i++)
    if (i == 0 || self->edges[i] != self->edges[self->n_edges - 1])
      self->edges[self->n_edges++] = self->edges[i];
  for (unsigned i = 0; i < self->n_edges; i++) {
    self->owner[i] = NOBODY;
    self->next[i] = i;
  }
  return true;
}

static unsigned find_edge(const Stretches *self, uint64_t edge)
{
  const uint64_t *found = bsearch(&edge, self->edges, self->n_edges, sizeof edge, compare_edges);

  return (unsigned)(found - self->edges);
}

static unsigned next_free(Stretches *self, unsigned i)
{
  while (self->next[i] != i) {
    self->next[i] = self->next[self->next[i]];
    i = self->next[i];
  }
  return i;
}

/* Gives an effect what no later one has. */
static void claim(Stretches *self, const Effect *effect, unsigned number)
{
  unsigned end = find_edge(self, effect->offset + effect->length);

  for (unsigned i = next_free(self, find_edge(self, effect->offset)); i < end; i = next_free(self, i)) {
    self->owner[i] = number;
    self->next[i] = i + 1;
  }
}

/* A page is one stretch. Moves it. */
static void append(VdVhdxOverlay *to, uint64_t offset, uint64_t length, uint8_t **page)
{
  Effect *last = to->n_effects > 0 ? &to->effects[to->n_effects - 1] : NULL;

  if (*page == NULL && last != NULL && last->page == NULL && last->offset + last->length == offset)
    last->length += length;
  else
    to->effects[to->n_effects++] = (Effect){offset, length, *page};
  *page = NULL;
}

/* Of effects that lie over each other the last one counts. The time is that of sorting them. */
static bool settle(VdVhdxOverlay *self)
{
  Stretches stretches __attribute__((cleanup(stretches_clear))) = {0};
  VdVhdxOverlay settled = {.n_effects = 0};

  if (self->n_effects == 0)
    return true;
  settled.effects = calloc(2 * (size_t)self->n_effects, sizeof *settled.effects);
  if (settled.effects == NULL || !stretches_init(&stretches, self)) {
    free(settled.effects);
    return false;
  }
  for (unsigned i = self->n_effects; i-- > 0;)
    claim(&stretches, &self->effects[i], i);
  for (unsigned i = 0; i + 1 < stretches.n_edges; i++)
    if (stretches.owner[i] != NOBODY)
      append(&settled, stretches.edges[i], stretches.edges[i + 1] - stretches.edges[i],
             &self->effects[stretches.owner[i]].page);
  for (unsigned i = 0; i < self->n_effects; i++)
    free(self->effects[i].page);
  free(self->effects);
  self->effects = settled.effects;
  self->n_effects = settled.n_effects;
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
  if (!settle(self)) {
    no_memory(header->log_offset, ret_error);
    return NULL;
  }
  if (self->end < summary.last_file_offset)
    self->end = summary.last_file_offset;
  done = self;
  self = NULL;
  return done;
}

/* The first effect that ends behind offset. self may be NULL. */
static unsigned first_behind(const VdVhdxOverlay *self, uint64_t offset)
{
  unsigned low = 0, high = self != NULL ? self->n_effects : 0;

  while (low < high) {
    unsigned middle = low + (high - low) / 2;

    if (self->effects[middle].offset + self->effects[middle].length > offset)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

void vd_vhdx_overlay_apply(const VdVhdxOverlay *self, uint64_t offset, uint8_t *data, size_t length)
{
  uint64_t end = offset + length;

  for (unsigned i = first_behind(self, offset); self != NULL && i < self->n_effects; i++) {
    const Effect *effect = &self->effects[i];
    uint64_t from = effect->offset > offset ? effect->offset : offset;
    uint64_t to = effect->offset + effect->length < end ? effect->offset + effect->length : end;

    if (from >= to)
      return;
    if (effect->page != NULL)
      memcpy(&data[from - offset], &effect->page[from - effect->offset], to - from);
    else
      memset(&data[from - offset], 0, to - from);
  }
}

uint64_t vd_vhdx_overlay_next(const VdVhdxOverlay *self, uint64_t offset)
{
  unsigned i = first_behind(self, offset);

  if (self == NULL || i == self->n_effects)
    return UINT64_MAX;
  return self->effects[i].offset > offset ? self->effects[i].offset : offset;
}

VdVhdxLogged vd_vhdx_overlay_look(const VdVhdxOverlay *self, uint64_t offset, uint64_t *ret_length)
{
  unsigned i = first_behind(self, offset);
  const Effect *effect = self != NULL && i < self->n_effects ? &self->effects[i] : NULL;

  *ret_length = UINT64_MAX - offset;
  if (effect == NULL)
    return VD_VHDX_LOG_SILENT;
  *ret_length = effect->offset > offset ? effect->offset - offset : effect->offset + effect->length - offset;
  if (effect->offset > offset)
    return VD_VHDX_LOG_SILENT;
  return effect->page != NULL ? VD_VHDX_LOG_PAGE : VD_VHDX_LOG_ZEROS;
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
