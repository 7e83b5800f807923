/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/descriptors.h"

#include <gio/gunixfdlist.h>

#include "util/offload.h"
#include "virtdisk-error.h"

#define KEY "virtdisk-descriptors"

typedef struct {
  int *fds; /* -1: taken */
  gint n;
} Descriptors;

static void descriptors_free(gpointer data)
{
  Descriptors *self = data;

  vd_offload_close_all(self->fds, (gsize)self->n);
  g_free(self);
}

/* In the thread that reads the bus. */
static GDBusMessage *on_message(GDBusConnection *connection, GDBusMessage *message, gboolean incoming,
                                gpointer user_data)
{
  GUnixFDList *list = incoming ? g_dbus_message_get_unix_fd_list(message) : NULL;
  Descriptors *taken;

  if (list == NULL)
    return message;
  taken = g_new0(Descriptors, 1);
  taken->fds = g_unix_fd_list_steal_fds(list, &taken->n);
  g_object_set_data_full(G_OBJECT(message), KEY, taken, descriptors_free);
  return message;
}

guint vd_descriptors_take_over(GDBusConnection *connection)
{
  return g_dbus_connection_add_filter(connection, on_message, NULL, NULL);
}

int vd_descriptors_take(GDBusMessage *message, gint32 number, GError **error)
{
  Descriptors *self = g_object_get_data(G_OBJECT(message), KEY);
  gint n = self != NULL ? self->n : 0;
  int fd;

  if (number < 0 || number >= n || self->fds[number] < 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                "fd is number %d of the %d descriptors that came with the message", number, n);
    return -1;
  }
  fd = self->fds[number];
  self->fds[number] = -1;
  return fd;
}
