/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is inside a disk that a worker serves: its file systems and partitions can only be read once there is
 * a device. A worker looks at it, as at any bytes of an image, while udev does the same; partitions that the
 * kernel has no parser for are made when both are through. Nothing recognised, or nobody to look, is no
 * failure of the attach.
 */
#include "manager-private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "attach/node.h"
#include "attach/partitions.h"
#include "util/cleanup.h"
#include "util/offload.h"

struct VdContents {
  guint refs;
  VdManager *manager;
  VdDisk *disk;
  GCancellable *cancellable;
  char *path, *name; /* of the device */
  dev_t number;
  uid_t uid; /* who attaches */
  guint64 size;
  guint32 sector_size; /* bytes, as size */
  VdNodeOwner owner;
  gboolean make_partitions;
  VdPartitionSpec partitions[VD_MAX_PARTITIONS + 1];
  gsize n_partitions;
  int fd; /* of the device's node */
  gboolean looked;
  VdFacts *found;
  GError *error; /* why there is nothing found */
  GTask *task;   /* who waits for it */
};

static VdContents *contents_ref(VdContents *contents)
{
  contents->refs++;
  return contents;
}

/* That waits for nothing but its worker, which may be a dead one. */
static void close_device(VdContents *contents)
{
  if (contents->fd >= 0)
    vd_offload_close(contents->fd);
  contents->fd = -1;
}

void vd_contents_unref(VdContents *contents)
{
  if (contents == NULL || --contents->refs > 0)
    return;
  close_device(contents);
  g_clear_object(&contents->cancellable);
  g_object_unref(contents->manager);
  vd_disk_unref(contents->disk);
  g_clear_error(&contents->error);
  g_free(contents->found);
  g_free(contents->path);
  g_free(contents->name);
  g_free(contents);
}

/* Never fails; what went wrong is said in the log. */
static void finish(VdContents *contents)
{
  g_autoptr(GTask) task = g_steal_pointer(&contents->task);

  close_device(contents);
  if (contents->error != NULL)
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "%s: what is inside is not known: %s",
                     contents->path, contents->error->message);
  g_task_return_boolean(task, TRUE);
}

static void on_partitions_made(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_task_propagate_boolean(G_TASK(result), NULL);
  finish(user_data);
  vd_contents_unref(user_data);
}

static void make_partitions_in_thread(GTask *work, gpointer source, gpointer data, GCancellable *cancellable)
{
  const VdContents *contents = data;

  vd_partitions_complete(contents->fd, contents->name, contents->size, contents->partitions,
                         contents->n_partitions);
  vd_node_give_partitions(contents->name, &contents->owner);
  g_task_return_boolean(work, TRUE);
}

static void learn(VdContents *contents)
{
  const VdFacts *found = contents->found;
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

/* The device is settled, and was looked at. */
static void conclude(VdContents *contents)
{
  g_autoptr(GTask) work = NULL;

  if (contents->found != NULL)
    learn(contents);
  if (contents->n_partitions == 0) {
    finish(contents);
    return;
  }
  work = g_task_new(NULL, NULL, on_partitions_made, contents_ref(contents));
  g_task_set_task_data(work, contents, NULL);
  vd_offload(work, make_partitions_in_thread);
}

static void end_look(VdContents *contents)
{
  contents->looked = TRUE;
  if (contents->task != NULL)
    conclude(contents);
  vd_contents_unref(contents);
}

static void on_looked_inside(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdContents *contents = user_data;

  contents->found = vd_worker_probe_finish(contents->manager->worker, result, &contents->error);
  end_look(contents);
}

static void open_in_thread(GTask *work, gpointer source, gpointer data, GCancellable *cancellable)
{
  const VdContents *contents = data;
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
  VdContents *contents = user_data;

  contents->fd = (int)g_task_propagate_int(G_TASK(result), &contents->error);
  if (contents->fd < 0)
    end_look(contents);
  else
    vd_worker_look_inside_async(contents->manager->worker, contents->uid, contents->fd, contents->size,
                                contents->sector_size, contents->cancellable, on_looked_inside, contents);
}

VdContents *vd_manager_look_inside(VdManager *self, VdDisk *disk, const char *path, const char *name,
                                   dev_t number, GCancellable *cancellable)
{
  const VdAttachPlan *plan = &disk->attachment->plan;
  VdContents *contents;
  g_autoptr(GTask) work = NULL;

  if (disk->facts.linear || !plan->whole)
    return NULL;
  contents = g_new0(VdContents, 1);
  contents->refs = 1;
  contents->manager = g_object_ref(self);
  contents->disk = vd_disk_ref(disk);
  contents->cancellable = cancellable != NULL ? g_object_ref(cancellable) : NULL;
  contents->path = g_strdup(path);
  contents->name = g_strdup(name);
  contents->number = number;
  contents->uid = disk->attachment->owner->uid;
  contents->size = plan->size;
  contents->sector_size = plan->sector_size;
  contents->owner = (VdNodeOwner){plan->uid != VD_UID_INVALID, plan->uid, plan->gid, plan->mode};
  contents->make_partitions = plan->partition_scan;
  contents->fd = -1;
  work = g_task_new(NULL, NULL, on_opened, contents_ref(contents));
  g_task_set_task_data(work, contents, NULL);
  vd_offload(work, open_in_thread);
  return contents;
}

void vd_manager_learn_contents_async(VdManager *self, VdContents *contents, GAsyncReadyCallback callback,
                                     gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(self, NULL, callback, user_data);

  if (contents == NULL) {
    g_task_return_boolean(task, TRUE);
    return;
  }
  contents->task = g_steal_pointer(&task);
  if (contents->looked)
    conclude(contents);
}

void vd_manager_learn_contents_finish(VdManager *self, GAsyncResult *result)
{
  g_task_propagate_boolean(G_TASK(result), NULL);
}
