/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A ublk device without its worker: the kernel keeps the disk, and the requests, for the next one. And those
 * that an earlier service has left: found by their records, known by our mark.
 */
#include "attach/ublk.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "attach/hints.h"
#include "util/cleanup.h"
#include "virtdisk-error.h"

/* The kernel lets go of the dead worker in its own time, and says nothing when it has. */
#define QUIESCE_DEADLINE_MS 10000
/* From rest to the worker's end. */
#define RETIRE_DEADLINE_MS 5000
#define FIRST_PAUSE_MS 5
#define LONGEST_PAUSE_MS 250

/* No event tells of it: asked again at growing intervals. */
static gboolean start_recovery(VdUblkControl *control, guint32 id, GError **error)
{
  gint64 deadline = g_get_monotonic_time() + QUIESCE_DEADLINE_MS * 1000;
  guint pause = FIRST_PAUSE_MS;
  int result;

  while ((result = vd_ublk_start_recovery(control, id)) == -EBUSY && g_get_monotonic_time() < deadline) {
    g_poll(NULL, 0, (int)pause);
    pause = MIN(pause * 2, LONGEST_PAUSE_MS);
  }
  if (result == 0)
    return TRUE;
  vd_ublk_set_error(error, id, "the kernel does not let the next worker in", result);
  return FALSE;
}

static gboolean end_recovery(VdUblkControl *control, guint32 id, GError **error)
{
  int result = vd_ublk_end_recovery(control, id, getpid());

  if (result == 0)
    return TRUE;
  vd_ublk_set_error(error, id, "the kernel does not go on with the next worker", result);
  return FALSE;
}

static gboolean start_successor(VdServing *serving, GError **error)
{
  vd_autofd transport = vd_ublk_open_char(serving->ublk_id, NULL, error);

  return transport >= 0 && vd_serving_start_worker(serving, transport, VD_SERVE_TAKEOVER, NULL, error);
}

gboolean vd_ublk_recover(const VdAttachment *attachment, GError **error)
{
  VdServing *serving = attachment->serving;
  g_autoptr(VdUblkControl) control = vd_ublk_control_open(error);
  VdUblkInfo info;
  int result;

  if (control == NULL)
    return FALSE;
  vd_serving_bury(serving);
  result = vd_ublk_get_info(control, serving->ublk_id, &info);
  if (result < 0 || info.ublksrv_flags != vd_ublk_mark(serving->tag) || info.state == VD_UBLK_DEAD) {
    vd_ublk_set_error(error, serving->ublk_id, "the device is gone", result < 0 ? result : -ENODEV);
    return FALSE;
  }
  serving->setup.depth = info.queue_depth;
  serving->setup.max_io = info.max_io_buf_bytes;
  return start_recovery(control, serving->ublk_id, error) && start_successor(serving, error) &&
         end_recovery(control, serving->ublk_id, error);
}

/* Where the kernel can hold requests back the worker finishes those it has and closes the image; elsewhere it
 * is killed in the midst, and its requests are sent to the next one again. */
void vd_ublk_retire(const VdAttachment *attachment)
{
  VdServing *serving = attachment->serving;
  g_autoptr(VdUblkControl) control = vd_ublk_control_open(NULL);
  g_autoptr(VdService) service = vd_serving_get_service(serving);
  VdUblkInfo info;
  int result;

  if (control == NULL || service == NULL || vd_ublk_get_info(control, serving->ublk_id, &info) < 0 ||
      info.ublksrv_flags != vd_ublk_mark(serving->tag) || (info.flags & VD_UBLK_F_QUIESCE) == 0)
    return;
  result = vd_ublk_quiesce(control, serving->ublk_id);
  if (result < 0)
    g_message("ublkb%u does not come to rest: %s", serving->ublk_id, g_strerror(-result));
  else if (vd_service_wait(service, RETIRE_DEADLINE_MS, NULL, NULL))
    g_message("the worker of %s (pid %d) has closed the image for the next one", attachment->path,
              (int)vd_service_pid(service));
}

/* Whoever waits gets an error, and the disk goes away. */
void vd_ublk_give_up(const VdAttachment *attachment)
{
  g_autoptr(VdUblkControl) control = vd_ublk_control_open(NULL);

  vd_serving_abort(attachment->serving);
  if (control != NULL)
    vd_ublk_destroy(control, attachment->serving);
  vd_hints_remove(attachment->rundir, attachment->name, attachment->diskseq);
}

/* scan */

static guint32 find_device(VdUblkControl *control, const VdServing *serving)
{
  g_autoptr(GDir) dir = g_dir_open("/sys/class/ublk-char", 0, NULL);
  guint64 mark = vd_ublk_mark(serving->tag);
  const char *entry;

  while (dir != NULL && (entry = g_dir_read_name(dir)) != NULL) {
    guint64 id;
    VdUblkInfo info;

    if (g_str_has_prefix(entry, "ublkc") &&
        g_ascii_string_to_unsigned(entry + strlen("ublkc"), 10, 0, G_MAXINT32, &id, NULL) &&
        vd_ublk_get_info(control, (guint32)id, &info) == 0 && info.ublksrv_flags == mark)
      return (guint32)id;
  }
  return VD_UBLK_ANY_ID;
}

static VdAttachment *take_found(VdServing *serving)
{
  g_autoptr(VdAttachment) found = vd_attachment_new(serving->rundir);
  guint64 known = serving->diskseq;

  found->tag = g_strdup(serving->tag);
  found->serving = vd_serving_ref(serving);
  found->name = g_strdup_printf("ublkb%u", serving->ublk_id);
  found->path = g_strdup_printf(VD_UBLK_BLOCK_FORMAT, serving->ublk_id);
  found->read_only = (serving->setup.flags & VD_SERVE_WRITABLE) == 0;
  found->direct_io = (serving->setup.flags & VD_SERVE_DIRECT) != 0;
  if (serving->n_images > 0) {
    found->image_dev = serving->images[0].dev;
    found->image_ino = serving->images[0].ino;
  }
  if (!vd_ublk_describe(found, NULL) || (known != 0 && known != found->diskseq))
    return NULL;
  found->owner.set = vd_hints_read_owner(found->rundir, found->name, found->diskseq, &found->owner.uid,
                                         &found->owner.gid, &found->owner.mode);
  return g_steal_pointer(&found);
}

/* What has no disk is no attachment: a crash in the midst of attaching or detaching. */
static gpointer destroy_in_thread(gpointer data)
{
  g_autoptr(VdServing) serving = data;
  g_autoptr(VdUblkControl) control = vd_ublk_control_open(NULL);

  vd_serving_abort(serving);
  if (control != NULL)
    vd_ublk_destroy(control, serving);
  return NULL;
}

static void scan_one(VdUblkControl *control, VdServing *serving, GPtrArray *ret_found)
{
  VdAttachment *found;

  serving->ublk_id = find_device(control, serving);
  found = serving->ublk_id != VD_UBLK_ANY_ID ? take_found(serving) : NULL;
  if (found != NULL)
    g_ptr_array_add(ret_found, found);
  else
    g_thread_unref(g_thread_new("ublk-leftover", destroy_in_thread, vd_serving_ref(serving)));
}

void vd_ublk_scan(const char *rundir, GPtrArray *ret_found)
{
  g_autoptr(GPtrArray) records = vd_serving_load(rundir, VD_TRANSPORT_UBLK);
  g_autoptr(VdUblkControl) control = records->len > 0 ? vd_ublk_control_open(NULL) : NULL;

  if (control != NULL)
    vd_serving_find_workers(records);
  for (guint i = 0; i < records->len; i++) {
    VdServing *serving = g_ptr_array_index(records, i);

    if (control != NULL)
      scan_one(control, serving, ret_found);
    else
      vd_serving_forget(serving);
  }
}
