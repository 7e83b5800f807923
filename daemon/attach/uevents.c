/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach/uevents.h"

#include <errno.h>
#include <glib-unix.h>
#include <libudev.h>
#include <sys/file.h>

#include "util/host-network.h"
#include "virtdisk-error.h"

/* Room for the events of a few thousand partitions, should the reader be late. */
#define RECEIVE_BUFFER_BYTES (4 * 1024 * 1024)
#define LOCK_DEADLINE_MS 3000

struct VdUevents {
  struct udev *udev;
  struct udev_monitor *monitor;
  GSource *source;
  VdUeventFunc func;
  gpointer user_data;
  gboolean dispatching; /* func runs: freeing waits for its return */
  gboolean closed;
};

VdUevents *vd_uevents_new(VdUeventsFrom from, GError **error)
{
  g_autoptr(VdUevents) self = g_new0(VdUevents, 1);
  /* The unit gives the service a network of its own, in which udev is not heard. */
  vd_in_host_network back = vd_host_network_enter();

  self->udev = udev_new();
  if (self->udev != NULL)
    self->monitor = udev_monitor_new_from_netlink(self->udev, from == VD_UEVENTS_KERNEL ? "kernel" : "udev");
  if (self->monitor == NULL ||
      udev_monitor_filter_add_match_subsystem_devtype(self->monitor, "block", NULL) < 0 ||
      udev_monitor_enable_receiving(self->monitor) < 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NO_RESOURCES,
                "Events of block devices cannot be listened to: %s", g_strerror(errno));
    return NULL;
  }
  udev_monitor_set_receive_buffer_size(self->monitor, RECEIVE_BUFFER_BYTES);
  return g_steal_pointer(&self);
}

void vd_uevents_free(VdUevents *self)
{
  if (self == NULL)
    return;
  self->closed = TRUE;
  if (self->dispatching)
    return;
  if (self->source != NULL) {
    g_source_destroy(self->source);
    g_source_unref(self->source);
  }
  if (self->monitor != NULL)
    udev_monitor_unref(self->monitor);
  if (self->udev != NULL)
    udev_unref(self->udev);
  g_free(self);
}

/* FALSE: nothing is waiting. *ret_device is NULL after a loss. */
static gboolean receive(VdUevents *self, struct udev_device **ret_device)
{
  errno = 0;
  *ret_device = udev_monitor_receive_device(self->monitor);
  return *ret_device != NULL || errno == ENOBUFS;
}

static gboolean on_readable(int fd, GIOCondition condition, gpointer user_data)
{
  VdUevents *self = user_data;
  struct udev_device *device;

  self->dispatching = TRUE;
  while (!self->closed && receive(self, &device)) {
    if (device == NULL) {
      self->func(NULL, self->user_data);
    } else {
      const char *diskseq = udev_device_get_property_value(device, "DISKSEQ");
      VdUevent event = {.name = udev_device_get_sysname(device),
                        .action = udev_device_get_action(device),
                        .diskseq = diskseq ? g_ascii_strtoull(diskseq, NULL, 10) : 0};

      self->func(&event, self->user_data);
      udev_device_unref(device);
    }
  }
  self->dispatching = FALSE;
  if (!self->closed)
    return G_SOURCE_CONTINUE;
  vd_uevents_free(self);
  return G_SOURCE_REMOVE;
}

void vd_uevents_attach(VdUevents *self, VdUeventFunc func, gpointer user_data)
{
  g_return_if_fail(self->source == NULL);
  self->func = func;
  self->user_data = user_data;
  self->source = g_unix_fd_source_new(udev_monitor_get_fd(self->monitor), G_IO_IN);
  g_source_set_callback(self->source, G_SOURCE_FUNC(on_readable), self, NULL);
  g_source_attach(self->source, g_main_context_get_thread_default());
}

static void drain(VdUevents *self)
{
  struct udev_device *device;

  while (receive(self, &device))
    if (device != NULL)
      udev_device_unref(device);
}

gboolean vd_uevents_wait(VdUevents *self, gboolean (*done)(gconstpointer data), gconstpointer data,
                         guint deadline_ms, GCancellable *cancellable)
{
  gint64 deadline = g_get_monotonic_time() + (gint64)deadline_ms * 1000;
  GPollFD fds[2] = {{.events = G_IO_IN}};
  gboolean cancels = g_cancellable_make_pollfd(cancellable, &fds[1]);
  gboolean reached;

  if (self != NULL)
    fds[0].fd = udev_monitor_get_fd(self->monitor);
  while (!(reached = done(data)) && self != NULL && !g_cancellable_is_cancelled(cancellable)) {
    gint64 left = deadline - g_get_monotonic_time();

    if (left <= 0)
      break;
    g_poll(fds, cancels ? 2 : 1, (int)(left / 1000 + 1));
    drain(self);
  }
  if (cancels)
    g_cancellable_release_fd(cancellable);
  return reached;
}

static gboolean try_lock(gconstpointer data)
{
  return flock(*(const int *)data, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

void vd_uevents_keep_udev_out(int fd, GCancellable *cancellable)
{
  g_autoptr(VdUevents) processed = NULL;

  if (try_lock(&fd))
    return;
  processed = vd_uevents_new(VD_UEVENTS_UDEV, NULL);
  vd_uevents_wait(processed, try_lock, &fd, LOCK_DEADLINE_MS, cancellable);
}
