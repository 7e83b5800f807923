/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One io_uring that carries the requests of a transport and the I/O on the files: one system call for a
 * batch of both. One thread. (Linux 6.1 and later: SINGLE_ISSUER, DEFER_TASKRUN; without them where they are
 * refused.)
 */
#pragma once

#include <liburing.h>

#include "engine/io.h"

typedef struct VdRing VdRing;

/* entries: submissions of one batch. n_files: size of the table of fixed files. NULL with errno: EPERM where
 * kernel.io_uring_disabled forbids it. */
VdRing *vd_ring_new(unsigned entries, unsigned n_files);
void vd_ring_free(VdRing *self);
/* A descriptor at a place of the fixed table; the ring holds a reference until free or replace (-1). */
int vd_ring_set_file(VdRing *self, unsigned index, int fd);
/*
 * Narrows the ring for good: only the operations in the list (IORING_OP_*), only on fixed files; nothing can
 * be registered any more. Must come before the first submission. What vd_ring_io_new() needs: READ, WRITE,
 * FSYNC, FALLOCATE.
 */
int vd_ring_restrict(VdRing *self, const uint8_t *operations, unsigned n);
/* A zeroed submission whose completion goes to op; never NULL: what is queued is handed over when it is full.
 */
struct io_uring_sqe *vd_ring_sqe(VdRing *self, VdRingOp *op);
/* A completion that needs no submission: op is told of result in the next wait. */
void vd_ring_post(VdRing *self, VdRingOp *op, int result);
/* Hands over, waits for at least one completion, runs all. May return early on a signal. -errno if the ring
 * is broken, -EDEADLK if nothing is in flight. */
int vd_ring_wait(VdRing *self);
/* The same, but no longer than ms: -ETIME if nothing was completed by then. */
int vd_ring_wait_for(VdRing *self, unsigned ms);
/* Called at the start of each wait, before the batch is handed over; true: don't wait this time. */
void vd_ring_set_prepare(VdRing *self, bool (*prepare)(void *user), void *user);
/* For registrations of a transport's own (buffers), before the ring is restricted. */
struct io_uring *vd_ring_uring(VdRing *self);

/*
 * The files of a chain on the ring; one per ring, made before the ring is restricted. fds[0] is the leaf.
 * first_file: where the fixed table has room for n. fds are borrowed (the ring has its own reference).
 * n_written: how many of them, from the leaf on, are written.
 * direct: whether O_DIRECT may be set on descriptions that are ours alone; it is kept only where the file
 * system takes the alignment that sector_size allows.
 */
VdIo *vd_ring_io_new(VdRing *ring, const int *fds, unsigned n, unsigned first_file, unsigned n_written,
                     uint32_t sector_size, bool direct);
/*
 * Buffers that only the kernel has: those in its table of registered buffers, which are not memory of ours.
 * The n from `base` on, `stride` bytes apart, stand for them: an op whose buffer begins there is one of
 * READ_FIXED or WRITE_FIXED, on buffer (address - base) / stride. zero_file: where in the fixed table there
 * is /dev/zero, for VD_IO_ZERO_FILE.
 */
void vd_ring_io_set_remote(VdIo *io, const void *base, size_t stride, unsigned n, unsigned zero_file);
void vd_ring_io_free(VdIo *io);
