/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "notify.h"

#define NOTIFY_NAME "org.freedesktop.Notifications"
#define NOTIFY_PATH "/org/freedesktop/Notifications"
#define NOTIFY_ICON "org.virtdisk1.Desktop"
/* Notify is answered at once by every server; what hangs longer is none. */
#define NOTIFY_DEADLINE_MS 10000

struct VdNotifier {
  GDBusConnection *session;
  VdNotifierFunc pressed;
  void (*changed)(gpointer user_data);
  gpointer user_data;
  GHashTable *notes; /* path -> Note */
  GCancellable *cancellable;
  guint subscription; /* while there are notes */
  int markup;         /* -1: not known yet */
};

/* What is on screen for one image. */
typedef struct {
  guint32 id; /* 0: not shown yet */
  gboolean waiting;
} Note;

typedef struct {
  VdNotifier *notifier;
  char *path, *summary, *body;
  VdNext next;
  VdTone tone;
} Saying;

static void saying_free(Saying *saying)
{
  g_free(saying->path);
  g_free(saying->summary);
  g_free(saying->body);
  g_free(saying);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Saying, saying_free)

static void tell_changed(VdNotifier *self)
{
  if (self->changed != NULL)
    self->changed(self->user_data);
}

static const char *path_of_id(VdNotifier *self, guint32 id)
{
  GHashTableIter iter;
  gpointer path, note;

  g_hash_table_iter_init(&iter, self->notes);
  while (g_hash_table_iter_next(&iter, &path, &note))
    if (id != 0 && ((Note *)note)->id == id)
      return path;
  return NULL;
}

static void forget(VdNotifier *self, const char *path)
{
  g_hash_table_remove(self->notes, path);
  if (g_hash_table_size(self->notes) == 0 && self->subscription != 0) {
    g_dbus_connection_signal_unsubscribe(self->session, self->subscription);
    self->subscription = 0;
  }
  tell_changed(self);
}

static void on_signal(GDBusConnection *connection, const char *sender, const char *object,
                      const char *interface, const char *signal, GVariant *parameters, gpointer user_data)
{
  VdNotifier *self = user_data;
  g_autofree char *path = NULL;
  const char *key;
  guint32 id;

  if (g_str_equal(signal, "ActionInvoked") && g_variant_is_of_type(parameters, G_VARIANT_TYPE("(us)"))) {
    g_variant_get(parameters, "(u&s)", &id, &key);
    path = g_strdup(path_of_id(self, id));
    if (path != NULL)
      /* A press on the text itself shows what it speaks of. */
      self->pressed(path, g_str_equal(key, "default") ? VD_NEXT_OPEN : vd_next_of_key(key), self->user_data);
  } else if (g_str_equal(signal, "NotificationClosed") &&
             g_variant_is_of_type(parameters, G_VARIANT_TYPE("(uu)"))) {
    g_variant_get(parameters, "(uu)", &id, NULL);
    path = g_strdup(path_of_id(self, id));
    if (path != NULL)
      forget(self, path);
  }
}

VdNotifier *vd_notifier_new(GDBusConnection *session, VdNotifierFunc pressed, gpointer user_data)
{
  VdNotifier *self = g_new0(VdNotifier, 1);

  self->session = g_object_ref(session);
  self->pressed = pressed;
  self->user_data = user_data;
  self->notes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
  self->cancellable = g_cancellable_new();
  self->markup = -1;
  return self;
}

void vd_notifier_set_changed(VdNotifier *self, void (*changed)(gpointer user_data))
{
  self->changed = changed;
}

void vd_notifier_free(VdNotifier *self)
{
  g_cancellable_cancel(self->cancellable);
  g_object_unref(self->cancellable);
  if (self->subscription != 0)
    g_dbus_connection_signal_unsubscribe(self->session, self->subscription);
  g_hash_table_unref(self->notes);
  g_object_unref(self->session);
  g_free(self);
}

static void subscribe(VdNotifier *self)
{
  if (self->subscription == 0)
    self->subscription =
        g_dbus_connection_signal_subscribe(self->session, NOTIFY_NAME, NOTIFY_NAME, NULL, NOTIFY_PATH, NULL,
                                           G_DBUS_SIGNAL_FLAGS_NONE, on_signal, self, NULL);
}

static void on_shown(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(Saying) saying = user_data;
  g_autoptr(GError) error = NULL;
  g_autoptr(GVariant) reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);
  VdNotifier *self = saying->notifier;
  Note *note;

  if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
    return;
  note = g_hash_table_lookup(self->notes, saying->path);
  if (note == NULL)
    return;
  note->waiting = FALSE;
  if (reply != NULL)
    g_variant_get(reply, "(u)", &note->id);
  else
    g_debug("No notification: %s", error->message);
  if (reply == NULL || (saying->tone == VD_TONE_INFORM && saying->next == VD_NEXT_NOTHING))
    forget(self, saying->path);
}

static GVariant *make_hints(VdTone tone)
{
  GVariantBuilder hints;

  g_variant_builder_init(&hints, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add(&hints, "{sv}", "desktop-entry", g_variant_new_string(NOTIFY_ICON));
  g_variant_builder_add(&hints, "{sv}", "category",
                        g_variant_new_string(tone == VD_TONE_WARN ? "device.error" : "device"));
  /* Normal: what is critical stays in the way until somebody takes it away. */
  g_variant_builder_add(&hints, "{sv}", "urgency", g_variant_new_byte(1));
  return g_variant_builder_end(&hints);
}

static GVariant *make_actions(VdNext next)
{
  GVariantBuilder actions;

  g_variant_builder_init(&actions, G_VARIANT_TYPE_STRING_ARRAY);
  if (next == VD_NEXT_EJECT) {
    g_variant_builder_add(&actions, "s", "default");
    g_variant_builder_add(&actions, "s", "Show");
  }
  if (next != VD_NEXT_NOTHING) {
    g_variant_builder_add(&actions, "s", vd_next_key(next));
    g_variant_builder_add(&actions, "s", vd_next_label(next));
  }
  return g_variant_builder_end(&actions);
}

static void show(VdNotifier *self, Saying *saying)
{
  Note *note = g_hash_table_lookup(self->notes, saying->path);
  g_autofree char *escaped =
      self->markup == 1 ? g_markup_escape_text(saying->body, -1) : g_strdup(saying->body);

  g_dbus_connection_call(
      self->session, NOTIFY_NAME, NOTIFY_PATH, NOTIFY_NAME, "Notify",
      g_variant_new("(susss@as@a{sv}i)", "virtdisk", note != NULL ? note->id : 0, NOTIFY_ICON,
                    saying->summary, escaped, make_actions(saying->next), make_hints(saying->tone), -1),
      G_VARIANT_TYPE("(u)"), G_DBUS_CALL_FLAGS_NONE, NOTIFY_DEADLINE_MS, self->cancellable, on_shown, saying);
}

/* A file may be named <b>: where the server makes something of that, it is written so that it does not. */
static void on_capabilities(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(Saying) saying = user_data;
  g_autoptr(GError) error = NULL;
  g_autoptr(GVariant) reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);
  g_autofree const char **words = NULL;

  if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
    return;
  if (reply == NULL) {
    g_debug("No notifications here: %s", error->message);
    forget(saying->notifier, saying->path);
    return;
  }
  g_variant_get(reply, "(^a&s)", &words);
  saying->notifier->markup = g_strv_contains(words, "body-markup") ? 1 : 0;
  show(saying->notifier, saying);
  g_steal_pointer(&saying);
}

void vd_notifier_say(VdNotifier *self, const VdOutcome *outcome)
{
  const VdMessage *message = vd_message_get(outcome->saying);
  Saying *saying = g_new0(Saying, 1);
  Note *note = g_hash_table_lookup(self->notes, outcome->path);

  *saying = (Saying){self,
                     g_strdup(outcome->path),
                     vd_outcome_summary(outcome),
                     vd_outcome_body(outcome),
                     message->next,
                     message->tone};
  if (note == NULL) {
    note = g_new0(Note, 1);
    g_hash_table_insert(self->notes, g_strdup(outcome->path), note);
  }
  note->waiting = TRUE;
  subscribe(self);
  if (self->markup >= 0)
    show(self, saying);
  else
    g_dbus_connection_call(self->session, NOTIFY_NAME, NOTIFY_PATH, NOTIFY_NAME, "GetCapabilities", NULL,
                           G_VARIANT_TYPE("(as)"), G_DBUS_CALL_FLAGS_NONE, NOTIFY_DEADLINE_MS,
                           self->cancellable, on_capabilities, saying);
}

void vd_notifier_withdraw(VdNotifier *self, const char *path)
{
  Note *note = g_hash_table_lookup(self->notes, path);

  /* What is on its way there says something newer. */
  if (note == NULL || note->id == 0 || note->waiting)
    return;
  g_dbus_connection_call(self->session, NOTIFY_NAME, NOTIFY_PATH, NOTIFY_NAME, "CloseNotification",
                         g_variant_new("(u)", note->id), NULL, G_DBUS_CALL_FLAGS_NO_AUTO_START,
                         NOTIFY_DEADLINE_MS, NULL, NULL, NULL);
  forget(self, path);
}

guint vd_notifier_count_open(VdNotifier *self)
{
  return g_hash_table_size(self->notes);
}
