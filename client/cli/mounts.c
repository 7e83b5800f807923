/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mounts.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

void vd_mount_free(VdMount *self)
{
  g_free(self->type);
  g_free(self->source);
  g_free(self->mountpoint);
  g_free(self);
}

/* A line is: id parent major:minor root mountpoint options [optional...] - type source superoptions */
static VdMount *parse_line(const char *line)
{
  g_auto(GStrv) fields = g_strsplit(line, " ", -1);
  guint n = g_strv_length(fields), dash = 6, major, minor;
  VdMount *self;

  while (dash < n && !g_str_equal(fields[dash], "-"))
    dash++;
  if (dash + 2 >= n || sscanf(fields[2], "%u:%u", &major, &minor) != 2)
    return NULL;
  self = g_new0(VdMount, 1);
  self->number = makedev(major, minor);
  self->mountpoint = g_strcompress(fields[4]);
  self->type = g_strcompress(fields[dash + 1]);
  self->source = g_strcompress(fields[dash + 2]);
  return self;
}

GPtrArray *vd_mounts_parse(const char *text)
{
  GPtrArray *mounts = g_ptr_array_new_with_free_func((GDestroyNotify)vd_mount_free);
  g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

  for (char **line = lines; *line != NULL; line++) {
    VdMount *mount = parse_line(*line);

    if (mount != NULL)
      g_ptr_array_add(mounts, mount);
  }
  return mounts;
}

static char *sys_directory(dev_t device, const char *sys_root)
{
  return g_strdup_printf("%s/dev/block/%u:%u", sys_root != NULL ? sys_root : "/sys", major(device),
                         minor(device));
}

static gboolean read_device_number(const char *directory, const char *name, guint64 *ret)
{
  g_autofree char *attribute = g_build_filename(directory, name, "partition", NULL);
  g_autofree char *path = g_build_filename(directory, name, "dev", NULL);
  g_autofree char *text = NULL;
  guint major, minor;

  if (!g_file_test(attribute, G_FILE_TEST_EXISTS) || !g_file_get_contents(path, &text, NULL, NULL) ||
      sscanf(text, "%u:%u", &major, &minor) != 2)
    return FALSE;
  *ret = makedev(major, minor);
  return TRUE;
}

GArray *vd_mounts_list_devices(dev_t disk, const char *sys_root)
{
  GArray *devices = g_array_new(FALSE, FALSE, sizeof(guint64));
  g_autofree char *directory = sys_directory(disk, sys_root);
  g_autoptr(GDir) entries = g_dir_open(directory, 0, NULL);
  guint64 number = disk;
  const char *name;

  g_array_append_val(devices, number);
  while (entries != NULL && (name = g_dir_read_name(entries)) != NULL)
    if (read_device_number(directory, name, &number))
      g_array_append_val(devices, number);
  return devices;
}

guint vd_mounts_get_partition(dev_t device, const char *sys_root)
{
  g_autofree char *directory = sys_directory(device, sys_root);
  g_autofree char *path = g_build_filename(directory, "partition", NULL);
  g_autofree char *text = NULL;

  return g_file_get_contents(path, &text, NULL, NULL) ? (guint)g_ascii_strtoull(text, NULL, 10) : 0;
}

static gboolean contains(const GArray *devices, dev_t number)
{
  for (guint i = 0; i < devices->len; i++)
    if (g_array_index(devices, guint64, i) == number)
      return TRUE;
  return FALSE;
}

gboolean vd_mount_names_device(const VdMount *self)
{
  return major(self->number) == 0 &&
         (g_str_equal(self->type, "btrfs") || g_str_equal(self->type, "bcachefs")) &&
         g_str_has_prefix(self->source, "/dev/") && strstr(self->source, "/..") == NULL;
}

static gboolean is_from(const VdMount *mount, const GArray *devices)
{
  struct stat st;

  if (contains(devices, mount->number))
    return TRUE;
  return vd_mount_names_device(mount) && stat(mount->source, &st) == 0 && S_ISBLK(st.st_mode) &&
         contains(devices, st.st_rdev);
}

/* Of FUSE anybody has the say. That is no reason to touch the device it names. */
static gboolean is_trusted(const VdMount *mount)
{
  return major(mount->number) != 0 || strchr(mount->source, '/') == NULL || vd_mount_names_device(mount);
}

static GPtrArray *read_mounts(void)
{
  g_autofree char *text = NULL;

  g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL);
  return vd_mounts_parse(text != NULL ? text : "");
}

static GArray *devices_in_scope(dev_t device, VdMountsScope scope)
{
  GArray *devices = vd_mounts_list_devices(device, NULL);

  if (scope == VD_MOUNTS_ONLY)
    g_array_set_size(devices, 1);
  return devices;
}

GPtrArray *vd_mounts_of(const char *device, VdMountsScope scope)
{
  g_autoptr(GPtrArray) all = read_mounts();
  GPtrArray *found = g_ptr_array_new_with_free_func((GDestroyNotify)vd_mount_free);
  g_autoptr(GArray) devices = NULL;
  struct stat st;

  if (stat(device, &st) != 0 || !S_ISBLK(st.st_mode))
    return found;
  devices = devices_in_scope(st.st_rdev, scope);
  g_ptr_array_set_free_func(all, NULL);
  for (guint i = 0; i < all->len; i++) {
    VdMount *mount = g_ptr_array_index(all, i);

    if (is_from(mount, devices))
      g_ptr_array_add(found, mount);
    else
      vd_mount_free(mount);
  }
  return found;
}

char *vd_mounts_find_source(const char *directory)
{
  g_autoptr(GPtrArray) all = read_mounts();

  for (guint i = all->len; i > 0; i--) {
    const VdMount *mount = g_ptr_array_index(all, i - 1);

    if (g_str_equal(mount->mountpoint, directory))
      return is_trusted(mount) ? g_strdup(mount->source) : NULL;
  }
  return NULL;
}
