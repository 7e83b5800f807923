/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The numbers of the NBD protocol, fixed newstyle, as far as they are spoken here. Everything on the wire is
 * big-endian and unaligned. Source: doc/proto.md of the Network Block Device project.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#define VD_NBD_MAGIC UINT64_C(0x4e42444d41474943)        /* "NBDMAGIC" */
#define VD_NBD_OPTION_MAGIC UINT64_C(0x49484156454f5054) /* "IHAVEOPT" */
#define VD_NBD_REPLY_MAGIC UINT64_C(0x0003e889045565a9)  /* of an answer to an option */
#define VD_NBD_REQUEST_MAGIC UINT32_C(0x25609513)
#define VD_NBD_SIMPLE_REPLY_MAGIC UINT32_C(0x67446698)

/* Bytes of what has a fixed size. */
#define VD_NBD_FLAGS_SIZE 4
#define VD_NBD_OPTION_SIZE 16
#define VD_NBD_REPLY_SIZE 20
#define VD_NBD_REQUEST_SIZE 28
#define VD_NBD_SIMPLE_REPLY_SIZE 16
/* Zeros behind the answer to EXPORT_NAME, for clients that did not say that they want none. */
#define VD_NBD_EXPORT_ZEROES 124
/* Longest name of an export. */
#define VD_NBD_MAX_NAME 4096

/* Flags of the greeting, and of the client's answer. */
#define VD_NBD_FIXED_NEWSTYLE (1U << 0)
#define VD_NBD_NO_ZEROES (1U << 1)

enum {
  VD_NBD_OPT_EXPORT_NAME = 1,
  VD_NBD_OPT_ABORT = 2,
  VD_NBD_OPT_LIST = 3,
  VD_NBD_OPT_INFO = 6,
  VD_NBD_OPT_GO = 7,
};

#define VD_NBD_REP_ACK UINT32_C(1)
#define VD_NBD_REP_SERVER UINT32_C(2)
#define VD_NBD_REP_INFO UINT32_C(3)
#define VD_NBD_REP_ERR_UNSUP UINT32_C(0x80000001)
#define VD_NBD_REP_ERR_INVALID UINT32_C(0x80000003)
#define VD_NBD_REP_ERR_UNKNOWN UINT32_C(0x80000006)
#define VD_NBD_REP_ERR_TOO_BIG UINT32_C(0x80000009)

enum { VD_NBD_INFO_EXPORT = 0, VD_NBD_INFO_BLOCK_SIZE = 3 };

/* What an export can do. */
#define VD_NBD_HAS_FLAGS (1U << 0)
#define VD_NBD_READ_ONLY (1U << 1)
#define VD_NBD_SEND_FLUSH (1U << 2)
#define VD_NBD_SEND_FUA (1U << 3)
#define VD_NBD_SEND_TRIM (1U << 5)
#define VD_NBD_SEND_WRITE_ZEROES (1U << 6)

enum {
  VD_NBD_CMD_READ = 0,
  VD_NBD_CMD_WRITE = 1,
  VD_NBD_CMD_DISC = 2,
  VD_NBD_CMD_FLUSH = 3,
  VD_NBD_CMD_TRIM = 4,
  VD_NBD_CMD_WRITE_ZEROES = 6,
};

#define VD_NBD_CMD_FLAG_FUA (1U << 0)
#define VD_NBD_CMD_FLAG_NO_HOLE (1U << 1)

/* Errors of a request; the numbers are those of Linux, on every system. */
enum {
  VD_NBD_EPERM = 1,
  VD_NBD_EIO = 5,
  VD_NBD_ENOMEM = 12,
  VD_NBD_EINVAL = 22,
  VD_NBD_ENOSPC = 28,
};

static inline uint16_t vd_nbd_get16(const uint8_t *at)
{
  return (uint16_t)((unsigned)at[0] << 8 | at[1]);
}

static inline uint32_t vd_nbd_get32(const uint8_t *at)
{
  return (uint32_t)vd_nbd_get16(at) << 16 | vd_nbd_get16(at + 2);
}

static inline uint64_t vd_nbd_get64(const uint8_t *at)
{
  return (uint64_t)vd_nbd_get32(at) << 32 | vd_nbd_get32(at + 4);
}

/* These return the place behind. */
static inline uint8_t *vd_nbd_put16(uint8_t *at, uint16_t value)
{
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
  return at + 2;
}

static inline uint8_t *vd_nbd_put32(uint8_t *at, uint32_t value)
{
  return vd_nbd_put16(vd_nbd_put16(at, (uint16_t)(value >> 16)), (uint16_t)value);
}

static inline uint8_t *vd_nbd_put64(uint8_t *at, uint64_t value)
{
  return vd_nbd_put32(vd_nbd_put32(at, (uint32_t)(value >> 32)), (uint32_t)value);
}
