/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is inside a disk that a worker serves: its file systems and partitions can only be read once there is
 * a device. A worker looks at it, as at any bytes of an image; partitions that the kernel has no parser for
 * are made here. Nothing recognised, or nobody to look, is no failure of the attach.
 */
#include "manager-private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "attach/node.h"
#include "attach/partitions.h"
#include "util/cleanup.h"
#include "util/offload.h"

typedef struct {
  VdDisk *disk;
  char *path, *name; /* of the device */
  dev_t number;
  guint64 size; /* bytes */
  VdNodeOwner owner;
  gboolean make_partitions;
  VdPartitionSpec partitions[VD_MAX_PARTITIONS + 1];
  gsize n_partitions;
  int fd; /* of the device's node */
} Contents;

static void contents_free(gpointer data)
{
  Contents *contents = data;

  /* Closing a device waits for nothing but its worker, which may be a dead one. */
  if (contents->fd >= 0)
    vd_offload_close(contents->fd);
  vd_disk_unref(contents->disk);
  g_free(contents->path);
  g_free(contents->name);
  g_free(contents);
}

/* Never fails; what went wrong is said in the log. */
static void finish(GTask *task, GError *error)
{
  const Contents *contents = g_task_get_task_data(task);

  if (error != NULL)
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "%s: what is inside is not known: %s",
                     contents->path, error->message);
  g_clear_error(&error);
  g_task_return_boolean(task, TRUE);
}

static void on_partitions_made(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;

  g_task_propagate_boolean(G_TASK(result), NULL);
  finish(task, NULL);
}

static void make_partitions_in_thread(GTask *work, gpointer source, gpointer data, GCancellable *cancellable)
{
  const Contents *contents = data;

  vd_partitions_complete(contents->fd, contents->name, contents->size, contents->partitions,
                         contents->n_partitions);
  vd_node_give_partitions(contents->name, &contents->owner);
  g_task_return_boolean(work, TRUE);
}

static void learn(Contents *contents, const VdFacts *found)
{
  VdFacts *facts = &contents->disk->facts;

  facts->smallest_safe_size = found->smallest_safe_size;
  memcpy(facts->pt_type, found->pt_type, sizeof facts->pt_type);
  memcpy(facts->contents, found->contents, sizeof facts->contents);
  facts->n_contents = found->n_contents;
  for (guint i = 0; contents->make_partitions && i < found->n_contents; i++)
    if (found->contents[i].partition != 0)
      contents->partitions[contents->n_partitions++] =
          (VdPartitionSpec){found->contents[i].partition, found->contents[i].offset, found->contents[i].size};
}

static void on_looked_inside(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  Contents *contents = g_task_get_task_data(task);
  GError *error = NULL;
  g_autofree VdFacts *found = vd_worker_probe_finish(self->worker, result, &error);
  g_autoptr(GTask) work = NULL;

  if (found != NULL)
    learn(contents, found);
  if (contents->n_partitions == 0) {
    finish(task, error);
    return;
  }
  work = g_task_new(NULL, NULL, on_partitions_made, g_steal_pointer(&task));
  g_task_set_task_data(work, contents, NULL);
  vd_offload(work, make_partitions_in_thread);
}

static void open_in_thread(GTask *work, gpointer source, gpointer data, GCancellable *cancellable)
{
  const Contents *contents = data;
  vd_autofd fd = open(contents->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
  struct stat st;

  if (fd < 0 || fstat(fd, &st) < 0)
    g_task_return_new_error(work, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s", g_strerror(errno));
  else if (!S_ISBLK(st.st_mode) || st.st_rdev != contents->number)
    g_task_return_new_error(work, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_CHANGED,
                            "the node is of another device");
  else
    g_task_return_int(work, vd_steal_fd(&fd));
}

static void on_opened(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  VdManager *self = g_task_get_source_object(task);
  Contents *contents = g_task_get_task_data(task);
  GCancellable *cancellable = g_task_get_cancellable(task);
  GError *error = NULL;

  contents->fd = (int)g_task_propagate_int(G_TASK(result), &error);
  if (contents->fd < 0)
    finish(task, error);
  else
    vd_worker_look_inside_async(self->worker, contents->disk->attachment->owner->uid, contents->fd,
                                contents->size, contents->disk->attachment->plan.sector_size, cancellable,
                                on_looked_inside, g_steal_pointer(&task));
}

void vd_manager_learn_contents_async(VdManager *self, VdDisk *disk, GCancellable *cancellable,
                                     GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(self, cancellable, callback, user_data);
  const VdDeviceInfo *info = vd_device_get_info(disk->attachment->device);
  const VdAttachPlan *plan = &disk->attachment->plan;
  Contents *contents = g_new0(Contents, 1);
  g_autoptr(GTask) work = NULL;

  g_task_set_check_cancellable(task, FALSE);
  contents->disk = vd_disk_ref(disk);
  contents->path = g_strdup(info->path);
  contents->name = g_strdup(info->name);
  contents->number = info->number;
  contents->size = info->size;
  contents->owner = (VdNodeOwner){plan->uid != VD_UID_INVALID, plan->uid, plan->gid, plan->mode};
  contents->make_partitions = plan->partition_scan;
  contents->fd = -1;
  g_task_set_task_data(task, contents, contents_free);
  if (disk->facts.linear || !plan->whole) {
    finish(task, NULL);
    return;
  }
  work = g_task_new(NULL, NULL, on_opened, g_steal_pointer(&task));
  g_task_set_task_data(work, contents, NULL);
  vd_offload(work, open_in_thread);
}

void vd_manager_learn_contents_finish(VdManager *self, GAsyncResult *result)
{
  g_task_propagate_boolean(G_TASK(result), NULL);
}
