/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /dev/ublkbN -> nothing. STOP_DEV looks at no opener, so whether the disk is in use is found out before: an
 * exclusive claim keeps file systems, swap and device mapper out, TRY_STOP_DEV or a look at the processes all
 * others. Must never stop a device whose sequence number is not ours.
 */
#include "attach/ublk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "attach/hints.h"
#include "attach/inuse.h"
#include "attach/uevents.h"
#include "attach/unmount.h"
#include "util/cleanup.h"
#include "virtdisk-error.h"

/* An exclusive opener that no one can be found for is a passing one (udev re-reading a partition table). */
#define CLAIM_DEADLINE_MS 1000

static gboolean is_live(const VdAttachment *attachment)
{
  return vd_route_ublk.is_live(attachment);
}

void vd_ublk_destroy(VdUblkControl *control, VdServing *serving)
{
  guint32 id = serving->ublk_id;
  int result = 0;

  if (id != VD_UBLK_ANY_ID) {
    result = vd_ublk_stop(control, id);
    if (result < 0 && result != -ENODEV)
      g_warning("ublkb%u cannot be stopped: %s", id, g_strerror(-result));
  }
  vd_serving_end(serving);
  if (id != VD_UBLK_ANY_ID)
    result = vd_ublk_delete(control, id);
  if (result < 0 && result != -ENODEV)
    g_warning("ublkb%u cannot be deleted: %s", id, g_strerror(-result));
}

static void forget(const VdAttachment *attachment)
{
  vd_hints_remove(attachment->rundir, attachment->name, attachment->diskseq);
}

void vd_ublk_abandon(VdAttachment *attachment)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(VdUblkControl) control = vd_ublk_control_open(&error);

  vd_clear_fd(&attachment->hold_fd);
  forget(attachment);
  if (control != NULL)
    vd_ublk_destroy(control, attachment->serving);
  else
    g_warning("%s is left attached: %s", attachment->path, error->message);
}

/* Gone by other hands: the char device may still be there, and the worker about to close the image. Its
 * number goes to nobody else before it is deleted. */
void vd_ublk_reclaim(const VdAttachment *attachment)
{
  g_autoptr(VdUblkControl) control = NULL;
  VdUblkInfo info;

  if (!g_str_has_prefix(attachment->name, "ublkb"))
    return;
  forget(attachment);
  if (attachment->serving == NULL || is_live(attachment))
    return;
  control = vd_ublk_control_open(NULL);
  if (control != NULL && vd_ublk_get_info(control, attachment->serving->ublk_id, &info) == 0 &&
      info.ublksrv_flags == vd_ublk_mark(attachment->serving->tag))
    vd_ublk_destroy(control, attachment->serving);
  else
    vd_serving_end(attachment->serving);
}

static gboolean fail_busy(const VdAttachment *attachment, GPtrArray *holders, GError **error)
{
  g_autofree char *text = vd_inuse_describe(holders);

  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_BUSY, "%s is in use: %s", attachment->path,
              holders->len > 0 ? text : "by a program that could not be found");
  return FALSE;
}

typedef struct {
  const VdAttachment *attachment;
  int *fd;
} ClaimAttempt;

/* Done: claimed, or failed otherwise than by a claim of somebody else. */
static gboolean try_claim(gconstpointer data)
{
  const ClaimAttempt *attempt = data;

  *attempt->fd = open(attempt->attachment->path, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  return *attempt->fd >= 0 || errno != EBUSY;
}

typedef enum { CLAIMED, CLAIM_BUSY, CLAIM_GONE, CLAIM_FAILED } Claim;

/* On CLAIM_BUSY ret_holders is set. */
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
  return is_live(attachment) ? CLAIM_FAILED : CLAIM_GONE;
}

/* What the page cache has not written yet is written while an error can still be told. */
static gboolean flush(const VdAttachment *attachment, int fd, GError **error)
{
  if (attachment->read_only || fsync(fd) == 0)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s cannot be written back: %s", attachment->path,
              g_strerror(errno));
  return FALSE;
}

typedef struct {
  VdUblkControl *control;
  guint32 id;
  int *result;
} StopAttempt;

static gboolean try_stop(gconstpointer data)
{
  const StopAttempt *attempt = data;

  *attempt->result = vd_ublk_try_stop(attempt->control, attempt->id);
  return *attempt->result != -EBUSY;
}

/* The kernel counts every opener. One that no one can be found for is udevd, which comes in between our
 * close and the kernel's look. */
static int stop_unless_open(VdUblkControl *control, const VdAttachment *attachment, GCancellable *cancellable,
                            GPtrArray **ret_holders)
{
  g_autoptr(VdUevents) processed = vd_uevents_new(VD_UEVENTS_UDEV, NULL);
  int result = 0;
  StopAttempt attempt = {control, attachment->serving->ublk_id, &result};

  if (try_stop(&attempt))
    return result;
  *ret_holders = vd_inuse_find(attachment->name, NULL, NULL);
  if ((*ret_holders)->len == 0)
    vd_uevents_wait(processed, try_stop, &attempt, CLAIM_DEADLINE_MS, cancellable);
  return result;
}

/* Once it is claimed. Those who have the node merely open are seen by the kernel where it can tell. fd is
 * closed. -EBUSY: ret_holders is set. */
static int stop_idle(VdUblkControl *control, const VdAttachment *attachment, int *fd,
                     GCancellable *cancellable, GPtrArray **ret_holders)
{
  guint32 id = attachment->serving->ublk_id;
  int result;

  vd_uevents_keep_udev_out(*fd, cancellable);
  if ((vd_ublk_control_features(control) & VD_UBLK_F_SAFE_STOP_DEV) != 0) {
    vd_clear_fd(fd);
    return stop_unless_open(control, attachment, cancellable, ret_holders);
  }
  *ret_holders = vd_inuse_find(attachment->name, NULL, NULL);
  if ((*ret_holders)->len > 0)
    return -EBUSY;
  g_clear_pointer(ret_holders, g_ptr_array_unref);
  result = vd_ublk_stop(control, id);
  vd_clear_fd(fd);
  return result;
}

/* Nobody gets in any more; restore undoes it. */
static void shut(const VdAttachment *attachment)
{
  vd_hints_hide(attachment->rundir, attachment->name, attachment->diskseq);
  vd_node_take_back(attachment->path, &attachment->owner);
}

static void restore(const VdAttachment *attachment)
{
  vd_autofd fd = open(attachment->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);

  if (fd < 0 || !is_live(attachment))
    return;
  vd_hints_publish(attachment->rundir, attachment->name, attachment->diskseq, NULL);
  vd_node_give(fd, &attachment->owner, NULL);
}

static gboolean end_stopped(VdUblkControl *control, const VdAttachment *attachment)
{
  vd_serving_end(attachment->serving);
  if (vd_ublk_delete(control, attachment->serving->ublk_id) < 0)
    g_debug("ublkb%u was deleted by others", attachment->serving->ublk_id);
  forget(attachment);
  return TRUE;
}

static gboolean stop(VdUblkControl *control, const VdAttachment *attachment, int *fd, VdDetachMode mode,
                     GCancellable *cancellable, gboolean *ret_pending, GError **error)
{
  g_autoptr(GPtrArray) holders = NULL;
  int result;

  shut(attachment);
  result = stop_idle(control, attachment, fd, cancellable, &holders);
  if (result == 0 || !is_live(attachment))
    return end_stopped(control, attachment);
  restore(attachment);
  if (result == -EBUSY && mode == VD_DETACH_WHEN_IDLE) {
    *ret_pending = TRUE;
    return TRUE;
  }
  if (result == -EBUSY)
    return fail_busy(attachment, holders, error);
  vd_ublk_set_error(error, attachment->serving->ublk_id, "the disk cannot be stopped", result);
  return FALSE;
}

gboolean vd_ublk_release(const VdAttachment *attachment, VdDetachMode mode, GCancellable *cancellable,
                         gboolean *ret_pending, GError **error)
{
  g_autoptr(VdUblkControl) control = NULL;
  g_autoptr(VdUevents) events = NULL;
  g_autoptr(GPtrArray) holders = NULL;
  vd_autofd fd = -1;
  Claim outcome;

  *ret_pending = FALSE;
  control = vd_ublk_control_open(error);
  events = control != NULL ? vd_uevents_new(VD_UEVENTS_KERNEL, error) : NULL;
  if (events == NULL)
    return FALSE;
  if (mode == VD_DETACH_FORCE && is_live(attachment))
    vd_unmount_all(attachment->name);
  outcome = claim(attachment, events, cancellable, &fd, &holders);
  if (outcome == CLAIM_BUSY && mode == VD_DETACH_WHEN_IDLE) {
    *ret_pending = TRUE;
    return TRUE;
  }
  if (outcome == CLAIM_BUSY)
    return fail_busy(attachment, holders, error);
  if (outcome == CLAIM_GONE || (outcome == CLAIMED && !is_live(attachment))) {
    vd_ublk_reclaim(attachment);
    return TRUE;
  }
  if (outcome == CLAIM_FAILED) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s cannot be opened: %s", attachment->path,
                g_strerror(errno));
    return FALSE;
  }
  return flush(attachment, fd, error) &&
         stop(control, attachment, &fd, mode, cancellable, ret_pending, error);
}
