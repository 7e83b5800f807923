/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of a VHD at run time, shared by vhd-*.c alone. One owner of each part of the state:
 *   vhd-layer.c   opening, and the table of functions
 *   vhd-map.c     where bytes are (find), where new ones go (place, cancel)
 *   vhd-space.c   the space of the file that blocks are handed out from
 *   vhd-commit.c  a batch of updates becomes bitmaps and entries of the table
 *   vhd-zero.c    whole blocks of a dynamic image become zeros
 *   vhd-remap.c   blocks lie elsewhere, or nowhere, so that the file can be cut
 *   vhd-tail.c    trailer and front copy: mended when the image is opened, in place when it is closed
 *   vhd-pump.c    many writes, some of them at a time
 *
 * What a power cut finds. Space is taken in steps: first a new trailer is written at the far end, which
 * extends the file, and made durable; then the bitmaps of the blocks to come (dynamic: all ones;
 * differencing: the old trailer becomes zeros), made durable too. Space that was used and given back in the
 * same session becomes a hole before that. Until the table says otherwise, nothing refers to that space, and
 * all its data reads as zeros. So an entry of a dynamic image's table may become durable before or after the
 * payload. In a differencing image bits must not be durable before the payload, which is what the barrier is
 * for; its entry may, since a block without bits shows the parent.
 *
 * Only whole sectors of 512 bytes are written of metadata, never two writes of one at a time, and memory
 * holds what is written only after the write is done. A table sector that could not be written, nor put back,
 * is known as suspect, and written again with the next change in it and before the file is made shorter.
 *
 * All memory is taken when the image is opened.
 */
#pragma once

#include "engine/layer.h"
#include "engine/pages.h"
#include "formats/vhd-bat.h"

#define VD_VHD_SECTOR VD_VHD_SECTOR_SIZE
/* Data that begins at a multiple of this is aligned for every host. */
#define VD_VHD_ALIGNMENT 4096
/* Bytes by which a file grows at a time: at least one block, at most as many as may be ready. */
#define VD_VHD_GROWTH (UINT64_C(64) << 20)
#define VD_VHD_GROWTH_BLOCKS 64
#define VD_VHD_READY (2 * VD_VHD_GROWTH_BLOCKS)
/* Writes of metadata in flight, and sectors that are staged for them. */
#define VD_VHD_PUMP 64
/* Places of a session that were given back, or whose update failed, and that can be given out again; more are
 * lost until the image is compacted. */
#define VD_VHD_FREED 65536
/* Sectors of the disk that one sector of a bitmap tells of. */
#define VD_VHD_BITS (8 * VD_VHD_SECTOR)

typedef struct VdVhdLayer VdVhdLayer;
typedef void (*VdVhdThen)(VdVhdLayer *self, int result);
/* One operation's end; what it returns counts as its result. */
typedef int (*VdVhdLanded)(VdVhdLayer *self, unsigned slot, const VdIoOp *op, int result);

/* Runs operations that next() thinks of, VD_VHD_PUMP of them at a time. */
typedef struct {
  VdVhdLayer *layer;
  /* Fills kind, offset, length and buffer; false: there is no more. */
  bool (*next)(VdVhdLayer *self, unsigned slot, VdIoOp *ret_op);
  VdVhdLanded landed; /* may be NULL */
  VdVhdThen then;     /* all are through; the first error */
  unsigned in_flight;
  int error;
  VdIoOp ops[VD_VHD_PUMP];
  bool busy[VD_VHD_PUMP];
} VdVhdPump;

/* One operation and what comes after it. */
typedef struct {
  VdIoOp op;
  VdVhdLayer *layer;
  VdVhdThen then;
} VdVhdSingle;

/* Space that no block has yet. All offsets are of sector bitmaps, bytes. */
typedef struct {
  bool aligned;     /* data begins at multiples of VD_VHD_ALIGNMENT, as in the image so far */
  unsigned growth;  /* blocks by which the file grows */
  uint64_t floor;   /* the trailer never goes below: what lies there is not ours */
  uint64_t next;    /* where space begins that was never handed out */
  uint64_t trailer; /* where the trailer lies in the file */
  uint64_t stale;   /* where an older one lies, that must become zeros; 0: nowhere */
  bool changed;     /* the file's end is not as it was found */

  uint64_t ready[VD_VHD_READY]; /* blocks that can be handed out, a ring */
  unsigned first_ready, n_ready;
  uint32_t *freed; /* sectors; nobody knows what is there */
  uint32_t n_freed, max_freed;

  bool refilling, recycling; /* of those that were freed */
  uint64_t preparing[VD_VHD_GROWTH_BLOCKS];
  unsigned n_preparing, cursor;
  uint64_t new_trailer;
  VdVhdPump pump;
  VdVhdSingle single;
  VdWaiters waiters;
  unsigned n_waiting, n_to_fail; /* that many of those who waited are told of the error */
  int error;
} VdVhdSpace;

/* A sector of a bitmap while it is being written. */
typedef struct {
  uint64_t offset; /* bytes; in the file */
  VdPage *page;    /* NULL: a new block's, of which nothing is in memory */
  bool failed;
} VdVhdStaged;

typedef struct {
  VdUpdate *batch, *cursor;
  uint32_t next_sector; /* of the table, for putting it back */
  VdVhdStaged staged[VD_VHD_PUMP];
  unsigned n_staged, next_staged;
  int error;
  void (*done)(void *user, int result);
  void *user;
} VdVhdCommit;

typedef struct {
  uint32_t cursor, end;          /* blocks */
  uint32_t wave_end, wave_block; /* blocks of this wave; the next to be punched */
  uint32_t staged[VD_VHD_PUMP];  /* table sectors of this wave */
  unsigned n_staged, next_staged;
  bool no_punch; /* the file system has no holes */
  VdIoTask task; /* there was nothing to do */
  int error;
  void (*done)(void *user, int result);
  void *user;
} VdVhdZero;

typedef struct {
  const VdRemap *list;
  unsigned n, first, next; /* [first, next): of this wave */
  uint32_t staged[VD_VHD_PUMP];
  unsigned n_staged, next_staged;
  uint32_t *used; /* sectors, ascending, as they were when places were first asked for; NULL: not yet */
  uint32_t n_used, next_used;
  uint64_t place; /* bytes; the next that may be free */
  VdIoTask task;  /* there was nothing to do */
  int error;
  void (*done)(void *user, int result);
  void *user;
} VdVhdRemapping;

typedef struct {
  unsigned step;
  bool front; /* the copy in front is to be written */
  uint32_t next_sector;
  uint64_t trailer; /* bytes; where the trailer goes */
  VdWaiter waiter;  /* for space that is being made ready */
  VdIoTask task;    /* there was nothing to do */
  void (*done)(void *user, int result);
  void *user;
} VdVhdTail;

struct VdVhdLayer {
  VdLayer base;
  VdPages *pages;
  VdVhdType type;
  VdVhdBatShape shape;
  uint64_t data_end;  /* bytes; behind it a read-only image reads as zeros */
  uint8_t *table;     /* as stored, whole sectors */
  uint32_t n_sectors; /* of the table */
  uint8_t *busy;      /* a bit for each block that an update is about to add */
  VdWaiters busy_waiters;
  uint8_t *suspect;   /* a bit for each sector of the table */
  uint8_t *written;   /* the same, of the batch */
  uint32_t n_suspect; /* bits set */
  uint8_t *ones;      /* a bitmap's length */
  uint8_t *zeros;     /* a sector */
  uint8_t *footer;    /* a sector: trailer and front copy */
  uint8_t *staging;   /* VD_VHD_PUMP sectors */
  VdVhdSpace space;
  VdVhdCommit commit;
  VdVhdZero zero;
  VdVhdRemapping remapping;
  VdVhdTail tail;
  /* Of commit, zero, remapping and tail, which never run at the same time. */
  VdVhdPump pump;
  VdVhdSingle single;
};

/* VdUpdate.layer_data */
enum {
  VD_VHD_UPDATE_KIND,
  VD_VHD_UPDATE_PLACE,  /* NEW: where the block goes, bytes */
  VD_VHD_UPDATE_BITMAP, /* differencing: the sector of its bitmap, bytes */
  VD_VHD_UPDATE_PAGE,   /* BITS: the page with that sector, pinned */
};
typedef enum {
  VD_VHD_UPDATE_NEW,   /* a block */
  VD_VHD_UPDATE_BITS,  /* of a block that is there */
  VD_VHD_UPDATE_AGAIN, /* nothing new, but its sector of the table is suspect */
} VdVhdUpdateKind;

static inline bool vd_vhd_bit(const uint8_t *bits, uint64_t n)
{
  return bits[n / 8] >> (n % 8) & 1;
}

static inline void vd_vhd_set_bit(uint8_t *bits, uint64_t n, bool value)
{
  bits[n / 8] = (uint8_t)((bits[n / 8] & ~(1U << (n % 8))) | (unsigned)value << (n % 8));
}

static inline uint32_t vd_vhd_table_sector(uint32_t block)
{
  return block / (VD_VHD_SECTOR / 4);
}

static inline uint64_t vd_vhd_block_offset(uint32_t sector)
{
  return (uint64_t)sector * VD_VHD_SECTOR;
}

/* Which bit of its sector of a bitmap tells of a guest's offset. */
static inline unsigned vd_vhd_first_bit(const VdVhdLayer *self, uint64_t offset)
{
  return (unsigned)(offset % self->shape.block_size / VD_VHD_SECTOR % VD_VHD_BITS);
}

void vd_vhd_pump_run(VdVhdPump *pump, VdVhdLayer *self);
void vd_vhd_single_run(VdVhdSingle *single, VdVhdLayer *self, const VdIoOp *op, VdVhdThen then);
/* A flush of the image, as the operation of a single. */
VdIoOp vd_vhd_flush_op(void);
/* The writing of a sector of the table, from memory. */
void vd_vhd_table_fill(VdVhdLayer *self, uint32_t sector, VdIoOp *op);
/* It was written, or nobody knows what it holds. */
void vd_vhd_table_landed(VdVhdLayer *self, const VdIoOp *op, int result);

VdStep vd_vhd_find(VdLayer *layer, uint64_t offset, uint64_t length, VdRun *ret_run, VdWaiter *waiter,
                   int *ret_error);
VdStep vd_vhd_place(VdLayer *layer, uint64_t offset, uint64_t length, VdPlace *ret_place, VdUpdate *update,
                    VdWaiter *waiter, int *ret_error);
void vd_vhd_cancel(VdLayer *layer, VdUpdate *update);
/* The update is over: its block is nobody's any more, or everybody's. */
void vd_vhd_release_update(VdVhdLayer *self, VdUpdate *update);

/* Where the first block behind that offset goes, and the trailer too. */
uint64_t vd_vhd_space_position(const VdVhdLayer *self, uint64_t offset);
/* Bytes from one new block to the next. */
uint64_t vd_vhd_space_stride(const VdVhdLayer *self);
/* footers, use: what was found in the image. */
void vd_vhd_space_init(VdVhdLayer *self, const VdReader *reader, const VdVhdFooters *footers,
                       const VdVhdBatUse *use);
/* A place for a block. WAIT: the waiter is woken when there is one, or none to be had. */
VdStep vd_vhd_space_take(VdVhdLayer *self, uint64_t *ret_place, VdWaiter *waiter, int *ret_error);
/* A place that the table does not refer to any more, whatever is written there. */
void vd_vhd_space_free(VdVhdLayer *self, uint32_t sector);
/* Where the trailer would go if the image were closed now. */
uint64_t vd_vhd_space_end(const VdVhdLayer *self);

void vd_vhd_commit(VdLayer *layer, VdUpdate *batch, void (*done)(void *user, int result), void *user);
void vd_vhd_zero(VdLayer *layer, uint64_t first, uint64_t count, void (*done)(void *user, int result),
                 void *user);
uint64_t vd_vhd_count_pieces(const VdLayer *layer);
uint64_t vd_vhd_piece_of(const VdLayer *layer, uint64_t block);
VdStep vd_vhd_piece(VdLayer *layer, uint64_t number, VdPiece *ret_piece, VdWaiter *waiter, int *ret_error);
bool vd_vhd_take_place(VdLayer *layer, const VdPiece *piece, uint64_t *ret_offset);
void vd_vhd_free_place(VdLayer *layer, uint64_t offset, uint64_t length);
void vd_vhd_remap(VdLayer *layer, const VdRemap *list, unsigned n, void (*done)(void *user, int result),
                  void *user);
void vd_vhd_close(VdLayer *layer, void (*done)(void *user, int result), void *user);
bool vd_vhd_is_busy(const VdLayer *layer);
/* Mends what is wrong with the footers of an image that is opened for writing. Blocks on io. 0 or -errno. */
int vd_vhd_tail_mend(VdVhdLayer *self, const VdVhdFooters *footers);
