/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A merge: the chain is looked at, the target's child is told, then the bytes move. */
#include "engine/merge.h"

#include <errno.h>
#include <string.h>

#include "engine/edit.h"
#include "engine/merge-copy.h"
#include "engine/pages.h"
#include "engine/vhdx-layer.h"
#include "virtdisk-enums.h"

/* Bytes of one page of metadata. */
#define PAGE_SIZE 4096

typedef struct {
  const VdMerge *merge;
  unsigned target; /* index */
  VdPages *pages;
  VdLayer *layers[VD_IO_MAX_FILES]; /* NULL: not open, or the engine's */
  VdEngine *engine;
  uint8_t guid[16]; /* of the target from the first write on, as printed */
} Merger;

static VdLayerSource source_of(const Merger *self, unsigned i, bool writable)
{
  return (VdLayerSource){.io = self->merge->io,
                         .file = i,
                         .fd = self->merge->fds[i],
                         .writable = writable,
                         .pages = self->pages,
                         .data_guid = writable ? self->guid : NULL};
}

static void close_all(Merger *self)
{
  vd_engine_free(self->engine);
  self->engine = NULL;
  for (unsigned i = 0; i < self->merge->n_images; i++) {
    vd_layer_free(self->layers[i]);
    self->layers[i] = NULL;
  }
  vd_pages_free(self->pages);
  self->pages = NULL;
}

/* Nothing that was kept of the files before they were changed. */
static bool begin_pages(Merger *self, VdFormatError *ret_error)
{
  self->pages = vd_pages_new(self->merge->io, PAGE_SIZE, self->merge->cache_size);
  return self->pages || vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "",
                                            "no memory for the metadata of a chain");
}

/* Those from first on; written: which is opened for writing, n_images for none. */
static bool open_chain(Merger *self, unsigned first, unsigned written, VdFormatError *ret_error)
{
  const VdMerge *merge = self->merge;

  if (!begin_pages(self, ret_error))
    return false;
  for (unsigned i = first; i < merge->n_images; i++) {
    VdLayerSource source = source_of(self, i, i == written);

    self->layers[i] = vd_layer_open(&source, merge->device_id, ret_error);
    if (!self->layers[i])
      return false;
  }
  return vd_layers_check_chain(&self->layers[first], merge->n_images - first, ret_error);
}

static bool check_depths(const VdMerge *merge, VdFormatError *ret_error)
{
  if (merge->source_depth == 0 || merge->source_depth >= merge->target_depth)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "source_depth",
                               "an image at depth %u cannot be merged into one at depth %u",
                               merge->source_depth, merge->target_depth);
  if (merge->target_depth > merge->n_images || merge->n_images > VD_IO_MAX_FILES)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "target_depth",
                               "depth %u is merged into, the chain has %u images", merge->target_depth,
                               merge->n_images);
  for (unsigned i = merge->target_depth - 2; i < merge->target_depth; i++)
    if (!merge->io->files[i].writable)
      return vd_format_error_set(ret_error, VIRTDISK_ERROR_WRITE_PROTECT, 0, "",
                                 "the image at depth %u is not open for writing", i + 1);
  return true;
}

/* id: as a layer has it. */
static bool link_child(Merger *self, const uint8_t id[16], const uint8_t *next, VdFormatError *ret_error)
{
  VdLayerSource source;
  uint8_t printed[16];

  vd_vhdx_guid_swap(id, printed);
  if (!begin_pages(self, ret_error))
    return false;
  source = source_of(self, self->target - 1, true);
  source.data_guid = NULL;
  return vd_edit_linkage(&source, self->merge->device_id, printed, next, ret_error);
}

/* The whole chain is good, and the target's child is ready for what the target becomes. */
static bool prepare(Merger *self, VdFormatError *ret_error)
{
  uint8_t id[16];

  if (!open_chain(self, 0, self->merge->n_images, ret_error))
    return false;
  memcpy(id, self->layers[self->target]->identity, sizeof id);
  close_all(self);
  if (self->merge->device_id != VIRTDISK_DEVICE_VHDX)
    return true;
  if (!vd_vhdx_random_guid(self->guid))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no random numbers: %s",
                               strerrordesc_np(errno));
  if (!link_child(self, id, self->guid, ret_error))
    return false;
  close_all(self);
  return true;
}

static bool make_engine(Merger *self, VdFormatError *ret_error)
{
  unsigned n = self->merge->n_images - self->target;
  VdEngineOptions options = {.pages = self->pages};

  self->engine = vd_engine_new(self->merge->io, &self->layers[self->target], n, &options);
  for (unsigned i = self->target; i < self->merge->n_images; i++)
    self->layers[i] = NULL;
  return self->engine || vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "engine: %s",
                                             strerrordesc_np(errno));
}

static bool close_engine(Merger *self, VdFormatError *ret_error)
{
  int result = vd_engine_close(self->engine);

  return result == 0 || vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, 0, "",
                                            "the image at depth %u could not be closed cleanly: %s",
                                            self->target + 1, strerrordesc_np(-result));
}

static bool move_bytes(Merger *self, uint64_t *ret_copied, VdFormatError *ret_error)
{
  VdMergeCopy copy = {.merge = self->merge,
                      .layers = self->layers,
                      .first = self->merge->source_depth - 1,
                      .last = self->target - 1};
  VdFormatError unused;
  bool good;

  if (!open_chain(self, copy.first, self->target, ret_error) || !make_engine(self, ret_error))
    return false;
  copy.engine = self->engine;
  good = vd_merge_copy(&copy, ret_copied, ret_error);
  /* What was cancelled, or has failed, is left as tidy as can be. */
  good = close_engine(self, good ? ret_error : &unused) && good;
  close_all(self);
  return good;
}

/* The child knows the target by what it has become alone. */
static bool finish(Merger *self, VdFormatError *ret_error)
{
  uint8_t id[16];

  if (self->merge->device_id != VIRTDISK_DEVICE_VHDX)
    return true;
  if (!open_chain(self, self->target, self->merge->n_images, ret_error))
    return false;
  memcpy(id, self->layers[self->target]->identity, sizeof id);
  close_all(self);
  return link_child(self, id, NULL, ret_error);
}

bool vd_merge(const VdMerge *merge, uint64_t *ret_copied, VdFormatError *ret_error)
{
  Merger self = {.merge = merge, .target = merge->target_depth - 1};
  bool good;

  *ret_copied = 0;
  if (!check_depths(merge, ret_error))
    return false;
  good = prepare(&self, ret_error) && move_bytes(&self, ret_copied, ret_error) && finish(&self, ret_error);
  close_all(&self);
  return good;
}
