/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service.h"

#include <gio/gunixmounts.h>
#include <malloc.h>

#include "arguments.h"
#include "mounts.h"
#include "notify.h"
#include "reveal.h"
#include "work.h"

#define IDLE_MS 10000

typedef struct {
  GApplication *application; /* borrowed: we end with it */
  VirtdiskClient *client;    /* NULL until somebody asked for something */
  GQueue unconnected;        /* element Request*: wait for the client */
  GHashTable *items;         /* path -> Item: what was opened and is attached */
  GHashTable *busy;          /* path -> GQueue of Request*: one deed at a time for each image */
  VdNotifier *notifier;
  GUnixMountMonitor *mounts; /* NULL until it is needed */
  guint running;             /* requests not ended yet */
  gboolean held;
} VdDesktop;

typedef struct {
  char *device;
  VirtdiskHandle *handle; /* or NULL; see VdOutcome */
  gboolean was_mounted;   /* known only where there is a handle */
} Item;

typedef struct {
  VdDesktop *desktop;
  GApplicationCommandLine *line; /* or NULL; who waits for it goes on when the last reference does */
  VdDeed deed;
  char *path;
  char *startup_id;
  GAppLaunchContext *context; /* the screen of who asked, for what has to be started there */
  VirtdiskHandle *handle;     /* of the item, while the thread runs; or NULL */
} Request;

static void item_free(Item *item)
{
  g_clear_object(&item->handle);
  g_free(item->device);
  g_free(item);
}

static void request_free(Request *request)
{
  g_clear_object(&request->line);
  g_clear_object(&request->handle);
  g_object_unref(request->context);
  g_free(request->path);
  g_free(request->startup_id);
  g_free(request);
}

/* While there is something to wait for, and not longer. */
static void update_hold(gpointer user_data)
{
  VdDesktop *self = user_data;
  gboolean wanted =
      self->running > 0 || g_hash_table_size(self->items) > 0 || vd_notifier_count_open(self->notifier) > 0;

  if (wanted == self->held)
    return;
  self->held = wanted;
  if (wanted)
    g_application_hold(self->application);
  else
    g_application_release(self->application);
}

static void start(Request *request);

/* The next one for the same image. */
static void request_end(Request *request)
{
  VdDesktop *self = request->desktop;
  GQueue *waiting = g_hash_table_lookup(self->busy, request->path);
  Request *next = waiting != NULL ? g_queue_pop_head(waiting) : NULL;

  if (next == NULL)
    g_hash_table_remove(self->busy, request->path);
  request_free(request);
  self->running--;
  if (next != NULL)
    start(next);
  else
    malloc_trim(0);
  update_hold(self);
}

static void tell_line(GApplicationCommandLine *line, const VdOutcome *outcome)
{
  g_autofree char *summary = vd_outcome_summary(outcome);
  g_autofree char *body = vd_outcome_body(outcome);
  gboolean success = vd_saying_is_success(outcome->saying);

  for (guint i = 0; i < outcome->folders->len; i++)
    g_application_command_line_print(line, "%s\n", (const char *)g_ptr_array_index(outcome->folders, i));
  if (!success)
    g_application_command_line_set_exit_status(line, 1);
  if (!success || vd_message_get(outcome->saying)->tone == VD_TONE_WARN)
    g_application_command_line_printerr(line, "virtdisk-open: %s. %s\n", summary, body);
  else if (outcome->folders->len == 0)
    g_application_command_line_print(line, "%s. %s\n", summary, body);
}

static void on_revealed(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Request *request = user_data;
  g_autoptr(GError) error = NULL;

  if (!vd_reveal_finish(result, &error))
    g_message("The folder cannot be shown: %s", error->message);
  request_end(request);
}

static void watch_mounts(VdDesktop *self, Item *item);

static void remember(VdDesktop *self, VdOutcome *outcome)
{
  Item *item = g_hash_table_lookup(self->items, outcome->path);

  if (outcome->device == NULL || (item != NULL && g_str_equal(item->device, outcome->device)))
    return;
  item = g_new0(Item, 1);
  item->device = g_strdup(outcome->device);
  item->handle = g_steal_pointer(&outcome->handle);
  g_hash_table_replace(self->items, g_strdup(outcome->path), item);
  if (item->handle != NULL)
    watch_mounts(self, item);
}

static void on_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
  Request *request = user_data;
  VdDesktop *self = request->desktop;
  g_autoptr(VdOutcome) outcome = g_task_propagate_pointer(G_TASK(result), NULL);

  remember(self, outcome);
  g_clear_object(&request->handle);
  if (request->line != NULL)
    tell_line(request->line, outcome);
  vd_notifier_say(self->notifier, outcome);
  if (outcome->folders->len > 0)
    vd_reveal_async(g_application_get_dbus_connection(self->application), outcome->folders,
                    request->startup_id, request->context, on_revealed, request);
  else
    request_end(request);
}

static void work_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  const Request *request = data;
  g_autoptr(GMainContext) context = g_main_context_new();
  VdOutcome *outcome;

  g_main_context_push_thread_default(context);
  outcome = vd_work_do(VIRTDISK_CLIENT(source), request->deed, request->path, request->handle);
  g_main_context_pop_thread_default(context);
  g_task_return_pointer(task, outcome, (GDestroyNotify)vd_outcome_free);
}

/* The request is not written to until the thread has ended. */
static void start(Request *request)
{
  g_autoptr(GTask) task = g_task_new(request->desktop->client, NULL, on_done, request);
  Item *item = g_hash_table_lookup(request->desktop->items, request->path);

  if (item != NULL && item->handle != NULL)
    request->handle = g_object_ref(item->handle);
  g_task_set_task_data(task, request, NULL);
  g_task_run_in_thread(task, work_in_thread);
}

static void enqueue(VdDesktop *self, Request *request)
{
  GQueue *waiting = g_hash_table_lookup(self->busy, request->path);

  if (waiting != NULL) {
    g_queue_push_tail(waiting, request);
    return;
  }
  g_hash_table_insert(self->busy, g_strdup(request->path), g_queue_new());
  start(request);
}

/* Somebody unmounted it in the file manager, detached it, or the session is about to end. */
static void on_disk_removed(VirtdiskClient *client, VirtdiskDisk *disk, gpointer user_data)
{
  VdDesktop *self = user_data;
  const char *device = virtdisk_disk_get_device(disk);
  GHashTableIter iter;
  gpointer path, item;

  g_hash_table_iter_init(&iter, self->items);
  while (g_hash_table_iter_next(&iter, &path, &item)) {
    if (!g_str_equal(((Item *)item)->device, device))
      continue;
    /* What is being done with it has an end that will be told. */
    if (!g_hash_table_contains(self->busy, path))
      vd_notifier_withdraw(self->notifier, path);
    g_hash_table_iter_remove(&iter);
    break;
  }
  update_hold(self);
}

/* TRUE: what was mounted from a disk that our handle keeps attached has all been unmounted. */
static gboolean has_been_left(Item *item)
{
  g_autoptr(GPtrArray) mounts = item->handle != NULL ? vd_mounts_of(item->device, VD_MOUNTS_DISK) : NULL;
  gboolean left = mounts != NULL && mounts->len == 0 && item->was_mounted;

  item->was_mounted |= mounts != NULL && mounts->len > 0;
  return left;
}

/* The service detaches a disk after its last unmount, unless a handle is in the way: ours. */
static void on_mounts_changed(GUnixMountMonitor *monitor, gpointer user_data)
{
  VdDesktop *self = user_data;
  GHashTableIter iter;
  gpointer path, item;

  g_hash_table_iter_init(&iter, self->items);
  while (g_hash_table_iter_next(&iter, &path, &item))
    if (!g_hash_table_contains(self->busy, path) && has_been_left(item))
      g_clear_object(&((Item *)item)->handle);
}

static void watch_mounts(VdDesktop *self, Item *item)
{
  if (self->mounts == NULL) {
    self->mounts = g_unix_mount_monitor_get();
    g_signal_connect(self->mounts, "mounts-changed", G_CALLBACK(on_mounts_changed), self);
  }
  has_been_left(item);
}

static void fail_unconnected(VdDesktop *self, const GError *error)
{
  Request *request;

  while ((request = g_queue_pop_head(&self->unconnected)) != NULL) {
    g_autoptr(VdOutcome) outcome = vd_outcome_new(request->path);

    outcome->saying = VD_SAYING_NO_SERVICE;
    outcome->reason = g_utf8_make_valid(error->message, -1);
    if (request->line != NULL)
      tell_line(request->line, outcome);
    vd_notifier_say(self->notifier, outcome);
    request_free(request);
    self->running--;
  }
  update_hold(self);
}

static void on_connected(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdDesktop *self = user_data;
  g_autoptr(GError) error = NULL;
  Request *request;

  self->client = virtdisk_client_new_finish(result, &error);
  if (self->client == NULL) {
    fail_unconnected(self, error);
    return;
  }
  g_signal_connect(self->client, "disk-removed", G_CALLBACK(on_disk_removed), self);
  while ((request = g_queue_pop_head(&self->unconnected)) != NULL)
    enqueue(self, request);
}

/* The session bus may have been started before the screen, and we know the environment of the bus. */
static GAppLaunchContext *make_context(GApplicationCommandLine *line)
{
  static const char *const names[] = {"DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_CURRENT_DESKTOP",
                                      "XDG_DATA_DIRS"};
  GAppLaunchContext *context = g_app_launch_context_new();

  for (gsize i = 0; line != NULL && i < G_N_ELEMENTS(names); i++) {
    const char *value = g_application_command_line_getenv(line, names[i]);

    if (value != NULL)
      g_app_launch_context_setenv(context, names[i], value);
  }
  return context;
}

static void request_new(VdDesktop *self, VdDeed deed, const char *path, GApplicationCommandLine *line)
{
  Request *request = g_new0(Request, 1);
  const char *token = line != NULL ? g_application_command_line_getenv(line, "XDG_ACTIVATION_TOKEN") : NULL;

  if (token == NULL && line != NULL)
    token = g_application_command_line_getenv(line, "DESKTOP_STARTUP_ID");
  *request = (Request){self,
                       line != NULL ? g_object_ref(line) : NULL,
                       deed,
                       g_strdup(path),
                       g_utf8_make_valid(token != NULL ? token : "", -1),
                       make_context(line),
                       NULL};
  self->running++;
  update_hold(self);
  if (self->client != NULL) {
    enqueue(self, request);
    return;
  }
  g_queue_push_tail(&self->unconnected, request);
  if (g_queue_get_length(&self->unconnected) == 1)
    virtdisk_client_new_async(NULL, on_connected, self);
}

static int on_command_line(GApplication *application, GApplicationCommandLine *line, gpointer user_data)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(VdArguments) arguments =
      vd_arguments_new(g_application_command_line_get_options_dict(line), &error);

  if (arguments == NULL) {
    g_application_command_line_printerr(line, "virtdisk-open: %s\n", error->message);
    return 2;
  }
  for (char **file = arguments->files; *file != NULL; file++) {
    g_autoptr(GFile) resolved = g_application_command_line_create_file_for_arg(line, *file);
    g_autofree char *path = g_file_get_path(resolved);

    if (path != NULL)
      request_new(user_data, arguments->deed, path, line);
    else
      g_application_command_line_printerr(line, "virtdisk-open: %s is not a file of this computer\n", *file);
  }
  return 0;
}

/* org.freedesktop.Application, for who activates us by D-Bus. */
static void on_open(GApplication *application, GFile **files, int n_files, const char *hint,
                    gpointer user_data)
{
  for (int i = 0; i < n_files; i++) {
    g_autofree char *path = g_file_get_path(files[i]);

    if (path != NULL)
      request_new(user_data, VD_DEED_OPEN, path, NULL);
  }
}

static void on_pressed(const char *path, VdNext next, gpointer user_data)
{
  static const VdDeed deeds[VD_N_NEXT] = {[VD_NEXT_EJECT] = VD_DEED_EJECT,
                                          [VD_NEXT_OPEN] = VD_DEED_OPEN,
                                          [VD_NEXT_OPEN_WRITABLE] = VD_DEED_OPEN_WRITABLE,
                                          [VD_NEXT_CHECK] = VD_DEED_CHECK};

  if (next != VD_NEXT_NOTHING)
    request_new(user_data, deeds[next], path, NULL);
}

/* The bus is there now, and no command line has come yet. */
static void on_startup(GApplication *application, gpointer user_data)
{
  VdDesktop *self = user_data;

  self->notifier = vd_notifier_new(g_application_get_dbus_connection(application), on_pressed, self);
  vd_notifier_set_changed(self->notifier, update_hold);
}

static void desktop_free(gpointer data)
{
  VdDesktop *self = data;

  if (self->mounts != NULL)
    g_signal_handlers_disconnect_by_data(self->mounts, self);
  g_clear_object(&self->mounts);
  g_clear_object(&self->client);
  g_clear_pointer(&self->notifier, vd_notifier_free);
  g_hash_table_unref(self->items);
  g_hash_table_unref(self->busy);
  g_free(self);
}

void vd_desktop_serve(GApplication *application)
{
  VdDesktop *self = g_new0(VdDesktop, 1);

  self->application = application;
  g_queue_init(&self->unconnected);
  self->items = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)item_free);
  self->busy = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_queue_free);
  g_object_set_data_full(G_OBJECT(application), "virtdisk-desktop", self, desktop_free);
  g_application_set_inactivity_timeout(application, IDLE_MS);
  g_signal_connect(application, "startup", G_CALLBACK(on_startup), self);
  g_signal_connect(application, "command-line", G_CALLBACK(on_command_line), self);
  g_signal_connect(application, "open", G_CALLBACK(on_open), self);
}
