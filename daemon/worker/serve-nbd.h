/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The NBD transport: the disk through a connected stream socket, for one client. serve-nbd.c moves bytes
 * through the ring and cuts them into messages, serve-nbd-ops.c knows what is asked. The client is whoever
 * may read (and write) the image anyway; it can break its own connection, and nothing else.
 */
#pragma once

#include "worker/nbd-abi.h"
#include "worker/serve.h"

/* Where in a slot the payload begins; the header of an answer lies right before it. */
#define VD_NBD_PAYLOAD VD_IO_ALIGNMENT
/* A read that is not aligned is widened to whole sectors on both sides. */
#define VD_NBD_TAIL (2 * VD_IO_ALIGNMENT)
/* Ceiling of what an option brings along; more is skipped and refused. Bytes. */
#define VD_NBD_MAX_OPTION 8192U
/* Ceiling of what is skipped for an option; who announces more is hung up on. */
#define VD_NBD_MAX_SKIP (UINT32_C(1) << 20)
/* The same for the payload of a request: what a client may send without having asked for our maximum. */
#define VD_NBD_MAX_PAYLOAD (UINT32_C(32) << 20)
/* Room for what came and was not looked at yet, bytes. */
#define VD_NBD_INBOX 16384U
/* Room for answers without payload; all that one option asks for fit. */
#define VD_NBD_OUTBOX 1024U

typedef struct VdNbd VdNbd;
typedef struct VdNbdSlot VdNbdSlot;

/* What the next bytes are. */
typedef enum { VD_NBD_FLAGS, VD_NBD_OPTION, VD_NBD_OPTION_DATA, VD_NBD_REQUEST } VdNbdState;

/* One request and its answer. */
struct VdNbdSlot {
  VdRequest request;
  VdNbd *nbd;
  VdNbdSlot *next;       /* of the free ones, or of those whose answers wait */
  uint64_t cookie;       /* what the client calls the request */
  uint32_t length, skip; /* READ: bytes asked for, and bytes before them that were not */
  bool flushes;          /* a FLUSH is still to follow */
  uint8_t *memory;
  uint8_t *answer;
  uint32_t answer_length;
};

struct VdNbd {
  VdServer *server;
  VdNbdState state;
  VdRingOp receive_op, send_op;
  bool receiving, sending;
  bool receiving_payload; /* what is being received goes to the slot that is filled */
  bool closing;           /* the client sends nothing more */
  bool used;              /* the disk was asked for something */
  bool no_zeroes;         /* the client knows that EXPORT_NAME needs none */
  uint16_t export_flags;
  uint32_t option, option_length;
  /* Before the next message: bytes that nobody wants, or the payload of a write. */
  uint32_t skip_left, fill_left;
  VdNbdSlot *filled;
  uint32_t head, tail; /* what is in the inbox */
  uint8_t inbox[VD_NBD_INBOX];
  uint32_t outbox_used;
  uint8_t outbox[VD_NBD_OUTBOX];
  /* What is being sent, and whose it is; NULL: the outbox. */
  const uint8_t *send_at;
  uint32_t send_left;
  VdNbdSlot *sent;
  VdNbdSlot *answers, **answers_end;
  VdNbdSlot *free;
  unsigned n_slots, n_taken;
  VdNbdSlot slots[VD_SERVE_MAX_DEPTH];
};

/* serve-nbd-ops.c */
/* Says who we are. */
void vd_nbd_greet(VdNbd *self);
/* Bytes that the next message has. */
uint32_t vd_nbd_message_size(const VdNbd *self);
/* The next message, whole. In VD_NBD_REQUEST a slot is free, else the outbox. */
void vd_nbd_handle_message(VdNbd *self, const uint8_t *message);
/* The payload of slot is here. */
void vd_nbd_handle_payload(VdNbdSlot *slot);

/* serve-nbd.c */
/* n more bytes for the outbox; NULL: zeros. */
void vd_nbd_append(VdNbd *self, const void *bytes, uint32_t n);
/* One is free. */
VdNbdSlot *vd_nbd_take_slot(VdNbd *self);
/* The next n bytes are nobody's, or the payload of slot. */
void vd_nbd_skip(VdNbd *self, uint32_t n);
void vd_nbd_fill(VdNbd *self, VdNbdSlot *slot, uint32_t n);
/* error: 0 or -errno. */
void vd_nbd_answer_error(VdNbdSlot *slot, int error);
/* With the payload as it lies in the slot, from skip, length bytes long. */
void vd_nbd_answer_payload(VdNbdSlot *slot);
/* Whatever there is to do next; after an answer that was given from outside of vd_nbd_handle_...(). */
void vd_nbd_go_on(VdNbd *self);
/* What was asked for is still answered, nothing more is heard. */
void vd_nbd_close(VdNbd *self);
/* The client does not keep to the protocol, or is gone: the end. */
void vd_nbd_hang_up(VdNbd *self);
