/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asynchronous I/O on the files of a chain, the only way in which the engine touches an image: io_uring in a
 * worker (io-uring.h), a recording and failing one in tests. One thread. Operations are embedded in the
 * state of whoever submits them: nothing is allocated. A completion never runs inside vd_io_submit().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ceiling of the files of one chain (depth; MS-VHDX has none, Windows' tools stop at far fewer). */
#define VD_IO_MAX_FILES 256
/* A file of zeros without end, for reading into buffers that are not memory: they cannot be cleared
 * otherwise. Only where there are such buffers. */
#define VD_IO_ZERO_FILE VD_IO_MAX_FILES
/* What every buffer and, with direct I/O, every offset is aligned to by those who can choose, bytes. */
#define VD_IO_ALIGNMENT 4096

typedef struct VdIo VdIo;
typedef struct VdIoOp VdIoOp;
typedef struct VdIoTask VdIoTask;
typedef struct VdRingOp VdRingOp;

/* Whoever is told of a completion of io_uring. flags: those of the completion. */
struct VdRingOp {
  void (*done)(VdRingOp *op, int result, uint32_t flags);
};

typedef enum {
  VD_IO_READ,        /* whole or an error; a file that ends early is -EIO */
  VD_IO_WRITE,       /* whole or an error; may extend the file */
  VD_IO_FLUSH,       /* fdatasync: all writes completed before are durable, with the size they need. Once one
                        has failed all others of that file fail with EIO, for good: see vd_io_submit() */
  VD_IO_PUNCH,       /* a hole, the size stays; afterwards the range reads as zeros. -EOPNOTSUPP is common */
  VD_IO_TRUNCATE,    /* length is the file's new size; for opening and closing only, it may block */
  VD_IO_READ_PADDED, /* as READ, but behind the end of the file there are zeros */
} VdIoKind;

/* result: 0 or -errno. The op may be submitted again from here. */
typedef void (*VdIoDone)(VdIoOp *op, int result);

struct VdIoOp {
  VdIoKind kind;
  unsigned file;   /* index in the chain; 0 is the leaf */
  uint64_t offset; /* bytes */
  uint64_t length; /* bytes, at most 1 GiB for READ and WRITE */
  void *buffer;    /* borrowed until done */
  VdIoDone done;
  void *user; /* the submitter's */
  /* From here on the backend's own. */
  VdRingOp ring;
  VdIo *io;
  VdIoOp *next;
  uint64_t progress; /* bytes */
  int result;
  unsigned tries;
};

/* Work that is put off to the end of the round, so that one piece of it serves all that came in the round. */
struct VdIoTask {
  void (*run)(VdIoTask *self);
  VdIoTask *next;
  bool queued;
};

typedef struct {
  void (*submit)(VdIo *self, VdIoOp *op);
  /* Runs what was put off, hands everything submitted to the kernel, waits for one completion unless
   * something was put off, runs all there are. May return early on a signal. Returns -errno when no
   * completion can be had any more: -EDEADLK when nothing is in flight. */
  int (*wait)(VdIo *self);
} VdIoOps;

typedef struct {
  bool writable;
  bool direct; /* offset, length and buffer of every op must be multiples of alignment */
  uint32_t alignment;
  uint64_t size; /* bytes; when the chain was opened */
} VdIoFile;

/* The flushes of a file; the base's own. */
typedef struct {
  VdIo *io;
  VdIoOp op;                      /* the one that is under way */
  VdIoOp *active;                 /* for whom; NULL: none is */
  VdIoOp *waiting, **waiting_end; /* who share the next */
  VdIoTask task;                  /* tells those who come after a failure */
  bool failed;
} VdIoFlusher;

struct VdIo {
  const VdIoOps *ops;
  VdIoFile files[VD_IO_MAX_FILES + 1];
  VdIoFlusher flushers[VD_IO_MAX_FILES];
  unsigned n_files;
  VdIoTask *tasks, **tasks_end; /* the base's own */
};

void vd_io_init(VdIo *self, const VdIoOps *ops);
/* Runs task once before the next batch is handed over; no more than once, however often it is asked for. */
void vd_io_defer(VdIo *self, VdIoTask *task);
/* For backends, at the start of wait(). Tells whether there was anything. */
bool vd_io_run_tasks(VdIo *self);

/* Of a FLUSH. Not to be called by others. */
void vd_io_submit_flush(VdIo *self, VdIoOp *op);

/*
 * The kernel tells of data that it could not write once, to one of those who flush, and forgets it: the next
 * flush succeeds though the data is lost. So flushes of a file go one at a time (those that come meanwhile
 * share the next), and after one has failed there is no success any more: whoever asks whether what it wrote
 * is durable must not hear yes. What helps is to open the file anew, and to see what is there.
 */
static inline void vd_io_submit(VdIo *self, VdIoOp *op)
{
  if (op->kind == VD_IO_FLUSH)
    vd_io_submit_flush(self, op);
  else
    self->ops->submit(self, op);
}

/* Submits and waits until op is done; its own done is called too if there is one. For opening and closing:
 * other completions run meanwhile. Returns op's result. */
int vd_io_run(VdIo *self, VdIoOp *op);
