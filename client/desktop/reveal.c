/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "reveal.h"

#define FILE_MANAGER_NAME "org.freedesktop.FileManager1"
#define FILE_MANAGER_PATH "/org/freedesktop/FileManager1"
/* A file manager that has to be started first, on a slow machine. */
#define FILE_MANAGER_DEADLINE_MS 30000

typedef struct {
  GStrv uris;
  GAppLaunchContext *context;
  guint launched; /* of them, by the fallback */
} Reveal;

static void reveal_free(Reveal *reveal)
{
  g_strfreev(reveal->uris);
  g_object_unref(reveal->context);
  g_free(reveal);
}

static GStrv make_uris(GPtrArray *folders)
{
  g_autoptr(GStrvBuilder) builder = g_strv_builder_new();

  for (guint i = 0; i < folders->len; i++) {
    g_autofree char *uri = g_filename_to_uri(g_ptr_array_index(folders, i), NULL, NULL);

    if (uri != NULL)
      g_strv_builder_add(builder, uri);
  }
  return g_strv_builder_end(builder);
}

static void launch_next(GTask *task);

static void on_launched(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  GError *error = NULL;

  if (!g_app_info_launch_default_for_uri_finish(result, &error))
    g_task_return_error(task, error);
  else
    launch_next(g_steal_pointer(&task));
}

/* What opens folders by default; there it is the last resort. Takes task. */
static void launch_next(GTask *task)
{
  Reveal *reveal = g_task_get_task_data(task);
  const char *uri = reveal->uris[reveal->launched];

  if (uri == NULL) {
    g_task_return_boolean(task, TRUE);
    g_object_unref(task);
    return;
  }
  reveal->launched++;
  g_app_info_launch_default_for_uri_async(uri, reveal->context, NULL, on_launched, task);
}

static void on_shown(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  g_autoptr(GError) error = NULL;
  g_autoptr(GVariant) reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);

  if (reply != NULL) {
    g_task_return_boolean(task, TRUE);
    return;
  }
  g_debug("No file manager on the bus: %s", error->message);
  launch_next(g_steal_pointer(&task));
}

void vd_reveal_async(GDBusConnection *session, GPtrArray *folders, const char *startup_id,
                     GAppLaunchContext *context, GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new(NULL, NULL, callback, user_data);
  Reveal *reveal = g_new0(Reveal, 1);

  reveal->uris = make_uris(folders);
  reveal->context = g_object_ref(context);
  g_task_set_task_data(task, reveal, (GDestroyNotify)reveal_free);
  g_dbus_connection_call(session, FILE_MANAGER_NAME, FILE_MANAGER_PATH, FILE_MANAGER_NAME, "ShowFolders",
                         g_variant_new("(^ass)", reveal->uris, startup_id), G_VARIANT_TYPE_UNIT,
                         G_DBUS_CALL_FLAGS_NONE, FILE_MANAGER_DEADLINE_MS, NULL, on_shown, task);
}

gboolean vd_reveal_finish(GAsyncResult *result, GError **error)
{
  return g_task_propagate_boolean(G_TASK(result), error);
}
