/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "udisks.h"

#include "mounts.h"

#define UDISKS_NAME "org.freedesktop.UDisks2"
#define UDISKS_ROOT "/org/freedesktop/UDisks2"
#define UDISKS_ERROR UDISKS_NAME ".Error."

G_DEFINE_QUARK(vd - udisks - error - quark, vd_udisks_error)

static gboolean is_remote(const GError *error, const char *name)
{
  g_autofree char *remote = g_dbus_error_get_remote_error(error);

  return g_strcmp0(remote, name) == 0;
}

static gboolean is_absent(const GError *error)
{
  return g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_SERVICE_UNKNOWN) ||
         g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_NAME_HAS_NO_OWNER) ||
         (error->domain == G_DBUS_ERROR && error->code >= G_DBUS_ERROR_SPAWN_EXEC_FAILED &&
          error->code <= G_DBUS_ERROR_SPAWN_NO_MEMORY) ||
         is_remote(error, "org.freedesktop.systemd1.NoSuchUnit");
}

static VdUdisksError code_of(const GError *error)
{
  static const struct {
    const char *name;
    VdUdisksError code;
  } names[] = {
      {UDISKS_ERROR "NotAuthorized", VD_UDISKS_REFUSED},
      {UDISKS_ERROR "NotAuthorizedCanObtain", VD_UDISKS_REFUSED},
      {UDISKS_ERROR "NotAuthorizedDismissed", VD_UDISKS_REFUSED},
      {UDISKS_ERROR "OptionNotPermitted", VD_UDISKS_REFUSED},
      {UDISKS_ERROR "MountedByOtherUser", VD_UDISKS_REFUSED},
      {UDISKS_ERROR "DeviceBusy", VD_UDISKS_BUSY},
  };

  if (is_absent(error))
    return VD_UDISKS_ABSENT;
  for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
    if (is_remote(error, names[i].name))
      return names[i].code;
  return VD_UDISKS_FAILED;
}

/* Takes cause. */
static void translate(GError *cause, GError **error)
{
  g_autoptr(GError) owned = cause;
  VdUdisksError code = code_of(cause);

  g_dbus_error_strip_remote_error(owned);
  g_set_error_literal(error, VD_UDISKS_ERROR, code, g_strchomp(owned->message));
}

static GVariant *call(GDBusConnection *bus, const char *path, const char *interface, const char *method,
                      GVariant *arguments, const char *reply, GError **error)
{
  return g_dbus_connection_call_sync(bus, UDISKS_NAME, path, interface, method, arguments,
                                     G_VARIANT_TYPE(reply), G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION,
                                     G_MAXINT, NULL, error);
}

/* Object of the device; NULL without an error: UDisks2 does not know it (yet). */
static char *resolve(GDBusConnection *bus, const char *device, GError **error)
{
  GVariantBuilder spec, options;
  g_autoptr(GVariant) reply = NULL;
  g_autofree const char **paths = NULL;

  g_variant_builder_init(&spec, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add(&spec, "{sv}", "path", g_variant_new_string(device));
  g_variant_builder_init(&options, G_VARIANT_TYPE_VARDICT);
  reply = call(bus, UDISKS_ROOT "/Manager", UDISKS_NAME ".Manager", "ResolveDevice",
               g_variant_new("(a{sv}a{sv})", &spec, &options), "(ao)", error);
  if (reply == NULL)
    return NULL;
  g_variant_get(reply, "(^a&o)", &paths);
  return g_strdup(paths[0]);
}

static GVariant *get_property(GDBusConnection *bus, const char *object, const char *interface,
                              const char *name)
{
  g_autoptr(GVariant) reply = call(bus, object, "org.freedesktop.DBus.Properties", "Get",
                                   g_variant_new("(ss)", interface, name), "(v)", NULL);
  GVariant *value = NULL;

  if (reply != NULL)
    g_variant_get(reply, "(v)", &value);
  return value;
}

/* A UDisks2 that does not say is believed. */
static gboolean has_uuid(GDBusConnection *bus, const char *object, const char *uuid)
{
  g_autoptr(GVariant) value =
      *uuid != '\0' ? get_property(bus, object, UDISKS_NAME ".Block", "IdUUID") : NULL;

  return value == NULL || !g_variant_is_of_type(value, G_VARIANT_TYPE_STRING) ||
         g_ascii_strcasecmp(g_variant_get_string(value, NULL), uuid) == 0;
}

static gboolean has_file_system(GDBusConnection *bus, const char *object, const char *uuid)
{
  g_autoptr(GVariant) points = get_property(bus, object, UDISKS_NAME ".Filesystem", "MountPoints");

  return points != NULL && has_uuid(bus, object, uuid);
}

typedef struct {
  gboolean woken;
  gboolean late;
} Wait;

static void on_udisks_changed(GDBusConnection *connection, const char *sender, const char *path,
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

/* Looks, then looks again whenever UDisks2 has got to know something. */
static char *wait_until_known(GDBusConnection *bus, const char *device, const char *uuid, Wait *wait,
                              GError **error)
{
  GMainContext *context = g_main_context_get_thread_default();

  for (;;) {
    g_autoptr(GError) cause = NULL;
    g_autofree char *object = NULL;

    wait->woken = FALSE;
    object = resolve(bus, device, &cause);
    if (object != NULL && has_file_system(bus, object, uuid))
      return g_steal_pointer(&object);
    if (cause != NULL) {
      translate(g_steal_pointer(&cause), error);
      return NULL;
    }
    while (!wait->woken && !wait->late)
      g_main_context_iteration(context, TRUE);
    /* It may write the UUID in another way than we do: mounting tells. */
    if (wait->late && object != NULL && has_file_system(bus, object, ""))
      return g_steal_pointer(&object);
    if (wait->late) {
      g_set_error(error, VD_UDISKS_ERROR, VD_UDISKS_UNKNOWN,
                  "UDisks found no file system on %s within %d seconds", device,
                  VD_UDISKS_DEADLINE_MS / 1000);
      return NULL;
    }
  }
}

static char *find_object(GDBusConnection *bus, const char *device, const char *uuid, GError **error)
{
  Wait wait = {FALSE, FALSE};
  g_autoptr(GSource) deadline = g_timeout_source_new(VD_UDISKS_DEADLINE_MS);
  char *object;
  /* Objects that appear, and properties of those that are there. */
  guint subscription = g_dbus_connection_signal_subscribe(
      bus, UDISKS_NAME, NULL, NULL, NULL, NULL, G_DBUS_SIGNAL_FLAGS_NONE, on_udisks_changed, &wait, NULL);

  g_source_set_callback(deadline, on_deadline, &wait, NULL);
  g_source_attach(deadline, g_main_context_get_thread_default());
  object = wait_until_known(bus, device, uuid, &wait, error);
  g_source_destroy(deadline);
  g_dbus_connection_signal_unsubscribe(bus, subscription);
  return object;
}

static GVariant *make_options(const char *options)
{
  GVariantBuilder builder;

  g_variant_builder_init(&builder, G_VARIANT_TYPE_VARDICT);
  if (options != NULL)
    g_variant_builder_add(&builder, "{sv}", "options", g_variant_new_string(options));
  return g_variant_new("(a{sv})", &builder);
}

/* The desktop's own automounter may be quicker than we are. */
static char *mountpoint_of(const char *device)
{
  g_autoptr(GPtrArray) mounts = vd_mounts_of(device, VD_MOUNTS_ONLY);

  return mounts->len > 0 ? g_strdup(((const VdMount *)g_ptr_array_index(mounts, 0))->mountpoint) : NULL;
}

char *vd_udisks_mount(GDBusConnection *bus, const char *device, const char *uuid, const char *options,
                      GError **error)
{
  g_autofree char *object = find_object(bus, device, uuid, error);
  g_autoptr(GVariant) reply = NULL;
  g_autoptr(GError) cause = NULL;
  char *mountpoint = NULL;

  if (object == NULL)
    return NULL;
  reply = call(bus, object, UDISKS_NAME ".Filesystem", "Mount", make_options(options), "(s)", &cause);
  if (reply != NULL) {
    g_variant_get(reply, "(s)", &mountpoint);
    return mountpoint;
  }
  if (is_remote(cause, UDISKS_ERROR "AlreadyMounted"))
    mountpoint = mountpoint_of(device);
  if (mountpoint == NULL)
    translate(g_steal_pointer(&cause), error);
  return mountpoint;
}

/* What is not mounted, or holds no file system any more, need not be unmounted. */
static gboolean undo(GDBusConnection *bus, const char *object, const char *interface, const char *method,
                     GError **error)
{
  g_autoptr(GError) cause = NULL;
  g_autoptr(GVariant) reply = call(bus, object, interface, method, make_options(NULL), "()", &cause);

  if (reply != NULL || is_remote(cause, UDISKS_ERROR "NotMounted") ||
      g_error_matches(cause, G_DBUS_ERROR, G_DBUS_ERROR_UNKNOWN_METHOD) ||
      g_error_matches(cause, G_DBUS_ERROR, G_DBUS_ERROR_UNKNOWN_INTERFACE))
    return TRUE;
  translate(g_steal_pointer(&cause), error);
  return FALSE;
}

gboolean vd_udisks_unmount(GDBusConnection *bus, const char *device, GError **error)
{
  g_autoptr(GError) cause = NULL;
  g_autofree char *object = resolve(bus, device, &cause);

  if (object != NULL)
    return undo(bus, object, UDISKS_NAME ".Filesystem", "Unmount", error);
  if (cause != NULL)
    translate(g_steal_pointer(&cause), error);
  else
    g_set_error(error, VD_UDISKS_ERROR, VD_UDISKS_UNKNOWN, "UDisks does not know %s", device);
  return FALSE;
}

gboolean vd_udisks_lock(GDBusConnection *bus, const char *device, GError **error)
{
  g_autofree char *object = resolve(bus, device, NULL);
  g_autoptr(GVariant) clear =
      object != NULL ? get_property(bus, object, UDISKS_NAME ".Encrypted", "CleartextDevice") : NULL;

  if (clear == NULL || g_str_equal(g_variant_get_string(clear, NULL), "/"))
    return TRUE;
  return undo(bus, g_variant_get_string(clear, NULL), UDISKS_NAME ".Filesystem", "Unmount", error) &&
         undo(bus, object, UDISKS_NAME ".Encrypted", "Lock", error);
}
