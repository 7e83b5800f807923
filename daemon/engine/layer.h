/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One image of a chain at run time. The engine asks a layer where bytes are; of the leaf it also asks where
 * new bytes go, and has it record that. A layer never moves payload.
 *
 * Functions that may need metadata which is not in memory return VD_STEP_WAIT after noting the waiter: it is
 * woken once, and the caller asks again from the start. All offsets and lengths are bytes; guest offsets are
 * below size, ranges do not cross a multiple of block_size (if that is not 0).
 *
 * How a write becomes visible:
 *   place()   where the bytes go, and whether the map must change (an update) once they are there;
 *             a range is IN_PLACE, or part of an UPDATE, or must WAIT for another one's update of that block
 *   (engine)  writes the payload there; gathers the updates whose payload is written into a batch; flushes
 *             first if one of them asks for a barrier
 *   commit()  records the whole batch; from then on find() tells of it. One commit at a time.
 */
#pragma once

#include <stddef.h>

#include "engine/io.h"
#include "formats/error.h"

typedef struct VdLayer VdLayer;
typedef struct VdWaiter VdWaiter;
typedef struct VdUpdate VdUpdate;

struct VdWaiter {
  void (*wake)(VdWaiter *self); /* from the event loop, never inside the call that noted the waiter */
  VdWaiter *next;
};

/* First in, first out; woken all at once. */
typedef struct {
  VdWaiter *head, *tail;
} VdWaiters;

void vd_waiters_add(VdWaiters *self, VdWaiter *waiter);
/* Takes the list away first: those woken may wait again. */
void vd_waiters_wake(VdWaiters *self);

typedef enum { VD_STEP_DONE, VD_STEP_WAIT, VD_STEP_FAILED } VdStep;

typedef enum {
  VD_RUN_HERE,   /* in this layer's file, from offset */
  VD_RUN_ZERO,   /* zeros, whatever the parents hold */
  VD_RUN_PARENT, /* the next layer knows; only of differencing images */
} VdRunKind;

typedef struct {
  VdRunKind kind;
  uint64_t length; /* bytes from the asked offset; at least one sector, at most what was asked */
  uint64_t offset; /* HERE: in the file */
  bool padded;     /* HERE: the file may end inside; zeros follow */
} VdRun;

typedef struct {
  uint64_t length; /* bytes from the asked offset */
  uint64_t offset; /* in the file */
  bool update;     /* the map must change afterwards; *update was filled and is the engine's until commit or
                      cancel */
} VdPlace;

/* One change of the map that a write needs. Owned by the engine, filled by place(). */
struct VdUpdate {
  VdUpdate *next;          /* of the batch */
  uint64_t offset, length; /* guest range, within one block */
  uint64_t block;          /* its number */
  bool barrier;            /* payload must be durable before the change is recorded */
  uint64_t layer_data[6];  /* the layer's own */
};

/* Something of an image that has space of its own in its file, and can be elsewhere in it: a block with what
 * belongs to it, or a block of the map. Known by a number. */
typedef struct {
  uint64_t offset, length; /* bytes in the file; length 0: it has no space */
} VdPiece;

/* What becomes of a piece. */
typedef struct {
  uint64_t piece;
  VdPiece from;
  VdRunKind kind; /* HERE: it is at `to` now. Of blocks alone: ZERO, or PARENT, and its space is free */
  uint64_t to;    /* HERE: bytes; the content is there, durably */
} VdRemap;

typedef struct {
  /* Releases everything; no I/O. */
  void (*free)(VdLayer *self);

  VdStep (*find)(VdLayer *self, uint64_t offset, uint64_t length, VdRun *ret_run, VdWaiter *waiter,
                 int *ret_error);

  /* Bytes from a guest offset, at most length, in which it is known without waiting that nothing was ever
   * allocated: zeros, or the parent's. May cross blocks; 0: not known. May be NULL. */
  uint64_t (*unused)(const VdLayer *self, uint64_t offset, uint64_t length);

  /* The rest is of the leaf, opened for writing. */

  /* Before the first place(), zero() of a session: whatever must be durable in the file before any change
   * (VHDX: new FileWriteGuid and DataWriteGuid). Asynchronous; may be NULL. */
  void (*begin)(VdLayer *self, void (*done)(void *user, int result), void *user);

  VdStep (*place)(VdLayer *self, uint64_t offset, uint64_t length, VdPlace *ret_place, VdUpdate *update,
                  VdWaiter *waiter, int *ret_error);
  /* The payload of an update could not be written: nothing is recorded, waiters of its block are woken. */
  void (*cancel)(VdLayer *self, VdUpdate *update);
  /* Records all of a list of updates (via next). On failure none counts. Wakes the waiters of their blocks.
   */
  void (*commit)(VdLayer *self, VdUpdate *batch, void (*done)(void *user, int result), void *user);

  /* Makes whole blocks [first, first + count), of discard_size if that is set, read as zeros and gives their
   * space back. The last may be cut by the end of the disk. The engine sees to it that nothing else is in
   * flight. -EOPNOTSUPP: nothing was done. NULL: zeros are written. */
  void (*zero)(VdLayer *self, uint64_t first, uint64_t count, void (*done)(void *user, int result),
               void *user);

  /* For making the file smaller, while nothing is in flight but reads of what is not meant; NULL: its space
   * never changes. How many pieces there can be; which of them a block of the disk is; where one is. */
  uint64_t (*count_pieces)(const VdLayer *self);
  uint64_t (*piece_of)(const VdLayer *self, uint64_t block);
  VdStep (*piece)(VdLayer *self, uint64_t number, VdPiece *ret_piece, VdWaiter *waiter, int *ret_error);
  /* The first free place for that piece in front of where it is; taken until remap(), or free_place(). False:
   * there is none. Who goes from the back of the file to its front gets no place twice. */
  bool (*take_place)(VdLayer *self, const VdPiece *piece, uint64_t *ret_offset);
  void (*free_place)(VdLayer *self, uint64_t offset, uint64_t length);
  /* Records it all, durably, each piece's change whole or not there; then the old places are free. The list
   * is borrowed until done. After an error some of it may be recorded, and no place is free. */
  void (*remap)(VdLayer *self, const VdRemap *list, unsigned n, void (*done)(void *user, int result),
                void *user);

  /* A flush of the file has completed, that was submitted after begin_flush() returned this mark. May be
   * NULL. */
  uint64_t (*begin_flush)(VdLayer *self);
  void (*flushed)(VdLayer *self, uint64_t mark);

  /* Clean form; nothing is in flight. May be NULL. */
  void (*close)(VdLayer *self, void (*done)(void *user, int result), void *user);
  /* Work in the background, that close() would have to wait for. May be NULL. */
  bool (*is_busy)(const VdLayer *self);
} VdLayerOps;

/* What every layer is; the first member of its own struct. */
struct VdLayer {
  const VdLayerOps *ops;
  VdIo *io;
  unsigned file;         /* index in io */
  uint64_t size;         /* bytes of the virtual disk */
  uint32_t sector_size;  /* logical, bytes */
  uint32_t block_size;   /* bytes; 0: no blocks */
  uint32_t discard_size; /* bytes that zero() counts in, a power of two, divides block_size; 0: block_size */
  bool has_parent;       /* differencing */
  bool writable;         /* opened as a leaf for writing */
  bool saved_state;      /* of a VHD: a suspended machine depends on what is in the file */
  bool keeps_identity;   /* set before begin(): what follows changes no byte of the disk */
  uint8_t identity[16];  /* what a child of it stores: DataWriteGuid, or the footer's unique id */
  uint8_t next_identity[16]; /* VHDX, writable: what the first write of the session makes of that */
  uint8_t parent_id[16];     /* what it stores of its parent */
  uint8_t parent_id2[16];    /* VHDX parent_linkage2, or zeros, which match nothing */
};

typedef struct VdPages VdPages;

typedef struct {
  VdIo *io;
  unsigned file;  /* index in io; io->files[file] is filled */
  int fd;         /* for the synchronous reading while it is opened; borrowed */
  bool writable;  /* the leaf of a chain that may be written: the image is also repaired as its
                     specification has it (log replay), through io */
  VdPages *pages; /* shared by the chain */
  /* VHDX, writable: the DataWriteGuid that the first write of the session gives it, as printed, first byte
   * first; NULL: a random one. Borrowed while it is opened. */
  const uint8_t *data_guid;
} VdLayerSource;

/* Each reads and checks the whole structure of the image as its format demands before it returns; blocks on
 * io and fd. Returns NULL with *ret_error filled. */
VdLayer *vd_raw_layer_open(const VdLayerSource *source, VdFormatError *ret_error);
VdLayer *vd_vhd_layer_open(const VdLayerSource *source, VdFormatError *ret_error);
VdLayer *vd_vhdx_layer_open(const VdLayerSource *source, VdFormatError *ret_error);
/* By VirtdiskDeviceId; ISO is served as raw. */
VdLayer *vd_layer_open(const VdLayerSource *source, uint32_t device_id, VdFormatError *ret_error);
/* Compares each layer with the next: identity, size, sector size, and that the last has no parent. */
bool vd_layers_check_chain(VdLayer *const *layers, unsigned n_layers, VdFormatError *ret_error);
void vd_layer_free(VdLayer *self);
