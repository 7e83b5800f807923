/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount8.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "exit.h"
#include "values.h"
#include "virtdisk-error.h"

/* Runs a program without a shell; its complaint becomes the message. */
static gboolean run_program(const char *const *argv, GCancellable *cancellable, GError **error)
{
  g_autoptr(GSubprocess) child =
      g_subprocess_newv(argv, G_SUBPROCESS_FLAGS_STDOUT_SILENCE | G_SUBPROCESS_FLAGS_STDERR_PIPE, error);
  g_autoptr(GBytes) complaint = NULL;
  g_autofree char *text = NULL;

  if (child == NULL)
    return FALSE;
  if (!g_subprocess_communicate(child, NULL, cancellable, NULL, &complaint, error)) {
    g_subprocess_force_exit(child);
    return FALSE;
  }
  if (g_subprocess_get_successful(child))
    return TRUE;
  text = g_strndup(g_bytes_get_data(complaint, NULL), g_bytes_get_size(complaint));
  text[strcspn(text, "\n")] = '\0'; /* what follows are hints to look elsewhere */
  g_set_error(error, VD_EXIT_ERROR, VD_EXIT_FAILURE, "%s", *text != '\0' ? text : argv[0]);
  return FALSE;
}

static char *make_directory(const char *device, GError **error)
{
  g_autofree char *name = g_path_get_basename(device);
  char *path = g_build_filename(VD_MOUNT_ROOT, name, NULL);

  /* Above the superuser's is everybody's. */
  if (g_mkdir_with_parents(VD_MOUNT_PARENT, 0755) == 0 && g_mkdir_with_parents(path, 0700) == 0)
    return path;
  g_set_error(error, VD_EXIT_ERROR, VD_EXIT_FAILURE, "Cannot make the directory %s: %s", path,
              g_strerror(errno));
  g_free(path);
  return NULL;
}

static void remove_directory_if_ours(const char *mountpoint)
{
  if (g_str_has_prefix(mountpoint, VD_MOUNT_ROOT "/"))
    rmdir(mountpoint); /* what is not empty stays */
}

char *vd_mount8_make_options(const char *options)
{
  return g_strconcat("nosuid,nodev", options != NULL && *options != '\0' ? "," : "", options, NULL);
}

char *vd_mount8_mount(const char *device, const char *directory, const char *options,
                      GCancellable *cancellable, GError **error)
{
  g_autofree char *where = directory != NULL ? vd_value_absolute(directory) : make_directory(device, error);
  g_autofree char *all = vd_mount8_make_options(options);
  const char *argv[] = {"mount", "-o", all, "--", device, where, NULL};

  if (where == NULL)
    return NULL;
  if (!run_program(argv, cancellable, error)) {
    if (directory == NULL)
      remove_directory_if_ours(where);
    return NULL;
  }
  return g_steal_pointer(&where);
}

gboolean vd_mount8_unmount(const char *mountpoint, GCancellable *cancellable, GError **error)
{
  const char *argv[] = {"umount", "--", mountpoint, NULL};
  g_autoptr(GError) cause = NULL;

  if (run_program(argv, cancellable, &cause)) {
    remove_directory_if_ours(mountpoint);
    return TRUE;
  }
  if (cause->domain == VD_EXIT_ERROR && strstr(cause->message, "busy") != NULL)
    g_set_error(error, VD_EXIT_ERROR, VD_EXIT_BUSY, "%s", cause->message);
  else
    g_propagate_error(error, g_steal_pointer(&cause));
  return FALSE;
}
