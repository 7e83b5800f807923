/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach/partitions.h"

#include <errno.h>
#include <linux/blkpg.h>
#include <sys/ioctl.h>

#include "attach/sysfs.h"
#include "util/checked.h"

static int blkpg(int fd, int op, guint32 number, guint64 offset, guint64 size)
{
  struct blkpg_partition partition = {
      .start = (long long)offset, .length = (long long)size, .pno = (int)number};
  struct blkpg_ioctl_arg argument = {.op = op, .datalen = sizeof partition, .data = &partition};

  return ioctl(fd, BLKPG, &argument);
}

static gboolean is_sound(const VdPartitionSpec *partition, guint64 disk_size)
{
  return partition->number >= 1 && partition->number < VD_SYS_MAX_PARTITIONS && partition->size > 0 &&
         partition->offset % 512 == 0 && partition->size % 512 == 0 && disk_size <= G_MAXINT64 &&
         vd_range_within(partition->offset, partition->size, disk_size);
}

static gboolean exists(const char *name, guint32 number)
{
  g_autofree char *partition = g_strdup_printf("%sp%u/partition", name, number);

  return vd_sysfs_exists(NULL, name, partition);
}

static gboolean add_one(int fd, const char *name, guint64 disk_size, const VdPartitionSpec *partition)
{
  const char *reason = NULL;

  if (!is_sound(partition, disk_size))
    reason = "it does not lie within the disk";
  else if (blkpg(fd, BLKPG_ADD_PARTITION, partition->number, partition->offset, partition->size) != 0)
    reason = g_strerror(errno);
  if (reason != NULL)
    g_message("%s: partition %u at byte %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " bytes is left out: %s",
              name, partition->number, partition->offset, partition->size, reason);
  return reason == NULL;
}

guint vd_partitions_complete(int fd, const char *name, guint64 size, const VdPartitionSpec *partitions,
                             gsize n_partitions)
{
  guint added = 0;

  for (gsize i = 0; i < n_partitions && i < VD_SYS_MAX_PARTITIONS; i++)
    if (!exists(name, partitions[i].number) && add_one(fd, name, size, &partitions[i]))
      added++;
  return added;
}

void vd_partitions_remove(int fd, const char *name)
{
  g_autoptr(GPtrArray) blocks = vd_sysfs_list_blocks(NULL, name);

  for (guint i = 0; i < blocks->len; i++) {
    const VdSysBlock *block = g_ptr_array_index(blocks, i);

    if (block->number != 0)
      blkpg(fd, BLKPG_DEL_PARTITION, block->number, 0, 0);
  }
}

GStrv vd_partitions_list(const char *name)
{
  g_autoptr(GPtrArray) blocks = vd_sysfs_list_blocks(NULL, name);
  g_autoptr(GPtrArray) names = g_ptr_array_new();

  for (guint i = 0; i < blocks->len; i++) {
    const VdSysBlock *block = g_ptr_array_index(blocks, i);

    if (block->number != 0)
      g_ptr_array_add(names, g_strdup(block->name));
  }
  g_ptr_array_add(names, NULL);
  return (GStrv)g_ptr_array_free(g_steal_pointer(&names), FALSE);
}
