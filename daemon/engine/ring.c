/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The io_uring: set up, narrowed, driven one batch per system call. Knows nothing of what it carries. */
#include "engine/ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Completions taken from the ring at a time. */
#define BATCH 64
/* Room for completions, as a multiple of the submissions of a batch: the kernel keeps what does not fit. */
#define CQ_FACTOR 8
/* Ceiling of the above (the kernel's is 65536). */
#define MAX_CQ_ENTRIES 16384
/* Ceiling of the operations in a restriction; the kernel's table has 256. */
#define MAX_OPERATIONS 32

#define FLAGS_BASE (IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP)

typedef struct {
  VdRingOp *op;
  int result;
  uint32_t flags;
} Completion;

struct VdRing {
  struct io_uring uring;
  bool disabled; /* until the first submission or restriction */
  int error;     /* -errno: the ring is broken */
  unsigned in_flight;
  bool (*prepare)(void *user);
  void *prepare_user;
  /* Completions that were taken or made outside of a wait. */
  Completion *spilled;
  unsigned n_spilled, spill_size;
  struct io_uring_sqe nowhere; /* what a broken ring gives out */
};

static int set_up(struct io_uring *uring, unsigned entries)
{
  static const unsigned flags[] = {
      IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN |
          IORING_SETUP_DEFER_TASKRUN,
      IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,
      0,
  };
  int result = -EINVAL;

  for (unsigned i = 0; i < sizeof flags / sizeof flags[0] && result == -EINVAL; i++) {
    struct io_uring_params params = {.flags = FLAGS_BASE | flags[i]};

    params.cq_entries = entries > MAX_CQ_ENTRIES / CQ_FACTOR ? MAX_CQ_ENTRIES : entries * CQ_FACTOR;
    result = io_uring_queue_init_params(entries, uring, &params);
  }
  return result;
}

VdRing *vd_ring_new(unsigned entries, unsigned n_files)
{
  VdRing *self = calloc(1, sizeof *self);
  int result;

  if (!self)
    return NULL;
  result = set_up(&self->uring, entries);
  if (result < 0) {
    free(self);
    errno = -result;
    return NULL;
  }
  self->disabled = true;
  self->spill_size = *self->uring.cq.kring_entries;
  self->spilled = calloc(self->spill_size, sizeof *self->spilled);
  result = self->spilled ? 0 : -ENOMEM;
  if (result == 0 && n_files > 0)
    result = io_uring_register_files_sparse(&self->uring, n_files);
  if (result < 0) {
    vd_ring_free(self);
    errno = -result;
    return NULL;
  }
  /* Saves the kernel a look-up per batch; without it everything works the same. */
  io_uring_register_ring_fd(&self->uring);
  return self;
}

void vd_ring_free(VdRing *self)
{
  if (!self)
    return;
  io_uring_queue_exit(&self->uring);
  free(self->spilled);
  free(self);
}

struct io_uring *vd_ring_uring(VdRing *self)
{
  return &self->uring;
}

void vd_ring_set_prepare(VdRing *self, bool (*prepare)(void *user), void *user)
{
  self->prepare = prepare;
  self->prepare_user = user;
}

int vd_ring_set_file(VdRing *self, unsigned index, int fd)
{
  int result = io_uring_register_files_update(&self->uring, index, &fd, 1);

  return result < 0 ? result : 0;
}

/* liburing 2.3 declares functions for what this is used for, but does not export them. */
static int register_raw(VdRing *self, unsigned opcode, const void *argument, unsigned n)
{
  return syscall(SYS_io_uring_register, self->uring.ring_fd, opcode, argument, n) < 0 ? -errno : 0;
}

static int enable(VdRing *self)
{
  int result = register_raw(self, IORING_REGISTER_ENABLE_RINGS, NULL, 0);

  if (result == 0)
    self->disabled = false;
  return result;
}

int vd_ring_restrict(VdRing *self, const uint8_t *operations, unsigned n)
{
  struct io_uring_restriction list[MAX_OPERATIONS + 2] = {0};
  int result;

  if (n > MAX_OPERATIONS || !self->disabled)
    return -EINVAL;
  for (unsigned i = 0; i < n; i++) {
    list[i].opcode = IORING_RESTRICTION_SQE_OP;
    list[i].sqe_op = operations[i];
  }
  list[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
  list[n].sqe_flags = IOSQE_FIXED_FILE | IOSQE_ASYNC;
  list[n + 1].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
  list[n + 1].sqe_flags = IOSQE_FIXED_FILE;
  result = register_raw(self, IORING_REGISTER_RESTRICTIONS, list, n + 2);
  return result < 0 ? result : enable(self);
}

static void spill(VdRing *self, VdRingOp *op, int result, uint32_t flags)
{
  if (self->n_spilled == self->spill_size) {
    self->error = -EOVERFLOW;
    return;
  }
  self->spilled[self->n_spilled++] = (Completion){op, result, flags};
}

void vd_ring_post(VdRing *self, VdRingOp *op, int result)
{
  self->in_flight++;
  spill(self, op, result, 0);
}

/* Takes what the kernel has ready, at most n; n: room in list. */
static unsigned take(VdRing *self, Completion *list, unsigned n)
{
  struct io_uring_cqe *cqes[BATCH];
  unsigned got = io_uring_peek_batch_cqe(&self->uring, cqes, n < BATCH ? n : BATCH);

  for (unsigned i = 0; i < got; i++)
    list[i] = (Completion){io_uring_cqe_get_data(cqes[i]), cqes[i]->res, cqes[i]->flags};
  io_uring_cq_advance(&self->uring, got);
  return got;
}

/* The kernel takes no more before completions are taken, and none may run here: they are set aside. */
static void make_room(VdRing *self)
{
  unsigned got;

  io_uring_get_events(&self->uring);
  do {
    got = take(self, self->spilled + self->n_spilled, self->spill_size - self->n_spilled);
    self->n_spilled += got;
  } while (got > 0);
}

static bool is_passing(int result)
{
  return result == -EINTR || result == -EAGAIN || result == -EBUSY;
}

static void make_ready(VdRing *self)
{
  if (self->disabled && !self->error)
    self->error = enable(self);
}

struct io_uring_sqe *vd_ring_sqe(VdRing *self, VdRingOp *op)
{
  struct io_uring_sqe *sqe = NULL;

  make_ready(self);
  while (!self->error && !(sqe = io_uring_get_sqe(&self->uring))) {
    int result = io_uring_submit(&self->uring);

    if (is_passing(result))
      make_room(self);
    else if (result < 0)
      self->error = result;
  }
  if (self->error)
    sqe = &self->nowhere;
  memset(sqe, 0, sizeof *sqe);
  io_uring_sqe_set_data(sqe, op);
  self->in_flight++;
  return sqe;
}

static void run(VdRing *self, const Completion *list, unsigned n)
{
  for (unsigned i = 0; i < n; i++) {
    if (!(list[i].flags & IORING_CQE_F_MORE))
      self->in_flight--;
    list[i].op->done(list[i].op, list[i].result, list[i].flags);
  }
}

/* What runs may spill again: the list is moved out in pieces first. */
static void run_spilled(VdRing *self)
{
  Completion list[BATCH];

  while (self->n_spilled > 0) {
    unsigned n = self->n_spilled < BATCH ? self->n_spilled : BATCH;

    memcpy(list, self->spilled, n * sizeof *list);
    self->n_spilled -= n;
    memmove(self->spilled, self->spilled + n, self->n_spilled * sizeof *list);
    run(self, list, n);
  }
}

/* With a deadline in two calls: one call would not say whether it was reached. */
static int submit_and_wait(VdRing *self, struct __kernel_timespec *deadline)
{
  struct io_uring_cqe *cqe;
  int result;

  if (!deadline)
    return io_uring_submit_and_wait(&self->uring, 1);
  result = io_uring_submit(&self->uring);
  return result < 0 ? result : io_uring_wait_cqe_timeout(&self->uring, &cqe, deadline);
}

static int hand_over(VdRing *self, bool wait, struct __kernel_timespec *deadline)
{
  int result = wait ? submit_and_wait(self, deadline) : io_uring_submit_and_get_events(&self->uring);

  /* Short of memory: what is in flight already will give some back. */
  if ((result == -EAGAIN || result == -EBUSY) && wait && self->in_flight > io_uring_sq_ready(&self->uring)) {
    struct io_uring_cqe *cqe;

    result = io_uring_wait_cqe(&self->uring, &cqe);
  }
  return is_passing(result) ? 0 : result;
}

/* deadline: NULL: none. */
static int wait_until(VdRing *self, struct __kernel_timespec *deadline)
{
  bool prepared = self->prepare && self->prepare(self->prepare_user);
  Completion list[BATCH];
  unsigned got;

  make_ready(self);
  if (self->error)
    return self->error;
  if (self->in_flight == 0)
    return prepared ? 0 : -EDEADLK;
  /* What these ask for goes along with the next batch, and that one may be waited for. */
  if (self->n_spilled > 0) {
    run_spilled(self);
    if (!prepared)
      return self->error;
  }
  int result = hand_over(self, !prepared, deadline);
  if (result < 0 && result != -ETIME)
    return self->error = result;
  run_spilled(self);
  while ((got = take(self, list, BATCH)) > 0) {
    run(self, list, got);
    result = 0;
  }
  return self->error ? self->error : result < 0 ? result : 0;
}

int vd_ring_wait(VdRing *self)
{
  return wait_until(self, NULL);
}

int vd_ring_wait_for(VdRing *self, unsigned ms)
{
  struct __kernel_timespec deadline = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

  return wait_until(self, &deadline);
}
