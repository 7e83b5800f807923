/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading one disk from the service: by object path, or by the bytes of an image path that D-Bus cannot
 * carry. */
#include "private.h"

#include <stdlib.h>

#include "names.h"

typedef struct {
  VirtdiskClient *client;
  GTask *task;
  char *wanted; /* object path, or path of the image */
} Search;

static Search *search_new(GTask *task, VirtdiskClient *client, const char *wanted)
{
  Search *search = g_new0(Search, 1);

  search->task = task;
  search->client = g_object_ref(client);
  search->wanted = g_strdup(wanted);
  return search;
}

static void search_free(Search *search)
{
  g_object_unref(search->task);
  g_object_unref(search->client);
  g_free(search->wanted);
  g_free(search);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Search, search_free)

static void properties_read(GObject *connection, GAsyncResult *result, gpointer data)
{
  g_autoptr(Search) search = data;
  GError *error = NULL;
  g_autoptr(GVariant) reply = vd_call_finish(connection, result, VIRTDISK_ERROR_NOT_FOUND, &error);
  g_autoptr(GVariant) properties = NULL;

  if (reply == NULL) {
    g_task_return_error(search->task, error);
    return;
  }
  properties = g_variant_get_child_value(reply, 0);
  g_task_return_pointer(search->task, vd_client_take_disk(search->client, search->wanted, properties),
                        g_object_unref);
}

void vd_find_disk_at(GTask *task, VirtdiskClient *client, const char *object_path)
{
  VdCall call = {.object_path = object_path,
                 .interface_name = "org.freedesktop.DBus.Properties",
                 .method = "GetAll",
                 .arguments = g_variant_new("(s)", VD_IFACE_DISK),
                 .reply = "(a{sv})",
                 .missing = VIRTDISK_ERROR_NOT_FOUND};

  vd_call(client, &call, g_task_get_cancellable(task), properties_read,
          search_new(task, client, object_path));
}

void vd_found_free(VdFound *found)
{
  g_free(found->object_path);
  g_variant_unref(found->properties);
  g_free(found);
}

static gboolean is_image(GVariant *properties, const char *path, const char *resolved)
{
  const char *bytes = NULL;

  if (!g_variant_lookup(properties, "PathBytes", "^&ay", &bytes))
    return FALSE;
  return g_str_equal(bytes, path) || (resolved != NULL && g_str_equal(bytes, resolved));
}

static VdFound *find_in_managed(GVariant *reply, const char *path)
{
  char *resolved = realpath(path, NULL);
  g_autoptr(GVariantIter) objects = NULL;
  const char *object_path;
  GVariant *interfaces;
  VdFound *found = NULL;

  g_variant_get(reply, "(a{oa{sa{sv}}})", &objects);
  while (found == NULL && g_variant_iter_next(objects, "{&o@a{sa{sv}}}", &object_path, &interfaces)) {
    g_autoptr(GVariant) owned = interfaces;
    g_autoptr(GVariant) properties =
        g_variant_lookup_value(interfaces, VD_IFACE_DISK, G_VARIANT_TYPE_VARDICT);

    if (properties == NULL || !is_image(properties, path, resolved))
      continue;
    found = g_new0(VdFound, 1);
    found->object_path = g_strdup(object_path);
    found->properties = g_steal_pointer(&properties);
  }
  free(resolved);
  return found;
}

static void managed_read(GObject *connection, GAsyncResult *result, gpointer data)
{
  g_autoptr(Search) search = data;
  GError *error = NULL;
  g_autoptr(GVariant) reply = vd_call_finish(connection, result, VIRTDISK_ERROR_NOT_SUPPORTED, &error);
  VdFound *found;

  if (reply == NULL) {
    g_task_return_error(search->task, error);
    return;
  }
  found = find_in_managed(reply, search->wanted);
  if (found != NULL) {
    g_task_return_pointer(search->task, found, (GDestroyNotify)vd_found_free);
  } else {
    g_autofree char *display = vd_path_display(search->wanted);

    g_task_return_new_error(search->task, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND, "%s is not attached",
                            display);
  }
}

void vd_find_by_bytes(GTask *task, VirtdiskClient *client, const char *path)
{
  VdCall call = {.object_path = VD_ROOT_PATH,
                 .interface_name = "org.freedesktop.DBus.ObjectManager",
                 .method = "GetManagedObjects",
                 .arguments = g_variant_new("()"),
                 .reply = "(a{oa{sa{sv}}})",
                 .missing = VIRTDISK_ERROR_NOT_SUPPORTED};

  vd_call(client, &call, g_task_get_cancellable(task), managed_read, search_new(task, client, path));
}
