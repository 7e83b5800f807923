/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "udisks.h"

#include "exit.h"
#include "mounts.h"

#define UDISKS_NAME "org.freedesktop.UDisks2"
#define UDISKS_ROOT "/org/freedesktop/UDisks2"
#define UDISKS_ERROR UDISKS_NAME ".Error."

static gboolean is_remote(const GError *error, const char *name)
{
  g_autofree char *remote = g_dbus_error_get_remote_error(error);

  return g_strcmp0(remote, name) == 0;
}

static gboolean is_absent(const GError *error)
{
  return g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_SERVICE_UNKNOWN) ||
         g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_NAME_HAS_NO_OWNER) ||
         is_remote(error, "org.freedesktop.DBus.Error.Spawn.ChildExited") ||
         is_remote(error, "org.freedesktop.DBus.Error.Spawn.ServiceNotFound") ||
         is_remote(error, "org.freedesktop.DBus.Error.Spawn.ExecFailed") ||
         is_remote(error, "org.freedesktop.systemd1.NoSuchUnit");
}

static VirtdiskError code_of(const GError *error)
{
  static const struct {
    const char *name;
    VirtdiskError code;
  } names[] = {
      {UDISKS_ERROR "NotAuthorized", VIRTDISK_ERROR_PRIVILEGE_NOT_HELD},
      {UDISKS_ERROR "NotAuthorizedCanObtain", VIRTDISK_ERROR_AUTHORIZATION_REQUIRED},
      {UDISKS_ERROR "NotAuthorizedDismissed", VIRTDISK_ERROR_AUTHORIZATION_DISMISSED},
      {UDISKS_ERROR "OptionNotPermitted", VIRTDISK_ERROR_PRIVILEGE_NOT_HELD},
      {UDISKS_ERROR "MountedByOtherUser", VIRTDISK_ERROR_PRIVILEGE_NOT_HELD},
      {UDISKS_ERROR "NotMounted", VIRTDISK_ERROR_NOT_FOUND},
      {UDISKS_ERROR "NotSupported", VIRTDISK_ERROR_NOT_SUPPORTED},
      {UDISKS_ERROR "DeviceBusy", VIRTDISK_ERROR_BUSY},
      {UDISKS_ERROR "Timedout", VIRTDISK_ERROR_TIMED_OUT},
  };

  for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
    if (is_remote(error, names[i].name))
      return names[i].code;
  return VIRTDISK_ERROR_IO;
}

/* Takes cause; gives it one of the domains promised. */
static void translate(GError *cause, const char *device, GError **error)
{
  g_autoptr(GError) owned = cause;

  if (g_error_matches(cause, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
    g_propagate_error(error, g_steal_pointer(&owned));
  } else if (is_absent(cause)) {
    g_set_error(error, VD_EXIT_ERROR, VD_EXIT_NOT_AVAILABLE, "UDisks2 is not available");
  } else {
    VirtdiskError code = code_of(cause);

    g_dbus_error_strip_remote_error(owned);
    g_set_error(error, VIRTDISK_ERROR, code, "UDisks2 on %s: %s", device, owned->message);
  }
}

static GVariant *call(VdCli *cli, const char *path, const char *interface, const char *method,
                      GVariant *arguments, const char *reply, GError **error)
{
  gboolean ask = virtdisk_client_get_interactive(cli->client);

  return g_dbus_connection_call_sync(
      virtdisk_client_get_connection(cli->client), UDISKS_NAME, path, interface, method, arguments,
      G_VARIANT_TYPE(reply), ask ? G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION : G_DBUS_CALL_FLAGS_NONE,
      ask ? G_MAXINT : -1, cli->cancellable, error);
}

/* Object of the device; NULL without an error: UDisks2 does not know it (yet). */
static char *resolve(VdCli *cli, const char *device, GError **error)
{
  GVariantBuilder spec, options;
  g_autoptr(GVariant) reply = NULL;
  g_autofree const char **paths = NULL;

  g_variant_builder_init(&spec, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add(&spec, "{sv}", "path", g_variant_new_string(device));
  g_variant_builder_init(&options, G_VARIANT_TYPE_VARDICT);
  reply = call(cli, UDISKS_ROOT "/Manager", UDISKS_NAME ".Manager", "ResolveDevice",
               g_variant_new("(a{sv}a{sv})", &spec, &options), "(ao)", error);
  if (reply == NULL)
    return NULL;
  g_variant_get(reply, "(^a&o)", &paths);
  return g_strdup(paths[0]);
}

static gboolean has_file_system(VdCli *cli, const char *object)
{
  g_autoptr(GVariant) reply =
      call(cli, object, "org.freedesktop.DBus.Properties", "Get",
           g_variant_new("(ss)", UDISKS_NAME ".Filesystem", "MountPoints"), "(v)", NULL);

  return reply != NULL;
}

typedef struct {
  gboolean woken;
  gboolean late;
} Wait;

static void on_interfaces_added(GDBusConnection *connection, const char *sender, const char *path,
                                const char *interface, const char *signal, GVariant *parameters,
                                gpointer user_data)
{
  ((Wait *)user_data)->woken = TRUE;
}

static gboolean on_deadline(gpointer user_data)
{
  ((Wait *)user_data)->late = TRUE;
  return G_SOURCE_CONTINUE;
}

static gboolean on_cancelled(GCancellable *cancellable, gpointer user_data)
{
  ((Wait *)user_data)->woken = TRUE;
  return G_SOURCE_CONTINUE;
}

/* Looks, then looks again whenever UDisks2 has got to know something. */
static char *wait_until_known(VdCli *cli, const char *device, Wait *wait, GError **error)
{
  for (;;) {
    g_autoptr(GError) cause = NULL;
    g_autofree char *object = NULL;

    wait->woken = FALSE;
    object = resolve(cli, device, &cause);
    if (object != NULL && has_file_system(cli, object))
      return g_steal_pointer(&object);
    if (cause != NULL) {
      translate(g_steal_pointer(&cause), device, error);
      return NULL;
    }
    while (!wait->woken && !wait->late)
      g_main_context_iteration(NULL, TRUE);
    if (g_cancellable_set_error_if_cancelled(cli->cancellable, error))
      return NULL;
    if (wait->late) {
      g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_DEVICE_NOT_EXIST,
                  "UDisks2 found no file system on %s within %d seconds", device,
                  VD_UDISKS_DEADLINE_MS / 1000);
      return NULL;
    }
  }
}

static char *find_object(VdCli *cli, const char *device, GError **error)
{
  GDBusConnection *bus = virtdisk_client_get_connection(cli->client);
  Wait wait = {FALSE, FALSE};
  g_autoptr(GSource) cancelled = g_cancellable_source_new(cli->cancellable);
  g_autoptr(GSource) deadline = g_timeout_source_new(VD_UDISKS_DEADLINE_MS);
  char *object;
  guint subscription = g_dbus_connection_signal_subscribe(
      bus, UDISKS_NAME, "org.freedesktop.DBus.ObjectManager", "InterfacesAdded", NULL, NULL,
      G_DBUS_SIGNAL_FLAGS_NONE, on_interfaces_added, &wait, NULL);

  g_source_set_callback(cancelled, G_SOURCE_FUNC(on_cancelled), &wait, NULL);
  g_source_attach(cancelled, NULL);
  g_source_set_callback(deadline, on_deadline, &wait, NULL);
  g_source_attach(deadline, NULL);
  object = wait_until_known(cli, device, &wait, error);
  g_source_destroy(deadline);
  g_source_destroy(cancelled);
  g_dbus_connection_signal_unsubscribe(bus, subscription);
  return object;
}

static GVariant *make_options(VdCli *cli, const char *options)
{
  GVariantBuilder builder;

  g_variant_builder_init(&builder, G_VARIANT_TYPE_VARDICT);
  if (options != NULL)
    g_variant_builder_add(&builder, "{sv}", "options", g_variant_new_string(options));
  if (!virtdisk_client_get_interactive(cli->client))
    g_variant_builder_add(&builder, "{sv}", "auth.no_user_interaction", g_variant_new_boolean(TRUE));
  return g_variant_new("(a{sv})", &builder);
}

/* A desktop may be quicker than we are. */
static char *mountpoint_of(const char *device)
{
  g_autoptr(GPtrArray) mounts = vd_mounts_of(device, VD_MOUNTS_ONLY);

  return mounts->len > 0 ? g_strdup(((const VdMount *)g_ptr_array_index(mounts, 0))->mountpoint) : NULL;
}

char *vd_udisks_mount(VdCli *cli, const char *device, const char *options, GError **error)
{
  g_autofree char *object = find_object(cli, device, error);
  g_autoptr(GVariant) reply = NULL;
  g_autoptr(GError) cause = NULL;
  char *mountpoint = NULL;

  if (object == NULL)
    return NULL;
  reply = call(cli, object, UDISKS_NAME ".Filesystem", "Mount", make_options(cli, options), "(s)", &cause);
  if (reply != NULL) {
    g_variant_get(reply, "(s)", &mountpoint);
    return mountpoint;
  }
  if (is_remote(cause, UDISKS_ERROR "AlreadyMounted"))
    mountpoint = mountpoint_of(device);
  if (mountpoint == NULL)
    translate(g_steal_pointer(&cause), device, error);
  return mountpoint;
}

gboolean vd_udisks_unmount(VdCli *cli, const char *device, GError **error)
{
  g_autoptr(GError) cause = NULL;
  g_autofree char *object = resolve(cli, device, &cause);
  g_autoptr(GVariant) reply = NULL;

  if (object != NULL)
    reply = call(cli, object, UDISKS_NAME ".Filesystem", "Unmount", make_options(cli, NULL), "()", &cause);
  if (reply != NULL)
    return TRUE;
  if (cause == NULL)
    g_set_error(error, VD_EXIT_ERROR, VD_EXIT_NOT_AVAILABLE, "UDisks2 does not know %s", device);
  else
    translate(g_steal_pointer(&cause), device, error);
  return FALSE;
}
