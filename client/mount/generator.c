/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtdisk-fstab-generator, see systemd.generator(7): what the mount units of fstab lines of type "virtdisk"
 * need and systemd does not know. Local file systems are mounted before there is a bus; see service.h.
 */
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mount/unit-name.h"

#define SERVICE "virtdiskd.service"

static gboolean is_ours(const struct mntent *entry)
{
  return g_str_equal(entry->mnt_type, "virtdisk") || g_str_has_prefix(entry->mnt_type, "virtdisk.");
}

static gboolean write_file(const char *directory, const char *name, const char *text)
{
  g_autofree char *path = g_build_filename(directory, name, NULL);
  g_autoptr(GError) error = NULL;

  if (g_mkdir_with_parents(directory, 0755) == 0 && g_file_set_contents(path, text, -1, &error))
    return TRUE;
  fprintf(stderr, "virtdisk-fstab-generator: %s: %s\n", path,
          error != NULL ? error->message : g_strerror(errno));
  return FALSE;
}

/* systemd names the unit by the directory that is meant, whether it is there yet or not. (transfer full) */
static char *resolve(const char *path)
{
  g_autofree char *prefix = g_strdup(path);
  g_autofree char *joined = NULL;
  char *real, *slash;

  while ((real = realpath(prefix, NULL)) == NULL && (slash = strrchr(prefix, '/')) != NULL)
    *slash = '\0';
  joined = g_strconcat(real != NULL ? real : "", "/", path + strlen(prefix), NULL);
  free(real);
  return g_canonicalize_filename(joined, "/");
}

static gboolean add_dependencies(const char *units, const struct mntent *entry)
{
  g_autofree char *where = resolve(entry->mnt_dir);
  g_autofree char *name = vd_unit_name_from_path(where);
  g_autofree char *directory = g_strdup_printf("%s/%s.mount.d", units, name);
  g_autofree char *image = vd_unit_quote(entry->mnt_fsname);
  /* The account of the worker and the modules must be there, and udev must listen; systemd orders nothing of
   * this before local file systems. */
  g_autofree char *text = g_strdup_printf(
      "# Written by virtdisk-fstab-generator\n"
      "[Unit]\n"
      "Documentation=man:mount.virtdisk(8)\n"
      "RequiresMountsFor=%s\n"
      "Wants=modprobe@loop.service modprobe@ublk_drv.service modprobe@fuse.service\n"
      "After=modprobe@loop.service modprobe@ublk_drv.service modprobe@fuse.service systemd-udevd.service "
      "systemd-remount-fs.service systemd-sysusers.service systemd-tmpfiles-setup-dev.service\n",
      image);

  return write_file(directory, "50-virtdisk.conf", text);
}

/* Who detaches what is unmounted behind our back, and replaces workers that end. */
static gboolean want_service(const char *units)
{
  g_autofree char *directory = g_build_filename(units, "multi-user.target.wants", NULL);
  g_autofree char *link = g_build_filename(directory, SERVICE, NULL);

  if (g_mkdir_with_parents(directory, 0755) == 0 &&
      (symlink(VD_UNITDIR "/" SERVICE, link) == 0 || errno == EEXIST))
    return TRUE;
  fprintf(stderr, "virtdisk-fstab-generator: %s: %s\n", link, g_strerror(errno));
  return FALSE;
}

int main(int argc, char **argv)
{
  const char *fstab = g_getenv("SYSTEMD_FSTAB");
  const struct mntent *entry;
  gboolean found = FALSE, good = TRUE;
  FILE *table;

  if (argc != 4)
    return 1;
  table = setmntent(fstab != NULL ? fstab : "/etc/fstab", "re");
  if (table == NULL)
    return errno == ENOENT ? 0 : 1;
  while ((entry = getmntent(table)) != NULL)
    if (is_ours(entry)) {
      good &= add_dependencies(argv[1], entry);
      found = TRUE;
    }
  endmntent(table);
  if (found)
    good &= want_service(argv[1]);
  return good ? 0 : 1;
}
