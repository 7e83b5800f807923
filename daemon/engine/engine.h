/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine: takes requests of a block device, finds where the chain keeps each part, moves the payload
 * straight between the caller's buffer and the files, and has the leaf's layer keep its metadata in an order
 * that survives a power cut. Serves both data paths. One thread, no blocking call, no allocation after
 * vd_engine_new(). A completed write is in the file (a worker's death loses nothing); it is durable after the
 * next completed FLUSH.
 *
 * The rules, from which the crash tests are made: after a power cut each logical sector holds what the last
 * completed FLUSH made durable, or something written after it that is whole; never another place's data.
 *
 * After one flush of the leaf's file has failed, of whomever (a FLUSH, a FUA, an update, the log), nothing is
 * known of what was written since the last that succeeded: every FLUSH and FUA from then on fails with EIO,
 * until the image is opened anew. Reads and writes go on as long as they need no flush. Closing fails then.
 */
#pragma once

#include "engine/io.h"
#include "engine/layer.h"

/* Most parts of one request that are in flight at a time; the rest follow as these complete. */
#define VD_REQUEST_PARTS 8
/* Most requests in the engine at a time, all transports together; more wait in order. */
#define VD_ENGINE_MAX_REQUESTS 256

typedef struct VdEngine VdEngine;
typedef struct VdRequest VdRequest;

typedef enum { VD_OP_READ, VD_OP_WRITE, VD_OP_FLUSH, VD_OP_DISCARD, VD_OP_WRITE_ZEROES } VdOp;

/* WRITE, WRITE_ZEROES: durable before it completes. */
#define VD_REQUEST_FUA (1U << 0)
/* WRITE_ZEROES: the space stays allocated. */
#define VD_REQUEST_NO_UNMAP (1U << 1)
/* READ, WRITE: the bytes are in the kernel alone; buffer only names them to io (vd_ring_io_set_remote()). */
#define VD_REQUEST_REMOTE (1U << 2)

struct VdRequest {
  VdOp op;
  uint32_t flags;
  uint64_t offset, length; /* bytes, multiples of the logical sector; FLUSH: 0 */
  uint8_t *buffer;         /* READ, WRITE: length bytes, aligned to VD_IO_ALIGNMENT; borrowed until done */
  /* result: 0 or -errno (EIO, ENOSPC, EROFS, EINVAL, EREMOTEIO). Never called inside submit. */
  void (*done)(VdRequest *request, int result);
  void *user;
  /* The engine's own. Zero before the first submit of this object. */
  struct VdRequestState *state;
  VdRequest *next;
};

typedef struct {
  bool read_only;
  const VdPages *pages; /* those that the layers were opened with, for the counters; may be NULL */
} VdEngineOptions;

/* What whoever opens the layers gives their pages, bytes, where nothing else is asked for. */
#define VD_ENGINE_CACHE_SIZE ((size_t)16 << 20)

/* What the engine did, for tests and benches. */
typedef struct {
  uint64_t reads, writes, flushes, commits, updates, flushes_shared, page_loads;
} VdEngineCounters;

/*
 * layers[0] is the leaf, opened for writing unless options->read_only; the rest its parents. Takes the layers
 * over (also on failure, NULL, errno set). io is borrowed and outlives the engine.
 */
VdEngine *vd_engine_new(VdIo *io, VdLayer *const *layers, unsigned n_layers, const VdEngineOptions *options);

/* Bytes; and bytes per logical sector. */
uint64_t vd_engine_size(const VdEngine *self);
uint32_t vd_engine_sector_size(const VdEngine *self);
/* 0: requests may cross anything; else a power of two, bytes, at which requests are best split. */
uint32_t vd_engine_block_size(const VdEngine *self);
/* Bytes at whose multiples DISCARD frees space; 0: it never does. */
uint32_t vd_engine_discard_granularity(const VdEngine *self);

void vd_engine_submit(VdEngine *self, VdRequest *request);

/* No request is in the engine, nor work of a layer in the background that must not be cut off. */
bool vd_engine_is_idle(const VdEngine *self);

/* All requests must have completed. Brings the leaf into its clean form (the VHDX log applied and emptied,
 * the tail cut). Runs the io until that is done. Returns 0 or -errno: the image is then as after a power cut,
 * which loses nothing that was flushed. */
int vd_engine_close(VdEngine *self);
/* After close or without it (then as after a kill). */
void vd_engine_free(VdEngine *self);
VdEngineCounters vd_engine_counters(const VdEngine *self);
