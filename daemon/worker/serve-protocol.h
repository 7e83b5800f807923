/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Between virtdiskd and a worker that does more than probe: it serves a device, or does one task on an image.
 * SOCK_SEQPACKET, messages of fixed size, no pointers. The first line is given at birth (descriptor 3); a
 * worker that serves also listens on a socket, so that a restarted service finds it again.
 *
 *   daemon                                   worker
 *   VD_SERVE_SETUP ........................>  (still privileged: memory, ring, ublk FETCH)
 *   VD_SERVE_FILE + descriptor, n times ...>  (then the sandbox closes; only now bytes are read)
 *   <......................................  VD_SERVE_READY or VD_SERVE_FAILED
 *   ... device is started; I/O ...
 *   VD_SERVE_STATUS .......................>  VD_SERVE_STATUS_REPLY
 *   VD_SERVE_GIVE .........................>  VD_SERVE_GIVEN + one descriptor, n times (for a successor)
 *   VD_SERVE_STOP .........................>  once the transport has ended: clean close, VD_SERVE_CLOSED,
 * exit
 *
 * STOP ends an NBD connection whoever uses it; other transports only if nobody has yet.
 * SIGTERM is that without a line; where the disk is in use the worker serves on, and from then on keeps the
 * image in its clean form whenever nobody writes (serve-rest.c): it may be killed next.
 *
 * A worker that mirrors (VD_SERVE_MIRROR) tells how far it is by VD_SERVE_PROGRESS, VD_SERVE_MIRROR_STEPS
 * times at most, and then VD_SERVE_MIRRORED. What it has not answered when it ends after VD_SERVE_BROKEN is
 * its successor's.
 *
 * When the transport ends by itself (ublk stopped, the FUSE mount gone) the worker closes the image cleanly,
 * says VD_SERVE_CLOSED to whoever is connected, and exits.
 */
#pragma once

#include "engine/io.h"
#include "formats/create.h"
#include "formats/error.h"
#include "formats/fault.h"
#include "worker/facts.h"

#define VD_SERVE_MAGIC UINT32_C(0x76647376) /* "vdsv" */
#define VD_SERVE_VERSION 1
/* What every version understands, so that an old worker can be asked to end after an upgrade: the header, and
 * STOP. */

/* Ceilings of a transport; memory is locked: depth * max_io bytes. */
#define VD_SERVE_MAX_DEPTH 128
#define VD_SERVE_MAX_IO (UINT32_C(1) << 20)
#define VD_SERVE_DEFAULT_DEPTH 64
#define VD_SERVE_DEFAULT_IO_UBLK (UINT32_C(512) << 10)
/* No less fast than 1 MiB: what is copied twice is still in the processor's cache the second time. */
#define VD_SERVE_DEFAULT_IO_FUSE (UINT32_C(512) << 10)

#define VD_SERVE_MIRROR_STEPS 256

typedef enum {
  VD_SERVE_SETUP = 1,
  VD_SERVE_FILE,
  VD_SERVE_READY,
  VD_SERVE_FAILED,
  VD_SERVE_STATUS,
  VD_SERVE_STATUS_REPLY,
  VD_SERVE_GIVE,
  VD_SERVE_GIVEN,
  VD_SERVE_STOP,
  VD_SERVE_CLOSED,
  VD_SERVE_FAULT,    /* of CHECK and REPAIR, any number before CHECKED */
  VD_SERVE_CHECKED,  /* and then READY and CLOSED as of every task */
  VD_SERVE_PROGRESS, /* of a task, any number before READY, some per second at most */
  VD_SERVE_RESULT,   /* of a task that has more to tell, once, before READY */
  VD_SERVE_MIRRORED, /* a report: the mirror holds what the image holds, or (error) is no mirror any more */
  VD_SERVE_BREAK,    /* daemon: the mirror takes the image's place */
  VD_SERVE_BROKEN,   /* a report: it is whole and closed, and this worker ends; or (error) it goes on */
} VdServeKind;

typedef enum {
  VD_TRANSPORT_NONE, /* a task */
  VD_TRANSPORT_UBLK,
  VD_TRANSPORT_FUSE,
  VD_TRANSPORT_NBD,
} VdTransport;

#define VD_TRANSPORT_LAST VD_TRANSPORT_NBD

typedef enum {
  VD_TASK_NONE,
  VD_TASK_CREATE, /* file 0 is new and empty: writes create */
  VD_TASK_BEGIN,  /* what a session of writing starts with (a fixed VHDX that loop will write to) */
  VD_TASK_CHECK,  /* every structure of file 0 */
  VD_TASK_REPAIR, /* what can be mended is, if anything is; then as CHECK */
  /* Those that follow tell of their progress and are told to end by STOP: they leave the image as it was, or
   * as far as they got and whole, and fail with OPERATION_ABORTED. Parameters: VdTaskOrder. */
  VD_TASK_COPY,     /* file 0 is new and empty: create, filled from the chain that follows it */
  VD_TASK_COMPACT,  /* file 0 is the leaf, its parents follow */
  VD_TASK_RESIZE,   /* file 0 */
  VD_TASK_MERGE,    /* the chain, as far as target_depth and its parents */
  VD_TASK_EDIT,     /* file 0: one field that SetVirtualDiskInformation names */
  VD_TASK_METADATA, /* file 0: user metadata of a VHDX */
  VD_TASK_MEASURE,  /* file 0: what needs all tables to be read */
  VD_TASK_CHANGES,  /* the change tracking file of file 0, which is looked at and no more */
} VdTask;

#define VD_TASK_LAST VD_TASK_CHANGES

/* What a descriptor that comes along is. */
typedef enum {
  VD_ROLE_LISTEN,    /* the socket in /run/virtdisk; serving only */
  VD_ROLE_TRANSPORT, /* /dev/ublkcN, /dev/fuse, or one end of a stream socket that speaks NBD */
  VD_ROLE_IMAGE,     /* index: place in the chain */
  VD_ROLE_BLOB,      /* of a task: a memfd of the daemon, for what is longer than a message */
  VD_ROLE_CHANGES,   /* the change tracking file of image 0 (formats/ctlog.h) */
} VdRole;

/* Bits of VdServeSetup.flags */
#define VD_SERVE_WRITABLE (1U << 0)  /* the leaf is written */
#define VD_SERVE_DIRECT (1U << 1)    /* direct I/O on the files where alignment allows */
#define VD_SERVE_TAKEOVER (1U << 2)  /* another worker served this transport before */
#define VD_SERVE_ZERO_COPY (1U << 3) /* ublk: AUTO_BUF_REG was agreed with the kernel */
#define VD_SERVE_RESEND (1U << 4)    /* FUSE, takeover: ask the kernel for unanswered requests again */
/* Image 0 is mirrored to image 1; the parents of both follow. */
#define VD_SERVE_MIRROR (1U << 5)
/* An earlier worker may have written to image 1. */
#define VD_SERVE_MIRROR_OLD (1U << 6)

typedef struct {
  uint32_t magic, version, kind, size; /* size: bytes of the whole message */
} VdServeHeader;

/* Bits of VdTaskOrder.flags */
#define VD_COPY_VERIFY (1U << 0)            /* what was written is read back and compared */
#define VD_COMPACT_NO_ZERO_SCAN (1U << 0)   /* COMPACT_VIRTUAL_DISK_FLAG_NO_ZERO_SCAN */
#define VD_COMPACT_NO_BLOCK_MOVES (1U << 1) /* COMPACT_VIRTUAL_DISK_FLAG_NO_BLOCK_MOVES */
#define VD_COMPACT_FILE_SYSTEMS (1U << 2)   /* what the file systems inside call free is given back too */
#define VD_RESIZE_GROW_ONLY (1U << 0)       /* ExpandVirtualDisk */

/* What METADATA does. Lists and items go through the blob. */
typedef enum { VD_METADATA_ENUMERATE, VD_METADATA_GET, VD_METADATA_SET, VD_METADATA_DELETE } VdMetadataCall;

/* What EDIT changes; the numbers are those of SET_VIRTUAL_DISK_INFO_VERSION. */
typedef enum {
  VD_EDIT_PARENT = 1,               /* linkage, timestamp and paths */
  VD_EDIT_IDENTIFIER = 2,           /* guid */
  VD_EDIT_PHYSICAL_SECTOR_SIZE = 4, /* value */
  VD_EDIT_VIRTUAL_DISK_ID = 5,      /* guid */
} VdEditKind;

/* What CHANGES does. The ranges of QUERY go through the blob: offset and length of each, bytes, 64 bits,
 * little-endian. */
typedef enum {
  VD_CHANGES_STATE,
  VD_CHANGES_QUERY,
  VD_CHANGES_ENABLE,
  VD_CHANGES_DISABLE,
  VD_CHANGES_SEAL,
} VdChangesCall;

/* Of its flags: somebody serves the image, and keeps that file; or writes to it, and does not. */
#define VD_CHANGES_SERVED (1U << 0)
#define VD_CHANGES_UNTRACKED (1U << 1)
/* Bits of its result. NEWER: than the newest point, or than all that is known. */
#define VD_CHANGES_ENABLED (1U << 0)
#define VD_CHANGES_NEWER (1U << 1)

typedef struct {
  uint32_t flags;
  uint32_t call;                       /* VdMetadataCall, VdEditKind, VdChangesCall */
  uint32_t source_device_id;           /* COPY: VirtdiskDeviceId of the source's chain */
  uint32_t source_depth, target_depth; /* MERGE: the leaf is 1; source_depth < target_depth */
  uint32_t value;
  uint64_t size;   /* RESIZE: new one, bytes. METADATA SET: bytes in the blob. QUERY: bytes from offset on */
  uint64_t offset; /* QUERY: bytes; value: ranges, at most */
  uint64_t disk_size; /* CHANGES: bytes of the disk */
  char change_tracking_id[64];
  uint8_t guid[16]; /* as printed, first byte first */
  /* EDIT PARENT. As in VdCreateSpec. */
  uint8_t linkage[16];
  uint32_t timestamp;
  uint32_t unused;
  char parent_relative[1024];
  char parent_absolute[1024];
} VdTaskOrder;

typedef struct {
  VdServeHeader header;
  uint32_t transport, task, flags;
  uint32_t n_files;       /* VD_SERVE_FILE messages that follow: listen, transport, images */
  uint32_t device_id;     /* VirtdiskDeviceId of every image of the chain */
  uint32_t depth, max_io; /* requests, bytes */
  uint32_t sector_size;   /* bytes the device has */
  uint64_t size;          /* bytes the device has; the chain must agree */
  uint64_t offset;        /* bytes of the virtual disk before the device's first (RestrictedOffset) */
  uint64_t cache_size;    /* bytes of metadata; 0: the default */
  uint32_t n_written;     /* tasks: files, from the first on, that are written; WRITABLE stands for 1 */
  uint32_t unused;
  VdCreateSpec create; /* CREATE, COPY */
  VdTaskOrder order;
} VdServeSetup;

typedef struct {
  VdServeHeader header;
  uint32_t role, index;
} VdServeFile;

/* READY, FAILED (error), STATUS_REPLY, CLOSED (error.code is -1 when the close was clean). */
typedef struct {
  VdServeHeader header;
  int32_t pid;
  uint32_t n_files; /* GIVEN messages that GIVE would bring */
  uint64_t locked;  /* bytes of locked memory */
  uint64_t reads, writes, flushes, commits;
  uint64_t size;                                         /* bytes of the virtual disk */
  uint32_t sector_size, block_size, discard_granularity; /* bytes */
  uint32_t unused;
  VdFormatError error;
} VdServeReport;

typedef struct {
  VdServeHeader header;
  VdFault fault;
} VdServeFault;

typedef struct {
  VdServeHeader header;
  uint32_t repaired; /* 1: the file was written to */
  uint32_t unused;
  VdCheckSummary summary;
} VdServeChecked;

typedef struct {
  VdServeHeader header;
  uint64_t current, completion; /* both may change; percentages only (GetVirtualDiskOperationProgress) */
} VdServeProgress;

/* What a task found or did. */
typedef struct {
  VdServeHeader header;
  uint64_t size;               /* RESIZE: bytes the disk has now. METADATA, QUERY: bytes in the blob */
  uint64_t processed;          /* QUERY: bytes from offset on that the ranges tell of */
  uint64_t copied, given_back; /* bytes */
  uint64_t smallest_safe_size; /* MEASURE, as in VdFacts; 0: not known */
  uint32_t fragmentation;      /* MEASURE: percent of the blocks that do not follow the one before them */
  uint32_t fell_back;          /* COMPACT: file systems that nothing could be asked of */
  uint32_t changes;            /* STATE: VD_CHANGES_ENABLED, NEWER */
  uint32_t unused;
  char note[256]; /* for people, plain text: which, and why; may be empty. STATE: the id of the
                     newest point; empty: there is none that anything is known of */
} VdServeResult;
