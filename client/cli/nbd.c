/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtdisk nbd: an image without a device, for programs that speak NBD. Each client gets a connection of its
 * own from the service, one after the other; or a command gets one as its descriptor 3.
 */
#include <errno.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli.h"
#include "exit.h"
#include "output.h"
#include "relay.h"
#include "values.h"

/* Where a command finds its connection. */
#define DESCRIPTOR 3

static gboolean read_only;
static gboolean by_descriptor;
static char *socket_path;
static char *format;

static const GOptionEntry entries[] = {
    {"read-only", 'r', 0, G_OPTION_ARG_NONE, &read_only, "For reading only", NULL},
    {"socket", 0, 0, G_OPTION_ARG_FILENAME, &socket_path, "Listen there for one client after the other",
     "PATH"},
    {"descriptor", 0, 0, G_OPTION_ARG_NONE, &by_descriptor, "Give the command a connection as descriptor 3",
     NULL},
    {"format", 0, 0, G_OPTION_ARG_STRING, &format, "auto (default), iso, raw, vhd or vhdx", "FORMAT"},
    {NULL},
};

/* What is served, and where. */
typedef struct {
  VdCli *cli;
  VirtdiskHandle *handle;
  gboolean read_only;
  char *path, *folder; /* of the listening socket; and its folder if that is ours */
  int listen_fd;
  GSubprocess *command; /* or NULL */
  int command_fd;       /* readable when it has ended; -1: none */
  int stop_fd;          /* readable when we are interrupted */
} Export;

static void export_clear(Export *self)
{
  if (self->listen_fd >= 0) {
    close(self->listen_fd);
    g_unlink(self->path);
  }
  if (self->command_fd >= 0)
    close(self->command_fd);
  if (self->folder != NULL)
    g_rmdir(self->folder);
  g_cancellable_release_fd(self->cli->cancellable);
  g_clear_object(&self->command);
  /* Whoever comes after us finds the image free, also if we were interrupted. */
  if (self->handle != NULL)
    virtdisk_handle_close(self->handle, NULL, NULL);
  g_clear_object(&self->handle);
  g_free(self->path);
  g_free(self->folder);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Export, export_clear)

static gboolean fail(GError **error, const char *what)
{
  int code = errno;

  g_set_error(error, VD_EXIT_ERROR, code == EADDRINUSE ? VD_EXIT_BUSY : VD_EXIT_FAILURE, "%s: %s", what,
              g_strerror(code));
  return FALSE;
}

static gboolean check(GError **error)
{
  VirtdiskDeviceId device_id;
  const char *vendor;

  if (format != NULL && !vd_value_parse_format("--format", format, &device_id, &vendor, error))
    return FALSE;
  if (!by_descriptor || socket_path == NULL)
    return TRUE;
  g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                      "--socket and --descriptor exclude each other");
  return FALSE;
}

/* Nothing else can be had of it. */
static gboolean is_iso(const char *image, VirtdiskDeviceId device_id)
{
  g_autofree char *lower = g_ascii_strdown(image, -1);

  return device_id == VIRTDISK_DEVICE_ISO ||
         (device_id == VIRTDISK_DEVICE_UNKNOWN && g_str_has_suffix(lower, ".iso"));
}

static gboolean open_image(Export *self, const char *image, GError **error)
{
  g_autoptr(VirtdiskOpenParameters) parameters = virtdisk_open_parameters_new();
  VirtdiskAccessMask mask = VIRTDISK_ACCESS_ATTACH_RO | VIRTDISK_ACCESS_DETACH | VIRTDISK_ACCESS_GET_INFO;
  VirtdiskDeviceId device_id = VIRTDISK_DEVICE_UNKNOWN;
  const char *vendor = NULL;

  if (format != NULL && !vd_value_parse_format("--format", format, &device_id, &vendor, error))
    return FALSE;
  if (vendor != NULL) {
    virtdisk_open_parameters_set_device_id(parameters, device_id);
    virtdisk_open_parameters_set_vendor_id(parameters, vendor);
  }
  self->read_only = read_only || is_iso(image, device_id);
  if (!self->read_only)
    mask |= VIRTDISK_ACCESS_ATTACH_RW;
  self->handle = virtdisk_client_open_virtual_disk(self->cli->client, image, mask, VIRTDISK_OPEN_NONE,
                                                   parameters, self->cli->cancellable, error);
  return self->handle != NULL;
}

static int open_connection(Export *self, GError **error)
{
  return virtdisk_handle_open_nbd(self->handle,
                                  self->read_only ? VIRTDISK_ATTACH_READ_ONLY : VIRTDISK_ATTACH_NONE, NULL,
                                  self->cli->cancellable, error);
}

/* The end of a connection detaches the disk, and the image is closed by then. */
static gboolean end_connection(Export *self, int fd, GError **error)
{
  g_autoptr(GError) cause = NULL;

  close(fd);
  if (virtdisk_handle_detach_virtual_disk(self->handle, VIRTDISK_DETACH_NONE, NULL, NULL,
                                          self->cli->cancellable, &cause) ||
      g_error_matches(cause, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND))
    return TRUE;
  g_propagate_error(error, g_steal_pointer(&cause));
  return FALSE;
}

static gboolean choose_path(Export *self, GError **error)
{
  if (socket_path != NULL) {
    self->path = g_canonicalize_filename(socket_path, NULL);
    return TRUE;
  }
  self->folder = g_dir_make_tmp("virtdisk-nbd-XXXXXX", error);
  self->path = self->folder != NULL ? g_build_filename(self->folder, "socket", NULL) : NULL;
  return self->path != NULL;
}

static gboolean start_listening(Export *self, GError **error)
{
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd;
  mode_t old;
  gboolean bound;

  if (!choose_path(self, error))
    return FALSE;
  if (strlen(self->path) >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return fail(error, "--socket");
  }
  strcpy(address.sun_path, self->path);
  fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return fail(error, "socket");
  old = umask(0177);
  bound = bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
  umask(old);
  if (!bound) {
    fail(error, "--socket");
    close(fd);
    return FALSE;
  }
  self->listen_fd = fd;
  return listen(fd, SOMAXCONN) == 0 || fail(error, "listen");
}

static char *make_uri(const Export *self)
{
  g_autofree char *escaped = g_uri_escape_string(self->path, "/", FALSE);

  return g_strconcat("nbd+unix:///?socket=", escaped, NULL);
}

/* It is to be interrupted as any other. */
static void on_child(gpointer data)
{
  sigset_t none;

  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

/* fd: taken; -1: the command finds an address in its environment. */
static gboolean start_command(Export *self, const char *const *argv, int fd, GError **error)
{
  g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDIN_INHERIT);

  g_subprocess_launcher_set_child_setup(launcher, on_child, NULL, NULL);
  if (fd >= 0) {
    g_subprocess_launcher_take_fd(launcher, fd, DESCRIPTOR);
    g_subprocess_launcher_setenv(launcher, "VIRTDISK_NBD_FD", G_STRINGIFY(DESCRIPTOR), TRUE);
  } else {
    g_autofree char *uri = make_uri(self);

    g_subprocess_launcher_setenv(launcher, "VIRTDISK_NBD_URI", uri, TRUE);
  }
  self->command = g_subprocess_launcher_spawnv(launcher, argv, error);
  if (self->command == NULL)
    return FALSE;
  /* NULL: it has ended already, and a descriptor that is ready says so. */
  if (g_subprocess_get_identifier(self->command) != NULL)
    self->command_fd = (int)syscall(SYS_pidfd_open, atoi(g_subprocess_get_identifier(self->command)), 0);
  return TRUE;
}

static gboolean is_over(const Export *self)
{
  return g_cancellable_is_cancelled(self->cli->cancellable) ||
         (self->command != NULL && g_subprocess_get_identifier(self->command) == NULL);
}

/* A client, or -1: there will be none any more. */
static int await_client(Export *self)
{
  while (!is_over(self)) {
    struct pollfd fds[] = {
        {self->listen_fd, POLLIN, 0}, {self->stop_fd, POLLIN, 0}, {self->command_fd, POLLIN, 0}};
    int client;

    if (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR)
      return -1;
    if (fds[1].revents != 0 || fds[2].revents != 0)
      return -1;
    client = accept4(self->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (client >= 0)
      return client;
  }
  return -1;
}

/* One after the other. A connection is there before its client is, so that what speaks against it is told at
 * once. fd: the first. */
static gboolean serve(Export *self, int fd, GError **error)
{
  const int stops[] = {self->stop_fd, self->command_fd};
  VdRelayEnd end = VD_RELAY_OVER;
  int client;

  while (end == VD_RELAY_OVER && (client = await_client(self)) >= 0) {
    end = vd_relay_run(client, fd, stops, G_N_ELEMENTS(stops));
    close(client);
    if (end == VD_RELAY_OVER) {
      if (!end_connection(self, fd, error))
        return FALSE;
      fd = open_connection(self, error);
      if (fd < 0)
        return FALSE;
    }
  }
  close(fd);
  return !g_cancellable_set_error_if_cancelled(self->cli->cancellable, error);
}

static gboolean finish_command(Export *self, GError **error)
{
  if (g_cancellable_is_cancelled(self->cli->cancellable))
    g_subprocess_send_signal(self->command, SIGTERM);
  return g_subprocess_wait_check(self->command, NULL, error);
}

static gboolean show_uri(const Export *self, GError **error)
{
  g_autofree char *uri = make_uri(self);

  if (self->cli->json) {
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "uri", uri);
    vd_output_json(json_node_init_object(json_node_alloc(), object), VD_JSON_PRETTY);
    json_object_unref(object);
  } else if (!self->cli->quiet) {
    vd_output_line(uri);
  }
  return vd_output_flush(error);
}

static gboolean run_with_descriptor(Export *self, const char *const *argv, GError **error)
{
  int fd = open_connection(self, error);
  struct pollfd fds[] = {{self->stop_fd, POLLIN, 0}, {-1, POLLIN, 0}};

  if (fd < 0 || !start_command(self, argv, fd, error))
    return FALSE;
  fds[1].fd = self->command_fd;
  while (!is_over(self) && poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno == EINTR)
    continue;
  return finish_command(self, error);
}

static gboolean run_with_socket(Export *self, const char *const *argv, GError **error)
{
  int fd = open_connection(self, error);
  gboolean served;

  if (fd < 0)
    return FALSE;
  if (!start_listening(self, error) ||
      !(argv[0] != NULL ? start_command(self, argv, -1, error) : show_uri(self, error))) {
    close(fd);
    return FALSE;
  }
  served = serve(self, fd, error);
  if (self->command == NULL)
    return served;
  return served ? finish_command(self, error) : finish_command(self, NULL) && FALSE;
}

static gboolean run(VdCli *cli, char **arguments, GError **error)
{
  g_auto(Export) self = {.cli = cli, .listen_fd = -1, .command_fd = -1};
  const char *const *argv = (const char *const *)arguments + 1;

  self.stop_fd = g_cancellable_get_fd(cli->cancellable);
  if (argv[0] != NULL && g_str_equal(argv[0], "--"))
    argv++;
  if (argv[0] == NULL && (socket_path == NULL || by_descriptor)) {
    g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        "Somebody has to speak NBD: nbd takes --socket, or a command to run");
    return FALSE;
  }
  if (!open_image(&self, arguments[0], error))
    return FALSE;
  return by_descriptor ? run_with_descriptor(&self, argv, error) : run_with_socket(&self, argv, error);
}

const VdVerb vd_verb_nbd = {
    .name = "nbd",
    .arguments = "IMAGE [-- COMMAND...]",
    .summary = "Give programs that speak NBD a disk, without a device",
    .min_arguments = 1,
    .max_arguments = G_MAXUINT,
    .options = entries,
    .check = check,
    .run = run,
};
