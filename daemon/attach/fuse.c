/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Image -> /dev/loopN over "disk" on a detached FUSE mount. The worker answers before the first call that
 * could ask it; while we call, a guard sees to it that a worker that ends takes nobody of us along. The loop
 * device is the only user of the mount, so the mount ends with it. The connection is kept: with a new worker
 * at its other end it goes on.
 */
#include "attach/fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach/fuse-mount.h"
#include "attach/loop.h"
#include "util/cleanup.h"
#include "virtdisk-error.h"

/* The only file of the mount; the worker knows it by the same name. */
#define FILE_NAME "disk"
#define FILE_NODE 2

static gboolean fuse_suits(const VdAttachSpec *spec, char **ret_why)
{
  vd_autofd fuse = -1;

  if (spec->served.program == NULL) {
    *ret_why = g_strdup("there is no worker to serve it");
    return FALSE;
  }
  if (spec->served.zero_copy) {
    *ret_why = g_strdup("FUSE has no zero copy");
    return FALSE;
  }
  fuse = vd_fuse_open();
  if (fuse < 0) {
    *ret_why = g_strdup_printf("/dev/fuse cannot be opened: %s", g_strerror(errno));
    return FALSE;
  }
  *ret_why = g_strdup("A worker serves the image through FUSE and the kernel's loop driver");
  return TRUE;
}

static gboolean fail(GError **error, const char *what)
{
  g_set_error(error, VIRTDISK_ERROR,
              errno == EMFILE || errno == ENFILE || errno == ENOMEM ? VIRTDISK_ERROR_NO_RESOURCES
                                                                    : VIRTDISK_ERROR_IO,
              "FUSE: %s: %s", what, g_strerror(errno));
  return FALSE;
}

/* What a worker reads and writes. Where the kernel cannot send a dead worker's requests to the next one, it
 * gets an end of its own, with which they fail; else they would be waited for as long as we keep ours. */
static int open_transport(VdServing *serving)
{
  vd_autofd own = vd_serving_dup_fuse(serving);

  if (own < 0)
    errno = ENOTCONN;
  return own < 0 || vd_fuse_can_resend() ? vd_steal_fd(&own) : vd_fuse_clone(own);
}

static gboolean start_worker(VdServing *serving, guint32 flags, GCancellable *cancellable, GError **error)
{
  vd_autofd transport = open_transport(serving);

  if (transport < 0)
    return fail(error, "the connection cannot be shared");
  return vd_serving_start_worker(serving, transport, flags, cancellable, error);
}

/* What stands before the loop device; success takes the serving away. */
typedef struct {
  VdServing *serving;
  int mount_fd, file_fd;
} FuseGuard;

/* The connection first: closing the file would ask a worker that may not answer. */
static void fuse_guard_clear(FuseGuard *guard)
{
  if (guard->serving != NULL) {
    vd_serving_abort(guard->serving);
    vd_serving_forget(guard->serving);
  }
  vd_clear_fd(&guard->file_fd);
  vd_clear_fd(&guard->mount_fd);
  g_clear_pointer(&guard->serving, vd_serving_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FuseGuard, fuse_guard_clear)

static gboolean make_mount(FuseGuard *guard, GError **error)
{
  int fuse = vd_fuse_open();
  const char *step = "open";

  if (fuse < 0)
    return fail(error, step);
  vd_serving_set_fuse(guard->serving, fuse);
  guard->mount_fd = vd_fuse_mount(fuse, &step);
  return guard->mount_fd >= 0 || fail(error, step);
}

static gboolean open_file(FuseGuard *guard, const VdAttachSpec *spec, GError **error)
{
  struct stat st;

  guard->file_fd = openat(guard->mount_fd, FILE_NAME,
                          (spec->read_only ? O_RDONLY : O_RDWR) | O_DIRECT | O_CLOEXEC | O_NOFOLLOW);
  if (guard->file_fd < 0 || fstat(guard->file_fd, &st) != 0)
    return fail(error, "the worker does not open the disk");
  if (S_ISREG(st.st_mode) && (guint64)st.st_size == spec->size)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_WORKER_LOST,
              "virtdisk-worker shows %" G_GUINT64_FORMAT " bytes, not %" G_GUINT64_FORMAT,
              (guint64)st.st_size, spec->size);
  return FALSE;
}

/* Without direct I/O every page would be kept thrice, and writing back could wait for itself. */
static gboolean check_direct(VdAttachment *made, GError **error)
{
  if (made->direct_io)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
              "The kernel's loop driver does no direct I/O on a FUSE file here");
  return FALSE;
}

static gboolean settle(FuseGuard *guard, const VdAttachSpec *spec, VdAttachment *made, GError **error)
{
  made->image_dev = guard->serving->images[0].dev;
  made->image_ino = guard->serving->images[0].ino;
  made->serving = vd_serving_ref(guard->serving);
  vd_serving_set_device(guard->serving, made->name, made->diskseq);
  return check_direct(made, error) && vd_serving_save(guard->serving, error);
}

static VdAttachment *make_loop(FuseGuard *guard, const VdAttachSpec *spec, GCancellable *cancellable,
                               GError **error)
{
  VdAttachSpec over = *spec;
  g_autoptr(VdAttachment) made = NULL;

  over.fd = guard->file_fd;
  over.offset = 0;
  over.direct_io = TRUE;
  made = vd_route_loop.attach(&over, cancellable, error);
  if (made == NULL || settle(guard, spec, made, error))
    return g_steal_pointer(&made);
  vd_clear_fd(&guard->file_fd);
  vd_loop_abandon(made);
  return NULL;
}

static VdAttachment *fuse_attach(const VdAttachSpec *spec, GCancellable *cancellable, GError **error)
{
  g_auto(FuseGuard) guard = {.mount_fd = -1, .file_fd = -1};
  g_autoptr(VdServingGuard) watch = NULL;
  VdAttachment *made;

  guard.serving = vd_serving_new(spec, VD_TRANSPORT_FUSE, error);
  if (guard.serving == NULL || !vd_serving_save(guard.serving, error) || !make_mount(&guard, error) ||
      !start_worker(guard.serving, 0, cancellable, error))
    return NULL;
  watch = vd_serving_guard_new(guard.serving);
  if (!open_file(&guard, spec, error))
    return NULL;
  made = make_loop(&guard, spec, cancellable, error);
  if (made == NULL)
    return NULL;
  /* While the worker is watched: the last close of a file asks it. */
  vd_clear_fd(&guard.file_fd);
  vd_clear_fd(&guard.mount_fd);
  g_clear_pointer(&guard.serving, vd_serving_unref);
  return made;
}

static gboolean fuse_release(const VdAttachment *attachment, VdDetachMode mode, GCancellable *cancellable,
                             gboolean *ret_pending, GError **error)
{
  if (!vd_loop_release(attachment, mode, cancellable, ret_pending, error))
    return FALSE;
  if (!*ret_pending)
    vd_serving_end(attachment->serving);
  return TRUE;
}

static void fuse_abandon(VdAttachment *attachment)
{
  vd_loop_abandon(attachment);
  vd_serving_end(attachment->serving);
}

static void fuse_reclaim(const VdAttachment *attachment)
{
  if (attachment->serving == NULL)
    return;
  vd_loop_reclaim(attachment);
  vd_serving_end(attachment->serving);
}

static gboolean fuse_recover(const VdAttachment *attachment, GError **error)
{
  gboolean resend = vd_fuse_can_resend();
  guint32 flags = VD_SERVE_TAKEOVER | (resend ? VD_SERVE_RESEND : 0);

  vd_serving_bury(attachment->serving);
  if (!resend)
    g_warning("%s: requests that the worker had not answered have failed: Linux before 6.9 does not send "
              "them again",
              attachment->path);
  return start_worker(attachment->serving, flags, NULL, error);
}

/* The kernel asks the worker how long the file is, from some version on; before, it stays as it was. */
static gboolean fuse_resize(const VdAttachment *attachment, guint64 size, GError **error)
{
  g_autoptr(VdServingGuard) guard = vd_serving_guard_new(attachment->serving);
  vd_autofd fuse = vd_serving_dup_fuse(attachment->serving);
  g_autoptr(GError) cause = NULL;

  if (fuse < 0 || !vd_fuse_file_has_grown(fuse, FILE_NODE, size))
    g_message("%s: the kernel cannot be told the size: %s", attachment->path, g_strerror(errno));
  if (vd_loop_resize(attachment, size, &cause))
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR,
              cause->code == VIRTDISK_ERROR_BUSY ? VIRTDISK_ERROR_BUSY : VIRTDISK_ERROR_NOT_SUPPORTED,
              "The kernel's loop driver keeps the size that it has: %s", cause->message);
  return FALSE;
}

/* Whoever waits gets an error; the loop device goes with its last user. */
static void fuse_give_up(const VdAttachment *attachment)
{
  g_autoptr(GError) error = NULL;
  gboolean pending;

  vd_serving_abort(attachment->serving);
  if (!vd_loop_release(attachment, VD_DETACH_WHEN_IDLE, NULL, &pending, &error))
    g_warning("%s is left attached, without a worker: %s", attachment->path, error->message);
  vd_serving_forget(attachment->serving);
}

/* The loop driver's view of what it shows means nothing here. */
static void take_found(VdServing *serving, VdAttachment *loop)
{
  if (serving->n_images > 0) {
    loop->image_dev = serving->images[0].dev;
    loop->image_ino = serving->images[0].ino;
  }
  loop->serving = vd_serving_ref(serving);
  vd_serving_set_device(serving, loop->name, loop->diskseq);
}

/* Without a device: a crash in the midst of attaching or detaching. Whatever holds the mount ends it. */
static void drop_record(VdServing *serving)
{
  vd_serving_abort(serving);
  vd_serving_forget(serving);
}

static void scan_one(VdServing *serving, GPtrArray *loops, GPtrArray *ret_found)
{
  for (guint i = 0; i < loops->len; i++) {
    VdAttachment *loop = g_ptr_array_index(loops, i);

    if (vd_serving_is_under(serving, loop->tag, loop->diskseq)) {
      take_found(serving, loop);
      g_ptr_array_add(ret_found, g_ptr_array_steal_index_fast(loops, i));
      return;
    }
  }
  drop_record(serving);
}

static void fuse_scan(const char *rundir, GPtrArray *ret_found)
{
  g_autoptr(GPtrArray) records = vd_serving_load(rundir, VD_TRANSPORT_FUSE);
  g_autoptr(GPtrArray) loops = g_ptr_array_new_with_free_func((GDestroyNotify)vd_attachment_free);

  if (records->len > 0)
    vd_loop_find(rundir, loops);
  vd_serving_find_workers(records);
  for (guint i = 0; i < records->len; i++)
    scan_one(g_ptr_array_index(records, i), loops, ret_found);
}

const VdRoute vd_route_fuse = {
    .name = "fuse",
    .suits = fuse_suits,
    .attach = fuse_attach,
    .release = fuse_release,
    .abandon = fuse_abandon,
    .is_live = vd_loop_is_live,
    .reclaim = fuse_reclaim,
    .recover = fuse_recover,
    .may_exchange = vd_fuse_can_resend,
    .resize = fuse_resize,
    .give_up = fuse_give_up,
    .scan = fuse_scan,
};
