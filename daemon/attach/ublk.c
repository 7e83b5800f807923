/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Image -> /dev/ublkbN, served by a worker. Each step's undo is owned before the step: from ADD_DEV on a
 * guard stops and deletes the device. Must never keep a descriptor of /dev/ublkcN once the worker has it, and
 * never touch a device without our mark.
 */
#include "attach/ublk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "attach/hints.h"
#include "attach/partitions.h"
#include "attach/sysfs.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/identity.h"
#include "util/spawn.h"
#include "virtdisk-error.h"

#define MODULE "ublk_drv"
/* The module is small, its disk may be slow. */
#define MODPROBE_DEADLINE_MS 30000
/* A char device that others have open is one that udev looks at. */
#define OPEN_DEADLINE_MS 5000
#define NEEDED_FLAGS (VD_UBLK_F_USER_RECOVERY | VD_UBLK_F_USER_RECOVERY_REISSUE)

/* suits */

static void load_module(void)
{
  static gsize tried;
  const char *arguments[] = {NULL, "-q", MODULE, NULL};
  g_autoptr(VdChild) modprobe = NULL;

  if (!g_once_init_enter(&tried))
    return;
  arguments[0] = access("/usr/sbin/modprobe", X_OK) == 0 ? "/usr/sbin/modprobe" : "/sbin/modprobe";
  if (!g_file_test(VD_UBLK_CONTROL_PATH, G_FILE_TEST_EXISTS))
    modprobe = vd_spawn(arguments, -1, VD_SPAWN_IN_SESSION, NULL);
  if (modprobe != NULL && !vd_child_wait(modprobe, MODPROBE_DEADLINE_MS))
    g_warning("modprobe (pid %d) does not end", (int)vd_child_pid(modprobe));
  g_once_init_leave(&tried, 1);
}

static gboolean ublk_suits(const VdAttachSpec *spec, char **ret_why)
{
  g_autoptr(VdUblkControl) control = NULL;
  g_autoptr(GError) error = NULL;

  if (spec->served.program == NULL) {
    *ret_why = g_strdup("there is no worker to serve it");
    return FALSE;
  }
  load_module();
  control = vd_ublk_control_open(&error);
  if (control == NULL) {
    *ret_why = g_strdup(error->message);
    return FALSE;
  }
  if ((vd_ublk_control_features(control) & NEEDED_FLAGS) != NEEDED_FLAGS) {
    *ret_why = g_strdup("this kernel's ublk driver cannot replace a worker");
    return FALSE;
  }
  if (spec->served.zero_copy && (vd_ublk_control_features(control) & VD_UBLK_F_AUTO_BUF_REG) == 0) {
    *ret_why = g_strdup("this kernel's ublk driver has no zero copy (Linux 6.16 has it)");
    return FALSE;
  }
  *ret_why = g_strdup(spec->served.zero_copy
                          ? "A worker serves the image through the kernel's ublk driver, without copying"
                          : "A worker serves the image through the kernel's ublk driver");
  return TRUE;
}

/* Shared with the other files */

void vd_ublk_set_error(GError **error, guint32 id, const char *what, int result)
{
  VirtdiskError code = result == -ETIME    ? VIRTDISK_ERROR_TIMED_OUT
                       : result == -ENOMEM ? VIRTDISK_ERROR_NO_RESOURCES
                       : result == -ENOSPC ? VIRTDISK_ERROR_NO_RESOURCES
                       : result == -EBUSY  ? VIRTDISK_ERROR_BUSY
                                           : VIRTDISK_ERROR_IO;

  if (id == VD_UBLK_ANY_ID)
    g_set_error(error, VIRTDISK_ERROR, code, "ublk: %s: %s", what, g_strerror(-result));
  else
    g_set_error(error, VIRTDISK_ERROR, code, "ublkb%u: %s: %s", id, what, g_strerror(-result));
}

int vd_ublk_open_char(guint32 id, GCancellable *cancellable, GError **error)
{
  g_autofree char *path = g_strdup_printf(VD_UBLK_CHAR_FORMAT, id);
  gint64 deadline = g_get_monotonic_time() + OPEN_DEADLINE_MS * 1000;
  vd_autofd watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  GPollFD fds[2] = {{.fd = watch, .events = G_IO_IN}};
  gboolean cancels = g_cancellable_make_pollfd(cancellable, &fds[1]);
  int fd;

  inotify_add_watch(watch, "/dev", IN_CREATE | IN_ATTRIB);
  for (;;) {
    gint64 left = deadline - g_get_monotonic_time();
    char events[4096];

    inotify_add_watch(watch, path, IN_CLOSE);
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 || (errno != EBUSY && errno != ENOENT && errno != ENXIO) || left <= 0 ||
        g_cancellable_is_cancelled(cancellable))
      break;
    g_poll(fds, cancels ? 2 : 1, (int)(left / 1000 + 1));
    while (read(watch, events, sizeof events) > 0)
      ;
  }
  if (fd < 0)
    g_set_error(error, VIRTDISK_ERROR, errno == EBUSY ? VIRTDISK_ERROR_TIMED_OUT : VIRTDISK_ERROR_IO,
                "%s cannot be opened: %s", path, g_strerror(errno));
  if (cancels)
    g_cancellable_release_fd(cancellable);
  return fd;
}

gboolean vd_ublk_describe(VdAttachment *made, GError **error)
{
  vd_autofd fd = open(made->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  struct stat status;

  if (fd < 0 || fstat(fd, &status) != 0 || !S_ISBLK(status.st_mode) ||
      ioctl(fd, BLKGETDISKSEQ, &made->diskseq) != 0 || ioctl(fd, BLKGETSIZE64, &made->size) != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s cannot be looked at: %s", made->path,
                g_strerror(errno));
    return FALSE;
  }
  made->number = status.st_rdev;
  return TRUE;
}

/* attach */

/* What stands so far; cleared, it does not stand any more. */
typedef struct {
  VdUblkControl *control;
  VdServing *serving;
  VdAttachment *made;
} UblkGuard;

static void ublk_guard_clear(UblkGuard *guard)
{
  if (guard->made != NULL && guard->made->name != NULL) {
    vd_clear_fd(&guard->made->hold_fd);
    vd_hints_remove(guard->made->rundir, guard->made->name, 0);
    vd_hints_remove(guard->made->rundir, guard->made->name, guard->made->diskseq);
  }
  if (guard->serving != NULL)
    vd_ublk_destroy(guard->control, guard->serving);
  g_clear_pointer(&guard->made, vd_attachment_free);
  g_clear_pointer(&guard->serving, vd_serving_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(UblkGuard, ublk_guard_clear)

static guint64 wanted_flags(const VdAttachSpec *spec, guint64 features)
{
  guint64 wanted = NEEDED_FLAGS | VD_UBLK_F_CMD_IOCTL_ENCODE | VD_UBLK_F_UPDATE_SIZE | VD_UBLK_F_QUIESCE;

  if (spec->served.zero_copy)
    wanted |= VD_UBLK_F_AUTO_BUF_REG;
  if (!spec->partition_scan)
    wanted |= VD_UBLK_F_NO_AUTO_PART_SCAN;
  return wanted & features;
}

static gboolean add_device(VdUblkControl *control, const VdAttachSpec *spec, VdServing *serving,
                           GError **error)
{
  VdUblkInfo info = {.nr_hw_queues = 1,
                     .queue_depth = (guint16)serving->setup.depth,
                     .max_io_buf_bytes = serving->setup.max_io,
                     .dev_id = VD_UBLK_ANY_ID,
                     .flags = wanted_flags(spec, vd_ublk_control_features(control)),
                     .ublksrv_flags = vd_ublk_mark(spec->tag)};
  int result = vd_ublk_add(control, &info);

  if (result < 0) {
    vd_ublk_set_error(error, VD_UBLK_ANY_ID, "the kernel makes no device", result);
    return FALSE;
  }
  serving->ublk_id = info.dev_id;
  if ((info.flags & NEEDED_FLAGS) != NEEDED_FLAGS) {
    vd_ublk_set_error(error, info.dev_id, "the kernel's driver cannot replace a worker", -EOPNOTSUPP);
    return FALSE;
  }
  if (spec->served.zero_copy && (info.flags & VD_UBLK_F_AUTO_BUF_REG) == 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
                "ublkb%u: the kernel's driver does not grant zero copy", info.dev_id);
    return FALSE;
  }
  serving->setup.depth = info.queue_depth;
  serving->setup.max_io = info.max_io_buf_bytes;
  if ((info.flags & VD_UBLK_F_AUTO_BUF_REG) != 0)
    serving->setup.flags |= VD_SERVE_ZERO_COPY;
  return TRUE;
}

static guint8 shift_of(guint64 value)
{
  return (guint8)g_bit_nth_lsf((gulong)value, -1);
}

/* What the worker says of the image was checked; the rest is our promise. FUA is left to the block layer,
 * which makes a flush of it. */
static VdUblkParams make_params(const VdAttachSpec *spec, const VdServing *serving,
                                const VdServeReport *report)
{
  guint32 physical = MAX(spec->physical_sector_size, spec->sector_size);
  guint32 zero_sectors = VD_UBLK_MAX_ZERO_SECTORS / (spec->sector_size / 512) * (spec->sector_size / 512);
  VdUblkParams params = {
      .types = VD_UBLK_PARAM_BASIC | VD_UBLK_PARAM_DMA_ALIGN,
      .attrs = spec->read_only ? VD_UBLK_ATTR_READ_ONLY : VD_UBLK_ATTR_VOLATILE_CACHE,
      .logical_bs_shift = shift_of(spec->sector_size),
      .physical_bs_shift = shift_of(vd_is_power_of_two(physical) && physical <= 4096 ? physical : 4096),
      .max_sectors = serving->setup.max_io / 512,
      .dev_sectors = spec->size / 512,
      .dma_alignment = 511,
  };

  params.io_min_shift = params.physical_bs_shift;
  params.io_opt_shift = report->block_size != 0 ? shift_of(report->block_size) : params.physical_bs_shift;
  /* Requests are split where the blocks of the image are, which begin at the device's first byte only if it
   * shows the whole disk or begins with a block. */
  if (report->block_size >= params.max_sectors * 512 && spec->served.skip % report->block_size == 0)
    params.chunk_sectors = report->block_size / 512;
  if (spec->read_only)
    return params;
  params.types |= VD_UBLK_PARAM_DISCARD;
  params.discard_granularity = MAX(report->discard_granularity, spec->sector_size);
  params.max_write_zeroes_sectors = zero_sectors;
  params.max_discard_sectors = report->discard_granularity != 0 ? zero_sectors : 0;
  params.max_discard_segments = 1;
  return params;
}

/* The descriptor is the worker's from here on: ours is closed, and with it the last but one. */
static gboolean start_worker(const VdAttachSpec *spec, VdServing *serving, GCancellable *cancellable,
                             GError **error)
{
  vd_autofd transport = vd_ublk_open_char(serving->ublk_id, cancellable, error);

  return transport >= 0 && vd_serving_start_worker(serving, transport, 0, cancellable, error);
}

static gboolean start_disk(VdUblkControl *control, const VdAttachSpec *spec, VdServing *serving,
                           GError **error)
{
  g_autoptr(VdService) service = vd_serving_get_service(serving);
  VdUblkParams params = make_params(spec, serving, vd_service_report(service));
  int result = vd_ublk_set_params(control, serving->ublk_id, &params);

  if (result < 0) {
    vd_ublk_set_error(error, serving->ublk_id, "the kernel refuses the disk's parameters", result);
    return FALSE;
  }
  result = vd_ublk_start(control, serving->ublk_id, getpid());
  if (result == 0)
    return TRUE;
  if (vd_service_is_gone(service))
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_WORKER_LOST,
                "virtdisk-worker ended before the disk was there");
  else
    vd_ublk_set_error(error, serving->ublk_id, "the kernel does not start the disk", result);
  return FALSE;
}

static gboolean check_disk(int fd, const VdAttachSpec *spec, VdAttachment *made, GError **error)
{
  int sector_size = 0;

  if (!vd_ublk_describe(made, error))
    return FALSE;
  if (made->size == spec->size && ioctl(fd, BLKSSZGET, &sector_size) == 0 &&
      sector_size == (int)spec->sector_size)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO,
              "%s has %" G_GUINT64_FORMAT " bytes in sectors of %d, not %" G_GUINT64_FORMAT
              " in sectors of %u",
              made->name, made->size, sector_size, spec->size, spec->sector_size);
  return FALSE;
}

/* The kernel has the disk, and udev has heard of it. */
static gboolean complete(const VdAttachSpec *spec, VdAttachment *made, GError **error)
{
  vd_autofd fd = open(made->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);

  if (fd < 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s cannot be opened: %s", made->path,
                g_strerror(errno));
    return FALSE;
  }
  flock(fd, LOCK_SH | LOCK_NB);
  if (!check_disk(fd, spec, made, error) ||
      !vd_hints_number(made->rundir, made->name, made->diskseq, error) ||
      !vd_node_give(fd, &made->owner, error))
    return FALSE;
  vd_serving_set_device(made->serving, made->name, made->diskseq);
  if (!vd_serving_save(made->serving, error))
    return FALSE;
  if (spec->partition_scan)
    vd_partitions_complete(fd, made->name, made->size, spec->partitions, spec->n_partitions);
  else
    vd_partitions_remove(fd, made->name);
  vd_node_give_partitions(made->name, &made->owner);
  made->hold_fd = vd_steal_fd(&fd);
  return TRUE;
}

static VdAttachment *describe(const VdAttachSpec *spec, VdServing *serving)
{
  VdAttachment *made = vd_attachment_new(spec->rundir);

  made->tag = g_strdup(spec->tag);
  made->serving = vd_serving_ref(serving);
  made->name = g_strdup_printf("ublkb%u", serving->ublk_id);
  made->path = g_strdup_printf(VD_UBLK_BLOCK_FORMAT, serving->ublk_id);
  made->read_only = spec->read_only;
  made->direct_io = spec->direct_io;
  made->image_dev = serving->images[0].dev;
  made->image_ino = serving->images[0].ino;
  made->owner = (VdNodeOwner){
      .set = spec->uid != VD_UID_INVALID, .uid = spec->uid, .gid = spec->gid, .mode = spec->mode};
  return made;
}

static VdAttachment *ublk_attach(const VdAttachSpec *spec, GCancellable *cancellable, GError **error)
{
  g_autoptr(VdUblkControl) control = vd_ublk_control_open(error);
  g_auto(UblkGuard) guard = {.control = control};

  if (control == NULL)
    return NULL;
  guard.serving = vd_serving_new(spec, VD_TRANSPORT_UBLK, error);
  /* The record comes first: by it, and the mark, a device that is made now is found after a crash. */
  if (guard.serving == NULL || !vd_serving_save(guard.serving, error) ||
      !add_device(control, spec, guard.serving, error))
    return NULL;
  guard.made = describe(spec, guard.serving);
  if (!start_worker(spec, guard.serving, cancellable, error) ||
      !vd_hints_prepare(spec, guard.made->name, error) ||
      !vd_hints_publish(spec->rundir, guard.made->name, 0, error) ||
      !start_disk(control, spec, guard.serving, error) || !complete(spec, guard.made, error))
    return NULL;
  g_clear_pointer(&guard.serving, vd_serving_unref);
  return g_steal_pointer(&guard.made);
}

gboolean vd_ublk_resize(const VdAttachment *attachment, guint64 size, GError **error)
{
  g_autoptr(VdUblkControl) control = vd_ublk_control_open(error);
  VdServing *serving = attachment->serving;
  VdUblkInfo info;
  int result;

  if (control == NULL)
    return FALSE;
  result = vd_ublk_get_info(control, serving->ublk_id, &info);
  if (result == 0 && info.ublksrv_flags != vd_ublk_mark(serving->tag))
    result = -ENODEV;
  if (result == 0 && (info.flags & VD_UBLK_F_UPDATE_SIZE) == 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
                "this kernel's ublk driver cannot change the size of %s (Linux 6.16 can)", attachment->path);
    return FALSE;
  }
  if (result == 0)
    result = vd_ublk_update_size(control, serving->ublk_id, size);
  if (result == 0)
    return TRUE;
  vd_ublk_set_error(error, serving->ublk_id, "the kernel does not change the size", result);
  return FALSE;
}

static gboolean ublk_is_live(const VdAttachment *attachment)
{
  guint64 diskseq;

  return vd_sysfs_read_u64(NULL, attachment->name, "diskseq", &diskseq) && diskseq == attachment->diskseq;
}

const VdRoute vd_route_ublk = {
    .name = "ublk",
    .idle = VD_IDLE_WATCH,
    .suits = ublk_suits,
    .attach = ublk_attach,
    .release = vd_ublk_release,
    .abandon = vd_ublk_abandon,
    .is_live = ublk_is_live,
    .reclaim = vd_ublk_reclaim,
    .recover = vd_ublk_recover,
    .retire = vd_ublk_retire,
    .resize = vd_ublk_resize,
    .give_up = vd_ublk_give_up,
    .scan = vd_ublk_scan,
};
