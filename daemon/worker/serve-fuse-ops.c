/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a FUSE connection asks of the one file that it has: a table from operation to function. Everything
 * that is not in the table is answered with ENOSYS, which the kernel remembers. Requests come from the kernel
 * alone, yet each length is checked against what was read.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>

#include "util/checked.h"
#include "worker/serve-fuse.h"

#define DISK_NAME "disk"
#define DISK_NODE 2
/* Seconds for which the kernel believes what it was told: nothing ever changes. */
#define FOR_EVER (UINT64_C(1) << 30)

static const VdServeSetup *setup_of(const VdFuseSlot *slot)
{
  return &slot->fuse->server->order.setup;
}

static bool is_writable(const VdFuseSlot *slot)
{
  return (setup_of(slot)->flags & VD_SERVE_WRITABLE) != 0;
}

static const void *argument(const VdFuseSlot *slot)
{
  return vd_fuse_request(slot) + 1;
}

static void handle_init(VdFuseSlot *slot)
{
  const struct fuse_init_in *in = argument(slot);
  const VdServeSetup *setup = setup_of(slot);
  uint64_t wanted = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS |
                    FUSE_MAX_PAGES | FUSE_INIT_EXT | VD_FUSE_HAS_RESEND;
  uint64_t offered = in->flags;
  struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION};

  if (in->major < FUSE_KERNEL_VERSION ||
      (in->major == FUSE_KERNEL_VERSION && in->minor < VD_FUSE_MIN_MINOR)) {
    vd_fuse_answer_error(slot, -EPROTO);
    return;
  }
  if ((in->flags & FUSE_INIT_EXT) != 0)
    offered |= (uint64_t)in->flags2 << 32;
  out.flags = (uint32_t)(offered & wanted);
  out.flags2 = (uint32_t)((offered & wanted) >> 32);
  out.max_write = setup->max_io;
  out.max_pages = (uint16_t)(setup->max_io / VD_IO_ALIGNMENT);
  out.max_background = out.congestion_threshold = (uint16_t)slot->fuse->n_slots;
  out.time_gran = 1;
  vd_fuse_answer(slot, &out, sizeof out);
}

static struct fuse_attr attributes(const VdFuseSlot *slot, uint64_t node)
{
  struct fuse_attr attr = {.ino = node, .nlink = 1, .blksize = VD_IO_ALIGNMENT};

  if (node == FUSE_ROOT_ID) {
    attr.mode = S_IFDIR | 0500;
    attr.nlink = 2;
    return attr;
  }
  attr.mode = S_IFREG | (is_writable(slot) ? 0600 : 0400);
  attr.size = setup_of(slot)->size;
  attr.blocks = attr.size / 512;
  return attr;
}

static void handle_lookup(VdFuseSlot *slot)
{
  const struct fuse_in_header *in = vd_fuse_request(slot);
  /* Whoever looks at the loop device above asks for attributes, and must not hang with us. */
  struct fuse_entry_out out = {
      .nodeid = DISK_NODE, .generation = 1, .entry_valid = FOR_EVER, .attr_valid = FOR_EVER};

  if (in->nodeid != FUSE_ROOT_ID || in->len < sizeof *in + sizeof DISK_NAME ||
      memcmp(argument(slot), DISK_NAME, sizeof DISK_NAME) != 0) {
    vd_fuse_answer_error(slot, -ENOENT);
    return;
  }
  out.attr = attributes(slot, DISK_NODE);
  vd_fuse_answer(slot, &out, sizeof out);
}

static void handle_getattr(VdFuseSlot *slot)
{
  struct fuse_attr_out out = {.attr_valid = FOR_EVER};

  out.attr = attributes(slot, vd_fuse_request(slot)->nodeid);
  vd_fuse_answer(slot, &out, sizeof out);
}

/* Times and the like: taken, and forgotten. */
static void handle_setattr(VdFuseSlot *slot)
{
  const struct fuse_setattr_in *in = argument(slot);
  bool resizes = (in->valid & FATTR_SIZE) != 0 && in->size != setup_of(slot)->size;

  if (resizes || (in->valid & (FATTR_MODE | FATTR_UID | FATTR_GID)) != 0)
    vd_fuse_answer_error(slot, -EPERM);
  else
    handle_getattr(slot);
}

static void handle_open(VdFuseSlot *slot)
{
  struct fuse_open_out out = {.open_flags = FOPEN_DIRECT_IO | FOPEN_KEEP_CACHE | FOPEN_NOFLUSH |
                                            FOPEN_PARALLEL_DIRECT_WRITES};

  slot->fuse->used = true;
  if (vd_fuse_request(slot)->nodeid == DISK_NODE)
    vd_fuse_answer(slot, &out, sizeof out);
  else
    vd_fuse_answer_error(slot, -EISDIR);
}

static void submit(VdFuseSlot *slot, VdOp op, uint64_t offset, uint64_t length, uint32_t flags,
                   void (*done)(VdRequest *request, int result))
{
  slot->request.op = op;
  slot->request.flags = flags;
  slot->request.offset = op == VD_OP_FLUSH ? 0 : setup_of(slot)->offset + offset;
  slot->request.length = length;
  slot->request.buffer = slot->memory + VD_FUSE_PAYLOAD;
  slot->request.done = done;
  slot->request.user = slot;
  vd_server_submit(slot->fuse->server, &slot->request);
}

static VdFuseSlot *finished(VdRequest *request)
{
  VdFuseSlot *slot = request->user;

  vd_server_request_done(slot->fuse->server);
  return slot;
}

static void on_read(VdRequest *request, int result)
{
  VdFuseSlot *slot = finished(request);

  if (result < 0)
    vd_fuse_answer_error(slot, result);
  else
    vd_fuse_answer_payload(slot);
}

/* Behind the end there is nothing; what is not aligned is read with what is around it. */
static void handle_read(VdFuseSlot *slot)
{
  const struct fuse_read_in *in = argument(slot);
  uint64_t size = setup_of(slot)->size, sector = setup_of(slot)->sector_size, offset = in->offset;
  uint64_t length = offset < size ? size - offset : 0, first;

  if (in->size < length)
    length = in->size;
  if (length > setup_of(slot)->max_io) {
    vd_fuse_answer_error(slot, -EINVAL);
    return;
  }
  first = offset & ~(sector - 1);
  slot->skip = (uint32_t)(offset - first);
  slot->length = (uint32_t)length;
  if (length == 0)
    vd_fuse_answer_error(slot, 0);
  else
    submit(slot, VD_OP_READ, first, ((offset + length + sector - 1) & ~(sector - 1)) - first, 0, on_read);
}

static void on_write(VdRequest *request, int result)
{
  VdFuseSlot *slot = finished(request);
  struct fuse_write_out out = {.size = slot->length};

  if (result < 0)
    vd_fuse_answer_error(slot, result);
  else
    vd_fuse_answer(slot, &out, sizeof out);
}

/* -errno where a range cannot be written. */
static int check_range(const VdFuseSlot *slot, uint64_t offset, uint64_t length)
{
  if (!is_writable(slot))
    return -EROFS;
  if (!vd_range_within(offset, length, setup_of(slot)->size))
    return -EFBIG;
  return (offset | length) % setup_of(slot)->sector_size != 0 ? -EINVAL : 0;
}

static void handle_write(VdFuseSlot *slot)
{
  const struct fuse_write_in *in = argument(slot);
  int error = check_range(slot, in->offset, in->size);

  if (in->size != vd_fuse_request(slot)->len - VD_FUSE_WRITE_HEADER)
    error = -EINVAL;
  slot->length = in->size;
  if (error < 0 || in->size == 0)
    vd_fuse_answer_error(slot, error < 0 ? error : -EINVAL);
  else
    submit(slot, VD_OP_WRITE, in->offset, in->size, 0, on_write);
}

static void on_plain(VdRequest *request, int result)
{
  vd_fuse_answer_error(finished(request), result);
}

static void handle_fsync(VdFuseSlot *slot)
{
  if (is_writable(slot))
    submit(slot, VD_OP_FLUSH, 0, 0, 0, on_plain);
  else
    vd_fuse_answer_error(slot, 0);
}

/* Both must read as zeros afterwards (loop asks for holes when it is to write zeros); a hole may give its
 * space back. */
static void handle_fallocate(VdFuseSlot *slot)
{
  const struct fuse_fallocate_in *in = argument(slot);
  uint32_t mode = in->mode & ~(uint32_t)FALLOC_FL_KEEP_SIZE;
  int error = check_range(slot, in->offset, in->length);

  if (mode != FALLOC_FL_PUNCH_HOLE && mode != FALLOC_FL_ZERO_RANGE)
    error = -EOPNOTSUPP;
  if (error < 0 || in->length == 0)
    vd_fuse_answer_error(slot, error < 0 ? error : -EINVAL);
  else
    submit(slot, VD_OP_WRITE_ZEROES, in->offset, in->length,
           mode == FALLOC_FL_ZERO_RANGE ? VD_REQUEST_NO_UNMAP : 0, on_plain);
}

static void handle_statfs(VdFuseSlot *slot)
{
  struct fuse_statfs_out out = {.st = {.bsize = VD_IO_ALIGNMENT, .frsize = VD_IO_ALIGNMENT, .namelen = 255}};

  out.st.blocks = setup_of(slot)->size / VD_IO_ALIGNMENT;
  out.st.files = 2;
  vd_fuse_answer(slot, &out, sizeof out);
}

static void handle_nothing(VdFuseSlot *slot)
{
  vd_fuse_answer_error(slot, 0);
}

/* What asks for no answer. An interrupted request goes on: it is short, and its end is its answer. */
static void handle_silently(VdFuseSlot *slot)
{
  vd_fuse_release(slot);
}

static const struct {
  void (*handle)(VdFuseSlot *slot);
  size_t argument_size; /* bytes, at least */
} table[] = {
    [FUSE_INIT] = {handle_init, offsetof(struct fuse_init_in, unused)},
    [FUSE_LOOKUP] = {handle_lookup, 1},
    [FUSE_GETATTR] = {handle_getattr, sizeof(struct fuse_getattr_in)},
    [FUSE_SETATTR] = {handle_setattr, sizeof(struct fuse_setattr_in)},
    [FUSE_OPEN] = {handle_open, sizeof(struct fuse_open_in)},
    [FUSE_READ] = {handle_read, sizeof(struct fuse_read_in)},
    [FUSE_WRITE] = {handle_write, sizeof(struct fuse_write_in)},
    [FUSE_FSYNC] = {handle_fsync, sizeof(struct fuse_fsync_in)},
    [FUSE_FALLOCATE] = {handle_fallocate, sizeof(struct fuse_fallocate_in)},
    [FUSE_STATFS] = {handle_statfs, 0},
    [FUSE_RELEASE] = {handle_nothing, sizeof(struct fuse_release_in)},
    [FUSE_RELEASEDIR] = {handle_nothing, sizeof(struct fuse_release_in)},
    [FUSE_READDIR] = {handle_nothing, sizeof(struct fuse_read_in)},
    [FUSE_DESTROY] = {handle_nothing, 0},
    [FUSE_FORGET] = {handle_silently, 0},
    [FUSE_BATCH_FORGET] = {handle_silently, 0},
    [FUSE_INTERRUPT] = {handle_silently, 0},
};

void vd_fuse_serve(VdFuseSlot *slot, uint32_t length)
{
  const struct fuse_in_header *in = vd_fuse_request(slot);

  if (length < sizeof *in || in->len != length) {
    vd_fuse_release(slot);
    return;
  }
  slot->unique = in->unique;
  if (in->opcode >= sizeof table / sizeof table[0] || !table[in->opcode].handle)
    vd_fuse_answer_error(slot, -ENOSYS);
  else if (length < sizeof *in + table[in->opcode].argument_size)
    vd_fuse_answer_error(slot, -EINVAL);
  else
    table[in->opcode].handle(slot);
}
