/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One question and one answer between virtdiskd and a virtdisk-worker, each one message of fixed size on a
 * SOCK_SEQPACKET pair: no pointers, no variable strings. The question carries the image's descriptor
 * (SCM_RIGHTS), the answer carries none. Both ends come from one build; the version catches a mix-up of
 * installations.
 */
#pragma once

#include "formats/error.h"
#include "worker/facts.h"

#define VD_WORKER_MAGIC UINT32_C(0x76646b77) /* "vdkw" */
#define VD_WORKER_VERSION 1

/* Where the worker finds its end of the line, and where it puts the image. No other descriptor is open. */
#define VD_WORKER_SOCKET_FD 3
#define VD_WORKER_IMAGE_FD 4

typedef enum {
  VD_WORKER_CONTENT_NONE,
  VD_WORKER_CONTENT_TOO,       /* besides what the image is, what is inside */
  VD_WORKER_CONTENT_OF_DEVICE, /* the descriptor is of a block device: what is inside, and nothing else */
} VdWorkerContent;

typedef struct {
  uint32_t magic;
  uint32_t version;
  uint32_t size;      /* bytes of this struct */
  uint32_t device_id; /* VirtdiskDeviceId, never UNKNOWN */
  uint32_t content;   /* VdWorkerContent */
  /* OF_DEVICE: what the block device has. */
  uint32_t sector_size;
  uint64_t device_size; /* bytes */
} VdWorkerRequest;

typedef struct {
  uint32_t magic;
  uint32_t version;
  uint32_t size;   /* bytes of this struct */
  uint32_t failed; /* 1: error holds, 0: facts hold */
  VdFormatError error;
  VdFacts facts;
} VdWorkerReply;
