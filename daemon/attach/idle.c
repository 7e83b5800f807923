/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach/idle.h"

#include <fcntl.h>
#include <glib-unix.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "attach/sysfs.h"
#include "util/cleanup.h"

struct VdIdleWatch {
  int nodes, mounts;
  GSource *sources[3];
  void (*func)(gpointer user_data);
  gpointer user_data;
};

static void drop_sources(VdIdleWatch *self)
{
  for (gsize i = 0; i < G_N_ELEMENTS(self->sources); i++) {
    if (self->sources[i] != NULL) {
      g_source_destroy(self->sources[i]);
      g_source_unref(self->sources[i]);
    }
    self->sources[i] = NULL;
  }
}

static gboolean fire(gpointer user_data)
{
  VdIdleWatch *self = user_data;

  drop_sources(self);
  self->func(self->user_data);
  return G_SOURCE_REMOVE;
}

static gboolean on_event(int fd, GIOCondition condition, gpointer user_data)
{
  return fire(user_data);
}

static GSource *attach(GSource *source, GSourceFunc func, VdIdleWatch *self)
{
  g_source_set_callback(source, func, self, NULL);
  g_source_attach(source, g_main_context_get_thread_default());
  return source;
}

static void watch_nodes(VdIdleWatch *self, const char *name)
{
  g_autoptr(GPtrArray) blocks = vd_sysfs_list_blocks(NULL, name);

  for (guint i = 0; i < blocks->len; i++) {
    g_autofree char *path = g_strconcat("/dev/", ((VdSysBlock *)g_ptr_array_index(blocks, i))->name, NULL);

    inotify_add_watch(self->nodes, path, IN_CLOSE);
  }
}

VdIdleWatch *vd_idle_watch_new(const char *name, void (*func)(gpointer user_data), gpointer user_data)
{
  VdIdleWatch *self = g_new0(VdIdleWatch, 1);

  self->func = func;
  self->user_data = user_data;
  self->nodes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  self->mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
  watch_nodes(self, name);
  if (self->nodes >= 0)
    self->sources[0] = attach(g_unix_fd_source_new(self->nodes, G_IO_IN), G_SOURCE_FUNC(on_event), self);
  if (self->mounts >= 0)
    self->sources[1] = attach(g_unix_fd_source_new(self->mounts, G_IO_PRI), G_SOURCE_FUNC(on_event), self);
  self->sources[2] = attach(g_timeout_source_new(VD_IDLE_LOOK_MS), fire, self);
  return self;
}

void vd_idle_watch_free(VdIdleWatch *self)
{
  if (self == NULL)
    return;
  drop_sources(self);
  vd_clear_fd(&self->nodes);
  vd_clear_fd(&self->mounts);
  g_free(self);
}
