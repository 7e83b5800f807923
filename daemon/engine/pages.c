/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The cache of metadata pages: a hash, a list by use, pins. Writes nothing: that is the layers' matter. */
#include "engine/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Below this a chain of requests that each hold a page could not go on. */
#define MIN_PAGES 64

typedef enum { PAGE_EMPTY, PAGE_LOADING, PAGE_VALID, PAGE_FAILED } PageState;

typedef struct {
  VdPageOverlay overlay;
  void *user;
} Overlay;

struct VdPages {
  VdIo *io;
  size_t page_size, n_pages;
  uint8_t *memory;
  VdPage *pages;
  VdPage **hash; /* hash_mask + 1 chains */
  size_t hash_mask;
  VdPage *oldest, *newest; /* those that may go: neither pinned nor being loaded */
  VdWaiters no_room;
  VdIoTask room; /* tells them: who unpins may be in the middle of something */
  uint64_t loads;
  Overlay overlays[VD_IO_MAX_FILES];
  uint64_t sizes[VD_IO_MAX_FILES]; /* bytes that the files must have */
};

static VdPage **slot(VdPages *self, unsigned file, uint64_t offset)
{
  uint64_t key = (offset / self->page_size) * VD_IO_MAX_FILES + file;

  /* Fibonacci hashing: neighbours spread. */
  return &self->hash[(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & self->hash_mask];
}

static void unlink_use(VdPages *self, VdPage *page)
{
  *(page->older ? &page->older->newer : &self->oldest) = page->newer;
  *(page->newer ? &page->newer->older : &self->newest) = page->older;
}

static void link_newest(VdPages *self, VdPage *page)
{
  page->older = self->newest;
  page->newer = NULL;
  *(self->newest ? &self->newest->newer : &self->oldest) = page;
  self->newest = page;
}

static void unlink_hash(VdPages *self, VdPage *page)
{
  VdPage **at = slot(self, page->file, page->offset);

  while (*at != page)
    at = &(*at)->hash_next;
  *at = page->hash_next;
}

/* Nothing is known of it any more; it is the next to be used. */
static void make_empty(VdPages *self, VdPage *page)
{
  unlink_hash(self, page);
  page->state = PAGE_EMPTY;
}

static VdPage *find(VdPages *self, unsigned file, uint64_t offset)
{
  VdPage *page = *slot(self, file, offset);

  while (page && (page->offset != offset || page->file != file))
    page = page->hash_next;
  return page;
}

static void on_loaded(VdIoOp *op, int result)
{
  VdPages *self = op->user;
  VdPage *page = (VdPage *)((char *)op - offsetof(VdPage, op));
  const Overlay *overlay = &self->overlays[page->file];

  page->state = result == 0 ? PAGE_VALID : PAGE_FAILED;
  page->error = result;
  if (result == 0 && overlay->overlay)
    overlay->overlay(overlay->user, page->offset, page->data, self->page_size);
  link_newest(self, page);
  vd_waiters_wake(&page->waiters);
  vd_waiters_wake(&self->no_room);
}

static VdIoKind kind_of(const VdPages *self, unsigned file, uint64_t offset)
{
  uint64_t size = self->sizes[file];

  return offset < size && size - offset >= self->page_size ? VD_IO_READ : VD_IO_READ_PADDED;
}

static void load(VdPages *self, VdPage *page, unsigned file, uint64_t offset)
{
  VdPage **at = slot(self, file, offset);

  page->file = file;
  page->offset = offset;
  page->state = PAGE_LOADING;
  page->layer_data[0] = page->layer_data[1] = 0;
  page->hash_next = *at;
  *at = page;
  self->loads++;
  page->op = (VdIoOp){
      .kind = kind_of(self, file, offset),
      .file = file,
      .offset = offset,
      .length = self->page_size,
      .buffer = page->data,
      .done = on_loaded,
      .user = self,
  };
  vd_io_submit(self->io, &page->op);
}

static VdStep get_known(VdPages *self, VdPage *page, VdPage **ret_page, VdWaiter *waiter, int *ret_error)
{
  switch ((PageState)page->state) {
  case PAGE_LOADING:
    vd_waiters_add(&page->waiters, waiter);
    return VD_STEP_WAIT;
  case PAGE_FAILED:
    *ret_error = page->error;
    make_empty(self, page);
    return VD_STEP_FAILED;
  default:
    if (page->pins == 0 && page != self->newest) {
      unlink_use(self, page);
      link_newest(self, page);
    }
    *ret_page = page;
    return VD_STEP_DONE;
  }
}

VdStep vd_pages_get(VdPages *self, unsigned file, uint64_t offset, VdPage **ret_page, VdWaiter *waiter,
                    int *ret_error)
{
  VdPage *page = find(self, file, offset);

  if (page)
    return get_known(self, page, ret_page, waiter, ret_error);
  page = self->oldest;
  if (!page) {
    vd_waiters_add(&self->no_room, waiter);
    return VD_STEP_WAIT;
  }
  if (page->state != PAGE_EMPTY)
    make_empty(self, page);
  unlink_use(self, page);
  vd_waiters_add(&page->waiters, waiter);
  load(self, page, file, offset);
  return VD_STEP_WAIT;
}

VdPage *vd_pages_peek(VdPages *self, unsigned file, uint64_t offset)
{
  VdPage *page = find(self, file, offset);

  return page && page->state == PAGE_VALID ? page : NULL;
}

void vd_pages_forget(VdPages *self, unsigned file, uint64_t offset, uint64_t length)
{
  for (uint64_t at = offset - offset % self->page_size; at < offset + length; at += self->page_size) {
    VdPage *page = vd_pages_peek(self, file, at);

    if (page && page->pins == 0)
      make_empty(self, page);
  }
}

void vd_pages_pin(VdPages *self, VdPage *page)
{
  if (page->pins++ == 0)
    unlink_use(self, page);
}

void vd_pages_unpin(VdPages *self, VdPage *page)
{
  if (--page->pins > 0)
    return;
  link_newest(self, page);
  if (self->no_room.head)
    vd_io_defer(self->io, &self->room);
}

size_t vd_pages_page_size(const VdPages *self)
{
  return self->page_size;
}

uint64_t vd_pages_loads(const VdPages *self)
{
  return self->loads;
}

void vd_pages_set_overlay(VdPages *self, unsigned file, VdPageOverlay overlay, void *user)
{
  self->overlays[file] = (Overlay){overlay, user};
}

void vd_pages_set_size(VdPages *self, unsigned file, uint64_t size)
{
  self->sizes[file] = size;
}

static void on_room(VdIoTask *task)
{
  VdPages *self = (VdPages *)((char *)task - offsetof(VdPages, room));

  vd_waiters_wake(&self->no_room);
}

static bool take_memory(VdPages *self)
{
  self->hash_mask = 1;
  while (self->hash_mask < self->n_pages)
    self->hash_mask *= 2;
  self->hash = calloc(self->hash_mask, sizeof *self->hash);
  self->hash_mask--;
  self->pages = calloc(self->n_pages, sizeof *self->pages);
  self->memory = aligned_alloc(self->page_size, self->n_pages * self->page_size);
  return self->hash && self->pages && self->memory;
}

VdPages *vd_pages_new(VdIo *io, size_t page_size, size_t capacity)
{
  VdPages *self = calloc(1, sizeof *self);

  if (!self)
    return NULL;
  self->io = io;
  self->room.run = on_room;
  self->page_size = page_size;
  self->n_pages = capacity / page_size > MIN_PAGES ? capacity / page_size : MIN_PAGES;
  if (!take_memory(self)) {
    vd_pages_free(self);
    return NULL;
  }
  for (size_t i = 0; i < self->n_pages; i++) {
    self->pages[i].data = self->memory + i * page_size;
    link_newest(self, &self->pages[i]);
  }
  return self;
}

void vd_pages_free(VdPages *self)
{
  if (!self)
    return;
  free(self->memory);
  free(self->pages);
  free(self->hash);
  free(self);
}
