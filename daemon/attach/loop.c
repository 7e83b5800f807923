/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Image descriptor -> loop device. From the moment LOOP_CONFIGURE has succeeded the attachment is owned by a
 * guard that undoes it; only success takes it away. Must never look at a byte of the image, and never touch a
 * device that another program has made.
 */
#include "attach/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "attach/hints.h"
#include "attach/partitions.h"
#include "attach/serving.h"
#include "attach/sysfs.h"
#include "util/cleanup.h"
#include "util/identity.h"
#include "virtdisk-error.h"

#define LOOP_CONTROL "/dev/loop-control"
/* Milliseconds between tries for a device that somebody else has locked. */
#define MIN_PAUSE_MS 2
#define MAX_PAUSE_MS 20
/* Of a new size, while others read. */
#define RESIZE_TRIES 64

gboolean (*vd_loop_step_hook)(VdLoopStep step, const char *name);

static gboolean passes(VdLoopStep step, const char *name, GError **error)
{
  if (vd_loop_step_hook == NULL || vd_loop_step_hook(step, name))
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "Step %d of attaching %s failed", (int)step, name);
  return FALSE;
}

/* What is there before the device: the file for udev. */
typedef struct {
  const char *rundir, *name; /* name NULL: nothing to undo */
} Prepared;

static void prepared_clear(Prepared *prepared)
{
  if (prepared->name != NULL)
    vd_hints_remove(prepared->rundir, prepared->name, 0);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Prepared, prepared_clear)

static gboolean loop_suits(const VdAttachSpec *spec, char **ret_why)
{
  gboolean tracked = spec->served.changes_fd > 0;

  *ret_why = g_strdup(
      spec->translated ? "the payload is not one run of bytes in the file"
      : tracked
          ? "the changes of the image are tracked, which the kernel does not do"
          : "The payload is one run of bytes in the file, which the kernel's loop driver reads by itself");
  return !spec->translated && !tracked;
}

static gboolean fail(GError **error, VirtdiskError code, const char *what, const char *name)
{
  g_set_error(error, VIRTDISK_ERROR, code, "%s: %s: %s", name, what, g_strerror(errno));
  return FALSE;
}

static gboolean check_size(int fd, const VdAttachSpec *spec, const char *name, GError **error)
{
  guint64 size = 0;
  int sector_size = 0;

  if (ioctl(fd, BLKGETSIZE64, &size) != 0 || ioctl(fd, BLKSSZGET, &sector_size) != 0)
    return fail(error, VIRTDISK_ERROR_IO, "the size cannot be read back", name);
  if (size != spec->size) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO,
                "%s has %" G_GUINT64_FORMAT " bytes from offset %" G_GUINT64_FORMAT
                " of the image, not %" G_GUINT64_FORMAT ": the file has changed",
                name, size, spec->offset, spec->size);
    return FALSE;
  }
  if (sector_size != (int)spec->sector_size) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE,
                "%s has sectors of %d bytes, not %u", name, sector_size, spec->sector_size);
    return FALSE;
  }
  return TRUE;
}

static gboolean check_status(int fd, const VdAttachSpec *spec, VdAttachment *made, GError **error)
{
  struct loop_info64 info = {0};
  struct stat image;

  if (ioctl(fd, LOOP_GET_STATUS64, &info) != 0 || fstat(spec->fd, &image) != 0)
    return fail(error, VIRTDISK_ERROR_IO, "the state cannot be read back", made->name);
  made->read_only = (info.lo_flags & LO_FLAGS_READ_ONLY) != 0;
  made->direct_io = (info.lo_flags & LO_FLAGS_DIRECT_IO) != 0;
  made->image_dev = image.st_dev;
  made->image_ino = image.st_ino;
  if (info.lo_inode != image.st_ino || info.lo_offset != spec->offset || info.lo_sizelimit != spec->size) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s does not show the image it was given",
                made->name);
    return FALSE;
  }
  /* A descriptor that is not open for writing makes the device read-only, whatever was asked. */
  if (made->read_only != (spec->read_only != FALSE)) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s is %s, which was not asked for", made->name,
                made->read_only ? "read-only" : "writable");
    return FALSE;
  }
  return TRUE;
}

static struct loop_config make_config(const VdAttachSpec *spec)
{
  struct loop_config config = {.fd = (guint32)spec->fd, .block_size = spec->sector_size};

  config.info.lo_offset = spec->offset;
  config.info.lo_sizelimit = spec->size;
  config.info.lo_flags = (spec->read_only ? LO_FLAGS_READ_ONLY : 0u) |
                         (spec->partition_scan ? LO_FLAGS_PARTSCAN : 0u) |
                         (spec->direct_io ? LO_FLAGS_DIRECT_IO : 0u);
  g_snprintf((char *)config.info.lo_file_name, sizeof config.info.lo_file_name, "%s%s", VD_LOOP_TAG_PREFIX,
             spec->tag);
  return config;
}

static gboolean fail_configure(GError **error, const char *name, const VdAttachSpec *spec)
{
  if (errno == ENOMEM || errno == ENOSPC)
    return fail(error, VIRTDISK_ERROR_NO_RESOURCES, "the kernel has no memory for a loop device", name);
  return fail(error, VIRTDISK_ERROR_IO, "the kernel refuses the image", name);
}

/* The node at hand: locked against udev, configured through a second descriptor if it is to be writable. */
typedef struct {
  char name[16], path[32];
  int fd;        /* read-only; the lock is its */
  int config_fd; /* -1: fd serves */
} Node;

static void node_clear(Node *node)
{
  vd_clear_fd(&node->config_fd);
  vd_clear_fd(&node->fd);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Node, node_clear)

typedef enum {
  TRY_DONE,
  TRY_NEXT,  /* lost to another program: the next free one, at once */
  TRY_PAUSE, /* somebody is at work on it: again in a moment */
  TRY_FAILED,
} Try;

static Try open_node(Node *node, int number, const char *rundir, gboolean read_only, GError **error)
{
  struct stat status;

  g_snprintf(node->name, sizeof node->name, "loop%d", number);
  g_snprintf(node->path, sizeof node->path, "/dev/%s", node->name);
  node->fd = open(node->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  /* Removed by LOOP_CTL_REMOVE, or udev is late with the node. */
  if (node->fd < 0 && (errno == ENXIO || errno == ENODEV || errno == ENOENT || errno == EBUSY))
    return TRY_PAUSE;
  if (node->fd < 0 || fstat(node->fd, &status) != 0) {
    fail(error, errno == EMFILE || errno == ENFILE ? VIRTDISK_ERROR_NO_RESOURCES : VIRTDISK_ERROR_IO,
         "the node cannot be opened", node->path);
    return TRY_FAILED;
  }
  if (!S_ISBLK(status.st_mode)) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s is not a block device", node->path);
    return TRY_FAILED;
  }
  if (flock(node->fd, LOCK_EX | LOCK_NB) != 0)
    return TRY_PAUSE;
  /* Who had it before may have it open yet. */
  if (vd_hints_are_public(rundir, node->name))
    return TRY_PAUSE;
  if (read_only)
    return TRY_DONE;
  /* Only a writable descriptor makes a writable device, and closing it makes udev look at the device anew; so
   * it is a second one, closed under the lock. */
  node->config_fd = open(node->path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  if (node->config_fd >= 0)
    return TRY_DONE;
  fail(error, VIRTDISK_ERROR_IO, "the node cannot be opened for writing", node->path);
  return TRY_FAILED;
}

/* The undo of everything since LOOP_CONFIGURE; success takes the attachment away. */
typedef struct {
  VdAttachment *made;
  Node *node;
  gboolean configured;
} LoopGuard;

/* The lock goes along, so udev sees nothing of the device before it is gone. */
static void loop_guard_clear(LoopGuard *guard)
{
  if (guard->made != NULL && guard->configured) {
    vd_clear_fd(&guard->node->config_fd);
    guard->made->hold_fd = vd_steal_fd(&guard->node->fd);
    vd_loop_abandon(guard->made);
  }
  g_clear_pointer(&guard->made, vd_attachment_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LoopGuard, loop_guard_clear)

/* Everything after LOOP_CONFIGURE; the caller undoes it. */
static gboolean complete(Node *node, const VdAttachSpec *spec, VdAttachment *made, GError **error)
{
  if (!check_status(node->fd, spec, made, error) || !check_size(node->fd, spec, node->name, error) ||
      !passes(VD_LOOP_STEP_VERIFY, node->name, error))
    return FALSE;
  made->size = spec->size;
  if (!vd_hints_publish(spec->rundir, node->name, made->diskseq, error) ||
      !passes(VD_LOOP_STEP_HINTS, node->name, error))
    return FALSE;
  if (!vd_node_give(node->fd, &made->owner, error) || !passes(VD_LOOP_STEP_NODE, node->name, error))
    return FALSE;
  /* From here udev may look at the device, but not re-read its partition table. */
  flock(node->fd, LOCK_SH | LOCK_NB);
  vd_clear_fd(&node->config_fd);
  if (spec->partition_scan) {
    vd_partitions_complete(node->fd, node->name, made->size, spec->partitions, spec->n_partitions);
    vd_node_give_partitions(node->name, &made->owner);
  }
  if (!passes(VD_LOOP_STEP_PARTITIONS, node->name, error))
    return FALSE;
  made->hold_fd = vd_steal_fd(&node->fd);
  return TRUE;
}

static VdAttachment *describe(const Node *node, const VdAttachSpec *spec)
{
  VdAttachment *made = vd_attachment_new(spec->rundir);
  struct stat status;

  made->tag = g_strdup(spec->tag);
  made->name = g_strdup(node->name);
  made->path = g_strdup(node->path);
  made->owner = (VdNodeOwner){
      .set = spec->uid != VD_UID_INVALID, .uid = spec->uid, .gid = spec->gid, .mode = spec->mode};
  if (fstat(node->fd, &status) == 0)
    made->number = status.st_rdev;
  return made;
}

/* Bound by another program meanwhile: on to the next. Only claimed for a moment: this one again. */
static Try lost(const char *name)
{
  return vd_sysfs_exists(NULL, name, "loop/backing_file") ? TRY_NEXT : TRY_PAUSE;
}

static Try try_device(int number, const VdAttachSpec *spec, VdAttachment **ret_made, GError **error)
{
  g_auto(Node) node = {.fd = -1, .config_fd = -1};
  g_auto(Prepared) prepared = {.rundir = spec->rundir};
  g_auto(LoopGuard) guard = {.node = &node};
  struct loop_config config = make_config(spec);
  Try opened = open_node(&node, number, spec->rundir, spec->read_only, error);

  if (opened != TRY_DONE)
    return opened;
  guard.made = describe(&node, spec);
  prepared.name = node.name;
  if (!vd_hints_prepare(spec, node.name, error) || !passes(VD_LOOP_STEP_PREPARE, node.name, error))
    return TRY_FAILED;
  if (ioctl(node.config_fd >= 0 ? node.config_fd : node.fd, LOOP_CONFIGURE, &config) != 0) {
    if (errno == EBUSY || errno == ENXIO)
      return lost(node.name);
    fail_configure(error, node.name, spec);
    return TRY_FAILED;
  }
  guard.configured = TRUE;
  if (ioctl(node.fd, BLKGETDISKSEQ, &guard.made->diskseq) != 0) {
    fail(error, VIRTDISK_ERROR_IO, "the disk sequence number cannot be read", node.name);
    return TRY_FAILED;
  }
  if (!passes(VD_LOOP_STEP_CONFIGURE, node.name, error) || !complete(&node, spec, guard.made, error))
    return TRY_FAILED;
  prepared.name = NULL;
  *ret_made = g_steal_pointer(&guard.made);
  return TRY_DONE;
}

/* A lock that another program holds gives no event when it goes; the time is random so that two attachers do
 * not meet again. Cancelling ends the wait. */
static void pause_for_others(GCancellable *cancellable)
{
  GPollFD fd = {0};
  gboolean cancels = g_cancellable_make_pollfd(cancellable, &fd);

  g_poll(&fd, cancels ? 1 : 0, g_random_int_range(MIN_PAUSE_MS, MAX_PAUSE_MS + 1));
  if (cancels)
    g_cancellable_release_fd(cancellable);
}

static VdAttachment *loop_attach(const VdAttachSpec *spec, GCancellable *cancellable, GError **error)
{
  vd_autofd control = open(LOOP_CONTROL, O_RDWR | O_CLOEXEC);
  VdAttachment *made = NULL;

  if (control < 0) {
    fail(error, VIRTDISK_ERROR_NO_RESOURCES, "the loop driver cannot be reached", LOOP_CONTROL);
    return NULL;
  }
  for (guint i = 0; i < VD_LOOP_MAX_TRIES; i++) {
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    Try outcome;

    if (g_cancellable_is_cancelled(cancellable)) {
      g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED, "Attaching was cancelled");
      return NULL;
    }
    if (number < 0) {
      fail(error, VIRTDISK_ERROR_NO_RESOURCES, "there is no free loop device", LOOP_CONTROL);
      return NULL;
    }
    outcome = try_device(number, spec, &made, error);
    if (outcome == TRY_DONE || outcome == TRY_FAILED)
      return made;
    if (outcome == TRY_PAUSE)
      pause_for_others(cancellable);
  }
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NO_RESOURCES,
              "No free loop device was left by others in %d tries", VD_LOOP_MAX_TRIES);
  return NULL;
}

char *vd_loop_read_tag(const struct loop_info64 *info)
{
  g_autofree char *file_name = g_strndup((const char *)info->lo_file_name, sizeof info->lo_file_name);

  if (!g_str_has_prefix(file_name, VD_LOOP_TAG_PREFIX))
    return NULL;
  return g_strdup(file_name + strlen(VD_LOOP_TAG_PREFIX));
}

/* The number alone: who may write to the device may change its tag. */
gboolean vd_loop_is_ours(int fd, const VdAttachment *attachment, struct loop_info64 *ret_info)
{
  guint64 diskseq;

  return ioctl(fd, LOOP_GET_STATUS64, ret_info) == 0 && ioctl(fd, BLKGETDISKSEQ, &diskseq) == 0 &&
         diskseq == attachment->diskseq;
}

gboolean vd_loop_is_live(const VdAttachment *attachment)
{
  guint64 diskseq;

  return vd_sysfs_exists(NULL, attachment->name, "loop/backing_file") &&
         vd_sysfs_read_u64(NULL, attachment->name, "diskseq", &diskseq) && diskseq == attachment->diskseq;
}

/* Pages that somebody reads meanwhile make the kernel say EAGAIN. */
static int set_status(int fd, const struct loop_info64 *info)
{
  for (guint tries = 0; tries < RESIZE_TRIES; tries++)
    if (ioctl(fd, LOOP_SET_STATUS64, info) == 0)
      return 0;
    else if (errno != EAGAIN)
      break;
  return -1;
}

/* A limit beyond the end of the file leaves the size at the file's: what came of it is looked at. */
gboolean vd_loop_resize(const VdAttachment *attachment, guint64 size, GError **error)
{
  vd_autofd fd = open(attachment->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  struct loop_info64 info, before;
  guint64 now = 0;

  if (fd < 0 || !vd_loop_is_ours(fd, attachment, &before)) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s is not the attached device any more",
                attachment->path);
    return FALSE;
  }
  info = before;
  info.lo_sizelimit = size;
  if (set_status(fd, &info) != 0 || ioctl(fd, LOOP_SET_CAPACITY) != 0)
    return fail(error, errno == EAGAIN ? VIRTDISK_ERROR_BUSY : VIRTDISK_ERROR_IO,
                "the kernel does not change the size", attachment->name);
  if (ioctl(fd, BLKGETSIZE64, &now) == 0 && now == size)
    return TRUE;
  set_status(fd, &before);
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO,
              "%s got %" G_GUINT64_FORMAT " bytes, not %" G_GUINT64_FORMAT ": the file is not that long",
              attachment->name, now, size);
  return FALSE;
}

static gboolean read_facts(int fd, const struct loop_info64 *info, VdAttachment *found)
{
  struct stat status;

  if (fstat(fd, &status) != 0 || ioctl(fd, BLKGETDISKSEQ, &found->diskseq) != 0 ||
      ioctl(fd, BLKGETSIZE64, &found->size) != 0)
    return FALSE;
  found->number = status.st_rdev;
  found->read_only = (info->lo_flags & LO_FLAGS_READ_ONLY) != 0;
  found->direct_io = (info->lo_flags & LO_FLAGS_DIRECT_IO) != 0;
  found->image_dev = (dev_t)info->lo_device;
  found->image_ino = (ino_t)info->lo_inode;
  return TRUE;
}

static VdAttachment *scan_one(const char *rundir, const char *name)
{
  g_autoptr(VdAttachment) found = vd_attachment_new(rundir);
  g_autofree char *path = g_strconcat("/dev/", name, NULL);
  vd_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  struct loop_info64 info = {0};

  if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) != 0)
    return NULL;
  if (!read_facts(fd, &info, found))
    return NULL;
  found->tag = vd_loop_read_tag(&info);
  if (found->tag == NULL && !vd_hints_exist(rundir, name, found->diskseq))
    return NULL;
  if (found->tag == NULL)
    found->tag = g_strdup("");
  found->name = g_strdup(name);
  found->path = g_steal_pointer(&path);
  found->owner.set = vd_hints_read_owner(rundir, name, found->diskseq, &found->owner.uid, &found->owner.gid,
                                         &found->owner.mode);
  return g_steal_pointer(&found);
}

void vd_loop_find(const char *rundir, GPtrArray *ret_found)
{
  g_autoptr(GPtrArray) names = vd_sysfs_list(NULL, NULL, NULL);

  for (guint i = 0; i < names->len; i++) {
    const char *name = g_ptr_array_index(names, i);
    VdAttachment *found = NULL;

    if (g_str_has_prefix(name, "loop") && vd_sysfs_exists(NULL, name, "loop/backing_file"))
      found = scan_one(rundir, name);
    if (found != NULL)
      g_ptr_array_add(ret_found, found);
  }
}

/* What a worker shows through a loop device is another route's. */
static void loop_scan(const char *rundir, GPtrArray *ret_found)
{
  g_autoptr(GPtrArray) loops = g_ptr_array_new_with_free_func((GDestroyNotify)vd_attachment_free);
  g_autoptr(GPtrArray) records = vd_serving_load(rundir, VD_TRANSPORT_FUSE);

  vd_loop_find(rundir, loops);
  while (loops->len > 0) {
    g_autoptr(VdAttachment) loop = g_ptr_array_steal_index(loops, 0);
    gboolean served = FALSE;

    for (guint i = 0; i < records->len && !served; i++)
      served = vd_serving_is_under(g_ptr_array_index(records, i), loop->tag, loop->diskseq);
    if (!served)
      g_ptr_array_add(ret_found, g_steal_pointer(&loop));
  }
}

const VdRoute vd_route_loop = {
    .name = "loop",
    .suits = loop_suits,
    .attach = loop_attach,
    .release = vd_loop_release,
    .abandon = vd_loop_abandon,
    .is_live = vd_loop_is_live,
    .reclaim = vd_loop_reclaim,
    .resize = vd_loop_resize,
    .scan = loop_scan,
};
