/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VdIo on the ring: whole transfers out of what the kernel gives in pieces. A file is read and written either
 * directly or through the page cache, never both at a time: a direct write beside a dirty page is lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "engine/direct-io.h"
#include "engine/ring.h"

/* From here on a copy out of memory is the kernel's threads' matter, bytes: several run at a time, and this
 * thread goes on meanwhile. Below it the change of threads costs more than the copy. */
#define THREAD_MIN ((uint64_t)128 << 10)
/* How often one piece of an op is tried again when the kernel is short of memory or threads. */
#define MAX_TRIES 16

typedef struct {
  int fd;         /* borrowed */
  unsigned index; /* in the fixed table */
  unsigned in_flight;
  bool in_memory;           /* tmpfs: io_uring would hand each transfer to a thread */
  bool leaving_direct;      /* the kernel refused: what is in flight ends, then all go on buffered */
  VdIoOp *held, **held_end; /* meanwhile */
} RingFile;

typedef struct {
  VdIo io;
  VdRing *ring;
  RingFile files[VD_IO_MAX_FILES + 1];
  uintptr_t remote; /* see vd_ring_io_set_remote() */
  size_t remote_size, remote_stride;
} RingIo;

static void on_ring_done(VdRingOp *ring, int result, uint32_t flags);

static VdIoOp *op_of(VdRingOp *ring)
{
  return (VdIoOp *)((char *)ring - offsetof(VdIoOp, ring));
}

static void hold(RingFile *file, VdIoOp *op)
{
  op->next = NULL;
  *file->held_end = op;
  file->held_end = &op->next;
}

/* Without the flag io_uring copies what is in memory before it returns. Writes through the page cache of a
 * disk's file system gain nothing: they take turns. */
static bool wants_thread(const RingIo *self, const RingFile *file, const VdIoOp *op)
{
  bool read = op->kind == VD_IO_READ || op->kind == VD_IO_READ_PADDED;

  return op->length >= THREAD_MIN && !self->io.files[op->file].direct &&
         (read || (op->kind == VD_IO_WRITE && file->in_memory));
}

static bool is_remote(const RingIo *self, const VdIoOp *op)
{
  return (uintptr_t)op->buffer - self->remote < self->remote_size;
}

/* The kernel counts from the buffer's first byte. */
static void prepare_remote(const RingIo *self, struct io_uring_sqe *sqe, const RingFile *file,
                           const VdIoOp *op)
{
  uintptr_t at = (uintptr_t)op->buffer - self->remote + op->progress;
  void *inside = (void *)(at % self->remote_stride);
  int index = (int)(at / self->remote_stride);
  unsigned left = (unsigned)(op->length - op->progress);

  if (op->kind == VD_IO_WRITE)
    io_uring_prep_write_fixed(sqe, (int)file->index, inside, left, op->offset + op->progress, index);
  else
    io_uring_prep_read_fixed(sqe, (int)file->index, inside, left, op->offset + op->progress, index);
}

static void prepare_transfer(const RingIo *self, struct io_uring_sqe *sqe, const RingFile *file,
                             const VdIoOp *op)
{
  char *at = (char *)op->buffer + op->progress;
  unsigned left = (unsigned)(op->length - op->progress);

  if (is_remote(self, op))
    prepare_remote(self, sqe, file, op);
  else if (op->kind == VD_IO_WRITE)
    io_uring_prep_write(sqe, (int)file->index, at, left, op->offset + op->progress);
  else
    io_uring_prep_read(sqe, (int)file->index, at, left, op->offset + op->progress);
}

static void prepare(RingIo *self, const RingFile *file, VdIoOp *op)
{
  struct io_uring_sqe *sqe = vd_ring_sqe(self->ring, &op->ring);

  switch (op->kind) {
  case VD_IO_READ:
  case VD_IO_READ_PADDED:
  case VD_IO_WRITE:
    prepare_transfer(self, sqe, file, op);
    break;
  case VD_IO_FLUSH:
  case VD_IO_TRUNCATE:
    io_uring_prep_fsync(sqe, (int)file->index, IORING_FSYNC_DATASYNC);
    break;
  case VD_IO_PUNCH:
    io_uring_prep_fallocate(sqe, (int)file->index, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            (off_t)op->offset, (off_t)op->length);
    break;
  }
  sqe->flags |= IOSQE_FIXED_FILE;
  if (wants_thread(self, file, op))
    sqe->flags |= IOSQE_ASYNC;
}

/* What cannot block, or (TRUNCATE) may: done at once. Returns what a completion would hold. */
static int perform(const RingFile *file, const VdIoOp *op)
{
  char *at = (char *)op->buffer + op->progress;
  size_t left = op->length - op->progress;
  off_t offset = (off_t)(op->offset + op->progress);
  ssize_t result = -1;

  switch (op->kind) {
  case VD_IO_READ:
  case VD_IO_READ_PADDED:
    result = pread(file->fd, at, left, offset);
    break;
  case VD_IO_WRITE:
    result = pwrite(file->fd, at, left, offset);
    break;
  case VD_IO_TRUNCATE:
    result = ftruncate(file->fd, (off_t)op->length);
    break;
  case VD_IO_FLUSH:
    result = fdatasync(file->fd);
    break;
  case VD_IO_PUNCH:
    errno = EOPNOTSUPP;
    break;
  }
  return result < 0 ? -errno : (int)result;
}

/* A file in memory has nothing to wait for: the copy is the whole work. */
static bool is_immediate(const RingIo *self, const RingFile *file, const VdIoOp *op)
{
  if (op->kind == VD_IO_TRUNCATE)
    return true;
  return file->in_memory && op->kind != VD_IO_PUNCH && op->length < THREAD_MIN && !is_remote(self, op);
}

static void start(RingIo *self, VdIoOp *op)
{
  RingFile *file = &self->files[op->file];

  if (file->leaving_direct) {
    hold(file, op);
    return;
  }
  file->in_flight++;
  if (is_immediate(self, file, op))
    vd_ring_post(self->ring, &op->ring, perform(file, op));
  else
    prepare(self, file, op);
}

static void submit(VdIo *io, VdIoOp *op)
{
  op->io = io;
  op->ring.done = on_ring_done;
  op->progress = 0;
  op->tries = 0;
  start((RingIo *)io, op);
}

/* Nothing is in flight on the file: the page cache takes over. */
static void leave_direct(RingIo *self, unsigned index)
{
  RingFile *file = &self->files[index];
  VdIoOp *op = file->held;

  vd_direct_io_disable(file->fd);
  self->io.files[index].direct = false;
  self->io.files[index].alignment = 1;
  file->leaving_direct = false;
  file->held = NULL;
  file->held_end = &file->held;
  while (op) {
    VdIoOp *next = op->next;

    start(self, op);
    op = next;
  }
}

static bool is_transfer(const VdIoOp *op)
{
  return op->kind == VD_IO_READ || op->kind == VD_IO_READ_PADDED || op->kind == VD_IO_WRITE;
}

typedef enum { OUTCOME_DONE, OUTCOME_AGAIN, OUTCOME_BUFFERED } Outcome;

/* The file ended: what is left is zeros, or a fault. */
static Outcome end_of_file(const RingIo *self, VdIoOp *op)
{
  if (op->kind != VD_IO_READ_PADDED) {
    op->result = -EIO;
  } else if (is_remote(self, op)) {
    op->file = VD_IO_ZERO_FILE;
    return OUTCOME_AGAIN;
  } else {
    memset((char *)op->buffer + op->progress, 0, op->length - op->progress);
    op->result = 0;
  }
  return OUTCOME_DONE;
}

/* What one completion of the kernel makes of op. */
static Outcome judge(const RingIo *self, VdIoOp *op, int result)
{
  const VdIoFile *file = &self->io.files[op->file];
  bool transfer = is_transfer(op);

  /* A thread of the kernel's that could not be had cancels the request. */
  if ((result == -EINTR || result == -EAGAIN || result == -ECANCELED) && op->tries++ < MAX_TRIES)
    return OUTCOME_AGAIN;
  if (result == -EINVAL && transfer && file->direct)
    return OUTCOME_BUFFERED;
  op->result = result < 0 ? result : 0;
  if (!transfer || result < 0)
    return OUTCOME_DONE;
  op->progress += (unsigned)result;
  if (op->progress == op->length)
    return OUTCOME_DONE;
  /* A direct transfer that ends in the middle of a sector has met the end of the file. */
  bool ended =
      result == 0 || (file->direct && op->kind != VD_IO_WRITE && op->progress % file->alignment != 0);

  if (!ended)
    return OUTCOME_AGAIN;
  return end_of_file(self, op);
}

static void on_ring_done(VdRingOp *ring, int result, uint32_t flags)
{
  VdIoOp *op = op_of(ring);
  RingIo *self = (RingIo *)op->io;
  unsigned index = op->file;
  RingFile *file = &self->files[index];
  Outcome outcome = judge(self, op, result);

  file->in_flight--;
  if (outcome == OUTCOME_BUFFERED) {
    file->leaving_direct = true;
    op->progress = 0;
  }
  if (outcome != OUTCOME_DONE)
    start(self, op);
  if (file->leaving_direct && file->in_flight == 0)
    leave_direct(self, index);
  if (outcome == OUTCOME_DONE)
    op->done(op, op->result);
}

static int wait_round(VdIo *io)
{
  return vd_ring_wait(((RingIo *)io)->ring);
}

static bool on_prepare(void *user)
{
  return vd_io_run_tasks(user);
}

static bool is_in_memory(int fd)
{
  struct statfs stat;

  return fstatfs(fd, &stat) == 0 && (stat.f_type == TMPFS_MAGIC || stat.f_type == RAMFS_MAGIC);
}

static int add_file(RingIo *self, unsigned i, int fd, unsigned index)
{
  RingFile *file = &self->files[i];
  struct stat stat;

  if (fstat(fd, &stat) < 0)
    return -errno;
  file->fd = fd;
  file->index = index;
  file->held_end = &file->held;
  file->in_memory = is_in_memory(fd);
  /* A block device, from which is copied, tells its end so. */
  self->io.files[i].size = (uint64_t)(S_ISBLK(stat.st_mode) ? lseek(fd, 0, SEEK_END) : stat.st_size);
  self->io.files[i].alignment = 1;
  return vd_ring_set_file(self->ring, index, fd);
}

VdIo *vd_ring_io_new(VdRing *ring, const int *fds, unsigned n, unsigned first_file, unsigned n_written,
                     uint32_t sector_size, bool direct)
{
  static const VdIoOps ops = {.submit = submit, .wait = wait_round};
  RingIo *self;

  if (n == 0 || n > VD_IO_MAX_FILES) {
    errno = EINVAL;
    return NULL;
  }
  self = calloc(1, sizeof *self);
  if (!self)
    return NULL;
  vd_io_init(&self->io, &ops);
  self->ring = ring;
  self->io.n_files = n;
  for (unsigned i = 0; i < n; i++) {
    int error = add_file(self, i, fds[i], first_file + i);
    uint32_t alignment = error == 0 && direct ? vd_direct_io_enable(fds[i], sector_size) : 0;

    if (error < 0) {
      free(self);
      errno = -error;
      return NULL;
    }
    self->io.files[i].writable = i < n_written;
    self->io.files[i].direct = alignment > 0;
    if (alignment > 0)
      self->io.files[i].alignment = alignment;
  }
  vd_ring_set_prepare(ring, on_prepare, &self->io);
  return &self->io;
}

void vd_ring_io_set_remote(VdIo *io, const void *base, size_t stride, unsigned n, unsigned zero_file)
{
  RingIo *self = (RingIo *)io;
  RingFile *zeros = &self->files[VD_IO_ZERO_FILE];

  self->remote = (uintptr_t)base;
  self->remote_size = stride * n;
  self->remote_stride = stride;
  zeros->fd = -1;
  zeros->index = zero_file;
  zeros->held_end = &zeros->held;
  io->files[VD_IO_ZERO_FILE].alignment = 1;
}

void vd_ring_io_free(VdIo *io)
{
  RingIo *self = (RingIo *)io;

  if (!self)
    return;
  vd_ring_set_prepare(self->ring, NULL, NULL);
  free(self);
}
