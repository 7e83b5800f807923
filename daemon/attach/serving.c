/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach/serving.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "attach/serving-record.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/offload.h"
#include "util/ublk-abi.h"
#include "virtdisk-error.h"
#include "worker/said.h"

/* From SIGKILL to the end; a process that waits for a disk takes its time. */
#define BURY_DEADLINE_MS 5000
/* Workers that are asked at once whether they serve on. */
#define MAX_FINDERS 256

VdServing *vd_serving_alloc(const char *rundir, const char *tag)
{
  VdServing *self = g_new0(VdServing, 1);

  g_atomic_ref_count_init(&self->refs);
  g_mutex_init(&self->lock);
  self->rundir = g_strdup(rundir);
  self->tag = g_strdup(tag);
  self->socket_path = vd_serving_record_path(rundir, tag, ".sock");
  self->ublk_id = VD_UBLK_ANY_ID;
  self->fuse_fd = self->changes.fd = -1;
  return self;
}

VdServing *vd_serving_ref(VdServing *self)
{
  g_atomic_ref_count_inc(&self->refs);
  return self;
}

/* A user's FUSE process is asked by a close, and need not answer. */
static void close_images(VdServing *self)
{
  int *fds = g_new(int, self->n_images + 1);

  for (gsize i = 0; i < self->n_images; i++) {
    fds[i] = vd_steal_fd(&self->images[i].fd);
    g_free(self->images[i].path);
  }
  fds[self->n_images] = vd_steal_fd(&self->changes.fd);
  g_free(self->changes.path);
  vd_offload_close_all(fds, self->n_images + 1);
}

void vd_serving_unref(VdServing *self)
{
  if (self == NULL || !g_atomic_ref_count_dec(&self->refs))
    return;
  close_images(self);
  vd_clear_fd(&self->fuse_fd);
  g_clear_pointer(&self->service, vd_service_unref);
  g_mutex_clear(&self->lock);
  g_free(self->images);
  g_free(self->rundir);
  g_free(self->tag);
  g_free(self->program);
  g_free(self->user_argument);
  g_free(self->socket_path);
  g_free(self->name);
  g_free(self);
}

gboolean vd_serving_image_init(VdServingImage *image, int fd, GError **error)
{
  g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
  struct stat st;

  image->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (image->fd < 0 || fstat(image->fd, &st) != 0) {
    g_set_error(error, VIRTDISK_ERROR,
                errno == EMFILE ? VIRTDISK_ERROR_NO_RESOURCES : VIRTDISK_ERROR_INTERNAL,
                "The image's descriptor cannot be duplicated: %s", g_strerror(errno));
    return FALSE;
  }
  image->dev = st.st_dev;
  image->ino = st.st_ino;
  image->path = g_file_read_link(link, NULL);
  if (image->path == NULL)
    image->path = g_strdup("");
  return TRUE;
}

static gboolean take_changes(VdServing *self, int fd, GError **error)
{
  if (fd <= 0)
    return TRUE;
  self->changes_dev = self->images[0].dev;
  self->changes_ino = self->images[0].ino;
  return vd_serving_image_init(&self->changes, fd, error);
}

gboolean vd_serving_is_tracked(const VdServing *self)
{
  return self->changes.path != NULL && self->n_images > 0 && self->images[0].dev == self->changes_dev &&
         self->images[0].ino == self->changes_ino && (self->setup.flags & VD_SERVE_WRITABLE) != 0;
}

static void fill_setup(VdServeSetup *setup, const VdAttachSpec *spec, VdTransport transport)
{
  setup->transport = transport;
  setup->flags = (spec->read_only ? 0 : VD_SERVE_WRITABLE) | (spec->direct_io ? VD_SERVE_DIRECT : 0);
  setup->device_id = spec->served.device_id;
  setup->depth = VD_SERVE_DEFAULT_DEPTH;
  setup->max_io = transport == VD_TRANSPORT_UBLK ? VD_SERVE_DEFAULT_IO_UBLK : VD_SERVE_DEFAULT_IO_FUSE;
  setup->sector_size = spec->sector_size;
  setup->size = spec->size;
  setup->offset = spec->served.skip;
}

VdServing *vd_serving_new(const VdAttachSpec *spec, VdTransport transport, GError **error)
{
  g_autoptr(VdServing) self = vd_serving_alloc(spec->rundir, spec->tag);
  g_autofree char *folder = g_path_get_dirname(self->socket_path);

  if (g_mkdir_with_parents(folder, 0700) != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s cannot be made: %s", folder, g_strerror(errno));
    return NULL;
  }
  self->program = g_strdup(spec->served.program);
  self->user_argument = g_strdup(spec->served.user_argument);
  fill_setup(&self->setup, spec, transport);
  self->images = g_new0(VdServingImage, spec->served.n_images);
  for (gsize i = 0; i < spec->served.n_images; i++)
    self->images[i].fd = -1;
  self->n_images = spec->served.n_images;
  for (gsize i = 0; i < self->n_images; i++)
    if (!vd_serving_image_init(&self->images[i], spec->served.images[i], error))
      return NULL;
  if (!take_changes(self, spec->served.changes_fd, error))
    return NULL;
  return g_steal_pointer(&self);
}

void vd_serving_set_device(VdServing *self, const char *name, guint64 diskseq)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&self->lock);

  g_free(self->name);
  self->name = g_strdup(name);
  self->diskseq = diskseq;
}

gboolean vd_serving_is_under(const VdServing *self, const char *tag, guint64 diskseq)
{
  return self->setup.transport == VD_TRANSPORT_FUSE &&
         (self->diskseq != 0 ? self->diskseq == diskseq : g_strcmp0(self->tag, tag) == 0);
}

/* What is known at once: the file's server, which may be a user's process, is not asked. */
static gboolean is_file_of(const VdServingImage *image, int fd)
{
  struct statx stx;

  return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &stx) == 0 &&
         S_ISREG(stx.stx_mode) && makedev(stx.stx_dev_major, stx.stx_dev_minor) == image->dev &&
         stx.stx_ino == image->ino;
}

/* The kernel's own name of the file when it was attached, so no link lies on the way there. One that is found
 * there now was laid by somebody who may lead root to another file, which has the old one's number by now. */
static int find_image(const VdServingImage *image)
{
  struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};

  return (int)syscall(SYS_openat2, AT_FDCWD, image->path, &how, sizeof how);
}

/*
 * The service and the worker ended together, and with them the descriptors. What was opened for this disk by
 * one who may is opened again if it is the same file, and nothing else is: the path is only where it is
 * looked for.
 */
static gboolean reopen(VdServingImage *image, gboolean writable, GError **error)
{
  vd_autofd found = find_image(image);
  g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", found);
  int fd = -1;

  if (found >= 0 && is_file_of(image, found)) {
    fd = open(link, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (fd < 0) {
      g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s cannot be opened again: %s", image->path,
                  g_strerror(errno));
      return FALSE;
    }
  }
  if (fd >= 0 && is_file_of(image, fd)) {
    image->fd = fd;
    return TRUE;
  }
  if (fd >= 0)
    vd_offload_close(fd);
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_CHANGED, "%s is not the file that was attached",
              image->path);
  return FALSE;
}

/* Worker and service take turns with these; only one thread makes a worker at a time. */
static gboolean open_images(VdServing *self, GError **error)
{
  for (gsize i = 0; i < self->n_images; i++) {
    gboolean writable = i == 0 && (self->setup.flags & VD_SERVE_WRITABLE) != 0;

    if (self->images[i].fd < 0 && !reopen(&self->images[i], writable, error))
      return FALSE;
  }
  return TRUE;
}

/* What is not found is not kept on, which the next who opens the image sees. 0: none. */
static int open_changes(VdServing *self)
{
  g_autoptr(GError) error = NULL;

  if (!vd_serving_is_tracked(self))
    return 0;
  if (self->changes.fd < 0 && !reopen(&self->changes, TRUE, &error))
    g_warning("the changes of %s are not tracked any more: %s", self->images[0].path, error->message);
  return MAX(self->changes.fd, 0);
}

/* It has read the image: what it says of it has to be what the device was promised to be. */
static gboolean check_report(const VdServing *self, const VdServeReport *report, GError **error)
{
  guint64 end = self->setup.offset + self->setup.size;

  if (report->size >= end && report->sector_size == self->setup.sector_size &&
      (report->block_size == 0 || (vd_is_power_of_two(report->block_size) && report->block_size >= 512)) &&
      (report->discard_granularity == 0 || vd_is_power_of_two(report->discard_granularity)))
    return TRUE;
  g_propagate_error(error, vd_worker_lost("says of the image what cannot be"));
  return FALSE;
}

static void set_service(VdServing *self, VdService *service)
{
  g_autoptr(VdService) old = NULL;
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&self->lock);

  old = g_steal_pointer(&self->service);
  self->service = service;
  self->pid = service != NULL ? vd_service_pid(service) : 0;
}

gboolean vd_serving_start_worker(VdServing *self, int transport_fd, guint32 flags, GCancellable *cancellable,
                                 GError **error)
{
  g_autofree int *images = NULL;
  g_autofree VdServiceSpec *spec = g_new0(VdServiceSpec, 1);
  g_autoptr(VdService) service = NULL;

  if (!open_images(self, error))
    return FALSE;
  images = g_new(int, self->n_images);
  for (gsize i = 0; i < self->n_images; i++)
    images[i] = self->images[i].fd;
  *spec = (VdServiceSpec){.program = self->program,
                          .user_argument = self->user_argument,
                          .socket_path = self->socket_path,
                          .setup = self->setup,
                          .transport_fd = transport_fd,
                          .images = images,
                          .n_images = (unsigned)self->n_images,
                          .changes_fd = open_changes(self)};
  spec->setup.flags |= flags;
  /* However far it gets: its successor cannot know. */
  if ((self->setup.flags & VD_SERVE_MIRROR) != 0) {
    spec->setup.n_written = 2;
    self->setup.flags |= VD_SERVE_MIRROR_OLD;
  }
  service = vd_service_start(spec, cancellable, error);
  if (service == NULL)
    return FALSE;
  if (!check_report(self, vd_service_report(service), error)) {
    vd_service_kill(service);
    return FALSE;
  }
  set_service(self, g_steal_pointer(&service));
  return vd_serving_save(self, error);
}

static gboolean take_files(VdServing *self, VdService *service, GError **error)
{
  g_autofree int *images = g_new(int, self->n_images);
  int transport = -1;
  gboolean fuse = self->setup.transport == VD_TRANSPORT_FUSE;
  gboolean taken =
      vd_service_take_files(service, fuse ? &transport : NULL, images, (unsigned)self->n_images, error);

  /* What else a worker sends is closed. */
  for (gsize i = 0; i < self->n_images; i++)
    if (images[i] >= 0 && is_file_of(&self->images[i], images[i])) {
      int old = self->images[i].fd;

      self->images[i].fd = images[i];
      images[i] = old;
    }
  vd_offload_close_all(g_steal_pointer(&images), self->n_images);
  self->found = TRUE;
  if (transport >= 0)
    vd_serving_set_fuse(self, transport);
  return taken;
}

/* The program was replaced since the worker was started. */
static gboolean is_replaced(const VdServing *self, VdService *service)
{
  g_autofree char *link = g_strdup_printf("/proc/%d/exe", (int)vd_service_pid(service));
  struct stat running, installed;

  return stat(link, &running) == 0 && stat(self->program, &installed) == 0 &&
         (running.st_dev != installed.st_dev || running.st_ino != installed.st_ino);
}

static gboolean find_worker(VdServing *self, GError **error)
{
  g_autoptr(VdService) service = vd_service_connect(self->socket_path, error);
  g_autoptr(GError) cause = NULL;

  if (service == NULL)
    return FALSE;
  /* It serves all the same; only a successor of it cannot be had, or not so easily. */
  if (vd_service_is_foreign(service) && !open_images(self, &cause))
    g_warning("the worker of %s (pid %d) is of another version, and goes on: %s", self->tag,
              (int)vd_service_pid(service), cause->message);
  else if (!vd_service_is_foreign(service) && !take_files(self, service, &cause))
    g_warning("the worker of %s (pid %d) does not give its files: %s", self->tag,
              (int)vd_service_pid(service), cause->message);
  self->outdated = cause == NULL && (vd_service_is_foreign(service) || is_replaced(self, service));
  set_service(self, g_steal_pointer(&service));
  return TRUE;
}

/* Whoever asked for the mirror knew the service that has ended. */
gboolean vd_serving_find_worker(VdServing *self, GError **error)
{
  gboolean found = find_worker(self, error);

  self->mirrored = (self->setup.flags & VD_SERVE_MIRROR) != 0;
  vd_serving_drop_mirror(self);
  return found;
}

static void find_in_thread(gpointer serving, gpointer data)
{
  VdServing *self = serving;
  g_autoptr(GError) error = NULL;

  if (!vd_serving_find_worker(self, &error))
    g_message("%s: %s", self->name != NULL ? self->name : self->tag, error->message);
}

void vd_serving_find_workers(GPtrArray *servings)
{
  GThreadPool *pool = g_thread_pool_new(find_in_thread, NULL, MAX_FINDERS, FALSE, NULL);

  for (guint i = 0; i < servings->len; i++)
    g_thread_pool_push(pool, g_ptr_array_index(servings, i), NULL);
  g_thread_pool_free(pool, FALSE, TRUE);
}

VdService *vd_serving_get_service(VdServing *self)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&self->lock);

  return self->service != NULL ? vd_service_ref(self->service) : NULL;
}

void vd_serving_set_fuse(VdServing *self, int fd)
{
  int old;

  g_mutex_lock(&self->lock);
  old = self->fuse_fd;
  self->fuse_fd = fd;
  g_mutex_unlock(&self->lock);
  vd_clear_fd(&old);
}

int vd_serving_dup_fuse(VdServing *self)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&self->lock);

  return self->fuse_fd >= 0 ? fcntl(self->fuse_fd, F_DUPFD_CLOEXEC, 3) : -1;
}

gboolean vd_serving_has_transport(VdServing *self)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&self->lock);

  return self->setup.transport != VD_TRANSPORT_FUSE || self->fuse_fd >= 0;
}

pid_t vd_serving_get_pid(VdServing *self)
{
  g_autoptr(VdService) service = self != NULL ? vd_serving_get_service(self) : NULL;

  return service != NULL ? vd_service_pid(service) : 0;
}

void vd_serving_rest(VdServing *self)
{
  g_autoptr(VdService) service = self != NULL ? vd_serving_get_service(self) : NULL;

  if (service != NULL)
    vd_service_rest(service);
}

void vd_serving_abort(VdServing *self)
{
  g_autoptr(VdService) service = vd_serving_get_service(self);

  if (service != NULL)
    vd_service_kill(service);
  vd_serving_set_fuse(self, -1);
}

/* The record's pid may be another program's by now. */
static gboolean is_worker(const VdServing *self, pid_t pid)
{
  g_autofree char *link = g_strdup_printf("/proc/%d/exe", (int)pid);
  g_autofree char *program = g_file_read_link(link, NULL);

  return program != NULL && g_str_has_prefix(program, self->program);
}

/* A worker's writes, and its grip on the image, end after its process. */
static void await_end(const VdServing *self)
{
  if (!vd_service_await_end(self->socket_path, BURY_DEADLINE_MS))
    g_warning("virtdisk-worker (pid %d) has ended, and its writes have not", (int)self->pid);
}

void vd_serving_bury(VdServing *self)
{
  g_autoptr(VdService) service = vd_serving_get_service(self);
  vd_autofd pidfd = self->pid > 0 ? (int)syscall(SYS_pidfd_open, self->pid, 0) : -1;
  GPollFD end = {.fd = pidfd, .events = G_IO_IN};

  if (service != NULL)
    vd_service_kill(service);
  else if (pidfd >= 0 && is_worker(self, self->pid))
    syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
  else
    vd_clear_fd(&pidfd);
  if (pidfd >= 0 && g_poll(&end, 1, BURY_DEADLINE_MS) == 0)
    g_warning("virtdisk-worker (pid %d) was killed and does not end", (int)self->pid);
  /* Else an old write could come after a new one to the same place. */
  await_end(self);
}

/*
 * What was taken over from a worker has the locks that an earlier service laid on it. A worker that has ended
 * holds its files for a moment still (io_uring lets go of them later), and others may have the image now.
 */
static void unlock_found(VdServing *self)
{
  struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

  for (gsize i = 0; self->found && i < self->n_images; i++) {
    fcntl(self->images[i].fd, F_OFD_SETLK, &all);
    flock(self->images[i].fd, LOCK_UN);
  }
}

void vd_serving_end(VdServing *self)
{
  g_autoptr(VdService) service = vd_serving_get_service(self);
  g_autoptr(GError) error = NULL;

  vd_serving_set_fuse(self, -1);
  if (service != NULL && !vd_service_wait(service, VD_CLOSE_DEADLINE_MS, NULL, &error)) {
    g_warning("%s was not closed cleanly; what was flushed is in it: %s",
              self->n_images > 0 ? self->images[0].path : self->tag, error->message);
    vd_service_kill(service);
  }
  /* Who is told of the end finds the image free, and what it lies on. */
  await_end(self);
  unlock_found(self);
  vd_serving_forget(self);
}

struct VdServingGuard {
  VdServing *serving;
  VdService *service;
  GCancellable *over;
  GThread *thread;
};

static gpointer guard_in_thread(gpointer data)
{
  VdServingGuard *self = data;

  vd_service_wait(self->service, VD_SERVICE_READY_DEADLINE_MS, self->over, NULL);
  if (!g_cancellable_is_cancelled(self->over))
    vd_serving_abort(self->serving);
  return NULL;
}

VdServingGuard *vd_serving_guard_new(VdServing *serving)
{
  VdServingGuard *self = g_new0(VdServingGuard, 1);

  self->serving = vd_serving_ref(serving);
  self->service = vd_serving_get_service(serving);
  self->over = g_cancellable_new();
  if (self->service != NULL)
    self->thread = g_thread_new("serving-guard", guard_in_thread, self);
  return self;
}

void vd_serving_guard_free(VdServingGuard *self)
{
  if (self == NULL)
    return;
  g_cancellable_cancel(self->over);
  if (self->thread != NULL)
    g_thread_join(self->thread);
  g_clear_pointer(&self->service, vd_service_unref);
  vd_serving_unref(self->serving);
  g_object_unref(self->over);
  g_free(self);
}
