/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk monitor: a line for every event, until it is interrupted. */
#include "cli.h"
#include "output.h"
#include "values.h"

typedef struct {
  VdCli *cli;
  GMainLoop *loop;
  GError *error; /* why it ended, or NULL */
} Monitor;

static void print_json_event(const char *event, VirtdiskDisk *disk)
{
  JsonObject *object = json_object_new();

  json_object_set_string_member(object, "event", event);
  json_object_set_object_member(object, "disk", vd_output_disk_to_json(disk));
  vd_output_json(json_node_init_object(json_node_alloc(), object), VD_JSON_LINE);
  json_object_unref(object);
}

static void print_event(Monitor *self, const char *event, VirtdiskDisk *disk)
{
  if (self->cli->json) {
    print_json_event(event, disk);
  } else if (!self->cli->quiet) {
    g_autofree char *size = vd_value_format_size(virtdisk_disk_get_virtual_size(disk));
    g_autofree char *line = g_strdup_printf("%-7s %-12s %8s %s %s %s", event, virtdisk_disk_get_device(disk),
                                            size, virtdisk_disk_get_read_only(disk) ? "ro" : "rw",
                                            virtdisk_disk_get_state(disk), virtdisk_disk_get_path(disk));

    vd_output_line(line);
  }
  if (!vd_output_flush(self->error == NULL ? &self->error : NULL))
    g_main_loop_quit(self->loop);
}

static void on_disk_added(VirtdiskClient *client, VirtdiskDisk *disk, gpointer user_data)
{
  print_event(user_data, "added", disk);
}

static void on_disk_removed(VirtdiskClient *client, VirtdiskDisk *disk, gpointer user_data)
{
  print_event(user_data, "removed", disk);
}

static void on_disk_changed(VirtdiskClient *client, VirtdiskDisk *disk, gpointer user_data)
{
  print_event(user_data, "changed", disk);
}

static gboolean on_cancelled(GCancellable *cancellable, gpointer user_data)
{
  Monitor *self = user_data;

  g_cancellable_set_error_if_cancelled(cancellable, self->error == NULL ? &self->error : NULL);
  g_main_loop_quit(self->loop);
  return G_SOURCE_REMOVE;
}

static GSource *watch_cancellable(Monitor *self)
{
  GSource *source = g_cancellable_source_new(self->cli->cancellable);

  g_source_set_callback(source, G_SOURCE_FUNC(on_cancelled), self, NULL);
  g_source_attach(source, NULL);
  return source;
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
  Monitor self = {.cli = cli, .loop = loop};
  g_autoptr(GPtrArray) disks = virtdisk_client_get_disks(cli->client);
  g_autoptr(GSource) cancelled = watch_cancellable(&self);

  g_signal_connect(cli->client, "disk-added", G_CALLBACK(on_disk_added), &self);
  g_signal_connect(cli->client, "disk-removed", G_CALLBACK(on_disk_removed), &self);
  g_signal_connect(cli->client, "disk-changed", G_CALLBACK(on_disk_changed), &self);
  for (guint i = 0; i < disks->len; i++)
    on_disk_added(cli->client, g_ptr_array_index(disks, i), &self);
  if (self.error == NULL)
    g_main_loop_run(loop);
  g_signal_handlers_disconnect_by_data(cli->client, &self);
  g_source_destroy(cancelled);
  if (self.error != NULL)
    g_propagate_error(error, self.error);
  return FALSE;
}

const VdVerb vd_verb_monitor = {
    .name = "monitor",
    .summary = "Print disks as they come, change and go, until interrupted",
    .run = run,
};
