/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Loop device -> nothing. LOOP_CLR_FD succeeds on a device in use as well: it only arms autoclear. So success
 * is what sysfs says afterwards, and what was armed for a device that stays is taken back. Must never clear a
 * device whose tag and sequence number are not ours.
 */
#include "attach/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "attach/hints.h"
#include "attach/inuse.h"
#include "attach/partitions.h"
#include "attach/uevents.h"
#include "attach/unmount.h"
#include "util/cleanup.h"
#include "virtdisk-error.h"

/* An exclusive opener that no one can be found for is a passing one (udev re-reading a partition table). */
#define CLAIM_DEADLINE_MS 1000

static gboolean is_gone(gconstpointer data)
{
  return !vd_loop_is_live(data);
}

static int open_device(const VdAttachment *attachment, int flags)
{
  return open(attachment->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | flags);
}

/* After this the device may be anybody's. */
static void forget(const VdAttachment *attachment)
{
  vd_hints_remove(attachment->rundir, attachment->name, attachment->diskseq);
}

void vd_loop_abandon(VdAttachment *attachment)
{
  g_autoptr(VdUevents) events = vd_uevents_new(VD_UEVENTS_KERNEL, NULL);
  struct loop_info64 info;
  vd_autofd fd = vd_steal_fd(&attachment->hold_fd);

  if (fd < 0)
    fd = open_device(attachment, 0);
  if (fd < 0 || !vd_loop_is_ours(fd, attachment, &info)) {
    vd_clear_fd(&fd);
    vd_loop_reclaim(attachment);
    return;
  }
  forget(attachment);
  vd_node_take_back(attachment->path, &attachment->owner);
  ioctl(fd, LOOP_CLR_FD);
  vd_clear_fd(&fd);
  if (!vd_uevents_wait(events, is_gone, attachment, VD_DETACH_DEADLINE_MS, NULL))
    g_warning("%s is still in use by others; the kernel drops it after them", attachment->path);
}

static gboolean fail_busy(const VdAttachment *attachment, GPtrArray *holders, GError **error)
{
  g_autofree char *text = vd_inuse_describe(holders);

  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_BUSY, "%s is in use: %s", attachment->path,
              holders->len > 0 ? text : "by a program that could not be found");
  return FALSE;
}

static gboolean fail_open(const VdAttachment *attachment, GError **error)
{
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s cannot be opened: %s", attachment->path,
              g_strerror(errno));
  return FALSE;
}

typedef enum { CLAIMED, CLAIM_BUSY, CLAIM_GONE, CLAIM_FAILED } Claim;

typedef struct {
  const VdAttachment *attachment;
  int *fd;
} ClaimAttempt;

/* Done: claimed, or failed otherwise than by a claim of somebody else. */
static gboolean try_claim(gconstpointer data)
{
  const ClaimAttempt *attempt = data;

  *attempt->fd = open_device(attempt->attachment, O_EXCL);
  return *attempt->fd >= 0 || errno != EBUSY;
}

/* Exclusive, so no file system, swap or device mapper is on the disk or its partitions, nor can come. On
 * CLAIM_BUSY ret_holders is set. */
static Claim claim(const VdAttachment *attachment, VdUevents *events, GCancellable *cancellable, int *ret_fd,
                   GPtrArray **ret_holders)
{
  ClaimAttempt attempt = {attachment, ret_fd};

  if (!try_claim(&attempt)) {
    *ret_holders = vd_inuse_find(attachment->name, NULL, NULL);
    if ((*ret_holders)->len > 0 ||
        !vd_uevents_wait(events, try_claim, &attempt, CLAIM_DEADLINE_MS, cancellable))
      return CLAIM_BUSY;
    g_clear_pointer(ret_holders, g_ptr_array_unref);
  }
  if (*ret_fd >= 0)
    return CLAIMED;
  return errno == ENXIO || errno == ENOENT || errno == ENODEV ? CLAIM_GONE : CLAIM_FAILED;
}

/* What release has changed before the kernel's answer is known. */
typedef struct {
  const VdAttachment *attachment;
  gboolean armed_before; /* autoclear was there already: not ours to take back */
} Armed;

/* Prepares for the node being anybody's, then lets go of the device. fd is closed. */
static void clear_device(Armed *armed, int *fd, const struct loop_info64 *info)
{
  const VdAttachment *attachment = armed->attachment;

  armed->armed_before = (info->lo_flags & LO_FLAGS_AUTOCLEAR) != 0;
  /* The kernel takes the partitions of a device it scans; others would stay behind without a disk. */
  if ((info->lo_flags & LO_FLAGS_PARTSCAN) == 0)
    vd_partitions_remove(*fd, attachment->name);
  vd_hints_hide(attachment->rundir, attachment->name, attachment->diskseq);
  vd_node_take_back(attachment->path, &attachment->owner);
  ioctl(*fd, LOOP_CLR_FD);
  vd_clear_fd(fd);
}

/* The device stays: as it was before. */
static void restore_device(const Armed *armed, gboolean keep_armed)
{
  const VdAttachment *attachment = armed->attachment;
  struct loop_info64 info;
  vd_autofd fd = open_device(attachment, 0);

  if (fd < 0 || !vd_loop_is_ours(fd, attachment, &info))
    return;
  vd_hints_publish(attachment->rundir, attachment->name, attachment->diskseq, NULL);
  vd_node_give(fd, &attachment->owner, NULL);
  if (keep_armed || armed->armed_before)
    return;
  info.lo_flags &= ~(guint32)LO_FLAGS_AUTOCLEAR;
  if (ioctl(fd, LOOP_SET_STATUS64, &info) != 0)
    g_warning("%s: autoclear cannot be taken back: %s", attachment->path, g_strerror(errno));
}

static gboolean end_gone(const VdAttachment *attachment)
{
  forget(attachment);
  return TRUE;
}

/* Gone by other hands. */
static gboolean end_lost(const VdAttachment *attachment)
{
  vd_loop_reclaim(attachment);
  return TRUE;
}

static gboolean fail_wait(const VdAttachment *attachment, GCancellable *cancellable, GError **error)
{
  if (g_cancellable_is_cancelled(cancellable))
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED, "Detaching %s was cancelled",
                attachment->path);
  else
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_TIMED_OUT,
                "%s was not given back by the kernel within %d ms", attachment->path, VD_DETACH_DEADLINE_MS);
  return FALSE;
}

/* After the claim: clears, and finds out whether that was true. */
static gboolean clear_and_wait(const VdAttachment *attachment, VdUevents *events, int *fd,
                               const struct loop_info64 *info, VdDetachMode mode, GCancellable *cancellable,
                               gboolean *ret_pending, GError **error)
{
  Armed armed = {.attachment = attachment};
  g_autoptr(GPtrArray) holders = NULL;

  vd_uevents_keep_udev_out(*fd, cancellable);
  clear_device(&armed, fd, info);
  if (is_gone(attachment))
    return end_gone(attachment);
  /* Somebody has the node open. If it is nobody but udev, it is a matter of milliseconds. */
  holders = vd_inuse_find(attachment->name, NULL, NULL);
  if (holders->len == 0 && vd_uevents_wait(events, is_gone, attachment, VD_DETACH_DEADLINE_MS, cancellable))
    return end_gone(attachment);
  restore_device(&armed, mode == VD_DETACH_WHEN_IDLE);
  if (is_gone(attachment))
    return end_gone(attachment);
  if (mode == VD_DETACH_WHEN_IDLE) {
    *ret_pending = TRUE;
    return TRUE;
  }
  return holders->len > 0 ? fail_busy(attachment, holders, error) : fail_wait(attachment, cancellable, error);
}

/* The kernel drops the device with its last user. */
static gboolean arm(const VdAttachment *attachment, int *fd, gboolean *ret_pending)
{
  ioctl(*fd, LOOP_CLR_FD);
  vd_clear_fd(fd);
  *ret_pending = !is_gone(attachment);
  return *ret_pending || end_gone(attachment);
}

gboolean vd_loop_release(const VdAttachment *attachment, VdDetachMode mode, GCancellable *cancellable,
                         gboolean *ret_pending, GError **error)
{
  g_autoptr(VdUevents) events = NULL;
  g_autoptr(GPtrArray) holders = NULL;
  struct loop_info64 info = {0};
  vd_autofd seen = -1;
  vd_autofd fd = -1;
  Claim outcome;

  *ret_pending = FALSE;
  /* Before the act, so that no event is missed. */
  events = vd_uevents_new(VD_UEVENTS_KERNEL, error);
  if (events == NULL)
    return FALSE;
  if (mode == VD_DETACH_FORCE && vd_loop_is_live(attachment))
    vd_unmount_all(attachment->name);
  seen = open_device(attachment, 0);
  if (seen < 0 && vd_loop_is_live(attachment))
    return fail_open(attachment, error);
  if (seen < 0 || !vd_loop_is_ours(seen, attachment, &info)) {
    vd_clear_fd(&seen);
    return end_lost(attachment);
  }
  outcome = claim(attachment, events, cancellable, &fd, &holders);
  if (outcome == CLAIM_BUSY && mode == VD_DETACH_WHEN_IDLE)
    return arm(attachment, &seen, ret_pending);
  if (outcome == CLAIM_BUSY)
    return fail_busy(attachment, holders, error);
  if (outcome == CLAIM_GONE) {
    vd_clear_fd(&seen);
    return end_lost(attachment);
  }
  if (outcome == CLAIM_FAILED)
    return fail_open(attachment, error);
  vd_clear_fd(&seen);
  return clear_and_wait(attachment, events, &fd, &info, mode, cancellable, ret_pending, error);
}
