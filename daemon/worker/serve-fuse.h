/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The FUSE transport: the protocol of /dev/fuse spoken directly, so that nothing is allocated or blocks, and
 * so that a successor can take a connection over. serve-fuse.c moves requests and answers through the ring,
 * serve-fuse-ops.c knows what is asked. The file system has one file, "disk", in its root.
 */
#pragma once

#include "worker/fuse-abi.h"
#include "worker/serve.h"

/* Where in a slot the payload of a WRITE begins, so that it can go to the image directly: its header ends
 * there. */
#define VD_FUSE_PAYLOAD VD_IO_ALIGNMENT
#define VD_FUSE_WRITE_HEADER (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
/* A read that is not aligned is widened to whole sectors on both sides. */
#define VD_FUSE_TAIL (2 * VD_IO_ALIGNMENT)

typedef struct VdFuse VdFuse;
typedef struct VdFuseSlot VdFuseSlot;

/* One request and its answer. */
struct VdFuseSlot {
  VdRingOp op;
  VdRequest request;
  VdFuse *fuse;
  VdFuseSlot *next; /* of the free ones */
  uint64_t unique;  /* what the kernel calls the request */
  uint32_t length;  /* READ, WRITE: bytes asked for */
  uint32_t skip;    /* READ: bytes at the start of the payload that were not asked for */
  uint8_t *memory;
  /* The answer that is being written. */
  const uint8_t *answer;
  uint32_t answer_length;
};

struct VdFuse {
  VdServer *server;
  VdFuseSlot *free;
  unsigned n_slots;
  bool reading; /* a slot waits for a request */
  bool used;    /* somebody opened the file, or a predecessor served */
  VdRingOp notice;
  struct fuse_out_header resend;
  VdFuseSlot slots[VD_SERVE_MAX_DEPTH];
};

/* Where a request of the kernel lies in a slot. */
static inline const struct fuse_in_header *vd_fuse_request(const VdFuseSlot *slot)
{
  return (const struct fuse_in_header *)(slot->memory + VD_FUSE_PAYLOAD - VD_FUSE_WRITE_HEADER);
}

/* Serves the request of length bytes that was read into slot: sees to it that one of those below is called,
 * now or later. */
void vd_fuse_serve(VdFuseSlot *slot, uint32_t length);

/* error: 0 or -errno. */
void vd_fuse_answer_error(VdFuseSlot *slot, int error);
/* Copies body. */
void vd_fuse_answer(VdFuseSlot *slot, const void *body, uint32_t length);
/* The payload as it lies in the slot, from skip, length bytes long. */
void vd_fuse_answer_payload(VdFuseSlot *slot);
/* Nothing is answered. */
void vd_fuse_release(VdFuseSlot *slot);
