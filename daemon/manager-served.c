/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How many disks of one user workers serve: their memory is locked, and they are the last to be ended for
 * want of memory, so it is nobody else's any more. */
#include "manager-private.h"

/* While its device comes to be, what it will be served by is told from the plan. */
static gboolean is_served(const VdDisk *disk)
{
  const VdDiskAttachment *a = disk->attachment;

  if (a->device != NULL)
    return vd_device_get_info(a->device)->served;
  return a->tracked || vd_manager_will_be_served(disk, a->plan.route);
}

gboolean vd_manager_will_be_served(const VdDisk *disk, const char *route)
{
  return !disk->facts.linear || (route != NULL && !g_str_equal(route, "loop"));
}

gboolean vd_manager_may_serve(VdManager *self, uid_t uid, GError **error)
{
  GHashTableIter iter;
  gpointer value;
  guint n = 0;

  g_hash_table_iter_init(&iter, self->disks);
  while (g_hash_table_iter_next(&iter, NULL, &value)) {
    const VdDisk *disk = value;

    n += disk->attachment != NULL && disk->attachment->owner->uid == uid && is_served(disk);
  }
  if (uid == 0 || n < VD_MAX_SERVED_PER_USER)
    return TRUE;
  g_set_error(
      error, VIRTDISK_ERROR, VIRTDISK_ERROR_LIMIT_EXCEEDED,
      "User %u has %u attached disks that workers serve already, the most allowed: each has memory that "
      "cannot be taken back. Detach one, or attach an ISO, raw or fixed image, which needs no worker",
      (guint)uid, n);
  return FALSE;
}
