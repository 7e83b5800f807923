/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of a VHDX at run time, shared by vhdx-*.c alone. One owner of each part of the state:
 *   vhdx-layer.c    opening, and the table of functions
 *   vhdx-replay.c   the log of an image that was not closed
 *   vhdx-map.c      where bytes are (find)
 *   vhdx-place.c    where new bytes go (place, cancel), and which blocks are being changed
 *   vhdx-space.c    the space of the file
 *   vhdx-commit.c   a batch of updates becomes entries of the log
 *   vhdx-zero.c     whole blocks become zeros
 *   vhdx-remap.c    blocks lie elsewhere, or nowhere, so that the file can be cut
 *   vhdx-journal.c  the log: writing entries, which of them are durable
 *   vhdx-checkpoint.c  pages go home, the log gets room again
 *   vhdx-session.c  what stands at the two ends of a session of writing
 * All memory is taken when the image is opened.
 */
#pragma once

#include <endian.h>
#include <string.h>

#include "engine/layer.h"
#include "engine/pages.h"
#include "formats/vhdx.h"

/* Most of the log that is in use at a time, bytes: the size that Windows gives it. What a replay has to do,
 * and the memory below, follow from it. */
#define VD_VHDX_LIVE_LOG VD_VHDX_MIB
/* One entry: at most a quarter of that; its pages, one sector of descriptors before them. */
#define VD_VHDX_ENTRY_PAGES 63
#define VD_VHDX_ENTRY_LENGTH ((VD_VHDX_ENTRY_PAGES + 1) * VD_VHDX_PAGE)
/* Pages whose newest content is in the log alone: as many as the live log can hold. */
#define VD_VHDX_SLOTS 256
#define VD_VHDX_SLOT_HASH 256
/* Blocks that are being changed; as many as parts of requests in the engine. */
#define VD_VHDX_BUSY 2048
/* Blocks whose space one entry of zero() gives back. */
#define VD_VHDX_FREED 4096
/* Flushes between begin_flush() and flushed(); of more the oldest are forgotten, which is safe. */
#define VD_VHDX_MARKS 8
/* Pieces of a checkpoint in flight. */
#define VD_VHDX_HOME_OPS 8

typedef struct VdVhdxLayer VdVhdxLayer;
typedef void (*VdVhdxThen)(VdVhdxLayer *self, int result);

/* A completion that is due, but not inside of the call. */
typedef struct {
  VdIoTask task;
  VdVhdxLayer *self;
  void (*done)(void *user, int result);
  void *user;
  int result;
} VdVhdxLater;

typedef struct {
  VdIoOp op;
  uint64_t mark;
  VdVhdxThen then;
} VdVhdxFlush;

typedef struct {
  uint64_t key;   /* a block, or a chunk with VD_VHDX_CHUNK_KEY */
  uint32_t count; /* updates of it in flight; 0: unused */
  bool exclusive; /* the others wait */
  uint16_t next;  /* of the same hash, or of the unused; VD_VHDX_BUSY: none */
  VdWaiters waiters;
} VdVhdxBusy;

typedef struct {
  VdVhdxBusy records[VD_VHDX_BUSY];
  uint16_t buckets[VD_VHDX_BUSY];
  uint16_t unused;
  VdWaiters waiters; /* for a record */
} VdVhdxBusyTable;

#define VD_VHDX_CHUNK_KEY (UINT64_C(1) << 63)

typedef struct {
  uint8_t *map;        /* one bit per MiB, 1: used */
  uint64_t map_length; /* MiB */
  uint64_t frontier;   /* bytes; nothing behind it was ever used, so it reads as zeros */
  uint64_t floor;      /* bytes; the file is never cut below */
  uint64_t holes;      /* MiB not used below the frontier */
  uint64_t cursor;     /* MiB; where the search goes on */
  uint64_t lowest[2];  /* MiB; no hole of 1 MiB, or of more, begins before it */
  uint64_t none_of;    /* MiB; no hole of this length was found since the last one was added; 0: unknown */
  uint64_t ready, ready_end; /* bytes; a hole that was punched and is not given out yet */
  bool can_punch, growing, punching;
  VdIoOp grow_op, punch_op;
  uint64_t grow_least; /* bytes: the size that must be reached */
  int error;           /* of the last growth, for so many of those who waited */
  unsigned error_shares, n_waiting;
  VdWaiters waiters;
} VdVhdxSpace;

/* One page of an entry that is being made. */
typedef struct {
  uint64_t offset; /* bytes in the file */
  uint8_t *data;
  bool changed;
} VdVhdxImage;

/* As long as a page is among them, only what is in memory already tells what it held: nothing is read from
 * its home, lest that comes back after the entry is written, and is taken for the newest. */
typedef struct {
  VdVhdxImage images[VD_VHDX_ENTRY_PAGES];
  unsigned n;
  uint8_t *memory;
  VdWaiters waiters; /* for the end of the entry */
} VdVhdxImages;

typedef struct {
  uint64_t offset;   /* bytes in the file; where the page's home is */
  uint64_t sequence; /* of the entry with its newest content; 0: unused */
  uint8_t *data;
  uint16_t next; /* of the same hash, or of the unused; VD_VHDX_SLOTS: none */
} VdVhdxSlot;

typedef struct {
  uint64_t number, sequence, file_size;
} VdVhdxMark;

typedef enum {
  VD_VHDX_CHECKPOINT_IDLE,
  VD_VHDX_CHECKPOINT_FLUSH_LOG,
  VD_VHDX_CHECKPOINT_HOME,
  VD_VHDX_CHECKPOINT_FLUSH_HOME,
  VD_VHDX_CHECKPOINT_TAIL_ENTRY,
  VD_VHDX_CHECKPOINT_FLUSH_TAIL,
} VdVhdxCheckpointState;

typedef struct {
  VdVhdxCheckpointState state;
  VdVhdxFlush flush;
  uint64_t sequence, position; /* what of the log goes home */
  uint8_t *memory;             /* the pages as they were then, by offset */
  uint16_t order[VD_VHDX_SLOTS];
  uint64_t offsets[VD_VHDX_SLOTS];
  unsigned n, next, in_flight;
  VdIoOp ops[VD_VHDX_HOME_OPS];
  int result;
  bool wanted; /* whatever the log's length */
  VdVhdxThen then;
} VdVhdxCheckpoint;

typedef struct {
  /* Positions: bytes ever written; modulo the log's length they are places in it. */
  uint64_t head;             /* where the next entry goes */
  uint64_t tail;             /* before it everything is home, durably */
  uint64_t reusable;         /* before it no durable entry needs anything */
  uint64_t tail_carrier;     /* the first entry written that names this tail; 0: none yet */
  uint64_t written, durable; /* sequence numbers */
  uint64_t durable_size;     /* bytes of the file */
  uint64_t number;           /* of the last mark */
  VdVhdxMark marks[VD_VHDX_MARKS];

  VdVhdxSlot slots[VD_VHDX_SLOTS];
  uint16_t buckets[VD_VHDX_SLOT_HASH];
  uint16_t unused;
  unsigned n_dirty;
  uint8_t *slot_memory;

  /* The entry that is being written. */
  uint8_t *entry;
  size_t entry_length;
  uint64_t entry_tail;
  VdIoOp parts[2];
  unsigned parts_left; /* 0: no entry is being written */
  int result;
  const VdVhdxImages *images;
  VdVhdxThen then;
  bool waiting; /* for room */
} VdVhdxJournal;

typedef enum { VD_VHDX_NOT_BEGUN, VD_VHDX_BEGUN, VD_VHDX_CLOSED } VdVhdxPhase;

typedef struct {
  VdVhdxPhase phase;
  unsigned at;          /* in the list of steps */
  const uint8_t *steps; /* NULL: nothing is going on */
  VdVhdxHeader next;    /* what is being written */
  uint8_t guids[3][16]; /* FileWriteGuid, DataWriteGuid, LogGuid of this session */
  uint64_t cleared;     /* bytes of the log */
  uint8_t *page;        /* for headers and for the growth of the file: VD_VHDX_PAGE bytes */
  VdIoOp op;
  VdVhdxFlush flush;
  void (*done)(void *user, int result);
  void *user;
} VdVhdxSession;

typedef struct {
  VdUpdate *first, *next; /* of the entry that is being made; the first behind it */
  VdWaiter waiter;
  void (*done)(void *user, int result);
  void *user;
} VdVhdxCommit;

typedef struct {
  uint64_t next, end; /* blocks */
  uint64_t freed[VD_VHDX_FREED];
  unsigned n_freed, punched;
  int error;
  VdWaiter waiter;
  VdVhdxFlush flush;
  VdIoOp op;
  void (*done)(void *user, int result);
  void *user;
} VdVhdxZeroing;

typedef struct {
  const VdRemap *list;
  unsigned n, first, next; /* [first, next): of the entry that is being made */
  unsigned punched;
  int error;
  VdWaiter waiter;
  VdVhdxFlush flush;
  VdIoOp op;
  void (*done)(void *user, int result);
  void *user;
} VdVhdxRemapping;

struct VdVhdxLayer {
  VdLayer base;
  VdVhdx vhdx;
  VdPages *pages;
  uint64_t file_size;  /* bytes that the file has */
  uint64_t whole_size; /* and that it has with what the log says: what is between them is zeros */
  uint8_t *bat_used;   /* one bit per page of the BAT, 0: all of it is zeros */
  /* From here on of images opened for writing. */
  uint8_t *memory;
  VdVhdxLater later;
  VdVhdxSession session;
  VdVhdxSpace space;
  VdVhdxBusyTable busy;
  VdVhdxImages images;
  VdVhdxCommit commit;
  VdVhdxZeroing zeroing;
  VdVhdxRemapping remapping;
  VdVhdxJournal journal;
  VdVhdxCheckpoint checkpoint;
};

static inline VdVhdxLayer *vd_vhdx_layer(VdLayer *base)
{
  return (VdVhdxLayer *)(void *)base;
}

static inline uint64_t vd_vhdx_load(const uint8_t *page, uint64_t at)
{
  uint64_t value;

  memcpy(&value, page + at, sizeof value);
  return le64toh(value);
}

static inline void vd_vhdx_store(uint8_t *page, uint64_t at, uint64_t value)
{
  uint64_t little = htole64(value);

  memcpy(page + at, &little, sizeof little);
}

static inline uint64_t vd_vhdx_round_up(uint64_t value, uint64_t unit)
{
  return (value + unit - 1) / unit * unit;
}

/* done(user, result) after this call. One at a time. */
void vd_vhdx_layer_later(VdVhdxLayer *self, void (*done)(void *user, int result), void *user, int result);
void vd_vhdx_layer_resized(VdVhdxLayer *self, uint64_t size);
/* Reads all but the BAT; for writing (source) what a writer demands holds, and the log is replayed. */
bool vd_vhdx_layer_read(const VdLayerSource *source, VdReader *ret_reader, VdVhdx *ret_vhdx,
                        VdFormatError *ret_error);

/* vhdx-replay.c: *vhdx has a dirty log; afterwards the file has none. */
bool vd_vhdx_layer_replay(const VdLayerSource *source, const VdReader *reader, const VdVhdx *vhdx,
                          VdFormatError *ret_error);
bool vd_vhdx_random_guid(uint8_t ret_guid[16]);

/* vhdx-map.c */
/* The newest content of a page of metadata; *ret_data is good until the caller returns to the event loop. */
VdStep vd_vhdx_map_page(VdVhdxLayer *self, uint64_t offset, const uint8_t **ret_data, VdWaiter *waiter,
                        int *ret_error);
/* Where an entry of the BAT stands: the page, and the place in it. */
uint64_t vd_vhdx_map_bat_page(const VdVhdxLayer *self, uint64_t index, uint64_t *ret_at);
VdStep vd_vhdx_map_entry(VdVhdxLayer *self, uint64_t index, uint64_t *ret_entry, VdWaiter *waiter,
                         int *ret_error);
/* False: no memory. */
bool vd_vhdx_map_init(VdVhdxLayer *self, const VdReader *reader);
/* A page of metadata is written. */
void vd_vhdx_map_use(VdVhdxLayer *self, uint64_t offset);
uint64_t vd_vhdx_unused(const VdLayer *base, uint64_t offset, uint64_t length);
/* Bytes in the file of the bit of a guest offset; 0 with -EIO: the image is not what it was. */
VdStep vd_vhdx_map_bitmap(VdVhdxLayer *self, uint64_t block, uint64_t *ret_offset, VdWaiter *waiter,
                          int *ret_error);
/* Bits from first on that are like it, at most count. */
uint64_t vd_vhdx_bits_run(const uint8_t *bits, uint64_t first, uint64_t count, bool *ret_set);
VdStep vd_vhdx_find(VdLayer *base, uint64_t offset, uint64_t length, VdRun *ret_run, VdWaiter *waiter,
                    int *ret_error);

/* vhdx-place.c. What an update's layer_data holds. */
enum { VD_UPDATE_KIND, VD_UPDATE_PAYLOAD, VD_UPDATE_BITMAP, VD_UPDATE_BUSY, VD_UPDATE_CHUNK_BUSY };
enum { VD_UPDATE_WHOLE, VD_UPDATE_PART, VD_UPDATE_BITS };
#define VD_UPDATE_NO_CHUNK UINT64_MAX
void vd_vhdx_busy_init(VdVhdxBusyTable *self);
VdStep vd_vhdx_place(VdLayer *base, uint64_t offset, uint64_t length, VdPlace *ret_place, VdUpdate *update,
                     VdWaiter *waiter, int *ret_error);
void vd_vhdx_cancel(VdLayer *base, VdUpdate *update);
/* An update is over; who waited for its block comes to *woken, to be woken by the caller. */
void vd_vhdx_place_release(VdVhdxLayer *self, const VdUpdate *update, VdWaiters *woken);

/* vhdx-space.c. Takes the map over. */
bool vd_vhdx_space_init(VdVhdxLayer *self, VdVhdxOccupancy *occupancy);
void vd_vhdx_space_clear(VdVhdxLayer *self);
/* length bytes (a multiple of 1 MiB) that read as zeros. *ret_recycled: only until a power cut, unless a
 * flush comes before the first thing that refers to them. */
VdStep vd_vhdx_space_take(VdVhdxLayer *self, uint64_t length, uint64_t *ret_offset, bool *ret_recycled,
                          VdWaiter *waiter, int *ret_error);
/* Nothing refers to it, not even the log. */
void vd_vhdx_space_give(VdVhdxLayer *self, uint64_t offset, uint64_t length);
/* The first hole of that length (a multiple of 1 MiB) before an offset; what it holds is not known. */
bool vd_vhdx_space_take_lowest(VdVhdxLayer *self, uint64_t before, uint64_t length, uint64_t *ret_offset);
/* Bytes: behind the last that is in use. */
uint64_t vd_vhdx_space_end(const VdVhdxLayer *self);
bool vd_vhdx_space_is_busy(const VdVhdxLayer *self);

/* vhdx-journal.c */
bool vd_vhdx_journal_init(VdVhdxLayer *self);
/* The log is empty; the first entry of a session, which has no effect, in journal->entry. */
void vd_vhdx_journal_start(VdVhdxLayer *self);
/* Writes one entry with the images that changed, when there is room. When it is written they are the newest
 * content; else nothing has happened. */
void vd_vhdx_journal_write(VdVhdxLayer *self, const VdVhdxImages *images, VdVhdxThen then);
/* There may be room, or there will be none (result). */
void vd_vhdx_journal_resume(VdVhdxLayer *self, int result);
/* An entry without effect that names the newest tail. */
void vd_vhdx_journal_write_tail(VdVhdxLayer *self, VdVhdxThen then);
VdVhdxSlot *vd_vhdx_journal_slot(VdVhdxLayer *self, uint64_t offset);
void vd_vhdx_journal_drop_slot(VdVhdxLayer *self, uint16_t index);
/* What the flushes under way would say of the file's size is no longer true: it was cut. */
void vd_vhdx_journal_forget_marks(VdVhdxLayer *self);
uint64_t vd_vhdx_begin_flush(VdLayer *base);
void vd_vhdx_flushed(VdLayer *base, uint64_t mark);
void vd_vhdx_flush(VdVhdxLayer *self, VdVhdxFlush *flush, VdVhdxThen then);

/* vhdx-checkpoint.c */
/* Looks whether anything is to be done. */
void vd_vhdx_checkpoint_kick(VdVhdxLayer *self);
/* All that is in the log goes home. */
void vd_vhdx_checkpoint_all(VdVhdxLayer *self, VdVhdxThen then);

/* vhdx-commit.c */
/* The entry is over, or there was none. */
void vd_vhdx_images_reset(VdVhdxLayer *self);
/* NULL: not among them. */
VdVhdxImage *vd_vhdx_images_find(VdVhdxLayer *self, uint64_t offset);
/* The page at offset, to be changed; loaded first unless fresh (zeros). */
VdStep vd_vhdx_images_get(VdVhdxLayer *self, uint64_t offset, bool fresh, VdVhdxImage **ret_image,
                          VdWaiter *waiter, int *ret_error);
/* An entry of the BAT, at a place in its page. offset: in the file, a multiple of 1 MiB. */
void vd_vhdx_images_set_entry(VdVhdxImage *image, uint64_t at, uint64_t offset, unsigned state);
void vd_vhdx_commit(VdLayer *base, VdUpdate *batch, void (*done)(void *user, int result), void *user);

/* vhdx-zero.c */
void vd_vhdx_zero(VdLayer *base, uint64_t first, uint64_t count, void (*done)(void *user, int result),
                  void *user);

/* vhdx-remap.c */
uint64_t vd_vhdx_count_pieces(const VdLayer *base);
uint64_t vd_vhdx_piece_of(const VdLayer *base, uint64_t block);
VdStep vd_vhdx_piece(VdLayer *base, uint64_t number, VdPiece *ret_piece, VdWaiter *waiter, int *ret_error);
bool vd_vhdx_take_place(VdLayer *base, const VdPiece *piece, uint64_t *ret_offset);
void vd_vhdx_free_place(VdLayer *base, uint64_t offset, uint64_t length);
void vd_vhdx_remap(VdLayer *base, const VdRemap *list, unsigned n, void (*done)(void *user, int result),
                   void *user);

/* vhdx-session.c */
void vd_vhdx_begin(VdLayer *base, void (*done)(void *user, int result), void *user);
void vd_vhdx_close(VdLayer *base, void (*done)(void *user, int result), void *user);
