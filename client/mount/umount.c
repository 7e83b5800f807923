/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umount.virtdisk(8): the twin of mount.virtdisk(8). umount(8) calls it for what that has mounted. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mount/helper.h"
#include "mount/service.h"
#include "mounts.h"

/* The node below name, a directory or the node itself; NULL: something else. (transfer full) */
static char *find_node(const char *name)
{
  struct stat st;
  char *resolved, *node;

  if (stat(name, &st) == 0 && S_ISBLK(st.st_mode))
    return g_strdup(name);
  resolved = realpath(name, NULL);
  node = vd_mounts_find_source(resolved != NULL ? resolved : name);
  free(resolved);
  return node;
}

static int unmount(const VdHelperLine *line)
{
  g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);

  g_ptr_array_add(argv, g_strdup("umount"));
  /* Or it would call us. */
  g_ptr_array_add(argv, g_strdup("-i"));
  for (const char *flag = line->flags->str; *flag != '\0'; flag++)
    g_ptr_array_add(argv, g_strdup_printf("-%c", *flag));
  if (line->name_space != NULL) {
    g_ptr_array_add(argv, g_strdup("-N"));
    g_ptr_array_add(argv, g_strdup(line->name_space));
  }
  g_ptr_array_add(argv, g_strdup("--"));
  g_ptr_array_add(argv, g_strdup(line->names[0]));
  g_ptr_array_add(argv, NULL);
  return vd_helper_run(argv);
}

int vd_helper_umount(char **arguments, GCancellable *cancellable)
{
  g_auto(VdHelperLine) line = {};
  g_autoptr(GError) error = NULL;
  g_autofree char *node = NULL;
  int code;

  if (!vd_helper_parse(arguments, "fclnrv", 1, &line, &error))
    return vd_helper_report(NULL, error);
  node = find_node(line.names[0]);
  code = unmount(&line);
  /* Lazily unmounted is not unmounted yet: then the service detaches. */
  if (code == VD_HELPER_OK && node != NULL && strchr(line.flags->str, 'l') == NULL) {
    g_autoptr(VdMountService) service = vd_mount_service_new(cancellable);

    if (!vd_mount_service_detach(service, node, VD_MOUNT_OVER, &error))
      vd_helper_report(node, error); /* it is unmounted, so that is no failure */
  }
  return code;
}
