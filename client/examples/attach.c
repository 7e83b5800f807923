/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attaches an image read-write for as long as this program runs:
 *
 *   attach IMAGE                    prints the device and waits for Enter
 *   attach IMAGE COMMAND [ARG...]   runs COMMAND ARG... DEVICE and waits for its end
 *
 * The attachment belongs to the handle: it ends also when the program is killed.
 * Build: cc attach.c $(pkg-config --cflags --libs virtdisk-1)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <virtdisk.h>

static gboolean run_command(char **command, const char *device, GError **error)
{
  GPtrArray *arguments = g_ptr_array_new();
  int status = 0;
  gboolean ok;

  for (; *command != NULL; command++)
    g_ptr_array_add(arguments, *command);
  g_ptr_array_add(arguments, (gpointer)device);
  g_ptr_array_add(arguments, NULL);
  ok = g_spawn_sync(NULL, (char **)arguments->pdata, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_CHILD_INHERITS_STDIN,
                    NULL, NULL, NULL, NULL, &status, error) &&
       g_spawn_check_wait_status(status, error);
  g_ptr_array_unref(arguments);
  return ok;
}

static gboolean use_device(VirtdiskHandle *handle, char **command, GError **error)
{
  g_autofree char *device = virtdisk_handle_get_virtual_disk_physical_path(handle, NULL, error);

  if (device == NULL)
    return FALSE;
  printf("%s\n", device);
  fflush(stdout);
  if (*command != NULL)
    return run_command(command, device, error);
  while (getchar() != '\n' && !feof(stdin))
    ;
  return TRUE;
}

static gboolean attach(const char *image, char **command, GError **error)
{
  g_autoptr(VirtdiskClient) client = virtdisk_client_new_sync(NULL, error);
  g_autoptr(VirtdiskHandle) handle = NULL;
  gboolean ok;

  if (client == NULL)
    return FALSE;
  handle = virtdisk_client_open_virtual_disk(
      client, image,
      (VirtdiskAccessMask)(VIRTDISK_ACCESS_ATTACH_RW | VIRTDISK_ACCESS_DETACH | VIRTDISK_ACCESS_GET_INFO),
      VIRTDISK_OPEN_NONE, NULL, NULL, error);
  if (handle == NULL)
    return FALSE;
  if (!virtdisk_handle_attach_virtual_disk(handle, VIRTDISK_ATTACH_NONE, NULL, NULL, NULL, error))
    return FALSE;
  ok = use_device(handle, command, error);
  /* Without this the disk would go with the handle; asking tells whether it is still in use. */
  return virtdisk_handle_detach_virtual_disk(handle, VIRTDISK_DETACH_NONE, NULL, NULL, NULL,
                                             ok ? error : NULL) &&
         ok;
}

int main(int argc, char **argv)
{
  g_autoptr(GError) error = NULL;

  if (argc < 2) {
    fprintf(stderr, "Usage: %s IMAGE [COMMAND [ARG...]]\n", argv[0]);
    return EXIT_FAILURE;
  }
  if (attach(argv[1], argv + 2, &error))
    return EXIT_SUCCESS;
  fprintf(stderr, "%s: %s\n", argv[1], error->message);
  if (error->domain == VIRTDISK_ERROR)
    fprintf(stderr, "(%s)\n", virtdisk_error_win32_name((VirtdiskError)error->code));
  return EXIT_FAILURE;
}
