/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdiskd: options, signals, the bus name. Everything else is elsewhere. */
#include <fcntl.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#if HAVE_LIBSYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "auth/opener.h"
#include "boot-attach.h"
#include "bus/service.h"
#include "detach-all.h"
#include "manager.h"
#include "names.h"
#include "once.h"
#include "util/cleanup.h"
#include "util/spawn.h"
#include "worker/service.h"

typedef struct {
  char *bus;
  char *rundir;
  char *statedir;
  char *libexecdir;
  char *worker_user;
  char *paths;
  gboolean attach_boot;
  gboolean detach_all;
  int boot_wait; /* seconds */
  char *attach;  /* an image */
  char *detach;  /* a device */
  gboolean read_only;
  char *route;
  gboolean cached;
  int device_id, sector_size;
  gboolean version;
} Options;

typedef struct {
  Options options;
  GMainLoop *loop;
  GDBusConnection *connection;
  VdOpener *opener;
  VdWorkerClient *worker;
  VdManager *manager;
  VdBusService *service;
  guint owner_id;
  int rundir_fd;
  int status;
} Daemon;

static void notify(const char *state)
{
#if HAVE_LIBSYSTEMD
  sd_notify(0, state);
#endif
}

static void opener_open_async(gpointer opener, VdIdentity *identity, const char *path, VdSourceMode mode,
                              GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
  static const VdOpenMode modes[] = {
      VD_OPEN_READ,      VD_OPEN_WRITE,     VD_OPEN_LOCATE, VD_OPEN_DEVICE, VD_OPEN_DEVICE_EXCLUSIVE,
      VD_OPEN_SIDE_READ, VD_OPEN_SIDE_WRITE};

  vd_opener_open_async(opener, identity, path, modes[mode], cancellable, callback, user_data);
}

static int opener_open_finish(gpointer opener, GAsyncResult *result, GError **error)
{
  return vd_opener_open_finish(opener, result, error);
}

static void opener_create_async(gpointer opener, VdIdentity *identity, const char *path,
                                GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
  vd_opener_create_async(opener, identity, path, cancellable, callback, user_data);
}

static gpointer opener_create_finish(gpointer opener, GAsyncResult *result, int *ret_fd, GError **error)
{
  VdNewFile *file = vd_opener_create_finish(opener, result, error);

  if (file != NULL)
    *ret_fd = vd_new_file_get_fd(file);
  return file;
}

static void opener_set_owner(gpointer file, uid_t uid, gid_t gid, mode_t mode)
{
  vd_new_file_set_owner(file, uid, gid, mode);
}

static void opener_publish_async(gpointer file, GAsyncReadyCallback callback, gpointer user_data)
{
  vd_new_file_publish_async(file, callback, user_data);
}

static gboolean opener_publish_finish(gpointer file, GAsyncResult *result, GError **error)
{
  return vd_new_file_publish_finish(file, result, error);
}

static void opener_keep(gpointer file)
{
  vd_new_file_keep(file);
}

static void opener_free_file(gpointer file)
{
  vd_new_file_free(file);
}

static void quit(Daemon *self, int status)
{
  self->status = status;
  g_main_loop_quit(self->loop);
}

static gboolean on_terminate(gpointer user_data)
{
  notify("STOPPING=1");
  quit(user_data, EXIT_SUCCESS);
  return G_SOURCE_CONTINUE;
}

static void on_name_acquired(GDBusConnection *connection, const char *name, gpointer user_data)
{
  notify("READY=1");
}

static void on_name_lost(GDBusConnection *connection, const char *name, gpointer user_data)
{
  g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "the name %s is not ours%s", name,
                   connection == NULL ? ": the bus is gone" : "");
  quit(user_data, EXIT_FAILURE);
}

/* The next service has another. */
static void on_spawner_lost(gpointer user_data)
{
  g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE",
                   "the process that starts processes has ended, and so does the service; disks go on");
  quit(user_data, EXIT_FAILURE);
}

static void on_boot_done(guint failed, gpointer user_data)
{
  quit(user_data, failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

static void on_all_detached(guint left, gpointer user_data)
{
  quit(user_data, left == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* To mount.virtdisk(8), which knows the error by its name. */
static void tell_error(Daemon *self, const GError *error)
{
  if (error->domain == VIRTDISK_ERROR)
    g_printerr("%s: %s\n", virtdisk_error_to_dbus_name(error->code), error->message);
  else
    g_printerr("%s\n", error->message);
  quit(self, EXIT_FAILURE);
}

/* To mount.virtdisk(8): (device, read-only, added, file systems). */
static void on_attached_once(VdDisk *disk, gboolean added, const GError *error, gpointer user_data)
{
  g_autoptr(GVariant) answer = NULL;
  g_autofree char *text = NULL;
  const VdDeviceInfo *info;

  if (disk == NULL) {
    tell_error(user_data, error);
    return;
  }
  info = vd_device_get_info(disk->attachment->device);
  answer = g_variant_ref_sink(
      g_variant_new("(sbb@aa{sv})", info->path, info->read_only, added, vd_bus_service_file_systems(disk)));
  text = g_variant_print(answer, TRUE);
  g_print("%s\n", text);
  quit(user_data, EXIT_SUCCESS);
}

static void on_detached_once(const GError *error, gpointer user_data)
{
  if (error != NULL)
    tell_error(user_data, error);
  else
    quit(user_data, EXIT_SUCCESS);
}

static GDBusConnection *connect_bus(const char *bus, GError **error)
{
  g_autofree char *address = NULL;

  if (g_strcmp0(bus, "system") == 0)
    address = g_dbus_address_get_for_bus_sync(G_BUS_TYPE_SYSTEM, NULL, error);
  else
    address = g_strdup(bus);
  if (address == NULL)
    return NULL;
  return g_dbus_connection_new_for_address_sync(
      address, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT | G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
      NULL, NULL, error);
}

/* The bus' own id: unique names mean something on this very bus only. */
static char *get_bus_id(GDBusConnection *connection, GError **error)
{
  g_autoptr(GVariant) answer = g_dbus_connection_call_sync(
      connection, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId", NULL,
      G_VARIANT_TYPE("(s)"), G_DBUS_CALL_FLAGS_NONE, -1, NULL, error);
  char *id = NULL;

  if (answer != NULL)
    g_variant_get(answer, "(s)", &id);
  return id;
}

/* Without the map relative places and bare names still work, so a mistake in it stops nobody. */
static VdPathMap *load_path_map(const char *file)
{
  g_autoptr(GError) error = NULL;
  VdPathMap *map = vd_path_map_load(file, &error);

  if (map == NULL)
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "%s; drives and volumes lead nowhere",
                     error->message);
  return map;
}

static void make_core(Daemon *self)
{
  g_autofree char *opener = g_build_filename(self->options.libexecdir, "virtdisk-opener", NULL);
  g_autofree char *worker = g_build_filename(self->options.libexecdir, "virtdisk-worker", NULL);
  VdManagerConfig config = {
      .rundir = self->options.rundir,
      .statedir = self->options.statedir,
      .source = {.open_async = opener_open_async,
                 .open_finish = opener_open_finish,
                 .create_async = opener_create_async,
                 .create_finish = opener_create_finish,
                 .set_owner = opener_set_owner,
                 .publish_async = opener_publish_async,
                 .publish_finish = opener_publish_finish,
                 .keep = opener_keep,
                 .free_file = opener_free_file},
      .path_map = load_path_map(self->options.paths),
  };

  self->opener = vd_opener_new(opener);
  self->worker = vd_worker_client_new(worker, self->options.worker_user, 0);
  config.source.opener = self->opener;
  config.worker = self->worker;
  self->manager = vd_manager_new(&config);
}

/* What is there is read before the name is taken: whoever sees the name sees the disks. */
static gboolean start_service(Daemon *self, GError **error)
{
  g_autofree char *bus_id = NULL;

  self->connection = connect_bus(self->options.bus, error);
  if (self->connection == NULL)
    return FALSE;
  bus_id = get_bus_id(self->connection, error);
  if (bus_id == NULL)
    return FALSE;
  vd_manager_restore(self->manager, bus_id);
  self->service = vd_bus_service_new(self->connection, self->manager, self->opener, error);
  if (self->service == NULL)
    return FALSE;
  self->owner_id =
      g_bus_own_name_on_connection(self->connection, VD_BUS_NAME, G_BUS_NAME_OWNER_FLAGS_DO_NOT_QUEUE,
                                   on_name_acquired, on_name_lost, self, NULL);
  return TRUE;
}

static gboolean is_once(const Options *options)
{
  return options->attach != NULL || options->detach != NULL;
}

static void on_alarm(int number) {}

/* How long a service waits for the folder, seconds: what forks has become another program by then. */
#define SERVICE_WAIT_SECONDS 5

/* Those that make one attachment each wait for each other. A service waits for what its predecessor was just
 * starting: a child has the lock as well until it has become another program. */
static int lock_in_turn(int fd, guint seconds)
{
  const struct sigaction action = {.sa_handler = on_alarm};
  int result;

  sigaction(SIGALRM, &action, NULL);
  alarm(seconds);
  result = flock(fd, LOCK_EX);
  if (result != 0 && errno == EINTR)
    errno = EWOULDBLOCK;
  alarm(0);
  return result;
}

/* Two services with one folder would undo each other's attachments. The lock goes with the process. */
static gboolean lock_rundir(Daemon *self, GError **error)
{
  gboolean once = is_once(&self->options);

  if (once)
    mkdir(self->options.rundir, 0700); /* what is there already serves as well, and what fails shows below */
  self->rundir_fd = open(self->options.rundir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (self->rundir_fd >= 0 &&
      lock_in_turn(self->rundir_fd, once ? VD_ONCE_WAIT_SECONDS : SERVICE_WAIT_SECONDS) == 0)
    return TRUE;
  g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "%s: %s", self->options.rundir,
              errno == EWOULDBLOCK ? "another virtdiskd runs here" : g_strerror(errno));
  return FALSE;
}

static gboolean on_start_once(gpointer user_data)
{
  Daemon *self = user_data;
  const VdOnceWishes wishes = {.path = self->options.attach,
                               .read_only = self->options.read_only,
                               .cached = self->options.cached,
                               .device_id = (guint32)self->options.device_id,
                               .sector_size = (guint32)self->options.sector_size,
                               .route = self->options.route};

  /* What ended meanwhile is the service's to undo. */
  vd_manager_set_ending(self->manager);
  vd_manager_restore(self->manager, NULL);
  if (self->options.attach != NULL)
    vd_once_attach(self->manager, &wishes, on_attached_once, self);
  else
    vd_once_detach(self->manager, self->options.detach, on_detached_once, self);
  return G_SOURCE_REMOVE;
}

static gboolean start(Daemon *self, GError **error)
{
  make_core(self);
  if (!lock_rundir(self, error))
    return FALSE;
  if (is_once(&self->options)) {
    g_idle_add(on_start_once, self);
    return TRUE;
  }
  if (!self->options.attach_boot && !self->options.detach_all)
    return start_service(self, error);
  if (self->options.detach_all)
    vd_manager_set_ending(self->manager);
  vd_manager_restore(self->manager, NULL);
  if (self->options.detach_all)
    vd_detach_all(self->manager, on_all_detached, self);
  else
    vd_boot_attach(self->manager, self->options.statedir, (guint)self->options.boot_wait, on_boot_done, self);
  return TRUE;
}

static void set_default(char **option, const char *value)
{
  if (*option == NULL)
    *option = g_strdup(value);
}

static gboolean parse_options(Options *options, int *argc, char ***argv, GError **error)
{
  const GOptionEntry entries[] = {
      {"bus", 0, 0, G_OPTION_ARG_STRING, &options->bus, "Bus to serve on: system, or an address", "BUS"},
      {"rundir", 0, 0, G_OPTION_ARG_FILENAME, &options->rundir, "Where running state is kept", "DIR"},
      {"statedir", 0, 0, G_OPTION_ARG_FILENAME, &options->statedir, "Where boot attachments are kept", "DIR"},
      {"libexecdir", 0, 0, G_OPTION_ARG_FILENAME, &options->libexecdir, "Where opener and worker are", "DIR"},
      {"worker-user", 0, 0, G_OPTION_ARG_STRING, &options->worker_user, "Account the worker runs as", "USER"},
      {"paths", 0, 0, G_OPTION_ARG_FILENAME, &options->paths,
       "What drives and volumes of Windows machines are here", "FILE"},
      {"attach-boot", 0, 0, G_OPTION_ARG_NONE, &options->attach_boot,
       "Attach what is to be attached at boot, without a bus, and exit", NULL},
      {"detach-all", 0, 0, G_OPTION_ARG_NONE, &options->detach_all,
       "Detach everything before the machine goes down, without a bus, and exit", NULL},
      {"boot-wait", 0, 0, G_OPTION_ARG_INT, &options->boot_wait,
       "How long an image may take to appear at boot (60)", "SECONDS"},
      {"attach", 0, 0, G_OPTION_ARG_FILENAME, &options->attach,
       "Attach one image until it is unmounted, without a bus, and exit", "IMAGE"},
      {"detach", 0, 0, G_OPTION_ARG_FILENAME, &options->detach, "Detach one disk, without a bus, and exit",
       "DEVICE"},
      {"read-only", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_NONE, &options->read_only, "", NULL},
      {"cached-io", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_NONE, &options->cached, "", NULL},
      {"route", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_STRING, &options->route, "", NULL},
      {"device-id", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_INT, &options->device_id, "", NULL},
      {"sector-size", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_INT, &options->sector_size, "", NULL},
      {"version", 0, 0, G_OPTION_ARG_NONE, &options->version, "Print the version", NULL},
      {NULL},
  };
  g_autoptr(GOptionContext) context = g_option_context_new(NULL);

  options->boot_wait = VD_BOOT_WAIT_SECONDS;
  g_option_context_set_summary(context, "Serves org.virtdisk1: disk images as block devices.");
  g_option_context_add_main_entries(context, entries, NULL);
  if (!g_option_context_parse(context, argc, argv, error))
    return FALSE;
  if (options->attach_boot + options->detach_all + (options->attach != NULL) + (options->detach != NULL) >
      1) {
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "--attach-boot, --detach-all, --attach and --detach contradict");
    return FALSE;
  }
  if (options->boot_wait < 0) {
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "--boot-wait cannot be negative");
    return FALSE;
  }
  if (*argc > 1) {
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "unexpected argument “%s”", (*argv)[1]);
    return FALSE;
  }
  set_default(&options->bus, "system");
  set_default(&options->rundir, VD_RUNDIR);
  set_default(&options->statedir, VD_STATEDIR);
  set_default(&options->libexecdir, VD_LIBEXECDIR);
  set_default(&options->worker_user, VD_WORKER_USER);
  set_default(&options->paths, VD_PATHS_FILE);
  return TRUE;
}

static void daemon_clear(Daemon *self)
{
  g_clear_handle_id(&self->owner_id, g_bus_unown_name);
  if (self->manager != NULL)
    vd_manager_relinquish(self->manager);
  g_clear_pointer(&self->service, vd_bus_service_free);
  g_clear_object(&self->manager);
  g_clear_pointer(&self->worker, vd_worker_client_unref);
  g_clear_pointer(&self->opener, vd_opener_unref);
  g_clear_object(&self->connection);
  vd_scope_await();
  g_clear_pointer(&self->loop, g_main_loop_unref);
  vd_clear_fd(&self->rundir_fd);
  g_free(self->options.bus);
  g_free(self->options.rundir);
  g_free(self->options.statedir);
  g_free(self->options.libexecdir);
  g_free(self->options.worker_user);
  g_free(self->options.paths);
  g_free(self->options.attach);
  g_free(self->options.detach);
  g_free(self->options.route);
}

int main(int argc, char **argv)
{
  __attribute__((cleanup(daemon_clear))) Daemon self = {.status = EXIT_FAILURE, .rundir_fd = -1};
  g_autoptr(GError) error = NULL;

  setlocale(LC_ALL, "");
  umask(0077);
  signal(SIGPIPE, SIG_IGN);
  if (!parse_options(&self.options, &argc, &argv, &error)) {
    g_printerr("virtdiskd: %s\n", error->message);
    return 2;
  }
  if (self.options.version) {
    g_print("virtdiskd %s\n", VD_VERSION);
    return EXIT_SUCCESS;
  }
  /* Before there is a thread, or a descriptor that a process could inherit. */
  if (!vd_spawn_prepare(&error)) {
    g_printerr("virtdiskd: %s\n", error->message);
    return EXIT_FAILURE;
  }
  self.loop = g_main_loop_new(NULL, FALSE);
  vd_spawn_on_lost(on_spawner_lost, &self);
  g_unix_signal_add(SIGTERM, on_terminate, &self);
  g_unix_signal_add(SIGINT, on_terminate, &self);
  if (!start(&self, &error)) {
    g_printerr("virtdiskd: %s\n", error->message);
    return EXIT_FAILURE;
  }
  g_main_loop_run(self.loop);
  return self.status;
}
