/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach/sysfs.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

static char *attribute_path(const char *sys_root, const char *name, const char *attribute)
{
  return g_build_filename(sys_root ? sys_root : "/sys", "block", name ? name : "", attribute ? attribute : "",
                          NULL);
}

char *vd_sysfs_read(const char *sys_root, const char *name, const char *attribute)
{
  g_autofree char *path = attribute_path(sys_root, name, attribute);
  char *text = NULL;

  if (!g_file_get_contents(path, &text, NULL, NULL))
    return NULL;
  text[strcspn(text, "\n")] = '\0';
  return text;
}

gboolean vd_sysfs_read_u64(const char *sys_root, const char *name, const char *attribute, guint64 *ret_value)
{
  g_autofree char *text = vd_sysfs_read(sys_root, name, attribute);

  return text != NULL && g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT64, ret_value, NULL);
}

gboolean vd_sysfs_exists(const char *sys_root, const char *name, const char *attribute)
{
  g_autofree char *path = attribute_path(sys_root, name, attribute);

  return g_file_test(path, G_FILE_TEST_EXISTS);
}

GPtrArray *vd_sysfs_list(const char *sys_root, const char *name, const char *attribute)
{
  g_autofree char *path = attribute_path(sys_root, name, attribute);
  g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
  GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
  const char *entry;

  while (dir != NULL && (entry = g_dir_read_name(dir)) != NULL)
    g_ptr_array_add(names, g_strdup(entry));
  return names;
}

static void block_free(gpointer data)
{
  VdSysBlock *block = data;

  g_free(block->name);
  g_free(block);
}

static gboolean add_block(GPtrArray *blocks, const char *sys_root, const char *directory, const char *name,
                          guint32 number)
{
  g_autofree char *devno = vd_sysfs_read(sys_root, directory, "dev");
  VdSysBlock *block;
  unsigned int maj, min;

  if (devno == NULL || sscanf(devno, "%u:%u", &maj, &min) != 2)
    return FALSE;
  block = g_new0(VdSysBlock, 1);
  block->name = g_strdup(name);
  block->number = number;
  block->devno = makedev(maj, min);
  g_ptr_array_add(blocks, block);
  return TRUE;
}

static int compare_blocks(gconstpointer a, gconstpointer b)
{
  const VdSysBlock *left = *(VdSysBlock *const *)a, *right = *(VdSysBlock *const *)b;

  return left->number < right->number ? -1 : left->number > right->number;
}

GPtrArray *vd_sysfs_list_blocks(const char *sys_root, const char *name)
{
  g_autoptr(GPtrArray) entries = vd_sysfs_list(sys_root, name, NULL);
  GPtrArray *blocks = g_ptr_array_new_with_free_func(block_free);

  add_block(blocks, sys_root, name, name, 0);
  for (guint i = 0; i < entries->len && blocks->len <= VD_SYS_MAX_PARTITIONS; i++) {
    const char *entry = g_ptr_array_index(entries, i);
    g_autofree char *directory = g_build_filename(name, entry, NULL);
    guint64 number;

    if (g_str_has_prefix(entry, name) && vd_sysfs_read_u64(sys_root, directory, "partition", &number) &&
        number > 0 && number <= VD_SYS_MAX_PARTITIONS)
      add_block(blocks, sys_root, directory, entry, (guint32)number);
  }
  g_ptr_array_sort(blocks, compare_blocks);
  return blocks;
}
