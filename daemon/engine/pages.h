/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Metadata of the images of a chain in memory, as much as a ceiling allows: pages of one fixed size, known by
 * file and offset; the least recently used clean one goes first. Loaded asynchronously. All memory is taken
 * when the cache is made.
 */
#pragma once

#include "engine/layer.h"

typedef struct VdPage VdPage;

struct VdPage {
  uint8_t *data;   /* page size bytes, aligned to them */
  uint64_t offset; /* bytes in the file */
  unsigned file;
  unsigned pins; /* while > 0 it stays: it is being changed, or is not yet written home */
  /* A layer's own, zero when loaded. */
  uint64_t layer_data[2];
  /* The cache's own. */
  uint8_t state;
  int error;
  VdPage *hash_next, *older, *newer;
  VdWaiters waiters;
  VdIoOp op;
};

/* What a layer may put in the place of the file's content (the pages of a replayed log, of an image that may
 * not be written). Called when a page was read; may be NULL. */
typedef void (*VdPageOverlay)(void *user, uint64_t offset, uint8_t *data, size_t length);

/* page_size: bytes, a power of two, at least VD_IO_ALIGNMENT. capacity: bytes of all pages; at least 64
 * pages. NULL: no memory. */
VdPages *vd_pages_new(VdIo *io, size_t page_size, size_t capacity);
void vd_pages_free(VdPages *self);
size_t vd_pages_page_size(const VdPages *self);
void vd_pages_set_overlay(VdPages *self, unsigned file, VdPageOverlay overlay, void *user);
/* The file has so many bytes, or is at fault: a page before that which cannot be read whole is an error, not
 * zeros. 0, as at first: nothing is known. */
void vd_pages_set_size(VdPages *self, unsigned file, uint64_t size);

/*
 * The page at offset (a multiple of the page size). DONE: *ret_page is good until the caller returns to the
 * event loop, or longer if it pins it. WAIT: being read, or every page is pinned; the waiter is woken.
 * FAILED: *ret_error; the next call tries again. Where the file ends inside the page, the rest is zeros.
 */
VdStep vd_pages_get(VdPages *self, unsigned file, uint64_t offset, VdPage **ret_page, VdWaiter *waiter,
                    int *ret_error);
/* The page if it is in memory, else NULL. */
VdPage *vd_pages_peek(VdPages *self, unsigned file, uint64_t offset);
/* What the file holds there was changed behind the cache. None of these pages is pinned or being loaded. */
void vd_pages_forget(VdPages *self, unsigned file, uint64_t offset, uint64_t length);
void vd_pages_pin(VdPages *self, VdPage *page);
/* Who waits for room is woken in the next round. */
void vd_pages_unpin(VdPages *self, VdPage *page);
uint64_t vd_pages_loads(const VdPages *self);
