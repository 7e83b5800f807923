/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mount.virtdisk(8): mount(8) calls it for file systems of type "virtdisk". What fails half-way is undone. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mount/helper.h"
#include "mount/service.h"
#include "values.h"

/* mount(8) does the same for a block device: what cannot be written to is mounted for reading. */
static gboolean is_write_protected(const GError *error)
{
  return g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_WRITE_PROTECT) ||
         g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED);
}

static gboolean is_missing(const GError *error)
{
  return g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_NOT_FOUND) ||
         g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_PATH_NOT_FOUND);
}

static VdMountDisk *attach(VdMountService *service, const char *path, const VdMountOptions *options,
                           GError **error)
{
  gboolean read = options->access == VD_ACCESS_READ_ONLY ||
                  (options->access == VD_ACCESS_AS_MOUNTED && options->read_only);
  g_autoptr(GError) cause = NULL;
  g_autoptr(VdMountDisk) disk = vd_mount_service_attach(
      service, path, options, read ? VD_MOUNT_READ_ONLY : VD_MOUNT_READ_WRITE, &cause);

  if (disk == NULL && !read && options->access == VD_ACCESS_AS_MOUNTED && is_write_protected(cause)) {
    g_autofree char *shown = vd_value_printable(path);

    fprintf(stderr, "%s: WARNING: %s cannot be written to, it is mounted read-only.\n", g_get_prgname(),
            shown);
    return vd_mount_service_attach(service, path, options, VD_MOUNT_READ_ONLY, error);
  }
  if (disk == NULL) {
    g_propagate_error(error, g_steal_pointer(&cause));
    return NULL;
  }
  if (disk->read_only && options->access == VD_ACCESS_READ_WRITE) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_WRITE_PROTECT,
                "the image is attached as %s for reading only, and access=rw was asked for", disk->device);
    return NULL;
  }
  return g_steal_pointer(&disk);
}

static void add_options(GPtrArray *argv, const VdMountOptions *options, const VdMountDisk *disk)
{
  const char *given = options->rest + strlen("rw");

  /* helper= sends umount(8) to our twin. */
  g_ptr_array_add(argv, g_strdup("-o"));
  g_ptr_array_add(argv, g_strconcat(options->read_only || disk->read_only ? "ro" : "rw", given,
                                    ",helper=virtdisk", NULL));
}

static GPtrArray *make_command(const VdHelperLine *line, const VdMountOptions *options,
                               const VdMountDisk *disk, const char *node, const char *directory)
{
  GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);
  const char *type = options->fstype != NULL                         ? options->fstype
                     : line->type != NULL && strchr(line->type, '.') ? strchr(line->type, '.') + 1
                                                                     : NULL;

  g_ptr_array_add(argv, g_strdup("mount"));
  for (const char *flag = "nsv"; *flag != '\0'; flag++)
    if (strchr(line->flags->str, *flag) != NULL)
      g_ptr_array_add(argv, g_strdup_printf("-%c", *flag));
  if (line->name_space != NULL) {
    g_ptr_array_add(argv, g_strdup("-N"));
    g_ptr_array_add(argv, g_strdup(line->name_space));
  }
  if (type != NULL) {
    g_ptr_array_add(argv, g_strdup("-t"));
    g_ptr_array_add(argv, g_strdup(type));
  }
  add_options(argv, options, disk);
  g_ptr_array_add(argv, g_strdup("--"));
  g_ptr_array_add(argv, g_strdup(node));
  g_ptr_array_add(argv, g_strdup(directory));
  g_ptr_array_add(argv, NULL);
  return argv;
}

static int mount_disk(const VdHelperLine *line, const VdMountOptions *options, const VdMountDisk *disk,
                      const char *path)
{
  g_autoptr(GError) error = NULL;
  g_autofree char *node = vd_mount_choose(disk->file_systems, disk->device, options->partition, &error);
  g_autoptr(GPtrArray) argv = NULL;

  if (node == NULL)
    return vd_helper_report(path, error);
  argv = make_command(line, options, disk, node, line->names[1]);
  return vd_helper_run(argv);
}

static int attach_and_mount(const VdHelperLine *line, const VdMountOptions *options,
                            GCancellable *cancellable)
{
  g_autofree char *path = vd_value_absolute(line->names[0]);
  g_autoptr(VdMountService) service = vd_mount_service_new(cancellable);
  g_autoptr(GError) error = NULL;
  g_autoptr(VdMountDisk) disk = attach(service, path, options, &error);
  int held, code;

  if (disk == NULL)
    return options->nofail && is_missing(error) ? VD_HELPER_OK : vd_helper_report(path, error);
  /* Another line of fstab, which fails or is unmounted just now, does not detach it in between. */
  held = open(disk->device, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  code =
      g_cancellable_is_cancelled(cancellable) ? VD_HELPER_INTERRUPTED : mount_disk(line, options, disk, path);
  if (held >= 0)
    close(held);
  if (code != VD_HELPER_OK && disk->added &&
      !vd_mount_service_detach(service, disk->device, VD_MOUNT_UNDO, &error))
    vd_helper_report(path, error);
  return code;
}

int vd_helper_mount(char **arguments, GCancellable *cancellable)
{
  g_auto(VdHelperLine) line = {};
  g_autoptr(VdMountOptions) options = NULL;
  g_autoptr(GError) error = NULL;

  if (vd_helper_parse(arguments, "sfnv", 2, &line, &error))
    options = vd_mount_options_parse(line.options, &error);
  if (options == NULL)
    return vd_helper_report(NULL, error);
  /* mount(8) gives up its rights before it calls a helper for the option user. */
  if (geteuid() != 0) {
    fprintf(stderr, "%s: only root can mount an image here; try: virtdisk mount IMAGE\n", g_get_prgname());
    return VD_HELPER_USAGE;
  }
  /* -f: everything but what changes something. */
  return strchr(line.flags->str, 'f') != NULL ? VD_HELPER_OK : attach_and_mount(&line, options, cancellable);
}
