/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the ublk driver and a program say to each other: control commands (the daemon), descriptors and I/O
 * commands (the worker). The kernel's own header is too old where we build (Debian 12 has that of 6.1), and a
 * copy of it that others ship moves fields; so the layout stands here, and every offset is asserted. Linux
 * 6.0 to 7.2, little and big endian alike (native numbers). Definitions only.
 */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define VD_UBLK_CONTROL_PATH "/dev/ublk-control"
#define VD_UBLK_CHAR_FORMAT "/dev/ublkc%u"
#define VD_UBLK_BLOCK_FORMAT "/dev/ublkb%u"

/* Control commands as _IOR/_IOWR('u', number, 32 bytes): cmd_op of IORING_OP_URING_CMD on a ring with
 * IORING_SETUP_SQE128, VdUblkCommand at VD_UBLK_SQE_COMMAND. Since: Linux with this encoding. */
#define VD_UBLK_CMD_GET_QUEUE_AFFINITY UINT32_C(0x80207501) /* 6.4 */
#define VD_UBLK_CMD_GET_DEV_INFO UINT32_C(0x80207502)       /* 6.4 */
#define VD_UBLK_CMD_ADD_DEV UINT32_C(0xc0207504)            /* 6.4 */
#define VD_UBLK_CMD_DEL_DEV UINT32_C(0xc0207505)            /* 6.4; waits for the last reference */
#define VD_UBLK_CMD_START_DEV UINT32_C(0xc0207506)  /* 6.4; data[0]: pid of who opened the char device */
#define VD_UBLK_CMD_STOP_DEV UINT32_C(0xc0207507)   /* 6.4 */
#define VD_UBLK_CMD_SET_PARAMS UINT32_C(0xc0207508) /* 6.4 */
#define VD_UBLK_CMD_GET_PARAMS UINT32_C(0x80207509) /* 6.4 */
#define VD_UBLK_CMD_START_USER_RECOVERY UINT32_C(0xc0207510) /* 6.4 */
#define VD_UBLK_CMD_END_USER_RECOVERY UINT32_C(0xc0207511)   /* 6.4; data[0] as START_DEV */
#define VD_UBLK_CMD_GET_DEV_INFO2 UINT32_C(0x80207512)       /* 6.4 */
#define VD_UBLK_CMD_GET_FEATURES UINT32_C(0x80207513)        /* 6.5; addr: one u64 */
#define VD_UBLK_CMD_DEL_DEV_ASYNC UINT32_C(0x80207514)       /* 6.9 */
#define VD_UBLK_CMD_UPDATE_SIZE UINT32_C(0xc0207515)         /* 6.16; data[0]: 512-byte sectors */
#define VD_UBLK_CMD_QUIESCE_DEV UINT32_C(0xc0207516)         /* 6.16; data[0]: milliseconds, 0: for ever */
#define VD_UBLK_CMD_TRY_STOP_DEV UINT32_C(0xc0207517)        /* 7.0; EBUSY while the disk is open */

/* I/O commands: cmd_op on the worker's ring, VdUblkIoCommand at VD_UBLK_SQE_COMMAND. */
#define VD_UBLK_IO_FETCH UINT32_C(0xc0107520)
#define VD_UBLK_IO_COMMIT_AND_FETCH UINT32_C(0xc0107521)

/* Where a command lies in a submission, bytes. */
#define VD_UBLK_SQE_COMMAND 48
#define VD_UBLK_NO_QUEUE UINT16_C(0xffff) /* queue_id of a command that is for no queue */
#define VD_UBLK_ANY_ID UINT32_C(0xffffffff)

typedef struct {
  uint32_t dev_id;
  uint16_t queue_id;
  uint16_t len;  /* bytes at addr */
  uint64_t addr; /* must stay valid until the completion */
  uint64_t data;
  uint16_t dev_path_len;
  uint16_t pad;
  uint32_t reserved;
} VdUblkCommand;

static_assert(sizeof(VdUblkCommand) == 32, "ublksrv_ctrl_cmd");
static_assert(offsetof(VdUblkCommand, queue_id) == 4 && offsetof(VdUblkCommand, len) == 6 &&
                  offsetof(VdUblkCommand, addr) == 8 && offsetof(VdUblkCommand, data) == 16 &&
                  offsetof(VdUblkCommand, dev_path_len) == 24,
              "ublksrv_ctrl_cmd");

/* VdUblkInfo.state */
enum { VD_UBLK_DEAD, VD_UBLK_LIVE, VD_UBLK_QUIESCED, VD_UBLK_FAIL_IO };

/* VdUblkInfo.flags. Unknown ones are cleared silently by the kernel: look at what it returns. */
#define VD_UBLK_F_SUPPORT_ZERO_COPY (UINT64_C(1) << 0)
#define VD_UBLK_F_URING_CMD_COMP_IN_TASK (UINT64_C(1) << 1)
#define VD_UBLK_F_NEED_GET_DATA (UINT64_C(1) << 2)
#define VD_UBLK_F_USER_RECOVERY (UINT64_C(1) << 3)
#define VD_UBLK_F_USER_RECOVERY_REISSUE (UINT64_C(1) << 4)
#define VD_UBLK_F_UNPRIVILEGED_DEV (UINT64_C(1) << 5)
#define VD_UBLK_F_CMD_IOCTL_ENCODE (UINT64_C(1) << 6)
#define VD_UBLK_F_USER_COPY (UINT64_C(1) << 7)
#define VD_UBLK_F_ZONED (UINT64_C(1) << 8)
#define VD_UBLK_F_USER_RECOVERY_FAIL_IO (UINT64_C(1) << 9)
#define VD_UBLK_F_UPDATE_SIZE (UINT64_C(1) << 10)
#define VD_UBLK_F_AUTO_BUF_REG (UINT64_C(1) << 11)
#define VD_UBLK_F_QUIESCE (UINT64_C(1) << 12)
#define VD_UBLK_F_PER_IO_DAEMON (UINT64_C(1) << 13)
#define VD_UBLK_F_BUF_REG_OFF_DAEMON (UINT64_C(1) << 14)
#define VD_UBLK_F_BATCH_IO (UINT64_C(1) << 15)
#define VD_UBLK_F_INTEGRITY (UINT64_C(1) << 16)
#define VD_UBLK_F_SAFE_STOP_DEV (UINT64_C(1) << 17)
#define VD_UBLK_F_NO_AUTO_PART_SCAN (UINT64_C(1) << 18)
#define VD_UBLK_F_SHMEM_ZC (UINT64_C(1) << 19)

typedef struct {
  uint16_t nr_hw_queues;
  uint16_t queue_depth;
  uint16_t state;
  uint16_t pad0;
  uint32_t max_io_buf_bytes;
  uint32_t dev_id;
  int32_t ublksrv_pid; /* -1 on newer kernels once the opener has gone */
  uint32_t pad1;
  uint64_t flags;
  uint64_t ublksrv_flags; /* ours, kept by the kernel: how a device is known as one of ours */
  uint32_t owner_uid;
  uint32_t owner_gid;
  uint64_t reserved[2];
} VdUblkInfo;

static_assert(sizeof(VdUblkInfo) == 64, "ublksrv_ctrl_dev_info");
static_assert(offsetof(VdUblkInfo, queue_depth) == 2 && offsetof(VdUblkInfo, state) == 4 &&
                  offsetof(VdUblkInfo, max_io_buf_bytes) == 8 && offsetof(VdUblkInfo, dev_id) == 12 &&
                  offsetof(VdUblkInfo, ublksrv_pid) == 16 && offsetof(VdUblkInfo, flags) == 24 &&
                  offsetof(VdUblkInfo, ublksrv_flags) == 32 && offsetof(VdUblkInfo, owner_uid) == 40 &&
                  offsetof(VdUblkInfo, owner_gid) == 44,
              "ublksrv_ctrl_dev_info");

/* VdUblkParams.types */
#define VD_UBLK_PARAM_BASIC (UINT32_C(1) << 0) /* always */
#define VD_UBLK_PARAM_DISCARD (UINT32_C(1) << 1)
#define VD_UBLK_PARAM_DEVT (UINT32_C(1) << 2) /* read only */
#define VD_UBLK_PARAM_ZONED (UINT32_C(1) << 3)
#define VD_UBLK_PARAM_DMA_ALIGN (UINT32_C(1) << 4) /* 6.15 */
#define VD_UBLK_PARAM_SEGMENT (UINT32_C(1) << 5)   /* 6.15 */

/* VdUblkParams.attrs */
#define VD_UBLK_ATTR_READ_ONLY (UINT32_C(1) << 0)
#define VD_UBLK_ATTR_ROTATIONAL (UINT32_C(1) << 1)
#define VD_UBLK_ATTR_VOLATILE_CACHE (UINT32_C(1) << 2)
#define VD_UBLK_ATTR_FUA (UINT32_C(1) << 3)

/* Largest DISCARD and WRITE_ZEROES that reach us whole: longer ones were cut silently before 6.11. Round down
 * to the logical sector. 512-byte sectors. */
#define VD_UBLK_MAX_ZERO_SECTORS (UINT32_MAX >> 9)

/* Sectors are 512 bytes whatever the logical sector size. Written flat, since the kernel's nested structs
 * have byte paddings that are easily got wrong. */
typedef struct {
  uint32_t len;
  uint32_t types;
  uint32_t attrs;
  uint8_t logical_bs_shift;
  uint8_t physical_bs_shift;
  uint8_t io_opt_shift;
  uint8_t io_min_shift;
  uint32_t max_sectors;
  uint32_t chunk_sectors;
  uint64_t dev_sectors;
  uint64_t virt_boundary_mask;
  uint32_t discard_alignment;
  uint32_t discard_granularity; /* bytes, never 0 */
  uint32_t max_discard_sectors;
  uint32_t max_write_zeroes_sectors;
  uint16_t max_discard_segments; /* 1 if discards are taken */
  uint16_t discard_reserved;
  uint32_t char_major, char_minor, disk_major, disk_minor; /* DEVT, read only */
  uint8_t zoned[32];
  uint32_t dma_alignment; /* mask */
  uint8_t dma_pad[4];
  uint64_t seg_boundary_mask;
  uint32_t max_segment_size;
  uint16_t max_segments;
  uint8_t segment_pad[2];
} VdUblkParams;

static_assert(sizeof(VdUblkParams) == 136, "ublk_params up to and with segment");
static_assert(offsetof(VdUblkParams, attrs) == 8 && offsetof(VdUblkParams, logical_bs_shift) == 12 &&
                  offsetof(VdUblkParams, max_sectors) == 16 && offsetof(VdUblkParams, chunk_sectors) == 20 &&
                  offsetof(VdUblkParams, dev_sectors) == 24 &&
                  offsetof(VdUblkParams, virt_boundary_mask) == 32,
              "ublk_param_basic");
static_assert(offsetof(VdUblkParams, discard_alignment) == 40 &&
                  offsetof(VdUblkParams, max_discard_segments) == 56,
              "ublk_param_discard");
static_assert(offsetof(VdUblkParams, char_major) == 60 && offsetof(VdUblkParams, zoned) == 76 &&
                  offsetof(VdUblkParams, dma_alignment) == 108 &&
                  offsetof(VdUblkParams, seg_boundary_mask) == 120,
              "ublk_params");

/* One request, in the area that is mapped read-only from the char device. */
typedef struct {
  uint32_t op_flags; /* operation in the low 8 bits, VD_UBLK_IO_F_* above */
  uint32_t nr_sectors;
  uint64_t start_sector;
  uint64_t addr;
} VdUblkDescriptor;

static_assert(sizeof(VdUblkDescriptor) == 24, "ublksrv_io_desc");
static_assert(offsetof(VdUblkDescriptor, nr_sectors) == 4 && offsetof(VdUblkDescriptor, start_sector) == 8 &&
                  offsetof(VdUblkDescriptor, addr) == 16,
              "ublksrv_io_desc");

/* Queue q's descriptors lie at q times this offset (rounded up to a page), whatever the depth is; the mapping
 * of one queue is depth descriptors long, rounded up to a page. */
#define VD_UBLK_MAX_QUEUE_DEPTH 4096
#define VD_UBLK_QUEUE_STRIDE ((uint64_t)VD_UBLK_MAX_QUEUE_DEPTH * sizeof(VdUblkDescriptor))

enum {
  VD_UBLK_OP_READ = 0,
  VD_UBLK_OP_WRITE = 1,
  VD_UBLK_OP_FLUSH = 2,
  VD_UBLK_OP_DISCARD = 3,
  VD_UBLK_OP_WRITE_ZEROES = 5,
};

#define VD_UBLK_IO_OP(op_flags) ((op_flags)&0xff)
#define VD_UBLK_IO_F_FUA (UINT32_C(1) << 13)
#define VD_UBLK_IO_F_NOUNMAP (UINT32_C(1) << 15)

typedef struct {
  uint16_t q_id;
  uint16_t tag;
  int32_t result; /* bytes, or -errno */
  uint64_t addr;  /* buffer of the next request; 0 with zero copy */
} VdUblkIoCommand;

static_assert(sizeof(VdUblkIoCommand) == 16, "ublksrv_io_cmd");
static_assert(offsetof(VdUblkIoCommand, result) == 4 && offsetof(VdUblkIoCommand, addr) == 8,
              "ublksrv_io_cmd");
